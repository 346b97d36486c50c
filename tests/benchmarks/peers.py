"""FLGo's FedAvg, FedBuff and FedAsync beside this repository's simulator, on the same federations.

Everybody gets the same samples, first model, local training, buffer, concurrency and duration of each client's each
update, and makes as many updates; both evaluate after as many of them on the same test samples. A row is a server and
its rule: client updates per processor second, and the virtual seconds until the test accuracy first reaches 90 and
95 %, medians over the seeds (None: half of the seeds or more never did). What `decomposed` reads of edge servers'
references is simulated too, and paid for in its updates per second.

FLGo (MIT licence) is called in an environment of its own, a process for each run; `scripts/install-peers` brings it.
FLGo's clock has ticks, of `TICK_US` here, and its synchronous server waits one tick between rounds.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import fmean, median
from types import MappingProxyType

import msgspec

from learner.simulation.grid import load
from learner.simulation.run import Evaluated, Finished, simulate
from learner.simulation.scenario import Asynchronous, LabelShards, Rules, Scenario, Synchronous, Training
from learner.simulation.timing import MICROSECONDS
from learner.training import one_thread
from merit.clock import thread_seconds
from node.cli.checkout import checkout

SEEDS = 5
TICK_US = 50_000
TARGETS = (0.9, 0.95)


class Work(msgspec.Struct, frozen=True):
    """What a peer is to do: which of its algorithms, on what, and after how many client updates it ends."""

    algorithm: str
    scenario: Scenario
    updates: int
    mnist: str


class Found(msgspec.Struct, frozen=True):
    """What came of it: updates made, processor seconds, and (virtual seconds, test accuracy) of each evaluation."""

    updates: int
    cpu_seconds: float
    evaluations: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Federation:
    """A federation under any server and rule: all that they share."""

    scenario: Scenario
    updates: int
    seeds: int = SEEDS


FEDERATIONS = (
    Federation(
        Scenario(
            data="digits",
            model="mlp",
            clients=40,
            partition=LabelShards(shards=3),
            server=Asynchronous(phi=10, concurrency=20),
            training=Training(epochs=2, batch_size=10, learning_rate=0.1),
            evaluate_every=2,
        ),
        updates=1_000,
    ),
)

OURS: Mapping[str, Rules] = MappingProxyType(
    {
        "fedavg": Rules(scoring="data-size", staleness="constant"),
        "fedbuff": Rules(scoring="uniform", staleness="polynomial"),
        "cosine": Rules(scoring="cosine", staleness="polynomial"),
        "decomposed": Rules(scoring="decomposed", staleness="polynomial"),
    }
)
"""Rules of this repository: the two that pay for nothing but taking part, the paper's, and the one with references."""

FLGO = ("fedavg", "fedbuff", "fedasync")


def run(federations: Sequence[Federation] = FEDERATIONS) -> list[dict[str, object]]:
    """Play each federation under each server, seed by seed in turns; a row for each."""
    rows = []
    python = peers_python()
    for federation in federations:
        mnist = Path(os.environ.get("MERIT_SHARED") or "../shared") / "mnist"
        if federation.scenario.data == "mnist" and not mnist.is_dir():
            continue
        found: dict[tuple[str, str], list[Found]] = {}
        for seed in range(1, federation.seeds + 1):
            scenario = msgspec.structs.replace(federation.scenario, seed=seed)
            for name in FLGO if python is not None else ():
                work = Work(name, _served(scenario, name), federation.updates, str(mnist))
                found.setdefault(("FLGo", name), []).append(_peer(python, work))
            for name, rules in OURS.items():
                own = msgspec.structs.replace(_served(scenario, name), rules=rules)
                found.setdefault(("Merit", name), []).append(_own(own, federation.updates, mnist))
        rows += _rows(federation, found)
    return rows


def peers_python() -> Path | None:
    """Find the interpreter of the environment that has the peers; None where it was not made."""
    root = checkout()
    program = None if root is None else root / ".merit" / "peers" / "bin" / "python"
    return program if program is not None and program.is_file() else None


def _served(scenario: Scenario, name: str) -> Scenario:
    """Put a federation under the server of an algorithm: buffers, but for FedAvg, which waits for all of phi."""
    if name != "fedavg":
        return scenario
    return msgspec.structs.replace(scenario, server=Synchronous(phi=scenario.server.phi))


def _peer(python: Path, work: Work) -> Found:
    """Have FLGo do it, in a process of its own."""
    ended = subprocess.run(  # noqa: S603 - the environment's own interpreter
        [str(python), "-m", "tests.benchmarks._flgo"],
        cwd=checkout(),
        input=msgspec.json.encode(work),
        capture_output=True,
        check=False,
    )
    if ended.returncode:
        message = f"FLGo's {work.algorithm} failed: {ended.stderr.decode(errors='replace').strip()[-500:]}"
        raise RuntimeError(message)
    return msgspec.json.decode(ended.stdout, type=Found)


def _own(scenario: Scenario, updates: int, mnist: Path) -> Found:
    """Simulate it here."""
    split = load(scenario, mnist)
    rounds = -(-updates // scenario.server.phi)
    evaluations, made = [], 0
    with one_thread():
        events = simulate(msgspec.structs.replace(scenario, rounds=rounds), split)
        next(events)  # who has which samples is settled
        begun = thread_seconds()
        for event in events:
            match event:
                case Evaluated():
                    evaluations.append((event.at_us / MICROSECONDS, event.accuracy))
                case Finished():
                    made = event.updates
        return Found(made, thread_seconds() - begun, evaluations)


def _rows(federation: Federation, found: Mapping[tuple[str, str], Sequence[Found]]) -> Iterator[dict[str, object]]:
    speeds = {who: median(one.updates / one.cpu_seconds for one in runs) for who, runs in found.items()}
    flgo = speeds.get(("FLGo", "fedbuff"))
    if flgo is None:
        yield _row(federation, "FLGo", "skipped: scripts/install-peers brings it")
    for (system, name), runs in found.items():
        per_second = speeds[system, name]
        yield _row(
            federation,
            system,
            name,
            runs=len(runs),
            updates=round(fmean(one.updates for one in runs)),
            per_second=round(per_second, 1),
            times_flgo=None if flgo is None else round(per_second / flgo, 2),
            accuracy=round(fmean(one.evaluations[-1][1] for one in runs), 4),
            **{f"seconds_to_{target:g}": median_time(runs, target) for target in TARGETS},
        )


def _row(federation: Federation, system: str, algorithm: str, **figures: object) -> dict[str, object]:
    keys = ("runs", "updates", "per_second", "times_flgo", "accuracy", *(f"seconds_to_{one:g}" for one in TARGETS))
    return {"data": federation.scenario.data, "system": system, "algorithm": algorithm} | {
        key: figures.get(key) for key in keys
    }


def median_time(runs: Sequence[Found], target: float) -> float | None:
    """Give the median over runs of the virtual time to an accuracy; one that never reaches it took for ever."""
    times = [next((at for at, accuracy in one.evaluations if accuracy >= target), inf) for one in runs]
    middle = median(times)
    return None if middle == inf else round(middle, 2)


if __name__ == "__main__":
    for measured in run():
        sys.stdout.write(f"{measured}\n")
