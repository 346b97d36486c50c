"""Each rule once more, from the vectors themselves: floats and fractions, no Gram matrix, nothing of `learner`.

What a rule decides exactly (who is accepted) is exact here, too; what it weighs is a float that ours is held beside.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import factorial, inf

import numpy as np

Vectors = Sequence[Sequence[int]]
ROOT = (-1, -1)
REST = -2


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0


def cut(vectors: np.ndarray, limit: float) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * np.minimum(1, limit / np.maximum(norms, 1e-30))


def lower_middle(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def leave_one_out(updates: Vectors) -> list[float]:
    matrix = np.array(updates, dtype=float)
    bounded = cut(matrix, lower_middle(np.linalg.norm(matrix, axis=1).tolist()))
    return [max(0.0, cosine(row, np.delete(bounded, at, axis=0).sum(axis=0))) for at, row in enumerate(matrix)]


def multi_krum(updates: Vectors) -> list[bool]:
    count = len(updates)
    malicious = (count + 3) // 4
    scores = []
    for at, own in enumerate(updates):
        distances = sorted(
            sum((x - y) ** 2 for x, y in zip(own, other, strict=True))
            for index, other in enumerate(updates)
            if index != at
        )
        scores.append(sum(distances[: max(1, count - malicious - 2)]))
    last = sorted(scores)[: max(1, count - malicious)][-1]
    return [value <= last for value in scores]


def trimmed_mean(updates: Vectors) -> list[Fraction]:
    count, dimension = len(updates), len(updates[0])
    trimmed = min((count + 3) // 4, (count - 1) // 2)
    kept = [0] * count
    for column in zip(*updates, strict=True):
        staying = sorted(column)[trimmed : count - trimmed]
        for at, value in enumerate(column):
            kept[at] += staying[0] <= value <= staying[-1]
    return [Fraction(value, dimension) for value in kept]


def geometric_median(updates: Vectors) -> list[float]:
    matrix = np.array(updates, dtype=float)
    weights = np.ones(len(matrix))
    for _ in range(8):
        middle = weights @ matrix / weights.sum()
        distances = np.linalg.norm(matrix - middle, axis=1)
        weights = 1 / np.maximum(distances, max(distances.max() / 10**6, 2**-30))
    return [float(weight) for weight in weights / weights.max()]


def dbscan(updates: Vectors) -> list[bool]:
    """Who is density-connected with the sum: by transitive closure over core points."""
    points = [*updates, [sum(column) for column in zip(*updates, strict=True)]]
    count = len(points)

    def near(a: Sequence[int], b: Sequence[int]) -> bool:
        together = dot(a, b)
        return together > 0 and 4 * together * together >= dot(a, a) * dot(b, b)

    close = [[near(a, b) for b in points] for a in points]
    core = [sum(row) >= min(3, count) for row in close]
    linked = [[core[a] and core[b] and close[a][b] for b in range(count)] for a in range(count)]
    for middle in range(count):
        for a in range(count):
            for b in range(count):
                linked[a][b] = linked[a][b] or (linked[a][middle] and linked[middle][b])
    return [
        any(close[at][a] and linked[a][b] and close[b][count - 1] for a in range(count) for b in range(count))
        for at in range(count - 1)
    ]


def fltrust(updates: Vectors, roots: Sequence[Vectors]) -> list[float]:
    """`roots[i]`: the root updates of each server at entry i's base."""
    return [
        max(0.0, float(np.median([cosine(np.array(update, float), np.array(root, float)) for root in servers])))
        for update, servers in zip(updates, roots, strict=True)
    ]


def cgsv(rounds: Sequence[tuple[Sequence[int], Vectors]]) -> list[float]:
    """Reputations of the last round's entries after all rounds of (clients, updates)."""
    reputation: dict[int, float] = {}
    found: list[float] = []
    for clients, updates in rounds:
        matrix = np.array(updates, dtype=float)
        unit = cut(matrix * 1e12, 1.0)
        whole = unit.sum(axis=0)
        found = []
        for client, row in zip(clients, unit, strict=True):
            now = cosine(row, whole)
            reputation[client] = 0.95 * reputation[client] + 0.05 * now if client in reputation else now
            found.append(max(0.0, reputation[client]))
    return found


def foolsgold(clients: Sequence[int], sums: Mapping[int, Sequence[int]]) -> list[float]:
    vectors = [np.array(sums[client], dtype=float) for client in clients]
    count = len(clients)
    like = np.array(
        [
            [0.0 if clients[a] == clients[b] else cosine(vectors[a], vectors[b]) for b in range(count)]
            for a in range(count)
        ]
    )
    most = np.maximum(like.max(axis=1), 0)
    for a in range(count):
        for b in range(count):
            if most[a] < most[b]:
                like[a, b] *= most[a] / most[b]
    weights = 1 - np.clip(like.max(axis=1), 0, 1)
    if weights.max() == 0:
        return [0.0] * count
    weights /= weights.max()
    with np.errstate(divide="ignore"):
        return [float(value) for value in np.clip(np.log(weights / np.maximum(1 - weights, 1e-300)) + 0.5, 0, 1)]


def shapley(updates: Sequence[Sequence[Fraction]], root: Sequence[Fraction]) -> list[Fraction]:
    """Exact values of v(S) = |r|^2 - |mean_S - r|^2, v(empty) = 0, over all subsets, from the vectors."""
    count = len(updates)

    def value(chosen: tuple[int, ...]) -> Fraction:
        if not chosen:
            return Fraction()
        mean = [sum((updates[at][c] for at in chosen), Fraction()) / len(chosen) for c in range(len(root))]
        return sum((r * r - (m - r) ** 2 for m, r in zip(mean, root, strict=True)), Fraction())

    found = []
    for at in range(count):
        others = [other for other in range(count) if other != at]
        total = Fraction()
        for size in range(count):
            weight = Fraction(factorial(size) * factorial(count - size - 1), factorial(count))
            for chosen in combinations(others, size):
                total += weight * (value((*chosen, at)) - value(chosen))
        found.append(total)
    return found


def judged(
    update: np.ndarray, tables: Sequence[Mapping[tuple[int, int], Sequence[int]]], window: np.ndarray
) -> tuple[float, float, float]:
    """Authenticity, label honesty and novelty of one update, by the formulas of the rule `anchored`."""
    explained = np.zeros_like(update)
    if len(window):
        like = (window @ update) ** 2 / np.maximum((window**2).sum(axis=1), 1e-30)
        close = window[np.argsort(-like, kind="stable")[:3]]
        solution, *_ = np.linalg.lstsq(close.T, update, rcond=None)
        explained = close.T @ solution
    q, m, n = [], [], []
    for table in tables:
        cosines = {label: cosine(update, np.array(row, float)) for label, row in table.items() if label[0] >= 0}
        right = {label: value for label, value in cosines.items() if label[0] == label[1]}
        wrong = [value for label, value in cosines.items() if label[0] != label[1]]
        q.append(max(right.values()) + min(right.values()))
        m.append(max(right.values()) - max(wrong, default=inf))
        norm = float(np.linalg.norm(update)) or 1.0
        left = [
            float((update - explained) @ np.array(table[label], float)) / norm / float(np.linalg.norm(table[label]))
            for label in right
        ]
        n.append(max(left) / max(*right.values(), 0.05))
    return float(np.median(q)), float(np.median(m)), float(np.median(n))


def right_share(update: np.ndarray, tables: Sequence[Mapping[tuple[int, int], Sequence[int]]]) -> float:
    """Of what explains an update, the share of right labels: least squares on (k, k) and (REST, k), class by class."""
    own = update / (np.linalg.norm(update) or 1.0)
    right = wrong = 0.0
    for of, k in tables[0]:
        if of != REST:
            continue
        triples = []
        for table in tables:
            a, b = (np.array(table[label], float) / np.linalg.norm(table[label]) for label in ((k, k), (REST, k)))
            triples.append((own @ a, own @ b, a @ b))
        r, w, c = np.median(triples, axis=0)
        solution = np.linalg.solve([[1, c], [c, 1]], [r, w])
        right += max(r, w, 0) * max(0.0, float(solution[0]))
        wrong += max(r, w, 0) * max(0.0, float(solution[1]))
    return right / (right + wrong) if right + wrong else 0.0


def price(
    update: np.ndarray, tables: Sequence[Mapping[tuple[int, int], Sequence[int]]], weights: Sequence[float]
) -> float:
    """What the classes that an update teaches weigh, each by its positive cosine; the median over the tables."""
    found = []
    for table in tables:
        taught = {of: cosine(update, np.array(row, float)) for (of, k), row in table.items() if of == k and of >= 0}
        positive = {of: value for of, value in taught.items() if value >= 1e-9}
        if positive:
            found.append(sum(weights[of] * value for of, value in positive.items()) / sum(positive.values()))
    return float(np.median(found)) if found else 0.0
