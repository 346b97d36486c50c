"""Experiments of kind `usefulness`, small: what they write and refuse, and when they say that something fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from node import cli
from node.experiments.manifest import load, mnist_directory
from node.experiments.usefulness import cells, with_data
from node.experiments.usefulness_tables import COLUMNS

HEAD = 'kind = "usefulness"\ntitle = "A test"\n'
FEDERATION = """
[[federation]]
name = "small"
model = "softmax"
clients = 12
rounds = 3
evaluate_every = 1
evaluation_samples = 100
server = { kind = "asynchronous", phi = 4, concurrency = 6 }
training = { batch_size = 10 }
edge = { servers = 2, root_samples = 20 }
"""
GRID = """
[grid]
rules = ["cosine", "uniform"]
seeds = 2
"""
ATTACKS = """
[[attack]]
name = "gaussian"
scale = 5.0
"""
CLAIMS = """
[[assert.bounds]]
what = "attackers_share"
rule = "cosine"
attack = "gaussian-scale-5"
least = 0.001
"""
WHOLE = f"{HEAD}{GRID}{FEDERATION}{ATTACKS}{CLAIMS}"

REFUSED = {
    f"{HEAD}{FEDERATION}": "grid",
    f"{HEAD}{GRID}": "federation",
    f"{HEAD}{GRID}references = []\n{FEDERATION}": "nothing to do: name an [[attack]] or grid.references",
    f"{WHOLE}".replace('"uniform"', '"fair"'): "grid.rules: no scoring rule 'fair': choose of ",
    f"{WHOLE}{ATTACKS}": "a federation, partition, rule or attack occurs twice",
    f"{WHOLE}[[attack]]\nname = 'sign-flap'\n": "at attack[1].name",
    f"{WHOLE}[[attack]]\nname = 'sign-flip'\nscal = 2.0\n": "the nearest valid one is attack[1].scale",
    f"{WHOLE}[[partition]]\nkind = 'dirichlet'\nalfa = 1.0\n": "the nearest valid one is partition[0].alpha",
    f"{HEAD}{GRID}{FEDERATION}seed = 3\n": "federation small: seed is the grid's to set: leave it out",
    f"{HEAD}{GRID}{FEDERATION}attackers = 0.0\n{ATTACKS}": "attackers = 0.0 of 12 clients are none",
    f"{HEAD}{GRID}{FEDERATION.replace('phi = 4', 'phi = 10')}": "phi = 10 of 9 clients",
    f"{HEAD}{GRID}{FEDERATION}{CLAIMS}": "no run of rule 'cosine' with attack 'gaussian-scale-5' is made there",
}


def run(tmp_path: Path, text: str, *options: str) -> int:
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    return cli.main(["experiment", "run", str(tmp_path / "x.toml"), "--out", str(tmp_path / "out"), "--json", *options])


def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "result.json").read_bytes())
    return found


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_cannot_be_run_is_refused_in_one_line_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert run(tmp_path, text) == 2
    said = capsys.readouterr().err
    assert REFUSED[text] in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run: two rules, two references and an attack, two seeds."""
    directory = tmp_path_factory.mktemp("whole")
    assert run(directory, WHOLE) == 0
    return directory / "out"


def test_every_run_of_the_grid_is_in_the_table_or_named_as_lacking(whole: Path) -> None:
    figures = result(whole)["figures"]
    places = [(row["rule"], row["attack"]) for row in figures["table"]]
    assert places == [
        (rule, attack) for attack in ("none", "absent", "gaussian-scale-5") for rule in ("cosine", "uniform")
    ]
    assert (figures["runs"], figures["not_run"], figures["failed"]) == (12, [], [])
    assert all(set(COLUMNS) <= set(row) for row in figures["table"])
    assert {row["accuracy"]["seeds"] for row in figures["table"]} == {2}
    attacked = figures["table"][4]
    assert 0 < attacked["attackers_share"]["mean"] < 1
    assert attacked["wage_attacker"]["mean"] > 0
    assert figures["table"][2]["accuracy_lost"] == {"mean": 0.0, "deviation": 0.0, "seeds": 2}
    assert figures["table"][0]["attackers_share"] is None


def test_a_run_leaves_cells_events_a_table_and_pictures(whole: Path) -> None:
    names = {path.stem for path in (whole / "cells").iterdir()}
    assert len(names) == 12
    assert "small-label-shards-cosine-gaussian-scale-5-seed-1" in names
    events = [json.loads(line) for line in (whole / "events.jsonl").read_bytes().splitlines()]
    assert {event["cell"] for event in events} == names
    assert all(event["updates_per_cpu_second"] > 0 for event in events)
    table = (whole / "table.txt").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + 6
    assert table[5].split()[:4] == ["small", "label-shards", "cosine", "gaussian-scale-5"]
    for picture in ("attackers-share.png", "accuracy.png", "auc-client.png", "curves.png"):
        assert (whole / picture).read_bytes().startswith(b"\x89PNG")


def test_a_run_that_was_cut_off_goes_on_to_the_same_table(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, WHOLE) == 0
    out = tmp_path / "out"
    expected = result(whole)
    files = sorted((out / "cells").iterdir())
    kept = files[0].stat().st_mtime_ns
    for file in files[7:]:
        file.unlink()
    assert run(tmp_path, WHOLE, "--resume") == 0
    again = result(out)
    assert again["figures"]["table"] == expected["figures"]["table"]
    assert again["assertions"] == expected["assertions"]
    assert files[0].stat().st_mtime_ns == kept
    assert {file.name: file.read_bytes() for file in (out / "cells").iterdir()} == {
        file.name: file.read_bytes() for file in (whole / "cells").iterdir()
    }
    capsys.readouterr()


def test_runs_for_which_no_time_is_left_are_named_and_the_claim_of_completeness_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hasty = f"{HEAD}{GRID}minutes = 1e-9\n{FEDERATION}"
    assert run(tmp_path, hasty) == 1
    found = json.loads(capsys.readouterr().out)
    assert len(found["figures"]["not_run"]) == found["figures"]["runs"] == 8
    assert found["figures"]["table"] == []
    assert [(one["name"], one["holds"], one["detail"]) for one in found["assertions"]] == [
        ("complete", False, "0 of 8 runs")
    ]


def test_what_does_not_hold_and_what_cannot_be_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rare = FEDERATION + "outliers = { rare = 1, rare_label = 77 }\n"
    one = GRID.replace('["cosine", "uniform"]', '["cosine"]').replace("seeds = 2", "seeds = 1")
    claim = "[[assert.bounds]]\nwhat = 'accuracy'\nrule = 'cosine'\nattack = 'none'\nleast = 0.99\n"
    assert run(tmp_path, f"{HEAD}{one}references = ['none']\n{rare}{claim}") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["figures"]["failed"][0]["reason"].startswith("simulation refused: rare_label = 77")
    assert [one["holds"] for one in found["assertions"]] == [False, False]
    assert run(tmp_path, f"{HEAD}{one}references = ['none']\n{FEDERATION}{claim}") == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["holds"] for one in found["assertions"]] == [True, False]
    assert found["assertions"][1]["name"] == "accuracy of cosine under none"


def test_mnist_that_is_not_there_ends_it_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mnist = FEDERATION + 'data = "mnist"\n'
    assert run(tmp_path, f"{HEAD}{GRID}{mnist}", "--data-dir", str(tmp_path / "no")) == 2
    assert "put the file there or name its directory" in capsys.readouterr().err
    assert not (tmp_path / "out" / "events.jsonl").exists()


def test_mnist_is_looked_for_where_the_flag_says_else_in_the_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.toml").write_text(WHOLE, encoding="utf-8")
    manifest, _ = load(tmp_path / "x.toml")
    assert with_data(manifest, "/given").directory == "/given"
    monkeypatch.setenv("MERIT_SHARED", "/elsewhere")
    assert mnist_directory("") == Path("/elsewhere/mnist")
    assert mnist_directory("/given") == Path("/given")


def test_rules_are_compared_on_the_same_seeds_and_data(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(WHOLE, encoding="utf-8")
    manifest, _ = load(tmp_path / "x.toml")
    by_rule: dict[str, list[tuple[object, ...]]] = {}
    for place, cell in cells(manifest):
        one = cell.scenario
        by_rule.setdefault(place.rule, []).append((place.attack, one.seed, one.attack, one.partition, one.edge))
        assert one.rules.scoring == place.rule
    assert by_rule["cosine"] == by_rule["uniform"]
    assert {seed for _, seed, *_ in by_rule["cosine"]} == {1, 2}
