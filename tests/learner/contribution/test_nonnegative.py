"""Non-negative least squares in integers: beside plain Python integers, an optimum's conditions and scipy's optimum."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from learner.contribution import nonnegative
from learner.contribution.nonnegative import RIDGE, UNIT, coefficients
from tests.learner.contribution import oracles

SEEDS = st.integers(0, 10_000)
Problem = tuple[list[list[int]], list[list[int]], np.ndarray, np.ndarray]


def problem(directions: np.ndarray, vectors: np.ndarray) -> Problem:
    """The cosines and products of these as the rule takes them, and both as unit vectors."""
    units, owns = (rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-300)[:, None] for rows in (directions, vectors))
    exact = [[int(x) for x in row] for row in directions.tolist()]
    own = [[int(x) for x in row] for row in vectors.tolist()]

    def units_of(left: list[list[int]], right: list[list[int]]) -> list[list[int]]:
        return [
            [
                oracles.floor_cosine(oracles.dot(a, b), oracles.dot(a, a), oracles.dot(b, b)) * UNIT // 10**9
                for b in right
            ]
            for a in left
        ]

    return units_of(exact, exact), units_of(own, exact), units, owns


def drawn(seed: int, *, most: int = 10) -> Problem:
    """Directions at random, in near pairs, or of few dimensions and so dependent, copies and opposites among them."""
    rng = np.random.default_rng(seed)
    count, columns = int(rng.integers(1, most + 1)), int(rng.choice((2, 5, 60)))
    directions = rng.integers(-1000, 1001, (count, columns))
    kind = rng.integers(0, 4)
    if kind == 1:  # as of a right and a wrong label: both mostly raise the logit
        directions[1::2] = directions[: count - count % 2 : 2] + rng.integers(-90, 91, (count // 2, columns))
    elif kind == 2:
        directions[1::2] = -directions[: count - count % 2 : 2] + rng.integers(-1, 2, (count // 2, columns))
    elif kind == 3:
        directions[1::2] = directions[: count - count % 2 : 2]
    vectors = rng.integers(-1000, 1001, (4, columns))
    vectors[1] = rng.integers(0, 3, count) @ directions
    vectors[2] = directions[0]
    vectors[3] = 0
    return problem(directions, vectors)


def solved(cosines: list[list[int]], products: list[list[int]]) -> list[list[int]]:
    found: list[list[int]] = coefficients(cosines, np.array(products, dtype=np.int64)).tolist()
    return found


def objective(x: np.ndarray, units: np.ndarray, own: np.ndarray) -> float:
    return float(((own - x @ units) ** 2).sum() + RIDGE / UNIT * (x @ x))


@settings(max_examples=40)
@given(SEEDS)
def test_no_integer_overflows_plain_ones_find_the_same(seed: int) -> None:
    cosines, products, _, _ = drawn(seed)
    found = solved(cosines, products)
    assert found == [oracles.descent(row, cosines) for row in products]


@settings(max_examples=40)
@given(SEEDS)
def test_sizes_are_within_the_bound_and_never_negative(seed: int) -> None:
    cosines, products, units, owns = drawn(seed, most=40)
    for row, own in zip(solved(cosines, products), owns, strict=True):
        x = np.array(row) / UNIT
        assert min(row) >= 0
        assert x @ x <= 1_001
        assert np.linalg.norm(x @ units) <= 2.001
        assert objective(x, units, own) <= own @ own + 1e-5


@given(st.integers(0, 40))
def test_nearly_opposite_directions_are_the_worst_and_stay_within_it(apart: int) -> None:
    """What is at right angles to both takes much of each; its exact size is 1 / sin(angle), without the ridge."""
    directions = np.array([[10_000, apart], [-10_000, apart]] * 10)
    cosines, products, _, _ = problem(directions, np.array([[0, 1], [1, 0]]))
    found = solved(cosines, products)
    assert found == [oracles.descent(row, cosines) for row in products]
    assert sum(x * x for x in found[0]) <= 1_001 * UNIT * UNIT


@settings(max_examples=30)
@given(SEEDS)
def test_an_entry_does_not_depend_on_the_others_nor_on_their_order(seed: int) -> None:
    cosines, products, _, _ = drawn(seed)
    found = solved(cosines, products)
    assert solved(cosines, products[::-1]) == found[::-1]
    assert [solved(cosines, [row])[0] for row in products] == found


@settings(max_examples=30)
@given(SEEDS, SEEDS)
def test_each_vector_may_have_directions_of_its_own(seed: int, other_seed: int) -> None:
    (cosines, products, _, _), (others, of_others, _, _) = (drawn(at, most=3) for at in (seed, other_seed))
    assume(len(cosines) == len(others))
    tables, whole = [cosines] * len(products) + [others] * len(of_others), products + of_others
    expected = solved(cosines, products) + solved(others, of_others)
    assert coefficients(tables, np.array(whole)).tolist() == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nonnegative, "MOST_NUMBERS", 6 * len(cosines) ** 2)  # three vectors at a time
        assert coefficients(tables, np.array(whole)).tolist() == expected


@settings(max_examples=20)
@given(SEEDS)
def test_the_conditions_of_an_optimum_hold_where_directions_are_apart(seed: int) -> None:
    """Of each direction the slope is not negative, and none where it has a size."""
    rng = np.random.default_rng(seed)
    cosines, products, units, owns = problem(rng.integers(-1000, 1001, (12, 300)), rng.integers(-1000, 1001, (3, 300)))
    mixed = rng.integers(0, 9, (3, 12)) * rng.integers(0, 2, (3, 12))
    for x, own in zip(np.array(solved(cosines, products)) / UNIT, owns, strict=True):
        slopes = units @ (x @ units - own) + RIDGE / UNIT * x
        assert slopes.min() >= -1e-6
        assert np.abs(slopes[x > 0]).max(initial=0) <= 1e-6
    cosines, products, units, owns = problem(units * 10**6, mixed @ units * 10**6)
    for row, own, found in zip(mixed, owns, np.array(solved(cosines, products)) / UNIT, strict=True):
        if row.any():
            best, _ = nnls(np.vstack([units.T, np.sqrt(RIDGE / UNIT) * np.eye(12)]), np.append(own, np.zeros(12)))
            assert found == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize(("like", "above"), [(0.9, 1e-6), (0.97, 1e-3), (0.99, 1e-2)])
@settings(max_examples=10)
@given(seed=SEEDS)
def test_near_pairs_come_as_near_to_the_optimum_as_the_docstring_says(like: float, above: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, other = rng.standard_normal((2, 10, 400))
    pairs = np.stack([first, like * first + np.sqrt(1 - like**2) * other], axis=1).reshape(20, 400)
    vectors = (rng.random((2, 20)) * rng.integers(0, 2, (2, 20))) @ pairs + rng.standard_normal((2, 400))
    cosines, products, units, owns = problem((pairs * 1e5).round(), (vectors * 1e5).round())
    for own, found in zip(owns, np.array(solved(cosines, products)) / UNIT, strict=True):
        best, _ = nnls(np.vstack([units.T, np.sqrt(RIDGE / UNIT) * np.eye(20)]), np.append(own, np.zeros(20)))
        least = objective(best, units, own)
        assert least - 1e-6 <= objective(found, units, own) <= least + above
