"""The dashboard of one node: a thread with its own event loop, so that pages hold up neither blocks nor rounds."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chain.rpc.http import LoopbackServer
from merit.clock import Clock
from node.dashboard.app import application
from node.dashboard.follower import Follower
from node.dashboard.gateway import Gateway
from node.dashboard.index import Index
from node.dashboard.insight import Insight
from node.dashboard.pages import Cost, Sources
from node.dashboard.run_files import RunFiles
from node.dashboard.signers import Signers

if TYPE_CHECKING:
    from chain.rpc.dispatcher import Dispatcher
    from node.edge.server import EdgeServer

_log = logging.getLogger(__name__)

FILE: Final = "dashboard.sqlite"
LOOK_EVERY_S: Final = 0.5
LOOK_UNWATCHED_S: Final = 10.0
WATCHED_S: Final = 15.0  # an open page asks every second; a background tab of some browsers far more seldom


class Dashboard:
    """Serves the pages of a node.

    Args:
        name: the ledger's name, at the top of every page.
        index: the file of the index.
        genesis_hash: of the ledger (32 bytes).
        clock: paces the reading of the ledger.
        port: on 127.0.0.1; 0 lets the system choose, `url` tells after `start`.
        run: the directory of the run that the node belongs to.
        costs: tells where the node's process spends its time.

    """

    def __init__(
        self,
        *,
        name: str,
        index: Path,
        genesis_hash: bytes,
        clock: Clock,
        port: int = 0,
        run: Path | None = None,
        costs: Callable[[], Sequence[Cost]] = tuple,
    ) -> None:
        """Prepare; nothing is opened yet."""
        self.insight = Insight()
        self._clock, self._port, self._file, self._genesis_hash = clock, port, index, genesis_hash
        self._name, self._costs = name, costs
        self._gateway, self._signers = Gateway(), Signers()
        self._run = None if run is None else RunFiles(run)
        self._url = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_at = float("-inf")  # by the clock
        self._due = asyncio.Event()  # in the thread's own loop, as the next
        self._behind: list[Future[None]] = []
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="dashboard", daemon=True)
        self._ready: Future[str] = Future()

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self._url

    async def start(self) -> None:
        """Open the index, listen, and return when pages are answered.

        Raises:
            BindError: the port is taken.
            OSError, sqlite3.Error: the index's file can be neither used nor made.

        """
        self._thread.start()
        self._url = await asyncio.wrap_future(self._ready)

    def attach(self, dispatcher: "Dispatcher", server: "EdgeServer | None" = None) -> None:
        """Show the ledger of the node that answers by this dispatcher, and what this edge server knows of it."""
        self.insight.watch(server)
        self._gateway.attach(dispatcher)

    async def catch_up(self) -> None:
        """Return when all is read that ledger and edge server say by now, or something cannot be read."""
        if self._loop is not None:
            done: Future[None] = Future()
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                self._loop.call_soon_threadsafe(self._wait_for_reading, done)
                await asyncio.wrap_future(done)

    def _wait_for_reading(self, done: Future[None]) -> None:
        if self._ending:
            _resolve([done])
        else:
            self._behind.append(done)
            self._due.set()

    async def detach(self) -> None:
        """Ask the ledger nothing more; the pages go on showing what is known."""
        await asyncio.to_thread(self._gateway.detach)
        self.insight.watch(None)

    async def stop(self) -> None:
        """End the thread; harmless when it does not run."""
        if self._loop is None:
            return
        await self.detach()
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._end)
        await asyncio.to_thread(self._thread.join)

    def _end(self) -> None:
        self._ending = True
        self._due.set()

    def _asked(self) -> None:
        """Note that somebody looks, who is not kept waiting until the next reading would have been due."""
        if not self._watched:
            self._due.set()
        self._asked_at = self._clock.monotonic()

    @property
    def _watched(self) -> bool:
        return self._clock.monotonic() - self._asked_at < WATCHED_S

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - raised by `start`, or told in the log
            if self._ready.done():
                _log.exception("the dashboard has ended")
            else:
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        index = Index(self._file, self._genesis_hash)
        follower = Follower(index, self._gateway, self._signers, self.insight, self._run)
        sources = Sources(
            name=self._name,
            index=index,
            gateway=self._gateway,
            signers=self._signers,
            insight=self.insight,
            behind=lambda: follower.failing,
            run=self._run,
            costs=self._costs,
        )
        http = LoopbackServer(application(sources, self._asked), port=self._port)
        try:
            await http.start()
            self._ready.set_result(http.url)
            while not self._ending:
                self._due.clear()
                behind = len(self._behind)
                more = await asyncio.to_thread(partial(follower.step, watched=self._watched))
                if not more:
                    _resolve(self._behind[:behind])
                    del self._behind[:behind]
                pause = 0.01 if more else LOOK_EVERY_S if self._watched else LOOK_UNWATCHED_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._due.wait(), pause)
        finally:
            self._ending = True
            _resolve(self._behind)
            await http.stop()
            index.close()


def _resolve(waiting: Sequence[Future[None]]) -> None:
    for one in waiting:
        one.set_result(None)
