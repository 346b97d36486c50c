"""Asks servers that are not trusted: every answer is bounded in bytes and in time, whatever the server does.

The requests run in a thread with an event loop of its own, so that several servers are asked at once, the next page
comes while the last one is verified, and a limit of time holds for a whole answer and not for each of its pieces.
"""

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import httpx

from node.audit.errors import FaultError, UnansweredError
from node.audit.report import Part

ANSWER_S: Final = 30.0
"""A whole answer takes no longer, or there is none."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    body: bytes


class Fetcher:
    """Sends requests in the background; a context manager, and what is under way when it ends is given up."""

    def __init__(self, answer_s: float = ANSWER_S, https: httpx.AsyncBaseTransport | None = None) -> None:
        """Let every answer take `answer_s` seconds; `https` speaks TLS in the place of httpx's own."""
        self._answer_s, self._https = answer_s, https
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetcher", daemon=True)
        self._http: httpx.AsyncClient | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        # the limit of time is `_exchange`'s: httpx would give every piece of an answer its own
        headers, mounts = {"Accept-Encoding": "identity"}, {"https://": self._https} if self._https else None
        self._http = httpx.AsyncClient(timeout=None, headers=headers, mounts=mounts)  # noqa: S113
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give up what is under way and end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def get(self, name: str, url: str, most: int) -> Future[Reply]:
        """Ask for what is at `url`, at most `most` bytes, on behalf of the server called `name`.

        The future raises UnansweredError, or FaultError for an answer that is too long.
        """
        return asyncio.run_coroutine_threadsafe(self._exchange(name, "GET", url, None, most), self._loop)

    def post(self, name: str, url: str, body: bytes, most: int) -> Future[Reply]:
        """Send JSON to `url`; otherwise as `get`."""
        return asyncio.run_coroutine_threadsafe(self._exchange(name, "POST", url, body, most), self._loop)

    async def _exchange(self, name: str, method: str, url: str, body: bytes | None, most: int) -> Reply:
        if self._http is None:
            message = "a fetcher is used as a context manager"
            raise RuntimeError(message)
        try:
            async with asyncio.timeout(self._answer_s):
                try:
                    return await self._once(self._http, method, url, body, most)
                except httpx.TransportError:  # a server closes a connection that rests, perhaps just as it is used
                    return await self._once(self._http, method, url, body, most)
        except TimeoutError:
            raise UnansweredError(name, f"no whole answer within {self._answer_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnansweredError(name, str(error) or type(error).__name__) from None

    @staticmethod
    async def _once(http: httpx.AsyncClient, method: str, url: str, body: bytes | None, most: int) -> Reply:
        headers = {} if body is None else {"Content-Type": "application/json"}
        async with http.stream(method, url, content=body, headers=headers) as answer:
            parts, size = [], 0
            async for piece in answer.aiter_raw():  # not decoded: a compressed answer would have no bound
                size += len(piece)
                if size > most:
                    raise FaultError(Part.ANSWER, f"at most {most} bytes", "more")
                parts.append(piece)
            return Reply(answer.status_code, b"".join(parts))

    async def _end(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()
