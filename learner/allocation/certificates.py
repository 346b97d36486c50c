"""Why nothing better exists, and a check of it that shares no arithmetic with the solvers.

`faults` goes through an allocation and its certificate with plain Python integers, learner by learner, and names what
does not hold. It takes the certificate's word for two things only: that a search found nothing (`exact` where a bound
is not met), which the tests hold against brute force.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.allocation.average import AverageBound, bound_of
from learner.allocation.instance import Allocation, Instance, Status
from learner.allocation.updates import WindowBound

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Nobody can be given samples: `learner` (from 0) has no way to take d_l, or, if None, d is out of all reach."""

    learner: int | None


@dataclass(frozen=True, slots=True)
class Narrowest:
    """Of the windows as wide as `staleness` only those with a in `starts` are feasible, and narrower ones as it says.

    With a > `first`, `short` (a learner from 0, or None for all together) cannot take what it must; with b < `last` the
    learners take more than d. `same`: (learner, first, last), a learner without a step in any window of this width
    that begins at first to last. `narrower`: the same for a width of `least` - 1, where `least` is the least staleness.
    """

    staleness: int
    least: int
    first: int
    last: int
    short: int | None
    narrower: tuple[tuple[int, int, int], ...]
    same: tuple[tuple[int, int, int], ...]
    starts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is claimed of an allocation, beside that it is one.

    `narrowest`: its windows. `average`: bounds under its pair sum in each window, if that is the least. `updates`:
    bounds over its updates, if they are the most. `exact`: whether the second criterion is met to the unit; if not, the
    bounds say how near it is.
    """

    narrowest: Narrowest
    average: tuple[AverageBound, ...] = ()
    updates: tuple[WindowBound, ...] = ()
    exact: bool = True

    @property
    def pair_sum_bound(self) -> int | None:
        """No allocation of this staleness has a smaller pair sum."""
        return min((bound.pair_sum for bound in self.average), default=None)

    @property
    def updates_bound(self) -> int | None:
        """No allocation of at most this staleness makes more updates."""
        return max((bound.updates for bound in self.updates), default=None)


def faults(instance: Instance, allocation: Allocation) -> tuple[str, ...]:
    """Name what is wrong with an allocation or its certificate; nothing if all of it holds."""
    return tuple(_faults(_Plain(instance), allocation))


class _Plain:
    """The instance in lists of Python integers."""

    def __init__(self, instance: Instance) -> None:
        time, energy = instance.time, instance.energy
        self.count, self.d, self.tau_min = instance.learners, instance.d, instance.tau_min
        self.least: list[int] = instance.d_l.tolist()
        self.bound: list[int] = instance.d_u.tolist()
        self.late = [c0 >= time.t for c0 in time.c0.tolist()]
        limits = [(time.c2.tolist(), time.c1.tolist(), (time.t - time.c0).tolist())]
        if energy is not None:
            limits.append((energy.g2.tolist(), energy.g1.tolist(), (energy.emax - energy.g0).tolist()))
        self.limits: Sequence[tuple[list[int], list[int], list[int]]] = limits

    def fits(self, learner: int, updates: int, samples: int) -> bool:
        """Whether time and energy suffice."""
        return not self.late[learner] and all(
            each[learner] * updates * samples + sample[learner] * samples <= rest[learner]
            for each, sample, rest in self.limits
        )

    def upper(self, learner: int, updates: int) -> int:
        """Give the most samples with which `updates` fit, 0 or less if they fit with none."""
        found = 0 if self.late[learner] else self.bound[learner]
        for each, sample, rest in self.limits:
            cost = each[learner] * updates + sample[learner]
            if rest[learner] < 0:
                return 0
            found = min(found, rest[learner] // cost) if cost else found
        return found

    def lower(self, learner: int, updates: int) -> int:
        """Give the fewest samples, d_l at least, with which no more than `updates` fit."""
        return max(self.least[learner], self.upper(learner, updates + 1) + 1)

    def steps(self, learner: int, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Give (updates, most samples) of every step within low to high updates, highest first."""
        at, end = self.lower(learner, high), self.upper(learner, low)
        while at <= end:
            updates = self.updates(learner, at)
            last = min(end, self.upper(learner, updates))
            yield updates, last
            at = last + 1

    def updates(self, learner: int, samples: int) -> int:
        """Give the most updates that fit with `samples`."""
        return min(
            (rest[learner] - sample[learner] * samples) // (each[learner] * samples)
            for each, sample, rest in self.limits
            if each[learner]
        )


def _faults(plain: _Plain, allocation: Allocation) -> Iterator[str]:
    certificate = allocation.certificate
    if allocation.status is Status.INFEASIBLE:
        match certificate:
            case Infeasible(learner=None):
                learners = range(plain.count)
                if sum(plain.least) <= plain.d <= sum(plain.upper(k, plain.tau_min) for k in learners):
                    yield "d lies between what the learners must and can take"
            case Infeasible(learner=int(learner)):
                if plain.upper(learner, plain.tau_min) >= plain.least[learner]:
                    yield f"learner {learner + 1} can take its least number of samples"
            case Narrowest():
                yield from _narrowest_faults(plain, certificate)
            case _:
                yield "infeasible without a certificate"
        return
    yield from _allocation_faults(plain, allocation)
    if not isinstance(certificate, Certificate):
        if allocation.status is Status.OPTIMAL:
            yield "optimal without a certificate"
        return
    yield from _narrowest_faults(plain, certificate.narrowest)
    narrowest, staleness, value = certificate.narrowest, allocation.max_staleness, allocation.pair_sum
    if staleness is None or not narrowest.least <= staleness <= narrowest.staleness:
        yield f"the staleness is {staleness}, not {narrowest.least} to {narrowest.staleness}"
    if certificate.average:
        yield from _average_faults(plain, certificate, value or 0)
    if certificate.updates:
        yield from _update_faults(plain, certificate, allocation.updates or 0)


def _allocation_faults(plain: _Plain, allocation: Allocation) -> Iterator[str]:
    if allocation.d is None or allocation.tau is None:
        yield "there is no allocation"
        return
    if allocation.d.shape != (plain.count,) or allocation.tau.shape != (plain.count,):
        yield "the allocation has not one entry for each learner"
        return
    given: list[int] = allocation.d.tolist()
    if sum(given) != plain.d:
        yield f"{sum(given)} samples are given out, not {plain.d}"
    for learner, (samples, updates) in enumerate(zip(given, allocation.tau.tolist(), strict=True)):
        if not plain.least[learner] <= samples <= plain.bound[learner]:
            yield f"learner {learner + 1} is given {samples} samples, outside its bounds"
        if updates < plain.tau_min or not plain.fits(learner, updates, samples):
            yield f"learner {learner + 1} cannot make {updates} updates on {samples} samples"
        elif plain.fits(learner, updates + 1, samples):
            yield f"learner {learner + 1} idles: one more update fits"


def _narrowest_faults(plain: _Plain, claim: Narrowest) -> Iterator[str]:
    learners = range(plain.count)
    above = claim.first + 1
    if claim.short is not None:
        if plain.upper(claim.short, above) >= plain.least[claim.short]:
            yield f"learner {claim.short + 1} can make {above} updates"
    elif sum(plain.upper(learner, above) for learner in learners) >= plain.d:
        yield f"all can make {above} updates"
    if claim.last > claim.first and sum(plain.lower(learner, claim.last - 1) for learner in learners) <= plain.d:
        yield f"all can stay at or under {claim.last - 1} updates"
    for width, blocks, free in (
        (claim.least - 1, claim.narrower, ()),
        (claim.staleness, claim.same, claim.starts),
    ):
        for learner, first, last in blocks:
            if plain.lower(learner, last + width) <= plain.upper(learner, first):
                yield f"learner {learner + 1} has a step in {first} to {last + width}"
        at = max(plain.tau_min, claim.last - width)
        for first, last in sorted([*((first, last) for _, first, last in blocks), *free]):
            if first <= at:
                at = max(at, last + 1)
        if at <= claim.first:
            yield f"nothing stands against the window from {at} to {at + width}"


def _average_faults(plain: _Plain, certificate: Certificate, value: int) -> Iterator[str]:
    staleness = certificate.narrowest.staleness
    least = certificate.narrowest.least
    windows = {bound.first for bound in certificate.average}
    listed = {first for low, high in certificate.narrowest.starts for first in range(low, high + 1)}
    if not windows >= listed and min(bound.pair_sum for bound in certificate.average) > least * (plain.count - 1):
        yield f"the windows that begin at {sorted(listed - windows)} have no bound"
    for bound in certificate.average:
        for t, few, many in bound.cuts:
            if _counts(plain, bound.first, t, bound.first + staleness) != (few, many):
                yield f"in the window from {bound.first} not {few} to {many} learners can stand at {t} or more"
        if bound.pair_sum > bound_of(bound.cuts, bound.first, (least, staleness), plain.count):
            yield f"the cuts of the window from {bound.first} bound the pair sum by less than {bound.pair_sum}"
    if certificate.pair_sum_bound is None or value < certificate.pair_sum_bound:
        yield f"the pair sum {value} is under its own bound"
    elif not certificate.exact and value == certificate.pair_sum_bound:
        yield "the bound is met, so the pair sum is the least"


def _counts(plain: _Plain, low: int, at: int, high: int) -> tuple[int, int]:
    """Give the fewest and the most learners at `at` updates or more that the sums allow, as the certificate has it."""
    most = lowest = forced = 0
    gives, frees = [], []
    for learner in range(plain.count):
        begin, end = plain.lower(learner, high), plain.upper(learner, low)
        middle = min(end, plain.upper(learner, at))
        most += end
        if middle >= end:
            forced += 1
            lowest += begin
        else:
            lowest += max(middle + 1, begin)
            if middle >= begin:
                gives.append(end - middle)
                frees.append(middle + 1 - begin)
    greatest, fewest = forced, forced
    for give in sorted(gives):
        most -= give
        if most < plain.d:
            break
        greatest += 1
    for free in sorted(frees, reverse=True):
        if lowest <= plain.d:
            break
        lowest -= free
        fewest += 1
    return fewest, greatest


def _update_faults(plain: _Plain, certificate: Certificate, value: int) -> Iterator[str]:
    staleness = certificate.narrowest.staleness
    listed = {first for low, high in certificate.narrowest.starts for first in range(low, high + 1)}
    windows = {bound.first for bound in certificate.updates}
    if windows != listed:
        yield f"the windows that begin at {sorted(listed ^ windows)} have no bound"
    for bound in certificate.updates:
        p, q = bound.price
        highest, need, loss = 0, plain.d, 0
        for learner in range(plain.count):
            own = list(plain.steps(learner, bound.first, bound.first + staleness))
            top, room = own[0]
            highest, need = highest + top, need - room
            loss += min(p * (top - updates) - q * (most - room) for updates, most in own)
        least = max(0, -(-(q * need + loss) // p)) if need > 0 else 0  # what stepping down must cost at this price
        if bound.updates < highest - least:
            yield f"at the price {p}/{q} the window from {bound.first} may hold {highest - least} updates"
    if certificate.updates_bound is None or value > certificate.updates_bound:
        yield f"the {value} updates exceed their own bound"
    elif not certificate.exact and value == certificate.updates_bound:
        yield "the bound is met, so the updates are the most"
