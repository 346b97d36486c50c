"""Novelty: the part of an update's usefulness that the nearest earlier public vectors do not explain."""

from collections.abc import Iterable, Sequence
from operator import mul

from learner.contribution.anchored.labels import Classes
from learner.contribution.geometry import PPB, cosine, median
from learner.contribution.round import Comparison, Neighbours

LEAST_COSINE = PPB // 20
"""Where the best cosine is lower, the new part is held beside this instead."""


def novelty(neighbours: Neighbours, servers: Sequence[Comparison], right: Sequence[Classes]) -> int:
    """Give n: the median over servers of max_c <u', g[c,c]> / (|u| |g[c,c]|) over max(max_c a[c,c], 0.05), in ppb.

    `right` is the entry's of `right_cosines`. u' = u less its orthogonal projection on its neighbours; exact, because
    <u', g> is a rational of inner products.
    0 if no server has a right-label reference. Honest updates 0.06 and more, copies below 0.01.
    """
    coefficients, scale = projection(neighbours)
    found = []
    for server, classes in zip(servers, right, strict=True):
        if not classes:
            continue
        rows = [
            (scale * dot, squared)
            for (of, labelled), dot, squared in zip(server.labels, server.products, server.squared, strict=True)
            if of >= 0 and of == labelled
        ]
        if server.explained:
            rows = [
                (dot - sum(map(mul, coefficients, line)), squared)
                for (dot, squared), line in zip(rows, zip(*server.explained, strict=True), strict=True)
            ]
        dot, squared = _nearest(rows)
        # both u' and |u| are taken times `scale`
        new = cosine(dot, scale * scale * server.own_squared, squared)
        found.append(PPB * new // max(LEAST_COSINE, *(value for _, value in classes)))
    return median(found) if found else 0


def _nearest(rows: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Give <v, g> and |g|^2 of the row g, of those that are not zero, whose cosine with v is the greatest."""
    best, best_signed, best_squared = 0, 0, 0
    for dot, squared in rows:
        signed = dot * abs(dot)
        if squared and (not best_squared or signed * best_squared > best_signed * squared):
            best, best_signed, best_squared = dot, signed, squared
    return best, best_squared


def projection(neighbours: Neighbours) -> tuple[list[int], int]:
    """Coefficients a_j and a scale s > 0 such that sum_j (a_j / s) x_j is the projection of u on the neighbours' span.

    A neighbour that depends linearly on those before it gets 0. The normal equations are solved by elimination without
    fractions (Bareiss, "Sylvester's identity and multistep integer-preserving Gaussian elimination", 1968): all numbers
    are minors, s that of the neighbours that are kept. It needs no pivoting: minors of a Gram matrix are positive, or
    the neighbours depend on each other.
    """
    rows = [[*line, product] for line, product in zip(neighbours.gram, neighbours.products, strict=True)]
    kept: list[int] = []
    scale = 1
    for at, own in enumerate(rows):
        pivot = own[at]
        if pivot == 0:
            continue
        for other, row in enumerate(rows):
            if other != at:
                factor = row[at]
                rows[other] = [(pivot * value - factor * mine) // scale for value, mine in zip(row, own, strict=True)]
        kept.append(at)
        scale = pivot
    return [rows[at][-1] if at in kept else 0 for at in range(len(rows))], scale
