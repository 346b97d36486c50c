"""Random small instances of task allocation, in the JSON form, and a brute force over all vectors of integers."""

from collections.abc import Iterator
from itertools import product
from random import Random  # noqa: TID251 - the type only
from typing import Any

Document = dict[str, Any]


def instance(chance: Random) -> Document:
    """One to four learners: with and without energy, gaps, tight bounds, and some that cannot be done."""
    count = chance.randint(1, 4)
    t = chance.choice([chance.randint(5, 60), chance.randint(30, 400)])

    def each(least: int, most: int) -> list[int]:
        return [chance.randint(least, most) for _ in range(count)]

    d_l = each(1, 3)
    d_u = [least + chance.randint(0, 6) - (chance.random() < 0.02) for least in d_l]
    energy = {"G2": each(0, 4), "G1": each(0, 3), "G0": each(0, 5), "Emax": each(3, 120)}
    fewest, most = sum(d_l), max(sum(d_u), sum(d_l))
    return {
        "time": {
            "C2": each(1, chance.choice([3, 12])),
            "C1": each(0, 4),
            "C0": each(0, max(1, t // 6)),
            "T": t,
        },
        "energy": energy if chance.random() < 0.4 else None,
        "d": chance.randint(fewest, most) if chance.random() < 0.97 else chance.randint(fewest - 2, most + 2),
        "d_l": d_l,
        "d_u": d_u,
        "tau_min": chance.randint(0, 1),
    }


def updates(case: Document, learner: int, samples: int) -> int | None:
    """Count up the updates that fit, none of them skipped; None if not even `tau_min` do."""
    time, energy = case["time"], case["energy"]

    def fits(tau: int) -> bool:
        used = time["C2"][learner] * tau * samples + time["C1"][learner] * samples + time["C0"][learner]
        if used > time["T"] or time["C0"][learner] >= time["T"]:
            return False
        if energy is None:
            return True
        spent = energy["G2"][learner] * tau * samples + energy["G1"][learner] * samples + energy["G0"][learner]
        return bool(spent <= energy["Emax"][learner])

    if not fits(case["tau_min"]):
        return None
    tau = case["tau_min"]
    while fits(tau + 1):
        tau += 1
    return tau


def staircases(case: Document) -> list[dict[int, int]]:
    """For each learner its updates at every number of samples that it can take."""
    return [
        {samples: tau for samples in range(least, most + 1) if (tau := updates(case, learner, samples)) is not None}
        for learner, (least, most) in enumerate(zip(case["d_l"], case["d_u"], strict=True))
    ]


def allocations(case: Document) -> Iterator[tuple[int, ...]]:
    """The updates of every allocation there is."""
    stairs = staircases(case)
    for samples in product(*stairs):
        if sum(samples) == case["d"]:
            yield tuple(own[one] for own, one in zip(stairs, samples, strict=True))


def best(case: Document) -> dict[int, tuple[int, int]]:
    """For each staleness that occurs exactly: the most updates and the least pair sum."""
    found: dict[int, tuple[int, int]] = {}
    for taus in allocations(case):
        pairs = sum(abs(one - other) for at, one in enumerate(taus) for other in taus[:at])
        staleness = max(taus) - min(taus)
        most, least = found.get(staleness, (sum(taus), pairs))
        found[staleness] = (max(most, sum(taus)), min(least, pairs))
    return found
