"""Runs every node of a testnet, and breaks them on purpose when it is asked to.

Commands come over DIR/control.sock, one JSON object a line each way; `ask` is the other end.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from merit.clock import Clock
from node.errors import NodeError, RunDirectoryError
from node.machine.home import NodeFile, NodeHome, PeerFile
from node.machine.pair import Pair, State
from node.testnet.layout import Layout
from node.testnet.relay import Relay

SOCKET_PATH_BYTES: Final = 107
STATUS_TIMEOUT_S: Final = 2.0
ASK_TIMEOUT_S: Final = 60.0
PERTURBATIONS: Final = ("kill", "pause", "restart", "disconnect")
DEFAULT_FOR_S: Final = 5.0
_RUNTIME_FILE: Final = "node.relayed.toml"


class NotSupervisedError(NodeError):
    """No supervisor runs in this directory."""


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself; heights are None when it does not answer."""

    name: str
    state: str
    rpc: str
    intake: str
    dashboard: str
    comet: str
    processes: dict[str, int]
    restarts: int
    connected: bool
    height: int | None = None
    block: int | None = None
    block_hash: str = ""
    problem: str = ""


@dataclass(slots=True)
class _Node:
    """A node under supervision, with the relays that lead to it and from it."""

    number: int
    pair: Pair
    file: NodeFile
    links: list[Relay] = field(default_factory=list)
    connected: bool = True
    healing: asyncio.Task[None] | None = None
    task: asyncio.Task[None] | None = None


class Supervisor:
    """Runs a testnet's nodes.

    Args:
        layout: the testnet.
        program: the `cometbft` program.
        clock: real time.
        tell: called with a line about each thing that happens.

    """

    def __init__(self, layout: Layout, program: Path, clock: Clock, tell: Callable[[str], None]) -> None:
        """Read the homes; nothing runs yet."""
        self.layout = layout
        self._clock, self._tell = clock, tell
        self._file = layout.read()
        self._program = program
        self._nodes = [self._new(at, home) for at, home in enumerate(layout.homes(), 1)]
        self._by_port = {port: node for node in self._nodes for port in node.file.ports.values()}
        self._stop = asyncio.Event()
        self._control: asyncio.Server | None = None

    @property
    def names(self) -> list[str]:
        """The nodes' names."""
        return [node.pair.name for node in self._nodes]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start everything, and stop it at the end.

        Raises:
            RunDirectoryError: another supervisor runs here, or a port is taken.

        """
        path = str(self.layout.control)
        if len(path.encode()) > SOCKET_PATH_BYTES:
            message = f"{path}: longer than the {SOCKET_PATH_BYTES} bytes of a socket's name; use a shorter --dir"
            raise RunDirectoryError(message)
        if await supervised(self.layout):
            message = f"{self.layout.directory}: this testnet runs already; `merit testnet stop` ends it"
            raise RunDirectoryError(message)
        for node in self._nodes:
            for name, port in node.file.ports.items():
                _require_free(node.pair.name, name, port)
        self.layout.control.unlink(missing_ok=True)
        self._control = await asyncio.start_unix_server(self._serve, path)
        self.layout.control.chmod(0o600)
        try:
            if self._file.relays:
                await self._connect()
            for node in self._nodes:
                self._run(node)
            yield
        finally:
            await self._end()

    async def _end(self) -> None:
        for node in self._nodes:
            if node.healing is not None:
                node.healing.cancel()
            node.pair.leave()
        tasks = [node.task for node in self._nodes if node.task is not None]
        failures = await asyncio.gather(*tasks, return_exceptions=True)
        for node in self._nodes:
            for link in node.links:
                await link.stop()
        if self._control is not None:
            self._control.close()
        self.layout.control.unlink(missing_ok=True)
        for failure in failures:
            if isinstance(failure, Exception):
                raise failure

    def stop(self) -> None:
        """Ask whoever waits for `stopped` to end."""
        self._stop.set()

    async def stopped(self) -> None:
        """Wait for `stop`."""
        await self._stop.wait()

    # -- links ------------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Put a relay before everything by which one node reaches another."""
        for node in self._nodes:
            peers = [await self._relayed(node, peer) for peer in node.file.peers]
            node.file = msgspec.structs.replace(node.file, peers=tuple(peers))

    async def _relayed(self, node: _Node, peer: PeerFile) -> PeerFile:
        """Return a peer behind relays of its own.

        Of two CometBFTs only the later one connects to the other: one connection carries both ways, and whoever joins
        later must find the others.
        """
        changes: dict[str, str] = {}
        for key in ("p2p", "handover", "intake"):
            address: str = getattr(peer, key)
            place, _, port = address.rpartition(":")
            target = self._by_port.get(int(port or 0))
            if target is None:
                continue  # a node that was added by hand
            if key == "p2p" and target.number > node.number:
                changes[key] = ""
                continue
            relay = Relay(int(port))
            await relay.start()
            node.links.append(relay)
            target.links.append(relay)
            changes[key] = f"{place}:{relay.port}"
        return msgspec.structs.replace(peer, **changes)

    async def join(self, name: str) -> str:
        """Run a node whose home was added, and let the others know it; return a line about it.

        Raises:
            RunDirectoryError: there is no such home, it runs already, or a port is taken.

        """
        if name in self.names:
            message = f"{name} takes part already"
            raise RunDirectoryError(message)
        home = next((home for home in self.layout.homes() if home.path.name == name), None)
        if home is None:
            message = f"no home {name} in {self.layout.nodes}"
            raise RunDirectoryError(message)
        node = self._new(len(self._nodes) + 1, home)
        for key, port in node.file.ports.items():
            _require_free(name, key, port)
        before = list(self._nodes)
        self._nodes.append(node)
        self._by_port |= dict.fromkeys(node.file.ports.values(), node)
        if self._file.relays:
            peers = [await self._relayed(node, peer) for peer in node.file.peers]
            node.file = msgspec.structs.replace(node.file, peers=tuple(peers))
        for other in before:
            known = {peer.name for peer in other.file.peers}
            new = [peer for peer in other.pair.home.read().peers if peer.name not in known]
            if self._file.relays:
                new = [await self._relayed(other, peer) for peer in new]
            other.file = msgspec.structs.replace(other.file, peers=(*other.file.peers, *new))
            self._prepare(other)
            other.pair.tell_peers_changed()
        self._run(node)
        return f"{name} joins"

    async def leave(self, name: str) -> str:
        """End a node for good; its home stays. Return a line about it; RunDirectoryError when there is no such node."""
        node = self._find(name)
        if node.healing is not None:
            node.healing.cancel()
        node.pair.leave()
        if node.task is not None:
            await node.task
        self._nodes.remove(node)
        for link in node.links:
            await link.stop()
        return f"{name} has left"

    def _new(self, number: int, home: NodeHome) -> _Node:
        return _Node(number, Pair(home, self._program, self._clock, self._tell), home.read())

    def _run(self, node: _Node) -> None:
        node.task = asyncio.create_task(node.pair.run(lambda: self._prepare(node)))
        node.pair.up()

    def _prepare(self, node: _Node) -> tuple[NodeFile, Path | None]:
        if not self._file.relays:
            return node.file, None
        path = node.pair.home.path / _RUNTIME_FILE
        path.write_bytes(node.file.encode())
        return node.file, path

    # -- perturbations ----------------------------------------------------------------------------------------------

    async def perturb(self, name: str, how: str, seconds: float) -> str:
        """Break a node for a while; `seconds` 0 leaves it broken until `restart`. Return a line about it.

        Raises:
            RunDirectoryError: no such node or perturbation, or links that cannot be cut.

        """
        node = self._find(name)
        if how not in PERTURBATIONS:
            message = f"{how!r} is no perturbation: {', '.join(PERTURBATIONS)}"
            raise RunDirectoryError(message)
        if how == "disconnect" and not self._file.relays:
            message = (
                f"{self.layout.directory} was made with relays = false, so links cannot be cut: init it with relays"
            )
            raise RunDirectoryError(message)
        if node.healing is not None:
            node.healing.cancel()
            await self._heal(node)
        match how:
            case "kill":
                node.pair.kill()
            case "pause":
                node.pair.pause()
            case "disconnect":
                await self._cut(node)
            case _:
                await self._heal(node)
                node.pair.restart()
                return f"{name} restarts"
        if seconds > 0:
            node.healing = asyncio.create_task(self._heal_after(node, seconds))
        until = f"for {seconds:g} s" if seconds > 0 else f"until `merit testnet perturb {name} restart`"
        line = f"{name}: {how} {until}"
        self._tell(line)
        return line

    async def _cut(self, node: _Node) -> None:
        node.connected = False
        for link in node.links:
            link.cut = True
            await link.sever()

    async def _heal_after(self, node: _Node, seconds: float) -> None:
        await self._clock.sleep(seconds)
        node.healing = None
        await self._heal(node)
        self._tell(f"{node.pair.name}: healed")

    async def _heal(self, node: _Node) -> None:
        node.connected = True
        for other in self._nodes:
            for link in other.links:
                link.cut = any(link in broken.links for broken in self._nodes if not broken.connected)
        node.pair.resume()
        node.pair.up()

    def _find(self, name: str) -> _Node:
        for node in self._nodes:
            if name in {node.pair.name, str(node.number)}:
                return node
        message = f"no node {name!r} here: {', '.join(self.names)}"
        raise RunDirectoryError(message)

    # -- what it knows ----------------------------------------------------------------------------------------------

    async def status(self) -> list[NodeStatus]:
        """Ask every node where it stands."""
        async with httpx.AsyncClient(timeout=STATUS_TIMEOUT_S, trust_env=False) as http:
            return list(await asyncio.gather(*(self._status(node, http) for node in self._nodes)))

    async def _status(self, node: _Node, http: httpx.AsyncClient) -> NodeStatus:
        said: dict[str, Any] = {}
        if node.pair.state is State.RUNNING:
            request = {"jsonrpc": "2.0", "id": 1, "method": "merit_status"}
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                said = (await http.post(node.file.rpc_url, json=request)).json()["result"]
        return NodeStatus(
            name=node.pair.name,
            state=node.pair.state.value,
            rpc=node.file.rpc_url,
            intake=node.file.clients_url,
            dashboard=node.file.dashboard_url,
            comet=node.file.comet_url,
            processes=node.pair.processes,
            restarts=node.pair.restarts,
            connected=node.connected,
            height=int(said["height"], 16) if said else None,
            block=int(said["blockNumber"], 16) if said else None,
            block_hash=said.get("blockHash", ""),
            problem=node.pair.failure,
        )

    # -- commands ---------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            try:
                answer = await self._obey(json.loads(line))
            except NodeError as error:
                answer = {"error": str(error)}
            except (ValueError, KeyError, TypeError) as error:
                answer = {"error": f"no command: {error!r}"}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # who asked has gone
        finally:
            writer.close()

    async def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "status":
                return {"pid": os.getpid(), "nodes": msgspec.to_builtins(await self.status())}
            case "perturb":
                return {"line": await self.perturb(command["node"], command["how"], float(command["seconds"]))}
            case "join":
                return {"line": await self.join(command["node"])}
            case "leave":
                return {"line": await self.leave(command["node"])}
            case "stop":
                self.stop()
                return {"pid": os.getpid()}
            case other:
                message = f"unknown command {other!r}"
                raise RunDirectoryError(message)


async def ask(layout: Layout, command: dict[str, object]) -> dict[str, Any]:
    """Send a command to the supervisor of a testnet and return its answer.

    Raises:
        NotSupervisedError: none runs there.
        RunDirectoryError: it refuses.

    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(layout.control))
    except OSError:
        message = f"the testnet in {layout.directory} does not run: `merit testnet start` starts it"
        raise NotSupervisedError(message) from None
    try:
        writer.write(json.dumps(command).encode() + b"\n")
        line = await asyncio.wait_for(reader.readline(), ASK_TIMEOUT_S)
    finally:
        writer.close()
    if not line:
        message = f"the supervisor of {layout.directory} has just ended"
        raise NotSupervisedError(message)
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise RunDirectoryError(answer["error"])
    return answer


async def supervised(layout: Layout) -> bool:
    """Tell whether a supervisor runs in a testnet's directory."""
    try:
        await ask(layout, {"do": "status"})
    except NotSupervisedError:
        return False
    return True


def _require_free(name: str, key: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            message = (
                f"{name}: port {port} ({key}) cannot be used ({error.strerror}): end what holds it, "
                "or init with another --port"
            )
            raise RunDirectoryError(message) from None
