"""FAIR-BFL's contribution: whoever is not in one DBSCAN cluster with the aggregate is discarded (arXiv 2206.12899).

DBSCAN: Ester and others, KDD 1996, on cosine distances. FAIR-BFL leaves the radius open; with data in label shards
there is often no honest cluster.
"""

from learner.contribution.geometry import PPB, cosine
from learner.contribution.round import Round

LIKE = PPB // 2
"""Neighbours have at least this cosine: a radius of 1/2 in cosine distance."""
CORE = 3
"""A core point has so many neighbours, itself included; at most all points."""


def score(scored: Round) -> tuple[int, ...]:
    """theta_i = cos(u_i, g) in ppb where u_i is density-connected with g, the plain sum of the updates; else 0.

    The points are u_1 to u_n and g. A point is a core point if at least min(3, n + 1) points, itself included, have a
    cosine of at least 1/2 with it. u_i and g are connected if a chain of core points, each a neighbour of the one
    before, leads from a neighbour of u_i (or u_i) to a neighbour of g (or g). A zero vector has no neighbours.
    """
    rows: list[list[int]] = scored.gram.tolist()
    dots = [sum(row) for row in rows]
    points = [[*row, dot] for row, dot in zip(rows, dots, strict=True)] + [[*dots, sum(dots)]]
    count = len(points)
    near = [
        {at for at, dot in enumerate(row) if cosine(dot, row[own], points[at][at]) >= LIKE}
        for own, row in enumerate(points)
    ]
    for at in range(count):
        if points[at][at]:
            near[at].add(at)  # its own cosine, which two roundings might hide
    core = {at for at in range(count) if len(near[at]) >= min(CORE, count)}
    whole = count - 1
    reached = core & near[whole]
    frontier = set(reached)
    while frontier:
        frontier = {other for at in frontier for other in near[at] & core} - reached
        reached |= frontier
    return tuple(
        max(0, cosine(dots[at], rows[at][at], points[whole][whole])) if near[at] & reached else 0 for at in range(whole)
    )
