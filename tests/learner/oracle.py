"""The slow second implementation of RULES.md, in plain Python integers and fractions.

It shares no code with `learner`: vectors are lists, dot products are loops, the cosine is found by bisection, a tie is
broken by comparing fractions. What both agree on is either right or misunderstood twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

PPB = 10**9
STEP_TOTAL = 2**30
INT32_LEAST, INT32_MOST = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class Consumed:
    """One record of the round: its base version, its update as a list of integers, its client's samples."""

    base: int
    update: list[int]
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Computed:
    """A round in plain integers."""

    outcome: str
    gram: list[list[int]]
    thetas: list[int]
    weights: list[int]
    aggregate: list[int]
    model: list[int]


def compute(
    *,
    scoring: str,
    aggregation: str,
    staleness: str,
    shift: int,
    number: int,
    current: list[int],
    consumed: Sequence[Consumed],
    models: Mapping[int, list[int]],
) -> Computed:
    updates = [entry.update for entry in consumed]
    gram = [[dot(a, b) for b in updates] for a in updates]
    thetas = [
        theta * discount(staleness, number - 1 - entry.base) // PPB
        for theta, entry in zip(score(scoring, consumed), consumed, strict=True)
    ]
    if sum(thetas) == 0:
        return _not_paid("all-zero", gram, current)
    weights = step_weights(thetas)
    aggregate = []
    for c in range(len(current)):
        if aggregation == "literal":
            terms = [
                weight * (models[entry.base][c] + entry.update[c] * 2**shift)
                for weight, entry in zip(weights, consumed, strict=True)
            ]
            aggregate.append(sum(terms))
        else:
            terms = [weight * entry.update[c] * 2**shift for weight, entry in zip(weights, consumed, strict=True)]
            aggregate.append(current[c] * STEP_TOTAL + sum(terms))
    model = [nearest(Fraction(coordinate, STEP_TOTAL)) for coordinate in aggregate]
    if any(not INT32_LEAST <= coordinate <= INT32_MOST for coordinate in model):
        return _not_paid("model-overflow", gram, current)
    return Computed("paid", gram, thetas, weights, aggregate, model)


def _not_paid(outcome: str, gram: list[list[int]], current: list[int]) -> Computed:
    nothing = [0] * len(gram)
    return Computed(outcome, gram, nothing, nothing, [STEP_TOTAL * c for c in current], list(current))


def dot(a: list[int], b: list[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def score(scoring: str, consumed: Sequence[Consumed]) -> list[int]:
    if scoring == "uniform":
        return [PPB for _ in consumed]
    if scoring == "data-size":
        most = max(entry.samples for entry in consumed)
        return [PPB * entry.samples // most if most else 0 for entry in consumed]
    whole = [sum(coordinates) for coordinates in zip(*(entry.update for entry in consumed), strict=True)]
    return [cosine_ppb(entry.update, whole) for entry in consumed]


def cosine_ppb(a: list[int], b: list[int]) -> int:
    """Find the largest t with t / 10^9 <= cos(a, b), 0 if the cosine is not positive, by bisection on t^2."""
    together, norms = dot(a, b), dot(a, a) * dot(b, b)
    if together <= 0:
        return 0
    least, beyond = 0, PPB + 1
    while beyond - least > 1:
        middle = (least + beyond) // 2
        if middle * middle * norms <= PPB * PPB * together * together:
            least = middle
        else:
            beyond = middle
    return least


def discount(staleness: str, tau: int) -> int:
    """Find the largest t with t / 10^9 <= (1 + tau)^(-1/2), by bisection."""
    if staleness == "constant":
        return PPB
    least, beyond = 0, PPB + 1
    while beyond - least > 1:
        middle = (least + beyond) // 2
        if middle * middle * (1 + tau) <= PPB * PPB:
            least = middle
        else:
            beyond = middle
    return least


def step_weights(thetas: list[int]) -> list[int]:
    total = sum(thetas)
    shares = [Fraction(theta * STEP_TOTAL, total) for theta in thetas]
    weights = [int(share) for share in shares]
    for _ in range(STEP_TOTAL - sum(weights)):
        missing = [share - weight for share, weight in zip(shares, weights, strict=True)]
        weights[missing.index(max(missing))] += 1
    return weights


def rewards(reward: int, thetas: list[int]) -> list[int]:
    total = sum(thetas)
    if total == 0:
        return [0 for _ in thetas]
    edges = [int(reward * Fraction(sum(thetas[:i]), total)) for i in range(len(thetas) + 1)]
    return [after - before for before, after in pairwise(edges)]


def nearest(value: Fraction) -> int:
    """Round to the nearest integer, a tie to the even one."""
    below = value.numerator // value.denominator
    distance = value - below
    if distance == Fraction(1, 2):
        return below if below % 2 == 0 else below + 1
    return below if distance < Fraction(1, 2) else below + 1


def tau_avg(consumed_delays: list[int], pending_bases: list[int], version: int) -> Fraction | None:
    count = len(consumed_delays) + len(pending_bases)
    if count == 0:
        return None
    return Fraction(sum(consumed_delays), count) + Fraction(sum(version - base for base in pending_bases), count)
