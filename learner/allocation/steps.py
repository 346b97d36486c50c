"""The steps of the staircases within a window: what each learner can choose between."""

from dataclasses import dataclass

import numpy as np

from learner.allocation.instance import Integers
from learner.allocation.reach import Reach

TABLE_LIMIT = 30_000_000
"""Steps of all learners in a window that a table may have, 720 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Learner k makes tau[k, j] updates on least[k, j] to most[k, j] samples; int64, shape (K, m).

    Column 0 is its highest step in the window. Each next one is its next lower step and takes up where the last one
    ended (least[k, j + 1] = most[k, j] + 1); a learner with fewer steps than m repeats its lowest one.
    """

    tau: Integers
    least: Integers
    most: Integers


def fits(reach: Reach, low: int, high: int) -> bool:
    """Whether the steps of the feasible window [low, high] surely keep within `TABLE_LIMIT`."""
    width = min(high - low, int((reach.upper(low) - reach.lower(high)).max())) + 1
    return len(reach.least) * width <= TABLE_LIMIT


def steps(reach: Reach, low: int, high: int) -> Steps:
    """List the steps of every learner in the feasible window [low, high]."""
    end = reach.upper(low)
    at = reach.lower(high)
    tau, least, most = [], [], []
    while True:
        value = reach.updates(at)
        last = np.minimum(end, reach.upper(value))
        tau.append(value)
        least.append(at)
        most.append(last)
        more = last < end
        if not more.any():
            return Steps(np.stack(tau, axis=1), np.stack(least, axis=1), np.stack(most, axis=1))
        at = np.where(more, last + 1, at)
