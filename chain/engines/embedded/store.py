"""What one validator's engine must not forget: decided heights, its last signature, and what it was told since.

One LMDB environment per validator. Keys: one byte for the kind of record, then a number (8 bytes, big-endian) or name.

    h  header        by height: CometBFT's Header
    t  transactions  by height: CometBFT's Data
    e  evidence      by height, where there is any: CometBFT's EvidenceList
    c  commit        by height: CometBFT's Commit that decided it; the one that the next block carries, once there is
    r  result        by height: results hash, app hash after the height (32 bytes each), and of each validator that it
                     changed the power (8 bytes) and the key
    v  signature     the last one, with its SHA-256 (`chain.consensus.signing`)
    j  journal       by number: the records of the height after the decided one (`chain.consensus.journal`)
    b  block         by the name that statements have for it: what was proposed at that height
    m  format, genesis digest, decided height

Each write is one transaction, on disk when the method returns: journal and signature are never apart.
"""

from __future__ import annotations

import fcntl
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import lmdb

from chain import light
from chain.consensus.journal import Journal
from chain.consensus.signing import LastSignature, decode_last_signature, encode_last_signature
from chain.crypto.schemes import PUBLIC_KEY_BYTES, Scheme
from chain.engines import errors
from chain.engines.embedded import statements
from chain.light import Height
from chain.light.errors import LightError
from chain.light.types import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from chain.application import ValidatorUpdate
    from chain.consensus.types import ValueId

FORMAT: Final = b"merit-engine-2"
FORMER_FORMAT: Final = b"merit-engine-1"
"""Of an engine without prevotes and locks: `v` was a precommit, and there was neither journal nor `b`."""
MAP_BYTES: Final = 1 << 36
"""Address space, not disk: the file grows with its content up to 64 GiB."""

_FORMER_VOTE: Final = struct.Struct(">QIBI")
_DIGEST_BYTES: Final = 32
_UPDATE: Final = struct.Struct(f">Q{PUBLIC_KEY_BYTES[Scheme.ML_DSA_65]}s")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a height gave; the next header commits to all of it.

    `updates`: public key (ML-DSA-65) and power of each validator that the height changed, power 0 for one that leaves.
    """

    app_hash: bytes
    results_hash: bytes
    updates: tuple[ValidatorUpdate, ...] = ()

    def encode(self) -> bytes:
        """Return the record of it."""
        updates = (_UPDATE.pack(power, key) for key, power in self.updates)
        return b"".join((self.results_hash, self.app_hash, *updates))

    @staticmethod
    def decode(raw: bytes) -> Outcome:
        """Read a record; raises ValueError."""
        fixed, updates = raw[: 2 * HASH_BYTES], raw[2 * HASH_BYTES :]
        if len(fixed) < 2 * HASH_BYTES or len(updates) % _UPDATE.size:
            message = f"it has {len(raw)} bytes"
            raise ValueError(message)
        changed = tuple((key, power) for power, key in _UPDATE.iter_unpack(updates))
        return Outcome(app_hash=fixed[HASH_BYTES:], results_hash=fixed[:HASH_BYTES], updates=changed)


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
            elif found == FORMER_FORMAT:
                self._convert(transaction)
            elif found != FORMAT:
                raise errors.UnknownFormatError(self.path, FORMAT.decode(), repr(found))
            elif (stored := transaction.get(b"m/genesis", b"")) != genesis_digest:
                raise errors.OtherGenesisError(self.path, genesis_digest, stored)

    def _convert(self, transaction: lmdb.Transaction) -> None:
        """Take over a store of the former format, unless it was left in the middle of a height."""
        raw = transaction.get(b"v")
        if raw is not None:
            last = former_vote(bytes(raw))
            if last is not None:  # a damaged one stays as it is: its key will not be used
                if last.height > int.from_bytes(transaction.get(b"m/height", b""), "big"):
                    raise errors.UnfinishedHeightError(self.path, FORMER_FORMAT.decode(), Height(last.height))
                transaction.put(b"v", encode_last_signature(last))
        transaction.put(b"m/format", FORMAT)

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

    def evidence(self, height: Height) -> tuple[bytes, ...]:
        """Return what a decided height holds against validators, each an encoded `light.Evidence`.

        Raises UnknownHeightError, CorruptRecordError.
        """
        expected = self.header(height).evidence_hash
        raw = self._get(_key(b"e", height))
        try:
            evidence = () if raw is None else light.decode_evidence_list(raw)
            found = light.evidence_hash(evidence)
        except LightError as error:
            raise errors.CorruptRecordError(self.path, f"the evidence of height {height}", str(error)) from error
        if found != expected:
            problem = "the header commits to other evidence"
            raise errors.CorruptRecordError(self.path, f"the evidence of height {height}", problem)
        return evidence

    def all_evidence(self) -> list[tuple[Height, tuple[bytes, ...]]]:
        """Return each decided height that holds evidence, with it; raises CorruptRecordError."""
        heights = [Height(int.from_bytes(key[1:], "big")) for key, _ in self._all(b"e")]
        return [(height, self.evidence(height)) for height in heights]

    def outcome(self, height: Height) -> Outcome:
        """Return what executing a decided height gave; raises UnknownHeightError, CorruptRecordError."""
        return self._outcome(height, self._decided(b"r", height))

    def changes(self) -> list[tuple[Height, tuple[ValidatorUpdate, ...]]]:
        """Return each decided height that changed validators, with the changes; raises CorruptRecordError."""
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            found: list[tuple[Height, bytes]] = []
            there = cursor.set_range(b"r")
            while there and cursor.key()[:1] == b"r":
                if len(cursor.value()) != 2 * HASH_BYTES:
                    found.append((Height(int.from_bytes(cursor.key()[1:], "big")), bytes(cursor.value())))
                there = cursor.next()
        return [(height, self._outcome(height, raw).updates) for height, raw in found]

    def _outcome(self, height: Height, raw: bytes) -> Outcome:
        try:
            return Outcome.decode(raw)
        except ValueError as error:
            raise errors.CorruptRecordError(self.path, f"the result of height {height}", str(error)) from error

    def block(self, height: Height) -> light.Block:
        """Return a decided block; raises UnknownHeightError, CorruptRecordError."""
        last = self.commit(Height(height - 1)) if height > 1 else light.EMPTY_COMMIT
        return light.Block(self.header(height), self.transactions(height), last, self.evidence(height))

    def last_signature(self) -> LastSignature | None:
        """Return what this validator signed last; raises SignerRecordError."""
        raw = self._get(b"v")
        return decode_last_signature(raw) if raw is not None else None

    def journal(self) -> bytes:
        """Return the journal of the height after the decided one, to be read by `chain.consensus.journal.recover`."""
        return b"".join(value for _, value in self._all(b"j"))

    def proposed(self) -> dict[bytes, bytes]:
        """Return the blocks that the journal's proposals name: encoded, by their names in statements."""
        return {key[1:]: value for key, value in self._all(b"b")}

    def record(
        self, first: int, journal: Sequence[bytes], last: LastSignature, blocks: Mapping[ValueId, bytes]
    ) -> None:
        """Keep a signature with the journal's records from number `first` on and the blocks that these name."""
        records = [(b"j" + number.to_bytes(8, "big"), record) for number, record in enumerate(journal, first)]
        records += [(b"b" + name, block) for name, block in blocks.items()]
        self._put([*records, (b"v", encode_last_signature(last))])

    def save(self, block: light.Block, commit: light.Commit, outcome: Outcome) -> None:
        """Keep a decided height, and drop its journal."""
        height = block.header.height
        self._put(
            [
                *_block_records(block),
                (_key(b"c", height), light.encode_commit(commit)),
                (_key(b"r", height), outcome.encode()),
                (b"m/height", _height_bytes(height)),
            ],
            drop=(b"j", b"b"),
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

    def _all(self, kind: bytes) -> list[tuple[bytes, bytes]]:
        with self._environment.begin() as transaction:
            return _entries(transaction, kind)

    def _put(self, records: Iterable[tuple[bytes, bytes]], drop: Iterable[bytes] = ()) -> None:
        """Write records, and delete all of the kinds in `drop`, at once."""
        with self._environment.begin(write=True) as transaction:
            for kind in drop:
                for key, _ in _entries(transaction, kind):
                    transaction.delete(key)
            for key, value in records:
                transaction.put(key, value)


def former_vote(raw: bytes) -> LastSignature | None:
    """Decode the record of the last vote in `FORMER_FORMAT`; None if it is damaged."""
    body, digest = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest or len(body) < _FORMER_VOTE.size:
        return None
    height, round_, kind, length = _FORMER_VOTE.unpack_from(body)
    signed, signature = body[_FORMER_VOTE.size :][:length], body[_FORMER_VOTE.size + length :]
    proof = statements.encode_proof(light.Timestamp(0), signature)  # its time is inside `signed`
    return LastSignature(height, round_, kind, signed, proof, Journal().mark)


def _entries(transaction: lmdb.Transaction, kind: bytes) -> list[tuple[bytes, bytes]]:
    with transaction.cursor() as cursor:
        found = cursor.set_range(kind)
        entries: list[tuple[bytes, bytes]] = []
        while found and (key := bytes(cursor.key())).startswith(kind):
            entries.append((key, bytes(cursor.value())))
            found = cursor.next()
    return entries


def _block_records(block: light.Block) -> list[tuple[bytes, bytes]]:
    height = block.header.height
    records = [
        (_key(b"h", height), light.encode_header(block.header)),
        (_key(b"t", height), light.encode_txs(block.txs)),
    ]
    if block.evidence:
        records.append((_key(b"e", height), light.encode_evidence_list(block.evidence)))
    if height > 1:  # of all the commits that prove the height before, the one in the block is everybody's
        records.append((_key(b"c", Height(height - 1)), light.encode_commit(block.last_commit)))
    return records


def _key(kind: bytes, height: Height) -> bytes:
    return kind + _height_bytes(height)


def _height_bytes(height: Height) -> bytes:
    return height.to_bytes(8, "big")
