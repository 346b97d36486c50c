"""The fast rounds and the slow ones are the same rounds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner import rewards, staleness
from learner.rounds import compute
from tests.learner import oracle
from tests.learner.rounds import disagreement, random_round

AMOUNTS = st.integers(0, 2**128 - 1)
THETAS = st.lists(st.integers(0, 10**9) | st.sampled_from((0, 1, 10**9)), min_size=1, max_size=40)


@pytest.mark.parametrize("block", range(10))
def test_a_thousand_seeded_rounds_agree_with_the_oracle(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        assert disagreement(random_round(seed)) is None, f"seed {seed}"


@given(st.integers(1_000, 2**63))
def test_any_round_agrees_with_the_oracle(seed: int) -> None:
    assert disagreement(random_round(seed)) is None


def test_the_thousand_rounds_cover_every_outcome() -> None:
    outcomes = Counter(compute(random_round(seed)).outcome for seed in range(300))
    assert outcomes["paid"] > 100
    assert outcomes["all-zero"] > 5
    assert outcomes["model-overflow"] > 5


@given(AMOUNTS, THETAS)
def test_rewards_agree_with_the_oracle(reward: int, thetas: list[int]) -> None:
    assert list(rewards.rewards(reward, thetas)) == oracle.rewards(reward, thetas)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(any))
def test_weights_agree_with_the_oracle(thetas: list[int]) -> None:
    assert list(rewards.step_weights(thetas)) == oracle.step_weights(thetas)


@given(st.integers(0, 2**16))
def test_discounts_agree_with_the_oracle(tau: int) -> None:
    assert staleness.polynomial(tau) == oracle.discount("polynomial", tau)
    assert staleness.constant(tau) == oracle.discount("constant", tau)


@given(st.lists(st.integers(0, 99)), st.lists(st.integers(0, 99)), st.integers(99, 200))
def test_average_delay_agrees_with_the_oracle(delays: list[int], bases: list[int], version: int) -> None:
    assert staleness.tau_avg(delays, bases, version) == oracle.tau_avg(delays, bases, version)
