"""Exact task allocation against SCIP and Ipopt on the same instances, 5 to a million learners.

Times are processor milliseconds of one thread, so that a busy machine does not change them. All are asked for the least
staleness; `with_average_ms` is what ours takes to find the least average among those, too. SCIP gets two forms: over
the steps of the learners' staircases, which it is handed ready, and literally, with products of integers. Ipopt solves
the paper's relaxed problem, which is then rounded. A peer that needs more than `SECONDS` is asked for no more learners.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from learner.allocation.exact import allocate, allocate_least_staleness
from learner.allocation.instance import Allocation, Instance, TimeModel
from learner.allocation.reach import Reach, reach
from learner.allocation.steps import steps
from merit.chance import seed_of
from merit.clock import thread_seconds

SIZES = (5, 10, 20, 50, 100, 1_000, 10_000, 100_000, 1_000_000)
SECONDS = 60.0
REPEATS = 7  # fewer above a thousand learners
PEER_MOST = 10_000  # beyond it building a peer's model takes longer than solving it here
SAMPLES = {"steps of one": 3_000, "gaps": 60}  # of each learner on average: with few, one sample more skips updates


@dataclass(frozen=True)
class Peer:
    """Another solver; `solve` gives its staleness, None if it found no allocation in its time."""

    name: str
    solve: Callable[[Instance, float], int | None]


def run(sizes: tuple[int, ...] = SIZES, seconds: float = SECONDS) -> list[dict[str, object]]:
    """Measure every size with and without gaps; `times_as_fast` is to the fastest peer that answered in its time."""
    rows = []
    for kind, samples_each in SAMPLES.items():
        working = {peer.name: peer for peer in peers()}
        for size in sizes:
            instance = made(size, samples_each)
            found, taken = _ours(allocate_least_staleness, instance)
            row: dict[str, object] = {
                "learners": size,
                "kind": kind,
                "staleness": found.max_staleness,
                "ours_ms": round(taken * 1000, 3),
                "with_average_ms": round(_ours(allocate, instance)[1] * 1000, 3),
            }
            answered = []
            for name in PEERS:
                theirs = _theirs(working, name, instance, seconds)
                row |= {f"{name}_ms": theirs and round(theirs[0] * 1000, 1), f"{name}_staleness": theirs and theirs[1]}
                if theirs is not None:
                    answered.append(theirs[0])
            rows.append(row | {"times_as_fast": round(min(answered) / taken, 1) if answered else None})
            sys.stderr.write(f"{rows[-1]}\n")  # all of it takes most of an hour
    return rows


def made(learners: int, samples_each: int) -> Instance:
    """Learners of two speeds on links of 50 to 120 Mbit/s that train the paper's model in T = 15 s, in microseconds."""
    generator = np.random.default_rng(seed_of(1, "benchmark", "allocation", learners, samples_each))
    rate = generator.uniform(5e7, 1.2e8, learners)
    return Instance(
        TimeModel(
            (1_123_736e6 / generator.choice([2.4e9, 0.7e9], learners)).astype(np.int64),
            (784 * 8 * 1e6 / rate).astype(np.int64),
            (2 * 8_974_080e6 / rate).astype(np.int64),
            15 * 10**6,
        ),
        None,
        samples_each * learners,
        np.full(learners, samples_each // 4),
        np.full(learners, samples_each * 4),
        1,
    )


def peers() -> list[Peer]:
    """The peers whose packages are installed, imported so that nobody's first call pays for that."""
    found = []
    if find_spec("pyscipopt"):
        import_module("tests.learner.allocation.scip")
        found += [Peer("scip_steps", _scip_over_steps), Peer("scip_literal", _scip_literally)]
    if find_spec("casadi") and find_spec("learner.allocation.nonlinear"):
        import_module("casadi")
        found.append(Peer("ipopt", _ipopt))
    return found


PEERS = ("scip_steps", "scip_literal", "ipopt")


def _ours(solve: Callable[[Instance], Allocation], instance: Instance) -> tuple[Allocation, float]:
    solve(instance)
    times = []
    for _ in range(REPEATS if instance.learners <= 1_000 else 3):
        begun = thread_seconds()
        found = solve(instance)
        times.append(thread_seconds() - begun)
    return found, median(times)


def _theirs(working: dict[str, Peer], name: str, instance: Instance, seconds: float) -> tuple[float, int] | None:
    if name not in working or instance.learners > PEER_MOST:
        return None
    begun = thread_seconds()
    staleness = working[name].solve(instance, seconds)
    taken = thread_seconds() - begun
    if staleness is None or taken > seconds:
        del working[name]
    return None if staleness is None else (taken, staleness)


def _scip_over_steps(instance: Instance, seconds: float) -> int | None:
    scip: Any = import_module("tests.learner.allocation.scip")
    prepared = reach(instance)
    if not isinstance(prepared, Reach):
        message = "an instance of the benchmark is infeasible"
        raise TypeError(message)
    highest = int(prepared.updates(prepared.least).max())
    table = steps(prepared, instance.tau_min, highest)
    stairs = [
        list(dict.fromkeys(zip(*own, strict=True)))
        for own in zip(table.tau.tolist(), table.least.tolist(), table.most.tolist(), strict=True)
    ]
    return _proved(scip.over_steps(stairs, instance.d, seconds=seconds))


def _scip_literally(instance: Instance, seconds: float) -> int | None:
    scip: Any = import_module("tests.learner.allocation.scip")
    return _proved(scip.literally(instance.to_json(), seconds=seconds))


def _proved(answer: Any) -> int | None:
    return answer.staleness if answer.proved else None


def _ipopt(instance: Instance, seconds: float) -> int | None:
    del seconds  # it answers or gives up long before
    return import_module("learner.allocation.nonlinear").ipopt(instance).max_staleness


if __name__ == "__main__":
    for measured in run():
        sys.stdout.write(f"{measured}\n")
