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

from learner.allocation.full_time import least_samples, most_samples, updates_in_full
from learner.allocation.instance import Allocation, Instance, Integers, Status, pair_sum
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


def relax(instance: Instance) -> Relaxation | None:
    """Solve the relaxed problem; None if its bounds leave no room for d (then the whole one has no solution either)."""
    low, high = float(instance.tau_min), float(instance.tau_min + 1)
    floor, ceiling = instance.d_l.astype(np.float64), instance.d_u.astype(np.float64)

    def samples(tau: float) -> Reals:
        return np.clip(_samples(instance, tau), floor, ceiling)

    if (_samples(instance, low) < floor).any() or not floor.sum() <= instance.d <= samples(low).sum():
        return None
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

    Feasible without any claim that nothing better exists; infeasible with a reason when the relaxed problem is, or when
    its roundings are.
    """
    found = relax(instance)
    if found is None:
        return Allocation(Status.INFEASIBLE, reason="even with real numbers the bounds leave no room for all samples")
    suggested = rounded(instance, found.d)
    if suggested.d is None or suggested.tau is None:
        return suggested
    tau = _improve(instance, suggested.tau)
    d = sharing(suggested.d.astype(np.float64), least_samples(instance, tau), most_samples(instance, tau), instance.d)
    return Allocation(Status.FEASIBLE, d, tau)


def rounded(instance: Instance, d: Reals) -> Allocation:
    """Round real samples (float64, shape (K,)) to whole ones that sum to d, each with the updates of its full time."""
    least, most = instance.d_l, most_samples(instance, instance.tau_min)
    if (most < least).any() or not int(least.sum()) <= instance.d <= int(most.sum()):
        return Allocation(
            Status.INFEASIBLE, reason=f"whole samples that all can train {instance.tau_min} times do not sum to d"
        )
    whole = sharing(d, least, most, instance.d)
    return Allocation(Status.FEASIBLE, whole, updates_in_full(instance, whole))


def _improve(instance: Instance, tau: Integers) -> Integers:
    """Take the most updates down by one, or the fewest up, as long as samples can be dealt for that (int64, (K,))."""
    while True:
        top, bottom = int(tau.max()), int(tau.min())
        tries = (np.minimum(tau, top - 1), np.maximum(tau, bottom + 1), np.clip(tau, bottom + 1, top - 1))
        singles = [_moved(tau, learner, by) for learner, by in _extremes(tau)]
        better = [one for one in (*tries, *singles) if _stale(one) < _stale(tau) and _can_be_dealt(instance, one)]
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


def _can_be_dealt(instance: Instance, tau: Integers) -> bool:
    """Whether samples exist with which everyone's full time is `tau`."""
    least, most = least_samples(instance, tau), most_samples(instance, tau)
    return (
        int(tau.min()) >= instance.tau_min
        and bool((least <= most).all())
        and int(least.sum()) <= instance.d <= int(most.sum())
    )


def _samples(instance: Instance, tau: float) -> Reals:
    """D_k(tau): real samples with which `tau` real updates fill the time, or the energy if that ends first."""
    time, energy = instance.time, instance.energy
    found: Reals = (time.t - time.c0) / (time.c2 * tau + time.c1)
    if energy is None:
        return found
    costs = energy.g2 * tau + energy.g1
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.where(costs > 0, (energy.emax - energy.g0) / costs, np.where(energy.emax >= energy.g0, np.inf, 0.0))
    return np.minimum(found, bound)


def _updates(instance: Instance, d: Reals) -> Reals:
    """Real updates that fill the time, or the energy, with `d` real samples."""
    time, energy = instance.time, instance.energy
    found: Reals = (time.t - time.c0 - time.c1 * d) / (time.c2 * d)
    if energy is None:
        return found
    costs = energy.g2 * d
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.where(costs > 0, (energy.emax - energy.g0 - energy.g1 * d) / costs, np.inf)
    return np.minimum(found, bound)
