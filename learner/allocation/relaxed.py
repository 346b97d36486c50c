"""The paper's own route: relax the integers, solve by the KKT conditions, suggest whole numbers, improve them.

arXiv 1905.01656 drops that tau_k and d_k are whole. Its Lagrangian then leaves, with D_k(tau) = (T - C0_k) /
(C2_k tau + C1_k) samples for tau updates in full time (or the same of energy, where that is less):
- stationarity and complementary slackness: every learner between its bounds d_l and d_u makes the same tau*; one at a
  bound makes what its time allows there, more than tau* at d_u, fewer at d_l. So d_k = D_k(tau*) cut to its bounds.
- primal feasibility: these d_k sum to d. The sum falls in tau*, which bisection therefore finds.
No window [a, b] of real updates is narrower: whoever is held at d_u makes its updates whatever the others do, so does
whoever is held at d_l, and a window above or below tau* leaves samples over or takes too many.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.allocation.instance import Allocation, Instance, Integers, Status, pair_sum, total
from learner.allocation.reach import Reach, Shortage, reach
from learner.allocation.rounding import sharing

Reals = NDArray[np.float64]
_HALVINGS = 200
"""More than enough: a float64 has 53 bits, and bisection ends as soon as its middle is one of its ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """The optimum over real numbers: the common `tau`, and samples `d` and updates `updates` of each, float64 (K,)."""

    tau: float
    d: Reals
    updates: Reals

    @property
    def staleness(self) -> float:
        """Greatest |tau_k - tau_l|, 0 where no bound of samples is in the way."""
        return float(self.updates.max() - self.updates.min())


def relax(instance: Instance) -> Relaxation:
    """Solve the relaxed problem of an instance that `learner.allocation.reach.reach` finds nothing against."""
    low, high = float(instance.tau_min), float(instance.tau_min + 1)
    floor, ceiling = instance.d_l.astype(np.float64), instance.d_u.astype(np.float64)

    def samples(tau: float) -> Reals:
        return np.clip(_samples(instance, tau), floor, ceiling)

    while samples(high).sum() > instance.d:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if samples(middle).sum() > instance.d else (low, middle)
    d = samples(low)
    return Relaxation(low, d, _updates(instance, d))


def suggest_and_improve(instance: Instance) -> Allocation:
    """Round the relaxed optimum to whole samples, then move the stalest towards the others while that can be done.

    Feasible without any claim that nothing better exists, or infeasible with the learner and the bound in `reason`.
    """
    found = reach(instance)
    if isinstance(found, Shortage):
        return Allocation(Status.INFEASIBLE, reason=found.reason)
    suggested = relax(instance).d
    d = sharing(suggested, found.least, found.most, found.d)
    tau = _improve(found, found.updates(d))
    return Allocation(Status.FEASIBLE, sharing(suggested, *_interval(found, tau), found.d), tau)


def _improve(found: Reach, tau: Integers) -> Integers:
    """Take the most updates down by one, or the fewest up, as long as samples can be dealt for that (int64, (K,))."""
    while True:
        top, bottom = int(tau.max()), int(tau.min())
        tries = (np.minimum(tau, top - 1), np.maximum(tau, bottom + 1), np.clip(tau, bottom + 1, top - 1))
        singles = [_moved(tau, learner, by) for learner, by in _extremes(tau)]
        better = [one for one in (*tries, *singles) if _stale(one) < _stale(tau) and _can_be_dealt(found, one)]
        if top == bottom or not better:
            return tau
        tau = min(better, key=_stale)


def _extremes(tau: Integers) -> list[tuple[int, int]]:
    """(learner, step) for everyone with the most or the fewest updates."""
    top, bottom = tau.max(), tau.min()
    return [(k, -1) for k in np.flatnonzero(tau == top).tolist()] + [
        (k, 1) for k in np.flatnonzero(tau == bottom).tolist()
    ]


def _moved(tau: Integers, learner: int, by: int) -> Integers:
    moved = tau.copy()
    moved[learner] += by
    return moved


def _stale(tau: Integers) -> tuple[int, int]:
    return int(tau.max() - tau.min()), pair_sum(tau)


def _can_be_dealt(found: Reach, tau: Integers) -> bool:
    """Whether samples exist with which everyone's full time is `tau`."""
    if int(tau.min()) < found.tau_min:
        return False
    least, most = _interval(found, tau)
    return bool((least <= most).all()) and total(least) <= found.d <= total(most)


def _interval(found: Reach, tau: Integers) -> tuple[Integers, Integers]:
    """Return the fewest and the most samples with which each makes its `tau`; int64, shape (K,) each."""
    least, most = np.empty_like(tau), np.empty_like(tau)
    for updates in np.unique(tau).tolist():
        here = tau == updates
        least[here], most[here] = found.lower(updates)[here], found.upper(updates)[here]
    return least, most


def _samples(instance: Instance, tau: float) -> Reals:
    """D_k(tau): real samples with which `tau` real updates fill the time, or the energy if that ends first."""
    found = [_end(rest, per_update * tau + per_sample) for rest, per_sample, per_update in _limits(instance)]
    return np.minimum(found[0], found[-1])


def _updates(instance: Instance, d: Reals) -> Reals:
    """Real updates that fill the time, or the energy, with `d` real samples."""
    found = [_end(rest - per_sample * d, per_update * d) for rest, per_sample, per_update in _limits(instance)]
    return np.minimum(found[0], found[-1])


def _limits(instance: Instance) -> list[tuple[Reals, Reals, Reals]]:
    """Return (what is left, per sample, per update and sample) of time and, where it is bounded, of energy."""
    time, energy = instance.time, instance.energy
    limits = [(time.t - time.c0, time.c1, time.c2)]
    if energy is not None:
        limits.append((energy.emax - energy.g0, energy.g1, energy.g2))
    return [
        (rest.astype(float), per_sample.astype(float), per_update.astype(float))
        for rest, per_sample, per_update in limits
    ]


def _end(rest: Reals, costs: Reals) -> Reals:
    """Divide; what costs nothing never ends."""
    return np.divide(rest, costs, out=np.full_like(rest, np.inf), where=costs > 0)
