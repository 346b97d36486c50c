"""The exact solvers: least staleness, most updates at bounded staleness, and the frontier between the two.

Each result carries a certificate that `learner.allocation.certificates.faults` checks without the solvers' arithmetic.
"""

from dataclasses import dataclass

from learner.allocation.average import least_average
from learner.allocation.certificates import Certificate, Infeasible, Narrowest
from learner.allocation.instance import Allocation, Instance, Integers, Status
from learner.allocation.reach import Reach, Shortage, reach
from learner.allocation.updates import most_updates
from learner.allocation.windows import Core, blockers, core, fill, least_staleness, starts


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the frontier: what can be had with a staleness of at most `staleness`.

    `most_updates` makes the most updates, `least_average` has the least average staleness; either may have a smaller
    staleness than it is allowed.
    """

    staleness: int
    most_updates: Allocation
    least_average: Allocation


def allocate(instance: Instance) -> Allocation:
    """Give the allocation of least staleness and, among those, of least average staleness.

    The staleness is exact, whatever K. The average is exact for a staleness of 0 and 1 and, beyond, if the certificate
    says so; else the certificate bounds it. O(K log K) and a search with a fixed limit (`average.py`).
    """
    prepared = reach(instance)
    if isinstance(prepared, Shortage):
        return _infeasible(prepared)
    found = core(prepared)
    staleness = least_staleness(found)
    return _average(prepared, found, staleness)


def allocate_least_staleness(instance: Instance) -> Allocation:
    """Give an allocation of least staleness, whatever its average; O(K log K)."""
    prepared = reach(instance)
    if isinstance(prepared, Shortage):
        return _infeasible(prepared)
    found = core(prepared)
    staleness = least_staleness(found)
    claim = _narrowest(prepared, found, staleness, staleness)
    first = claim.starts[0][0]
    samples = fill(prepared.lower(first + staleness), prepared.upper(first), prepared.d)
    return _allocation(prepared, samples, Certificate(claim))


def allocate_most_updates(instance: Instance, staleness: int) -> Allocation:
    """Give the allocation that makes the most updates with a staleness of at most `staleness`.

    Infeasible if that is under the least staleness, which the reason then names. Exact for `staleness` 0 and 1, and
    beyond if the certificate says so (`updates.py`): always unless learners have hundreds of steps to choose between.
    """
    prepared = reach(instance)
    if isinstance(prepared, Shortage):
        return _infeasible(prepared)
    found = core(prepared)
    least = least_staleness(found)
    if staleness < least:
        reason = f"a staleness of {staleness} cannot be kept: the least is {least}"
        return Allocation(Status.INFEASIBLE, reason=reason, certificate=_narrowest(prepared, found, least, least))
    return _most(prepared, found, staleness)


def frontier(instance: Instance, width: int) -> tuple[Point, ...] | Allocation:
    """Give what can be had at the least staleness and at each of the next `width` ones, or why nothing can be.

    The points end early at the greatest staleness that any allocation has.
    """
    prepared = reach(instance)
    if isinstance(prepared, Shortage):
        return _infeasible(prepared)
    found = core(prepared)
    least = least_staleness(found)
    widest = int(prepared.updates(prepared.least).max()) - int(prepared.updates(prepared.most).min())
    last = max(least, min(least + width, widest))
    return tuple(
        Point(staleness, _most(prepared, found, staleness), _average(prepared, found, staleness))
        for staleness in range(least, last + 1)
    )


def _average(prepared: Reach, found: Core, staleness: int) -> Allocation:
    best = least_average(prepared, found, staleness)
    claim = Certificate(
        _narrowest(prepared, found, staleness, least_staleness(found)), average=best.bounds, exact=best.exact
    )
    return _allocation(prepared, best.samples, claim)


def _most(prepared: Reach, found: Core, staleness: int) -> Allocation:
    best = most_updates(prepared, found, staleness)
    claim = Certificate(
        _narrowest(prepared, found, staleness, least_staleness(found)), updates=best.bounds, exact=best.exact
    )
    return _allocation(prepared, best.samples, claim)


def _allocation(prepared: Reach, samples: Integers, claim: Certificate) -> Allocation:
    return Allocation(Status.OPTIMAL, samples, prepared.updates(samples), certificate=claim)


def _infeasible(shortage: Shortage) -> Allocation:
    return Allocation(Status.INFEASIBLE, reason=shortage.reason, certificate=Infeasible(shortage.learner))


def _narrowest(prepared: Reach, found: Core, staleness: int, least: int) -> Narrowest:
    """Say which windows of this width are feasible, and why none is that is narrower than the least staleness."""
    free = starts(found, staleness)
    lacking = prepared.upper(found.first + 1) < prepared.least
    return Narrowest(
        staleness,
        least,
        found.first,
        found.last,
        int(lacking.argmax()) if lacking.any() else None,
        tuple(blockers(found, least - 1, [])),
        tuple(blockers(found, staleness, free)),
        tuple(free),
    )
