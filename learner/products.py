"""Exact inner products of integer vectors of any width, at the speed of float64 matrix products.

A value is written in balanced digits of base 2^16, each of at most 2^15 in magnitude. Products of digits are added as
`learner.gram` adds products of int16, for the same reason exactly; Python integers put them together again. A vector
that fits int16 is its own single digit.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from learner.gram import CHUNK_COLUMNS

Integers: TypeAlias = NDArray[np.signedinteger[Any]]
Rows: TypeAlias = Sequence[Integers] | Integers
"""Vectors of one length, as one matrix or one by one: only a chunk of columns of each is ever copied."""

DIGIT_BITS = 16
HALF_DIGIT = 1 << (DIGIT_BITS - 1)


def inner(left: Rows, right: Rows) -> list[list[int]]:
    """Give <left_i, right_j> for each pair of n and m rows of one length, as Python integers; magnitudes to 2^62."""
    rows, columns = len(left), len(right)
    if not rows or not columns:
        return [[] for _ in range(rows)]
    wide_left, wide_right = _digits(left), _digits(right)
    total = np.zeros((rows * wide_left, columns * wide_right), dtype=np.int64)
    for start in range(0, len(left[0]), CHUNK_COLUMNS):
        ours = _split(left, start, wide_left)
        theirs = ours if left is right else _split(right, start, wide_right)
        total += (ours @ theirs.T).astype(np.int64)
    found = [[0] * columns for _ in range(rows)]
    for p in range(wide_left):
        for q in range(wide_right):
            block = total[p * rows : (p + 1) * rows, q * columns : (q + 1) * columns].tolist()
            shift = DIGIT_BITS * (p + q)
            for into, values in zip(found, block, strict=True):
                for column, value in enumerate(values):
                    into[column] += value << shift
    return found


def squared_norms(vectors: Rows) -> tuple[int, ...]:
    """Give |v|^2 of each row."""
    if not len(vectors):
        return ()
    if _digits(vectors) > 1:
        return tuple(inner([row], [row])[0][0] for row in vectors)
    total = np.zeros(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors[0]), CHUNK_COLUMNS):
        part = _split(vectors, start, 1)
        total += np.einsum("ij,ij->i", part, part).astype(np.int64)
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


def _split(vectors: Rows, start: int, count: int) -> NDArray[np.float64]:
    """Write a chunk of columns of n rows as float64[count * n, c], the lowest digits first."""
    chunk = [row[start : start + CHUNK_COLUMNS] for row in vectors]
    if count == 1:
        whole = np.empty((len(chunk), len(chunk[0])), dtype=np.float64)
        for into, row in zip(whole, chunk, strict=True):
            into[:] = row
        return whole
    left = np.array(chunk, dtype=np.int64)
    digits = []
    for _ in range(count - 1):
        carried = (left + HALF_DIGIT) >> DIGIT_BITS
        digits.append((left - (carried << DIGIT_BITS)).astype(np.float64))
        left = carried
    return np.concatenate([*digits, left.astype(np.float64)])
