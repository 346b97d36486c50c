"""JSON-RPC over WebSocket, on the HTTP server's own port: requests as over HTTP, and subscriptions.

A connection's requests are answered one after the other, each answer sent before the next request is read. What it
subscribed to waits in a queue; a reader that lets `WAITING_BYTES` lie there is dropped, and one that does not answer a
ping (`PING_S`) too. Dropping closes the socket at once: a closing handshake would wait for whoever does not read.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chain.rpc.limits import CONNECTIONS, WAITING_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request

    from chain.rpc.dispatcher import Dispatcher


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's, which also lets the application drop a connection, and drops those that answer no ping."""

    def handle_connect(self, event: "Request") -> None:
        """Put what aborts the connection into the scope's state."""
        self.app_state = {**self.app_state, "abort": self.transport.abort}
        super().handle_connect(event)

    def keepalive_timeout(self) -> None:
        """Drop the connection: the closing frame of uvicorn's would wait in a buffer that nobody empties."""
        self.transport.abort()


class Connections:
    """Serves WebSocket connections for one dispatcher."""

    def __init__(self, dispatcher: "Dispatcher") -> None:
        """Start with none."""
        self._dispatcher = dispatcher
        self._open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection, from its handshake to its end."""
        if self._open >= CONNECTIONS:
            await socket.close(1013, f"{CONNECTIONS} connections are open; try again later")
            return
        self._open += 1
        try:
            await socket.accept()
            await _Connection(socket, self._dispatcher).run()
        finally:
            self._open -= 1


class _Connection:
    def __init__(self, socket: WebSocket, dispatcher: "Dispatcher") -> None:
        self._socket, self._dispatcher = socket, dispatcher
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._something, self._sent = asyncio.Event(), asyncio.Event()
        state: dict[str, Any] = socket.scope.get("state", {})
        self._abort: Callable[[], None] = state["abort"]
        self._subscriber = dispatcher.connect(self._deliver, self._drop)

    async def run(self) -> None:
        sending = asyncio.create_task(self._send(), name="websocket")
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                body = text.encode() if text is not None else message["bytes"]
                answer = await self._dispatcher.answer_body(body, self._subscriber)
                if answer:
                    self._put(answer)
                await self._until_sent()
        finally:
            self._dispatcher.disconnect(self._subscriber)
            sending.cancel()

    def _put(self, message: bytes) -> None:
        if self._ended:
            return
        self._waiting.append(message)
        self._bytes += len(message)
        self._sent.clear()
        self._something.set()

    async def _until_sent(self) -> None:
        while self._waiting:
            await self._sent.wait()

    def _deliver(self, message: bytes) -> None:
        """Queue a notification, or drop a reader that leaves too many."""
        if self._bytes + len(message) > WAITING_BYTES and self._waiting:
            self._drop("it does not read what it subscribed to")
            return
        self._put(message)

    def _drop(self, _reason: str) -> None:
        self._end()
        self._dispatcher.disconnect(self._subscriber)
        self._abort()

    def _end(self) -> None:
        """Send nothing any more and let nobody wait for it."""
        self._ended = True
        self._waiting.clear()
        self._sent.set()

    async def _send(self) -> None:
        with suppress(WebSocketDisconnect, OSError):
            while True:
                await self._something.wait()
                self._something.clear()
                while self._waiting:
                    message = self._waiting[0]
                    await self._socket.send_text(message.decode())
                    if self._waiting:  # else it was dropped meanwhile
                        self._waiting.popleft()
                        self._bytes -= len(message)
                self._sent.set()
        self._end()
