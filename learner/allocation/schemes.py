"""Every way of allocating tasks by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from learner.allocation.baselines import equal, synchronous
from learner.allocation.instance import Allocation, Instance, Status
from learner.allocation.nonlinear import ipopt
from learner.allocation.reach import Shortage, reach
from learner.allocation.relaxed import suggest_and_improve
from learner.allocation.updates import most_updates
from learner.allocation.windows import core, fill, least_staleness, starts


SCHEMES: Mapping[str, Callable[[Instance], Allocation]] = MappingProxyType(
    {
        "sai": suggest_and_improve,
        "ipopt": ipopt,
        "synchronous": synchronous,
        "equal": equal,
    }
)
"""Name -> what makes the allocation."""

FILLING = frozenset({"least", "most-updates", "sai", "ipopt", "equal"})
"""Those that solve the same problem: no further update fits in anybody's time. HA-Sync may let learners idle."""
