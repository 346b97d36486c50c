"""Many runs, one file of JSON Lines each: begun in order, cut off at any time, gone on with at what is missing.

A cell's file begins with its scenario, has a line for each round and each evaluation, and ends with the summary. It has
its name only when it is whole; the same scenario writes the same bytes. How long a cell took is not in it: that is told
to whoever runs the grid.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from learner.data import Split, digits, mnist
from learner.errors import InvalidScenario, LearnerError
from learner.simulation.ledger import Round
from learner.simulation.population import Role
from learner.simulation.run import Evaluated, Finished, Started, simulate
from learner.simulation.scenario import Scenario
from learner.simulation.summary import Summary, Tally
from learner.training import one_thread
from merit.clock import thread_seconds


@dataclass(frozen=True, slots=True)
class Cell:
    """A run of a grid: its name, which is that of its file, and what it simulates."""

    name: str
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a cell: its summary, or why it has none; `cpu_seconds` is 0 for one that was there already."""

    name: str
    summary: Summary | None
    reason: str = ""
    cpu_seconds: float = 0.0


def run_cells(
    cells: Sequence[Cell],
    directory: Path,
    *,
    mnist_directory: Path,
    workers: int = 1,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Done]:
    """Run cells whose files are not in `directory` yet; yield each as it ends, those that were there first.

    With one worker in this process, else in so many others. `go_on` is asked before a cell begins; once it says no,
    none begins any more, and those that did not are not yielded. A cell that cannot be run is yielded with the reason.
    """
    directory.mkdir(parents=True, exist_ok=True)
    missing = []
    for cell in cells:
        found = read_summary(directory, cell)
        if found is None:
            missing.append(cell)
        else:
            yield Done(cell.name, found)
    if workers == 1:
        for cell in missing:
            if not go_on():
                return
            yield run_cell(cell, directory, mnist_directory)
        return
    waiting = iter(missing)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(run_cell, cell, directory, mnist_directory) for cell in islice(waiting, workers)}
        while running:
            ended = next(as_completed(running))
            running.discard(ended)
            following = next(waiting, None) if go_on() else None
            if following is not None:
                running.add(pool.submit(run_cell, following, directory, mnist_directory))
            yield ended.result()


def run_cell(cell: Cell, directory: Path, mnist_directory: Path) -> Done:
    """Run one cell and write its file; what the scenario asks for in vain is told, not raised."""
    begun = thread_seconds()
    unfinished = directory / f"{cell.name}.unfinished"
    summary = None
    try:
        split = load(cell.scenario, mnist_directory)
        with one_thread(), unfinished.open("wb") as file:
            for line in lines(cell.scenario, split):
                file.write(msgspec.json.encode(line, order="deterministic") + b"\n")
                if line["event"] == "summary":
                    summary = msgspec.convert(line["summary"], Summary)
    except LearnerError as error:
        unfinished.unlink(missing_ok=True)
        return Done(cell.name, None, str(error), thread_seconds() - begun)
    unfinished.replace(_file(directory, cell))
    return Done(cell.name, summary, "", thread_seconds() - begun)


def lines(scenario: Scenario, split: Split) -> Iterator[dict[str, Any]]:
    """Yield what a cell's file says, line by line; raises as `simulate`."""
    yield {"event": "scenario", "scenario": msgspec.to_builtins(scenario)}
    tally = None
    for event in simulate(scenario, split):
        match event:
            case Started():
                tally = Tally(event)
                attackers = [client for client, role in enumerate(event.roles) if role is Role.ATTACKER]
                yield {"event": "started", "dimension": event.dimension, "attackers": attackers}
            case Round() if tally is not None:
                tally.decided(event)
                yield _round_line(event, tally)
            case Evaluated() if tally is not None:
                tally.evaluated(event)
                yield {"event": "evaluation", **_fields(event)}
            case Finished() if tally is not None:
                yield {"event": "summary", "summary": msgspec.to_builtins(tally.summary(event))}


def read_summary(directory: Path, cell: Cell) -> Summary | None:
    """Read the summary of a cell that was run; None if its file is not there.

    Raises `InvalidScenario` if the file is another scenario's, or is not whole.
    """
    file = _file(directory, cell)
    if not file.exists():
        return None
    try:
        found = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
        if msgspec.convert(found[0]["scenario"], Scenario) == cell.scenario:
            return msgspec.convert(found[-1]["summary"], Summary)
    except (msgspec.DecodeError, msgspec.ValidationError, LookupError) as error:
        raise InvalidScenario(reason=f"{file} is damaged ({error}): remove it") from error
    raise InvalidScenario(reason=f"{file} is a run of another scenario: name another directory")


@lru_cache(maxsize=2)
def _mnist(directory: Path) -> Split:
    return mnist.load(directory)


def load(scenario: Scenario, mnist_directory: Path) -> Split:
    """Read the data of a scenario; digits are split by its seed. Raises `LearnerError` if they are not there."""
    return digits.load(scenario.seed) if scenario.data == "digits" else _mnist(mnist_directory)


def _file(directory: Path, cell: Cell) -> Path:
    return directory / f"{cell.name}.jsonl"


def _round_line(decided: Round, tally: Tally) -> dict[str, Any]:
    return {
        "event": "round",
        "round": decided.number,
        "at_us": decided.at_us,
        "outcome": str(decided.result.outcome),
        "clients": [record.client for record in decided.records],
        "bases": [record.base for record in decided.records],
        "thetas_ppb": decided.result.thetas,
        "rewards_wei": [str(pay) for pay in decided.rewards_wei],  # beyond what most JSON readers keep exactly
        "attackers_share": tally.attackers_share(decided),
        "model": sha256(decided.result.model.astype("<i4").tobytes()).hexdigest(),
    }


def _fields(event: Evaluated) -> dict[str, Any]:
    return {
        "version": event.version,
        "at_us": event.at_us,
        "accuracy": round(event.accuracy, 6),
        "loss": round(event.loss, 6),
        "triggered": None if event.triggered is None else round(event.triggered, 6),
    }
