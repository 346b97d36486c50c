"""Consensus in virtual time: seeds and events per second of one thread, faults on, stand-in signatures.

Each run breaks five heights and demands a sixth after healing. Times are processor seconds of the thread, so that a
busy machine changes them less.
"""

import sys

from chain.simulation.settings import Settings
from chain.simulation.world import simulate
from merit.clock import thread_seconds

RUNS = {4: 150, 5: 100, 7: 60, 10: 30}


def run(runs: dict[int, int] | None = None) -> list[dict[str, object]]:
    """Measure each number of validators."""
    rows: list[dict[str, object]] = []
    for validators, count in (runs or RUNS).items():
        simulate(Settings(seed=0, validators=validators))
        begun = thread_seconds()
        outcomes = [simulate(Settings(seed=seed, validators=validators)) for seed in range(count)]
        taken = thread_seconds() - begun
        events = sum(outcome.events for outcome in outcomes)
        rows.append(
            {
                "validators": validators,
                "runs": count,
                "seeds_per_s": count / taken,
                "events_per_s": events / taken,
                "events_per_seed": events / count,
                "rounds_lost_per_seed": sum(outcome.rounds_lost for outcome in outcomes) / count,
                "broken": sum(outcome.violation is not None for outcome in outcomes),
            }
        )
    return rows


if __name__ == "__main__":
    for measured in run():
        sys.stdout.write(f"{measured}\n")
