"""Carries TCP between two nodes of a testnet, so that a link can be cut without a firewall."""

import asyncio
import contextlib
from collections.abc import Sequence

_CHUNK_BYTES = 1 << 20


class Relay:
    """One direction of connecting: what connects to `port` reaches `target`, while the link is whole."""

    def __init__(self, target: int) -> None:
        """Carry to a port of the loopback interface."""
        self.target = target
        self.port = 0
        self.cut = False
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        await self.sever()

    async def sever(self) -> None:
        """End every connection; new ones are refused while `cut`."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)
        other: asyncio.StreamWriter | None = None
        whole = False
        try:
            if self.cut:
                return
            back, other = await asyncio.open_connection("127.0.0.1", self.target, limit=_CHUNK_BYTES)
            ways = [asyncio.create_task(_carry(reader, other)), asyncio.create_task(_carry(back, writer))]
            try:
                done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
                whole = len(done) == len(ways) and all(way.exception() is None for way in done)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # the target is down: the caller sees its connection end
        except asyncio.CancelledError:
            pass  # the link is cut
        finally:
            await _close([end for end in (writer, other) if end is not None], gently=whole)


async def _close(ends: Sequence[asyncio.StreamWriter], *, gently: bool) -> None:
    """Close what is open; `gently` sends what still waits, unless the link is cut meanwhile."""
    for end in ends:
        if gently:
            end.close()
        else:
            end.transport.abort()
    try:
        for end in ends:
            with contextlib.suppress(OSError):
                await end.wait_closed()
    except asyncio.CancelledError:
        for end in ends:
            end.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one way until its end and pass the end on; the other way may have more to carry."""
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
