"""The windows [a, b] of updates in which an allocation exists, and the narrowest of them, exactly.

A window is feasible iff L_k(b) <= U_k(a) for every learner and sum L(b) <= d <= sum U(a). With

    A = the greatest a with U_k(a) >= d_l for all k and sum U(a) >= d,
    B = the least b with sum L(b) <= d,

every feasible window holds [A, B]: a <= A, b >= B, and A <= B (for b < A, L_k(b) > dmax_k(A) >= U_k(A), so the sum is
over d). A learner with a step of its staircase in [A, B] asks for nothing more. Another one steps over [A, B]: `below`
is its step nearest to A from below, `above` its step nearest to B from above, and a window must have a <= below or
b >= above. Sorted by `below`, one pass gives the least b - a. The search for A and B takes a few sums over K learners,
since the sum is nearly a hyperbola (never more than O(log T) of them); the pass O(K log K), if all learners have gaps.

"Full time" means that no further update fits. With t_k = T read as equality of integers it is already weakly NP-hard to
say whether any allocation exists: learner k with C1 = 1, C2 = w_k, T - C0 = 1 + w_k, d_l = 1 and d_u = 1 + w_k meets T
with x = 1 + w_k (no update) and x = 1 (one) only, so that K + sum(w) / 2 samples can be dealt out iff the numbers w_k
split into two halves of equal sum (PARTITION).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from learner.allocation.instance import Integers, total
from learner.allocation.reach import Reach

NOWHERE = -1
"""`below` of a learner that has no step below A."""


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """[A, B] and the learners that step over it, by falling `below`; arrays of one length, `learner` from 0."""

    first: int
    last: int
    tau_min: int
    learner: Integers
    below: Integers
    above: Integers


def core(reach: Reach) -> Core:
    """Find what every feasible window holds."""
    tops = reach.updates(reach.least)
    first = _last_with(reach.sum_upper, reach.tau_min, int(tops.min()), reach.d)  # beyond it some U_k is under d_l
    last = first
    if reach.sum_lower(first) > reach.d:
        last = 1 + _last_with(reach.sum_lower, first, int(tops.max()), reach.d + 1)
    upper = reach.upper(first)
    above = reach.updates(upper)
    stepping = np.flatnonzero(above > last)
    if not len(stepping):
        return Core(first, last, reach.tau_min, stepping, stepping, stepping)
    further = upper < reach.most
    below = np.where(further, reach.updates(np.where(further, upper + 1, upper)), NOWHERE)
    order = stepping[np.argsort(-below[stepping], kind="stable")]
    return Core(first, last, reach.tau_min, order, below[order], above[order])


def least_staleness(found: Core) -> int:
    """Give the least b - a of a feasible window."""
    if not len(found.learner):
        return found.last - found.first
    must = np.maximum(np.maximum.accumulate(found.above[::-1])[::-1], found.last)  # b, if those from here on go up
    best = int(must[0]) - found.first  # nobody goes down
    ends = np.append(must[1:], found.last)  # b, if those up to here go down
    tied = np.append(found.below[1:] == found.below[:-1], [False])  # of equal steps the last one counts
    down = (found.below != NOWHERE) & ~tied
    return min(best, int((ends[down] - found.below[down]).min())) if down.any() else best


def starts(found: Core, staleness: int) -> list[tuple[int, int]]:
    """Give the a of all feasible windows [a, a + staleness]: ranges from lowest to highest, both ends included."""
    low, high = max(found.tau_min, found.last - staleness), found.first
    if low > high:
        return []
    if not len(found.learner):
        return [(low, high)]
    begin = np.maximum(found.below + 1, low)
    end = np.minimum(found.above - staleness - 1, high)
    blocked = np.flatnonzero(begin <= end)
    order = blocked[np.argsort(begin[blocked], kind="stable")]
    reached = np.maximum.accumulate(np.append([low - 1], end[order]))
    following = np.append(begin[order], [high + 1])
    free = np.flatnonzero(following > reached + 1)
    return [(int(reached[at]) + 1, int(following[at]) - 1) for at in free]


def blockers(found: Core, staleness: int, free: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Give learners that refuse the windows [a, a + staleness] which hold [A, B] and are not `free`, that is, `starts`.

    Each as (learner, first, last): it has no step in any of the windows with first <= a <= last. Few of them suffice,
    from the highest a down.
    """
    low, at = max(found.tau_min, found.last - staleness), found.first
    free = free.copy()
    end = found.above - staleness - 1
    cover: list[tuple[int, int, int]] = []
    while at >= low:
        if free and free[-1][0] <= at <= free[-1][1]:
            at = free.pop()[0] - 1
            continue
        holding = (found.below < at) & (end >= at)
        best = int(np.where(holding, found.below, at).argmin())
        cover.append((int(found.learner[best]), max(low, int(found.below[best]) + 1), int(end[best])))
        at = int(found.below[best])
    return cover


def fill(lower: Integers, upper: Integers, d: int) -> Integers:
    """Choose lower_k <= x_k <= upper_k that sum to d, the first learners full; needs sum lower <= d <= sum upper."""
    missing = d - total(lower)
    room = np.minimum(upper - lower, missing)
    if len(room) * missing < 1 << 63:
        before = np.cumsum(room) - room
        added: Integers = np.clip(missing - before, 0, room)
        return lower + added
    filled = lower.copy()
    for learner in range(len(lower)):
        step = min(int(room[learner]), missing)
        filled[learner] += step
        missing -= step
    return filled


def _last_with(measure: Callable[[int], int], low: int, high: int, target: int) -> int:
    """Find the last a in low..high with measure(a) >= target; measure falls, and measure(low) >= target is known.

    Between two known points a sum of hyperbolas is nearly one: guess by a hyperbola through them, halve now and then.
    """
    at_high = measure(high)
    if at_high >= target:
        return high
    at_low = measure(low)
    step = 0
    while high - low > 1:
        step += 1
        if step % 4 == 0:
            guess = (low + high) // 2
        else:
            share = max(at_high, 1) * (at_low - target)
            guess = low + (high - low) * share // (target * max(at_low - at_high, 1))
        guess = min(max(guess, low + 1), high - 1)
        value = measure(guess)
        if value >= target:
            low, at_low = guess, value
        else:
            high, at_high = guess, value
    return low
