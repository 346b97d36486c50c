"""What the scoring rules promise."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from learner.contribution import Round, names, rule
from learner.contribution.cosine import score as cosine
from learner.contribution.data_size import score as data_size
from learner.contribution.uniform import score as uniform
from learner.errors import UnknownRule
from learner.gram import gram

VECTORS = st.lists(st.lists(st.integers(-3000, 3000), min_size=4, max_size=4), min_size=1, max_size=8)


def of(vectors: list[list[int]], samples: list[int] | None = None) -> Round:
    updates = np.array(vectors, dtype=np.int16)
    return Round(gram(updates), tuple(samples or [0] * len(vectors)), updates=tuple(updates))


@given(VECTORS)
def test_theta_stays_within_parts_per_billion(vectors: list[list[int]]) -> None:
    assert all(0 <= theta <= 10**9 for theta in cosine(of(vectors)))


@given(VECTORS, st.integers(2, 10))
def test_scaling_the_whole_round_changes_no_theta(vectors: list[list[int]], factor: int) -> None:
    assert cosine(of(vectors)) == cosine(of([[factor * value for value in row] for row in vectors]))


@given(VECTORS, st.permutations(range(8)))
def test_thetas_follow_their_updates_when_the_order_changes(vectors: list[list[int]], drawn: list[int]) -> None:
    order = [index for index in drawn if index < len(vectors)]
    thetas = cosine(of(vectors))
    assert cosine(of([vectors[index] for index in order])) == tuple(thetas[index] for index in order)


@given(VECTORS)
def test_turning_every_update_round_changes_no_theta(vectors: list[list[int]]) -> None:
    assert cosine(of(vectors)) == cosine(of([[-value for value in row] for row in vectors]))


@given(VECTORS)
def test_equal_updates_have_equal_thetas(vectors: list[list[int]]) -> None:
    thetas = cosine(of([*vectors, vectors[0]]))
    assert thetas[0] == thetas[-1]


@given(VECTORS)
def test_theta_is_the_cosine_within_a_part_per_billion(vectors: list[list[int]]) -> None:
    whole = np.sum(vectors, axis=0, dtype=np.float64)
    assume(np.linalg.norm(whole) > 0)
    for row, theta in zip(np.array(vectors, dtype=np.float64), cosine(of(vectors)), strict=True):
        norms = np.linalg.norm(row) * np.linalg.norm(whole)
        expected = max(0.0, float(row @ whole) / norms) if norms else 0.0
        # just above 0 the square root's own rounding shows: cos^2 below 10^-18 is theta 0
        assert theta / 10**9 == pytest.approx(expected, abs=3e-9)


def test_two_negative_factors_do_not_make_a_positive_score() -> None:
    assert cosine(of([[10, 0], [10, 0], [-1, 0]]))[2] == 0


def test_a_zero_update_earns_nothing() -> None:
    assert cosine(of([[1, 2], [0, 0]])) == (10**9, 0)


def test_one_update_alone_scores_full() -> None:
    assert cosine(of([[3, -4]])) == (10**9,)


def test_opposite_updates_cancel_and_nobody_scores() -> None:
    assert cosine(of([[5, 1], [-5, -1]])) == (0, 0)


def test_a_right_angle_scores_nothing() -> None:
    assert cosine(of([[4, 0], [0, 3], [0, -3]])) == (10**9, 0, 0)


def test_sums_beyond_int64_do_not_wrap() -> None:
    huge = np.full((1024, 1024), 2**56, dtype=np.int64)
    assert cosine(Round(huge, (0,) * 1024)) == (10**9,) * 1024


def test_uniform_gives_everybody_the_same() -> None:
    assert uniform(of([[1, 2], [0, 0]])) == (10**9, 10**9)


def test_data_size_counts_samples_against_the_largest() -> None:
    assert data_size(of([[1], [1], [1]], [600, 200, 0])) == (10**9, 333_333_333, 0)
    assert data_size(of([[1], [1]])) == (0, 0)


def test_an_unknown_rule_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownRule, match=r"no scoring rule 'cosin' in rules version 1: .*cosine"):
        rule("cosin", 1)
    with pytest.raises(UnknownRule, match="version 9"):
        rule("cosine", 9)


def test_every_rule_that_needs_the_updates_alone_scores_each_entry() -> None:
    scored = of([[1, 2], [3, 4], [-1, 0]], [1, 2, 3])
    assert {"cosine", "multi-krum", "uniform"} < set(names(1, alone=True)) < set(names(1))
    assert all(len(rule(name, 1).score(scored).thetas) == 3 for name in names(1, alone=True))
