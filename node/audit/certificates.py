"""Verifies the raw records of heights, one after another, whoever they come from.

For each height: the commit by the validators that follow from executing the heights before (every signature in it), the
header by the commit, transactions and evidence by the header, all of it by the height before (`chain.light`), the app
hash by what executing the height before gave, and what the evidence proves. A fault is named in the record that has it.
"""

import hashlib
from dataclasses import dataclass

from chain import light
from chain.application import Misbehavior, Timestamp
from chain.genesis import Genesis
from chain.light import errors as light_errors
from chain.validators import CONSENSUS_PARAMS, EVIDENCE_AGE, genesis_time, genesis_validators
from node.audit import checks
from node.audit.errors import FaultError
from node.audit.replay import Cursor, Inputs, Replays
from node.audit.report import Part
from node.audit.source import HeightRecords


@dataclass(frozen=True, slots=True)
class Verified:
    """A height whose records are right; `name` is the digest over all bytes of the chain up to it.

    `inputs` is what the height executes; `faults` are those that the chain has seen evidence of, this height included.
    """

    name: bytes
    trusted: light.Trusted
    hash: bytes
    inputs: Inputs
    faults: frozenset[tuple[object, ...]] = frozenset()


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of the heights before one: executed up to there by `cursor`, `headers[h - 1]` names height h."""

    cursor: Cursor
    headers: list[bytes]

    def validators(self, height: int) -> light.ValidatorSet:
        """Return who decides a height, at most the one that is two after the last that was executed."""
        return self.cursor.replay.validators(height)

    def time(self, height: int) -> light.Timestamp:
        """Return the time of a height."""
        time = self.cursor.replay.steps[height].time
        return light.Timestamp(time.seconds, time.nanos)

    def header_hash(self, height: int) -> bytes:
        """Return the hash of a height's header."""
        return self.headers[height - 1]


class Certificates:
    """Verifies heights of one ledger; a height whose bytes, and all before it, are known is not verified again.

    Args:
        genesis: its validators are trusted; later ones follow from what is executed.
        replays: what was executed.
        memory: how many heights are remembered at most, the newest ones; None for all.

    """

    def __init__(self, genesis: Genesis, replays: Replays, memory: int | None = None) -> None:
        """Trust the genesis document's validators."""
        self.genesis = genesis
        self.validators = genesis_validators(genesis)
        self.replays = replays
        self.signatures = 0
        self._memory = memory
        self._start = genesis.digest()
        self._known: dict[bytes, Verified] = {}

    def verify(self, before: Verified | None, records: HeightRecords, past: Past) -> Verified:
        """Return the height that follows `before`; `past` goes up to there. Raises FaultError."""
        digest = hashlib.sha256(before.name if before else self._start)
        for raw in (records.header, records.commit, records.transactions, records.evidence):
            digest.update(len(raw).to_bytes(8, "big") + raw)
        name = digest.digest()
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._verify(name, before, records, past)
            if self._memory is not None and len(self._known) > self._memory:
                del self._known[next(iter(self._known))]
        return known

    def following(self, before: Verified | None) -> light.ValidatorSet:
        """Return the validators of the height after `before`."""
        return before.trusted.next_validators if before else self.validators

    def _verify(self, name: bytes, before: Verified | None, records: HeightRecords, past: Past) -> Verified:
        last = before.trusted.commit if before else light.EMPTY_COMMIT
        try:
            header, commit = light.decode_header(records.header), light.decode_commit(records.commit)
            txs, evidence = light.decode_txs(records.transactions), light.decode_evidence_list(records.evidence)
            trusted = self._follow(before, header, commit, past)
            light.verify_block(light.Block(header, txs, last, evidence), commit.block_id)
        except light_errors.LightError as error:
            raise self._blamed(before, last, records, past, error) from error
        _check_rules(header, self.genesis)
        found = self._proven(before, evidence, past)
        faults = (before.faults if before else frozenset()).union(map(light.fault_of, found))
        self.signatures += sum(slot.flag != light.BlockIdFlag.ABSENT for slot in commit.signatures)
        inputs = Inputs(Timestamp(header.time.seconds, header.time.nanos), txs, _misbehavior(found))
        return Verified(name, trusted, commit.block_id.hash, inputs, faults)

    def _proven(self, before: Verified | None, evidence: tuple[bytes, ...], past: Past) -> list[light.Evidence]:
        """Return the evidence of a block; FaultError for any that proves nothing, or nothing new."""
        found: list[light.Evidence] = []
        faults = set(before.faults if before else ())
        for raw in evidence:
            if before is None:
                raise FaultError(Part.EVIDENCE, "none in height 1, before which nobody has voted", f"0x{raw.hex()}")
            try:
                one = light.decode_evidence(raw)
                light.verify_evidence(one, before.trusted.header, past, self.genesis.name, EVIDENCE_AGE)
            except light_errors.EvidenceError as error:
                raise FaultError(Part.EVIDENCE, f"{error.what}: {error.expected}", error.found) from error
            except light_errors.LightError as error:
                raise FaultError(Part.EVIDENCE, "evidence that proves a fault", str(error)) from error
            if light.fault_of(one) in faults:
                raise FaultError(Part.EVIDENCE, "evidence of each fault once", "the same again")
            faults.add(light.fault_of(one))
            found.append(one)
        return found

    def _follow(self, before: Verified | None, header: light.Header, commit: light.Commit, past: Past) -> light.Trusted:
        step = past.cursor.step
        following = past.validators(step.height + 2)
        if before is None:
            return light.verify_first(
                header,
                commit,
                self.validators,
                self.genesis.name,
                genesis_time=genesis_time(self.genesis),
                app_hash=step.app_hash,
                next_validators=following,
            )
        return light.verify_next(
            before.trusted,
            header,
            commit,
            app_hash=step.app_hash,
            last_results_hash=step.results_hash,
            next_validators=following,
        )

    def _blamed(
        self,
        before: Verified | None,
        last: light.Commit,
        records: HeightRecords,
        past: Past,
        error: light_errors.LightError,
    ) -> FaultError:
        """Find the record that is at fault for `error`: the one that fails when each is judged by what names it."""
        try:
            commit = checks.commit(records.commit, records.height, self.following(before), self.genesis.name)
            header = checks.header(records.header, records.height, commit.block_id)
            checks.transactions(records.transactions, header.data_hash)
            checks.evidence(records.evidence, header.evidence_hash)
            _check_validators(header, self.following(before), past)
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


def _check_validators(header: light.Header, current: light.ValidatorSet, past: Past) -> None:
    """Check that a header names the validators that executing the heights before gives."""
    try:
        following = past.validators(past.cursor.height + 2)
    except light_errors.InvalidValidatorSetError as error:
        raise FaultError(
            Part.VALIDATORS, "no further height, for an engine stops at such an update", str(error)
        ) from error
    for of, validators, found in (
        (header.height, current, header.validators_hash),
        (header.height + 1, following, header.next_validators_hash),
    ):
        expected = light.validators_hash(validators)
        if found != expected:
            said = f"those of height {of} by what was executed, with hash 0x{expected.hex()}"
            raise FaultError(Part.VALIDATORS, said, f"0x{found.hex()} in the header")


def _misbehavior(evidence: list[light.Evidence]) -> tuple[Misbehavior, ...]:
    """Return what the engine reports to the ledger."""
    return tuple(
        Misbehavior(
            kind=one.kind,
            validator=one.validator,
            power=one.power,
            height=one.height,
            time_ns=one.time.to_ns(),
            total_power=one.total_power,
        )
        for found in evidence
        for one in light.accusations(found)
    )


def _check_rules(header: light.Header, genesis: Genesis) -> None:
    """Check what a header says about the rules that it follows: genesis's for ever.

    Which version executes a block is read from state (chain/execution/ADR-versions.md) and so checked by the app hash.
    """
    announced = (header.consensus_hash, header.app_version)
    wanted = (light.consensus_hash(CONSENSUS_PARAMS), genesis.versions.execution)
    if announced != wanted:
        raise FaultError(Part.HEADER, f"consensus hash and version {wanted}", str(announced))
