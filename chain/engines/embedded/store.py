"""What one validator's engine must not forget: decided heights, and its own last vote.

One LMDB environment per validator. Keys: one byte for the kind of record, then the height (8 bytes, big-endian).

    h  header        CometBFT's Header; above the decided height: the block that the last vote is for
    t  transactions  CometBFT's Data; likewise
    c  commit        CometBFT's Commit that decided the height: the one that the next block carries, once there is one
    r  result        results hash (32 bytes), then the app hash after the height
    v  vote          the last vote: height, round, kind, sign bytes, signature; with a SHA-256 over all of it
    m  format, genesis digest, decided height

Each write is one transaction, on disk when the method returns.
"""

from __future__ import annotations

import fcntl
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import lmdb

from chain import light
from chain.engines import errors
from chain.light import Height, VoteType
from chain.light.errors import LightError
from chain.light.types import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FORMAT: Final = b"merit-engine-1"
MAP_BYTES: Final = 1 << 36
"""Address space, not disk: the file grows with its content up to 64 GiB."""

_VOTE_HEAD: Final = struct.Struct(">QIBI")
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote that this validator has signed."""

    height: Height
    round: int
    kind: VoteType
    sign_bytes: bytes
    signature: bytes

    @property
    def position(self) -> tuple[int, int, int]:
        """Where it stands: votes must rise in (height, round, kind)."""
        return self.height, self.round, int(self.kind)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a height gave; the next header commits to both."""

    app_hash: bytes
    results_hash: bytes


class EngineStore:
    """One validator's engine store, open for this process alone."""

    def __init__(self, path: Path, genesis_digest: bytes) -> None:
        """Open the store in directory `path`, made if it is missing, for the genesis document with this SHA-256.

        Raises StoreInUseError, OtherGenesisError, UnknownFormatError, CorruptRecordError.
        """
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = (path / "in-use").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed process leaves no lock behind
        except BlockingIOError:
            self._lock.close()
            raise errors.StoreInUseError(path) from None
        try:
            self._environment = self._open(genesis_digest)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, genesis_digest: bytes) -> lmdb.Environment:
        try:
            environment = lmdb.open(str(self.path), map_size=MAP_BYTES, max_readers=16)
        except lmdb.Error as error:
            raise errors.UnknownFormatError(self.path, FORMAT.decode(), str(error)) from None
        try:
            self._check(environment, genesis_digest)
        except BaseException:
            environment.close()
            raise
        return environment

    def _check(self, environment: lmdb.Environment, genesis_digest: bytes) -> None:
        with environment.begin(write=True) as transaction:
            found = transaction.get(b"m/format")
            if found is None and transaction.stat()["entries"] == 0:
                transaction.put(b"m/format", FORMAT)
                transaction.put(b"m/genesis", genesis_digest)
                transaction.put(b"m/height", _height_bytes(Height(0)))
            elif found != FORMAT:
                raise errors.UnknownFormatError(self.path, FORMAT.decode(), repr(found))
            elif (stored := transaction.get(b"m/genesis", b"")) != genesis_digest:
                raise errors.OtherGenesisError(self.path, genesis_digest, stored)

    def close(self) -> None:
        """Close the database and let another process open it."""
        self._environment.close()
        self._lock.close()

    @property
    def height(self) -> Height:
        """The last decided height; 0 before the first."""
        raw = self._get(b"m/height")
        if raw is None or len(raw) != len(_height_bytes(Height(0))):
            raise errors.CorruptRecordError(self.path, "the decided height", "no 8 bytes")
        return Height(int.from_bytes(raw, "big"))

    def header(self, height: Height) -> light.Header:
        """Return a decided header; raises UnknownHeightError, CorruptRecordError."""
        header = self._header(self._decided(b"h", height))
        if header.height != height:
            raise errors.CorruptRecordError(self.path, f"the header of height {height}", f"it says {header.height}")
        return header

    def commit(self, height: Height) -> light.Commit:
        """Return the commit that decided a height; raises UnknownHeightError, CorruptRecordError."""
        raw = self._decided(b"c", height)
        try:
            commit = light.decode_commit(raw)
        except LightError as error:
            raise errors.CorruptRecordError(self.path, f"the commit of height {height}", str(error)) from error
        if commit.height != height:
            raise errors.CorruptRecordError(self.path, f"the commit of height {height}", f"it says {commit.height}")
        return commit

    def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return a decided height's transactions; raises UnknownHeightError, CorruptRecordError."""
        return self._transactions(self._decided(b"t", height))

    def outcome(self, height: Height) -> Outcome:
        """Return what executing a decided height gave; raises UnknownHeightError, CorruptRecordError."""
        raw = self._decided(b"r", height)
        if len(raw) < HASH_BYTES:
            raise errors.CorruptRecordError(self.path, f"the result of height {height}", "it is too short")
        return Outcome(app_hash=raw[HASH_BYTES:], results_hash=raw[:HASH_BYTES])

    def block(self, height: Height) -> light.Block:
        """Return a decided block; raises UnknownHeightError, CorruptRecordError."""
        last = self.commit(Height(height - 1)) if height > 1 else light.EMPTY_COMMIT
        return light.Block(self.header(height), self.transactions(height), last)

    def vote(self) -> Vote | None:
        """Return this validator's last vote; raises CorruptRecordError."""
        raw = self._get(b"v")
        if raw is None:
            return None
        body, digest = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            raise errors.CorruptRecordError(self.path, "the record of the last vote", "its digest differs")
        height, round_, kind, length = _VOTE_HEAD.unpack_from(body)
        signed, signature = body[_VOTE_HEAD.size :][:length], body[_VOTE_HEAD.size + length :]
        return Vote(Height(height), round_, VoteType(kind), signed, signature)

    def proposal(self) -> light.Block | None:
        """Return the block that the last vote is for, while its height is undecided here; raises CorruptRecordError."""
        vote, height = self.vote(), self.height
        if vote is None or vote.height != height + 1:
            return None
        header, txs = self._get(_key(b"h", vote.height)), self._get(_key(b"t", vote.height))
        if header is None or txs is None:
            raise errors.CorruptRecordError(self.path, f"the proposal of height {vote.height}", "it is missing")
        last = self.commit(height) if height else light.EMPTY_COMMIT
        return light.Block(self._header(header), self._transactions(txs), last)

    def record_vote(self, vote: Vote, block: light.Block) -> None:
        """Keep a vote together with the block that it is for, before the vote is shown to anybody."""
        body = _VOTE_HEAD.pack(vote.height, vote.round, int(vote.kind), len(vote.sign_bytes))
        body += vote.sign_bytes + vote.signature
        self._put([*_block_records(block), (b"v", body + hashlib.sha256(body).digest())])

    def save(self, block: light.Block, commit: light.Commit, outcome: Outcome) -> None:
        """Keep a decided height."""
        height = block.header.height
        self._put(
            [
                *_block_records(block),
                (_key(b"c", height), light.encode_commit(commit)),
                (_key(b"r", height), outcome.results_hash + outcome.app_hash),
                (b"m/height", _height_bytes(height)),
            ]
        )

    def _header(self, raw: bytes) -> light.Header:
        try:
            return light.decode_header(raw)
        except LightError as error:
            raise errors.CorruptRecordError(self.path, "a header", str(error)) from error

    def _transactions(self, raw: bytes) -> tuple[bytes, ...]:
        try:
            return light.decode_txs(raw)
        except LightError as error:
            raise errors.CorruptRecordError(self.path, "a transaction list", str(error)) from error

    def _decided(self, kind: bytes, height: Height) -> bytes:
        newest = self.height
        if not 1 <= height <= newest:
            raise errors.UnknownHeightError(height, newest)
        raw = self._get(_key(kind, height))
        if raw is None:
            raise errors.CorruptRecordError(self.path, f"record {kind.decode()} of height {height}", "it is missing")
        return raw

    def _get(self, key: bytes) -> bytes | None:
        with self._environment.begin() as transaction:
            raw: bytes | None = transaction.get(key)
        return raw

    def _put(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        with self._environment.begin(write=True) as transaction:
            for key, value in records:
                transaction.put(key, value)


def _block_records(block: light.Block) -> list[tuple[bytes, bytes]]:
    height = block.header.height
    records = [
        (_key(b"h", height), light.encode_header(block.header)),
        (_key(b"t", height), light.encode_txs(block.txs)),
    ]
    if height > 1:  # of all the commits that prove the height before, the one in the block is everybody's
        records.append((_key(b"c", Height(height - 1)), light.encode_commit(block.last_commit)))
    return records


def _key(kind: bytes, height: Height) -> bytes:
    return kind + _height_bytes(height)


def _height_bytes(height: Height) -> bytes:
    return height.to_bytes(8, "big")
