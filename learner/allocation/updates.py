"""Nobody idles: the most updates that all learners together can make with a bounded staleness.

Fix a window [a, b]. With everybody on the highest step the updates are most, but the samples may not all be taken: some
learners must step down, which costs updates and gains room, U at the lower step less U at the highest. The least cost
that gains enough room is a knapsack (`knapsack.py`). That the steps found also keep sum L <= d follows: were it not
so, one learner could step up again, with room left, at a lower cost. The most updates are the best over all feasible
windows of the width that is asked for, b - a + 1 at most of them.
"""

from dataclasses import dataclass

import numpy as np

from learner.allocation.instance import Integers, total
from learner.allocation.knapsack import cheapest
from learner.allocation.reach import Reach
from learner.allocation.steps import fits, steps
from learner.allocation.windows import Core, fill, starts
from learner.errors import InvalidInstance

WINDOW_LIMIT = 10_000
"""Windows of the staleness asked for that are solved one after another."""


@dataclass(frozen=True, slots=True)
class WindowBound:
    """At the price p/q, no allocation in the window that begins at `first` makes more than `updates`."""

    first: int
    updates: int
    price: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class MostUpdates:
    """Samples, shape (K,), with the most updates; `exact` if no choice makes more, whatever the bounds say."""

    samples: Integers
    updates: int
    bounds: tuple[WindowBound, ...]
    exact: bool


def most_updates(reach: Reach, found: Core, staleness: int) -> MostUpdates:
    """Give the most updates at a staleness that is feasible, in O(K m log (K m) + S^5) for each window.

    m is the most steps that a learner has in the window, `staleness` + 1 at most.

    Raises:
        InvalidInstance: so wide a staleness gives more windows, or steps in one, than `WINDOW_LIMIT` and memory take.

    """
    _check_size(reach, found, staleness)
    best: MostUpdates | None = None
    bounds: list[WindowBound] = []
    exact = True
    for low, high in starts(found, staleness):
        for first in range(low, high + 1):
            one, bound, sure = _in_window(reach, first, first + staleness)
            bounds.append(bound)
            exact = exact and sure
            if best is None or one.updates > best.updates:
                best = one
    if best is None:
        message = f"no window of staleness {staleness} is feasible"
        raise ValueError(message)
    sure = exact or best.updates >= max(bound.updates for bound in bounds)
    return MostUpdates(best.samples, best.updates, tuple(bounds), sure)


def _check_size(reach: Reach, found: Core, staleness: int) -> None:
    ranges = starts(found, staleness)
    windows = sum(high - low + 1 for low, high in ranges)
    if windows > WINDOW_LIMIT or not all(fits(reach, low, low + staleness) for low, _ in ranges):
        reason = f"a staleness of {staleness} lets {len(reach.least)} learners choose among too many updates: take less"
        raise InvalidInstance(reason=reason)


def _in_window(reach: Reach, low: int, high: int) -> tuple[MostUpdates, WindowBound, bool]:
    own = steps(reach, low, high)
    cost = own.tau[:, :1] - own.tau
    gain = own.most - own.most[:, :1]
    chosen = cheapest(cost, gain, reach.d - total(own.most[:, 0]))
    rows = np.arange(len(cost))
    samples = fill(own.least[rows, chosen.column], own.most[rows, chosen.column], reach.d)
    highest = total(own.tau[:, 0])
    bound = WindowBound(low, highest - chosen.bound, chosen.price)
    return MostUpdates(samples, highest - chosen.cost, (bound,), chosen.exact), bound, chosen.exact
