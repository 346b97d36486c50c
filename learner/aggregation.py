"""The next global model, in integers, in two forms.

Both yield the exact *aggregate*: the new model times 2^30, int64[d], before the one rounding (half to even).
    literal   A = sum p_i (base_i + (u_i << k))               BFL-MEC: w_g = sum p_i w^i
    delta     A = 2^30 * current + (sum p_i u_i << k)         the same step taken from the newest model
Bounds (sum p_i = 2^30, p_i >= 0, k <= 16): |sum p_i u_i| <= 2^30 * 2^15 = 2^45, below 2^53, so the float64 product of
weights and updates is exact in any order; shifted at most 2^61. A model times 2^30 is at most 2^61. Hence |A| <= 2^62
and no int64 overflows. In the literal form with held updates (each base_i + (u_i << k) fits int32) A / 2^30 is a
mean of int32 values, so the new model always fits int32; in the delta form it may not, which `fits_model` tells.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from learner.fixedpoint import INT32, Model, Update
from learner.gram import CHUNK_COLUMNS
from learner.rewards import STEP_BITS, STEP_TOTAL

FORMS = ("literal", "delta")


def weighted_sum(
    updates: Sequence[Update], weights: Sequence[int], *, chunk_columns: int = CHUNK_COLUMNS
) -> NDArray[np.int64]:
    """Sum of p_i * u_i, exact: n updates int16[d], n weights that sum to at most 2^30; int64[d]."""
    dimension = len(updates[0])
    total = np.empty(dimension, dtype=np.int64)
    factors = np.array(weights, dtype=np.float64)
    chunk = np.empty((len(updates), min(chunk_columns, max(dimension, 1))), dtype=np.float64)
    for start in range(0, dimension, chunk_columns):
        stop = min(start + chunk_columns, dimension)
        part = chunk[:, : stop - start]
        for row, update in zip(part, updates, strict=True):
            row[:] = update[start:stop]
        total[start:stop] = factors @ part
    return total


def literal(
    models: Mapping[int, Model], bases: Sequence[int], updates: Sequence[Update], weights: Sequence[int], shift: int
) -> NDArray[np.int64]:
    """Aggregate of the literal form: sum of p_i * (base_i + (u_i << shift)), int64[d].

    `bases[i]` is the base version of update i and `models` holds that version's int32[d].
    """
    weight_of: dict[int, int] = {}
    for base, weight in zip(bases, weights, strict=True):
        weight_of[base] = weight_of.get(base, 0) + weight
    total = weighted_sum(updates, weights) << shift
    for base, weight in weight_of.items():
        total += models[base].astype(np.int64) * weight
    return total


def delta(current: Model, updates: Sequence[Update], weights: Sequence[int], shift: int) -> NDArray[np.int64]:
    """Aggregate of the delta form: 2^30 * current + (sum of p_i * u_i << shift), int64[d]."""
    return unchanged(current) + (weighted_sum(updates, weights) << shift)


def unchanged(current: Model) -> NDArray[np.int64]:
    """Aggregate of a round that leaves the model as it is: 2^30 * current, int64[d]."""
    return current.astype(np.int64) * STEP_TOTAL


def half_even(aggregate: NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide by 2^30 and round to the nearest integer, a tie to the even one; int64[d]."""
    rounded: NDArray[np.int64] = aggregate >> STEP_BITS  # rounds down, also below zero
    rounded &= 1  # an odd quotient needs one less to be rounded up: so a tie goes to the even one
    rounded += aggregate
    rounded += STEP_TOTAL // 2 - 1
    rounded >>= STEP_BITS
    return rounded


def fits_model(values: NDArray[np.int64]) -> bool:
    """Whether every coordinate fits the model's int32."""
    return bool(((values >= INT32.min) & (values <= INT32.max)).all())


def encode_aggregate(aggregate: NDArray[np.int64]) -> bytes:
    """Canonical bytes of an aggregate, for its digest: each coordinate 8 bytes, signed, little-endian."""
    return aggregate.astype("<i8").tobytes()
