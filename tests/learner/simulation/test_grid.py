"""A grid writes the same bytes each time, however often it was cut off and in however many processes."""

import json
from pathlib import Path

import msgspec
import pytest

from learner.attacks import SignFlip
from learner.errors import InvalidScenario, LearnerError
from learner.simulation import grid
from learner.simulation.grid import Cell, Done, load, read_summary, run_cells
from learner.simulation.run import simulate
from learner.simulation.scenario import Costs, DeviceClasses, Scenario, Synchronous
from learner.simulation.summary import summarise
from learner.training import one_thread
from tests.learner.simulation.small import small

CELLS = [
    Cell("cosine", small(rounds=2, attack=SignFlip())),
    Cell("uniform", small("uniform", rounds=2)),
    Cell("fltrust", small("fltrust", rounds=2)),
]


def run(directory: Path, cells: list[Cell] = CELLS, workers: int = 1, most: int = 99) -> list[Done]:
    """Run cells, of which no more than `most` may begin."""
    begun = iter(range(most))
    found = run_cells(
        cells,
        directory,
        mnist_directory=Path("none"),
        workers=workers,
        go_on=lambda: next(begun, None) is not None,
    )
    return list(found)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    assert [one.name for one in run(directory)] == ["cosine", "uniform", "fltrust"]
    return directory


def test_a_run_that_was_cut_off_goes_on_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    assert [one.name for one in run(tmp_path, most=1)] == ["cosine"]
    (tmp_path / "uniform.unfinished").write_bytes(b'{"event": "scen')  # it ended while it wrote this one
    kept = (tmp_path / "cosine.jsonl").stat().st_mtime_ns
    again = run(tmp_path)
    assert content(tmp_path) == content(whole)
    assert (tmp_path / "cosine.jsonl").stat().st_mtime_ns == kept
    assert [(one.name, bool(one.cpu_seconds)) for one in again] == [
        ("cosine", False),
        ("uniform", True),
        ("fltrust", True),
    ]
    assert [one.summary for one in again] == [one.summary for one in run(whole)]


@pytest.mark.slow
def test_two_processes_write_what_one_does(whole: Path, tmp_path: Path) -> None:
    assert {one.name for one in run(tmp_path, workers=2)} == {"cosine", "uniform", "fltrust"}
    assert content(tmp_path) == content(whole)


def test_a_file_has_a_line_for_each_round_and_evaluation_and_ends_with_the_summary(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "cosine.jsonl").read_bytes().splitlines()]
    assert [line["event"] for line in lines] == [
        "scenario",
        "started",
        "evaluation",
        "round",
        "round",
        "evaluation",
        "summary",
    ]
    assert msgspec.convert(lines[0]["scenario"], Scenario) == CELLS[0].scenario
    assert len(lines[1]["attackers"]) == 3
    decided = lines[3]
    assert len(decided["clients"]) == len(decided["bases"]) == len(decided["thetas_ppb"]) == 4
    assert sum(int(pay) for pay in decided["rewards_wei"]) == 10**18
    theirs = sum(
        int(pay)
        for client, pay in zip(decided["clients"], decided["rewards_wei"], strict=True)
        if client in lines[1]["attackers"]
    )
    assert decided["attackers_share"] == pytest.approx(theirs / 10**18, abs=1e-6)
    assert lines[-1]["summary"]["rounds"] == 2


def test_the_summary_of_a_file_is_that_of_its_events(whole: Path) -> None:
    scenario = CELLS[1].scenario
    with one_thread():
        found = summarise(simulate(scenario, load(scenario, Path("none"))))
    assert found == read_summary(whole, CELLS[1])


def test_what_cannot_be_run_is_told_and_the_others_run(tmp_path: Path) -> None:
    impossible = Cell("impossible", small(server=Synchronous(phi=13)))
    told, ran = run(tmp_path, [impossible, CELLS[1]])
    assert told.summary is None
    assert "phi = 13 of 12 clients" in told.reason
    assert ran.summary is not None
    assert list(content(tmp_path)) == ["uniform.jsonl"]


def test_a_file_of_another_scenario_or_a_damaged_one_is_refused(whole: Path, tmp_path: Path) -> None:
    other = Cell("cosine", small(rounds=2))
    with pytest.raises(InvalidScenario, match="a run of another scenario"):
        read_summary(whole, other)
    (tmp_path / "cosine.jsonl").write_bytes((whole / "cosine.jsonl").read_bytes()[:-30])
    with pytest.raises(InvalidScenario, match="is damaged"):
        run(tmp_path)


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    mnist = small(data="mnist")
    with pytest.raises(LearnerError, match="neither train-images"):
        load(mnist, tmp_path)
    assert "neither train-images" in run(tmp_path / "cells", [Cell("x", mnist)])[0].reason


def test_a_grid_reads_mnist_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(grid.mnist, "load", read.append)
    grid._mnist.cache_clear()  # noqa: SLF001 - as a new process finds it
    for seed in range(3):
        load(small(data="mnist", seed=seed), tmp_path)
    grid._mnist.cache_clear()  # noqa: SLF001 - the next test finds none of this
    assert read == [tmp_path]


def test_a_scenario_with_lists_in_it_is_known_again(tmp_path: Path) -> None:
    cells = [Cell("devices", small(rounds=2, speed=DeviceClasses(), costs=Costs()))]
    (first,) = run(tmp_path, cells)
    (again,) = run(tmp_path, cells)
    assert first.cpu_seconds > 0
    assert (again.cpu_seconds, again.summary) == (0, first.summary)
