"""Virtual time: a queue of what happens when. Equal times happen in the order in which they were asked for."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Scheduler:
    """Milliseconds from 0; nothing waits."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self.now_ms = 0
        self.events = 0
        """How many things have happened."""
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._asked = 0

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Have `action` called `delay_ms` from now."""
        self._asked += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._asked, action))

    def run(self, until_ms: int, done: Callable[[], bool]) -> bool:
        """Let things happen up to `until_ms`, or until `done()`; return what that says."""
        while self._queue and self._queue[0][0] <= until_ms:
            if done():
                return True
            self.now_ms, _, action = heapq.heappop(self._queue)
            self.events += 1
            action()
        if not done():
            self.now_ms = until_ms
            return False
        return True
