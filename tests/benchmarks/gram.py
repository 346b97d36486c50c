"""The exact Gram matrix against numpy's float64 `U @ U.T`, side by side in one run."""

import sys
from collections.abc import Callable
from statistics import median

import numpy as np

from learner.fixedpoint import INT16
from learner.gram import gram
from merit.chance import seed_of
from merit.clock import Clock, SystemClock

UPDATES = 15
PARAMETERS = 280_440
REPETITIONS = 41
GOAL_RATIO = 1.2


def run() -> list[dict[str, object]]:
    """Alternate both on the same numbers; medians in milliseconds and the median of the ratios of neighbours.

    The peer gets its float64 matrix for nothing; ours starts from the int16 that arrive.
    """
    generator = np.random.default_rng(seed_of(1, "benchmark", "gram"))
    updates = generator.integers(INT16.min, INT16.max, (UPDATES, PARAMETERS), dtype=np.int16, endpoint=True)
    floats = updates.astype(np.float64)
    clock = SystemClock()
    ours_ms, peer_ms = [], []
    for _ in range(REPETITIONS):
        ours_ms.append(_took_ms(clock, lambda: gram(updates)))
        peer_ms.append(_took_ms(clock, lambda: floats @ floats.T))
    ratio = median(ours / peer for ours, peer in zip(ours_ms, peer_ms, strict=True))
    return [
        {
            "benchmark": "gram",
            "updates": UPDATES,
            "parameters": PARAMETERS,
            "repetitions": REPETITIONS,
            "ours_ms": round(median(ours_ms), 3),
            "numpy_float64_ms": round(median(peer_ms), 3),
            "ratio": round(ratio, 3),
            "goal_ratio": GOAL_RATIO,
        }
    ]


def _took_ms(clock: Clock, work: Callable[[], object]) -> float:
    start = clock.monotonic()
    work()
    return (clock.monotonic() - start) * 1000


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
