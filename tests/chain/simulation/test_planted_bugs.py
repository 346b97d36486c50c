"""The simulation bites: every bug that is planted on purpose breaks a rule within so many seeds."""

import sys

import pytest

from chain.simulation import world
from tests.chain.simulation.bugs import BUGS, HARD
from tests.chain.simulation.planting import Bug, Edit, planted, seeds_needed

SEEDS = 150
SEEDS_HARD = 1500


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, marks=[pytest.mark.slow] * (bug.name in HARD)) for bug in BUGS], ids=lambda bug: bug.name
)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    assert seeds_needed(bug, SEEDS_HARD if bug.name in HARD else SEEDS) is not None


def test_there_are_enough_bugs_with_names_of_their_own() -> None:
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names) >= 20
    assert set(HARD) < set(names)


def test_planting_leaves_everything_as_it_was() -> None:
    before = {name: module for name, module in sys.modules.items() if name.startswith("chain.")}
    with planted(BUGS[0]) as changed:
        assert changed is not world
    assert {name: module for name, module in sys.modules.items() if name.startswith("chain.")} == before


def test_a_change_that_does_not_fit_the_source_is_no_bug() -> None:
    bug = Bug("nothing", (Edit("chain.consensus.round", "no such text", ""),))
    with pytest.raises(AssertionError, match="holds 0 times"):
        seeds_needed(bug, 1)
