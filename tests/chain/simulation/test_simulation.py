"""A few hundred seeds; each breaks a network in its own way, heals a quorum and demands decisions."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from chain.simulation.byzantine import HABITS
from chain.simulation.errors import SettingsError
from chain.simulation.settings import Settings, draw_plan
from chain.simulation.world import Outcome, simulate

SEEDS = {1: 10, 3: 10, 4: 160, 5: 50, 7: 30, 10: 12}


def run(seed: int, validators: int = 4, **more: object) -> Outcome:
    return simulate(Settings(seed=seed, validators=validators, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("validators", SEEDS)
def test_no_seed_breaks_a_rule_and_every_one_decides_after_healing(validators: int) -> None:
    for seed in range(SEEDS[validators]):
        outcome = run(seed, validators)
        assert outcome.violation is None, f"seed {seed}: {outcome.detail}"
        assert outcome.decided == outcome.settings.heights + 1


@pytest.mark.parametrize("habit", HABITS)
def test_no_liar_breaks_a_rule(habit: str) -> None:
    for seed in range(12):
        outcome = run(seed, liars=1, habit=habit)
        if _fair(outcome):
            assert outcome.violation is None, f"seed {seed}: {outcome.detail}"


def _fair(outcome: Outcome) -> bool:
    """Tell whether the liar has less than a third of the power at every height: unequal powers may give it more."""
    plan = draw_plan(outcome.settings)
    return all(
        3 * sum(powers.get(liar, 0) for liar in plan.liars) < sum(powers.values()) for powers in plan.powers_at.values()
    )


def test_f_plus_1_liars_fork_the_chain() -> None:
    rules = Counter(run(seed, liars=2, habit="obliging").violation for seed in range(40))
    assert any(rule is not None and rule.value == "a fork" for rule in rules)


def test_equal_seeds_give_equal_runs_and_others_do_not() -> None:
    one, two, other = run(5), run(5), run(6)
    assert one == two
    assert one.digest != other.digest


def test_a_digest_does_not_depend_on_the_process() -> None:
    code = (
        "from chain.simulation.world import *; "
        "print([simulate(Settings(seed=s, validators=7)).digest for s in range(6)])"
    )
    said = {
        subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": salt}, capture_output=True, check=True
        ).stdout
        for salt in ("1", "2")
    }
    assert len(said) == 1


def test_every_kind_of_fault_really_happens() -> None:
    counts: Counter[str] = Counter()
    for seed in range(120):
        counts.update(run(seed).counts)
    wanted = {
        "faults: partition", "faults: one-way partition", "faults: clog", "faults: crash", "faults: pause",
        "faults: clock skew", "faults: crash in a disk operation", "faults: unsynced write lost", "faults: write torn",
        "faults: flip", "crashes in the middle of a disk operation", "journals replayed", "damage detected",
        "messages lost", "messages repeated", "messages overtaken", "messages held by a clogged link",
        "messages cut off by a partition", "equivocations proved", "byzantine: equivocations",
        "byzantine: locks forgotten", "byzantine: messages kept silent", "byzantine: messages withheld",
        "byzantine: invalid values", "byzantine: rubbish", "byzantine: votes for anything",
    }  # fmt: skip
    assert {name for name in wanted if counts[name] == 0} == set()


def test_the_trace_has_a_line_per_block_and_says_why_rounds_were_lost() -> None:
    lines = [line for seed in range(10) for line in run(seed).lines]
    assert sum(" decided in round " in line for line in lines) == 10 * 6
    assert any("round 0 lost: " in line and "prevotes" in line for line in lines)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"seed": -1}, "seed -1"),
        ({"validators": 0}, "0 validators"),
        ({"validators": 33}, "33 validators"),
        ({"heights": 0}, "0 heights"),
        ({"liars": 5}, "5 of 4 validators cannot lie"),
        ({"habit": "kind"}, "no liar is named kind"),
    ],
)
def test_what_cannot_be_simulated_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Settings(**{"seed": 0, **wrong})  # type: ignore[arg-type]
