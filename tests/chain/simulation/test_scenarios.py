"""A scenario does what its file says, when it says so, and a seed plays it the same way every time."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.simulation.errors import SettingsError
from chain.simulation.scenario import Scenario, fault_bound_holds
from chain.simulation.script import Played, play


def scenario(**fields: object) -> Scenario:
    return msgspec.convert({"heights": 4, **fields}, Scenario)


def played(seed: int = 1, **fields: object) -> Played:
    return play(scenario(**fields), seed)


def test_a_calm_scenario_decides_every_height_at_once() -> None:
    calm = played()
    assert (calm.decided, calm.rounds_lost, calm.accused, calm.outcome.violation) == (4, 0, (), None)
    assert [block.height for block in calm.blocks] == [1, 2, 3, 4]
    assert calm.outcome.decided == 5  # one more after the healing


def test_a_seed_gives_the_same_digest_and_another_seed_another() -> None:
    fields: dict[str, object] = {"network": {"loss": 0.1}, "fault": [{"do": "crash", "nodes": ["v0"], "at": 20}]}
    assert played(**fields) == played(**fields)
    assert played(**fields).outcome.digest != played(2, **fields).outcome.digest


def test_a_drop_is_of_its_kind_height_round_and_link_only() -> None:
    no_proposal = {"kinds": ["proposal"], "heights": [2, 2], "rounds": [0, 0]}
    for further, lost in (({}, 1), ({"to": ["v3"]}, 0), ({"from": ["v0"]}, 0), ({"from": ["v1"]}, 1)):
        rounds = [block.round for block in played(drop=[{**no_proposal, **further}]).blocks]
        assert rounds[:3] == [0, lost, 0], further  # v1 proposes at height 2
    dropped = played(drop=[{"kinds": ["prevote"], "from": ["v0"], "to": ["v1"]}]).outcome.counts
    assert dropped["messages dropped by the script"] == 5 - 1  # the healing ends it before height 5


def test_nothing_is_decided_while_half_of_the_power_is_away_and_all_is_after_healing() -> None:
    half = played(milliseconds=2000, fault=[{"do": "partition", "nodes": ["v0", "v1"], "height": 3}])
    assert (half.decided, half.outcome.decided, half.outcome.violation) == (2, 5, None)
    assert any("height 3 is not decided: " in line for line in half.outcome.lines)


def test_a_fault_ends_after_its_time() -> None:
    cut = {"do": "partition", "nodes": ["v0", "v1"], "at": 0, "for": 500}
    ended = played(milliseconds=5000, fault=[cut])
    assert ended.decided == 4
    assert ended.blocks[1].at_ms >= 500


@pytest.mark.parametrize("do", ["crash", "pause", "flip", "clog", "one-way partition"])
def test_every_fault_happens_and_three_of_four_go_on(do: str) -> None:
    for seed in range(5):
        one = played(seed, milliseconds=3000, fault=[{"do": do, "nodes": ["v2"], "height": 2, "for": 100}])
        assert one.outcome.counts[f"faults: {do}"] == 1
        assert one.outcome.violation is None
        assert one.decided == 4


def test_a_clogged_link_delivers_later_what_it_held() -> None:
    clogged = played(fault=[{"do": "clog", "nodes": ["v0"], "to": ["v1"], "at": 0, "for": 300}])
    assert clogged.outcome.counts["messages held by a clogged link"] > 0
    assert sum(line.endswith("clog 0 to 1") for line in clogged.outcome.lines) == 1


@pytest.mark.parametrize(("file", "operations"), [("journal", 8), ("signer", 2), ("decisions", 2)])
def test_power_fails_at_the_operation_that_is_named(file: str, operations: int) -> None:
    for operation in range(1, operations + 1):
        failed = played(disk=[{"node": "v1", "file": file, "height": 2, "operation": operation}])
        assert failed.outcome.counts["crashes in the middle of a disk operation"] == 1
        assert (failed.decided, failed.outcome.violation) == (4, None)


def test_a_liar_lies_at_its_heights_only() -> None:
    silent = {"validators": ["v2"], "habit": "silent"}
    rounds = [block.round for block in played(byzantine=[silent]).blocks]
    assert rounds == [0, 0, 1, 0]  # v2 proposes at height 3
    assert [block.round for block in played(byzantine=[{**silent, "heights": [1, 2]}]).blocks] == [0, 0, 0, 0]
    assert [block.round for block in played(byzantine=[{**silent, "heights": [3, 3]}]).blocks] == rounds


@pytest.mark.parametrize("habit", ["withholding", "equivocating", "obliging", "amnesiac", "unsound", "babbling"])
def test_a_liar_that_never_lies_is_as_good_as_an_honest_one(habit: str) -> None:
    later = {"validators": ["v2"], "habit": habit, "heights": [8, 8]}
    one = played(heights=8, milliseconds=120, heals=False, byzantine=[later])  # over before height 8
    assert one.decided < 8
    assert one.rounds_lost == 0
    assert not any(name.startswith("byzantine") for name in one.outcome.counts)


def test_twins_are_two_nodes_of_one_validator() -> None:
    apart = scenario(
        heights=3,
        byzantine=[{"validators": ["v1"], "habit": "twins"}],
        fault=[{"do": "partition", "nodes": ["v0", "v1'"], "height": 2}],
        milliseconds=1000,
    )
    assert apart.nodes() == ["v0", "v1", "v1'", "v2", "v3"]
    assert any("partition [0, 2]" in line for line in play(apart, 1).outcome.lines)


def test_a_fork_ends_the_run_unless_forks_are_counted() -> None:
    forked = scenario(
        heals=False,
        byzantine=[{"validators": ["v2", "v3"], "habit": "twins"}],
        fault=[{"do": "partition", "nodes": ["v0", "v2", "v3"], "height": 2}],
    )
    ended = play(forked, 1)
    assert ended.outcome.violation is not None
    assert ended.outcome.violation.value == "a fork"
    counted = play(forked, 1, forks_end=False)
    assert (counted.outcome.violation, counted.forks) == (None, (2, 3, 4))


NODES = st.sampled_from(["v0", "v1", "v2", "v3"])
SOME = st.lists(NODES, min_size=1, max_size=3, unique=True)
FAULTS = st.fixed_dictionaries(
    {
        "do": st.sampled_from(["partition", "one-way partition", "clog"]),
        "nodes": SOME,
        "height": st.integers(1, 4),
        "for": st.sampled_from([0, 50, 300]),
    }
) | st.fixed_dictionaries(
    {
        "do": st.sampled_from(["crash", "pause"]),
        "nodes": st.tuples(NODES),
        "at": st.integers(0, 200),
        "for": st.just(80),
    }
)
SPAN = st.tuples(st.integers(1, 4), st.integers(1, 4)).map(sorted)
DROPS = st.fixed_dictionaries(
    {
        "kinds": st.lists(st.sampled_from(["proposal", "prevote", "precommit", "repetition", "decision"]), max_size=2),
        "from": SOME,
        "to": SOME,
        "heights": SPAN,
        "rounds": st.just([0, 1]),
    }
)
LIES = st.fixed_dictionaries(
    {
        "validators": st.tuples(NODES),
        "habit": st.sampled_from(
            ["silent", "withholding", "equivocating", "obliging", "amnesiac", "unsound", "babbling"]
        ),
        "heights": SPAN,
    }
)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fault=st.lists(FAULTS, max_size=3),
    drop=st.lists(DROPS, max_size=3),
    byzantine=st.lists(LIES, max_size=1),
)
def test_no_script_with_one_liar_of_four_breaks_a_rule(seed: int, **script: object) -> None:
    one = played(seed, milliseconds=1500, **script)
    assert one.outcome.violation is None, one.outcome.detail
    assert one.outcome.decided == 5


def test_slow_links_are_slow_and_clocks_run_as_told() -> None:
    assert (
        played(link=[{"from": ["v0", "v1", "v2", "v3"], "to": ["v0", "v1", "v2", "v3"], "least_ms": 20}])
        .blocks[0]
        .at_ms
        >= 60
    )  # three steps
    patient = [{"validators": ["v0", "v1", "v2", "v3"], "percent": 500}]
    no_proposal = [{"kinds": ["proposal"], "heights": [2, 2], "rounds": [0, 0]}]
    slow, quick = played(drop=no_proposal, clock=patient), played(drop=no_proposal)
    assert slow.blocks[1].at_ms - slow.blocks[0].at_ms > 3 * (quick.blocks[1].at_ms - quick.blocks[0].at_ms)


def test_work_on_messages_takes_time() -> None:
    assert played(network={"handling_ms": 5}).blocks[-1].at_ms > 1.5 * played().blocks[-1].at_ms


def test_validators_come_and_go_two_heights_later() -> None:
    change = [{"height": 1, "powers": {"w1": 2, "v0": 0}}]
    changed = scenario(heights=8, change=change)
    assert changed.nodes() == ["v0", "v1", "v2", "v3", "w1"]
    one = play(changed, 1)
    assert one.outcome.violation is None
    assert "w1" in {block.proposer for block in one.blocks}
    assert "v0" not in {block.proposer for block in one.blocks if block.height > 2}


def test_the_fault_bound_is_in_power_and_at_every_height() -> None:
    liar = [{"validators": ["v0"], "habit": "silent"}]
    assert fault_bound_holds(scenario(byzantine=liar))
    assert not fault_bound_holds(scenario(byzantine=liar, powers={"v0": 2}))
    assert not fault_bound_holds(scenario(byzantine=liar, change=[{"height": 1, "powers": {"v3": 0}}]))


REFUSED: dict[str, dict[str, object]] = {
    "powers: no validator 'v9'": {"powers": {"v9": 1}},
    "change: a height occurs twice": {"change": [{"height": 1, "powers": {"v0": 2}}, {"height": 1, "powers": {}}]},
    "cannot be removed": {"change": [{"height": 1, "powers": {"v8": 0}}]},
    "height 9 is after the last one, 4": {"change": [{"height": 9, "powers": {"v0": 2}}]},
    r"link\[0\]: no node 'v7'": {"link": [{"from": ["v7"]}]},
    r"drop\[0\]: no node": {"drop": [{"to": ["v1'"]}]},
    r"drop\[0\].heights: from 3 to 2": {"drop": [{"heights": [3, 2]}]},
    r"drop\[0\].heights: 5 is after": {"drop": [{"heights": [3, 5]}]},
    r"clock\[0\]: no validator 'v4'": {"clock": [{"validators": ["v4"], "percent": 50}]},
    r"byzantine\[0\]: no validator": {"byzantine": [{"validators": ["x1"], "habit": "silent"}]},
    "twins are two nodes": {"byzantine": [{"validators": ["v1"], "habit": "twins", "heights": [1, 2]}]},
    "v1 has two habits": {"byzantine": [{"validators": ["v1", "v1"], "habit": "silent"}]},
    "nobody is honest": {"byzantine": [{"validators": ["v0", "v1", "v2", "v3"], "habit": "silent"}]},
    "no record of what it signs": {
        "byzantine": [{"validators": ["v1"], "habit": "silent"}],
        "disk": [{"node": "v1", "file": "signer", "height": 1}],
    },
    r"disk\[0\].height: 5": {"disk": [{"node": "v1", "file": "signer", "height": 5}]},
    "either at or height": {"fault": [{"do": "crash", "nodes": ["v1"]}]},
    "20000 ms is not before the end": {"fault": [{"do": "crash", "nodes": ["v1"], "at": 20000}]},
    r"fault\[0\]: height 5": {"fault": [{"do": "crash", "nodes": ["v1"], "height": 5}]},
    "to is for a clog": {"fault": [{"do": "crash", "nodes": ["v1"], "at": 1, "to": ["v2"]}]},
    "all nodes are on one side": {"fault": [{"do": "partition", "nodes": ["v0", "v1", "v2", "v3"], "at": 1}]},
    "a crash is of one node": {"fault": [{"do": "crash", "nodes": ["v1", "v2"], "at": 1}]},
    "no link leads anywhere": {"fault": [{"do": "clog", "nodes": ["v1"], "to": ["v1"], "at": 1}]},
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_names_nobody_or_never_happens_is_refused(why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        scenario(**REFUSED[why]).check()
