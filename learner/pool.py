"""The references of several edge servers as one: less noise than any of them has, and a liar is left out.

A row is a mean of few gradients, and late in training of few samples that still matter: what it has of chance hides
what an update has of it. Together the servers have several times the samples.

Sums are taken in float64 and are exact. A coordinate is at most isqrt(|g|^2) in magnitude, so that times the weight
2^44 // isqrt(|g|^2) it is an integer of at most 2^44; the sum of up to 512 servers, and every sum on the way to it, is
an integer of at most 2^53, in whatever order they come (an edge set has at most 128), so that a BLAS may add them. A
power of two moves the exponent alone, and `rint` then rounds once what is exact.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from learner.contribution.geometry import cosines, median
from learner.contribution.round import REST, ROOT, Label
from learner.gram import CHUNK_COLUMNS
from learner.products import Integers, grams
from learner.references import References

UNIT_BITS = 44
"""A row is made about 2^44 long before it is added.

Both roundings are of integers. The weight's makes a row of length l shorter, by less than l / 2^44 of itself: 2^-16 for
the longest of int16. The length's makes it longer, by less than 1 / (l - 1) of itself; of three ones most, by 0.73.
"""
WIDEST_BITS = 14
"""The greatest coordinate of a pooled row, as of a reference."""


def pooled(servers: Sequence[References]) -> References | None:
    """Add up the right-label references of each class, and those of all others labelled as it, each as long as any.

    Rows (k, k) and (REST, k) for each class k that both are left of, int16 (of sketches int64) of at most 2^14 in
    magnitude; None if that is no class. A server's row counts if its median cosine with the other servers' is at least
    half of the median server's (at least that itself if it is not positive). Sketches count where most servers, those
    without rows included, have the same, of equal numbers the first's. RULES.md, "decomposed".
    """
    if not servers:
        return None
    sketch = Counter(server.sketch for server in servers).most_common(1)[0][0]
    alike = [server for server in servers if server.sketch == sketch]
    places = [{label: at for at, label in enumerate(server.labels) if server.squared[at]} for server in alike]
    classes = sorted({k for place in places for of, k in place if of == k != ROOT[1]})
    pairs: list[list[Label]] = [[(k, k), (REST, k)] for k in classes]
    published = {
        label: [
            (server.vectors[place[label]], server.squared[place[label]])
            for server, place in zip(alike, places, strict=True)
            if label in place
        ]
        for pair in pairs
        for label in pair
    }
    agreed = agreeing([[row for row, _ in rows] for rows in published.values()])
    counting = {
        label: [rows[at] for at in chosen] for (label, rows), chosen in zip(published.items(), agreed, strict=True)
    }
    table = np.empty((len(counting), alike[0].vectors.shape[1]), dtype=np.int16 if sketch is None else np.int64)
    total = np.empty(table.shape[1])
    labels: list[Label] = []
    for pair in pairs:
        into = table[len(labels) : len(labels) + 2]
        if all(_add_up(counting[label], total, row) for label, row in zip(pair, into, strict=True)):
            labels += pair
    return References(tuple(labels), table[: len(labels)], sketch) if labels else None


def _add_up(rows: Sequence[tuple[Integers, int]], total: NDArray[np.float64], into: Integers) -> bool:
    """Write the sum of rows, given with their squared norms, as directions, rounded, a tie to even; say if it is any.

    Chunk by chunk: all but the sum itself stays in cache, and nothing else grows with the rows' length. `total` is room
    for it, the same for all labels: fresh memory costs more than the sum.
    """
    weights = np.array([(1 << UNIT_BITS) // isqrt(squared) for _, squared in rows], dtype=np.float64)
    widest = 0.0
    chunk = np.empty((len(rows), min(CHUNK_COLUMNS, len(into))))
    for start in range(0, len(into) if rows else 0, CHUNK_COLUMNS):
        part = total[start : start + CHUNK_COLUMNS]
        seen = chunk[:, : len(part)]
        for line, (row, _) in zip(seen, rows, strict=True):
            line[:] = row[start : start + CHUNK_COLUMNS]
        np.matmul(weights, seen, out=part)
        widest = max(widest, part.max(), -part.min())
    if not widest:
        return False
    scale = 0.5 ** max(0, int(widest).bit_length() - WIDEST_BITS)
    for start in range(0, len(into), CHUNK_COLUMNS):
        part = total[start : start + CHUNK_COLUMNS]
        part *= scale
        into[start : start + CHUNK_COLUMNS] = np.rint(part, out=part)
    return True


def agreeing(tables: Sequence[Sequence[Integers]]) -> list[list[int]]:
    """Say of each table which rows count: those that agree with the others half as well as the median row does."""
    # of two nobody knows which one is wrong
    judged = [rows if len(rows) > 2 else () for rows in tables]  # noqa: PLR2004
    pairs = [(of, *pair) for of, rows in enumerate(judged) for pair in combinations(range(len(rows)), 2)]
    products = grams(judged)
    found = cosines(
        [products[of][one][other] for of, one, other in pairs],
        [products[of][one][one] for of, one, _ in pairs],
        [products[of][other][other] for of, _, other in pairs],
    )
    agreement: list[list[list[int]]] = [[[] for _ in rows] for rows in judged]
    for (of, one, other), value in zip(pairs, found.tolist(), strict=True):
        agreement[of][one].append(value)
        agreement[of][other].append(value)
    return [_counting(each) if each else list(range(len(rows))) for each, rows in zip(agreement, tables, strict=True)]


def _counting(agreement: Sequence[Sequence[int]]) -> list[int]:
    """Say which rows count, from each one's cosines with the others."""
    medians = [median(cosines_of_row) for cosines_of_row in agreement]
    typical = median(medians)
    return [at for at, value in enumerate(medians) if value >= min(typical, typical // 2)]
