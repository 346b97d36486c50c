"""One validator's application and store, and the order in which it touches them.

For each height: `accepts`, `execute` (in memory), `save` (engine store), `decide` (application). A crash between any
two of these leaves one of three situations, and `recover` knows each: nothing of the height is decided (the journal
says how far it got), the engine store is ahead of the application (heights are executed again), or both stand at the
same height.

`save` touches the engine store only and may run in a thread of its own; the rest belongs to the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain import light
from chain.application import Timestamp as BlockTime
from chain.engines import errors
from chain.engines.base import last_results_hash
from chain.engines.embedded.evidence import EvidencePool, misbehavior
from chain.engines.embedded.sets import ValidatorSets
from chain.engines.embedded.store import Outcome
from chain.light import Height
from chain.light.errors import CertificateError, UnexpectedValidatorsError
from chain.validators import CONSENSUS_PARAMS, genesis_time, transaction_bytes_max

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.crypto.schemes import SigningKey
    from chain.engines.base import ReplicatedApplication
    from chain.engines.embedded.store import EngineStore
    from chain.genesis import Genesis


@dataclass(frozen=True, slots=True)
class Validator:
    """What a validator of this process brings; whoever opened the application and the store closes them.

    `later`: keys that took the place of `key` by vote, or may yet, the newest last.
    """

    key: SigningKey
    application: ReplicatedApplication
    store: EngineStore
    later: tuple[SigningKey, ...] = ()


class Replica:
    """A validator at work."""

    def __init__(self, validator: Validator, genesis: Genesis) -> None:
        """Prepare; `recover` comes before anything else."""
        self.application, self.store = validator.application, validator.store
        self.name = light.validator_address(validator.key.public_key)
        """What the others of this process know it by: the address of its first key."""
        self.addresses = (self.name, *(light.validator_address(key.public_key) for key in validator.later))
        """Those of all its keys, the newest last."""
        self.running = False
        self.sets = ValidatorSets(genesis)
        self.evidence = EvidencePool(self.sets, self.store, genesis.name)
        self.outcome = Outcome(app_hash=b"", results_hash=light.results_hash(()))
        self._trusted: light.Trusted | None = None
        self._genesis = genesis

    @property
    def chain_id(self) -> str:
        """The chain's name, which headers and votes carry."""
        return self._genesis.name

    @property
    def height(self) -> Height:
        """The last height that is decided, executed and durable here."""
        return self._trusted.header.height if self._trusted else Height(0)

    @property
    def validators(self) -> light.ValidatorSet:
        """Who decides the height after that."""
        return self.sets.at(self.height + 1)

    @property
    def next_validators(self) -> light.ValidatorSet:
        """Who decides the height after the next."""
        return self.sets.at(self.height + 2)

    @property
    def address(self) -> bytes:
        """The address by which it votes at the next height: of its newest key that validates there, else the newest."""
        validating = (one for one in reversed(self.addresses) if one in self.validators.addresses)
        return next(validating, self.addresses[-1])

    @property
    def power(self) -> int:
        """Its voting power at the next height; 0 if it is no validator there."""
        return next((one.power for one in self.validators if one.address == self.address), 0)

    def recover(self) -> None:
        """Bring the application to the engine store's height, and remember where both stand.

        Raises ApplicationAheadError, ReplayError, CorruptRecordError, or the LightError of the newest height or of one
        that is replayed.
        """
        stored, self._trusted = self.store.height, None
        self.sets.recover(stored, self.store.changes())
        info = self.application.info()
        if info.height > stored:
            raise errors.ApplicationAheadError(self.address, Height(info.height), stored)
        app_hash = info.app_hash if info.height else self.application.init_chain(self._genesis)
        self.outcome = Outcome(app_hash, light.results_hash(()))
        for height in range(info.height + 1, stored + 1):
            self._replay(Height(height))
        self.evidence.recover()
        if stored:
            recorded = self.store.outcome(stored)
            if self.outcome.app_hash != recorded.app_hash:
                raise errors.ReplayError(self.address, stored, recorded.app_hash, self.outcome.app_hash)
            self.outcome = recorded
            block, commit = self.store.block(stored), self.store.commit(stored)
            trusted = light.Trusted(block.header, commit, self.sets.at(stored), self.sets.at(stored + 1))
            light.verify_commit(block.header, commit, trusted.validators, self._genesis.name)
            light.verify_block(block, commit.block_id)
            announced, known = block.header.next_validators_hash, light.validators_hash(trusted.next_validators)
            if announced != known:
                raise UnexpectedValidatorsError(stored + 1, announced, known)
            self._trusted = trusted

    def _replay(self, height: Height) -> None:
        recorded, block = self.store.outcome(height), self.store.block(height)
        light.verify_block(block, self.store.commit(height).block_id)
        outcome = self._executed(block)
        for was, now in (
            (recorded.app_hash, outcome.app_hash),
            (recorded.results_hash, outcome.results_hash),
            (recorded.encode(), outcome.encode()),
        ):
            if was != now:
                raise errors.ReplayError(self.address, height, was, now)
        self.application.commit()
        self.outcome = outcome

    def propose(self, waiting: Sequence[bytes]) -> light.Block:
        """Build the next block from what waits in the pool; raises ProposalTooLargeError."""
        evidence = self.evidence.due()
        allowed = transaction_bytes_max(len(self.validators)) - len(light.encode_evidence_list(evidence))
        last_commit = self._trusted.commit if self._trusted else light.EMPTY_COMMIT
        time = self._time(last_commit)
        txs = tuple(self.application.prepare_proposal(waiting, allowed, BlockTime(time.seconds, time.nanos)))
        found = len(light.encode_txs(txs))
        if found > allowed:
            raise errors.ProposalTooLargeError(Height(self.height + 1), allowed, found)
        return self._block(txs, self.address, last_commit, evidence)

    def accepts(self, block: light.Block) -> bool:
        """Tell whether `block` is what may follow here: its last commit, its header, its evidence, its transactions."""
        return (
            block.header.proposer_address in self.validators.addresses
            and self._accepts_last_commit(block.last_commit)
            and self.evidence.accepts(block.evidence, self._trusted.header if self._trusted else None)
            and block == self._block(block.txs, block.header.proposer_address, block.last_commit, block.evidence)
            and self.application.process_proposal(
                block.txs, BlockTime(block.header.time.seconds, block.header.time.nanos)
            )
        )

    def _accepts_last_commit(self, commit: light.Commit) -> bool:
        """Tell whether a commit proves the height before: any quorum's votes for the block decided here will do."""
        before = self._trusted
        if before is None or commit == before.commit:
            return commit == (before.commit if before else light.EMPTY_COMMIT)
        try:
            light.verify_commit(before.header, commit, before.validators, self._genesis.name)
        except CertificateError:
            return False
        return commit.block_id == before.commit.block_id

    def _time(self, last_commit: light.Commit) -> light.Timestamp:
        """Return the next block's time: the median of the votes for the last one (CometBFT's BFT time)."""
        before = self._trusted
        return light.median_time(last_commit, before.validators) if before else genesis_time(self._genesis)

    def _block(
        self, txs: tuple[bytes, ...], proposer: bytes, last_commit: light.Commit, evidence: tuple[bytes, ...]
    ) -> light.Block:
        header = light.Header(
            app_version=self._genesis.versions.execution,
            chain_id=self._genesis.name,
            height=Height(self.height + 1),
            time=self._time(last_commit),
            last_block_id=last_commit.block_id,
            last_commit_hash=light.commit_hash(last_commit),
            data_hash=light.data_hash(txs),
            validators_hash=light.validators_hash(self.validators),
            next_validators_hash=light.validators_hash(self.next_validators),
            consensus_hash=light.consensus_hash(CONSENSUS_PARAMS),
            app_hash=self.outcome.app_hash,
            last_results_hash=self.outcome.results_hash,
            evidence_hash=light.evidence_hash(evidence),
            proposer_address=proposer,
        )
        return light.Block(header, txs, last_commit, evidence)

    def execute(self, block: light.Block) -> Outcome:
        """Execute a block in memory.

        Raises InvalidValidatorSetError or ValidatorPowersError for changes that no set of validators can take.
        """
        outcome = self._executed(block)
        self.sets.check(outcome.updates)
        return outcome

    def _executed(self, block: light.Block) -> Outcome:
        time = BlockTime(block.header.time.seconds, block.header.time.nanos)
        finalized = self.application.finalize_block(block.header.height, time, block.txs, misbehavior(block.evidence))
        return Outcome(finalized.app_hash, last_results_hash(finalized.results), finalized.validator_updates)

    def follow(self, block: light.Block, commit: light.Commit) -> None:
        """Verify a block's header, its commit and its last commit against all that is known here; raises LightError."""
        if self._trusted is None:
            light.verify_first(
                block.header,
                commit,
                self.validators,
                self._genesis.name,
                genesis_time=genesis_time(self._genesis),
                app_hash=self.outcome.app_hash,
                next_validators=self.next_validators,
            )
        else:
            light.verify_next(
                self._trusted,
                block.header,
                commit,
                last_commit=block.last_commit,
                app_hash=self.outcome.app_hash,
                last_results_hash=self.outcome.results_hash,
                next_validators=self.next_validators,
            )

    def save(self, block: light.Block, commit: light.Commit, outcome: Outcome) -> None:
        """Make a decided height durable in the engine store; `recover` heals a crash between this and `decide`."""
        self.store.save(block, commit, outcome)

    def decide(self, block: light.Block, commit: light.Commit, outcome: Outcome) -> None:
        """Make the executed and saved height durable in the application."""
        self.application.commit()
        self.evidence.decided(block.header.height, block.evidence)
        self._trusted = light.Trusted(block.header, commit, self.validators, self.next_validators)
        self.outcome = outcome
        self.sets.decided(outcome.updates)
