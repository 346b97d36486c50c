"""The least total cost at which a choice per learner gains enough: a multiple-choice knapsack with small costs.

Learner k takes column j of its row, at cost[k, j] for gain[k, j]; column 0 costs and gains nothing, costs rise along a
row. With S the greatest cost, K learners and m columns:

1. Lagrange. At a price of p/q per unit of cost each learner takes the column with the greatest q gain - p cost. The
   price is the slope of the step on the learners' concave hulls with which the sum of gains passes `need`. Of those to
   whom the price leaves a choice, as many as necessary step up; all but the last step are taken by `base`, of cost W.
   The price proves that nothing under W + ceil(q (need - gain of base) / p) will do. O(K m log (K m)).
2. Proximity. If the last step is longer than that, an optimum of total cost W + delta, 1 <= delta < S, differs from
   `base` in less than 2 S learners: ordered so that the running sum of their changes stays within 1 - S .. S, a sum
   that comes twice would enclose changes of sum 0, and undoing those loses nothing, since `base` is best at the price.
   So of all that change their cost by the same amount only the 2 S with the least loss matter, and a dynamic program
   over (candidate, running sum) finds the optimum: O(S^5) at most, whatever K is. With S = 1 it is never needed: the
   plain greedy choice is exact.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from learner.allocation.instance import LIMIT, Integers, total

WORK_LIMIT = 3 * 10**8
"""Entries of the dynamic program's table; beyond them the choice of step 1 stands, with the bound that it has."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A column for each learner, shape (K,), its total cost, and a cost under which nothing gains enough.

    `price` p/q proves `bound`; where `searched`, the dynamic program shows that `cost` is the least all the same.
    """

    column: Integers
    cost: int
    bound: int
    price: tuple[int, int]
    searched: bool = False

    @property
    def exact(self) -> bool:
        """Whether `cost` is the least."""
        return self.searched or self.cost == self.bound


def cheapest(cost: Integers, gain: Integers, need: int) -> Choice:
    """Choose columns of `cost` and `gain` (K, m) whose gains sum to `need` at least, at the least total cost.

    Needs gains in the last columns that suffice. Exact within `WORK_LIMIT`, else `Choice.bound` says how near it is.
    """
    rows = np.arange(len(cost))
    if need <= 0:
        return Choice(np.zeros_like(rows), 0, 0, (1, 1))
    if int(gain.max()) * int(cost.max()) >= LIMIT:
        cost, gain = cost.astype(object), gain.astype(object)  # Python integers: slow, and never too small
    low, high, price = _at_price(cost, gain, need)
    p, q = price
    stepping = np.flatnonzero(low != high)
    rises = gain[stepping, high[stepping]] - gain[stepping, low[stepping]]
    stepping = stepping[np.argsort(-rises, kind="stable")]
    rises = np.cumsum(np.sort(rises)[::-1])
    before = _sum(gain[rows, low])
    taken = int(np.searchsorted(rises, need - before))  # so many step up, and then one more
    base = low.copy()
    base[stepping[:taken]] = high[stepping[:taken]]
    missing = need - before - (int(rises[taken - 1]) if taken else 0)
    weight = _sum(cost[rows, base])
    last = stepping[taken]
    longest = int(cost[last, high[last]] - cost[last, base[last]])
    least = -(-q * missing // p)
    if least < longest:
        bearable = [(delta, p * delta - q * missing) for delta in range(least, longest)]
        found, searched = _nearby(cost, gain, base, price, bearable)
        if found is not None:
            return Choice(found, _sum(cost[rows, found]), weight + least, price, searched)
    else:
        searched = False
    base[last] = high[last]
    return Choice(base, weight + longest, weight + least, price, searched)


def _at_price(cost: Integers, gain: Integers, need: int) -> tuple[Integers, Integers, tuple[int, int]]:
    """Find the price at which `need` is passed, and each learner's cheapest and dearest best column there."""
    rises, lengths = _hull(cost, gain)
    order = np.argsort(-(rises / lengths).astype(np.float64), kind="stable")
    at = int(order[np.searchsorted(np.cumsum(rises[order]), need)])
    rows = np.arange(len(cost))
    while True:  # floats order the slopes, which may misplace nearly equal ones: go on to the right one
        p, q = int(rises[at]), int(lengths[at])
        value = gain * q - cost * p
        low = value.argmax(axis=1)
        high = value.shape[1] - 1 - value[:, ::-1].argmax(axis=1)
        if _sum(gain[rows, low]) >= need:
            at = _next(rises, lengths, at, 1)
        elif _sum(gain[rows, high]) < need:
            at = _next(rises, lengths, at, -1)
        else:
            return low, high, (p, q)


def _next(rises: Integers, lengths: Integers, at: int, sign: int) -> int:
    """Find the slope nearest to that of `at` among the greater (`sign` 1) or lesser (-1) ones, in integers."""
    left = np.flatnonzero(sign * (rises * lengths[at] - rises[at] * lengths) > 0)
    nearest = left[0]
    while True:
        nearer = left[sign * (rises[left] * lengths[nearest] - rises[nearest] * lengths[left]) < 0]
        if not len(nearer):
            return int(nearest)
        left, nearest = nearer, nearer[len(nearer) // 2]


def _hull(cost: Integers, gain: Integers) -> tuple[Integers, Integers]:
    """Give rise and length of all steps on the learners' upper concave hulls."""
    rises, lengths = [], []
    rows = np.flatnonzero(cost[:, -1] > cost[:, 0])
    at = np.zeros(len(rows), dtype=np.int64)
    while len(rows):
        length = cost[rows] - cost[rows, at][:, None]
        rise = gain[rows] - gain[rows, at][:, None]
        slope = np.where(length > 0, rise / np.maximum(length, 1), -1.0).astype(np.float64)
        at = slope.shape[1] - 1 - slope[:, ::-1].argmax(axis=1)
        every = np.arange(len(rows))
        rises.append(rise[every, at])
        lengths.append(length[every, at])
        more = cost[rows, -1] > cost[rows, at]
        rows, at = rows[more], at[more]
    return np.concatenate(rises), np.concatenate(lengths)


def _nearby(
    cost: Integers, gain: Integers, base: Integers, price: tuple[int, int], bearable: list[tuple[int, int]]
) -> tuple[Integers | None, bool]:
    """Change the cost of `base` by the first delta that can be, each with the loss that it can bear.

    None if there is no such change; False if that is not known, because the search would take too long.
    """
    p, q = price
    rows = np.arange(len(cost))
    widest = 2 * int(cost.max())
    change = cost - cost[rows, base][:, None]
    loss = p * change - q * (gain - gain[rows, base][:, None])
    fresh = np.diff(cost, axis=1, prepend=-1) > 0  # no repeated column
    learners, columns = np.nonzero((change != 0) & (loss <= bearable[-1][1]) & fresh)
    changes, losses = change[learners, columns], loss[learners, columns]
    kept: list[npt.NDArray[np.int64]] = []
    for amount in np.unique(changes):
        same = np.flatnonzero(changes == amount)
        kept.append(same[np.argsort(losses[same], kind="stable")[:widest]])
    keep = sorted(
        (int(learners[at]), int(columns[at]), int(changes[at]), int(losses[at])) for same in kept for at in same
    )
    span = min(sum(abs(amount) for _, _, amount, _ in keep), widest * widest // 2)
    if len(keep) * (2 * span + 1) > WORK_LIMIT:
        return None, False
    picked = _program(keep, span, bearable)
    if picked is None:
        return None, True
    found = base.copy()
    for learner, column in picked:
        found[learner] = column
    return found, True


def _program(
    options: list[tuple[int, int, int, int]], span: int, wanted: list[tuple[int, int]]
) -> list[tuple[int, int]] | None:
    """Pick at most one option per learner so that changes sum to the first (delta, loss at most) that can be met."""
    beyond = max(bearable for _, bearable in wanted) + 1
    kind: type = np.int64 if beyond < LIMIT else object
    best: npt.NDArray[np.int64] = np.full(2 * span + 1, beyond, dtype=kind)
    best[span] = 0
    starts = [at for at in range(len(options)) if at == 0 or options[at][0] != options[at - 1][0]]
    history: list[tuple[list[tuple[int, int, int, int]], npt.NDArray[np.int32]]] = []
    for begin, end in pairwise([*starts, len(options)]):
        own = options[begin:end]
        following, picks = best.copy(), np.full(2 * span + 1, -1, dtype=np.int32)
        for number, (_, _, amount, loss) in enumerate(own):
            source = best[max(0, -amount) : len(best) - max(0, amount)]
            target = slice(max(0, amount), len(best) - max(0, -amount))
            better = source + loss < following[target]
            following[target] = np.where(better, source + loss, following[target])
            picks[target] = np.where(better, number, picks[target])
        history.append((own, picks))
        best = following
    for delta, bearable in wanted:
        if delta <= span and best[span + delta] <= bearable:
            return _trace(history, span + delta)
    return None


def _trace(
    history: list[tuple[list[tuple[int, int, int, int]], npt.NDArray[np.int32]]], at: int
) -> list[tuple[int, int]]:
    picked = []
    for own, picks in reversed(history):
        if picks[at] >= 0:
            learner, column, amount, _ = own[int(picks[at])]
            picked.append((learner, column))
            at -= amount
    return picked


def _sum(values: Integers) -> int:
    return total(values) if values.dtype == np.int64 else int(values.sum())
