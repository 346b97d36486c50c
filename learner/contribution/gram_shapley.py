"""Pay by the exact Shapley value of how close a subset's mean comes to a root update, from inner products alone.

The game of a round: v(S) = 2 <mean_S, r> - |mean_S|^2 = |r|^2 - |mean_S - r|^2, v(empty) = 0, where mean_S is the plain
mean of the updates of S. Its Shapley value is

    phi_i = (1/n) sum over s = 0 .. n-1 of the mean, over the subsets S of s others, of v(S with i) - v(S).

The mean over subsets needs only sums. Let N = n - 1, b_j = 2 <u_j, r>, B the sum of all b_j but b_i, X the sum of G_ij
over j != i, D that of G_jj, O that of G_jk over j != k (i in neither). A given other is in S with probability s/N, two
given ones with s(s-1)/(N(N-1)); so for s >= 1 the mean marginal value is

    b_i/(s+1) - B/(N(s+1)) - (G_ii + 2sX/N + E)/(s+1)^2 + E/s^2,    E = sD/N + s(s-1)O/(N(N-1)),

and b_i - G_ii for s = 0. With H = 1 + 1/2 + ... + 1/n, K = 1 + 1/4 + ... + 1/n^2 and H' = H - 1/n, summing over s gives

    n phi_i = H b_i - (H-1)/N B - K G_ii - 2(H-K)/N X + (H'-H+K)/N D + (3H-2K-H'-1)/(N(N-1)) O.

O(n^2) in all where the subsets are 2^n; a test holds it against them. Exact in rationals for any n.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

from learner.contribution.fltrust import root_of
from learner.contribution.geometry import PPB, WHOLE, bound, lower_median
from learner.contribution.round import Round
from learner.contribution.rule import Needs, Scored, Step

NEEDS = Needs(newest_root=True)


def score(scored: Round) -> Scored:
    """theta_i = 10^9 * max(0, phi_i) // max_j phi_j, phi by `values` of the round's updates, cut by `bounds`.

    All 0 if no value is positive or some update has no root update to be held beside. The step takes the cut updates
    with equal weights where theta is positive.
    """
    cut = bounds(scored)
    entries = range(len(cut))
    thetas = relative(values(scored, entries, cut))
    step = Step(tuple(PPB if theta else 0 for theta in thetas), cut)
    return Scored(thetas, step)


def bounds(scored: Round) -> tuple[int, ...]:
    """Give the factors, of 2^30, that cut updates to 3/2 of the round's lower median norm."""
    squared = [int(scored.gram[at, at]) for at in range(len(scored.gram))]
    typical = lower_median(squared)
    return tuple(bound(4 * norm, 9 * typical) for norm in squared)


def values(scored: Round, entries: Sequence[int], cut: Sequence[int]) -> list[int]:
    """Shapley values of the game among `entries` alone, times one positive number; all 0 without root updates.

    <u_i, r> is the median over edge servers of the products with their root updates of the current version, of an even
    number the mean of the two middle ones, exact.
    """
    if not all(any(root_of(server) for server in scored.newest[at]) for at in entries):
        return [0] * len(entries)
    toward = [_doubled_median([dot for server in scored.newest[at] for dot, _ in root_of(server)]) for at in entries]
    rows = scored.gram.tolist()
    factors = [cut[at] for at in entries]
    return shapley(
        [dot * k * WHOLE for dot, k in zip(toward, factors, strict=True)],
        [
            [rows[at][other] * k * factor for other, factor in zip(entries, factors, strict=True)]
            for at, k in zip(entries, factors, strict=True)
        ],
    )


def shapley(doubled: Sequence[int], gram: Sequence[Sequence[int]]) -> list[int]:
    """Give n phi_i times the common denominator of its coefficients, from b_i = 2 <u_i, r> and the Gram matrix."""
    count = len(doubled)
    if count == 0:
        return []
    others, pairs = max(count - 1, 1), max((count - 1) * (count - 2), 1)
    harmonic = sum((Fraction(1, s) for s in range(1, count + 1)), Fraction())
    squares = sum((Fraction(1, s * s) for s in range(1, count + 1)), Fraction())
    shorter = harmonic - Fraction(1, count)
    coefficients = (
        harmonic,
        -(harmonic - 1) / others,
        -squares,
        -2 * (harmonic - squares) / others,
        (shorter - harmonic + squares) / others if count > 1 else Fraction(),
        (3 * harmonic - 2 * squares - shorter - 1) / pairs,
    )
    scale = lcm(*(coefficient.denominator for coefficient in coefficients))
    own_b, other_b, own, cross, trace, rest = (int(coefficient * scale) for coefficient in coefficients)
    all_b = sum(doubled)
    sums = [sum(row) for row in gram]
    whole, diagonal = sum(sums), sum(row[at] for at, row in enumerate(gram))
    found = []
    for at, b in enumerate(doubled):
        squared = gram[at][at]
        toward = sums[at] - squared
        between = whole - 2 * sums[at] + squared - (diagonal - squared)
        found.append(
            own_b * b
            + other_b * (all_b - b)
            + own * squared
            + cross * toward
            + trace * (diagonal - squared)
            + rest * between
        )
    return found


def relative(found: Sequence[int]) -> tuple[int, ...]:
    """Give the positive values in ppb of the greatest, rounded down, and 0 for the others."""
    most = max(found, default=0)
    return tuple(PPB * value // most if value > 0 else 0 for value in found)


def _doubled_median(values: Sequence[int]) -> int:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]
