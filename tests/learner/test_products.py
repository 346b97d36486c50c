"""Exact inner products of any width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.gram import CHUNK_COLUMNS
from learner.products import inner, squared_norms

VALUES = st.one_of(st.integers(-(2**62), 2**62), st.sampled_from((2**15, -(2**15), 2**31 - 1, -(2**31), 2**47, 0, 1)))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=4), st.tuples(VALUES, VALUES, VALUES))
def test_products_of_wide_numbers_are_exact(rows: list[tuple[int, ...]], other: tuple[int, ...]) -> None:
    left, right = np.array(rows, dtype=np.int64), np.array([other], dtype=np.int64)
    assert inner(left, right) == [[sum(a * b for a, b in zip(row, other, strict=True))] for row in rows]
    assert inner(right, left) == [[row[0] for row in inner(left, right)]]
    assert squared_norms(left) == tuple(sum(a * a for a in row) for row in rows)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize("columns", [1, CHUNK_COLUMNS - 1, CHUNK_COLUMNS, 2 * CHUNK_COLUMNS + 1])
def test_extremes_over_several_chunks_are_exact(dtype: type[np.signedinteger], columns: int) -> None:
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    rows = np.array([[least] * columns, [most] * columns], dtype=dtype)
    assert inner(rows, rows) == [
        [columns * least * least, columns * least * most],
        [columns * least * most, columns * most * most],
    ]


def test_no_rows_give_no_products() -> None:
    assert inner(np.empty((0, 4), dtype=np.int64), np.ones((2, 4), dtype=np.int64)) == []
    assert inner(np.ones((2, 4), dtype=np.int64), np.empty((0, 4), dtype=np.int64)) == [[], []]
    assert squared_norms(np.empty((0, 4), dtype=np.int16)) == ()
