"""How many updates fit with how many samples, and the other way round: the two staircases that every solver climbs.

A learner works its full time: tau_k(x) = floor((T - C0 - C1 x) / (C2 x)) updates on x samples, no further one fits.
Energy caps it likewise: floor((Emax - G0 - G1 x) / (G2 x)). Both fall as x grows, so their minimum does, and the x with
a <= tau_k(x) <= b are the integers from L_k(b) to U_k(a):

    dmax_k(a) = min(floor((T - C0) / (C1 + a C2)), floor((Emax - G0) / (G1 + a G2)))  the most x with tau_k(x) >= a
    U_k(a) = min(d_u, dmax_k(a))             L_k(b) = max(d_l, dmax_k(b + 1) + 1)

All of it is integer arithmetic, over arrays of shape (K,).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learner.allocation.instance import LIMIT, Instance, Integers, total

_EXACT_FLOAT = 1 << 53
"""Below it, rest + denominator, the floor of a rounded float64 quotient is the exact one, several times as fast: a
quotient just under an integer n is n - 1/denominator or less, further from n than rounding reaches."""


@dataclass(frozen=True, slots=True, eq=False)
class Shortage:
    """Why no allocation exists, in one line. `learner` counts from 0; None where all learners together fall short."""

    learner: int | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class _Limit:
    """per_update tau x + per_sample x <= rest, of time or of energy; arrays of shape (K,), rest >= 0.

    `floats` and `largest`: the same and their greatest values, no floats if these are too great; `never_free`: whether
    every learner pays for a sample, and whether it does for an update.
    """

    rest: Integers
    per_sample: Integers
    per_update: Integers
    floats: tuple[npt.NDArray[np.float64], ...]
    largest: tuple[int, int, int]
    never_free: tuple[bool, bool]

    @classmethod
    def of(cls, rest: Integers, per_sample: Integers, per_update: Integers) -> "_Limit":
        parts = (rest, per_sample, per_update)
        rest_most, sample_most, update_most = (int(part.max()) for part in parts)
        sample_least, update_least = int(per_sample.min()), int(per_update.min())
        small = rest_most + sample_most + update_most < _EXACT_FLOAT
        floats = tuple(part.astype(np.float64) for part in parts) if small else ()
        return cls(*parts, floats, (rest_most, sample_most, update_most), (sample_least > 0, update_least > 0))

    def samples(self, updates: int | Integers) -> Integers:
        """Give the most x for which `updates` (>= 0, for all or for each) fit; LIMIT where there is no end."""
        rest_most, sample_most, update_most = self.largest
        fewest, greatest = (updates, updates) if isinstance(updates, int) else (int(updates.min()), int(updates.max()))
        costs = self.never_free[0] or (fewest > 0 and self.never_free[1])
        if self.floats and costs and rest_most + sample_most + greatest * update_most < _EXACT_FLOAT:
            rest, per_sample, per_update = self.floats
            divisor = per_update * updates
            divisor += per_sample
            np.divide(rest, divisor, out=divisor)
            return divisor.astype(np.int64)
        enough = self.rest // np.maximum(self.per_update, 1) + 1  # more updates than this fit no sample at all
        denominator = self.per_sample + self.per_update * np.minimum(enough, updates if greatest < LIMIT else LIMIT)
        return np.where(denominator == 0, LIMIT, self.rest // np.maximum(denominator, 1))

    def updates(self, samples: Integers) -> Integers:
        """Give the most updates that fit with `samples` (>= 1, within `samples(0)`); LIMIT where there is no end."""
        rest = self.rest - self.per_sample * samples
        if self.never_free[1]:
            return rest // self.per_update // samples
        return np.where(self.per_update == 0, LIMIT, rest // np.maximum(self.per_update, 1) // samples)


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """The staircases of an instance whose every learner can do something; `least` and `most` samples, shape (K,).

    `sums_fit`: whether any of their `upper` or `lower` sums up in int64.
    """

    limits: tuple[_Limit, ...]
    least: Integers
    most: Integers
    d: int
    tau_min: int
    sums_fit: bool

    def updates(self, samples: Integers) -> Integers:
        """tau_k(x_k), shape (K,), for 1 <= x_k <= `most`."""
        found = self.limits[0].updates(samples)
        for limit in self.limits[1:]:
            found = np.minimum(found, limit.updates(samples))
        return found

    def upper(self, updates: int | Integers) -> Integers:
        """U_k: the most samples with which `updates` fit, within the bounds; may lie under `least`."""
        found = self.most
        for limit in self.limits:
            found = np.minimum(found, limit.samples(updates))
        return found

    def lower(self, updates: int) -> Integers:
        """L_k: the fewest samples with which no more than `updates` fit, within the bounds; may lie over `most`."""
        return np.maximum(self.least, self.upper(updates + 1) + 1)

    def sum_upper(self, updates: int) -> int:
        """Sum of U_k."""
        return self._sum(self.upper(updates))

    def sum_lower(self, updates: int) -> int:
        """Sum of L_k."""
        return self._sum(self.lower(updates))

    def _sum(self, samples: Integers) -> int:
        return int(samples.sum()) if self.sums_fit else total(samples)


def reach(instance: Instance) -> Reach | Shortage:
    """Prepare the staircases, or say which learner and which bound stand against every allocation."""
    time, energy, count = instance.time, instance.energy, instance.learners

    def first(wrong: npt.NDArray[np.bool_], text: str) -> Shortage:
        learner = int(wrong.argmax())
        values = {name: int(array[learner]) for name, array in arrays.items()}
        return Shortage(learner, f"learner {learner + 1} of {count}: {text.format(**values, T=time.t)}")

    arrays = {"C0": time.c0, "d_l": instance.d_l, "d_u": instance.d_u}
    if (late := time.c0 >= time.t).any():
        return first(late, "its fixed time C0 = {C0} leaves nothing of T = {T}")
    limits = [_Limit.of(time.t - time.c0, time.c1, time.c2)]
    if energy is not None:
        arrays |= {"G0": energy.g0, "Emax": energy.emax}
        if (spent := energy.g0 > energy.emax).any():
            return first(spent, "its fixed energy G0 = {G0} exceeds Emax = {Emax}")
        limits.append(_Limit.of(energy.emax - energy.g0, energy.g1, energy.g2))
    if (crossed := instance.d_l > instance.d_u).any():
        return first(crossed, "d_l = {d_l} exceeds d_u = {d_u}")
    most = instance.d_u
    for limit, bound in zip(limits, ("T = {T}", "Emax = {Emax}"), strict=False):
        arrays["fits"] = limit.samples(instance.tau_min)
        if (small := arrays["fits"] < instance.d_l).any():
            text = f"with {instance.tau_min} updates only {{fits}} samples fit into {bound}, fewer than d_l = {{d_l}}"
            return first(small, text)
        most = np.minimum(most, arrays["fits"])
    if (fewest := total(instance.d_l)) > instance.d:
        return Shortage(None, f"d = {instance.d} cannot be reached: the lower bounds d_l sum to {fewest}")
    if (greatest := total(most)) < instance.d:
        capped = int((most < instance.d_u).sum())
        text = f"d = {instance.d} cannot be reached: all learners together take {greatest} samples"
        why = f"{capped} of {count} held by T or Emax below d_u" if capped else "the sum of the upper bounds d_u"
        return Shortage(None, f"{text}, {why}")
    sums_fit = count * (int(instance.d_u.max()) + 1) < 1 << 63  # `upper` is at most d_u, `lower` at most one more
    return Reach(tuple(limits), instance.d_l, most, instance.d, instance.tau_min, sums_fit)
