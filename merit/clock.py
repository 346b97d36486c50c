"""The only module that reads a clock or waits, so that a whole network can run in virtual time."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What a component may know of time; it is passed in, never fetched."""

    def now(self) -> float:
        """Seconds since the Unix epoch (UTC)."""
        ...

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only yields to other tasks."""
        ...

    def wait(self, seconds: float) -> None:
        """Block the calling thread; for code that runs without an event loop."""
        ...


def thread_seconds() -> float:
    """Processor seconds that the calling thread has used: what work costs, whoever else uses the machine."""
    return time.thread_time()


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the Unix epoch (UTC)."""
        return time.time()

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch (UTC)."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only yields to other tasks."""
        await asyncio.sleep(max(0.0, seconds))

    def wait(self, seconds: float) -> None:
        """Block the calling thread; for code that runs without an event loop."""
        time.sleep(max(0.0, seconds))
