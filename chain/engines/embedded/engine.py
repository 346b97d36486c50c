"""N validators in one process: the heights that they agree on, one after another.

A height: every running validator begins it, they agree by messages (`node.py`, `network.py`), whoever missed the
decision learns it from the others, every running validator executes the block and the results are compared; then each
writes it down. What the engine itself decides is when a height begins and what waits for a block; what the block of the
height is, only the validators can decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from chain import light
from chain.application import Code
from chain.engines import errors
from chain.engines.base import EngineName, StoredHistory
from chain.engines.embedded.member import Member
from chain.engines.embedded.network import Network, each
from chain.engines.embedded.node import Agreed, Node
from chain.engines.embedded.replica import Replica
from chain.engines.embedded.signer import Signer
from chain.engines.embedded.verdicts import Verdicts
from chain.engines.heights import Heights
from chain.engines.pool import Pool
from chain.light import Height
from chain.validators import genesis_validators

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Executor

    from chain.application import CheckResult
    from chain.consensus.types import Address
    from chain.engines.embedded.replica import Validator
    from chain.engines.embedded.store import Outcome
    from chain.genesis import Genesis
    from merit.clock import Clock

_LOGGER: Final = logging.getLogger(__name__)

EMPTY_INTERVAL_S: Final = 5.0
BATCHING_S: Final = 0.02
OLD_S: Final = 2.0
"""Without empty heights in every pause, an empty one comes before transactions whose time would be older than this."""
_NS: Final = 10**9
_TURNS_EACH: Final = 2
"""Rounds in which each validator proposes before a height that nobody accepts stops the engine."""
_DUE_S: Final = 1e-6
"""What is due within a microsecond is due: a sum of floats need not reach its goal exactly."""


class EmbeddedEngine:
    """An `Engine` (chain/engines/base.py) over all of its validators; `member(i)` is the view of one."""

    def __init__(
        self,
        validators: Sequence[Validator],
        genesis: Genesis,
        clock: Clock,
        *,
        block_interval: float = 0.0,
        empty_interval: float = EMPTY_INTERVAL_S,
        batching: float = BATCHING_S,
        manual: bool = False,
        executor: Executor | None = None,
    ) -> None:
        """Prepare; nothing is touched before `start`. Raises UnknownValidatorError.

        - `validators`: those that live in this process; others that genesis names never run.
        - `block_interval`: seconds between two heights, at least.
        - `empty_interval`: seconds after which a height is made without transactions; 0 for none in a pause, but one
          at its end, because the votes for it date the transactions after it.
        - `batching`: seconds that a height waits for more transactions after the first.
        - `manual`: make heights only when `advance` is called.
        - `executor`: threads for signing and for writing engine stores, one per validator at best.
        """
        self.genesis = genesis
        self.validator_set = genesis_validators(genesis)
        self._replicas = [Replica(validator, genesis) for validator in validators]
        for replica in self._replicas:
            if [other.address for other in self._replicas].count(replica.address) > 1:
                raise errors.UnknownValidatorError(replica.address, "is given twice")
        verdicts = Verdicts()
        self.nodes = tuple(
            Node(replica, Signer(validator.key, genesis.name, clock), self, verdicts, clock)
            for replica, validator in zip(self._replicas, validators, strict=True)
        )
        """The validators at work: what each refused, and whom it accuses."""
        self._network = Network(self.nodes, clock, executor)
        self._drafts: dict[bytes, light.Block] = {}
        """By proposer: what it will propose next, where that has been asked already."""
        self._clock, self._executor = clock, executor
        self._block_interval, self._empty_interval, self._batching = block_interval, empty_interval, batching
        self._manual = manual
        self._pool = Pool()
        self._turn = asyncio.Lock()  # held for a height, and while a validator comes or goes
        self._wake, self._stopping = asyncio.Event(), asyncio.Event()
        self._news = asyncio.Event()  # set and replaced by `_tell`
        self._task: asyncio.Task[None] | None = None
        self._started = False
        self._failure: Exception | None = None
        self.ended = False
        """Whether `stop` was called after the last `start`."""
        self._last_height_at = self._clock.monotonic()
        self._work_since: float | None = None
        self._time_asked = False  # the next height is wanted for its time alone

    # What the rest of Merit sees

    @property
    def name(self) -> EngineName:
        """Which engine this is."""
        return EngineName.EMBEDDED

    @property
    def chain_id(self) -> str:
        """The chain's name, which headers and votes carry."""
        return self.genesis.name

    @property
    def height(self) -> Height:
        """The last height that every running validator has made durable (when none runs: that any has)."""
        return min((replica.height for replica in self._running()), default=self._newest().height)

    @property
    def failure(self) -> Exception | None:
        """What has stopped the engine, unless that was `stop`."""
        return self._failure

    def member(self, number: int) -> Member:
        """Return the view of validator `number` (its place in the list that the engine was given)."""
        return Member(self, self._replicas[number], number)

    def submit(self, raw: bytes) -> CheckResult:
        """Check a transaction at the first running validator, and pool it if that accepts.

        Raises NotRunningError, PoolFullError.
        """
        self._require_started()
        running = self._running()
        if not running:
            raise errors.NotRunningError(self._replicas[0].address)
        return self.submit_at(running[0], raw)

    def submit_at(self, replica: Replica, raw: bytes) -> CheckResult:
        """Check a transaction at one validator, and pool it if that accepts; raises NotRunningError, PoolFullError."""
        self._require_started()
        if not replica.running:
            raise errors.NotRunningError(replica.address)
        verdict = self._pool.known(raw)
        if verdict is None:
            self._pool.require_room(raw)
            verdict = replica.application.check_tx(raw)
            if verdict.accepted:
                self._pool.add(raw, replica.address, verdict)
                self._ask_for_height()
            elif verdict.code is Code.QUOTA and not self._manual:
                self._show_time()
        return verdict

    def _ask_for_height(self) -> None:
        if self._work_since is None:
            self._work_since = self._clock.monotonic()
            self._wake.set()

    def _show_time(self) -> None:
        """Make an empty height if the ledger's time is behind: quotas begin anew with block time, and nothing shows it.

        A height's time is that of the votes for the one before, so it may take two; whoever waits asks again.
        """
        last = self.header(self.height).time.to_ns() if self.height else self.genesis.time * _NS
        if self._clock.now_ns() - last > OLD_S * _NS:
            self._time_asked = True
            self._ask_for_height()

    def subscribe(self, after: Height | None = None) -> AsyncIterator[Height]:
        """Yield every height after `after` (by default: after now), in order, once it is durable everywhere."""
        return Heights(self, lambda: self.height, after)

    async def news(self) -> None:
        """Wait until a height is durable, a validator comes or goes, or the engine ends."""
        await self._news.wait()

    @property
    def history(self) -> StoredHistory:
        """What the stores hold."""
        return StoredHistory(self)

    def validators(self, height: Height) -> light.ValidatorSet:  # noqa: ARG002 - they never change in this version
        """Return the validators of a height."""
        return self.validator_set

    def header(self, height: Height) -> light.Header:
        """Return the header of a decided height; raises UnknownHeightError."""
        return self._newest().store.header(height)

    def commit(self, height: Height) -> light.Commit:
        """Return the commit that decided a height; raises UnknownHeightError."""
        return self._newest().store.commit(height)

    def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return the transactions of a decided height; raises UnknownHeightError."""
        return self._newest().store.transactions(height)

    # Coming and going

    async def start(self) -> None:
        """Recover every validator, bring all to one height, then make heights (unless `manual`).

        Raises RecoveryError, EngineStoreError, DivergenceError or LightError.
        """
        if self._started:
            return
        self._failure, self.ended = None, False
        self._stopping.clear()
        async with self._turn:
            await self._admit(self.nodes)
        self._started = True
        self._last_height_at = self._clock.monotonic()
        self._work_since = self._last_height_at if len(self._pool) else None
        if not self._manual:
            self._task = asyncio.create_task(self._run(), name=f"engine {self.chain_id}")

    async def stop(self) -> None:
        """Finish the height under way and end; raises what had stopped the engine before, if anything had.

        The pool is lost, as with any node; stores and applications stay open, for whoever opened them to close.
        """
        self._stopping.set()
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        async with self._turn:
            self._started, self.ended = False, True
            for replica in self._replicas:
                replica.running = False
        self._tell()
        if self._failure is not None:
            raise self._failure

    async def stop_validator(self, number: int) -> None:
        """Let one validator take no more part, as if its machine were switched off between two heights."""
        async with self._turn:
            self._replicas[number].running = False
        self._tell()

    async def start_validator(self, number: int) -> None:
        """Let a stopped validator recover, catch up and take part again; raises as `start`."""
        self._require_started()
        async with self._turn:
            if not self.nodes[number].running:
                await self._admit([self.nodes[number]])
        self._wake.set()
        self._tell()

    async def _admit(self, nodes: Sequence[Node]) -> None:
        """Let validators recover, bring all that run to one height, see that they agree there, and let these join."""
        try:
            for node in nodes:
                node.recover()
                node.replica.running = True
            await self._level()
        except BaseException:
            for node in nodes:
                node.replica.running = False
            raise
        for node in nodes:
            node.join()

    async def _level(self) -> None:
        """Let those behind ask the others until nobody learns anything more; nobody signs for what it learns."""
        nodes, learning = self._running_nodes(), True
        while learning:
            for node in nodes:
                node.ask()
            await self._network.settle()
            learning = False
            for node in nodes:
                if node.agreed is not None:
                    node.finish()
                    learning = True
        newest = max(node.replica.height for node in nodes)
        self._require_agreement(newest, {node.replica.address: node.replica.outcome for node in nodes})

    # Heights

    async def advance(self, *, empty: bool = True) -> Height | None:
        """Make one height now and return it; None if there is nothing to put into it and `empty` is not allowed.

        Raises NoQuorumError, after which the engine goes on, or what has stopped it.
        """
        self._require_started()
        try:
            async with self._turn:
                return await self._advance(empty=empty)
        except errors.NoQuorumError:
            raise
        except Exception as error:
            self._fail(error)
            raise

    async def _advance(self, *, empty: bool) -> Height | None:
        nodes = self._running_nodes()
        height = Height(self.height + 1)
        self._require_quorum(height, nodes)
        self._time_asked = False
        self._work_since = None  # whatever is submitted from here on asks for the next height
        self._drafts.clear()
        if not (empty or any(node.driver for node in nodes) or self._has_work(nodes)):
            return None  # what waits cannot go into a block yet: until more comes, there is nothing to do
        agreed = await self._agree(height, nodes)
        outcomes: dict[bytes, Outcome] = {}
        for node in nodes:
            outcomes[node.address] = node.replica.execute(agreed[node.address].block)
            await self._clock.sleep(0)  # executing is the long part: let the server answer in between
        self._require_agreement(height, outcomes)
        await each(self._executor, nodes, lambda node: node.save(agreed[node.address], outcomes[node.address]))
        for node in nodes:
            node.commit(agreed[node.address], outcomes[node.address])
        self._after(agreed[nodes[0].address].block)
        return height

    async def _agree(self, height: Height, nodes: Sequence[Node]) -> dict[Address, Agreed]:
        """Let the validators agree on a block, and tell those that cannot see the decision; return it for each.

        While nobody has decided and nothing is under way, each says again what others may have missed, then the next
        timeout elapses.
        """
        for node in nodes:
            node.begin()
        await self._network.settle()
        while all(node.agreed is None for node in nodes):
            for node in nodes:
                node.repeat()
            await self._network.settle()
            self._require_acceptance(height, nodes)
            if all(node.agreed is None for node in nodes) and not self._network.hurry():
                raise errors.StandstillError(height, [node.address for node in nodes])
            await self._network.settle()
        for node in nodes:
            if node.agreed is None:
                node.ask()
        await self._network.settle()
        agreed = {node.address: found for node in nodes if (found := node.agreed) is not None}
        if len(agreed) < len(nodes):
            raise errors.StandstillError(height, [node.address for node in nodes if node.address not in agreed])
        return agreed

    def _require_acceptance(self, height: Height, nodes: Sequence[Node]) -> None:
        """Raise ProposalRefusedError once every validator has proposed twice and no block found enough acceptance.

        Where all that is said arrives, an honest proposer's block is decided in its round, unless it is not valid.
        """
        if min(node.rounds_tried for node in nodes) < _TURNS_EACH * len(self.validator_set):
            return
        names = {name for node in nodes for name in node.accepted}
        powers = [sum(node.replica.power for node in nodes if name in node.accepted) for name in names]
        raise errors.ProposalRefusedError(height, max(powers, default=0), self.validator_set.total_power)

    # What the network asks

    def send(self, sender: Address, receiver: Address | None, raw: bytes) -> None:
        """Hand a message to the network."""
        self._network.send(sender, receiver, raw)

    def choose(self, replica: Replica) -> light.Block:
        """Return the block that this replica proposes: what waits, but first an empty one if it would be dated old."""
        if replica.address not in self._drafts:
            self._draft(replica)
        return self._drafts.pop(replica.address)

    def _draft(self, replica: Replica) -> bool:
        """Prepare what this replica proposes next; tell whether anything of what waits can go into a block now."""
        block = replica.propose(self._pool.transactions())
        late = bool(block.txs) and self._is_old(block)
        self._drafts[replica.address] = replica.propose(()) if late else block
        return bool(block.txs)

    def _has_work(self, nodes: Sequence[Node]) -> bool:
        """Ask who proposes first: the first of those that run whose turn comes."""
        by_address = {node.address: node for node in nodes}
        proposer = next(turn for turn in nodes[0].turns() if turn in by_address)
        return self._draft(by_address[proposer].replica)

    def _is_old(self, block: light.Block) -> bool:
        """Tell whether a block would be dated long before now, as the first after a pause is."""
        most = (self._empty_interval or OLD_S) + self._block_interval
        return not self._manual and self._clock.now_ns() - block.header.time.to_ns() > most * _NS

    def _after(self, block: light.Block) -> None:
        for raw in block.txs:
            self._pool.remove(raw)
        running = {replica.address: replica for replica in self._running()}
        anyone = next(iter(running.values()))
        self._pool.recheck(lambda raw, entry: running.get(entry, anyone).application.check_tx(raw, recheck=True))
        self._last_height_at = self._clock.monotonic()
        if self._work_since is None and len(self._pool):
            self._work_since = self._last_height_at  # this block was full, or came only for its time
        _LOGGER.debug("height %d: %d transactions", block.header.height, len(block.txs))
        self._tell()

    def _require_agreement(self, height: Height, outcomes: dict[bytes, Outcome]) -> None:
        for what, results in (
            ("app hash", {address: outcome.app_hash for address, outcome in outcomes.items()}),
            ("transaction results", {address: outcome.results_hash for address, outcome in outcomes.items()}),
        ):
            if len(set(results.values())) > 1:
                raise errors.DivergenceError(height, what, results)

    # The loop

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            delay = self._delay()
            if delay is None or delay > _DUE_S:
                await self._rest(delay)
                continue
            try:
                await self.advance(empty=self._empty_due() or self._time_asked)
            except errors.NoQuorumError:
                continue  # a validator stopped while this height waited for its turn
            except Exception:  # noqa: BLE001 - `advance` has kept it for `stop`, `submit` and the subscribers
                return

    def _delay(self) -> float | None:
        """Return the seconds until the next height is due; None if nothing makes one due."""
        if not light.has_quorum(self._voting_power(self._running_nodes()), self.validator_set.total_power):
            return None
        now, reasons = self._clock.monotonic(), []
        if self._work_since is not None:
            reasons.append(self._work_since + self._batching)
        if self._empty_interval > 0:
            reasons.append(self._last_height_at + self._empty_interval)
        return max(min(reasons), self._last_height_at + self._block_interval) - now if reasons else None

    def _empty_due(self) -> bool:
        due = self._last_height_at + self._empty_interval - self._clock.monotonic()
        return self._empty_interval > 0 and due <= _DUE_S

    async def _rest(self, seconds: float | None) -> None:
        """Wait for a wake-up call, but not longer than `seconds`."""
        if seconds is None:
            await self._wake.wait()
            return
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({timer, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (timer, waker):
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _fail(self, error: Exception) -> None:
        _LOGGER.critical("the engine has stopped: %s", error)
        self._failure = error
        self._tell()

    # Small questions

    def _running(self) -> list[Replica]:
        return [replica for replica in self._replicas if replica.running]

    def _running_nodes(self) -> list[Node]:
        return [node for node in self.nodes if node.running]

    def _voting_power(self, nodes: Sequence[Node]) -> int:
        return sum(node.replica.power for node in nodes if not node.silent)

    def _newest(self) -> Replica:
        return max(self._replicas, key=lambda replica: replica.height)

    def _require_started(self) -> None:
        if self._failure is not None:
            raise errors.NotRunningError(cause=self._failure) from self._failure
        if not self._started:
            raise errors.NotRunningError

    def _require_quorum(self, height: Height, nodes: Sequence[Node]) -> None:
        power, total = self._voting_power(nodes), self.validator_set.total_power
        if not light.has_quorum(power, total):
            raise errors.NoQuorumError(height, power, total)
