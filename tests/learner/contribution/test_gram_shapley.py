"""The closed form of the Shapley value beside its definition, and pay by it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.contribution import ROOT
from learner.contribution.gram_shapley import shapley
from tests.learner.contribution import oracles
from tests.learner.contribution.worlds import NUMBER, World

PPB = 10**9


@st.composite
def games(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    dimension = draw(st.integers(1, 4))
    vector = st.lists(st.integers(-50, 50), min_size=dimension, max_size=dimension)
    return draw(st.lists(vector, min_size=1, max_size=6)), draw(vector)


def closed_form(updates: list[list[int]], root: list[int]) -> list[int]:
    doubled = [2 * oracles.dot(update, root) for update in updates]
    return shapley(doubled, [[oracles.dot(a, b) for b in updates] for a in updates])


@given(games())
def test_the_closed_form_is_the_value_over_all_subsets(game: tuple[list[list[int]], list[int]]) -> None:
    updates, root = game
    expected = oracles.shapley([[Fraction(x) for x in update] for update in updates], [Fraction(x) for x in root])
    found = closed_form(updates, root)
    scale = next((Fraction(ours) / theirs for ours, theirs in zip(found, expected, strict=True) if theirs), Fraction(1))
    assert scale > 0
    assert found == [scale * value for value in expected]


def test_ten_entries_agree_with_all_1024_subsets() -> None:
    rng = np.random.default_rng(6)
    updates, root = rng.integers(-99, 99, (10, 3)).tolist(), rng.integers(-99, 99, 3).tolist()
    expected = oracles.shapley([[Fraction(x) for x in update] for update in updates], [Fraction(x) for x in root])
    scale = closed_form(updates, root)[0] / expected[0]
    assert closed_form(updates, root) == [scale * value for value in expected]


@given(games())
def test_the_values_share_out_what_all_together_are_worth(game: tuple[list[list[int]], list[int]]) -> None:
    updates, root = game
    count = len(updates)
    # the scale follows from the same game with one player more that is worth nothing to anybody but counts
    mean = [Fraction(sum(column), count) for column in zip(*updates, strict=True)]
    worth = sum((2 * r * m - m * m for r, m in zip(root, mean, strict=True)), Fraction())
    lone = closed_form([[1]] * count, [1])  # v(S) = 1 for every S: each gets 1/n
    assert Fraction(sum(closed_form(updates, root)), sum(lone)) == worth


def test_pay_follows_the_value_of_updates_cut_to_the_usual_length() -> None:
    tables = {NUMBER - 1: [{ROOT: [100, 0]}]}
    # the third points the right way with twice the usual length, which counts as one and a half
    world = World(updates=[[60, 0], [0, 60], [120, 0]], bases=[NUMBER - 1] * 3, clients=[1, 2, 3], tables=tables)
    result = world.scored("gram-shapley")
    cut = [[Fraction(60), Fraction(0)], [Fraction(0), Fraction(60)], [Fraction(90), Fraction(0)]]
    expected = oracles.shapley(cut, [Fraction(100), Fraction(0)])
    assert expected[2] > expected[0] > 0 > expected[1]
    assert result.thetas[2] == PPB
    assert result.thetas[1] == 0
    assert result.thetas[0] == pytest.approx(PPB * expected[0] / expected[2], rel=1e-6)
    # steps are equal but for the cut, of 2^30 each a half
    assert result.weights == (2**29, 0, 2**29 * 3 // 4)


@pytest.mark.parametrize(("honest", "lie", "theta"), [(-100, 32_767, 0), (100, -32_768, PPB)])
def test_one_lying_server_of_three_decides_nothing(honest: int, lie: int, theta: int) -> None:
    tables = {NUMBER - 1: [{ROOT: [honest, 9]}, {ROOT: [lie, 0]}, {ROOT: [honest, -9]}]}
    world = World(updates=[[50, 0]], bases=[NUMBER - 1], clients=[1], tables=tables)
    assert world.scored("gram-shapley").thetas == (theta,)
