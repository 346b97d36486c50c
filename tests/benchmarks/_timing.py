"""What the benchmarks share: how long something took."""

from collections.abc import Callable, Iterable

from merit.clock import Clock, SystemClock, thread_seconds


class CoreClock(SystemClock):
    """Counts what the calling thread has had of a core, so that what else the machine does makes little difference."""

    def monotonic(self) -> float:
        """Seconds of processor time."""
        return thread_seconds()


def took_us(clock: Clock, work: Callable[[], object]) -> float:
    """Run `work` once; microseconds."""
    start = clock.monotonic()
    work()
    return (clock.monotonic() - start) * 1e6


def each_us(clock: Clock, works: Iterable[Callable[[], object]]) -> float:
    """Run each of `works` once; the mean in microseconds."""
    times = [took_us(clock, work) for work in works]
    return sum(times) / len(times)
