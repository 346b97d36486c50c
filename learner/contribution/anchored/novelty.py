"""Novelty: the part of an update's usefulness that the nearest earlier public vectors do not explain."""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

from learner.contribution.anchored.labels import right_cosines
from learner.contribution.geometry import PPB, cosine, median
from learner.contribution.round import Comparison, Neighbours

LEAST_COSINE = PPB // 20
"""Where the best cosine is lower, the new part is held beside this instead."""


def novelty(neighbours: Neighbours, servers: Sequence[Comparison]) -> int:
    """Give n: the median over servers of max_c <u', g[c,c]> / (|u| |g[c,c]|) over max(max_c a[c,c], 0.05), in ppb.

    u' = u less its orthogonal projection on its neighbours; exact, because <u', g> is a rational of inner products.
    0 if no server has a right-label reference. Honest updates 0.06 and more, copies below 0.01.
    """
    coefficients, scale = projection(neighbours)
    found = []
    for server in servers:
        best = max(right_cosines(server), default=None)
        if best is None:
            continue
        right = [
            (dot, squared)
            for (of, labelled), dot, squared in zip(server.labels, server.products, server.squared, strict=True)
            if of >= 0 and of == labelled
        ]
        new = max(
            # both u' and |u| are taken times `scale`
            cosine(
                scale * dot - sum(a * line[row] for a, line in zip(coefficients, server.explained, strict=True)),
                scale * scale * server.own_squared,
                squared,
            )
            for row, (dot, squared) in enumerate(right)
            if squared
        )
        found.append(PPB * new // max(best, LEAST_COSINE))
    return median(found) if found else 0


def projection(neighbours: Neighbours) -> tuple[list[int], int]:
    """Coefficients a_j and a scale s > 0 such that sum_j (a_j / s) x_j is the projection of u on the neighbours' span.

    A neighbour that depends linearly on those before it gets 0.
    """
    kept: list[int] = []
    solution: list[Fraction] = []
    for at in range(len(neighbours.products)):
        found = _solve([*kept, at], neighbours)
        if found is not None:
            kept.append(at)
            solution = found
    scale = lcm(*(value.denominator for value in solution))
    coefficients = [0] * len(neighbours.products)
    for at, value in zip(kept, solution, strict=True):
        coefficients[at] = int(value * scale)
    return coefficients, scale


def _solve(kept: Sequence[int], neighbours: Neighbours) -> list[Fraction] | None:
    """Solve the normal equations of the kept neighbours exactly; None if they are dependent.

    Gaussian elimination needs no pivoting: the matrix is positive definite, or the neighbours depend on each other.
    """
    rows = [
        [*(Fraction(neighbours.gram[at][other]) for other in kept), Fraction(neighbours.products[at])] for at in kept
    ]
    for at, row in enumerate(rows):
        if row[at] == 0:
            return None
        rows[at] = [value / row[at] for value in row]
        for other in range(len(rows)):
            if other != at:
                factor = rows[other][at]
                rows[other] = [value - factor * own for value, own in zip(rows[other], rows[at], strict=True)]
    return [row[-1] for row in rows]
