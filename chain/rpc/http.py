"""JSON-RPC over HTTP on the loopback interface, beside whatever else runs in the event loop.

Who may ask: programs on this machine. A page in a browser may not: a request that names another host than this one
(DNS rebinding) or that comes from a page's script (an `Origin` header) is refused with 403 before it is read, and only
`Content-Type: application/json` is taken, which no page can send without asking first (CORS). Pages that the program
around the node adds (its health, its figures) and WebSocket connections keep to the same rules. `Access` names hosts
and origins that are allowed besides: those of a proxy, or of a page that the operator trusts.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from chain.errors import ChainError
from chain.rpc.access import LOCAL, Access
from chain.rpc.limits import KEEP_ALIVE_S, PING_S, REQUEST_BYTES, SHUTDOWN_S
from chain.rpc.websocket import Connections, Protocol

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from chain.rpc.dispatcher import Dispatcher

_JSON: Final = "application/json"

Pages: TypeAlias = Mapping[str, Callable[[], Awaitable[Response]]]
"""What GET answers, by path."""


class BindError(ChainError):
    """The server cannot listen where it was told to."""


def application(dispatcher: "Dispatcher", pages: Pages = MappingProxyType({}), access: Access = LOCAL) -> Starlette:
    """Make the ASGI application: POST / takes one request or a batch, WebSocket / many; GET one of the pages."""
    connections = Connections(dispatcher)

    async def answer(request: "Request") -> Response:
        refusal = _refused(request, access) or _refused_body(request)
        if refusal is not None:
            return refusal
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > REQUEST_BYTES:
                return PlainTextResponse(f"a request has at most {REQUEST_BYTES} bytes\n", 413)
        return Response(await dispatcher.answer_body(bytes(body)), media_type=_JSON)

    def serve(page: Callable[[], Awaitable[Response]]) -> Callable[["Request"], Awaitable[Response]]:
        async def guarded(request: "Request") -> Response:
            return _refused(request, access) or await page()

        return guarded

    async def converse(socket: "WebSocket") -> None:
        refusal = access.refusal(socket)
        if refusal is not None:
            await socket.send_denial_response(PlainTextResponse(refusal, 403))
            return
        await connections.serve(socket)

    routes = [Route(path, serve(page), methods=["GET"]) for path, page in pages.items()]
    cross_origin = Middleware(
        CORSMiddleware, allow_origins=sorted(access.origins), allow_methods=["POST"], allow_headers=["content-type"]
    )
    return Starlette(
        routes=[Route("/", answer, methods=["POST"]), WebSocketRoute("/", converse), *routes],
        middleware=[cross_origin] if access.origins else [],
    )


def _refused(request: "Request", access: Access) -> Response | None:
    refusal = access.refusal(request)
    return None if refusal is None else PlainTextResponse(refusal, 403)


def _refused_body(request: "Request") -> Response | None:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _JSON:
        return PlainTextResponse(f"send {_JSON}\n", 415)
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > REQUEST_BYTES:
        return PlainTextResponse(f"a request has at most {REQUEST_BYTES} bytes\n", 413)
    return None


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which belong to the program around it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class LoopbackServer:
    """Serves an ASGI application on a loopback address; `start` and `stop` run in the caller's event loop.

    Args:
        app: answers the requests, in the event loop's thread.
        host: a loopback address; anything else is refused with `BindError`.
        port: 0 lets the system choose; `port` tells after `start`.
        protocol: speaks HTTP in place of uvicorn's own.

    """

    def __init__(
        self,
        app: Starlette,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        protocol: type[asyncio.Protocol] | None = None,
    ) -> None:
        """Check the address; nothing is opened yet."""
        if not _is_loopback(host):
            message = f"{host} is not a loopback address; this is served on 127.0.0.1 or ::1 only"
            raise BindError(message)
        self.host = "127.0.0.1" if host == "localhost" else host
        self.port = port
        self._app, self._protocol = app, protocol
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen and return when requests are answered; `BindError` in one line when the port is taken."""
        listener = _listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=self._protocol or "auto",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws=Protocol,
            ws_max_size=REQUEST_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name=f"http {self.url}")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():  # it failed before it was ready; its exception says why
            ready.cancel()
            await self._task

    async def stop(self) -> None:
        """Stop listening and end; open requests get `SHUTDOWN_S` seconds. Harmless when nothing runs."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await self._task
        self._server = self._task = None


class RpcServer(LoopbackServer):
    """Serves one dispatcher's JSON-RPC, and `pages` beside it."""

    def __init__(
        self,
        dispatcher: "Dispatcher",
        *,
        host: str = "127.0.0.1",
        port: int = 8545,
        pages: Pages = MappingProxyType({}),
        access: Access = LOCAL,
    ) -> None:
        """Check the address; nothing is opened yet."""
        super().__init__(application(dispatcher, pages, access), host=host, port=port)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms an answer) off only on sockets that say that they are TCP
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        message = f"cannot listen on {host} port {port}: {reason}; choose another port"
        raise BindError(message) from None
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return listener
