"""Experiments with the real CometBFT, as `merit experiment run` has them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chain.engines.cometbft import binary
from chain.engines.errors import CometBinaryError
from tests.conftest import ROOT
from tests.node.testnet.running import Done, merit

KILLED = """\
kind = "ledger"
title = "Two of four are killed for a while"
seconds = 12

[network.timing]
empty = 500

[[step]]
at = 1
node = "node3"
do = "kill"
for = 8

[[step]]
at = 1
node = "node4"
do = "kill"
for = 8

[assert]
still = [[3, 8]]
"""
FALSE = """\
kind = "ledger"
title = "A chain of one validator stands still, which is not true"
seconds = 6

[network]
validators = 1
timing = { empty = 500 }

[assert]
still = [[0, 6]]
audit_clean = false
"""


@pytest.fixture(autouse=True)
def _program() -> None:
    try:
        binary.find()
    except CometBinaryError as error:
        pytest.skip(str(error))


def run(path: Path, out: Path) -> tuple[Done, dict[str, Any]]:
    """Run an experiment in a process of its own; return how it ended and its result."""
    command = [sys.executable, "-m", "node.cli", "experiment", "run", path, "--out", out, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    done = Done(ended.returncode, ended.stdout, ended.stderr)
    assert done.code in {0, 1}, done
    result: dict[str, Any] = json.loads(done.out)
    assert json.loads((out / "result.json").read_bytes()) == result
    return done, result


def test_two_killed_of_four_stop_the_chain_without_a_fork_and_it_audits_clean(tmp_path: Path) -> None:
    (tmp_path / "killed.toml").write_text(KILLED, encoding="utf-8")
    out = tmp_path / "out"
    done, result = run(tmp_path / "killed.toml", out)
    assert (done.code, result["holds"]) == (0, True), result["assertions"]
    assert [one["name"] for one in result["assertions"]] == ["still 3-8 s", "level", "no fork", "audit clean"]
    assert (out / "experiment.toml").read_text(encoding="utf-8") == KILLED
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "audit.json").read_bytes())["ok"]
    events = [json.loads(line) for line in (out / "events.jsonl").read_bytes().splitlines()]
    assert [event["seconds"] for event in events] == sorted(event["seconds"] for event in events)
    said = [event["event"] for event in events if "event" in event]
    for line in ("node3: kill for 8 s", "node4: kill for 8 s", "node3: healed", "node4: healed"):
        assert line in said
    assert sum("heights" in event for event in events) >= 5
    assert result["figures"]["perturbations"] >= 2
    again = merit("experiment", "run", tmp_path / "no-such.toml", "--out", out)
    assert again.code == 2
    assert (out / "result.json").exists(), "what cannot be run removes nothing"


def test_what_does_not_hold_is_said_and_gives_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "false.toml").write_text(FALSE, encoding="utf-8")
    done, result = run(tmp_path / "false.toml", tmp_path / "out")
    assert (done.code, result["holds"]) == (1, False)
    assert {one["name"]: one["holds"] for one in result["assertions"]} == {
        "still 0-6 s": False, "level": True, "no fork": True,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["storm-short", "fifth-joins", "governed", "mobility"])
def test_our_experiment_holds(tmp_path: Path, name: str) -> None:
    done, result = run(ROOT / "scripts" / "experiments" / f"{name}.toml", tmp_path / "out")
    assert (done.code, result["holds"]) == (0, True), result["assertions"]
    audit = json.loads((tmp_path / "out" / "audit.json").read_bytes())
    assert audit["ok"]
    assert audit["verified"]["rounds"]["references shown"] > 0, "the presets' rule reads what edge servers publish"
