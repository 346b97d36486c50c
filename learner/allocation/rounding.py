"""Whole samples from real ones: the nearest shares that sum to d and keep every learner's bounds."""

import numpy as np
from numpy.typing import NDArray

from learner.allocation.instance import Integers


def sharing(wanted: NDArray[np.float64], least: Integers, most: Integers, d: int) -> Integers:
    """Round `wanted` (float64, shape (K,)) down, then add or take single samples until the sum is `d`; int64, (K,).

    Those with the largest remainder are served first, ties in order of the learners; when everyone's sample is given
    and some are over, they go to whoever still has room. Needs sum(least) <= d <= sum(most).
    """
    shares = np.clip(np.floor(wanted), least, most).astype(np.int64)
    order = np.argsort(-(wanted - np.floor(wanted)), kind="stable").tolist()
    over = d - int(shares.sum())
    step = 1 if over > 0 else -1
    for turn in (1, abs(over)):  # one sample each, then as many as there is room for
        for learner in order if step > 0 else reversed(order):
            bound = most if step > 0 else least
            given = min(abs(over), turn, abs(int(bound[learner] - shares[learner])))
            shares[learner] += step * given
            over -= step * given
    return shares
