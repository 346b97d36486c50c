"""RULES.md, "Who trains how much", in plain Python and by trying everything: the slow second implementation."""

from dataclasses import dataclass

from learner.allocation.planning import PlanTerms


@dataclass(frozen=True)
class Speed:
    """A client's coefficients in nanoseconds."""

    c2: int
    c1: int
    c0: int


def epochs(speed: Speed, samples: int, cycle_ns: int) -> int:
    """tau(x) of RULES.md."""
    return (cycle_ns - speed.c0 - speed.c1 * samples) // (speed.c2 * samples)


def equal(speeds: list[Speed], terms: PlanTerms) -> list[tuple[int, int]]:
    cycle = 1000 * terms.cycle_us
    fits = [epochs(one, terms.samples, cycle) for one in speeds]
    return [(terms.samples, min(max(one, 1), terms.most_epochs)) for one in fits]


def exact(speeds: list[Speed], terms: PlanTerms) -> list[tuple[int, int]]:
    """Try every window [a, b] by trying every number of samples of every client."""
    cycle = 1000 * terms.cycle_us
    choices = range(terms.least_samples, terms.most_samples + 1)
    stairs = [{x: epochs(one, x, cycle) for x in choices if epochs(one, x, cycle) >= 1} for one in speeds]
    able = [stair for stair in stairs if stair]
    d = min(terms.samples * len(able), sum(max(stair) for stair in able))
    reached = sorted({tau for stair in able for tau in stair.values()})
    best: tuple[int, int, int, list[tuple[int, int]]] | None = None
    for a in range(1, max(reached, default=0) + 1):
        for b in range(a, max(reached) + 1):
            inside = [[x for x, tau in stair.items() if a <= tau <= b] for stair in able]
            if not all(inside):
                continue
            bounds = [(min(one), max(one)) for one in inside]
            if sum(low for low, _ in bounds) <= d <= sum(high for _, high in bounds):
                if best is None or (b - a, -a) < best[:2]:
                    best = (b - a, -a, b, bounds)
                break  # a wider window with this a is worse
    found: list[tuple[int, int]] = []
    if best is not None:
        bounds = best[3]
        rest = d - sum(low for low, _ in bounds)
        room = sum(high - low for low, high in bounds)
        cumulated = [sum(high - low for low, high in bounds[:k]) for k in range(len(bounds) + 1)]
        for k, (low, _) in enumerate(bounds):
            more = rest * cumulated[k + 1] // room - rest * cumulated[k] // room if room else 0
            found.append((low + more, min(able[k][low + more], terms.most_epochs)))
    taken = iter(found)
    return [next(taken) if stair else (terms.least_samples, 1) for stair in stairs]
