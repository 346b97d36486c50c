"""Pay by the Shapley value of what a subset's mean takes from the loss on root samples, from inner products alone.

Of a sample of class c let p_k be the probability that the model gives label k, and d_k the change of log p_k to first
order in a step m of the model. Where logits are linear in m (always to first order, exactly for softmax regression),

    loss(m) - loss = -d_c + log(1 + sum over k of p_k (e^d_k - 1 - d_k)),    since the sum of p_k d_k is 0.

That needs every sample. The rows (k,k) and (REST,k) of `Slope`s give the mean of d_k over class k's samples, own_k, and
over all others', rest_k, with the mean p_k there. With log(1 + y) <= y, means in the place of samples, and without the
terms of k = c, whose bound would turn what is learnt of a class into a loss, the mean over the C classes falls by

    v(m) = sum over k of own_k(m) - (C - 1) p_k f(rest_k(m)),    f(x) = e^x - 1 - x,

times 1/C. The game of a round is v(S) = v(mean of the updates of S), v(empty) = 0: what a subset teaches of each class
less what it unteaches of the others, which a mean of few clients with few labels does much and the mean of all does
little. A quadratic in the place of f has a closed form for any number of updates, but not the ranks of a loss
(ADR-loss-shapley.md). Each class counts alike, whatever the root samples hold of it.
"""

from collections.abc import Sequence
from math import factorial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learner.contribution.geometry import PPB, WHOLE, clip, lower_median, median
from learner.contribution.gram_shapley import bounds, relative, shapley
from learner.contribution.round import REST, Comparison, Label, Round
from learner.contribution.rule import Needs, Scored, Step

NEEDS = Needs(contrasts=True, slopes=True)
MOST_EXACT = 12
"""All subsets of so many updates are evaluated; of more, f(x) is x^2 / 2, which has a closed form."""
MOST_NATS = 1_000 * PPB
MOST_RISE = 8 * PPB
"""A label's probability that grows e^8 times counts as grown by that."""
LEAST_RISE = -40 * PPB
LN2 = 693_147_181
TERMS = 12
PPM = 10**6


class Slopes(NamedTuple):
    """What n updates do to each of C classes, in ppb: int64[n, C] own and rest, and p_k, ppb[C]."""

    own: NDArray[np.int64]
    rest: NDArray[np.int64]
    probabilities: tuple[int, ...]


def score(scored: Round) -> Scored:
    """theta_i = 10^9 * max(0, phi_i) // max_j phi_j, phi by `values` of all updates, cut by `gram_shapley.bounds`.

    All 0 if no value is positive or some update cannot be judged. The step takes the cut updates with equal weights.
    """
    cut = bounds(scored)
    thetas = relative(values(scored, range(len(cut)), cut))
    return Scored(thetas, Step((PPB,) * len(cut), cut))


def values(scored: Round, entries: Sequence[int], cut: Sequence[int]) -> list[int]:
    """Shapley values of the game among `entries` alone, times one positive number; all 0 if one cannot be judged."""
    found = slopes(scored, entries, cut)
    if found is None:
        return [0] * len(entries)
    return exact(found) if len(entries) <= MOST_EXACT else second_order(found)


def slopes(scored: Round, entries: Sequence[int], cut: Sequence[int]) -> Slopes | None:
    """Put together what servers say of each entry, cut by its factor of 2^30, about the classes known of all of them.

    Of each update and class the median over the servers with both rows; p_k is the lower median over the entries, which
    may have different base versions. None if there is no such class.
    """
    told = [_classes(scored.comparisons[at]) for at in entries]
    classes = sorted(set.intersection(*map(set, told))) if told else []
    if not classes:
        return None
    own, rest = (
        np.array(
            [
                [clip(one[k][what] * cut[at] // WHOLE, -MOST_NATS, MOST_NATS) for k in classes]
                for at, one in zip(entries, told, strict=True)
            ],
            dtype=np.int64,
        )
        for what in (0, 1)
    )
    return Slopes(own, rest, tuple(lower_median([one[k][2] for one in told]) for k in classes))


def exact(found: Slopes) -> list[int]:
    """Give n! phi_i over all subsets, v in ppb with the mean over a subset rounded down."""
    count, classes = found.own.shape
    members = (np.arange(1, 2**count)[:, None] >> np.arange(count) & 1).astype(np.int64)
    sizes = members.sum(axis=1)
    own, rest = (members @ part // sizes[:, None] for part in (found.own, found.rest))
    weights = np.array(found.probabilities, dtype=np.int64) // (PPB // PPM)
    worth = own.sum(axis=1) - (classes - 1) * (weights * _convex(rest) // PPM).sum(axis=1)
    values = []
    for at in range(count):
        inside = members[:, at] == 1
        total = 0
        for size in range(1, count + 1):
            of_size = sizes == size
            total += factorial(size - 1) * factorial(count - size) * sum(worth[of_size & inside].tolist())
            if size < count:
                total -= factorial(size) * factorial(count - size - 1) * sum(worth[of_size & ~inside].tolist())
        values.append(total)
    return values


def second_order(found: Slopes) -> list[int]:
    """Give the values of 2 sum of own_k - (C - 1) sum of p_k rest_k^2, times one positive number, for any n."""
    own, rest = found.own.tolist(), found.rest.tolist()
    others = len(found.probabilities) - 1
    return shapley(
        [2 * PPB * PPB * sum(line) for line in own],
        [
            [
                others * sum(p * x * y for p, x, y in zip(found.probabilities, line, other, strict=True))
                for other in rest
            ]
            for line in rest
        ],
    )


def exponential(nats: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give e^x in ppb for x in ppb, from -40 to 8 nats, in whole numbers: 2^k times 12 terms of e^r, 0 <= r < ln 2."""
    doublings, left = np.divmod(nats, LN2)
    found = np.full_like(nats, PPB)
    for term in range(TERMS, 0, -1):
        found = PPB + left * found // (term * PPB)
    return np.where(doublings >= 0, found << np.maximum(doublings, 0), found >> np.maximum(-doublings, 0))


def _convex(nats: NDArray[np.int64]) -> NDArray[np.int64]:
    """f(x) in ppb, x cut to what `exponential` can do."""
    within = np.clip(nats, LEAST_RISE, MOST_RISE)
    return exponential(within) - PPB - within


def _classes(servers: Sequence[Comparison]) -> dict[int, tuple[int, int, int]]:
    """Give own_k, rest_k and p_k, medians over the servers with both rows, of each class that a server has both of."""
    told: dict[int, list[tuple[int, int, int]]] = {}
    for server in servers:
        rows: dict[Label, int] = {label: at for at, label in enumerate(server.labels)} if server.slopes else {}
        for (of, k), rest in rows.items():
            own = rows.get((k, k))
            if of == REST and own is not None and server.squared[own] and server.squared[rest]:
                told.setdefault(k, []).append(
                    (_nats(server, own), _nats(server, rest), server.slopes[rest].probability)
                )
    return {
        k: (median(own), median(rest), median(p))
        for k, all_of in told.items()
        for own, rest, p in [zip(*all_of, strict=True)]
    }


def _nats(server: Comparison, row: int) -> int:
    """Give products[row] / 2^bits in ppb, rounded down."""
    bits = server.slopes[row].bits
    nats = PPB * server.products[row]
    return nats >> bits if bits >= 0 else nats << -bits
