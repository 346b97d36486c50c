"""ABCI 2.0 over a Unix socket: protobuf messages, each behind its length as a varint (abci/client/socket_client.go).

CometBFT opens four connections (consensus, mempool, query, snapshot), writes requests without waiting, and ends each
burst with a flush. Answers go back in the order of the requests. All of it runs in the caller's event loop, one request
at a time: the application is never entered twice at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from chain.engines.errors import AbciError
from chain.proto import abci_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from merit.clock import Clock

_LOGGER: Final = logging.getLogger(__name__)

MESSAGE_BYTES: Final = 104_857_600
"""CometBFT's own bound on one message (abci/types/messages.go)."""
SOCKET_PATH_BYTES: Final = 107
"""What a Unix socket's name may have (sun_path, less its zero)."""
_BUFFER_BYTES: Final = 4 * 1024 * 1024
_VARINT_BYTES: Final = 10


@dataclass(slots=True)
class Spent:
    """How often CometBFT asked for something, and what answering took in seconds: in all, and the longest."""

    calls: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class AbciServer:
    """Serves one CometBFT; `answer` is called for every request, in order.

    An exception out of `answer` is a broken invariant: CometBFT gets it as an exception, which stops it, nothing more
    is answered, and `failure` holds it. `failed` is set then.
    """

    def __init__(self, path: Path, answer: Callable[[pb.Request], pb.Response], clock: Clock) -> None:
        """Prepare to listen at `path`; AbciError when the path is too long for a socket."""
        if len(str(path).encode()) > SOCKET_PATH_BYTES:
            msg = f"{path}: longer than the {SOCKET_PATH_BYTES} bytes of a socket's name; use a shorter one"
            raise AbciError(msg)
        self._path, self._answer, self._clock = path, answer, clock
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.failure: Exception | None = None
        self.failed = asyncio.Event()
        self.spent: dict[str, Spent] = {}  # by kind of request

    async def start(self) -> None:
        """Listen; a socket that a killed process left is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_BUFFER_BYTES)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Answer no more. A request that is being answered is finished: nothing interrupts `answer`."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while self.failure is None:
                request = pb.Request.FromString(await read_message(reader))
                response = self._respond(request)
                writer.write(delimited(response.SerializeToString()))
                if request.WhichOneof("value") == "flush" or self.failure is not None:
                    await writer.drain()
                await self._clock.sleep(0)  # a burst on one connection must not keep the others waiting
        except (asyncio.IncompleteReadError, ConnectionError):
            _LOGGER.info("CometBFT has closed a connection")
        except (AbciError, DecodeError) as error:
            _LOGGER.error("CometBFT sent what is no ABCI message: %s", error)  # noqa: TRY400 - the peer's fault
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _respond(self, request: pb.Request) -> pb.Response:
        begun = self._clock.monotonic()
        try:
            response = self._answer(request)
        except Exception as error:  # never vote on a broken ledger
            _LOGGER.exception("%s failed", request.WhichOneof("value"))
            self.failure = error
            self.failed.set()
            return pb.Response(exception=pb.ResponseException(error=str(error)))
        took = self._clock.monotonic() - begun
        spent = self.spent.setdefault(request.WhichOneof("value") or "", Spent())
        spent.calls, spent.seconds, spent.longest = spent.calls + 1, spent.seconds + took, max(spent.longest, took)
        return response


def delimited(message: bytes) -> bytes:
    """Put a message's length in front of it."""
    length, prefix = len(message), bytearray()
    while length > 0x7F:  # noqa: PLR2004 - seven bits a byte
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + message


async def read_message(reader: asyncio.StreamReader, limit: int = MESSAGE_BYTES) -> bytes:
    """Read one message of at most `limit` bytes.

    AbciError for a length that none has, IncompleteReadError at the end of the stream.
    """
    length = 0
    for at in range(_VARINT_BYTES):
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << 7 * at
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            break
    if length > limit:
        msg = f"a message of {length} bytes; at most {limit} are taken"
        raise AbciError(msg)
    return await reader.readexactly(length)
