"""Rounds with everything around them that a rule may ask for, small enough for a plain oracle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from learner.context import Context
from learner.contribution import REST, ROOT, Label, Slope
from learner.references import References
from learner.rounds import Entry, RoundInputs, RoundResult, compute
from learner.sketch import Sketch
from learner.terms import Terms

NUMBER = 9
"""The round that is scored: eight earlier ones make a whole window."""

CLASSES = 3
SLOPE = Slope(10, 10**9 // 4)
MOST_SERVERS = 128
LABELS: tuple[Label, ...] = tuple((of, labelled) for of in range(CLASSES) for labelled in range(CLASSES))


@dataclass(frozen=True, kw_only=True)
class World:
    """A round as plain vectors: `tables[v][s]` are the references of server s at version v, by label.

    `sketches[s]`: the seed and buckets of what server s publishes; none, or none named, publishes whole vectors.
    `slopes[s]`: its slopes, `SLOPE` for labels that are not named; None: it publishes none.
    """

    updates: Sequence[Sequence[int]]
    bases: Sequence[int]
    clients: Sequence[int]
    tables: Mapping[int, Sequence[Mapping[Label, Sequence[int]]]] = field(default_factory=dict)
    records: Mapping[int, Sequence[Sequence[int]]] = field(default_factory=dict)
    steps: Mapping[int, Sequence[int]] = field(default_factory=dict)
    history: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    sums: Mapping[int, Sequence[int]] = field(default_factory=dict)
    weights: tuple[int, ...] = ()
    sketches: Sequence[tuple[bytes, int] | None] = ()
    slopes: Sequence[Mapping[Label, Slope] | None] = ()

    @property
    def kinds(self) -> tuple[list[tuple[bytes, int] | None], list[Mapping[Label, Slope] | None]]:
        """Sketches and slopes of as many servers as there may be."""
        return [*self.sketches, *[None] * MOST_SERVERS], [*self.slopes, *[{}] * MOST_SERVERS]

    def inputs(self, scoring: str, *, staleness: str = "constant") -> RoundInputs:
        dimension = len(self.updates[0])
        terms = Terms(
            dimension=dimension,
            fraction_bits=10,
            shift=4,
            norm_bound_squared=2**60,
            phi=0,
            max_staleness=NUMBER,
            scoring=scoring,
            aggregation="delta",
            staleness=staleness,
        )
        context = Context(
            references={
                version: [
                    published(table, dimension, sketch, slopes)
                    for table, sketch, slopes in zip(servers, *self.kinds, strict=False)
                ]
                for version, servers in self.tables.items()
            },
            records={number: [int16(vector) for vector in vectors] for number, vectors in self.records.items()},
            steps={number: int16(vector) for number, vector in self.steps.items()},
            history=self.history,
            sums={client: np.array(vector, dtype=np.int32) for client, vector in self.sums.items()},
            weights=self.weights,
        )
        entries = [
            Entry(base, int16(update), samples=at + 1, client=client)
            for at, (base, update, client) in enumerate(zip(self.bases, self.updates, self.clients, strict=True))
        ]
        return RoundInputs(terms, NUMBER, np.zeros(dimension, dtype=np.int32), entries, {}, context)

    def scored(self, scoring: str, *, staleness: str = "constant") -> RoundResult:
        return compute(self.inputs(scoring, staleness=staleness))

    def reordered(self, order: Sequence[int]) -> "World":
        return replace(
            self,
            updates=[self.updates[at] for at in order],
            bases=[self.bases[at] for at in order],
            clients=[self.clients[at] for at in order],
        )

    def with_updates(self, updates: Sequence[Sequence[int]]) -> "World":
        return replace(self, updates=updates)


def published(
    table: Mapping[Label, Sequence[int]],
    dimension: int,
    sketch: tuple[bytes, int] | None,
    slopes: Mapping[Label, Slope] | None = None,
) -> References:
    whole = References(
        tuple(table),
        np.array(list(table.values()), dtype=np.int16).reshape(-1, dimension),
        slopes=() if slopes is None else tuple(slopes.get(label, SLOPE) for label in table),
    )
    return whole if sketch is None else whole.sketched(Sketch(*sketch))


def with_others(table: Mapping[Label, Sequence[int]]) -> dict[Label, Sequence[int]]:
    """Add for each class what all other classes labelled as it sum to."""
    rest = {
        (REST, k): [sum(column) for column in zip(*(table[c, k] for c in range(CLASSES) if c != k), strict=True)]
        for k in range(CLASSES)
    }
    return {**table, **rest}


def int16(vector: Sequence[int]) -> np.ndarray:
    return np.array(vector, dtype=np.int16)


def drawn(seed: int, *, count: int = 6, dimension: int = 24, servers: int = 3) -> World:
    """Draw a world of some honest updates, some of noise, of flipped signs and of copied records.

    An honest update leans to the references of a class of its own, as they are at its base version.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(-2000, 2000, (len(LABELS), dimension))
    tables = {
        version: [
            with_others(dict(zip(LABELS, seen.tolist(), strict=True)))
            | {ROOT: seen[:: CLASSES + 1].sum(axis=0).tolist()}
            for seen in (truth + rng.integers(-800, 800, (servers, *truth.shape)))
        ]
        for version in (NUMBER - 3, NUMBER - 2, NUMBER - 1)
    }
    records = {
        number: rng.integers(-1500, 1500, (2, dimension)).tolist() for number in range(NUMBER - 8, NUMBER) if number % 3
    }
    steps = {number: rng.integers(-900, 900, dimension).tolist() for number in range(NUMBER - 6, NUMBER)}
    updates = []
    for at in range(count):
        noise = rng.integers(-700, 700, dimension)
        kind = rng.integers(0, 6)
        own = truth[(CLASSES + 1) * (at % CLASSES)] * rng.integers(1, 4) // 3
        if kind < 3:
            updates.append((own + noise).tolist())
        elif kind == 3:
            updates.append((-own + noise).tolist())
        elif kind == 4:
            updates.append((noise * rng.integers(1, 8)).tolist())
        else:
            updates.append((np.array(records[NUMBER - 1][0]) + noise // 10).tolist())
    clients = rng.integers(1, count + 1, count).tolist()
    return World(
        updates=updates,
        bases=rng.integers(NUMBER - 3, NUMBER, count).tolist(),
        clients=clients,
        tables=tables,
        records=records,
        steps=steps,
    )
