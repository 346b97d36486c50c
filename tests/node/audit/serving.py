"""A run served over HTTP, one JSON-RPC server per validator and one intake per edge server, in a thread of its own."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chain.rpc.dispatcher import Dispatcher
from chain.rpc.http import LoopbackServer, RpcServer
from contracts.bindings import Role
from merit.clock import SystemClock
from node.audit import Auditor
from node.edge.local import LocalEdgeServers
from node.network import LocalNetwork

T = TypeVar("T")
Lie = Callable[[Any], Any]
"""Takes the result that an honest node gives, as JSON has it, and returns another."""


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="served")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def serve(self, app: Starlette) -> LoopbackServer:
        """Serve an application; whoever asked for it stops it."""
        server = LoopbackServer(app)
        self.run(server.start())
        return server

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Served(Loop):
    """A network that goes on from a run's directory; nothing happens in it but what a test does."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.auditor = Auditor()
        """What the tests know of the run already."""
        self.network = LocalNetwork(directory, sync=False)
        self._stack = contextlib.AsyncExitStack()
        self.run(self._start())

    async def _start(self) -> None:
        await self.network.start()
        self._stack.push_async_callback(self.network.stop)
        self.urls = [await self._listen(number) for number in range(self.network.validators)]
        edges = [number for number, one in enumerate(self.network.genesis.members, 1) if one.role == Role.EDGE_SERVER]
        self.edges = LocalEdgeServers(self.network, edges, SystemClock())
        self.edge_urls = await self.edges.listen(self._stack)

    async def _listen(self, validator: int) -> str:
        server = RpcServer(self.network.dispatcher(validator), port=0)
        await server.start()
        self._stack.push_async_callback(server.stop)
        return server.url

    def stop(self) -> None:
        self.run(self._stack.aclose())
        self.end()


def proxy(dispatcher: Dispatcher, lies: dict[str, Lie]) -> Starlette:
    """Answer as a node does, but for the methods that `lies` names."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        method = json.loads(body)["method"]
        honest = json.loads(dispatcher.handle_body(body))
        if method in lies and "result" in honest:
            honest["result"] = lies[method](honest["result"])
        return Response(json.dumps(honest), media_type="application/json")

    return Starlette(routes=[Route("/", answer, methods=["POST"])])
