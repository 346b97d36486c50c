"""What the benchmarks share: how long something took."""

from collections.abc import Callable, Iterable

from merit.clock import Clock


def took_us(clock: Clock, work: Callable[[], object]) -> float:
    """Run `work` once; microseconds."""
    start = clock.monotonic()
    work()
    return (clock.monotonic() - start) * 1e6


def each_us(clock: Clock, works: Iterable[Callable[[], object]]) -> float:
    """Run each of `works` once; the mean in microseconds."""
    times = [took_us(clock, work) for work in works]
    return sum(times) / len(times)
