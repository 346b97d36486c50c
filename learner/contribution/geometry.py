"""Cosines, medians and norm bounds in exact integers, as RULES.md defines them for all rules."""

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt

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
