"""The least average staleness among the allocations of staleness s at most: equation 13 as the second criterion.

With n_t learners at t updates or more, the sum of |tau_k - tau_l| over all pairs is the sum over t of n_t (K - n_t).
In a window [a, b] the learners at t or more hold L_k(b) to U_k(t) samples, the others U_k(t) + 1 to U_k(a). Sorted by
what a learner gains or gives at the cut, this gives the n_t for which sum U >= d and sum L <= d are each within reach:
an interval, and n (K - n), concave, is least at one of its ends. Hence, with the least staleness s0 of all,

- s0 = 0: 0. s = 1: there is one cut, and every n of the interval can be had, since exchanging two learners across the
  cut moves [sum L, sum U] by no more than its length: exact, O(K log K) for each of at most two windows.
- s >= 2: the sum over t of the lesser end is a lower bound, as is s0 (K - 1). Learners as near as possible to one
  common number of updates (`knapsack.py`) give an upper one. Where they differ, a search over how many learners stand
  on each level, with the sums of samples that they reach as intervals, decides: exact, as long as `WORK_LIMIT` lasts.
  It visits at most C(K + s, s) counts after each learner, those that the bound leaves; the sums make it
  pseudo-polynomial. Beyond the limit the result is the best one known, and the bound is reported with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from learner.allocation.instance import Integers, pair_sum, total
from learner.allocation.knapsack import cheapest
from learner.allocation.reach import Reach
from learner.allocation.steps import Steps, fits, steps
from learner.allocation.windows import Core, fill, least_staleness, starts

WORK_LIMIT = 200_000
"""Intervals of sums that the search may make, about a second."""
SEARCH_LIMIT = 2_000
"""Learners beyond which the search is not begun."""
NEAR_LIMIT = 1_000_000
"""Steps of learners, over all windows and common numbers of updates that are tried; one is tried in any case."""
CUT_LIMIT = 2_000_000
"""Learners times cuts times windows that the bound may look at; it leaves out windows, then cuts beyond."""
CUTS = 256
"""Cuts of a window that the bound may look at, and windows."""


@dataclass(frozen=True, slots=True)
class AverageBound:
    """In the window that begins at `first` no allocation has a smaller pair sum than `pair_sum`.

    `cuts`: for some t the least and the greatest number of learners at t updates or more, with rising t.
    """

    first: int
    pair_sum: int
    cuts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class LeastAverage:
    """Samples, shape (K,), and their pair sum; `exact` if none is less, by the bounds or else by the search."""

    samples: Integers
    pair_sum: int
    bounds: tuple[AverageBound, ...]
    exact: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """A window cut at t: above it `least` to `at` samples, below it `at` + 1 to `most`; arrays of shape (K,)."""

    least: Integers
    at: Integers
    most: Integers
    d: int

    def counts(self) -> tuple[int, int]:
        """Give the least and the greatest number of learners above the cut."""
        free, forced = self._free()
        room = total(self.most) - self.d
        gives = np.sort((self.most - self.at)[free])
        greatest = int(np.searchsorted(_cumulated(gives), room, side="right"))
        lowest = np.where(self.at >= self.most, self.least, np.maximum(self.at + 1, self.least))
        excess = total(lowest) - self.d
        frees = np.sort((self.at + 1 - self.least)[free])[::-1]
        fewest = int(np.searchsorted(_cumulated(frees), excess, side="left")) + 1 if excess > 0 else 0
        return forced + fewest, forced + greatest

    def samples(self, above: int) -> Integers:
        """Give samples with so many learners above the cut; the number must be one that `counts` allows."""
        free, forced = self._free()
        where = np.flatnonzero(free)
        gives, frees = (self.most - self.at)[where], (self.at + 1 - self.least)[where]
        number = above - forced
        up = np.zeros(len(where), dtype=np.bool_)
        up[np.argsort(gives, kind="stable")[:number]] = True  # sum U is greatest, and d at least
        wanted = np.zeros(len(where), dtype=np.bool_)
        wanted[np.argsort(-frees, kind="stable")[:number]] = True  # sum L is least, and d at most
        lower = self._lower(where, up)
        excess = total(lower) - self.d
        if excess > 0:
            leave, enter = np.flatnonzero(up & ~wanted), np.flatnonzero(wanted & ~up)
            needed = int(np.searchsorted(_cumulated(frees[enter] - frees[leave]), excess, side="left")) + 1
            up[leave[:needed]] = False
            up[enter[:needed]] = True
            lower = self._lower(where, up)
        upper = self.most.copy()
        upper[where[up]] = self.at[where[up]]
        return fill(lower, upper, self.d)

    def _free(self) -> tuple[npt.NDArray[np.bool_], int]:
        forced = self.at >= self.most
        return (self.at >= self.least) & ~forced, int(forced.sum())

    def _lower(self, where: Integers, up: npt.NDArray[np.bool_]) -> Integers:
        lower = self.least.copy()
        lower[where[~up]] = self.at[where[~up]] + 1
        return lower


def least_average(reach: Reach, found: Core, staleness: int) -> LeastAverage:
    """Give the least pair sum at a feasible staleness; `bounds` has one for each window of that width looked at."""
    count = len(reach.least)
    least = least_staleness(found)
    ranges = starts(found, staleness)
    if least == 0:
        first = starts(found, 0)[0][0]
        samples = fill(reach.lower(first), reach.upper(first), reach.d)
        return LeastAverage(samples, 0, (AverageBound(first, 0, ()),), exact=True)
    windows = [first for low, high in ranges for first in range(low, high + 1)]
    looked = windows[: min(CUTS, max(1, CUT_LIMIT // count))]
    cuts_each = min(CUTS, max(1, CUT_LIMIT // (count * len(looked))))
    bounds = [_bound(reach, first, (least, staleness), cuts_each) for first in looked]
    if len(looked) < len(windows):
        bounds.append(AverageBound(windows[len(looked)], least * (count - 1), ()))
    order = sorted(range(len(looked)), key=lambda at: bounds[at].pair_sum)
    if staleness == 1:
        window = bounds[order[0]]
        fewest, greatest = window.cuts[0][1:]
        above = min((fewest, greatest), key=lambda number: number * (count - number))
        samples = _cut(reach, window.first, window.first + 1, window.first + 1).samples(above)
        return LeastAverage(samples, window.pair_sum, tuple(bounds), exact=True)
    samples, best, searched = _wide(reach, [bounds[at] for at in order], staleness)
    proved = best <= min(bound.pair_sum for bound in bounds)
    return LeastAverage(samples, best, tuple(bounds), proved or (searched and len(looked) == len(windows)))


def _wide(reach: Reach, windows: list[AverageBound], staleness: int) -> tuple[Integers, int, bool]:
    """Solve windows of staleness 2 and more, by rising bound: samples, pair sum, and whether it is surely least."""
    best: tuple[int, Integers] | None = None
    tries = NEAR_LIMIT
    for window in windows:
        if not fits(reach, window.first, window.first + staleness):
            continue
        table = steps(reach, window.first, window.first + staleness)
        for samples in _near(reach, table):
            value = pair_sum(reach.updates(samples))
            if best is None or value < best[0]:
                best = (value, samples)
            tries -= table.tau.size
            if tries < 0:
                break
        if tries < 0:
            break
    if best is None:  # no table fits: any allocation of this staleness
        low, high = windows[0].first, windows[0].first + staleness
        samples = fill(reach.lower(high), reach.upper(low), reach.d)
        return samples, pair_sum(reach.updates(samples)), False
    work = WORK_LIMIT
    for window in windows:
        if window.pair_sum >= best[0]:
            continue
        if len(reach.least) > SEARCH_LIMIT:
            return best[1], best[0], False
        search = _Search(reach, steps(reach, window.first, window.first + staleness), best[0], work)
        if search.samples is not None:
            best = (search.best, search.samples)
        work = search.work
        if work < 0:
            return best[1], best[0], False
    return best[1], best[0], True


def _bound(reach: Reach, low: int, widths: tuple[int, int], most_cuts: int) -> AverageBound:
    """Bound the pair sum in a window by what is within reach at up to `most_cuts` cuts; `widths` as in `bound_of`."""
    staleness = widths[1]
    count, high = len(reach.least), low + staleness
    possible: Sequence[int] = range(low + 1, high + 1)
    if staleness > most_cuts and count <= SEARCH_LIMIT:  # n_t changes where somebody has a step
        values = np.unique(steps(reach, low, high).tau)
        possible = sorted({*values[1:].tolist(), *(values[:-1] + 1).tolist()})
    number = min(len(possible), most_cuts)
    chosen = [possible[len(possible) * at // number] for at in range(number)]
    cuts = tuple((t, *_cut(reach, low, t, high).counts()) for t in chosen)
    return AverageBound(low, bound_of(cuts, low, widths, count), cuts)


def bound_of(cuts: tuple[tuple[int, int, int], ...], low: int, widths: tuple[int, int], count: int) -> int:
    """Sum the least n (K - n) over all cuts, of which `cuts` holds some: n_t falls with t, so these bind the others.

    `widths`: the least staleness of all, and that of the window, which begins at `low`.
    """
    least_staleness_of_all, staleness = widths
    known = [(low, count, count), *cuts, (low + staleness + 1, 0, 0)]
    least = 0
    for (before, few, many), (after, few_after, _) in pairwise(known):
        if before > low:
            least += min(few * (count - few), many * (count - many))
        least += (after - before - 1) * min(few_after * (count - few_after), many * (count - many))
    return max(least, least_staleness_of_all * (count - 1))


def _cut(reach: Reach, low: int, at: int, high: int) -> _Cut:
    most = reach.upper(low)
    return _Cut(reach.lower(high), np.minimum(most, reach.upper(at)), most, reach.d)


def _near(reach: Reach, table: Steps) -> Iterator[Integers]:
    """Give allocations whose learners stand as near as they can to one number of updates, for some such numbers."""
    rows = np.arange(len(table.tau))
    highest, lowest = int(table.tau[:, 0].max()), int(table.tau[:, -1].min())
    middle = int(np.median(table.tau))
    for centre in dict.fromkeys([middle, *(lowest + (highest - lowest) * part // 8 for part in range(9))]):
        start = np.abs(table.tau - centre).argmin(axis=1)
        column = start
        tau, least, most = (part[rows, start][:, None] for part in (table.tau, table.least, table.most))
        if total(most[:, 0]) < reach.d:
            down = cheapest(
                np.maximum(tau - table.tau, 0), np.maximum(table.most - most, 0), reach.d - total(most[:, 0])
            )
            column = np.maximum(down.column, start)
        elif total(least[:, 0]) > reach.d:
            cost, gain = np.maximum(table.tau - tau, 0)[:, ::-1], np.maximum(least - table.least, 0)[:, ::-1]
            up = cheapest(cost, gain, total(least[:, 0]) - reach.d)
            column = np.minimum(cost.shape[1] - 1 - up.column, start)
        yield fill(table.least[rows, column], table.most[rows, column], reach.d)


class _Search:
    """Search of a window for a pair sum under `best`: `samples` (None if there is none) and what is left of `work`."""

    def __init__(self, reach: Reach, table: Steps, best: int, work: int) -> None:
        """Search, learner by learner, those with the most steps last."""
        self.best, self.work = best, work
        self.samples: Integers | None = None
        self._count = len(table.tau)
        self._d = reach.d
        self._levels = sorted({int(value) for value in table.tau.ravel()})
        self._options = _options(table, self._levels)
        order = sorted(range(self._count), key=lambda learner: len(self._options[learner]))
        self._order = order
        self._run()

    def _run(self) -> None:
        gaps = len(self._levels) - 1
        after = self._after(gaps)
        layers: list[dict[tuple[int, ...], list[tuple[int, int]]]] = [{(0,) * gaps: [(0, 0)]}]
        for position, learner in enumerate(self._order):
            following: dict[tuple[int, ...], list[tuple[int, int]]] = {}
            fixed, may, least, most = after[position + 1]
            refused: set[tuple[int, ...]] = set()
            for counts, sums in layers[-1].items():
                for rank, low, high in self._options[learner]:
                    grown = tuple(number + (gap < rank) for gap, number in enumerate(counts))
                    if grown in refused:
                        continue
                    if grown not in following and self._least(grown, fixed, may) >= self.best:
                        refused.add(grown)
                        continue
                    moved = [
                        (one + low, other + high)
                        for one, other in sums
                        if one + low + least <= self._d <= other + high + most
                    ]
                    self.work -= 1 + len(moved)
                    if moved:
                        following[grown] = _union(following.get(grown, []), moved)
            if self.work < 0:
                return
            layers.append(following)
        reached = {counts: self._least(counts, (0,) * gaps, (0,) * gaps) for counts in layers[-1]}
        if reached:
            counts = min(reached, key=lambda one: reached[one])
            self.best = reached[counts]
            self.samples = self._trace(layers, counts)

    def _after(self, gaps: int) -> list[tuple[tuple[int, ...], tuple[int, ...], int, int]]:
        """From each position on: how many learners must and may stand above each gap, their least and most samples."""
        fixed, may = [0] * gaps, [0] * gaps
        least = most = 0
        found = [(tuple(fixed), tuple(may), least, most)]
        for learner in reversed(self._order):
            own = self._options[learner]
            for gap in range(gaps):
                fixed[gap] += gap < own[-1][0]
                may[gap] += gap < own[0][0]
            least, most = least + own[0][1], most + own[-1][2]
            found.append((tuple(fixed), tuple(may), least, most))
        return found[::-1]

    def _least(self, counts: tuple[int, ...], fixed: tuple[int, ...], may: tuple[int, ...]) -> int:
        """Bound the pair sum from below, given how many stand above each gap already; exact when nobody is left."""
        count, bound = self._count, 0
        for gap, (number, must, can) in enumerate(zip(counts, fixed, may, strict=True)):
            few, many = number + must, number + can
            width = self._levels[gap + 1] - self._levels[gap]
            bound += width * min(few * (count - few), many * (count - many))
        return bound

    def _trace(self, layers: list[dict[tuple[int, ...], list[tuple[int, int]]]], counts: tuple[int, ...]) -> Integers:
        """Walk back from the last layer to an allocation with these counts."""
        samples = np.zeros(self._count, dtype=np.int64)
        left = self._d
        for layer, learner in zip(reversed(layers[:-1]), reversed(self._order), strict=True):
            counts, samples[learner] = self._step_back(layer, learner, counts, left)
            left -= int(samples[learner])
        return samples

    def _step_back(
        self, layer: dict[tuple[int, ...], list[tuple[int, int]]], learner: int, counts: tuple[int, ...], left: int
    ) -> tuple[tuple[int, ...], int]:
        for rank, low, high in self._options[learner]:
            before = tuple(number - (gap < rank) for gap, number in enumerate(counts))
            for one, other in layer.get(before, []):
                if one + low <= left <= other + high:
                    return before, min(high, left - one)
        message = "a state of the search has no predecessor"
        raise AssertionError(message)


def _options(table: Steps, levels: list[int]) -> list[list[tuple[int, int, int]]]:
    """Give each learner's steps, highest first: rank of its updates among `levels`, least and most samples."""
    rank = {value: number for number, value in enumerate(levels)}
    found = []
    for tau, least, most in zip(table.tau.tolist(), table.least.tolist(), table.most.tolist(), strict=True):
        own = [(rank[value], low, high) for value, low, high in zip(tau, least, most, strict=True)]
        found.append(list(dict.fromkeys(own)))
    return found


def _union(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Unite ascending intervals of integers, touching ones merged."""
    united: list[tuple[int, int]] = []
    for low, high in sorted(first + second):
        if united and low <= united[-1][1] + 1:
            if high > united[-1][1]:
                united[-1] = (united[-1][0], high)
        else:
            united.append((low, high))
    return united


def _cumulated(values: Integers) -> npt.NDArray[np.int64]:
    if len(values) and len(values) * int(np.abs(values).max()) >= 1 << 63:
        return np.cumsum(values.astype(object))
    return np.cumsum(values)
