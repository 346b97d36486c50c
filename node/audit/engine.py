"""Audits one validator's engine store: its chain, its last signature, its journal, and that nothing else lies there."""

from collections.abc import Iterator, Mapping
from itertools import chain as joined
from pathlib import Path
from typing import Final

from chain import light
from chain.consensus import types as core
from chain.consensus.errors import JournalError, SignerRecordError
from chain.consensus.journal import recover
from chain.consensus.signing import LastSignature, decode_last_signature
from chain.crypto.schemes import Scheme, verify
from chain.engines.embedded import messages, statements
from chain.engines.embedded.store import FORMAT, FORMER_FORMAT, Outcome, former_vote
from chain.light import Height
from chain.light import errors as light_errors
from node.audit import checks, dump
from node.audit.certificates import Certificates
from node.audit.errors import FaultError, UnreadableStoreError
from node.audit.findings import Findings
from node.audit.replay import Step
from node.audit.report import Divergence, Part
from node.audit.source import HeightRecords
from node.audit.walk import EngineChain, Walk

_HEIGHT_BYTES: Final = 8
_STEPS: Final = (0, 1, 2)
"""What a validator signs in a round, as `chain.consensus.signing` numbers it: a proposal, a prevote, a precommit."""
_PRECOMMIT: Final = 2
_KINDS: Final = {b"h": Part.HEADER, b"t": Part.TRANSACTIONS, b"c": Part.COMMIT, b"e": Part.EVIDENCE, b"r": Part.OUTCOME}


def audit_engine(
    number: int, directory: Path, own: bytes | None, certificates: Certificates, findings: Findings
) -> EngineChain:
    """Audit validator `number`'s engine store; `own` is that validator's first public key, None if unknown."""
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


class StoredChain:
    """The entries of an embedded engine's store as a source of a chain up to height `decided`."""

    def __init__(self, name: str, table: Mapping[bytes, bytes], decided: int) -> None:
        """Take the entries as they lie there."""
        self.name, self._table, self.decided = name, table, decided

    def records(self, height: int) -> HeightRecords:
        """Return what the store has for a height; raises FaultError."""
        found: list[bytes] = []
        for kind in (b"h", b"c", b"t", b"r"):
            raw = self._table.get(_key(kind, height))
            if raw is None:
                raise FaultError(_KINDS[kind], "an entry", "none")
            found.append(raw)
        header, commit, transactions, outcome = found
        evidence = self._table.get(_key(b"e", height), b"")
        return HeightRecords(height, header, commit, transactions, evidence, outcome)

    @staticmethod
    def outcome(step: Step) -> bytes:
        """Return what the store must say that executing the height gave."""
        return Outcome(step.app_hash, step.results_hash, step.updates).encode()


def stored_chain(number: int, directory: Path) -> StoredChain:
    """Open validator `number`'s engine store up to the height that it names; raises UnreadableStoreError."""
    table = {entry.key: entry.value for entry in dump.entries(directory)}
    return StoredChain(f"validator {number} engine", table, int.from_bytes(table.get(b"m/height", b""), "big"))


class _EngineAudit:
    """The audit of one store's entries."""

    def __init__(
        self, name: str, table: Mapping[bytes, bytes], own: bytes | None, certificates: Certificates, findings: Findings
    ) -> None:
        self._name, self._table, self._own = name, table, own
        self._certificates, self._findings = certificates, findings
        self._former = False  # until the store has said its format

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
        source = StoredChain(self._name, self._table, decided)
        walk = Walk(result, source, self._certificates, self._findings, "engine stores")
        walk.to(decided)
        vote_height = self._last_vote(walk)
        try:
            self._journal(walk, vote_height)
        except FaultError as fault:
            self._diverges(fault, None)
        self._unexplained(result.decided, vote_height)

    def _decided(self) -> int:
        genesis = self._certificates.genesis
        self._former = self._table.get(b"m/format") == FORMER_FORMAT
        expected_format = FORMER_FORMAT if self._former else FORMAT
        for key, expected in ((b"m/format", expected_format), (b"m/genesis", genesis.digest())):
            if self._table.get(key) != expected:
                found = self._table.get(key, b"").hex() or "nothing"
                raise FaultError(Part.META, f"{key.decode()} {expected.hex()}", found)
        raw = self._table.get(b"m/height", b"")
        if len(raw) != _HEIGHT_BYTES:
            raise FaultError(Part.META, "m/height of 8 bytes", f"{raw.hex() or 'nothing'}")
        return int.from_bytes(raw, "big")

    def _last_vote(self, walk: Walk) -> int:
        """Verify what the validator signed last; return its height, 0 without one."""
        raw = self._table.get(b"v")
        if raw is None:
            return 0
        try:
            return self._vote(raw, walk)
        except FaultError as fault:
            self._diverges(fault, None)
            return 0

    def _vote(self, raw: bytes, walk: Walk) -> int:
        decided, last = walk.chain.decided, walk.verified
        signed = self._signature(raw)
        steps = (_PRECOMMIT,) if self._former else _STEPS
        if signed.height > decided + 1 or signed.step not in steps:
            expected = f"a signature at most for height {decided + 1}"
            raise FaultError(Part.VOTE, expected, f"step {signed.step} of height {signed.height}")
        owners = self._owners(walk, signed.height)
        _, signature = statements.decode_proof(signed.signature)
        if not any(
            verify(Scheme.ML_DSA_65, owner.public_key, signature, signed.sign_bytes, light.VOTE_CONTEXT)
            for owner in owners
        ):
            raise FaultError(Part.VOTE, "a signature of this validator", "one that does not hold")
        if len(owners) == 1 and last is not None and signed.height == last.trusted.header.height:
            commit, place = last.trusted.commit, last.trusted.validators.validators.index(owners[0])
            slot = commit.signatures[place]
            decides = (commit.round, _PRECOMMIT) == (signed.round, signed.step)
            if slot.flag == light.BlockIdFlag.COMMIT and decides:
                expected_bytes = light.commit_sign_bytes(commit, place, self._certificates.genesis.name)
                if signed.sign_bytes != expected_bytes:
                    raise FaultError(Part.VOTE, "the vote that the commit holds", "another one for the same round")
        self._findings.tallies["engine stores"].add("last votes")
        if signed.height == decided + 1:
            if self._former:
                self._proposal(signed.height, signed.sign_bytes)
            self._findings.remark(f"{self._name}: height {signed.height} is voted for and not decided here")
        return signed.height

    def _signature(self, raw: bytes) -> LastSignature:
        if self._former:
            found = former_vote(raw)
            if found is None:
                raise FaultError(Part.VOTE, "a record that hashes to its own digest", "another digest")
            return found
        try:
            return decode_last_signature(raw)
        except SignerRecordError as error:
            raise FaultError(Part.VOTE, "a record that hashes to its own digest", error.why) from error

    def _owners(self, walk: Walk, height: int) -> tuple[light.Validator, ...]:
        """Return who may have signed for a height here: this validator, or, if its key is another then, any of them."""
        validators = walk.validators(height).validators
        own = tuple(one for one in validators if one.public_key == self._own)
        return own or validators

    def _journal(self, walk: Walk, vote_height: int) -> None:
        """Read the journal of the height after the decided one, and the blocks that were proposed there."""
        decided = walk.chain.decided
        journal = b"".join(self._table[key] for key in sorted(self._of_kind(b"j")))
        if not journal and vote_height != decided + 1:
            return
        raw = self._table.get(b"v", b"")
        mark = self._signature(raw).mark if vote_height == decided + 1 and not self._former else None
        height, faults = core.Height(decided + 1), list[JournalError]()
        for owner in self._owners(walk, height):
            try:
                recover(journal, height, core.Address(owner.address), at_least=mark)
                break
            except JournalError as error:
                faults.append(error)
        else:
            raise FaultError(Part.VOTE, f"the journal of height {height}", faults[0].why)
        for key in self._of_kind(b"b"):
            try:
                block, name = messages.open_block(self._table[key])
            except light_errors.LightError as error:
                raise FaultError(Part.VOTE, "a block that was proposed", str(error)) from error
            if name != key[1:] or int(block.header.height) != height:
                raise FaultError(Part.VOTE, f"block {key[1:].hex()} of height {height}", name.hex())

    def _of_kind(self, kind: bytes) -> list[bytes]:
        return [key for key in self._table if key.startswith(kind)]

    def _proposal(self, height: int, signed: bytes) -> None:
        """Check the block that a former store's last vote is for, while its height is not decided there."""
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

    def _unexplained(self, decided: int, vote_height: int) -> None:
        """Name every entry that no decided height, and no vote, explains."""
        explained = set(joined((b"m/format", b"m/genesis", b"m/height", b"v"), _keys(range(1, decided + 1), b"htecr")))
        if vote_height == decided + 1:
            explained.update(_keys([vote_height], b"ht") if self._former else self._of_kind(b"j") + self._of_kind(b"b"))
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
