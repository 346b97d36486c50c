"""HTTP/1.1 to one server with as little work as possible: what asks must not take the machine from what answers."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

_LINE: Final = b"\r\n"
_LENGTH: Final = b"\r\ncontent-length: "


class ConnectionLostError(OSError):
    """The server closed a connection instead of answering, or answered what is no HTTP."""


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self, url: str) -> None:
        """Name the server; `request` connects."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = f"Host: {self._host}:{self._port}\r\n".encode()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self._transport = None
        self._fail(exc or ConnectionLostError(f"{self._host}:{self._port} has closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Gather the answer; it is whole when as many bytes are here as it announces."""
        self._received += data
        end = self._received.find(2 * _LINE)
        if end < 0:
            return
        head = bytes(self._received[: end + len(_LINE)]).lower()
        at = head.find(_LENGTH)
        if at < 0:
            self._fail(ConnectionLostError("an answer without a length"))
            return
        length = int(head[at + len(_LENGTH) : head.index(_LINE, at + len(_LINE))])
        begin = end + 2 * len(_LINE)
        if len(self._received) < begin + length:
            return
        status, body = int(head[9:12]), bytes(self._received[begin : begin + length])
        self._received.clear()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result((status, body))

    async def request(self, method: str, path: str, content: bytes = b"") -> tuple[int, bytes]:
        """Ask and return status and body; OSError when no answer comes."""
        if self._transport is None:
            self._received.clear()
            await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)
        if self._transport is None:
            msg = f"{self._host}:{self._port} has closed the connection"
            raise ConnectionLostError(msg)
        self._answer = asyncio.get_running_loop().create_future()
        line = f"{method} {path} HTTP/1.1\r\n".encode()
        self._transport.write(b"%b%bContent-Length: %d\r\n\r\n%b" % (line, self._head, len(content), content))
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
