"""The front: takes TLS connections from anywhere, and carries what is in them to the intake on the loopback interface.

It knows nothing of HTTP. What a connection may cost is bounded: how many there are, how long a handshake takes, how
long nothing moves, and how many bytes wait in each direction (one chunk and the streams' own limits, with `drain`).
"""

import asyncio
import contextlib
import logging
from typing import Final

from OpenSSL import SSL

from chain.errors import ChainError
from node.errors import HandshakeError, TransportError
from node.tls.channel import CHUNK_BYTES, GROUP, Channel

_log = logging.getLogger(__name__)

CONNECTIONS: Final = 512
HANDSHAKE_S: Final = 10.0
IDLE_S: Final = 120.0
"""Longer than an intake lets anybody wait for an answer."""
CLOSE_S: Final = 1.0


class Front:
    """Listens for TLS on one address.

    Args:
        context: what it proves itself with, see `channel.server_context`.
        intake: host and port on the loopback interface where the plaintext goes.
        host: the address to listen on; any.
        port: 0 lets the system choose; `port` tells after `start`.
        classical: take clients whose key exchange is classical, too.
        connections: how many at a time; more are closed unheard.
        handshake_s: seconds that a handshake may take.
        idle_s: seconds after which a connection in which nothing moves is closed.

    """

    def __init__(
        self,
        context: SSL.Context,
        intake: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        classical: bool = False,
        connections: int = CONNECTIONS,
        handshake_s: float = HANDSHAKE_S,
        idle_s: float = IDLE_S,
    ) -> None:
        """Remember; `start` listens."""
        self.host, self.port = host, port
        self._context, self._intake, self._classical = context, intake, classical
        self._most, self._handshake_s, self._idle_s = connections, handshake_s, idle_s
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"https://[{self.host}]:{self.port}" if ":" in self.host else f"https://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            TransportError: the address or port cannot be had.

        """
        try:
            self._server = await asyncio.start_server(self._take, self.host, self.port, limit=CHUNK_BYTES)
        except (OSError, OverflowError) as error:
            message = f"cannot listen on {self.host} port {self.port}: {error}; choose another address or port"
            raise TransportError(message) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection; harmless when nothing runs."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= self._most:
            _log.warning("TLS: %s is not heard: %d connections are open", _name(writer), len(self._open))
            writer.close()
            return
        self._open.add(task)
        try:
            await self._serve(reader, writer)
        except (HandshakeError, ChainError) as error:
            _log.warning(
                "TLS: %s is refused: %s; this intake takes TLS 1.3 with %s and ML-DSA certificates only",
                _name(writer), error, GROUP,
            )  # fmt: skip
        except TimeoutError:
            _log.info("TLS: %s is cut off: nothing moved", _name(writer))
        except (ConnectionError, OSError) as error:
            _log.info("TLS: %s is gone: %s", _name(writer), error)
        except asyncio.CancelledError:  # by `stop` alone; asyncio's streams would log a cancelled task as an error
            _log.debug("TLS: %s is cut off: the front stops", _name(writer))
        finally:
            self._open.discard(task)
            await _close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(self._context, classical=self._classical)
        try:
            async with asyncio.timeout(self._handshake_s):
                await _handshake(channel, reader, writer)
        except TimeoutError:
            message = f"its handshake was not over after {self._handshake_s:g} s"
            raise HandshakeError(message) from None
        inner_reader, inner_writer = await asyncio.open_connection(*self._intake, limit=CHUNK_BYTES)
        try:
            await self._carry(channel, (reader, writer), (inner_reader, inner_writer))
        finally:
            await _close(inner_writer)

    async def _carry(
        self,
        channel: Channel,
        outer: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        inner: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Carry both ways until one side ends."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._idle_s) as alarm:

            def moved() -> None:
                alarm.reschedule(loop.time() + self._idle_s)

            async def inwards() -> None:
                reader, writer = outer[0], inner[1]
                while True:
                    while plaintext := channel.read():
                        writer.write(plaintext)
                        await writer.drain()
                        moved()
                    if channel.ended:
                        return
                    await _flush(channel, outer[1])  # answers of TLS itself
                    channel.receive(await reader.read(CHUNK_BYTES))

            async def outwards() -> None:
                reader, writer = inner[0], outer[1]
                while plaintext := await reader.read(CHUNK_BYTES):
                    channel.write(plaintext)
                    await _flush(channel, writer)
                    moved()
                channel.close()
                await _flush(channel, writer)

            ways = [asyncio.create_task(inwards()), asyncio.create_task(outwards())]
            try:
                done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in done:
                    await way
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)


async def _handshake(channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while not channel.shake():
            await _flush(channel, writer)
            channel.receive(await reader.read(CHUNK_BYTES))
    finally:
        await _flush(channel, writer)  # an alert that says why, too


async def _flush(channel: Channel, writer: asyncio.StreamWriter) -> None:
    if ciphertext := channel.to_send():
        writer.write(ciphertext)
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Let what is written leave, for a moment; then cut."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await writer.wait_closed()
    writer.transport.abort()


def _name(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a client"
