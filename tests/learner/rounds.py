"""Random rounds for tests, hostile magnitudes included, and the comparison of `learner` with the oracle."""

import random  # noqa: TID251 - for the type of what `seeded` gives
from collections.abc import Callable

import numpy as np

from learner.fixedpoint import INT16, INT32
from learner.rounds import Entry, RoundInputs, RoundResult, compute
from learner.terms import Terms
from merit.chance import seeded
from tests.learner import oracle

Fill = Callable[[random.Random, int], list[int]]

FILLS: dict[str, Fill] = {
    "spread": lambda rng, d: [rng.randint(INT16.min, INT16.max) for _ in range(d)],
    "small": lambda rng, d: [rng.randint(-3, 3) for _ in range(d)],
    "zero": lambda _, d: [0] * d,
    "sparse": lambda rng, d: [rng.choice((0, 0, 0, 0, rng.randint(INT16.min, INT16.max))) for _ in range(d)],
    "lowest": lambda _, d: [INT16.min] * d,
    "highest": lambda _, d: [INT16.max] * d,
    "extremes": lambda rng, d: [rng.choice((INT16.min, INT16.max)) for _ in range(d)],
}


def random_round(seed: int) -> RoundInputs:
    """Draw a round of 1 to 10 updates of 1 to 24 parameters; copies, opposites and extremes are common."""
    rng = seeded(seed, "round")
    dimension, count = rng.randint(1, 24), rng.randint(1, 10)
    shift = rng.randint(0, 16)
    number = rng.randint(1, 5)
    terms = Terms(
        dimension=dimension,
        fraction_bits=rng.randint(0, 30 - shift),
        shift=shift,
        norm_bound_squared=dimension << 30,
        phi=0,
        max_staleness=4,
        scoring=rng.choice(("cosine", "cosine", "cosine", "uniform", "data-size")),
        aggregation=rng.choice(("literal", "delta")),
        staleness=rng.choice(("constant", "polynomial")),
    )
    # small shifts with models near the edge of int32 exercise the overflow, the others stay inside
    edge = rng.choice((INT32.max, INT32.max, 1 << 20, 1))
    models = {
        version: np.array([rng.randint(-edge, edge) for _ in range(dimension)], dtype=np.int32)
        for version in range(number)
    }
    updates: list[list[int]] = []
    for _ in range(count):
        kind = rng.choice((*FILLS, "copy", "opposite"))
        if kind in FILLS or not updates:
            updates.append(FILLS[kind if kind in FILLS else "spread"](rng, dimension))
        elif kind == "copy":
            updates.append(list(rng.choice(updates)))
        else:
            updates.append([min(-value, INT16.max) for value in rng.choice(updates)])
    entries = [
        Entry(rng.randrange(number), np.array(update, dtype=np.int16), rng.choice((0, 1, 20, 60_000)))
        for update in updates
    ]
    return RoundInputs(terms, number, models[number - 1], entries, models)


def ask_oracle(inputs: RoundInputs) -> oracle.Computed:
    return oracle.compute(
        scoring=inputs.terms.scoring,
        aggregation=inputs.terms.aggregation,
        staleness=inputs.terms.staleness,
        shift=inputs.terms.shift,
        number=inputs.number,
        current=inputs.current.tolist(),
        consumed=[oracle.Consumed(e.base, e.update.tolist(), e.samples) for e in inputs.entries],
        models={version: model.tolist() for version, model in inputs.models.items()},
    )


def in_plain_integers(result: RoundResult) -> oracle.Computed:
    return oracle.Computed(
        result.outcome.value,
        result.gram.tolist(),
        list(result.thetas),
        list(result.weights),
        result.aggregate.tolist(),
        result.model.tolist(),
    )


def disagreement(inputs: RoundInputs) -> str | None:
    """Name the first part in which `learner` and the oracle differ, None if there is none."""
    ours, theirs = in_plain_integers(compute(inputs)), ask_oracle(inputs)
    for part in ("outcome", "gram", "thetas", "weights", "aggregate", "model"):
        if getattr(ours, part) != getattr(theirs, part):
            return f"{part}: {getattr(ours, part)} against {getattr(theirs, part)}"
    return None
