"""Cosines, medians and norm bounds in exact integers, as RULES.md defines them for all rules."""

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

PPB = 10**9
WHOLE = 1 << 30
"""The bound of an update that is not cut, and what a round's weights sum to."""


@lru_cache(maxsize=1024)  # the parts of a rule ask for the same ones, update by update
def cosine(dot: int, squared: int, other_squared: int) -> int:
    """Signed cosine in ppb, its magnitude rounded down, from the dot product and both squared norms; 0 for a norm 0."""
    if squared == 0 or other_squared == 0:
        return 0
    magnitude = isqrt(PPB * PPB * dot * dot // (squared * other_squared))
    return magnitude if dot > 0 else -magnitude


def cosines(dots: ArrayLike, squared: ArrayLike, other_squared: ArrayLike) -> NDArray[np.int64]:
    """Give `cosine` of vectors' inner products and squared norms, integers below 2^1000 in arrays that broadcast.

    float64 rounds each input, root, product and quotient by at most 2^-53 of itself, and a root halves what its input
    was off by: together less than 2^-50 of a cosine. So its floor is right, unless a whole number of ppb is nearer than
    2^-48 of it; then integers say what is.
    """
    given = (dots, squared, other_squared)
    dot, own, other = (np.asarray(of, dtype=np.float64) for of in given)
    norms = np.sqrt(own) * np.sqrt(other)
    size = PPB * np.abs(dot) / np.where(norms, norms, np.inf)
    found = np.copysign(np.floor(size), dot).astype(np.int64)
    unsure = np.nonzero(np.abs(size - np.rint(size)) < size * 2.0**-48)
    if unsure[0].size:
        exact = np.broadcast_arrays(*(np.asarray(of, dtype=object) for of in given))
        found[unsure] = [cosine(*map(int, triple)) for triple in zip(*(of[unsure] for of in exact), strict=True)]
    return found


def median(values: Sequence[int]) -> int:
    """Give the middle of at least one value, of an even number the mean of the two middle ones, rounded down."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


def lower_median(values: Sequence[int]) -> int:
    """Give the middle of at least one value, of an even number the lower of the two middle ones."""
    return sorted(values)[(len(values) - 1) // 2]


def clip(value: int, least: int, most: int) -> int:
    """Bring a value into [least, most]."""
    return min(max(value, least), most)


def bound(squared: int, limit_squared: int) -> int:
    """Give the factor, of 2^30, that cuts a vector of this squared norm to the limit, rounded down; 2^30 within it."""
    if squared <= limit_squared:
        return WHOLE
    return isqrt(WHOLE * WHOLE * limit_squared // squared)
