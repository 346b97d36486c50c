"""An experiment that cannot be run, or whose claims cannot hold, is refused in one line before anything runs."""

import json
import shutil
from pathlib import Path

import pytest

from node import cli
from node.errors import ConfigError
from node.experiments.evidence import Sample, grew, heights_in
from node.experiments.manifest import RUNNERS, heading, load
from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts" / "experiments").glob("*.toml"))
HEAD = 'kind = "ledger"\ntitle = "A test"\n'
STILL = f"{HEAD}seconds = 20\n"
LEARNS = f'{HEAD}[learning]\npreset = "digits"\nrounds = 5\nclients.count = 6\nround.phi = 3\n'
STEP = "[[step]]\nat = 3\n"
DECISION = "[[decision]]\nat = 1\ntext = 'x'\n[[decision.call]]\ndo = 'suspend'\nmember = 1\n"
EMBEDDED = f"{LEARNS}[network]\nengine = 'embedded'\n"
FAULT = "[[fault]]\nat = 1\n"
LIE = "[[byzantine]]\nnodes = ['node1']\nhabit = 'equivocating'\n"

REFUSED = {
    f"{STILL}[netwrk]\n": "unknown key netwrk; the nearest valid one is network",
    f"{STILL}[network]\nvalidatrs = 3\n": "unknown key network.validatrs; the nearest valid one is network.validators",
    f"{STILL}[network.timing]\nempt = 3\n": "the nearest valid one is network.timing.empty",
    f"{STILL}[[step]]\nat = 1\nnod = 'node1'\ndo = 'kill'\n": "the nearest valid one is step[0].node",
    f"{STILL}[storm]\nuntl = 3\n": "unknown key storm.untl; the nearest valid one is storm.until",
    f"{STILL}[assert]\nmove = []\n": "unknown key assert.move; the nearest valid one is assert.moves",
    f"{LEARNS}round.ph = 3\n": "the nearest valid one is round.phi",
    'title = "x"\n': "kind",
    'kind = "lager"\ntitle = "x"\n': "no experiment of kind 'lager': choose one of ledger",
    f"{HEAD}seconds = -1\n": "at seconds",
    HEAD: "seconds is missing: without [learning] or [load] nothing else ends the experiment",
    f"{STILL}[network]\npowers = [1, 2]\n": "2 powers for 4 validators: name one for each",
    f"{STILL}[network]\nvalidators = 65\n": "at network.validators",
    f"{STILL}{STEP}node = 'node5'\ndo = 'kill'\n": "step at 3 s: no node 'node5', there are node1, node2, node3, node4",
    f"{STILL}{STEP}node = 'node1'\ndo = 'tickle'\n": "at step[0].do",
    f"{STILL}{STEP}node = 'node4'\ndo = 'join'\n": "the node that joins is node5, not 'node4'",
    f"{STILL}{STEP}node = 'node2'\ndo = 'leave'\n[[step]]\nat = 5\nnode = 'node2'\ndo = 'kill'\n": "no node 'node2'",
    f"{STILL}[network]\nvalidators = 1\n{STEP}node = 'node1'\ndo = 'leave'\n": "nobody is left",
    f"{STILL}[network]\nrelays = false\n{STEP}node = 'node1'\ndo = 'disconnect'\n": "disconnect needs network.relays",
    f"{STILL}[network]\nrelays = false\n[storm]\nuntil = 9\n": "storm.do: disconnect needs network.relays = true",
    f"{STILL}[storm]\nuntil = 4\n": "the storm ends at 4 s, before it begins at 5 s",
    f"{STILL}[storm]\nuntil = 9\ndo = ['join']\n": "at storm.do[0]",
    f"{STILL}[[decision]]\nat = 1\ntext = 'x'\ncall = []\n": "at decision[0].call",
    f"{STILL}[[decision]]\nat = 1\ntext = ''\n[[decision.call]]\ndo = 'suspend'\nmember = 1\n": "at decision[0].text",
    f"{STILL}[[decision]]\nat = 1\ntext = 'x'\n[[decision.call]]\ndo = 'mint'\nto = '0x12'\ntokens = 1\n": (
        "at decision[0].call[0].to"
    ),
    f"{STILL}[assert]\nrounds = 3\n": "rounds, accuracy and behaviours need a [learning] table",
    f"{STILL}[assert]\naccuracy = 0.5\n": "rounds, accuracy and behaviours need a [learning] table",
    f"{STILL}[[behaviour]]\nclients = [1]\n": "rounds, accuracy and behaviours need a [learning] table",
    f"{LEARNS}[assert]\naccuracy = 1.5\n": "at assert.accuracy",
    f"{LEARNS}[assert]\nrounds = 6\n": "assert.rounds: 6 are more than the 5 after which learning ends",
    f"{STILL}[assert]\nmoves = [[9, 9]]\n": "assert.moves: the span from 9 to 9 s is empty",
    f"{STILL}[assert]\nstill = [[5, 21]]\n": "the span to 21 s is longer than the experiment's 20 s",
    f"{STILL}[assert]\nheights_at_most = [[8, 2, 1]]\n": "assert.heights_at_most: the span from 8 to 2 s is empty",
    f"{STILL}[assert]\nmoves = [[5, 9]]\nstill = [[4, 10]]\n": "heights cannot rise from 5 to 9 s and stand still",
    f"{STILL}[assert]\nmoves = [[5, 9]]\nheights_at_most = [[5, 9, 0]]\n": "heights cannot rise from 5 to 9 s",
    f"{LEARNS}[[behaviour]]\nclients = [7]\n": "behaviour of client 7, there are 6",
    f"{LEARNS}[[behaviour]]\nclients = [1]\nmoves = [[3, 5]]\n": "a move to edge server 5, there are 4",
    f"{LEARNS}[[behaviour]]\nclients = [1]\naway = [[9, 3]]\n": "seconds must rise",
    f"{LEARNS}[[behaviour]]\nclients = [0]\n": "at behaviour[0].clients[0]",
    f"{STILL}[network]\nengine = 'geth'\n": "at network.engine",
    f"{STILL}[network]\nengine = 'embedded'\n": "the embedded one needs a [learning] table",
    f"{EMBEDDED}powers = [1, 2, 3, 4]\n": "network.powers: those of the embedded engine are equal",
    f"{EMBEDDED}[network.links]\nlos = 0.1\n": "the nearest valid one is network.links.loss",
    f"{EMBEDDED}[[link]]\nfrom = ['node5']\n": "link[0]: no node 'node5', there are 4",
    f"{EMBEDDED}[[clock]]\nnodes = ['node9']\nahead = 3\n": "clock[0]: no node 'node9', there are 4",
    f"{EMBEDDED}{FAULT}do = 'partition'\nnodes = ['node1']\nto = ['node2']\n": "to is for a clog, not for a partition",
    f"{EMBEDDED}{FAULT}do = 'clog'\nnodes = ['node1']\nto = ['node1']\n": "fault[0]: no link leads anywhere",
    f"{EMBEDDED}{FAULT}do = 'flip'\nnodes = ['node1']\n": "at fault[0].do",
    f"{EMBEDDED}{LIE}heights = [5, 4]\n": "byzantine[0]: from 5 to 4 there is nothing",
    f"{EMBEDDED}{LIE}heights = [1, 4]\nseconds = [1, 4]\n": "byzantine[0]: say either heights or seconds",
    f"{EMBEDDED}validators = 1\n{LIE}": "byzantine: nobody is honest",
    f"{EMBEDDED}{LIE}[assert]\naccused = ['node2']\n": "node2 never says two things",
    f"{EMBEDDED}[assert]\nlost_least = 3\nlost_most = 2\n": "assert.lost_most: 2 are fewer than lost_least, 3",
    f"{STILL}{FAULT}do = 'partition'\nnodes = ['node1']\n": 'fault: needs network.engine = "embedded"',
    f"{STILL}{LIE}": 'byzantine: needs network.engine = "embedded"',
    f"{STILL}seeds = 4\n": 'seeds: needs network.engine = "embedded"',
    f"{STILL}[assert]\naccused = []\n": 'assert.accused: needs network.engine = "embedded"',
    f"{EMBEDDED}{STEP}node = 'node7'\ndo = 'join'\n": "the node that joins is node5",
}


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_cannot_be_run_or_hold_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path, out = tmp_path / "x.toml", tmp_path / "out"
    path.write_text(text, encoding="utf-8")
    assert cli.main(["experiment", "run", str(path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert REFUSED[text] in said
    assert said.startswith(f"merit: {path}: ")
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_every_experiment_of_ours_loads(path: Path) -> None:
    manifest, _ = load(path, data_directory="mnist")
    assert manifest.title
    assert heading(path).teaches.endswith(".")


def test_learning_on_mnist_asks_for_its_directory() -> None:
    with pytest.raises(ConfigError, match="--data-dir"):
        load(ROOT / "scripts" / "experiments" / "mnist.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", "run", str(tmp_path / "no.toml")]) == 2
    assert capsys.readouterr().err == f"merit: {tmp_path / 'no.toml'}: no such file\n"


def test_the_list_says_what_each_experiment_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", "list", str(ROOT / "scripts" / "experiments"), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [Path(one["file"]).name for one in listed] == [path.name for path in SCRIPTS]
    assert all(one["kind"] in RUNNERS and one["title"] and one["teaches"] for one in listed)
    assert cli.main(["experiment", "list", str(ROOT / "scripts" / "experiments")]) == 0
    table = capsys.readouterr().out
    assert "what it teaches" in table
    assert "storm-sh" in table


def test_a_list_of_what_is_no_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", "list", str(tmp_path / "no")]) == 2
    assert "no such directory of experiments" in capsys.readouterr().err


def test_only_what_an_experiment_left_is_removed_for_the_next_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "scripts" / "experiments" / "idle.toml", tmp_path / "x.toml")
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("three years of work")
    assert cli.main(["experiment", "run", str(tmp_path / "x.toml"), "--out", str(out)]) == 2
    assert "is not empty and holds no experiment: name another --out" in capsys.readouterr().err
    assert (out / "thesis.tex").read_text() == "three years of work"


def samples(*heights: int | None) -> list[Sample]:
    return [Sample(float(at), {"node1": height, "node2": None}, None) for at, height in enumerate(heights)]


def test_heights_of_a_span_are_those_that_somebody_answered_in_it() -> None:
    assert heights_in(samples(1, None, 3, 4, 5), 1.0, 3.0) == [3, 4]


@pytest.mark.parametrize(
    ("heights", "moves", "still"),
    [([3, 4], True, False), ([3, 3, 3], False, True), ([3], False, False), ([], False, False)],
)
def test_heights_move_or_stand_still_and_what_nobody_saw_does_neither(
    heights: list[int], *, moves: bool, still: bool
) -> None:
    assert grew("moves", heights, 1).holds is moves
    assert grew("still", heights, 0, 0).holds is still


def test_at_most_so_many_heights_may_come() -> None:
    assert grew("few", [3, 4, 5], 0, 2).holds
    assert not grew("few", [3, 4, 6], 0, 2).holds
