"""Exact inner products of integer vectors of any width, at the speed of float64 matrix products.

A value is written in balanced digits of base 2^16, each of at most 2^15 in magnitude. Products of digits are added as
`learner.gram` adds products of int16, for the same reason exactly; Python integers put them together again. A vector
that fits int16 is its own single digit.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from learner.gram import CHUNK_COLUMNS

Integers: TypeAlias = NDArray[np.signedinteger[Any]]

DIGIT_BITS = 16
HALF_DIGIT = 1 << (DIGIT_BITS - 1)


def inner(left: Integers, right: Integers) -> list[list[int]]:
    """Give <left_i, right_j> for each pair of rows of [n, d] and [m, d], as Python integers; magnitudes to 2^62."""
    wide_left, wide_right = _digits(left), _digits(right)
    rows, columns = len(left), len(right)
    total = np.zeros((rows * wide_left, columns * wide_right), dtype=np.int64)
    for start in range(0, left.shape[1], CHUNK_COLUMNS):
        stop = start + CHUNK_COLUMNS
        ours = _split(left[:, start:stop], wide_left)
        theirs = ours if left is right else _split(right[:, start:stop], wide_right)
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


def squared_norms(vectors: Integers) -> tuple[int, ...]:
    """Give |v|^2 of each row of [n, d]."""
    if _digits(vectors) > 1:
        return tuple(inner(row, row)[0][0] for row in vectors[:, None, :])
    total = np.zeros(len(vectors), dtype=np.int64)
    for start in range(0, vectors.shape[1], CHUNK_COLUMNS):
        part = vectors[:, start : start + CHUNK_COLUMNS].astype(np.float64)
        total += np.einsum("ij,ij->i", part, part).astype(np.int64)
    return tuple(total.tolist())


def _digits(vectors: Integers) -> int:
    if vectors.dtype == np.int16 or not vectors.size:
        return 1
    magnitude = max(abs(int(vectors.min())), abs(int(vectors.max())))
    count, reach = 1, HALF_DIGIT
    while magnitude >= reach:
        count += 1
        reach <<= DIGIT_BITS
    return count


def _split(part: Integers, count: int) -> NDArray[np.float64]:
    """Write [n, c] as float64[count * n, c], the lowest digits first."""
    if count == 1:
        return part.astype(np.float64)
    left = part.astype(np.int64)
    digits = []
    for _ in range(count - 1):
        carried = (left + HALF_DIGIT) >> DIGIT_BITS
        digits.append((left - (carried << DIGIT_BITS)).astype(np.float64))
        left = carried
    return np.concatenate([*digits, left.astype(np.float64)])
