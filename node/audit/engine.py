"""Audits one validator's engine store: headers, commits, transactions, outcomes, and its last vote.

For each height: the commit by itself (every signature in it), the header by the commit, the transaction list by the
header, then all of it by the height before (`chain.light`), and the outcome by executing the height again. So each
fault is found in the record that has it.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain as joined
from pathlib import Path
from typing import Final

from chain import light
from chain.application import Timestamp
from chain.crypto.schemes import Scheme, verify
from chain.engines.embedded.store import FORMAT
from chain.genesis import Genesis
from chain.light import Height
from chain.light import errors as light_errors
from chain.validators import CONSENSUS_PARAMS, genesis_time, genesis_validators
from node.audit import checks, dump
from node.audit.errors import FaultError, UnreadableStoreError
from node.audit.findings import Findings
from node.audit.replay import Cursor, Replays
from node.audit.report import Divergence, Part

_VOTE_HEAD: Final = struct.Struct(
    ">QIBI"
)  # chain.engines.embedded.store: height, round, kind, length of the sign bytes
_HEIGHT_BYTES: Final = 8
_DIGEST_BYTES: Final = 32
_KINDS: Final = {b"h": Part.HEADER, b"t": Part.TRANSACTIONS, b"c": Part.COMMIT, b"r": Part.OUTCOME}


@dataclass(slots=True)
class EngineChain:
    """What one engine store proves. `headers[h - 1]` is the hash of height h; `cursor` stands at the last one.

    `complete` tells that every decided height was verified; `decided` is the height that the store says it stands at,
    `genesis` the digest of the genesis document that it was made for.
    """

    name: str
    cursor: Cursor | None = None
    headers: list[bytes] = field(default_factory=list)
    decided: int = 0
    complete: bool = False
    genesis: bytes = b""

    @property
    def height(self) -> int:
        """The last height that was verified."""
        return len(self.headers)


@dataclass(frozen=True, slots=True)
class _Verified:
    """A height whose records are right; `name` is the digest over all bytes of the chain up to it."""

    name: bytes
    trusted: light.Trusted
    hash: bytes
    txs: tuple[bytes, ...]


class Certificates:
    """Verifies heights of one ledger; a height whose bytes, and all before it, are known is not verified again."""

    def __init__(self, genesis: Genesis, replays: Replays) -> None:
        """Trust the genesis document's validators."""
        self.genesis = genesis
        self.validators = genesis_validators(genesis)
        self.replays = replays
        self.signatures = 0
        self.shared = 0
        self._start = hashlib.sha256(genesis.encode()).digest()
        self._known: dict[bytes, _Verified] = {}

    def verify(self, before: _Verified | None, raws: "_Raws", cursor: Cursor) -> _Verified:
        """Return the height that follows `before`; `cursor` has executed up to there. Raises FaultError."""
        digest = hashlib.sha256(before.name if before else self._start)
        for raw in (raws.header, raws.commit, raws.transactions):
            digest.update(len(raw).to_bytes(8, "big") + raw)
        name = digest.digest()
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._verify(name, before, raws, cursor)
        else:
            self.shared += 1
        return known

    def _verify(self, name: bytes, before: _Verified | None, raws: "_Raws", cursor: Cursor) -> _Verified:
        last = before.trusted.commit if before else light.EMPTY_COMMIT
        try:
            header, commit = light.decode_header(raws.header), light.decode_commit(raws.commit)
            txs = light.decode_txs(raws.transactions)
            trusted = self._follow(before, header, commit, cursor)
            light.verify_block(light.Block(header, txs, last), commit.block_id)
        except light_errors.LightError as error:
            raise self._blamed(last, raws, error) from error
        announced = (header.consensus_hash, header.app_version)
        wanted = (light.consensus_hash(CONSENSUS_PARAMS), self.genesis.versions.execution)
        if announced != wanted:
            raise FaultError(Part.HEADER, f"consensus hash and version {wanted}", str(announced))
        self.signatures += sum(slot.flag != light.BlockIdFlag.ABSENT for slot in commit.signatures)
        return _Verified(name, trusted, commit.block_id.hash, txs)

    def _follow(
        self, before: _Verified | None, header: light.Header, commit: light.Commit, cursor: Cursor
    ) -> light.Trusted:
        step = cursor.step
        if before is None:
            return light.verify_first(
                header,
                commit,
                self.validators,
                self.genesis.name,
                genesis_time=genesis_time(self.genesis),
                app_hash=step.app_hash,
            )
        return light.verify_next(
            before.trusted, header, commit, app_hash=step.app_hash, last_results_hash=step.results_hash
        )

    def _blamed(self, last: light.Commit, raws: "_Raws", error: light_errors.LightError) -> FaultError:
        """Find the record that is at fault for `error`: the one that fails when each is judged by what names it."""
        try:
            commit = checks.commit(raws.commit, raws.height, self.validators, self.genesis.name)
            header = checks.header(raws.header, raws.height, commit.block_id)
            checks.transactions(raws.transactions, header.data_hash)
        except FaultError as fault:
            return fault
        if header.last_commit_hash != light.commit_hash(last):
            # a quorum signed this header, so the stored commit of the height before is not the one that it names
            named, found = header.last_commit_hash.hex(), light.commit_hash(last).hex()
            return FaultError(Part.LAST_COMMIT, f"hash 0x{named}, which the next header names", f"0x{found}")
        match error:
            case light_errors.WrongAppHashError() | light_errors.WrongResultsError():
                return FaultError(Part.EXECUTION, error.expected.hex(), error.found.hex())
            case _:
                return FaultError(Part.HEADER, "a block that follows from the one before it", str(error))


@dataclass(frozen=True, slots=True)
class _Raws:
    """The stored bytes of one height."""

    height: int
    header: bytes
    commit: bytes
    transactions: bytes
    outcome: bytes


def audit_engine(
    name: str, directory: Path, own: int | None, certificates: Certificates, findings: Findings
) -> EngineChain:
    """Audit the engine store in `directory`; `own` is the index of its validator in the set, None if unknown."""
    result = EngineChain(name)
    try:
        table = {entry.key: entry.value for entry in dump.entries(directory)}
    except UnreadableStoreError as error:
        findings.diverges(Divergence(store=name, part=Part.STORE, expected="a readable database", found=error.why))
        return result
    audit = _EngineAudit(name, table, own, certificates, findings)
    audit.run(result)
    return result


class _EngineAudit:
    """The audit of one store's entries."""

    def __init__(
        self, name: str, table: Mapping[bytes, bytes], own: int | None, certificates: Certificates, findings: Findings
    ) -> None:
        self._name, self._table, self._own = name, table, own
        self._certificates, self._findings = certificates, findings

    def run(self, result: EngineChain) -> None:
        """Verify everything, and note what is wrong."""
        genesis = self._certificates.genesis
        result.cursor = self._certificates.replays.begin(genesis)
        result.genesis = self._table.get(b"m/genesis", b"")
        try:
            result.decided = self._decided()
        except FaultError as fault:
            self._diverges(fault, None)
            return
        last = self._walk(result, result.cursor)
        result.complete = result.height == result.decided
        vote_height = self._last_vote(result, last)
        self._unexplained(result.decided, vote_height)

    def _decided(self) -> int:
        genesis = self._certificates.genesis
        for key, expected in ((b"m/format", FORMAT), (b"m/genesis", genesis.digest())):
            if self._table.get(key) != expected:
                found = self._table.get(key, b"").hex() or "nothing"
                raise FaultError(Part.META, f"{key.decode()} {expected.hex()}", found)
        raw = self._table.get(b"m/height", b"")
        if len(raw) != _HEIGHT_BYTES:
            raise FaultError(Part.META, "m/height of 8 bytes", f"{raw.hex() or 'nothing'}")
        return int.from_bytes(raw, "big")

    def _walk(self, result: EngineChain, cursor: Cursor) -> _Verified | None:
        """Verify height after height up to the first fault; return the last one that is right."""
        verified: _Verified | None = None
        tally = self._findings.tallies["engine stores"]
        for height in range(1, result.decided + 1):
            try:
                raws = self._raws(height)
                verified = self._certificates.verify(verified, raws, cursor)
                header = verified.trusted.header
                step = cursor.advance(Timestamp(header.time.seconds, header.time.nanos), verified.txs)
                result.headers.append(verified.hash)
                tally.add("heights")
                tally.add("bytes", sum(map(len, (raws.header, raws.commit, raws.transactions, raws.outcome))))
                if raws.outcome != step.results_hash + step.app_hash:
                    expected = (step.results_hash + step.app_hash).hex()
                    self._diverges(FaultError(Part.OUTCOME, expected, raws.outcome.hex()), height)
            except FaultError as fault:
                self._diverges(fault, height)
                self._findings.remark(
                    f"{self._name}: heights {height} to {result.decided} are not verified further after this divergence"
                )
                break
        return verified

    def _raws(self, height: int) -> _Raws:
        found: list[bytes] = []
        for kind in (b"h", b"c", b"t", b"r"):
            raw = self._table.get(_key(kind, height))
            if raw is None:
                raise FaultError(_KINDS[kind], "an entry", "none")
            found.append(raw)
        return _Raws(height, *found)

    def _last_vote(self, result: EngineChain, last: _Verified | None) -> int:
        """Verify the vote that the validator signed last; return its height, 0 without one."""
        raw = self._table.get(b"v")
        if raw is None:
            return 0
        try:
            return self._vote(raw, result, last)
        except FaultError as fault:
            self._diverges(fault, None)
            return 0

    def _vote(self, raw: bytes, result: EngineChain, last: _Verified | None) -> int:
        body, digest = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest or len(body) < _VOTE_HEAD.size:
            raise FaultError(Part.VOTE, "a record that hashes to its own digest", f"digest 0x{digest.hex()}")
        height, round_, kind, length = _VOTE_HEAD.unpack_from(body)
        signed, signature = body[_VOTE_HEAD.size :][:length], body[_VOTE_HEAD.size + length :]
        if height > result.decided + 1 or kind != light.VoteType.PRECOMMIT:
            raise FaultError(
                Part.VOTE, f"a precommit at most for height {result.decided + 1}", f"kind {kind} for height {height}"
            )
        validators = self._certificates.validators.validators
        owners = validators if self._own is None else (validators[self._own],)
        if not any(
            verify(Scheme.ML_DSA_65, owner.public_key, signature, signed, light.VOTE_CONTEXT) for owner in owners
        ):
            raise FaultError(Part.VOTE, "a signature of this validator", "one that does not hold")
        if self._own is not None and last is not None and height == last.trusted.header.height:
            commit = last.trusted.commit
            slot = commit.signatures[self._own]
            if slot.flag == light.BlockIdFlag.COMMIT and commit.round == round_:
                expected = light.commit_sign_bytes(commit, self._own, self._certificates.genesis.name)
                if signed != expected:
                    raise FaultError(Part.VOTE, "the vote that the commit holds", "another one for the same round")
        self._findings.tallies["engine stores"].add("last votes")
        if height == result.decided + 1:
            self._proposal(height, signed)
        return int(height)

    def _proposal(self, height: int, signed: bytes) -> None:
        """Check the block that the last vote is for, while its height is not decided here."""
        raw_header, raw_txs = self._table.get(_key(b"h", height)), self._table.get(_key(b"t", height))
        if raw_header is None or raw_txs is None:
            raise FaultError(Part.VOTE, "the block that the last vote is for", "none")
        try:
            header = light.decode_header(raw_header)
        except light_errors.LightError as error:
            raise FaultError(Part.HEADER, "a canonical header", str(error)) from error
        if light.header_hash(header) not in signed:
            raise FaultError(Part.HEADER, "the header that the last vote is for", light.header_hash(header).hex())
        checks.transactions(raw_txs, header.data_hash)
        self._findings.remark(f"{self._name}: height {height} is voted for and not decided here")

    def _unexplained(self, decided: int, vote_height: int) -> None:
        """Name every entry that no decided height, and no vote, explains."""
        explained = set(joined((b"m/format", b"m/genesis", b"m/height", b"v"), _keys(range(1, decided + 1), b"htcr")))
        if vote_height == decided + 1:
            explained.update(_keys([vote_height], b"ht"))
        for key in sorted(self._table.keys() - explained):
            part = _KINDS.get(key[:1], Part.STORE)
            height = int.from_bytes(key[1:], "big") if len(key) == 1 + _HEIGHT_BYTES else None
            self._diverges(FaultError(part, "no entry that nothing explains", f"key 0x{key.hex()}"), height)

    def _diverges(self, fault: FaultError, height: int | None) -> None:
        part = fault.part
        if part is Part.LAST_COMMIT and height is not None:
            part, height = Part.COMMIT, height - 1
        self._findings.diverges(
            Divergence(store=self._name, part=part, expected=fault.expected, found=fault.found, height=height)
        )


def _keys(heights: "range | list[int]", kinds: bytes) -> Iterator[bytes]:
    for height in heights:
        for kind in kinds:
            yield _key(bytes((kind,)), height)


def _key(kind: bytes, height: int) -> bytes:
    return kind + Height(height).to_bytes(_HEIGHT_BYTES, "big")
