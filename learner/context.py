"""What a round is scored beside: references of the edge servers, earlier public vectors, what is known of clients.

A scoring rule sees none of these vectors, only their exact inner products with the round's updates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learner.contribution import REST, ROOT, Comparison, History, Label, Needs, Neighbours, Pooled, Round, Slope, Window
from learner.errors import InvalidRound
from learner.fixedpoint import INT16, INT32, Model, Update
from learner.pool import pooled
from learner.products import Rows, dots, inner, inner_and_norms, squared_norms
from learner.references import References

PPB = 10**9


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What a round knows beyond its updates and models; a rule reads only what its `Needs` name.

    `references[v]`: one `References` for each edge server that published some of version v. `records[r]`: the updates
    int16[d] that round r consumed, in selection order; `steps[r]`: the step from version r - 1 to r (`step_between`).
    `history` and `sums`: what the round before left in its `RoundResult`; `sums[client]` is int32[d]. A job's first
    round has neither, nor the first round after its rule changed. `weights`: what each class counts, as the job says it
    (`learner.objective.Objective.prices`).
    """

    references: Mapping[int, Sequence[References]] = field(default_factory=dict)
    records: Mapping[int, Sequence[Update]] = field(default_factory=dict)
    steps: Mapping[int, Update] = field(default_factory=dict)
    history: History = field(default_factory=dict)
    sums: Mapping[int, NDArray[np.int32]] = field(default_factory=dict)
    weights: tuple[int, ...] = ()


class _Products(NamedTuple):
    """What one server's rows are, beside the updates and the vectors of the window; the updates' squared norms."""

    rows: Sequence[int]
    products: Sequence[Sequence[int]]
    explained: Sequence[Sequence[int]]
    squared: Sequence[int]


def step_between(before: Model, after: Model, shift: int) -> Update:
    """Give the step of a round in the units of an update: (after - before) / 2^shift, a tie to even, int16[d].

    A coordinate beyond int16 stays at its end: a step serves for its direction, and must not fail.
    """
    moved = after.astype(np.int64) - before
    # int64 / 2^k is exact in float64 here: |moved| < 2^32
    return np.clip(np.rint(np.ldexp(moved.astype(np.float64), -shift)), INT16.min, INT16.max).astype(np.int16)


def add_to_sums(
    sums: Mapping[int, NDArray[np.int32]], clients: Sequence[int], updates: Sequence[Update]
) -> dict[int, NDArray[np.int32]]:
    """Add each update int16[d] to its client's sum, int32[d]; a coordinate beyond int32 stays at its end."""
    added = dict(sums)
    for client, update in zip(clients, updates, strict=True):
        before = added.get(client)
        whole = update.astype(np.int64) if before is None else before + update.astype(np.int64)
        added[client] = np.clip(whole, INT32.min, INT32.max).astype(np.int32)
    return added


def view(
    needs: Needs,
    context: Context,
    *,
    number: int,
    updates: Sequence[Update],
    versions: Sequence[int],
    clients: Sequence[int],
    samples: Sequence[int],
    products: NDArray[np.int64],
    sums: Mapping[int, NDArray[np.int32]],
    fraction_bits: int = 0,
) -> Round:
    """Take the inner products that a rule needs of round `number`; `products` is the round's Gram matrix.

    `versions`: those whose references the updates are held beside.
    `sums` are the clients' sums with this round's updates in them (`add_to_sums`), empty if the rule needs none. An
    update is its int16 over 2^`fraction_bits`.
    Raises `InvalidRound` for a vector of another length than the updates.
    """
    neighbours: tuple[Neighbours, ...] = ()
    nearest: tuple[Sequence[Update], ...] = ()
    if needs.window is not None:
        neighbours, nearest = _neighbours(needs.window, context, number, updates, products)
    norms = [int(products[at, at]) for at in range(len(updates))]
    comparisons: tuple[tuple[Comparison, ...], ...] = ()
    if needs.at_base:
        comparisons = _comparisons(needs, context, versions, updates, nearest=nearest, norms=norms, bits=fraction_bits)
    pool = _pooled(context, versions, updates, norms) if needs.pooled else ()
    newest: tuple[tuple[Comparison, ...], ...] = ()
    if needs.newest_root:
        now = [number - 1] * len(updates)
        newest = _comparisons(Needs(root=True), context, now, updates, nearest=(), norms=norms)
    between: tuple[tuple[int, ...], ...] = ()
    if needs.sums:
        whole = [sums[client] for client in clients]
        between = tuple(tuple(row) for row in inner(whole, whole))
    return Round(
        products,
        tuple(samples),
        clients=tuple(clients),
        updates=updates,
        comparisons=comparisons,
        newest=newest,
        pooled=pool,
        neighbours=neighbours,
        history=context.history if needs.history else {},
        sums=between,
        weights=context.weights,
    )


def _neighbours(
    window: Window, context: Context, number: int, updates: Sequence[Update], products: NDArray[np.int64]
) -> tuple[tuple[Neighbours, ...], tuple[Sequence[Update], ...]]:
    """Find each update's nearest vectors of the window, by squared cosine, of equal ones the older.

    Their order of age: rounds in ascending order, in each first its records, then its step.
    """
    vectors: list[Update] = []
    for past in range(max(1, number - max(window.rounds, window.steps)), number):
        if past >= number - window.rounds:
            vectors += context.records.get(past, ())
        if past >= number - window.steps and past in context.steps:
            vectors.append(context.steps[past])
    if any(vector.shape != updates[0].shape for vector in vectors):
        raise InvalidRound(reason=f"a vector of the window has not {len(updates[0])} parameters")
    if not vectors:
        return (Neighbours(),) * len(updates), ((),) * len(updates)
    whole, norms = inner_and_norms(updates, vectors)
    between: list[list[int]] = whole.tolist()
    squared: list[int] = norms.tolist()
    chosen: list[list[int]] = []
    owns = np.diagonal(products)
    for row, near, own in zip(between, _near(whole, norms, owns, window.nearest), owns.tolist(), strict=True):
        # the squared cosine, negated so that the nearest come first
        far = {index: -(PPB * PPB * row[index] * row[index] // (own * squared[index])) for index in near if own}
        chosen.append(sorted(far, key=far.__getitem__)[: window.nearest])
    pairs = sorted({(x, y) for near in chosen for x, y in combinations(sorted(near), 2)})
    together = dict(zip(pairs, dots([vectors[x] for x, _ in pairs], [vectors[y] for _, y in pairs]), strict=True))
    found = tuple(
        Neighbours(
            tuple(row[index] for index in near),
            tuple(tuple(squared[x] if x == y else together[min(x, y), max(x, y)] for y in near) for x in near),
        )
        for row, near in zip(between, chosen, strict=True)
    )
    return found, tuple([vectors[index] for index in near] for near in chosen)


def _near(
    between: NDArray[np.int64], squared: NDArray[np.int64], own: NDArray[np.int64], count: int
) -> list[list[int]]:
    """Give of each update in ascending order some vectors, among them its `count` nearest; none of zeros.

    They are told by b^2 / |x|^2, at most |u|^2. One is left out that is below the greatest but `count` - 1 by more than
    float64 rounds, here 2^-40 of it, and than one part in 10^18 of |u|^2, below which cosines may come out equal.
    """
    products = between.astype(np.float64)
    along = np.where(squared, products * products / np.maximum(squared, 1), -1.0)
    least = np.sort(along, axis=1)[:, -min(count, len(squared))]
    near = (along >= (least * (1 - 2.0**-40) - own * 2.0**-59)[:, None]) & (squared > 0)
    return [np.flatnonzero(row).tolist() for row in near]


def _comparisons(
    needs: Needs,
    context: Context,
    versions: Sequence[int],
    updates: Sequence[Update],
    *,
    nearest: Sequence[Sequence[Update]],
    norms: Sequence[int],
    bits: int = 0,
) -> tuple[tuple[Comparison, ...], ...]:
    """Hold each update, and its neighbours, beside all references of its version; `norms` are the updates' squared."""
    found: list[list[Comparison]] = [[] for _ in versions]
    for version in sorted(set(versions)):
        entries = [at for at, of in enumerate(versions) if of == version]
        # the same step is near many updates: each vector of the window is taken once
        window = {id(vector): vector for at in entries if nearest for vector in nearest[at]}
        places = {key: place for place, key in enumerate(window)}
        own = [updates[at] for at in entries]
        servers = context.references.get(version, ())
        tables: dict[int, _Products] = {}
        for sketch in dict.fromkeys(server.sketch for server in servers):
            seen: tuple[Rows, Rows] = (own, list(window.values()))
            if sketch is not None:
                seen = (sketch.of(own), sketch.of(seen[1]))
            squared = squared_norms(seen[0]) if sketch is not None else [norms[at] for at in entries]
            alike = {number: server for number, server in enumerate(servers) if server.sketch == sketch}
            tables |= _tables(needs, alike, seen, squared, version)
        for number, server in enumerate(servers):
            table = tables[number]
            labels = tuple(server.labels[row] for row in table.rows)
            lengths = tuple(server.squared[row] for row in table.rows)
            contrasts = tuple(server.contrasts[row] for row in table.rows) if needs.contrasts else ()
            slopes: tuple[Slope, ...] = ()
            if needs.slopes and server.slopes:
                slopes = tuple(Slope(of.bits + bits, of.probability) for of in (server.slopes[r] for r in table.rows))
            for at, line, norm in zip(entries, table.products, table.squared, strict=True):
                close = tuple(tuple(table.explained[places[id(vector)]]) for vector in (nearest[at] if nearest else ()))
                found[at].append(Comparison(labels, tuple(line), lengths, norm, close, contrasts, slopes))
    return tuple(tuple(of_entry) for of_entry in found)


def _pooled(
    context: Context, versions: Sequence[int], updates: Sequence[Update], norms: Sequence[int]
) -> tuple[Pooled | None, ...]:
    """Hold each update beside all references of its version as one table."""
    found: dict[int, Pooled] = {}
    for version in sorted(set(versions)):
        table = pooled(context.references.get(version, ()))
        if table is None:
            continue
        entries = [at for at, of in enumerate(versions) if of == version]
        own: Rows = [updates[at] for at in entries]
        squared: Sequence[int] = [norms[at] for at in entries]
        if table.sketch is not None:
            own = table.sketch.of(own)
            squared = squared_norms(own)
        products = inner([*own, *table.vectors], table.vectors)
        gram = tuple(tuple(row) for row in products[len(entries) :])
        for at, row, norm in zip(entries, products, squared, strict=False):
            found[at] = Pooled(table.labels, tuple(row), gram, norm)
    return tuple(found.get(at) for at in range(len(versions)))


def _tables(
    needs: Needs, servers: Mapping[int, References], seen: tuple[Rows, Rows], squared: Sequence[int], version: int
) -> dict[int, _Products]:
    """Take the products of all servers with one kind of references in one go, each vector once; by server."""
    ours, theirs = seen
    rows: dict[int, list[int]] = {}
    right: dict[int, list[int]] = {}
    for number, server in servers.items():
        if (columns := server.vectors.shape[1]) != len(ours[0]):
            raise InvalidRound(reason=f"references of version {version} are {columns} wide, not {len(ours[0])}")
        rows[number] = [at for at, label in enumerate(server.labels) if _asked(needs, label)]
        right[number] = [
            at for at in rows[number] if server.labels[at] != ROOT and server.labels[at][0] == server.labels[at][1]
        ]
    asked = [server.vectors[at] for number, server in servers.items() for at in rows[number]]
    if rows == right:  # as under `decomposed`: each reference is read once
        products = inner([*ours, *theirs], asked)
        products, explained = products[: len(ours)], products[len(ours) :]
    else:
        products = inner(ours, asked)
        explained = inner(theirs, [server.vectors[at] for number, server in servers.items() for at in right[number]])
    found: dict[int, _Products] = {}
    start = right_start = 0
    for number in servers:
        stop, right_stop = start + len(rows[number]), right_start + len(right[number])
        found[number] = _Products(
            rows[number],
            [line[start:stop] for line in products],
            [line[right_start:right_stop] for line in explained],
            squared,
        )
        start, right_start = stop, right_stop
    return found


def _asked(needs: Needs, label: Label) -> bool:
    """Whether a rule is given the row of this label."""
    of, labelled = label
    if label == ROOT:
        return needs.root
    if of == REST:
        return needs.contrasts
    return needs.labels or (needs.against_rest and of == labelled)
