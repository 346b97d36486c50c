"""N validators in one process: the heights that they agree on, one after another.

A height: every running validator begins it, they agree by messages (`node.py`, `network.py`), whoever missed the
decision learns it from the others, every running validator executes the block and the results are compared; then each
writes it down. What the engine itself decides is when a height begins and what waits for a block; what the block of the
height is, only the validators can decide.
"""

from __future__ import annotations

import asyncio
import logging
import math
from itertools import starmap
from typing import TYPE_CHECKING, Final

from chain import light
from chain.engines import errors
from chain.engines.embedded.network import Network, each
from chain.engines.embedded.node import Agreed, Node
from chain.engines.embedded.roster import Roster
from chain.engines.embedded.signer import Signer
from chain.engines.embedded.verdicts import Verdicts
from chain.light import Height

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from chain.consensus.types import Address
    from chain.crypto.schemes import SigningKey
    from chain.engines.embedded.replica import Replica, Validator
    from chain.engines.embedded.store import Outcome
    from chain.genesis import Genesis
    from merit.clock import Clock

_LOGGER: Final = logging.getLogger(__name__)

EMPTY_INTERVAL_S: Final = 5.0
BATCHING_S: Final = 0.02
_TURNS_EACH: Final = 2
"""Rounds in which each validator proposes before a height that nobody accepts stops the engine."""
_DUE_S: Final = 1e-6
"""What is due within a microsecond is due: a sum of floats need not reach its goal exactly."""


class EmbeddedEngine(Roster):
    """All validators side by side, one height after another, with nothing between them that could delay a message."""

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

        What is not said here is said in `Roster`.

        - `batching`: seconds that a height waits for more transactions after the first.
        - `manual`: make heights only when `advance` is called.
        - `executor`: threads for signing and for writing engine stores, one per validator at best.
        """
        super().__init__(validators, genesis, clock, block_interval=block_interval, empty_interval=empty_interval)
        if manual:
            self._old_s = math.inf
        self._verdicts = Verdicts()
        self.nodes = tuple(starmap(self._node, zip(self._replicas, validators, strict=True)))
        self._network = Network(self.nodes, clock, executor)
        self._drafts: dict[bytes, light.Block] = {}
        """By proposer: what it will propose next, where that has been asked already."""
        self._executor, self._batching, self._manual = executor, batching, manual
        self._turn = asyncio.Lock()  # held for a height, and while a validator comes or goes
        self._task: asyncio.Task[None] | None = None
        self._last_height_at = self._clock.monotonic()
        self._work_since: float | None = None
        self._time_asked = False  # the next height is wanted for its time alone

    def _node(self, replica: Replica, validator: Validator) -> Node:
        signers = [Signer(key, self.chain_id, self._clock) for key in (validator.key, *validator.later)]
        return Node(replica, signers, self, self._verdicts, self._clock)

    def _ask_for_height(self) -> None:
        if self._work_since is None:
            self._work_since = self._clock.monotonic()
            self._wake.set()

    def _show_time(self) -> None:
        """Make an empty height for its time alone, unless heights are made by hand."""
        if not self._manual:
            self._time_asked = True
            self._ask_for_height()

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

    async def add_validator(self, validator: Validator) -> int:
        """Take one more validator into this process, bring it to the height of the others; raises as `Roster`'s."""
        self._require_started()
        async with self._turn:
            node = self._node(self._enrol(validator), validator)
            self.nodes = (*self.nodes, node)
            self._network = Network(self.nodes, self._clock, self._executor)  # nothing is under way between heights
            await self._admit([node])
        self._wake.set()
        self._tell()
        return len(self.nodes) - 1

    async def add_key(self, number: int, key: SigningKey) -> None:
        """Give one validator one more key."""
        self._require_new(key)
        async with self._turn:
            self.nodes[number].take_key(Signer(key, self.chain_id, self._clock))

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
        if replica.name not in self._drafts:
            self._draft(replica)
        return self._drafts.pop(replica.name)

    def _draft(self, replica: Replica) -> bool:
        """Prepare what this replica proposes next; tell whether anything of what waits can go into a block now."""
        self._drafts[replica.name], has_work = self._drafted(replica, self._pool.transactions())
        return has_work

    def _has_work(self, nodes: Sequence[Node]) -> bool:
        """Ask who proposes first: the first of those that run whose turn comes."""
        by_address = {node.voter: node for node in nodes}
        proposer = next(turn for turn in nodes[0].turns() if turn in by_address)
        return self._draft(by_address[proposer].replica)

    def _after(self, block: light.Block) -> None:
        for raw in block.txs:
            self._pool.remove(raw)
        running = {replica.name: replica for replica in self._running()}
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
            ("validators", {address: outcome.encode() for address, outcome in outcomes.items()}),
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

    # Small questions

    def _running_nodes(self) -> list[Node]:
        return [node for node in self.nodes if node.running]

    def _voting_power(self, nodes: Sequence[Node]) -> int:
        return sum(node.replica.power for node in nodes if not node.silent)

    def _require_quorum(self, height: Height, nodes: Sequence[Node]) -> None:
        power, total = self._voting_power(nodes), self.validator_set.total_power
        if not light.has_quorum(power, total):
            raise errors.NoQuorumError(height, power, total)
