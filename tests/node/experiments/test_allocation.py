"""Experiments of kind `allocation`, small: what they write and refuse, and when they say that something fails."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from learner.allocation.instance import Allocation, Status
from node import cli
from node.experiments.allocation import (
    AccuracyPart,
    Manifest,
    Point,
    exact_is_best,
    first_reached,
    mnist_directory,
    with_data,
)
from node.experiments.manifest import Assertion, load

HEAD = 'kind = "allocation"\ntitle = "A test"\n'
STALENESS = """
[scenario]
samples = 1_200
[staleness]
learners = [6, 20]
seconds = [7.5]
seeds = 2
"""
ACCURACY = """
[accuracy]
learners = [10]
seconds = 15.0
seeds = 2
cycles = 2
schemes = ["most-updates", "equal"]
data = "digits"
model = "softmax"
batch_size = 20
"""
CLAIMS = """
[[paper]]
scheme = "equal"
learners = 20
seconds = 7.5
what = "max_staleness"
value = 4
[[paper]]
scheme = "most-updates"
learners = 10
seconds = 15.0
what = "cycles"
reaches = 0.999
value = 4
[[assert.staleness]]
scheme = "most-updates"
learners = 20
seconds = 7.5
what = "average_staleness"
least = 0.4
most = 0.6
[[assert.accuracy]]
scheme = "most-updates"
learners = 10
least = 0.3
"""

REFUSED = {
    HEAD: "nothing to do: give it a [staleness] or an [accuracy] table",
    f"{HEAD}{STALENESS}seed = 3\n": "unknown key staleness.seed; the nearest valid one is staleness.seeds",
    f"{HEAD}{STALENESS}schemes = ['fair']\n": "at staleness.schemes[0]",
    f"{HEAD}{STALENESS}[scenaro]\n": "unknown key scenaro; the nearest valid one is scenario",
    f"{HEAD}[staleness]\nlearners = []\nseconds = [1.0]\n": "at staleness.learners",
    f"{HEAD}[staleness]\nlearners = [0]\nseconds = [1.0]\n": "at staleness.learners[0]",
    f"{HEAD}[staleness]\nlearners = [1]\nseconds = [0.0]\n": "at staleness.seconds[0]",
    f"{HEAD}{STALENESS}[[paper]]\nscheme = 'equal'\nlearners = 7\nseconds = 7.5\nwhat = 'max_staleness'\nvalue = 1\n": (
        "paper: [staleness] makes no point of equal with 7 learners and 7.5 s"
    ),
    f"{HEAD}{STALENESS}[[assert.accuracy]]\nscheme = 'equal'\nlearners = 6\nleast = 0.5\n": (
        "assert.accuracy: [accuracy] makes no point of equal with 6 learners"
    ),
    f"{HEAD}{ACCURACY}[[assert.accuracy]]\nscheme = 'sai'\nlearners = 10\nleast = 0.5\n": (
        "assert.accuracy: [accuracy] makes no point of sai with 10 learners and 15 s"
    ),
}


def run(tmp_path: Path, text: str, *options: str) -> int:
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    return cli.main(["experiment", "run", str(tmp_path / "x.toml"), "--out", str(tmp_path / "out"), "--json", *options])


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_makes_nothing_or_asks_for_what_is_not_made_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert run(tmp_path, text) == 2
    said = capsys.readouterr().err
    assert REFUSED[text] in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def _threads() -> Iterator[None]:
    """Training sets torch to one thread; others find it as they left it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_a_small_copy_of_the_figures_holds_and_leaves_its_result_log_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text(f"{HEAD}{STALENESS}{ACCURACY}{CLAIMS}", encoding="utf-8")
    out = tmp_path / "out"
    assert cli.main(["experiment", "run", str(tmp_path / "x.toml"), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "equal, K = 20, T = 7.5 s, max_staleness: the paper 4, ours 4.0\n" in said.err
    assert "most-updates, K = 10, T = 15 s, cycles to 0.999: the paper 4, ours 0\n" in said.err
    assert "allocations 20  trainings 4\n" in said.out
    result: dict[str, Any] = json.loads((out / "result.json").read_bytes())
    assert result["holds"]
    assert [one["name"] for one in result["assertions"]] == [
        "exact is best",
        "average_staleness of most-updates, K = 20, T = 7.5 s",
        "accuracy of most-updates, K = 10",
    ]
    figures = result["figures"]
    assert (figures["allocations"], figures["trainings"]) == (4 * 2 * 2 + 4, 4)
    assert [one["ours"] for one in figures["paper"]] == [4.0, 0]
    assert all(len(one["by_cycle"]) == 2 for one in figures["accuracy"])
    # equal shares of ten thousand samples leave slow learners no time for an update: no point, and no staleness
    assert [one["max_staleness"] for one in figures["staleness"] if one["scheme"] == "equal"] == [
        None,
        {"mean": 4.0, "deviation": 0.0},
    ]
    events = [json.loads(line) for line in (out / "events.jsonl").read_bytes().splitlines()]
    assert [event["seconds"] for event in events] == sorted(event["seconds"] for event in events)
    assert sum(event["event"] == "cycle" for event in events) == 4 * 2
    assert all(sum(event["d"]) == 1_200 for event in events if event.get("d"))
    for picture in ("staleness.png", "accuracy.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("_threads")
def test_a_run_that_was_cut_off_trains_only_what_is_not_whole_in_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{HEAD}[scenario]\nsamples = 600\n{ACCURACY}".replace("seeds = 2", "seeds = 1")
    assert run(tmp_path, text) == 0
    whole = json.loads(capsys.readouterr().out)["figures"]
    log = tmp_path / "out" / "events.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(
        b"".join(lines[:-1]) + lines[-1][:20]
    )  # it ended while it wrote the last cycle of the last training
    assert run(tmp_path, text, "--resume") == 0
    assert json.loads(capsys.readouterr().out)["figures"] == whole
    again = log.read_bytes().splitlines()[len(lines) :]
    assert sum(b'"cycle"' in line for line in again) == 2


def test_only_a_run_of_the_same_file_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, f"{HEAD}{STALENESS}") == 0
    assert run(tmp_path, f"{HEAD}{STALENESS}seeds = 1\n".replace("seeds = 2\n", ""), "--resume") == 2
    assert "holds a run of another file: name another --out" in capsys.readouterr().err
    assert (tmp_path / "out" / "result.json").exists()
    assert run(tmp_path, 'kind = "ledger"\ntitle = "x"\nseconds = 9\n', "--resume") == 2
    assert "experiments of this kind begin anew" in capsys.readouterr().err


def test_what_does_not_hold_is_said_and_gives_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    false = "[[assert.staleness]]\nscheme = 'equal'\nlearners = 20\nseconds = 7.5\nwhat = 'max_staleness'\nmost = 3\n"
    assert run(tmp_path, f"{HEAD}{STALENESS}{false}") == 1
    result = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["holds"], one["detail"]) for one in result["assertions"][1:]] == [
        ("max_staleness of equal, K = 20, T = 7.5 s", False, "4.000 of 0 to 3")
    ]


def test_data_that_is_not_there_ends_it_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mnist = ACCURACY.replace('"digits"', '"mnist"')
    assert run(tmp_path, f"{HEAD}{STALENESS}{mnist}", "--data-dir", str(tmp_path / "no")) == 2
    assert "put the file there or name its directory" in capsys.readouterr().err
    assert not (tmp_path / "out" / "events.jsonl").exists()


def test_more_samples_than_the_data_has_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, f"{HEAD}{ACCURACY}") == 2
    assert "digits has 1438 training samples: set scenario.samples to at most that" in capsys.readouterr().err


def test_mnist_is_looked_for_where_the_flag_says_else_in_the_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = AccuracyPart(learners=(2,), seconds=1.0)
    monkeypatch.delenv("MERIT_SHARED", raising=False)
    assert mnist_directory(part) == Path("../shared/mnist")
    monkeypatch.setenv("MERIT_SHARED", "/elsewhere")
    assert mnist_directory(part) == Path("/elsewhere/mnist")
    manifest = with_data(Manifest(kind="allocation", title="x", accuracy=part), "/given")
    assert manifest.accuracy is not None
    assert mnist_directory(manifest.accuracy) == Path("/given")
    (tmp_path / "x.toml").write_text(f"{HEAD}{STALENESS}", encoding="utf-8")
    assert load(tmp_path / "x.toml", data_directory="/given")[0].accuracy is None


def made(*tau: int) -> Allocation:
    """An allocation of so many updates to each, or none at all."""
    if not tau:
        return Allocation(Status.INFEASIBLE, reason="none")
    return Allocation(Status.FEASIBLE, np.ones(len(tau), dtype=np.int64), np.array(tau, dtype=np.int64))


def compare(**schemes: Allocation) -> Assertion:
    return exact_is_best({Point(cast("Any", name), 4, 1.0, 1): found for name, found in schemes.items()})


@pytest.mark.parametrize(
    ("exact", "holds"),
    [
        ({"least": made(2, 3)}, True),
        ({"least": made(2, 4)}, False),
        ({"least": made()}, False),
        ({"most-updates": made(2, 3)}, True),
        ({"most-updates": made(2, 2)}, False),
        ({"most-updates": made()}, False),
    ],
)
def test_a_scheme_that_beats_an_exact_one_is_noticed(exact: dict[str, Allocation], *, holds: bool) -> None:
    assertion = compare(**exact, sai=made(3, 2))
    assert assertion.holds is holds
    assert holds or assertion.detail == "sai beats it with (K, T, seed) = (4, 1.0, 1)"


def test_idling_learners_beat_nobody() -> None:
    assert compare(least=made(2, 3), synchronous=made(2, 2)).holds


@pytest.mark.parametrize(("target", "cycle"), [(0.5, 1), (0.9, 3), (0.99, 0)])
def test_a_target_is_reached_at_the_first_cycle_that_is_not_below_it(target: float, cycle: int) -> None:
    assert first_reached([0.5, 0.8, 0.9, 0.7], target) == cycle
