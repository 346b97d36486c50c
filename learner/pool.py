"""The references of several edge servers as one: less noise than any of them has, and a liar is left out.

A row is a mean of few gradients, and late in training of few samples that still matter: what it has of chance hides
what an update has of it. Together the servers have several times the samples.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from learner.contribution.geometry import cosine, median
from learner.contribution.round import REST, Label
from learner.products import Integers, dots
from learner.references import References

UNIT_BITS = 44
"""A row is made 2^44 long before it is added: 64 servers' sum is exact in float64, and lengths to 2^27 to 2^-17."""
WIDEST_BITS = 14
"""The greatest coordinate of a pooled row, as of a reference."""


def pooled(servers: Sequence[References]) -> References | None:
    """Add up the right-label references of each class, and those of all others labelled as it, each as long as any.

    Rows (k, k) and (REST, k) for each class k that both are left of; None if that is no class. A server's row counts if
    its median cosine with the other servers' is at least half of the median server's (at least that itself if it is not
    positive). Sketches count where most servers have the same, of equal numbers the first's. RULES.md, "decomposed".
    """
    if not servers:
        return None
    sketch = Counter(server.sketch for server in servers).most_common(1)[0][0]
    alike = [server for server in servers if server.sketch == sketch]
    places = [{label: at for at, label in enumerate(server.labels) if server.squared[at]} for server in alike]
    classes = sorted({k for place in places for of, k in place if of == k})
    labels: list[Label] = []
    rows: list[NDArray[np.float64]] = []
    for k in classes:
        pair = [_sum(alike, places, label) for label in ((k, k), (REST, k))]
        if all(row is not None and row.any() for row in pair):
            labels += [(k, k), (REST, k)]
            rows += [row for row in pair if row is not None]
    if not labels:
        return None
    return References(tuple(labels), np.stack(rows).astype(np.int16 if sketch is None else np.int64), sketch)


def _sum(servers: Sequence[References], places: Sequence[dict[Label, int]], label: Label) -> NDArray[np.float64] | None:
    """Add up the rows of a label that agree, as directions; rounded, a tie to even. None if there is none."""
    rows: list[Integers] = []
    squared: list[int] = []
    for server, place in zip(servers, places, strict=True):
        if label in place:
            rows.append(server.vectors[place[label]])
            squared.append(server.squared[place[label]])
    chosen = agreeing(rows, squared)
    if not chosen:
        return None
    total = np.zeros(len(rows[0]))
    for at in chosen:
        total += rows[at].astype(np.float64) * ((1 << UNIT_BITS) // isqrt(squared[at]))
    widest = int(np.abs(total).max())
    return np.rint(np.ldexp(total, min(0, WIDEST_BITS - widest.bit_length())))


def agreeing(rows: Sequence[Integers], squared: Sequence[int]) -> list[int]:
    """Say which servers' rows count: those that agree with the others half as well as the median server's does."""
    if len(rows) < 3:  # noqa: PLR2004 - of two nobody knows which one is wrong
        return list(range(len(rows)))
    pairs = list(combinations(range(len(rows)), 2))
    between = dots([rows[a] for a, _ in pairs], [rows[b] for _, b in pairs])
    seen: list[list[int]] = [[] for _ in rows]
    for (a, b), product in zip(pairs, between, strict=True):
        value = cosine(product, squared[a], squared[b])
        seen[a].append(value)
        seen[b].append(value)
    agreement = [median(values) for values in seen]
    typical = median(agreement)
    return [at for at, value in enumerate(agreement) if value >= min(typical, typical // 2)]
