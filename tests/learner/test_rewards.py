"""Not one wei and not one weight unit is lost or made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.rewards import STEP_TOTAL, bounded_weights, rewards, round_reward, step_weights

THETAS = st.lists(st.integers(0, 10**9), min_size=1, max_size=60)
PAYING = THETAS.filter(any)
AMOUNTS = st.integers(0, 2**128 - 1)


@given(AMOUNTS, PAYING)
def test_rewards_sum_to_exactly_the_round_reward(reward: int, thetas: list[int]) -> None:
    assert sum(rewards(reward, thetas)) == reward


@given(AMOUNTS, THETAS)
def test_who_has_theta_zero_is_paid_nothing(reward: int, thetas: list[int]) -> None:
    assert all(paid == 0 for paid, theta in zip(rewards(reward, thetas), thetas, strict=True) if theta == 0)


@given(AMOUNTS, PAYING)
def test_each_reward_is_within_a_wei_of_its_share(reward: int, thetas: list[int]) -> None:
    total = sum(thetas)
    for paid, theta in zip(rewards(reward, thetas), thetas, strict=True):
        assert abs(paid * total - reward * theta) < total


@given(PAYING)
def test_weights_sum_to_exactly_two_to_the_thirty(thetas: list[int]) -> None:
    assert sum(step_weights(thetas)) == STEP_TOTAL == 2**30


@given(PAYING)
def test_each_weight_is_its_share_rounded_up_or_down(thetas: list[int]) -> None:
    total = sum(thetas)
    for weight, theta in zip(step_weights(thetas), thetas, strict=True):
        assert abs(weight * total - theta * STEP_TOTAL) < total
        assert (weight == 0) or theta > 0


@given(PAYING, st.integers(1, 1000))
def test_scaling_all_thetas_changes_no_weight_and_no_reward(thetas: list[int], factor: int) -> None:
    scaled = [theta * factor for theta in thetas]
    assert step_weights(scaled) == step_weights(thetas)
    assert rewards(10**18, scaled) == rewards(10**18, thetas)


def test_ties_for_the_missing_units_go_to_the_earlier_entries() -> None:
    assert step_weights([1, 1, 1]) == (357_913_942, 357_913_941, 357_913_941)


def test_a_full_round_of_1024_is_divided_exactly() -> None:
    assert step_weights([7] * 1024) == (2**20,) * 1024
    assert sum(rewards(10**18 + 1, [7] * 1024)) == 10**18 + 1


@pytest.mark.parametrize("count", [1, 3])
def test_all_zero_means_nobody_weighs_and_nobody_is_paid(count: int) -> None:
    assert step_weights([0] * count) == (0,) * count
    assert rewards(10**18, [0] * count) == (0,) * count


def test_a_short_round_pays_in_proportion() -> None:
    assert round_reward(10**18, 15, 15) == 10**18
    assert round_reward(10**18, 1, 3) == 333_333_333_333_333_333


@given(PAYING, st.lists(st.integers(0, STEP_TOTAL), min_size=60, max_size=60), st.integers(0, 10**11))
def test_bounded_weights_are_shares_of_the_whole_cut_by_their_bounds(
    shares: list[int], bounds: list[int], least: int
) -> None:
    weights = bounded_weights(shares, bounds[: len(shares)], least)
    assert sum(weights) <= STEP_TOTAL
    for weight, share, bound in zip(weights, shares, bounds, strict=False):
        assert 0 <= share * bound - weight * max(sum(shares), least) < max(sum(shares), least)


def test_no_shares_are_no_weights() -> None:
    assert bounded_weights([0, 0], [STEP_TOTAL] * 2, 0) == (0, 0)
