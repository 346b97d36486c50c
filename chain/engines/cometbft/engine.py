"""The engine that a node's RPC and edge server see: CometBFT decides, this node's pool and its peers feed it.

A transaction's way: `submit` checks it and puts it into this node's pool; a wake-up call goes into CometBFT's mempool
(wakeup.py), the transaction itself to the nodes that propose next (handover.py). Whoever proposes takes what its own
pool holds. Until a block holds it, this node calls and hands over again. Signatures are checked once in each process:
what `check_tx` has opened, `process_proposal` and `finalize_block` know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.engines.base import EngineName
from chain.engines.cometbft.bridge import Bridge
from chain.engines.cometbft.server import AbciServer
from chain.engines.cometbft.wakeup import call_for
from chain.engines.errors import CometUnreachableError, NotRunningError, PoolFullError
from chain.engines.heights import Heights
from chain.engines.pool import Pool
from chain.errors import StoreMissingError
from chain.light import Height

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from chain.application import Application, CheckResult
    from chain.engines.cometbft.handover import HandOver
    from chain.engines.cometbft.rpc import CometRpc
    from chain.engines.cometbft.server import Spent
    from chain.genesis import Genesis
    from merit.clock import Clock

_LOGGER: Final = logging.getLogger(__name__)

COPIES: Final = 3
"""Nodes to which a transaction is handed over: one proposes next, the others have it when a round fails."""
AGAIN_S: Final = 2.0
"""What no block holds after so long is called for and handed over again."""


@dataclass(slots=True)
class _Own:
    """A transaction that came to this node first."""

    raw: bytes
    sent_at: float


class CometEngine:
    """An `Engine` (chain/engines/base.py) whose heights CometBFT decides.

    Args:
        application: the ledger.
        genesis: the document that the chain was made from.
        socket: where CometBFT finds this application.
        rpc: the CometBFT beside this node.
        clock: paces what is sent again.
        pool: bounds what waits; its own by default.

    `decided_at` is the clock's monotonic time of the newest height, or of the start before the first.

    """

    def __init__(
        self,
        application: Application,
        genesis: Genesis,
        socket: Path,
        rpc: CometRpc,
        clock: Clock,
        *,
        pool: Pool | None = None,
    ) -> None:
        """Prepare; nothing is opened yet. AbciError when the socket's path is too long."""
        self.pool = Pool() if pool is None else pool
        self.bridge = Bridge(application, genesis, self.pool, self._decided)
        self.decided_at = clock.monotonic()
        self.rpc = rpc
        self.ended = False
        self.handover: HandOver | None = None
        self._application, self._genesis, self._clock = application, genesis, clock
        self._server = AbciServer(socket, self.bridge.answer, clock)
        self._own: dict[bytes, _Own] = {}
        self._called = b""
        self._to_call = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def name(self) -> EngineName:
        """Which engine this is."""
        return EngineName.COMETBFT

    @property
    def chain_id(self) -> str:
        """The chain's name, which headers and votes carry."""
        return self._genesis.name

    @property
    def height(self) -> Height:
        """The last height that is decided, executed and durable here; 0 before the first."""
        return Height(self._application.height)

    @property
    def spent(self) -> Mapping[str, Spent]:
        """What answering CometBFT took, by kind of request."""
        return self._server.spent

    async def peers(self) -> int:
        """Return how many others CometBFT is connected to; raises CometUnreachableError."""
        return (await self.rpc.status()).peers

    @property
    def history(self) -> CometRpc:
        """What CometBFT's store holds."""
        return self.rpc

    @property
    def failure(self) -> Exception | None:
        """What has stopped the node, unless that was `stop`."""
        return self._server.failure

    async def failed(self) -> Exception:
        """Wait for what stops the node."""
        await self._server.failed.wait()
        self._tell()
        failure = self._server.failure
        return failure if failure is not None else NotRunningError()

    async def start(self) -> None:
        """Let CometBFT connect."""
        await self._server.start()
        if self.handover is not None:
            await self.handover.start()
        self._tasks = [
            asyncio.create_task(self._call(), name="wake-up calls"),
            asyncio.create_task(self._send_again(), name="send again"),
        ]

    async def stop(self) -> None:
        """Finish the request under way and answer no more."""
        self.ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.handover is not None:
            await self.handover.stop()
        await self._server.stop()
        await self.rpc.close()
        self._tell()

    def submit(self, raw: bytes) -> CheckResult:
        """Check a transaction and see to it that a block comes to hold it; raises NotRunningError, PoolFullError.

        A member sends through one node at a time: another one does not know of its waiting transactions.
        """
        if self.failure is not None or self.ended:
            raise NotRunningError(cause=self.failure)
        verdict = self.bridge.admit(raw)
        if verdict.accepted and verdict.hash not in self._own:
            self._own[verdict.hash] = _Own(raw, self._clock.monotonic())
            if self.handover is not None:
                self.handover.send(raw, COPIES)
            self._to_call.set()
        return verdict

    def waiting(self) -> list[tuple[bytes, CheckResult]]:
        """Return what waits in this node's pool, the oldest first, each with the verdict on it."""
        return self.bridge.waiting()

    def take(self, raw: bytes) -> None:
        """Take a transaction that another node hands over; what that one must know is in its own log.

        A replica that still waits for a snapshot has no ledger to judge it by, and lets it go.
        """
        with contextlib.suppress(PoolFullError, StoreMissingError):
            self.bridge.admit(raw)

    def subscribe(self, after: Height | None = None) -> AsyncIterator[Height]:
        """Yield every height after `after` (by default: after now), in order, once it is durable here."""
        return Heights(self, lambda: self.height, after)

    async def news(self) -> None:
        """Wait until a height is durable, or the engine ends."""
        await self._news.wait()

    def _decided(self, height: Height, proposer: bytes) -> None:
        self.decided_at = self._clock.monotonic()
        if self.handover is not None:
            self.handover.proposed(proposer)
        self._own = {name: own for name, own in self._own.items() if self.bridge.waits(name)}
        if self._own:
            self._to_call.set()
        _LOGGER.debug("height %d is durable", height)
        self._tell()

    async def _call(self) -> None:
        """Keep one wake-up call in CometBFT's mempool while own transactions wait."""
        while True:
            await self._to_call.wait()
            self._to_call.clear()
            if not self._own or self.bridge.waits(self._called):
                continue
            self._called = next(iter(self._own))
            try:
                await self.rpc.call(call_for(self._called))
            except CometUnreachableError as error:
                _LOGGER.warning("%s", error)
                self._called = b""

    async def _send_again(self) -> None:
        while True:
            await self._clock.sleep(AGAIN_S / 2)
            now = self._clock.monotonic()
            late = [own for own in self._own.values() if now - own.sent_at >= AGAIN_S]
            for own in late:
                own.sent_at = now
                if self.handover is not None:
                    self.handover.send(own.raw, COPIES)
            if late:
                self._called = b""
                self._to_call.set()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
