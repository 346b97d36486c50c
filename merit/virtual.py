"""Virtual time: an event loop whose clock stands still while anything can run, and jumps when nothing can.

What runs on it must not wait for anything outside: no threads, no sockets, no other processes. Then a run of hours
takes as long as its work, and equal runs do the same in the same order.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from merit.errors import MeritError

RESOLUTION_S: Final = 1e-6
"""What is due within so much is due, also after years."""
_NS: Final = 10**9
_T = TypeVar("_T")


class StandstillError(MeritError):
    """Nothing can run and nothing is due: what is waited for never comes."""


class _Jumping(selectors.SelectSelector):
    """Instead of waiting, lets the time pass."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            message = "virtual time stands still: everything waits, and nothing is due"
            raise StandstillError(message)
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Jumping) -> None:
        super().__init__(selector)
        self._jumping = selector
        self._clock_resolution = RESOLUTION_S  # that of the system's clock is lost in the rounding of late times

    def time(self) -> float:
        return self._jumping.now


class VirtualClock:
    """A clock (merit/clock.py) of virtual time."""

    def __init__(self, selector: _Jumping, epoch: int) -> None:
        """Begin at `epoch`, in seconds since the Unix epoch."""
        self._selector, self._epoch = selector, epoch

    def now(self) -> float:
        """Seconds since the Unix epoch (UTC)."""
        return self._epoch + self._selector.now

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch (UTC)."""
        return self._epoch * _NS + round(self._selector.now * _NS)

    def monotonic(self) -> float:
        """Seconds since the begin."""
        return self._selector.now

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only yields to other tasks."""
        await asyncio.sleep(max(0.0, seconds))

    def wait(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self._selector.now += max(0.0, seconds)


def run_virtually(main: Callable[[VirtualClock], Coroutine[Any, Any, _T]], *, epoch: int) -> _T:
    """Run a coroutine in virtual time to its end and return its result; `epoch` is the first second.

    Raises:
        StandstillError: everything waits for what never comes.

    """
    selector = _Jumping()
    with asyncio.Runner(loop_factory=lambda: _Loop(selector)) as runner:
        return runner.run(main(VirtualClock(selector, epoch)))
