"""Hands transactions over to the nodes that propose next: a TCP connection to each, messages behind their length.

There are no answers: whether a transaction came through is seen in the blocks, and its node hands it over again if it
is in none. Anybody may send transactions to a node, so nobody has to prove who he is here; the pool's bounds hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from chain.engines.cometbft.server import delimited, read_message
from chain.engines.errors import AbciError, HandOverError
from chain.limits import TRANSACTION_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from merit.clock import Clock

_LOGGER: Final = logging.getLogger(__name__)

UNSENT_BYTES: Final = 16 * TRANSACTION_BYTES
"""What may wait for one peer; more is dropped, and handed over again later to whoever comes next then."""
_CONNECT_AGAIN_S: Final = 1.0
_IGNORED_BYTES: Final = 65_536


class HandOver:
    """One node's side: takes what others hand over, and hands over to them.

    Args:
        listen: host and port to listen on.
        peers: validator address -> host and port of that validator's node.
        take: called with every transaction that comes.
        clock: paces attempts to connect.

    """

    def __init__(
        self,
        listen: tuple[str, int],
        peers: Mapping[bytes, tuple[str, int]],
        take: Callable[[bytes], object],
        clock: Clock,
    ) -> None:
        """Prepare; `start` opens the port."""
        self._listen, self._take, self._clock = listen, take, clock
        self._lines = {address: _Line(place, clock) for address, place in peers.items()}
        self._turns: OrderedDict[bytes, None] = OrderedDict.fromkeys(self._lines)
        self._server: asyncio.Server | None = None
        self._receiving: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> tuple[int, int]:
        """How many nodes can be reached now, of how many."""
        return sum(line.open for line in self._lines.values()), len(self._lines)

    def know(self, peers: Mapping[bytes, tuple[str, int]]) -> None:
        """Hand over to these too from now on; those that are known already stay as they are."""
        for address, place in peers.items():
            if address not in self._lines:
                self._lines[address] = _Line(place, self._clock)
                self._lines[address].start()
                self._turns[address] = None

    async def start(self) -> None:
        """Listen; HandOverError in one line when the port is taken."""
        host, port = self._listen
        try:
            self._server = await asyncio.start_server(self._receive, host, port, limit=TRANSACTION_BYTES)
        except OSError as error:
            msg = f"cannot listen on {host} port {port}: {error.strerror}; choose another port"
            raise HandOverError(msg) from None
        for line in self._lines.values():
            line.start()

    async def stop(self) -> None:
        """Close everything; what was not sent is lost."""
        for line in self._lines.values():
            await line.stop()
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._receiving:
            task.cancel()
        await asyncio.gather(*self._receiving, return_exceptions=True)

    def proposed(self, validator: bytes) -> None:
        """Note who proposed the last height: its turn comes again after everybody else's.

        With equal powers that is CometBFT's own order; with others a good guess.
        """
        if validator in self._turns:
            self._turns.move_to_end(validator)

    def send(self, raw: bytes, copies: int) -> None:
        """Hand a transaction to the next `copies` proposers that can be reached."""
        sent = 0
        for address in self._turns:
            if sent == copies:
                return
            sent += self._lines[address].send(raw)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._receiving.add(task)
            task.add_done_callback(self._receiving.discard)
        try:
            while True:
                raw = await read_message(reader, TRANSACTION_BYTES)
                self._take(raw)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the other side has ended
        except asyncio.CancelledError:
            pass  # this side has
        except AbciError as error:
            _LOGGER.warning("a peer hands over what is no transaction: %s", error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Line:
    """One connection to a peer, made again as often as it breaks."""

    def __init__(self, place: tuple[str, int], clock: Clock) -> None:
        self._place, self._clock = place, clock
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"hand over to {self._place}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def open(self) -> bool:
        """Whether the other side is there."""
        return self._writer is not None and not self._writer.is_closing()

    def send(self, raw: bytes) -> bool:
        """Queue a transaction; False if the peer cannot be reached or takes too slowly."""
        writer = self._writer
        if writer is None or writer.is_closing() or writer.transport.get_write_buffer_size() > UNSENT_BYTES:
            return False
        writer.write(delimited(raw))
        return True

    async def _keep(self) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_connection(*self._place)
            except OSError:
                await self._clock.sleep(_CONNECT_AGAIN_S)
                continue
            try:
                while await reader.read(_IGNORED_BYTES):
                    pass  # nothing is expected, and nothing kept; it ends when the other side is gone
            except OSError:
                pass  # reset, timed out, or no way there any more
            finally:
                self._writer.close()
                self._writer = None
            await self._clock.sleep(_CONNECT_AGAIN_S)
