"""Where the clients of an experiment in virtual time live, and how they reach edge servers of the same process."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from merit.clock import Clock
from node.edge.intake import Intake
from node.edge.local import LocalEdgeServers
from node.run.clients import ClientSpec, HostSpec, read_password

if TYPE_CHECKING:
    from node.edge.server import EdgeServer

LATENCY_S: Final = 0.005
"""From a client to an edge server and back."""
STANDING_S: Final = 0.1
"""How often it is looked whether a server that stands still goes on."""


class Wire(httpx.AsyncBaseTransport):
    """How clients reach the edge servers: without sockets, and not at all while a server is down."""

    def __init__(self, servers: LocalEdgeServers, clock: Clock) -> None:
        """Lead to `servers`."""
        self._servers, self._clock = servers, clock
        self._intakes: dict[int, tuple[EdgeServer, httpx.ASGITransport]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request to the server that its host names, and its answer back."""
        await self._clock.sleep(LATENCY_S)
        node = int(request.url.host.removeprefix("edge")) - 1
        await self._until_it_goes_on(node, request)
        server = self._servers.at(node)
        if server is None:
            message = f"edge server {node + 1} is down"
            raise httpx.ConnectError(message)
        if node not in self._intakes or self._intakes[node][0] is not server:
            self._intakes[node] = server, httpx.ASGITransport(Intake(server, self._clock).app)
        response = await self._intakes[node][1].handle_async_request(request)
        if self._servers.at(node) is not server:  # it was killed before it had answered
            message = f"edge server {node + 1} hung up"
            raise httpx.ReadError(message)
        return response

    async def _until_it_goes_on(self, node: int, request: httpx.Request) -> None:
        """Wait while a server stands still, but no longer than whoever asks would wait for its answer."""
        patience = request.extensions.get("timeout", {}).get("read")
        limit = math.inf if patience is None else self._clock.monotonic() + patience
        while self._servers.is_paused(node):
            if self._clock.monotonic() >= limit:
                message = f"edge server {node + 1} does not answer"
                raise httpx.ReadTimeout(message)
            await self._clock.sleep(STANDING_S)


class Household:
    """The clients, as tasks of this loop."""

    def __init__(self, directory: Path, clock: Clock, journeys: Callable[[ClientSpec], ClientSpec]) -> None:
        """Keep the clients' files in `directory`; `journeys` says what each does besides training."""
        self._directory, self._clock, self._journeys = directory, clock, journeys
        self._wire: Wire
        self._work: asyncio.Task[None]

    async def reach(self, servers: LocalEdgeServers, _stack: contextlib.AsyncExitStack) -> list[str]:
        """Name every server; nothing listens."""
        self._wire = Wire(servers, self._clock)
        return [f"http://edge{number}" for number in range(1, len(servers.servers) + 1)]

    async def move_in(self, spec: HostSpec, stack: contextlib.AsyncExitStack) -> None:
        """Prepare the job and start the clients."""
        from node.run import host  # noqa: PLC0415 - loads torch
        from node.run.preparation import load_data  # noqa: PLC0415 - as above

        split = load_data(spec.run)
        clients = [self._journeys(client) for client in spec.clients]
        spec = msgspec.structs.replace(spec, clients=clients, password=read_password(spec))
        job_file = host.settle(spec, split)
        self._directory.mkdir(parents=True, exist_ok=True)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=self._wire))
        living = host.live(spec, split, job_file, self._directory, http=http, clock=self._clock)
        self._work = asyncio.create_task(living)
        stack.push_async_callback(self._end)

    def check(self) -> None:
        """Pass on what went wrong at the clients."""
        if self._work.done():
            self._work.result()

    async def _end(self) -> None:
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
