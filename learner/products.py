"""Exact inner products of integer vectors of any width, at the speed of float64 matrix products.

A value is written in balanced digits of base 2^16, each of at most 2^15 in magnitude. Products of digits are added as
`learner.gram` adds products of int16, for the same reason exactly; Python integers put them together again. A vector
that fits int16 is its own single digit.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.signedinteger[Any]]
Rows: TypeAlias = Sequence[Integers] | Integers
"""Vectors of one length, as one matrix or one by one: only a chunk of columns of each is ever copied."""

Reals: TypeAlias = NDArray[np.float64]

DIGIT_BITS = 16
HALF_DIGIT = 1 << (DIGIT_BITS - 1)
SLICE = 256
"""Columns that few rows are multiplied by at a time: BLAS then takes its kernels for small matrices, at twice the speed
of one long product. Chunks are whole slices; zeros fill the last."""
SMALL = 1_000_000
"""Most multiplications of a slice (OpenBLAS's bound for those kernels)."""
MOST_COLUMNS = 16 * SLICE
"""Columns of a chunk: 4096 products of digits, each at most 2^30, are far below 2^53."""
LONG_COLUMNS = 32 * SLICE
"""Columns of a chunk whose rows are multiplied two by two: fewer calls, and few rows still fit the cache."""
MOST_NUMBERS = 1 << 22
"""Numbers in a chunk of all rows, 32 MB, whatever the length of the rows."""
MULTIPLE = 4
"""Rows of zeros fill a chunk up to a multiple of the rows that matrix products take at a time."""


def inner(left: Rows, right: Rows) -> list[list[int]]:
    """Give <left_i, right_j> for each pair of n and m rows of one length, as Python integers; magnitudes to 2^62."""
    rows, columns = len(left), len(right)
    if not rows or not columns:
        return [[] for _ in range(rows)]
    if rows < columns:  # the fewer rows are turned
        return [list(line) for line in zip(*inner(right, left), strict=True)]
    wide_left, wide_right = _digits(left), _digits(right)
    total = np.zeros((rows * wide_left, columns * wide_right), dtype=np.int64)
    if left is right:
        for (chunk,) in _chunks((left, wide_left)):
            # a copy: few rows times themselves are a BLAS's symmetric product, several times as slow
            total += (chunk @ chunk.copy().T).astype(np.int64)[: len(total), : len(total)]
    else:
        for ours, theirs in _chunks((left, wide_left), (right, wide_right), turned=True):
            total += _times(ours, theirs)[: len(total), : len(total[0])]
    return _composed(total, rows, columns)


def inner_and_norms(left: Rows, right: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give `inner(left, right)`, int64[n, m], and |right_j|^2, int64[m], in one pass over rows of int16."""
    total = np.zeros((len(right), len(left)), dtype=np.int64)
    squared = np.zeros(len(right), dtype=np.int64)
    for theirs, ours in _chunks((right, 1), (left, 1), turned=True):
        total += _times(theirs, ours)[: len(right), : len(left)]
        squared += np.vecdot(theirs, theirs).astype(np.int64)[: len(right)]
    return total.T, squared


def grams(tables: Sequence[Sequence[Integers]]) -> list[list[list[int]]]:
    """Give `inner(rows, rows)` of each of several tables, all vectors of one length; of int16 in one pass."""
    most = max((len(rows) for rows in tables), default=0)
    if not most or any(row.dtype != np.int16 for rows in tables for row in rows):
        return [inner(rows, rows) for rows in tables]
    nothing = next(np.zeros_like(row) for rows in tables for row in rows)
    filled = [row for rows in tables for row in (*rows, *[nothing] * (most - len(rows)))]
    total = np.zeros((len(tables), most, most), dtype=np.int64)
    for (chunk,) in _chunks((filled, 1)):
        each = chunk[: len(filled)].reshape(len(tables), most, -1)
        # a copy, as in `inner`
        total += np.matmul(each, each.copy().swapaxes(1, 2)).astype(np.int64)
    return [found[: len(rows), : len(rows)].tolist() for rows, found in zip(tables, total, strict=True)]


def dots(left: Rows, right: Rows) -> list[int]:
    """Give <left_i, right_i> for each of n pairs of rows, as Python integers; magnitudes to 2^62.

    A row that is in several pairs is read once, if it is the same object.
    """
    ours = list(left)
    theirs = ours if right is left else list(right)
    rows = {id(row): row for row in (*ours, *theirs)}
    places = {key: at for at, key in enumerate(rows)}
    pairs = [(places[id(one)], places[id(other)]) for one, other in zip(ours, theirs, strict=True)]
    wide, count = _digits(list(rows.values())), len(rows)
    found = [0] * len(pairs)
    for (chunk,) in _chunks((list(rows.values()), wide), most_columns=LONG_COLUMNS):
        for p, q in product(range(wide), repeat=2):
            for at, (one, other) in enumerate(pairs):
                found[at] += int(chunk[p * count + one] @ chunk[q * count + other]) << DIGIT_BITS * (p + q)
    return found


def squared_norms(vectors: Rows) -> tuple[int, ...]:
    """Give |v|^2 of each row."""
    if not len(vectors):
        return ()
    if _digits(vectors) > 1:
        return tuple(dots(vectors, vectors))
    total = np.zeros(len(vectors), dtype=np.int64)
    for (chunk,) in _chunks((vectors, 1)):
        total += np.vecdot(chunk, chunk).astype(np.int64)[: len(vectors)]
    return tuple(total.tolist())


def _digits(vectors: Rows) -> int:
    """Count the digits that the largest magnitude needs."""
    if all(row.dtype == np.int16 for row in vectors):
        return 1
    magnitude = max((max(abs(int(row.min())), abs(int(row.max()))) for row in vectors if row.size), default=0)
    count, reach = 1, HALF_DIGIT
    while magnitude >= reach:
        count += 1
        reach <<= DIGIT_BITS
    return count


def _times(left: Reals, right: Reals) -> NDArray[np.int64]:
    """Give left @ right.T of a chunk whose right table is turned."""
    rows, columns = len(left), len(right)
    if rows * columns * SLICE > SMALL:
        return (left @ right.T).astype(np.int64)
    slices = left.reshape(rows, -1, SLICE).swapaxes(0, 1)
    total: Reals = np.matmul(slices, right.T.reshape(-1, SLICE, columns)).sum(axis=0)
    return total.astype(np.int64)


def _chunks(
    *tables: tuple[Rows, int], turned: bool = False, most_columns: int = MOST_COLUMNS
) -> Iterator[tuple[Reals, ...]]:
    """Give each table of rows, a chunk of columns at a time, as digits in float64; the next chunk takes its place.

    A table is its rows, n of one length for all, and their number of digits: [count * n and a few of zeros, columns],
    the lowest digits first. `turned`: the last table lies in memory column by column.
    """
    heights = [-(-len(rows) * count // MULTIPLE) * MULTIPLE for rows, count in tables]
    length = len(tables[0][0][0]) if len(tables[0][0]) else 0
    most = max(SLICE, min(_slices(length), most_columns, MOST_NUMBERS // max(1, sum(heights)) // SLICE * SLICE))
    whole = [np.zeros((height, most), dtype=np.float64) for height in heights]
    if turned:
        whole[-1] = np.zeros((most, heights[-1]), dtype=np.float64).T
    for start in range(0, length, most):
        width = min(most, length - start)
        for matrix, (rows, count) in zip(whole, tables, strict=True):
            _write(matrix[:, :width], rows, start, count)
            matrix[:, width:] = 0
        yield tuple(matrix[:, : _slices(width)] for matrix in whole)


def _slices(columns: int) -> int:
    """Round a number of columns up to whole slices."""
    return -(-columns // SLICE) * SLICE


def _write(into: Reals, rows: Rows, start: int, count: int) -> None:
    """Write a chunk of columns of n rows as `count` digits each."""
    stop = start + into.shape[1]
    if count == 1:
        for line, row in zip(into[: len(rows)], rows, strict=True):
            line[:] = row[start:stop]
        return
    left = np.array([row[start:stop] for row in rows], dtype=np.int64)
    for digit in range(count):
        carried = (left + HALF_DIGIT) >> DIGIT_BITS if digit < count - 1 else np.zeros_like(left)
        into[digit * len(rows) : (digit + 1) * len(rows)] = left - (carried << DIGIT_BITS)
        left = carried


def _composed(total: NDArray[np.int64], rows: int, columns: int) -> list[list[int]]:
    """Put the products of digits together."""
    if total.shape == (rows, columns):
        whole: list[list[int]] = total.tolist()
        return whole
    found = [[0] * columns for _ in range(rows)]
    for p in range(len(total) // rows):
        for q in range(len(total[0]) // columns):
            block = total[p * rows : (p + 1) * rows, q * columns : (q + 1) * columns].tolist()
            shift = DIGIT_BITS * (p + q)
            for into, values in zip(found, block, strict=True):
                for column, value in enumerate(values):
                    into[column] += value << shift
    return found
