"""What "full time" means for one learner: no further update fits in its time, nor in its energy.

With x samples learner k makes tau_k(x) = floor((T - C0 - C1 x) / (C2 x)) updates, fewer where its energy ends first,
and tau_k falls as x grows. So the samples with which it makes at least a updates are those up to a bound, and those
with which it makes exactly a an interval. In Python's integers, which do not overflow: for the routes whose speed is
not the point.
"""

import numpy as np

from learner.allocation.instance import Instance, Integers


def updates_in_full(instance: Instance, d: Integers) -> Integers:
    """tau_k(d_k), int64, shape (K,), for d_k >= 1; -1 where not even the fixed part and the samples fit."""
    return np.array(
        [_updates(instance, learner, samples) for learner, samples in enumerate(d.tolist())], dtype=np.int64
    )


def most_samples(instance: Instance, updates: int | Integers) -> Integers:
    """Return the most samples, up to d_u, with which each makes at least `updates` (one number or K); int64 (K,).

    Below 1 where there is no such number.
    """
    wanted = np.broadcast_to(np.asarray(updates), (instance.learners,)).tolist()
    return np.array([_most(instance, learner, count) for learner, count in enumerate(wanted)], dtype=np.int64)


def least_samples(instance: Instance, updates: int | Integers) -> Integers:
    """Return the fewest samples, from d_l, with which each makes at most `updates`; int64, shape (K,)."""
    return np.maximum(instance.d_l, most_samples(instance, np.asarray(updates) + 1) + 1)


def _bounds(instance: Instance, learner: int) -> list[tuple[int, int, int]]:
    """Return (what is left, per update and sample, per sample) of time and, where it is bounded, of energy."""
    time, energy = instance.time, instance.energy
    found = [(time.t - int(time.c0[learner]), int(time.c2[learner]), int(time.c1[learner]))]
    if energy is not None:
        left = int(energy.emax[learner]) - int(energy.g0[learner])
        found.append((left, int(energy.g2[learner]), int(energy.g1[learner])))
    return found


def _updates(instance: Instance, learner: int, samples: int) -> int:
    counts = []
    for left, per_update, per_sample in _bounds(instance, learner):
        rest = left - per_sample * samples
        if rest < 0:
            return -1
        if per_update:
            counts.append(rest // (per_update * samples))
    return min(counts)


def _most(instance: Instance, learner: int, updates: int) -> int:
    most = int(instance.d_u[learner])
    for left, per_update, per_sample in _bounds(instance, learner):
        if left < 0:
            return 0
        if cost := per_update * updates + per_sample:
            most = min(most, left // cost)
    return most
