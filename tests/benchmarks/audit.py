"""What computing a round again costs an audit, step by step: 15 updates of 280,440 parameters, processor time.

`seconds` is for 1,000 rounds by one process, extrapolated from `ms`: the steps do not depend on the round. Rounds are
independent, so that N processes share them (`merit audit --jobs N`). Verifying and executing the heights comes on top
and is not in it; `merit audit` itself says what that took. Set OMP_NUM_THREADS=1.
"""

import hashlib
import sys
from collections.abc import Callable

import numpy as np

from learner import aggregation
from learner.fixedpoint import check_update
from learner.gram import gram
from learner.rewards import step_weights
from merit.chance import seed_of
from merit.clock import thread_seconds
from node.rounds.attestation import encode_model

PHI, PARAMETERS, ROUNDS, SHIFT, TIMES = 15, 280_440, 1_000, 4, 3


def run() -> list[dict[str, object]]:
    """Measure each step, warm; a row for each and one for their sum."""
    rng = np.random.default_rng(seed_of(1, "benchmark", "audit"))
    blobs = [rng.integers(-300, 300, PARAMETERS, dtype=np.int16).tobytes() for _ in range(PHI)]
    base = rng.integers(-(2**20), 2**20, PARAMETERS, dtype=np.int32)
    updates = [np.frombuffer(blob, dtype="<i2").astype(np.int16) for blob in blobs]
    aggregate = aggregation.delta(base, updates, step_weights([1] * PHI), SHIFT)
    steps: dict[str, Callable[[], object]] = {
        "blobs: SHA-256 of all and of payloads": lambda: [hashlib.sha256(blob).digest() for blob in blobs * 2],
        "updates: decode": lambda: [np.frombuffer(blob, dtype="<i2").astype(np.int16) for blob in blobs],
        "updates: norm and range": lambda: [
            check_update(base, update, shift=SHIFT, norm_bound_squared=1 << 60) for update in updates
        ],
        "Gram matrix": lambda: gram(updates),
        "aggregate": lambda: aggregation.delta(base, updates, step_weights([1] * PHI), SHIFT),
        "new model": lambda: aggregation.half_even(aggregate).astype(np.int32),
        "digests of aggregate and model": lambda: (
            hashlib.sha256(aggregation.encode_aggregate(aggregate)).digest(),
            hashlib.sha256(encode_model(base, 20)).digest(),
        ),
    }
    took = {name: _ms(step) for name, step in steps.items()}
    took["all"] = sum(took.values())
    return [{"step": name, "ms": round(ms, 2), "seconds": round(ms * ROUNDS / 1000, 1)} for name, ms in took.items()]


def _ms(step: Callable[[], object]) -> float:
    step()
    start = thread_seconds()
    for _ in range(TIMES):
        step()
    return 1000 * (thread_seconds() - start) / TIMES


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
