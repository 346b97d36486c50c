"""Each rule once more, from the vectors themselves: floats and fractions, no Gram matrix, nothing of `learner`.

What a rule decides exactly (who is accepted) is exact here, too; what it weighs is a float that ours is held beside.
Of `decomposed` every number is exact: it is written from RULES.md alone.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import shake_256
from itertools import combinations
from math import factorial, inf, isqrt
from typing import NamedTuple

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


def floor_cosine(product: int | Fraction, a: int, b: int) -> int:
    """cos(x; a, b) in ppb, cut towards 0."""
    if not a or not b:
        return 0
    size = isqrt(Fraction(10**18 * product * product, a * b).__floor__())
    return size if product >= 0 else -size


def middle(values: Sequence[int]) -> int:
    """The median; of an even number the sum of the two middle ones // 2."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) // 2


class Plain(NamedTuple):
    """One server's references: rows by label, of whole vectors or, with a seed and a number of buckets, of sketches.

    `bits`, by label: a row over 2 to that power is the gradient; None where the server does not say.
    """

    rows: Mapping[tuple[int, int], Sequence[int]]
    sketch: tuple[bytes, int] | None = None
    bits: Mapping[tuple[int, int], int] | None = None


def sketched(vector: Sequence[int], sketch: tuple[bytes, int] | None) -> list[int]:
    """The vector itself where nobody sketches; at most 65,536 coordinates otherwise."""
    if sketch is None:
        return list(vector)
    seed, buckets = sketch
    stream = shake_256(b"merit/sketch/1" + bytes(4) + seed).digest(4 * len(vector))
    found = [0] * buckets
    for at, value in enumerate(vector):
        word = int.from_bytes(stream[4 * at : 4 * at + 4], "little")
        found[word % buckets] += -value if word >> 31 else value
    return found


def published(
    rows: Mapping[tuple[int, int], Sequence[int]],
    sketch: tuple[bytes, int] | None,
    bits: Mapping[tuple[int, int], int] | None = None,
) -> Plain:
    """What a server with these whole rows publishes, without the zero rows, which are none."""
    vectors = {label: sketched(row, sketch) for label, row in rows.items()}
    return Plain({label: row for label, row in vectors.items() if any(row)}, sketch, bits)


def pooled_row(rows: Sequence[Sequence[int]]) -> list[int]:
    """All servers' rows of one label as one, none of them zero."""
    norms = [dot(row, row) for row in rows]
    counting = list(range(len(rows)))
    if len(rows) >= 3:
        agreements = [
            middle([floor_cosine(dot(row, rows[at]), norms[of], norms[at]) for at in counting if at != of])
            for of, row in enumerate(rows)
        ]
        least = min(middle(agreements), middle(agreements) // 2)
        counting = [at for at in counting if agreements[at] >= least]
    whole = [sum(2**44 // isqrt(norms[at]) * rows[at][c] for at in counting) for c in range(len(rows[0]))]
    scale = 1
    while max(map(abs, whole)) >= 2**14 * scale:
        scale *= 2
    return [round(Fraction(value, scale)) for value in whole]  # a tie to the even integer


def pooled(servers: Sequence[Plain]) -> tuple[tuple[bytes, int] | None, dict[tuple[int, int], list[int]]]:
    """The sketch and the rows of the pool, class by class, (k, k) before (REST, k); no rows: nothing to judge by."""
    kinds = [server.sketch for server in servers]
    kind = max(kinds, key=kinds.count, default=None)  # the first of equally many
    rows: dict[tuple[int, int], list[int]] = {}
    for k in sorted({k for server in servers for of, k in server.rows if of == k and k >= 0}):
        pair = []
        for label in ((k, k), (REST, k)):
            theirs = [server.rows[label] for server in servers if server.sketch == kind and label in server.rows]
            pair.append(pooled_row(theirs) if theirs else [])
        if all(any(row) for row in pair):
            rows[k, k], rows[REST, k] = pair
    return kind, rows


def descent(cosines: Sequence[int], like: Sequence[Sequence[int]]) -> list[int]:
    """Non-negative ridge regression by coordinate descent; all in units of 10^-8, and so is the result."""
    size = len(cosines)
    h = [[like[a][b] if a != b else 10**8 + 10**5 for b in range(size)] for a in range(size)]
    x, y = [0] * size, [-(10**8) * value for value in cosines]
    for _ in range(64):
        for j in range(size):
            t = max(0, x[j] - y[j] // h[j][j])
            for other in range(size):
                y[other] += (t - x[j]) * h[j][other]
            x[j] = t
    return x


class Parts(NamedTuple):
    """(part, whole) of explained, honesty and consistency, and by class how much of its right label there is."""

    shares: list[tuple[int, int]]
    right: dict[int, int]
    like_all: int


def taken_apart(update: Sequence[int], servers: Sequence[Plain]) -> Parts | None:
    """None without a pool."""
    kind, rows = pooled(servers)
    if not rows:
        return None
    own = sketched(update, kind)
    size, vectors = len(rows), list(rows.values())
    squares = [dot(row, row) for row in vectors]
    like = [
        [floor_cosine(dot(a, b), squares[i], squares[j]) // 10 for j, b in enumerate(vectors)]
        for i, a in enumerate(vectors)
    ]
    p = [floor_cosine(dot(own, row), dot(own, own), square) // 10 for row, square in zip(vectors, squares, strict=True)]
    x = descent(p, like)
    # a pair's rows lie beside each other: j ^ 1 is the other row of the class of j
    apart = [isqrt(10**16 - min(10**8, abs(like[j][j ^ 1])) ** 2) for j in range(size)]
    everything, right = range(size), range(0, size, 2)

    def honesty(over: range) -> int:
        return sum(x[j] * max(0, p[j]) * apart[j] for j in over) // 10**16

    def consistency(over: range) -> int:
        return sum(x[j] * apart[j] for j in over) // 10**8

    shares = [
        (10 * isqrt(max(0, sum(x[j] * p[j] for j in right))), 10**9),
        (honesty(right), honesty(everything)),
        (consistency(right), consistency(everything)),
    ]
    labels = list(rows)
    length = sum(like[i][j] for i in right for j in right)
    like_all = min(10**9, 10**9 * sum(p[j] for j in right) // isqrt(10**8 * length)) if length > 0 else 0
    return Parts(shares, {labels[j][1]: x[j] for j in right}, like_all)


def effort(update: Sequence[int], right: Mapping[int, int], servers: Sequence[Plain]) -> int:
    """How many gradients long an update is, in units of 2^-512; 0 where that cannot be said."""
    total = 0
    for k, much in right.items():
        row = (k, k)
        inverses = [
            2 ** (512 + server.bits[row]) // isqrt(dot(server.rows[row], server.rows[row]))
            for server in servers
            if server.bits is not None and row in server.rows
        ]
        if much and not inverses:
            return 0
        total += much * middle(inverses) if much else 0
    return isqrt(dot(update, update)) * total


def authenticity(update: Sequence[int], servers: Sequence[Plain]) -> int | None:
    """Median over the servers of greatest and least cosine with right labels; None if no server has any."""
    found = []
    for server in servers:
        own = sketched(update, server.sketch)
        right = [
            floor_cosine(dot(own, row), dot(own, own), dot(row, row))
            for (of, k), row in server.rows.items()
            if of == k and k >= 0
        ]
        if right:
            found.append(max(right) + min(right))
    return middle(found) if found else None


def novelty(update: Sequence[int], servers: Sequence[Plain], window: Vectors) -> int:
    """What the three likest vectors of the window leave of an update, as `anchored` says it: 0 to 10^9, exact."""
    own = dot(update, update)
    near = [vector for vector in window if any(vector)] if own else []
    near.sort(key=lambda x: -(10**18 * dot(update, x) ** 2 // (own * dot(x, x))))
    basis: list[list[Fraction]] = []  # orthogonal, by Gram and Schmidt
    expressed: list[list[Fraction]] = []  # each of them in the neighbours
    near = near[:3]
    for at, vector in enumerate(near):
        left = [Fraction(value) for value in vector]
        by = [Fraction(int(other == at)) for other in range(len(near))]
        for line, terms in zip(basis, expressed, strict=True):
            along = sum((a * b for a, b in zip(left, line, strict=True)), Fraction()) / sum(a * a for a in line)
            left = [a - along * b for a, b in zip(left, line, strict=True)]
            by = [a - along * b for a, b in zip(by, terms, strict=True)]
        if any(left):
            basis.append(left)
            expressed.append(by)
    taken = [Fraction()] * len(near)
    for line, terms in zip(basis, expressed, strict=True):
        along = sum((a * b for a, b in zip(update, line, strict=True)), Fraction()) / sum(a * a for a in line)
        taken = [a + along * b for a, b in zip(taken, terms, strict=True)]
    found = []
    for server in servers:
        rows = [row for (of, k), row in server.rows.items() if of == k and k >= 0]
        if not rows:
            continue
        mine = sketched(update, server.sketch)
        theirs = [sketched(vector, server.sketch) for vector in near]
        left = [mine[c] - sum(a * other[c] for a, other in zip(taken, theirs, strict=True)) for c in range(len(mine))]
        square = dot(mine, mine)
        most = max(
            floor_cosine(sum((a * b for a, b in zip(left, row, strict=True)), Fraction()), square, dot(row, row))
            for row in rows
        )
        direct = max(floor_cosine(dot(mine, row), square, dot(row, row)) for row in rows)
        found.append(10**9 * most // max(direct, 5 * 10**7))
    return min(max(10**9 * middle(found) // (5 * 10**7), 0), 10**9) if found else 0


def refusals(updates: Vectors, servers: Sequence[Sequence[Plain]], parts: Sequence[Parts | None]) -> list[str]:
    """For each update "odd" (its length), "copy" (of an earlier one) or ""."""
    squares = [dot(row, row) for row in updates]
    usual = int(lower_middle(squares))
    efforts = [
        effort(update, of.right, own) if of else 0 for update, of, own in zip(updates, parts, servers, strict=True)
    ]
    ordinary = [usual <= 400 * own and own <= 25 * usual for own in squares]
    usual_effort = int(lower_middle([one for one, of in zip(efforts, ordinary, strict=True) if of and one > 0] or [0]))
    found = []
    for at, row in enumerate(updates):
        of = parts[at]
        known = of is not None and of.shares[0][0] >= 5 * 10**8 and 0 < efforts[at] <= 3 * usual_effort
        if (squares[at] > 25 * usual and not known) or 400 * squares[at] < usual:
            found.append("odd")
        else:
            like = [floor_cosine(dot(row, updates[j]), squares[at], squares[j]) for j in range(at)]
            found.append("copy" if max(like, default=0) > 98 * 10**7 else "")
    return found


def ratio(part: int, whole: int) -> int:
    return 10**9 * part // whole if whole > 0 else 0


class Judged(NamedTuple):
    """What `decomposed` makes of a round."""

    thetas: list[int]
    accepted: list[bool]
    new: list[int]
    pairs: list[list[tuple[int, int]]]
    history: dict[int, tuple[int, ...]]


def decomposed(
    updates: Vectors,
    clients: Sequence[int],
    servers: Sequence[Sequence[Plain]],
    window: Vectors,
    history: Mapping[int, tuple[int, ...]],
) -> Judged:
    """The thetas of a round; `servers[i]` are those that published something at entry i's base version."""
    records = {client: list(values) for client, values in history.items()}
    parts = [taken_apart(update, own) for update, own in zip(updates, servers, strict=True)]
    refused = refusals(updates, servers, parts)
    pairs, new, seen = [], [], []
    for at, update in enumerate(updates):
        of = parts[at]
        q, shares = authenticity(update, servers[at]), of.shares if of else None
        nu = novelty(update, servers[at], window)
        judged = q is not None and shares is not None
        if of and of.like_all > 0:
            q = max(q or 0, of.like_all // 4)
        own = [(q or 0 if nu >= 3 * 10**8 else min(q or 0, 0), 10**9), *(shares or [(0, 0)] * 3)]
        if refused[at] == "odd":
            own = [(-5 * 10**8, 10**9), *((0, whole) for _, whole in own[1:])]
        if judged or refused[at] == "odd":
            record = records.setdefault(clients[at], [0] * 9)
            record[0] = min(record[0] + 1, 8)
            for place, value in enumerate(value for pair in own for value in pair):
                record[1 + place] += (value - record[1 + place]) // record[0]
        pairs.append(own)
        new.append(nu)
        seen.append(judged)
    counted = [record for record in records.values() if record[0]]
    typical = []
    for place in (1, 3, 5, 7):
        ratios = [ratio(record[place], record[place + 1]) for record in counted] or [0]
        wholes = [record[place + 1] for record in counted] or [0]
        typical.append((int(lower_middle(ratios)), int(lower_middle(wholes))))
    thetas, accepted = [], []
    for at, own in enumerate(pairs):
        count, *known = records.get(clients[at], [0] * 9)
        stands, worths = True, []
        for measure, ((r, w), limit) in enumerate(zip(typical, (400, 500, 650, 750), strict=True)):
            part = (r * w // 10**9 + count * known[2 * measure]) // (count + 1)
            whole = (w + count * known[2 * measure + 1]) // (count + 1)
            stands = stands and 1000 * ratio(part, whole) > limit * max(0, r)
            v, e = ratio(own[measure][0] + part, own[measure][1] + whole), limit - 100
            if r > 0:
                worths.append(min(max(10**9 * (1000 * v - e * r) // ((1000 - e) * r), 0), 10**9))
            else:
                worths.append(10**9 if v > 0 else 0)
        accepted.append(seen[at] and not refused[at] and stands)
        thetas.append(new[at] * min(worths) // 10**9 if accepted[-1] else 0)
    return Judged(thetas, accepted, new, pairs, {client: tuple(record) for client, record in records.items()})
