"""Experiments in virtual time, as `merit experiment run` has them: all of a network and its learning, reproducibly."""

import json
import re
from pathlib import Path

import pytest

from tests.node.testnet.running import Done, merit

LEARNS = """\
kind = "ledger"
title = "Two of four are killed, one lies, one is not heard, and some clients travel"
seed = {seed}
seconds = 10

[network]
engine = "embedded"

[network.links]
loss = 0.01

[learning]
preset = "digits"
rounds = 3

[learning.clients]
count = 6
interval = 1.0
slow = 0

[learning.round]
phi = 4
max_wait = 4

[[behaviour]]
clients = [1]
away = [[1, 4]]
moves = [[5, 3]]

[[step]]
at = 2
node = "node1"
do = "kill"
for = 5

[[step]]
at = 3
node = "node2"
do = "kill"
for = 3

[[step]]
at = 8
node = "node3"
do = "pause"
for = 1

[[fault]]
at = 6.5
do = "one-way partition"
nodes = ["node2"]
for = 1

[[byzantine]]
nodes = ["node4"]
habit = "equivocating"
seconds = [0, 1.8]

[assert]
rounds = 3
accused = ["node4"]
lost_least = 1
still = [[3.5, 5.8]]
moves = [[6, 10]]
"""


def run(tmp_path: Path, name: str, seed: int = 5) -> Done:
    file = tmp_path / f"{name}.toml"
    file.write_text(LEARNS.format(seed=seed))
    return merit("experiment", "run", str(file), "--out", str(tmp_path / name), "--json")


@pytest.mark.slow
def test_equal_seeds_kill_learn_and_pay_alike_and_another_seed_does_not(tmp_path: Path) -> None:
    first, second, other = run(tmp_path, "first"), run(tmp_path, "second"), run(tmp_path, "other", seed=6)
    assert first.code == 0, first
    found = json.loads(first.out)
    assert {one["name"] for one in found["assertions"]} == {
        "still 3.5-5.8 s", "moves 6-10 s", "level", "no fork", "rounds", "finals present", "audit clean",
        "evidence", "rounds lost",
    }  # fmt: skip
    assert second.code == 0
    trace = (tmp_path / "first" / "trace.txt").read_text()
    assert trace == (tmp_path / "second" / "trace.txt").read_text()
    assert "2.00 s: node1: kill\n3.00 s: node2: kill\n6.00 s: node2: back\n" in trace
    assert trace.count("proof against node4") == 1
    assert "node4: its edge server is suspended\n" in trace
    assert re.search(r"; round 0 of node\d lost: no polka was seen; prevotes ", trace)
    assert found["figures"]["digest"] == json.loads(second.out)["figures"]["digest"]
    assert json.loads(other.out)["figures"]["digest"] != found["figures"]["digest"]


def test_what_cannot_come_true_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "false.toml"
    file.write_text(LEARNS.format(seed=5).replace("still = [[3.5, 5.8]]", "").replace("[[6, 10]]", "[[3.5, 5.8]]"))
    done = merit("experiment", "run", str(file), "--out", str(tmp_path / "false"), "--json")
    assert done.code == 1
    assert [one["name"] for one in json.loads(done.out)["assertions"] if not one["holds"]] == ["moves 3.5-5.8 s"]


VOTES = """\
kind = "ledger"
title = "Keys change, a server joins, one leaves, and a rule changes"
seed = 14
seconds = 6

[network]
engine = "embedded"

[learning]
preset = "digits"
rounds = 2

[learning.clients]
count = 3
interval = 2.0
slow = 0

[learning.round]
phi = 2
max_wait = 4

[[step]]
at = 1
node = "node2"
do = "rotate"

[[step]]
at = 2
node = "node5"
do = "join"

[[decision]]
at = 2.5
text = "Score uniformly"

[[decision.call]]
do = "use-rules"
job = 1
scoring = "uniform"
aggregation = "delta"
staleness = "constant"

[[step]]
at = 4
node = "node1"
do = "leave"

[assert]
rounds = 2
accused = []
"""


@pytest.mark.slow
def test_votes_change_rules_and_who_decides(tmp_path: Path) -> None:
    file = tmp_path / "votes.toml"
    file.write_text(VOTES)
    done = merit("experiment", "run", str(file), "--out", str(tmp_path / "votes"), "--json")
    assert done.code == 0, done
    trace = (tmp_path / "votes" / "trace.txt").read_text()
    happened = [line.split(": ", 1)[1] for line in trace.splitlines() if line[:1].isdigit()]
    assert happened == [
        "node2: new keys",
        "edge server 9 is admitted",
        "node5 has started from the first block and is level",
        "edge server 9 validates",
        "decided: Score uniformly (proposal 5)",
        "edge server 1 validates no more",
        "node1: gone",
    ]
    assert "proposed by node5" in trace
