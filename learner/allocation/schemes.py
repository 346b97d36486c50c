"""Every way of allocating tasks by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from learner.allocation.baselines import equal, synchronous
from learner.allocation.instance import Allocation, Instance, Status
from learner.allocation.nonlinear import ipopt
from learner.allocation.reach import Shortage, reach
from learner.allocation.relaxed import suggest_and_improve
from learner.allocation.updates import most_updates
from learner.allocation.windows import core, fill, least_staleness, starts

BOUNDED: Final = 1
"""The staleness at which "most-updates" makes the most: the least that the paper's heterogeneity-aware figures show."""


def least(instance: Instance) -> Allocation:
    """Fill the cycle with the least staleness that there is, at the highest updates that allow it."""
    found = reach(instance)
    if isinstance(found, Shortage):
        return Allocation(Status.INFEASIBLE, reason=found.reason)
    windows = core(found)
    staleness = least_staleness(windows)
    first = starts(windows, staleness)[-1][1]
    d = fill(found.lower(first + staleness), found.upper(first), found.d)
    return Allocation(Status.OPTIMAL, d, found.updates(d))


def nobody_idles(instance: Instance) -> Allocation:
    """Fill the cycle with the most updates at a staleness of at most 1, or the least where that is more."""
    found = reach(instance)
    if isinstance(found, Shortage):
        return Allocation(Status.INFEASIBLE, reason=found.reason)
    windows = core(found)
    most = most_updates(found, windows, max(BOUNDED, least_staleness(windows)))
    status = Status.OPTIMAL if most.exact else Status.FEASIBLE
    return Allocation(status, most.samples, found.updates(most.samples))


SCHEMES: Mapping[str, Callable[[Instance], Allocation]] = MappingProxyType(
    {
        "least": least,
        "most-updates": nobody_idles,
        "sai": suggest_and_improve,
        "ipopt": ipopt,
        "synchronous": synchronous,
        "equal": equal,
    }
)
"""Name -> what makes the allocation."""

FILLING = frozenset({"least", "most-updates", "sai", "ipopt", "equal"})
"""Those that solve the same problem: no further update fits in anybody's time. HA-Sync may let learners idle."""
