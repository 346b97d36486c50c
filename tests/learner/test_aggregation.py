"""The next model, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.aggregation import delta, encode_aggregate, fits_model, half_even, literal, unchanged, weighted_sum
from learner.fixedpoint import INT16, INT32
from learner.rewards import STEP_TOTAL, step_weights

WEIGHTS = st.lists(st.integers(0, 10**9), min_size=3, max_size=3).filter(any).map(step_weights)


def rows(*values: list[int]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.int16) for row in values]


def model(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    ("numerator", "rounded"),
    [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (6, 2), (10, 2), (-1, 0), (-2, 0), (-3, -1), (-6, -2)],
)
def test_a_tie_goes_to_the_even_neighbour(numerator: int, rounded: int) -> None:
    quarters = np.array([numerator * (STEP_TOTAL // 4)], dtype=np.int64)
    assert half_even(quarters).tolist() == [rounded]


@given(st.integers(-(2**62), 2**62))
def test_rounding_is_the_nearest_integer(value: int) -> None:
    [rounded] = half_even(np.array([value], dtype=np.int64)).tolist()
    assert abs(value - rounded * STEP_TOTAL) <= STEP_TOTAL // 2


@given(WEIGHTS, st.integers(0, 16))
def test_bounds_hold_at_the_worst_magnitudes(weights: tuple[int, ...], shift: int) -> None:
    lowest = rows([INT16.min], [INT16.min], [INT16.min])
    models = {0: model(INT32.min), 1: model(INT32.min)}
    expected = sum(weight * (INT32.min + INT16.min * 2**shift) for weight in weights)
    assert literal(models, [0, 1, 0], lowest, weights, shift).tolist() == [expected]
    assert delta(models[0], lowest, weights, shift).tolist() == [expected]


@given(WEIGHTS, st.integers(0, 8))
def test_with_one_base_both_forms_are_the_same(weights: tuple[int, ...], shift: int) -> None:
    updates = rows([1, -2], [300, 4], [-5, 32767])
    current = model(77, -123_456)
    same = literal({4: current}, [4, 4, 4], updates, weights, shift)
    assert (same == delta(current, updates, weights, shift)).all()


@given(WEIGHTS)
def test_held_updates_never_leave_int32_in_the_literal_form(weights: tuple[int, ...]) -> None:
    models = {0: model(INT32.max - 5), 1: model(INT32.min + 7)}
    aggregate = literal(models, [0, 0, 1], rows([5], [-9], [-7]), weights, 0)
    assert fits_model(half_even(aggregate))


def test_the_delta_form_can_leave_int32_and_says_so() -> None:
    assert not fits_model(half_even(delta(model(INT32.max), rows([1]), [STEP_TOTAL], 0)))
    assert fits_model(half_even(delta(model(INT32.max), rows([-1]), [STEP_TOTAL], 0)))


@pytest.mark.parametrize(
    ("value", "fits"),
    [(INT32.min, True), (INT32.max, True), (int(INT32.min) - 1, False), (int(INT32.max) + 1, False)],
)
def test_both_ends_of_int32_fit_and_no_more(value: int, fits: bool) -> None:  # noqa: FBT001 - a table's column
    assert fits_model(np.array([0, value], dtype=np.int64)) is fits


def test_an_unchanged_model_rounds_to_itself() -> None:
    current = model(INT32.min, -1, 0, 1, INT32.max)
    assert (half_even(unchanged(current)) == current).all()


@pytest.mark.parametrize("chunk_columns", [1, 100, 8192])
def test_chunk_size_never_changes_the_weighted_sum(chunk_columns: int) -> None:
    updates = np.arange(-3000, 3000, dtype=np.int16).reshape(3, 2000)
    weights = step_weights([10**9, 1, 333])
    exact = np.array(weights, dtype=np.int64) @ updates.astype(np.int64)
    assert (weighted_sum(list(updates), weights, chunk_columns=chunk_columns) == exact).all()


def test_canonical_bytes_are_little_endian_coordinates() -> None:
    assert encode_aggregate(np.array([1, -1], dtype=np.int64)) == b"\x01" + bytes(7) + b"\xff" * 8
