"""Verifies the raw records of heights, one after another, whoever they come from.

For each height: the commit by the validators that the height before announced (every signature in it), the header by
the commit, the transactions by the header, all of it by the height before (`chain.light`), and the app hash by what
executing the height before gave. A fault is named in the record that has it.
"""

import hashlib
from dataclasses import dataclass

from chain import light
from chain.genesis import Genesis
from chain.light import Height
from chain.light import errors as light_errors
from chain.validators import CONSENSUS_PARAMS, genesis_time, genesis_validators
from node.audit import checks
from node.audit.errors import FaultError
from node.audit.replay import Cursor, Replays
from node.audit.report import Part
from node.audit.source import HeightRecords, Source


@dataclass(frozen=True, slots=True)
class Verified:
    """A height whose records are right; `name` is the digest over all bytes of the chain up to it."""

    name: bytes
    trusted: light.Trusted
    hash: bytes
    txs: tuple[bytes, ...]


class Certificates:
    """Verifies heights of one ledger; a height whose bytes, and all before it, are known is not verified again.

    Args:
        genesis: its validators are trusted; later ones follow from headers.
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
        self._start = hashlib.sha256(genesis.encode()).digest()
        self._known: dict[bytes, Verified] = {}

    def verify(self, before: Verified | None, records: HeightRecords, cursor: Cursor, source: Source) -> Verified:
        """Return the height that follows `before`; `cursor` has executed up to there.

        `source` is asked for validators when the header announces others. Raises FaultError, UnansweredError.
        """
        digest = hashlib.sha256(before.name if before else self._start)
        for raw in (records.header, records.commit, records.transactions):
            digest.update(len(raw).to_bytes(8, "big") + raw)
        name = digest.digest()
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._verify(name, before, records, cursor, source)
            if self._memory is not None and len(self._known) > self._memory:
                del self._known[next(iter(self._known))]
        return known

    def following(self, before: Verified | None) -> light.ValidatorSet:
        """Return the validators of the height after `before`."""
        return before.trusted.next_validators if before else self.validators

    def _verify(
        self, name: bytes, before: Verified | None, records: HeightRecords, cursor: Cursor, source: Source
    ) -> Verified:
        last = before.trusted.commit if before else light.EMPTY_COMMIT
        try:
            header, commit = light.decode_header(records.header), light.decode_commit(records.commit)
            txs = light.decode_txs(records.transactions)
            trusted = self._follow(before, header, commit, cursor, self._announced(before, header, commit, source))
            light.verify_block(light.Block(header, txs, last), commit.block_id)
        except light_errors.LightError as error:
            raise self._blamed(before, last, records, error) from error
        _check_rules(header, self.genesis)
        self.signatures += sum(slot.flag != light.BlockIdFlag.ABSENT for slot in commit.signatures)
        return Verified(name, trusted, commit.block_id.hash, txs)

    def _announced(
        self, before: Verified | None, header: light.Header, commit: light.Commit, source: Source
    ) -> light.ValidatorSet | None:
        """Return the next height's validators where they are not this height's, which a quorum of these has signed."""
        current = self.following(before)
        if header.next_validators_hash == light.validators_hash(current):
            return None
        light.verify_commit(header, commit, current, self.genesis.name)  # what nobody signed announces nothing
        announced = source.validators(Height(header.height + 1))
        found = light.validators_hash(announced)
        if found != header.next_validators_hash:
            raise FaultError(
                Part.VALIDATORS,
                f"those of height {header.height + 1} with hash 0x{header.next_validators_hash.hex()}, which the header"
                " announces",
                f"0x{found.hex()}",
            )
        return announced

    def _follow(
        self,
        before: Verified | None,
        header: light.Header,
        commit: light.Commit,
        cursor: Cursor,
        announced: light.ValidatorSet | None,
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
                next_validators=announced,
            )
        return light.verify_next(
            before.trusted,
            header,
            commit,
            app_hash=step.app_hash,
            last_results_hash=step.results_hash,
            next_validators=announced,
        )

    def _blamed(
        self, before: Verified | None, last: light.Commit, records: HeightRecords, error: light_errors.LightError
    ) -> FaultError:
        """Find the record that is at fault for `error`: the one that fails when each is judged by what names it."""
        try:
            commit = checks.commit(records.commit, records.height, self.following(before), self.genesis.name)
            header = checks.header(records.header, records.height, commit.block_id)
            checks.transactions(records.transactions, header.data_hash)
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


def _check_rules(header: light.Header, genesis: Genesis) -> None:
    """Check what a header says about the rules that it follows; what an engine may say is decided here alone."""
    announced = (header.consensus_hash, header.app_version)
    wanted = (light.consensus_hash(CONSENSUS_PARAMS), genesis.versions.execution)
    if announced != wanted:
        raise FaultError(Part.HEADER, f"consensus hash and version {wanted}", str(announced))
