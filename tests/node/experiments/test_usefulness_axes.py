"""Axes of a usefulness experiment: every combination is run, named, drawn and compared seed by seed."""

import json
from pathlib import Path
from typing import Any

import pytest

from learner.simulation.scenario import Asynchronous, Scenario
from node import cli
from node.errors import ConfigError
from node.experiments.usefulness_axes import number_of, variants, word_of
from node.experiments.usefulness_tables import Place, Row, Spread
from node.experiments.usefulness_views import Comparison, Plot, pairs, panels
from tests.node.experiments.test_usefulness import FEDERATION, HEAD

GRID = """
[grid]
rules = ["uniform"]
references = ["none"]
seeds = 2
columns = ["accuracy", "staleness"]
"""
AXES = """
[axes]
"rules.staleness" = ["constant", "hinge"]
"server.phi" = [2, 4]
"""
VIEWS = """
[[plot]]
name = "delays"
x = "server.phi"
lines = "rules.staleness"
figures = ["staleness", "accuracy"]

[[compare]]
along = "server.phi"
base = "2"
"""


def test_axes_are_crossed_and_the_last_changes_fastest() -> None:
    found = list(variants(Scenario(), {"rules.max_staleness": (2, 8), "server.phi": (5, 10)}))
    assert [one.name for one in found] == ["2-5", "2-10", "8-5", "8-10"]
    assert [one.scenario.server.phi for one in found] == [5, 10, 5, 10]
    assert [one.scenario.rules.max_staleness for one in found] == [2, 2, 8, 8]
    assert found[1].words == {"rules.max_staleness": "2", "server.phi": "10"}


def test_without_axes_the_scenario_itself_is_the_one_variant() -> None:
    assert [(one.name, one.scenario) for one in variants(Scenario(), {})] == [("", Scenario())]


def test_a_table_is_a_value_too() -> None:
    (found,) = variants(Scenario(), {"server": ({"kind": "asynchronous", "phi": 3},)})
    assert found.scenario.server == Asynchronous(phi=3)
    assert found.name == "asynchronous-3"


@pytest.mark.parametrize(
    ("axes", "problem"),
    [
        ({"rules.max_stalenes": (3,)}, "unknown field `max_stalenes`"),
        ({"ruls.max_staleness": (3,)}, "a scenario has no 'ruls.max_staleness'"),
        ({"rules.max_staleness": (-3,)}, "rules.max_staleness = -3"),
    ],
)
def test_what_no_scenario_has_is_refused(axes: dict[str, tuple[Any, ...]], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        list(variants(Scenario(), axes))


def test_words_are_fit_for_file_names_and_numbers_for_a_scale() -> None:
    assert word_of(0.25) == "0.25"
    assert word_of({"kind": "later", "seconds": 2.0}) == "later-2"
    assert word_of("Later, too") == "later-too"
    assert word_of({"weights": {"3": 5, "8": 2}}) == "weights-3-5-8-2"
    assert word_of({"loss": "brier", "classes": [3, 8]}) == "brier-classes-3-8"
    assert number_of(["2", "0.5"]) == [2.0, 0.5]
    assert number_of(["2", "hinge"]) is None


PLACES = {
    Place("f", "iid", rule, "none", variant): {
        "federation": "f", "partition": "iid", "rule": rule, "attack": "none", "phi": variant,
    }
    for rule in ("cosine", "uniform")
    for variant in ("5", "10")
}  # fmt: skip


def test_a_comparison_holds_all_else_equal() -> None:
    found = pairs(Comparison(along="phi", base="5"), PLACES)
    assert [(a.rule, a.variant, b.rule, b.variant) for a, b in found] == [
        ("cosine", "5", "cosine", "10"),
        ("uniform", "5", "uniform", "10"),
    ]


def test_a_point_that_not_every_seed_reached_is_left_out() -> None:
    rows = [
        Row(place, {"accuracy": Spread(0.5, 0.1, 3), "seconds_to_0.9": Spread(1.0, 0.1, 3 if at else 2)})
        for at, place in enumerate(PLACES)
    ]
    found = panels(Plot(name="p", x="phi", lines="rule", figures=("accuracy", "seconds_to_0.9")), rows, PLACES)
    assert [word for word, _ in found["accuracy", ""]["cosine"]] == ["5", "10"]
    assert [word for word, _ in found["seconds_to_0.9", ""]["cosine"]] == ["10"]


def test_an_interval_is_students() -> None:
    assert Spread(1.0, 2.0, 4).half_width == pytest.approx(3.182 * 2 / 2)
    assert Spread(1.0, 2.0, 1).half_width == 0
    assert Spread(1.0, 2.0, 100).half_width == pytest.approx(2.042 * 2 / 10)


def run(tmp_path: Path, text: str) -> int:
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    return cli.main(["experiment", "run", str(tmp_path / "x.toml"), "--out", str(tmp_path / "out"), "--json"])


def test_a_grid_with_axes_leaves_a_row_for_each_variant_its_plots_and_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, f"{HEAD}{GRID}{FEDERATION}{AXES}{VIEWS}") == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert [row["variant"] for row in figures["table"]] == ["constant-2", "constant-4", "hinge-2", "hinge-4"]
    assert {row["staleness"]["seeds"] for row in figures["table"]} == {2}
    out = tmp_path / "out"
    assert (out / "delays.png").read_bytes().startswith(b"\x89PNG")
    lines = (out / "differences.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].split()[:4] == ["2", "seeds", "less", "accuracy"]
    assert [line.split()[4] for line in lines[1:]] == ["constant-4", "hinge-4"]
    assert (out / "table.txt").read_text(encoding="utf-8").splitlines()[0].split()[4:] == [
        "variant", "accuracy", "staleness",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[axes]\n"seed" = [1]\n', "axes: seed is set by the grid"),
        ('[axes]\n"server.phi" = []\n', "axes: server.phi has no values"),
        ('[[compare]]\nalong = "phi"\nbase = "2"\n', "no axis 'phi'"),
        ('[[compare]]\nalong = "rule"\nbase = "cosine"\n', "no 'cosine' on axis rule: choose one of uniform"),
    ],
)
def test_axes_and_views_that_cannot_be_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    assert run(tmp_path, f"{HEAD}{GRID}{FEDERATION}{text}") == 2
    assert problem in capsys.readouterr().err
