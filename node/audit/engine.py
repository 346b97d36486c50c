"""Audits one validator's engine store: its chain, height by height, its last vote, and that nothing else lies there."""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from itertools import chain as joined
from pathlib import Path
from typing import Final

from chain import light
from chain.crypto.schemes import Scheme, verify
from chain.engines.base import EngineName
from chain.engines.embedded.store import FORMAT
from chain.light import Height
from chain.light import errors as light_errors
from node.audit import checks, dump
from node.audit.certificates import Certificates, Verified
from node.audit.errors import FaultError, UnreadableStoreError
from node.audit.findings import Findings
from node.audit.replay import Step
from node.audit.report import Divergence, Part
from node.audit.source import HeightRecords
from node.audit.walk import EngineChain, Walk

_VOTE_HEAD: Final = struct.Struct(
    ">QIBI"
)  # chain.engines.embedded.store: height, round, kind, length of the sign bytes
_HEIGHT_BYTES: Final = 8
_DIGEST_BYTES: Final = 32
_KINDS: Final = {b"h": Part.HEADER, b"t": Part.TRANSACTIONS, b"c": Part.COMMIT, b"r": Part.OUTCOME}


def audit_engine(
    number: int, directory: Path, own: int | None, certificates: Certificates, findings: Findings
) -> EngineChain:
    """Audit validator `number`'s engine store; `own` is the index of that validator in the set, None if unknown."""
    name = f"validator {number} engine"
    result = EngineChain(name, f"history of validator {number}")
    try:
        table = {entry.key: entry.value for entry in dump.entries(directory)}
    except UnreadableStoreError as error:
        findings.diverges(Divergence(store=name, part=Part.STORE, expected="a readable database", found=error.why))
        return result
    audit = _EngineAudit(name, table, own, certificates, findings)
    audit.run(result)
    return result


class _Store:
    """The entries of an embedded engine's store as a source of a chain."""

    engine = EngineName.EMBEDDED

    def __init__(self, name: str, table: Mapping[bytes, bytes], decided: int) -> None:
        self.name, self._table, self.decided = name, table, decided

    def records(self, height: int) -> HeightRecords:
        found: list[bytes] = []
        for kind in (b"h", b"c", b"t", b"r"):
            raw = self._table.get(_key(kind, height))
            if raw is None:
                raise FaultError(_KINDS[kind], "an entry", "none")
            found.append(raw)
        header, commit, transactions, outcome = found
        return HeightRecords(height, header, commit, transactions, b"", outcome)

    @staticmethod
    def outcome(step: Step) -> bytes:
        return step.results_hash + step.app_hash


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
            decided = self._decided()
        except FaultError as fault:
            self._diverges(fault, None)
            return
        source = _Store(self._name, self._table, decided)
        walk = Walk(result, source, self._certificates, self._findings, "engine stores")
        walk.to(decided)
        vote_height = self._last_vote(result, walk.verified)
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

    def _last_vote(self, result: EngineChain, last: Verified | None) -> int:
        """Verify the vote that the validator signed last; return its height, 0 without one."""
        raw = self._table.get(b"v")
        if raw is None:
            return 0
        try:
            return self._vote(raw, result, last)
        except FaultError as fault:
            self._diverges(fault, None)
            return 0

    def _vote(self, raw: bytes, result: EngineChain, last: Verified | None) -> int:
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
        self._findings.diverges(
            Divergence(store=self._name, part=fault.part, expected=fault.expected, found=fault.found, height=height)
        )


def _keys(heights: "range | list[int]", kinds: bytes) -> Iterator[bytes]:
    for height in heights:
        for kind in kinds:
            yield _key(bytes((kind,)), height)


def _key(kind: bytes, height: int) -> bytes:
    return kind + Height(height).to_bytes(_HEIGHT_BYTES, "big")
