"""Consensus experiments: ours hold, what cannot hold is refused, and a search names the smallest seed that fails."""

import json
from pathlib import Path

import pytest

from node import cli
from node.experiments.manifest import load
from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts" / "experiments").glob("consensus-*.toml"))
HEAD = 'kind = "consensus"\ntitle = "A test"\nheights = 3\n'
LIAR = '[[byzantine]]\nvalidators = ["v1"]\nhabit = "silent"\n'
LUCK = f"{HEAD}seed = 0\n[network]\nloss = 0.03\n[assert]\nlost_most = 0\n"
"""Holds for some seeds and for others not."""

REFUSED = {
    f"{HEAD}[netwrk]\n": "unknown key netwrk; the nearest valid one is network",
    f"{HEAD}[[fault]]\ndo = 'crash'\nnode = ['v0']\n": "the nearest valid one is fault[0].nodes",
    f"{HEAD}[[drop]]\nkind = ['prevote']\n": "the nearest valid one is drop[0].kinds",
    f"{HEAD}[assert]\nfork = 1\n": "the nearest valid one is assert.forks",
    f"{HEAD}[[byzantine]]\nvalidators = ['v1']\nhabit = 'kind'\n": "at byzantine[0].habit",
    f"{HEAD}[[fault]]\ndo = 'crash'\nnodes = ['v4']\nat = 1\n": "fault[0]: no node 'v4', there are v0, v1, v2, v3",
    f"{HEAD}[network]\nloss = 1.5\n": "at network.loss",
    f"{HEAD}[assert]\ndecided_least = 4\n": "assert.decided_least: 4 are more than the 3 heights",
    f"{HEAD}[assert]\ndecided_least = 2\ndecided_most = 1\n": "assert.decided_most: 1 are fewer than decided_least, 2",
    f"{HEAD}[assert]\nlost_least = 2\nlost_most = 1\n": "assert.lost_most: 1 are fewer than lost_least, 2",
    f"{HEAD}[assert]\nforks = 4\n": "assert.forks: 4 are more than the 3 heights",
    f"{HEAD}{LIAR}[assert]\nforks = 1\n": "assert.forks: with less than a third of the power lying nothing may fork",
    f"{HEAD}{LIAR}[assert]\naccused = ['v2']\n": "assert.accused: v2 does not lie",
    f"{HEAD}[assert]\nround = [{{ height = 4 }}]\n": "assert.round: height 4 is after the last one, 3",
    f"{HEAD}[assert]\nround = [{{ height = 1, least = 2, most = 1 }}]\n": "cannot be decided from round 2 to 1",
}


def run(*arguments: str) -> int:
    return cli.main(["experiment", "run", *arguments])


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_cannot_be_played_or_hold_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path, out = tmp_path / "x.toml", tmp_path / "out"
    path.write_text(text, encoding="utf-8")
    assert run(str(path), "--out", str(out)) == 2
    said = capsys.readouterr().err
    assert REFUSED[text] in said
    assert said.startswith(f"merit: {path}: ")
    assert said.count("\n") == 1
    assert not out.exists()


def test_the_manifest_in_the_guide_can_be_played(tmp_path: Path) -> None:
    guide = (ROOT / "node" / "experiments" / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```", 1)[0] for block in guide.split("```toml\n")[1:]]
    [manifest] = [block for block in blocks if block.startswith('kind = "consensus"')]
    path = tmp_path / "guide.toml"
    path.write_text(manifest, encoding="utf-8")
    assert load(path)[0].title


def test_there_are_enough_experiments() -> None:
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_what_our_experiments_assert_holds_and_a_digest_comes_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    digests = set()
    for _ in range(2):
        assert run(str(path), "--out", str(tmp_path / "out"), "--json") == 0
        result = json.loads(capsys.readouterr().out)
        digests.add(result["figures"]["digest"])
    assert len(digests) == 1
    assert [one["name"] for one in result["assertions"] if not one["holds"]] == []
    trace = Path(result["files"]["trace"]).read_text(encoding="utf-8")
    assert trace.endswith(f"digest {digests.pop()}\n")
    assert sum(" decided in round " in line for line in trace.splitlines()) >= result["figures"]["decided"]
    assert Path(result["files"]["plot"]).stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_what_our_experiments_assert_holds_for_a_hundred_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    assert run(str(path), "--out", str(tmp_path / "out"), "--seed", "1000", "--seeds", "100", "--json") == 0
    assert json.loads(capsys.readouterr().out)["figures"]["seeds_failed"] == 0


def test_a_search_names_the_smallest_seed_that_fails_and_how_to_play_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, again = tmp_path / "x.toml", tmp_path / "out", tmp_path / "again"
    path.write_text(LUCK, encoding="utf-8")
    assert run(str(path), "--out", str(out), "--seeds", "12", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    figures = found["figures"]
    smallest = figures["failed"][0]
    assert 0 < smallest < 12
    assert figures["replay"] == f"merit experiment run {out}/experiment.toml --seed {smallest}"
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [one["seed"] for one in events] == list(range(12))
    assert [one["seed"] for one in events if not one["holds"]] == figures["failed"]
    assert len(figures["failed"]) == figures["seeds_failed"] < 12

    _, _, _, *arguments = figures["replay"].split()
    assert run(*arguments, "--out", str(again), "--json") == 1
    replayed = json.loads(capsys.readouterr().out)
    assert replayed["figures"]["digest"] == figures["digest"]
    assert [one["name"] for one in replayed["assertions"] if not one["holds"]] == ["rounds lost"]
    assert run(str(path), "--out", str(again), "--seed", str(smallest - 1), "--json") == 0


def test_the_table_and_the_trace_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f'{HEAD}[[drop]]\nkinds = ["proposal"]\nheights = [2, 2]\nrounds = [0, 0]\n', encoding="utf-8")
    assert run(str(path), "--out", str(tmp_path / "out")) == 0
    said = capsys.readouterr()
    assert "height 2 decided in round 1: " in said.err
    assert "heights decided" in said.out


def test_only_experiments_of_many_seeds_are_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "scripts" / "experiments" / "idle.toml"
    assert run(str(path), "--out", str(tmp_path / "out"), "--seeds", "3") == 2
    assert 'seeds: needs network.engine = "embedded"' in capsys.readouterr().err
    other = ROOT / "scripts" / "experiments" / "incentives.toml"
    assert run(str(other), "--out", str(tmp_path / "out"), "--seeds", "3") == 2
    assert "kind usefulness are not searched: leave out --seeds" in capsys.readouterr().err
    assert run(str(path), "--out", str(tmp_path / "out"), "--resume", "--seed", "3") == 2
    assert "leave out --seed and --seeds" in capsys.readouterr().err
    assert load(path, seed=7)[0].seed == 7
