"""Heights of the embedded engine on the real clock: four validators, ML-DSA-65, a trivial application, one transaction.

Milliseconds from asking for a height to its being durable at all four, and the process's processor time for it.
"""

import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median, quantiles

from chain.engines.embedded import EmbeddedEngine, EngineStore, Validator
from merit.clock import SystemClock
from tests.chain.engines.network import KEYS, Counter, make_genesis

HEIGHTS = 100
VALIDATORS = 4
WARM_UP = 10


def run(heights: int = HEIGHTS) -> list[dict[str, object]]:
    """Measure without threads and with one for each validator."""
    return [_measure(threads, heights) for threads in (0, VALIDATORS)]


def _measure(threads: int, heights: int) -> dict[str, object]:
    executor = ThreadPoolExecutor(threads) if threads else None
    with tempfile.TemporaryDirectory() as directory:
        times, processor_ms = asyncio.run(_heights(Path(directory), executor, heights))
    if executor is not None:
        executor.shutdown()
    return {
        "validators": VALIDATORS,
        "threads": threads,
        "heights": len(times),
        "height_ms": median(times),
        "height_ms_p90": quantiles(times, n=10)[-1],
        "processor_ms": processor_ms,
    }


async def _heights(path: Path, executor: ThreadPoolExecutor | None, heights: int) -> tuple[list[float], float]:
    genesis, clock = make_genesis((1,) * VALIDATORS), SystemClock()
    validators = [
        Validator(KEYS[number], Counter(path / f"{number}.json"), EngineStore(path / f"{number}", genesis.digest()))
        for number in range(VALIDATORS)
    ]
    engine = EmbeddedEngine(validators, genesis, clock, manual=True, executor=executor)
    await engine.start()
    times, used = list[float](), 0.0
    for number in range(WARM_UP + heights):
        if number == WARM_UP:
            used = _processor_seconds()
        engine.submit(b"+1 %d" % number)
        begun = clock.monotonic()
        await engine.advance()
        times.append((clock.monotonic() - begun) * 1e3)
    processor_ms = (_processor_seconds() - used) / heights * 1e3
    await engine.stop()
    for validator in validators:
        validator.store.close()
    return times[WARM_UP:], processor_ms


def _processor_seconds() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    for measured in run():
        sys.stdout.write(f"{measured}\n")
