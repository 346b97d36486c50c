"""The edge server's blocks, from the ledger of its own process: nothing becomes JSON on the way.

The ledger belongs to the main thread. There each height's events are taken from the store as bytes; the edge server's
thread waits for them and decodes them.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from chain.application import Application
from chain.execution.reader import FoundLog
from contracts.events import Event, decode_event
from node.rounds.log import BlockEvents

BLOCKS_AT_ONCE = 64
"""So that a server that catches up does not keep the ledger from its work."""

_T = TypeVar("_T")


class LedgerBlocks:
    """A `node.edge.follower.BlockSource`; made in the ledger's thread, asked in the edge server's."""

    def __init__(self, application: Application, addresses: tuple[bytes, ...]) -> None:
        """Read the contracts at `addresses`."""
        self._application, self._addresses = application, addresses
        self._loop = asyncio.get_running_loop()
        self._news = threading.Event()
        self._news.set()

    def tell(self) -> None:
        """Note, in any thread, that the ledger has moved."""
        self._news.set()

    def after(self, height: int) -> Iterator[BlockEvents]:
        """Give every block after this one; asks the ledger only after `tell`."""
        while self._news.is_set():
            self._news.clear()
            found = self._in_ledger_thread(partial(self._read, height))
            if len(found) == BLOCKS_AT_ONCE:
                self._news.set()
            for number, timestamp, logs in found:
                yield BlockEvents(number, timestamp, tuple(_events(logs)))
                height = number

    def _read(self, height: int) -> list[tuple[int, int, list[FoundLog]]]:
        reader = self._application.reader()
        last = min(reader.latest(), height + BLOCKS_AT_ONCE)
        return [
            (number, reader.header(number).timestamp, reader.logs(number, number, addresses=self._addresses))
            for number in range(height + 1, last + 1)
        ]

    def _in_ledger_thread(self, work: Callable[[], _T]) -> _T:
        answer: Future[_T] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except Exception as error:  # noqa: BLE001 - raised again where it was asked for
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return answer.result()


def _events(logs: list[FoundLog]) -> Iterator[Event]:
    for found in logs:
        event = decode_event(
            found.log.topics,
            found.log.data,
            block=found.place.number,
            log_index=found.log_index,
            transaction=found.transaction_hash,
        )
        if event is not None:
            yield event
