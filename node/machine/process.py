"""The node process beside one CometBFT: the ledger, its JSON-RPC, and an edge server if the member is one.

    python -m node.machine.process HOME [NODE_FILE]

Two threads, each with an event loop. The ledger lives in the main thread, where CometBFT's requests are answered; the
edge server in the other, so that scoring a round holds up no block; it reaches the ledger through web3.py as anybody.

It ends with SIGTERM or SIGINT (code 0), or when an invariant of the ledger breaks (code 1, the reason in the log), or
with code 3 when no restart helps (`endings.py`).
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chain.application import Application
from chain.crypto import keystore
from chain.engines.cometbft.engine import CometEngine
from chain.engines.cometbft.handover import HandOver
from chain.engines.cometbft.rpc import CometRpc
from chain.genesis import load_genesis
from chain.rpc.dispatcher import Dispatcher
from chain.rpc.http import LoopbackServer, RpcServer
from chain.rpc.provider import connect
from chain.storage import Store
from contracts import addresses, bindings
from merit.clock import Clock, SystemClock
from merit.errors import MeritError
from node.blobs import BlobStore
from node.dashboard.pages import Cost
from node.dashboard.server import Dashboard
from node.edge.intake import MAX_RECORD_BYTES, Intake
from node.edge.lane import lane
from node.edge.peers import BackgroundPeers, HttpPeer
from node.edge.references import Roots
from node.edge.retention import PayloadBook, Retention
from node.edge.server import EdgeServer
from node.machine import logs, snapshots
from node.machine.blocks import LedgerBlocks
from node.machine.checks import require_complete
from node.machine.endings import exit_code
from node.machine.health import Health
from node.machine.home import EdgeFile, NodeFile, NodeHome, host_and_port
from node.machine.metrics import MetricsPage, NodeFigures
from node.machine.watch import EdgeWatch
from node.rounds.attestation import ScoredRound
from node.sender import MLDSASigner, Sender
from node.tls import certificates
from node.tls.front import Front
from node.tls.identity import context_of
from node.tls.transport import transport_for

_log = logging.getLogger(__name__)

STEP_S = 0.25
"""The edge server does a step when there is news for it, and at least this often: times pass and blobs arrive."""
FETCHING_THREADS = 4
GARBAGE_AFTER = 50_000, 10, 10
"""How many objects must have come before cycles of them are looked for, instead of Python's 700: with records arriving
by the hundred a second, looking took a quarter of the edge server's time and found next to nothing."""


class NodeProcess:
    """One node: `run` returns when it is told to stop and raises what broke it.

    Args:
        home: where everything lies.
        file: how it is reached and whom it reaches.
        clock: real time.

    """

    def __init__(self, home: NodeHome, file: NodeFile, clock: Clock) -> None:
        """Prepare; nothing is opened yet."""
        self._home, self._file, self._clock = home, file, clock
        self._stop = asyncio.Event()
        self._handover: HandOver | None = None
        self._dispatcher: Dispatcher | None = None
        self._edge: EdgeThread | None = None

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stop.set()

    def reload(self, file: NodeFile) -> None:
        """Learn of peers that came since the start; everything else in the file waits for the next start."""
        if self._handover is not None:
            self._handover.know(_handover_places(file))
        if self._edge is not None:
            self._edge.know(file)
        if self._dispatcher is not None:
            self._dispatcher.announce(_intakes(file))

    async def run(self) -> None:
        """Serve until `stop`.

        Raises:
            MeritError: the home cannot be used, a port is taken, or an invariant of the ledger broke.

        """
        genesis = load_genesis(self._home.genesis)
        async with contextlib.AsyncExitStack() as stack:
            store = Store.open(self._home.ledger)
            stack.callback(store.close)
            keeper = stack.enter_context(snapshots.kept(self._home, self._file))
            application = Application(store, keeper=keeper, genesis=genesis)
            if self._file.sync is None or application.height > 0:
                application.init_chain(genesis)
            engine = CometEngine(
                application, genesis, Path(self._home.socket.name), CometRpc(self._file.comet_url), self._clock
            )
            engine.handover = self._handover = HandOver(
                ("127.0.0.1", self._file.handover), _handover_places(self._file), engine.take, self._clock
            )
            await engine.start()
            stack.push_async_callback(engine.stop)
            if not await self._begins(application, engine):
                return
            dispatcher = self._dispatcher = Dispatcher(application, engine, self._clock)
            dispatcher.announce(_intakes(self._file))
            waiting = [asyncio.create_task(self._stop.wait()), asyncio.create_task(engine.failed())]
            dashboard = None
            if self._file.dashboard is not None:
                dashboard = self._dashboard_of(application, engine, self._file.dashboard)
                await dashboard.start()
                stack.push_async_callback(dashboard.stop)
            if self._file.edge is not None:
                blocks = LedgerBlocks(application, (addresses.LEDGER, addresses.REGISTRY))
                edge = self._edge = EdgeThread(
                    self._home,
                    self._file.edge,
                    self._file,
                    dispatcher,
                    blocks=blocks,
                    clock=self._clock,
                    scored=None if dashboard is None else dashboard.insight.scored,
                )
                edge.start()
                stack.push_async_callback(edge.stop)
                await edge.listening()  # who is told that the node is ready finds its intake, too
                telling = asyncio.create_task(_tell_of_blocks(engine, edge))
                stack.callback(telling.cancel)
                waiting.append(asyncio.create_task(edge.ended()))
            watch = None if self._edge is None else self._edge.watch
            health = Health(self._home, self._file, engine, watch, self._clock)
            metrics = MetricsPage(NodeFigures(self._home, application, engine, watch, self._clock))
            pages = {"/livez": health.live, "/readyz": health.ready, "/metrics": metrics.answer}
            http = RpcServer(dispatcher, port=self._file.rpc, pages=pages, access=self._file.access.access())
            await http.start()
            stack.push_async_callback(http.stop)
            if dashboard is not None:
                dashboard.attach(dispatcher, None if self._edge is None else self._edge.server)
            gc.freeze()  # what is here now stays: it is not looked through again
            gc.set_threshold(*GARBAGE_AFTER)
            _log.info("ready at height %d, JSON-RPC %s", engine.height, http.url)
            done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            for task in done:
                outcome = task.result()
                if isinstance(outcome, Exception):
                    raise outcome

    def _dashboard_of(self, application: Application, engine: CometEngine, port: int) -> Dashboard:
        return Dashboard(
            name=f"{application.genesis.name} {self._file.name}",
            index=self._home.dashboard,
            genesis_hash=application.genesis_hash,
            clock=self._clock,
            port=port,
            costs=lambda: _costs(engine, None if self._edge is None else self._edge.watch),
        )

    async def _begins(self, application: Application, engine: CometEngine) -> bool:
        """Wait until the ledger exists, which a new node takes over from a snapshot; False if the node ends before."""
        if application.height > 0 or self._file.sync is None:
            return True
        _log.info("waiting for a snapshot from peers")
        news = asyncio.create_task(_until_ledger(application, engine))
        others = [asyncio.create_task(self._stop.wait()), asyncio.create_task(engine.failed())]
        await asyncio.wait([news, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in (news, *others):
            task.cancel()
        if engine.failure is not None:
            raise engine.failure
        return application.height > 0


def _costs(engine: CometEngine, watch: EdgeWatch | None) -> list[Cost]:
    """Tell where the node's time goes; read in another thread, figure by figure."""
    costs = [
        Cost(f"answering CometBFT: {call}", spent.calls, spent.seconds, spent.longest)
        for call, spent in dict(engine.spent).items()
    ]
    if watch is not None:
        costs.append(Cost("steps of the edge server", watch.steps, watch.seconds, watch.longest))
    return costs


async def _tell_of_blocks(engine: CometEngine, edge: "EdgeThread") -> None:
    while True:
        await engine.news()
        edge.tell()


async def _until_ledger(application: Application, engine: CometEngine) -> None:
    while application.height == 0:
        await engine.news()


def _handover_places(file: NodeFile) -> dict[bytes, tuple[str, int]]:
    return {
        bytes.fromhex(peer.validator): host_and_port(peer.handover)
        for peer in file.peers
        if peer.validator and peer.handover
    }


def _intakes(file: NodeFile) -> dict[int, str]:
    servers = {peer.member: peer.intake for peer in file.peers if peer.intake}
    if file.edge is not None:
        servers[file.edge.member] = file.intake_url
    return dict(sorted(servers.items()))


class EdgeThread:
    """The edge server in a thread of its own, stepping and answering its intake."""

    def __init__(
        self,
        home: NodeHome,
        edge: EdgeFile,
        file: NodeFile,
        dispatcher: Dispatcher,
        *,
        blocks: LedgerBlocks,
        clock: Clock,
        scored: Callable[[ScoredRound], None] | None = None,
    ) -> None:
        """Load the key and the blob store; `scored` is called in the thread with every round that it computes."""
        self._home, self._edge, self._clock, self._dispatcher, self._blocks = home, edge, clock, dispatcher, blocks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = asyncio.Event()  # in the thread's own loop
        self._ending = asyncio.Event()  # in the thread's own loop
        self._main = asyncio.get_running_loop()
        self._over: asyncio.Future[Exception | None] = self._main.create_future()
        self._listening = asyncio.Event()  # in the main loop
        password = home.password.read_bytes()
        key = keystore.load(home.key, password)
        self._tls = None if edge.tls is None else context_of(home.tls_key, home.tls_certificate, password)
        w3 = connect(dispatcher)
        chain_id, genesis_hash = w3.eth.chain_id, bytes.fromhex(str(dispatcher.handle("merit_genesisHash"))[2:])
        self._fetching = ThreadPoolExecutor(FETCHING_THREADS, thread_name_prefix="fetching")
        self._peers = BackgroundPeers(self._http_peers(file), self._fetching, self._wake)
        self._server = EdgeServer(
            member=edge.member,
            w3=w3,
            ledger=bindings.Ledger(w3, addresses.LEDGER),
            registry=bindings.Registry(w3, addresses.REGISTRY),
            sender=Sender(w3, MLDSASigner(key, chain_id=chain_id, genesis_hash=genesis_hash, key_on_chain=True), clock),
            blobs=BlobStore(home.blobs),
            peers=[self._peers],
            genesis_hash=genesis_hash,
            clock=clock,
            source=blocks,
            wake=self._due.set,
            batch=edge.batch,
            retention=Retention(rounds, PayloadBook(home.payloads)) if (rounds := file.blobs.retain_rounds) else None,
            roots=_roots(home, edge.member),
            scored=scored,
        )
        self.watch = EdgeWatch(self._server, clock)
        self._thread = threading.Thread(target=self._run, name="edge server", daemon=True)

    @property
    def server(self) -> EdgeServer:
        """The server; it belongs to the thread."""
        return self._server

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def listening(self) -> None:
        """Wait until the intake is open, or the thread has ended without opening it."""
        await self._listening.wait()

    def tell(self) -> None:
        """Let the edge server look for new blocks; called in the ledger's thread."""
        self._blocks.tell()
        self._wake()

    def _wake(self) -> None:
        """Let the next step come now; called in any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: it does no more steps
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._due.set)

    def know(self, file: NodeFile) -> None:
        """Ask the peers of this file for blobs from now on."""
        self._peers.know(self._http_peers(file))

    def _http_peers(self, file: NodeFile) -> list[HttpPeer]:
        secure = any(peer.intake.startswith("https:") for peer in file.peers)
        trusted = certificates.read(self._home.trusted) if secure else ()
        return [
            HttpPeer(peer.member, peer.intake, self._clock, transport=transport_for(peer.intake, trusted))
            for peer in file.peers
            if peer.intake
        ]

    async def ended(self) -> Exception | None:
        """Wait until the thread has ended; return what ended it, if that was a failure."""
        return await asyncio.shield(self._over)

    async def stop(self) -> None:
        """Let the thread finish its step and end."""
        if self._loop is not None and not self._over.done():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._loop.call_soon_threadsafe(self._due.set)
            await self.ended()

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            asyncio.run(self._work())
        except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
            failure = error
        with contextlib.suppress(RuntimeError):  # the main loop is closed: nobody waits any more
            self._main.call_soon_threadsafe(self._tell, failure)

    def _tell(self, failure: Exception | None) -> None:
        self._listening.set()
        if not self._over.done():
            self._over.set_result(failure)

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        intake = Intake(self._server, self._clock)
        http = LoopbackServer(intake.app, port=self._edge.port, protocol=lane(intake.offer, MAX_RECORD_BYTES))
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._fetching.shutdown, wait=False, cancel_futures=True)
            await http.start()
            stack.push_async_callback(http.stop)
            if self._tls is not None and (tls := self._edge.tls) is not None:
                place = ("127.0.0.1", self._edge.port)
                front = Front(self._tls, place, host=tls.host, port=tls.port, classical=tls.classical)
                await front.start()
                stack.push_async_callback(front.stop)
                _log.info("intake over TLS: %s", front.url)
            self._main.call_soon_threadsafe(self._listening.set)
            while not self._ending.is_set():
                self._due.clear()
                with self.watch.step():
                    self._peers.deliver(self._server.blobs)
                    self._server.step()
                due_in = self._server.due_in()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._due.wait(), STEP_S if due_in is None else min(STEP_S, due_in))


def _roots(home: NodeHome, member: int) -> Roots | None:
    """Return the edge server's private samples, by what they teach; None if the home has none.

    Raises:
        learner.errors.InvalidDataFile: the file is damaged.
        learner.errors.MissingExtra: there are samples, but no torch to learn from them.

    """
    if not home.root_samples.exists():
        return None
    from node.edge.roots import RootSamples  # noqa: PLC0415 - loads torch, which nodes without samples do without

    return Roots(RootSamples.load(home.root_samples, member), BlobStore(home.sealed))


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def _main(home: NodeHome, path: Path | None) -> None:
    node = NodeProcess(home, home.read(path), SystemClock())

    def reload() -> None:
        try:
            node.reload(home.read(path))
        except MeritError as error:
            _log.error("the node file is not taken: %s", error)

    _on_signals(node.stop)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    await node.run()


def main(arguments: list[str]) -> int:
    """Run a node; return the exit code."""
    home = NodeHome(Path(arguments[0]).absolute())
    logs.to_standard_error()
    try:
        file = Path(arguments[1]).absolute() if arguments[1:] else None
        require_complete(home, home.read(file))
        os.chdir(home.path)  # so that the socket's name is short wherever the home lies
        with home.locked():
            asyncio.run(_main(home, file))
    except MeritError as error:
        _log.critical("%s", error)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
