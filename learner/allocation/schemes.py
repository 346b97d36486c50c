"""Every way of allocating tasks by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from learner.allocation.baselines import equal, synchronous
from learner.allocation.exact import allocate, allocate_most_updates
from learner.allocation.instance import Allocation, Instance, Status
from learner.allocation.nonlinear import ipopt
from learner.allocation.relaxed import suggest_and_improve

BOUNDED: Final = 1
"""The staleness at which "most-updates" makes the most: that of the paper's heterogeneity-aware figures."""


def nobody_idles(instance: Instance) -> Allocation:
    """Make the most updates at a staleness of at most 1, or of the least where that is more."""
    found = allocate_most_updates(instance, BOUNDED)
    if found.status is not Status.INFEASIBLE:
        return found
    narrowest = allocate(instance)
    return narrowest if narrowest.max_staleness is None else allocate_most_updates(instance, narrowest.max_staleness)


SCHEMES: Mapping[str, Callable[[Instance], Allocation]] = MappingProxyType(
    {
        "least": allocate,
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
