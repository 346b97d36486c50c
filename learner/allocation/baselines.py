"""The two schemes that arXiv 1905.01656 compares with: equal shares (HU, also ETA), and one tau for all (HA-Sync)."""

import numpy as np

from learner.allocation.full_time import most_samples, updates_in_full
from learner.allocation.instance import Allocation, Instance, Integers, Status
from learner.allocation.rounding import sharing


def equal(instance: Instance) -> Allocation:
    """Give everyone the same number of samples, one more to the first ones where d does not divide by K, and no rest.

    The heterogeneity-unaware scheme: learner k makes all updates that fit with d // K samples. Infeasible, with the
    learner in `reason`, when that leaves somebody's bounds or fewer than `tau_min` updates.
    """
    count = instance.learners
    d = np.full(count, instance.d // count, dtype=np.int64)
    d[: instance.d % count] += 1
    for learner in range(count):
        own, least, most = (int(values[learner]) for values in (d, instance.d_l, instance.d_u))
        if not least <= own <= most:
            return _infeasible(f"an equal share is {own} samples, learner {learner + 1} takes {least} to {most}")
    tau = updates_in_full(instance, d)
    late = np.flatnonzero(tau < instance.tau_min)
    if len(late):
        learner = int(late[0])
        return _infeasible(
            f"learner {learner + 1} has no time or energy for {max(instance.tau_min, 0)} updates on an equal share of "
            f"{d[learner]} samples"
        )
    return Allocation(Status.FEASIBLE, d, tau)


def synchronous(instance: Instance) -> Allocation:
    """Find the greatest tau that all can make together, and give each samples in proportion to what it could take.

    The heterogeneity-aware synchronous scheme. It has no staleness, and its learners may idle: where another update
    would fit, they do not make it. So it solves another problem than those that fill the cycle.
    """
    reachable = _at_once(instance, instance.tau_min)
    if reachable is None:
        return _infeasible(f"the learners cannot take {instance.d} samples with {instance.tau_min} updates each")
    common, beyond = instance.tau_min, instance.tau_min + 1
    while (found := _at_once(instance, beyond)) is not None:
        common, reachable, beyond = beyond, found, 2 * beyond
    while beyond - common > 1:
        middle = (common + beyond) // 2
        if (found := _at_once(instance, middle)) is None:
            beyond = middle
        else:
            common, reachable = middle, found
    spare = instance.d - int(instance.d_l.sum())
    room = (reachable - instance.d_l).astype(np.float64)
    wanted = instance.d_l + room * (spare / max(float(room.sum()), 1.0))
    d = sharing(wanted, instance.d_l, reachable, instance.d)
    return Allocation(Status.FEASIBLE, d, np.full(instance.learners, common, dtype=np.int64))


def _at_once(instance: Instance, updates: int) -> Integers | None:
    """Return what each can take with so many updates, int64 (K,); None if that is not enough for d and the bounds."""
    most = most_samples(instance, updates)
    within = bool((most >= instance.d_l).all()) and int(instance.d_l.sum()) <= instance.d <= int(most.sum())
    return most if within else None


def _infeasible(reason: str) -> Allocation:
    return Allocation(Status.INFEASIBLE, reason=reason)
