"""The two schemes that arXiv 1905.01656 compares with: equal shares (HU, also ETA), and one tau for all (HA-Sync)."""

import numpy as np

from learner.allocation.instance import Allocation, Instance, Integers, Status, total
from learner.allocation.reach import Reach, Shortage, reach
from learner.allocation.rounding import sharing


def equal(instance: Instance) -> Allocation:
    """Give everyone d // K samples, one more to the first ones where d does not divide by K.

    The heterogeneity-unaware scheme: each makes all updates that fit. Infeasible, with the learner in `reason`, where
    that leaves somebody's bounds or fewer than `tau_min` updates, whatever other shares could do.
    """
    found = reach(instance)
    if isinstance(found, Shortage):
        return Allocation(Status.INFEASIBLE, reason=found.reason)
    count = instance.learners
    d = np.full(count, instance.d // count, dtype=np.int64)
    d[: instance.d % count] += 1
    outside = (d < found.least) | (d > found.most)
    if outside.any():
        learner = int(outside.argmax())
        bounds = f"{found.least[learner]} to {found.most[learner]}"
        reason = f"learner {learner + 1} of {count}: an equal share is {d[learner]} samples, it can take {bounds}"
        return Allocation(Status.INFEASIBLE, reason=reason)
    return Allocation(Status.FEASIBLE, d, found.updates(d))


def synchronous(instance: Instance) -> Allocation:
    """Find the greatest tau that all can make together, and give each samples in proportion to what it could take.

    The heterogeneity-aware synchronous scheme. It has no staleness, but its learners may idle: where another update
    would fit, they do not make it. So it answers another question than the schemes that fill the cycle.
    """
    found = reach(instance)
    if isinstance(found, Shortage):
        return Allocation(Status.INFEASIBLE, reason=found.reason)
    common = instance.tau_min
    beyond = common + 1
    while _reaches(found, beyond):
        common, beyond = beyond, 2 * beyond
    while beyond - common > 1:
        middle = (common + beyond) // 2
        common, beyond = (middle, beyond) if _reaches(found, middle) else (common, middle)
    most = found.upper(common)
    room = (most - found.least).astype(np.float64)
    wanted = found.least + room * ((instance.d - total(found.least)) / max(float(room.sum()), 1.0))
    d = sharing(wanted, found.least, most, instance.d)
    return Allocation(Status.FEASIBLE, d, np.full(instance.learners, common, dtype=np.int64))


def _reaches(found: Reach, updates: int) -> bool:
    """Whether all samples find a learner when everyone makes so many updates."""
    most: Integers = found.upper(updates)
    return bool((most >= found.least).all()) and total(most) >= found.d
