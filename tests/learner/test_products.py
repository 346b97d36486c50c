"""Exact inner products of any width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner import products
from learner.products import MOST_COLUMNS, SLICE, dots, grams, inner, inner_and_norms, squared_norms

VALUES = st.one_of(st.integers(-(2**62), 2**62), st.sampled_from((2**15, -(2**15), 2**31 - 1, -(2**31), 2**47, 0, 1)))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=4), st.tuples(VALUES, VALUES, VALUES))
def test_products_of_wide_numbers_are_exact(rows: list[tuple[int, ...]], other: tuple[int, ...]) -> None:
    left, right = np.array(rows, dtype=np.int64), np.array([other], dtype=np.int64)
    assert inner(left, right) == [[sum(a * b for a, b in zip(row, other, strict=True))] for row in rows]
    assert inner(right, left) == [[row[0] for row in inner(left, right)]]
    assert dots(left, np.repeat(right, len(rows), axis=0)) == [row[0] for row in inner(left, right)]
    assert squared_norms(left) == tuple(sum(a * a for a in row) for row in rows)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize("columns", [1, SLICE + 1, MOST_COLUMNS - 1, MOST_COLUMNS, 2 * MOST_COLUMNS + 1])
def test_extremes_over_several_chunks_are_exact(dtype: type[np.signedinteger], columns: int) -> None:
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    rows = np.array([[least] * columns, [most] * columns], dtype=dtype)
    assert inner(rows, rows) == [
        [columns * least * least, columns * least * most],
        [columns * least * most, columns * most * most],
    ]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 200), st.integers(0, 2**32))
def test_one_pass_finds_what_plain_integers_do(count: int, others: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left = rng.integers(-(2**15), 2**15, (count, columns)).astype(np.int16)
    right = rng.integers(-(2**15), 2**15, (others, columns)).astype(np.int16)
    plain = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in right.tolist()] for x in left.tolist()]
    norms = [sum(a * a for a in y) for y in right.tolist()]
    assert inner(left, right) == plain
    products, squared = inner_and_norms(list(left), list(right))
    assert (products.tolist(), squared.tolist()) == (plain, norms)
    tables = [list(left), [], list(right)]
    assert grams(tables) == grams([list(table.astype(np.int32)) for table in (left, left[:0], right)])
    assert grams(tables) == [inner(rows, rows) for rows in tables]
    assert squared_norms(right) == tuple(norms)
    few = min(count, others)
    assert dots(left[:few], right[:few]) == [plain[at][at] for at in range(few)]


@pytest.mark.parametrize("numbers", [1, 1 << 10, 1 << 14])
def test_however_narrow_the_chunks_the_products_are_the_same(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows make narrow chunks, so that memory does not grow with them."""
    rows = np.random.default_rng(1).integers(-(2**15), 2**15, (50, 3_000)).astype(np.int16)
    wide = rows.astype(np.int64) << 30
    expected, expected_wide = inner(rows, rows), inner(wide, rows)
    monkeypatch.setattr(products, "MOST_NUMBERS", numbers)
    assert inner(rows, rows) == inner_and_norms(rows, rows)[0].tolist() == grams([rows])[0] == expected
    assert inner(wide, rows) == expected_wide == [[x << 30 for x in line] for line in expected]


def test_no_rows_give_no_products() -> None:
    assert inner(np.empty((0, 4), dtype=np.int64), np.ones((2, 4), dtype=np.int64)) == []
    assert inner(np.ones((2, 4), dtype=np.int64), np.empty((0, 4), dtype=np.int64)) == [[], []]
    assert squared_norms(np.empty((0, 4), dtype=np.int16)) == ()
    assert dots([], []) == []
    assert grams([]) == []
    assert grams([[], []]) == [[], []]
