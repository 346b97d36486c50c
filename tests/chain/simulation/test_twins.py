"""Twins (arXiv 2004.10617): with one validator of four doubled no scenario forks, with two doubled some do."""

from importlib import import_module

import pytest

from chain.simulation.errors import SettingsError
from chain.simulation.twins import explore
from tests.chain.simulation.planting import Bug, Edit, planted


def test_one_twin_forks_no_scenario_of_three_phases() -> None:
    found = explore(4, [1], 3)
    assert (found.scenarios, found.forks) == (16**3, 0)
    assert found.decided > 3_900


@pytest.mark.slow
@pytest.mark.parametrize("twin", range(4))
def test_one_twin_forks_no_scenario_of_four_phases(twin: int) -> None:
    done: list[int] = []
    found = explore(4, [twin], 4, done.append)
    assert (found.scenarios, found.forks, done[-1]) == (16**4, 0, 16**4)


@pytest.mark.parametrize("twins", [[0, 1], [2, 3]])
def test_two_twins_fork(twins: list[int]) -> None:
    found = explore(4, twins, 2)
    assert found.scenarios == 32**2
    assert found.forks > 0


def test_one_twin_forks_who_takes_half_of_the_power_for_a_quorum() -> None:
    edit = Edit("chain.consensus.validators", "3 * power > 2 * self.total_power", "2 * power >= self.total_power")
    with planted(Bug("a quorum of half", (edit,))):
        found = import_module("chain.simulation.twins").explore(4, [0], 2)
    assert found.forks > 0


def test_twins_that_are_nobody_are_refused() -> None:
    for twins in ([4], [-1], [1, 1]):
        with pytest.raises(SettingsError, match="are not among 4 validators"):
            explore(4, twins, 1)
