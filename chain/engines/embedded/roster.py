"""All validators of a process at once, as the rest of Merit sees them; how they come to agree is each engine's own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from chain import light
from chain.application import Code
from chain.engines import errors
from chain.engines.base import EngineName, StoredHistory
from chain.engines.embedded.member import Member
from chain.engines.embedded.replica import Replica
from chain.engines.heights import Heights
from chain.engines.pool import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from chain.application import CheckResult
    from chain.crypto.schemes import SigningKey
    from chain.engines.embedded.node import Node
    from chain.engines.embedded.replica import Validator
    from chain.genesis import Genesis
    from chain.light import Height
    from merit.clock import Clock

_LOGGER: Final = logging.getLogger(__name__)

OLD_S: Final = 2.0
"""Without empty heights in every pause, an empty one comes before transactions whose time would be older than this."""
_NS: Final = 10**9


class Roster(ABC):
    """An `Engine` (chain/engines/base.py) over all of its validators; `member(i)` is the view of one."""

    nodes: tuple[Node, ...]
    """The validators at work: what each refused, and whom it accuses."""

    def __init__(
        self,
        validators: Sequence[Validator],
        genesis: Genesis,
        clock: Clock,
        *,
        block_interval: float,
        empty_interval: float,
    ) -> None:
        """Prepare; nothing is touched before `start`. Raises UnknownValidatorError for one that is given twice.

        - `validators`: those that live in this process; others never run. One whose keys are not among the chain's
          validators, or not yet, follows and does not vote.
        - `block_interval`: seconds between two heights, at least.
        - `empty_interval`: seconds after which a height is made without transactions; 0 for none in a pause, but one
          at its end, because the votes for it date the transactions after it.
        """
        self.genesis = genesis
        self._replicas: list[Replica] = []
        for validator in validators:
            self._enrol(validator)
        self._clock = clock
        self._block_interval, self._empty_interval = block_interval, empty_interval
        self._old_s = (empty_interval or OLD_S) + block_interval
        self._pool = Pool()
        self._wake, self._stopping = asyncio.Event(), asyncio.Event()
        self._news = asyncio.Event()  # set and replaced by `_tell`
        self._started = False
        self._failure: Exception | None = None
        self.ended = False
        """Whether `stop` was called after the last `start`."""

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
    def validator_set(self) -> light.ValidatorSet:
        """Who decides the height after the newest one."""
        return self._newest().validators

    @property
    def failure(self) -> Exception | None:
        """What has stopped the engine, unless that was `stop`."""
        return self._failure

    def member(self, number: int) -> Member:
        """Return the view of validator `number` (its place in the list that the engine was given)."""
        return Member(self, self._replicas[number], number)

    def _enrol(self, validator: Validator) -> Replica:
        """Take one more; raises UnknownValidatorError for one that is here."""
        replica = Replica(validator, self.genesis)
        for other in self._replicas:
            if twice := set(replica.addresses).intersection(other.addresses):
                raise errors.UnknownValidatorError(twice.pop(), "is given twice")
        self._replicas.append(replica)
        return replica

    def _require_new(self, key: SigningKey) -> None:
        address = light.validator_address(key.public_key)
        if any(address in replica.addresses for replica in self._replicas):
            raise errors.UnknownValidatorError(address, "is given twice")

    def submit(self, raw: bytes) -> CheckResult:
        """Check a transaction at the first running validator, and pool it if that accepts.

        Raises NotRunningError, PoolFullError.
        """
        self._require_started()
        running = self._running()
        if not running:
            raise errors.NotRunningError(self._replicas[0].address)
        return self.submit_at(running[0], raw)

    def waiting(self) -> list[tuple[bytes, CheckResult]]:
        """Return what waits in the pool, the oldest first, each with the verdict on it."""
        return self._pool.verdicts()

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
                self._pool.add(raw, replica.name, verdict)
                self._ask_for_height()
            elif verdict.code is Code.QUOTA and self._is_behind():
                self._show_time()
        return verdict

    def subscribe(self, after: Height | None = None) -> AsyncIterator[Height]:
        """Yield every height after `after` (by default: after now), in order, once it is durable everywhere."""
        return Heights(self, lambda: self.height, after)

    async def peers(self) -> int:
        """Return 0: there is nobody outside of this process."""
        return 0

    def peers_of(self, replica: Replica) -> int:
        """Return how many validators run besides this one."""
        return sum(other is not replica for other in self._running())

    async def news(self) -> None:
        """Wait until a height is durable, a validator comes or goes, or the engine ends."""
        await self._news.wait()

    @property
    def history(self) -> StoredHistory:
        """What the stores hold."""
        return StoredHistory(self)

    def validators(self, height: Height) -> light.ValidatorSet:
        """Return the validators of a height; raises UnknownHeightError beyond two after the newest one."""
        return self._newest().sets.at(height)

    def header(self, height: Height) -> light.Header:
        """Return the header of a decided height; raises UnknownHeightError."""
        return self._newest().store.header(height)

    def commit(self, height: Height) -> light.Commit:
        """Return the commit that decided a height; raises UnknownHeightError."""
        return self._newest().store.commit(height)

    def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return the transactions of a decided height; raises UnknownHeightError."""
        return self._newest().store.transactions(height)

    def reaches(self, sender: int, receiver: int) -> bool:  # noqa: ARG002 - where links can break, engines say more
        """Tell whether anything can come from one validator's machine to another's."""
        return True

    def evidence(self, height: Height) -> tuple[bytes, ...]:
        """Return what a decided height holds against validators; raises UnknownHeightError."""
        return self._newest().store.evidence(height)

    # What an engine adds

    @abstractmethod
    async def start(self) -> None:
        """Recover every validator, then make heights; raises RecoveryError, EngineStoreError or LightError."""

    @abstractmethod
    async def stop(self) -> None:
        """Finish what is under way and end; raises what had stopped the engine before, if anything had.

        The pool is lost, as with any node; stores and applications stay open, for whoever opened them to close.
        """

    @abstractmethod
    async def stop_validator(self, number: int) -> None:
        """Let one validator take no more part, as if its machine were switched off."""

    @abstractmethod
    async def start_validator(self, number: int) -> None:
        """Let a stopped validator recover, catch up and take part again; raises as `start`."""

    @abstractmethod
    async def add_validator(self, validator: Validator) -> int:
        """Take one more validator into this process and return its number; raises UnknownValidatorError, or as `start`.

        It learns what was decided, votes for nothing meanwhile, and votes at heights at which the ledger has made it a
        validator.
        """

    @abstractmethod
    async def add_key(self, number: int, key: SigningKey) -> None:
        """Give one validator one more key; raises UnknownValidatorError for one that is in use.

        It votes with that at heights at which the ledger has put it in the place of the former one.
        """

    @abstractmethod
    def _ask_for_height(self) -> None:
        """Have a height made for what waits in the pool."""

    @abstractmethod
    def _show_time(self) -> None:
        """Make an empty height: quotas begin anew with block time, and nothing else shows it.

        A height's time is that of the votes for the one before, so it may take two; whoever waits asks again.
        """

    def _drafted(self, replica: Replica, waiting: Sequence[bytes]) -> tuple[light.Block, bool]:
        """Return what a replica proposes, and whether anything that waits can go into a block now.

        A block that would be dated long before now, as the first one after a pause is, comes later: an empty one goes
        before it.
        """
        block = replica.propose(waiting)
        late = bool(block.txs) and self._clock.now_ns() - block.header.time.to_ns() > self._old_s * _NS
        return replica.propose(()) if late else block, bool(block.txs)

    # Small questions

    def _is_behind(self) -> bool:
        """Tell whether the ledger's time is."""
        last = self.header(self.height).time.to_ns() if self.height else self.genesis.time * _NS
        return self._clock.now_ns() - last > OLD_S * _NS

    def _running(self) -> list[Replica]:
        return [replica for replica in self._replicas if replica.running]

    def _newest(self) -> Replica:
        return max(self._replicas, key=lambda replica: replica.height)

    def _require_started(self) -> None:
        if self._failure is not None:
            raise errors.NotRunningError(cause=self._failure) from self._failure
        if not self._started:
            raise errors.NotRunningError

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _fail(self, error: Exception) -> None:
        _LOGGER.critical("the engine has stopped: %s", error)
        self._failure = error
        self._tell()

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
