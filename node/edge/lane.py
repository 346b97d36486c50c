"""A short way for the one request that comes a thousand times a second: `POST /v1/records`.

uvicorn and Starlette take 430 microseconds for a request of 2.5 kB, most of it for headers that nobody reads. Here a
request of exactly this kind, which has come whole or comes in pieces, goes past them. Everything else goes to them
byte by byte as it came: another method or path, a body without a length, pipelined requests, and whatever is odd.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HEAD_BYTES: Final = 4_096
_BEGIN: Final = b"POST /v1/records"
_END: Final = b"\r\n\r\n"
_REQUEST_LINE: Final = re.compile(rb"POST /v1/records(?:\?([!-~]*))? HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,6})(?=\r\n)", re.IGNORECASE)
_OTHERS: Final = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|connection:(?! ?keep-alive\r\n))", re.IGNORECASE)

_PHRASES: Final = {int(status): status.phrase.encode() for status in HTTPStatus}

Offer = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
"""Takes the query string and the body of a request; returns the status and the JSON of the answer."""


def lane(offer: Offer, most: int) -> type[asyncio.Protocol]:
    """Return a protocol for uvicorn that gives records of at most `most` bytes to `offer`, the rest to uvicorn."""

    class RecordLane(H11Protocol):
        """One connection."""

        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, object],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, app_state, _loop)
            self._ours = bytearray()
            self._answering: asyncio.Task[None] | None = None

        def data_received(self, data: bytes) -> None:
            if self._answering is not None:  # a second request before the first is answered
                self._ours += data
                return
            if not self._ours and not (data.startswith(_BEGIN) and self._is_between_requests()):
                super().data_received(data)
                return
            self._ours += data
            self._take()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._answering is not None:
                self._answering.cancel()
            super().connection_lost(exc)

        def _is_between_requests(self) -> bool:
            return (self.cycle is None or self.cycle.response_complete) and not self.conn.trailing_data[0]

        def _take(self) -> None:
            """Answer a request that is here whole; wait for one that is not, and leave what is no such request."""
            end = self._ours.find(_END)
            if end < 0 and len(self._ours) <= HEAD_BYTES:
                return
            head = bytes(self._ours[: end + 2])
            line, lengths = _REQUEST_LINE.match(head), _LENGTH.findall(head)
            plain = 0 <= end <= HEAD_BYTES and line is not None and _OTHERS.search(head) is None
            # two lengths, or one in a shape of its own, are for uvicorn to judge: nobody may read them differently
            if not plain or len(lengths) != 1 or head.lower().count(b"content-length") != 1 or int(lengths[0]) > most:
                self._leave()
                return
            whole = end + len(_END) + int(lengths[0])
            if len(self._ours) < whole:
                return
            if len(self._ours) > whole:
                self._leave()
                return
            body = bytes(self._ours[end + len(_END) :])
            self._ours.clear()
            self._unset_keepalive_if_required()
            query = (line[1] if line is not None and line[1] is not None else b"").decode("ascii")
            self._answering = self.loop.create_task(self._answer(query, body))

        def _leave(self) -> None:
            data = bytes(self._ours)
            self._ours.clear()
            super().data_received(data)

        async def _answer(self, query: str, body: bytes) -> None:
            status, content = await offer(query, body)
            head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self._answering = None
            if self.transport.is_closing():
                return
            self.transport.write(head % (status, _PHRASES.get(status, b""), len(content)) + content)
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            if self._ours:
                self._take_next()

        def _take_next(self) -> None:
            if self._ours.startswith(_BEGIN):
                self._take()
            else:
                self._leave()

    return RecordLane
