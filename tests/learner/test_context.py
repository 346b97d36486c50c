"""What a round is scored beside: windows, references, sums."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.context import Context, add_to_sums, step_between, view
from learner.contribution import ROOT, Needs, Round, Window
from learner.errors import InvalidRound, InvalidTerms
from learner.fixedpoint import INT16, INT32
from learner.gram import gram
from learner.references import References
from learner.sketch import Sketch
from learner.terms import Terms, check_terms
from tests.learner.contribution.oracles import dot


def int16(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int16)


def seen(
    needs: Needs, context: Context, *updates: np.ndarray, bases: list[int] | None = None, number: int = 5
) -> Round:
    clients = list(range(len(updates)))
    return view(
        needs,
        context,
        number=number,
        updates=updates,
        versions=bases or [number - 1] * len(updates),
        clients=clients,
        samples=[0] * len(updates),
        products=gram(updates),
        sums=add_to_sums(context.sums, clients, updates) if needs.sums else {},
    )


def test_a_rule_sees_only_what_it_asks_for() -> None:
    context = Context(
        references={4: [References(((0, 0), ROOT), np.ones((2, 2), dtype=np.int16))]},
        records={4: [int16(1, 1)]},
        history={1: (2,)},
    )
    nothing = seen(Needs(), context, int16(1, 2))
    assert nothing.comparisons == nothing.newest == nothing.neighbours == nothing.sums == ()
    assert nothing.history == {}
    assert seen(Needs(labels=True), context, int16(1, 2)).comparisons[0][0].labels == ((0, 0),)
    assert seen(Needs(root=True), context, int16(1, 2)).comparisons[0][0].labels == (ROOT,)
    assert seen(Needs(history=True), context, int16(1, 2)).history == {1: (2,)}


def test_an_update_is_held_beside_the_references_of_its_own_base_and_of_the_newest_version() -> None:
    context = Context(references={v: [References((ROOT,), np.array([[v, 1]], dtype=np.int16))] for v in (2, 4)})
    found = seen(Needs(root=True, newest_root=True), context, int16(10, 1), int16(5, 0), int16(1, 1), bases=[4, 2, 3])
    assert [[server.products for server in servers] for servers in found.comparisons] == [[(41,)], [(10,)], []]
    assert [[server.products for server in servers] for servers in found.newest] == [[(41,)], [(20,)], [(5,)]]
    assert found.comparisons[1][0].squared == (5,)
    assert found.comparisons[1][0].own_squared == 25


def test_neighbours_are_the_nearest_of_the_window_by_squared_cosine() -> None:
    context = Context(
        records={1: [int16(9, 9)], 3: [int16(-10, 1), int16(0, 0)], 4: [int16(0, 7)]},
        steps={2: int16(100, 100), 3: int16(3, 4), 4: int16(1, 0)},
    )
    needs = Needs(window=Window(rounds=2, steps=2, nearest=2))
    found = seen(needs, context, int16(5, 0), int16(0, 0), int16(3, 4))
    # rounds 3 and 4 alone count; a step of its own direction, then the record of the opposite one
    assert found.neighbours[0].products == (5, -50)
    assert found.neighbours[0].gram == ((1, -10), (-10, 101))
    assert found.neighbours[1].products == ()
    assert found.neighbours[2].products == (25, 28)


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_neighbours_are_those_that_all_squared_cosines_in_order_say(seed: int, nearest: int) -> None:
    """Vectors of zeros, multiples and opposites of one another among them: of equal cosines the older is nearer."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(-2, 3, (4, 3)).astype(np.int16)
    vectors = [kinds[at] * np.int16(factor) for at, factor in rng.integers((0, -3), (4, 4), (9, 2))]
    updates = [int16(*rng.integers(-3, 4, 3)), int16(0, 0, 0), vectors[0]]
    found = seen(Needs(window=Window(rounds=1, steps=0, nearest=nearest)), Context(records={4: vectors}), *updates)
    for update, neighbours in zip(updates, found.neighbours, strict=True):
        own = [int(x) for x in update]
        rows = [[int(x) for x in vector] for vector in vectors]
        near = [
            (-Fraction(dot(own, row) ** 2, dot(own, own) * dot(row, row)), at)
            for at, row in enumerate(rows)
            if any(own) and any(row)
        ]
        assert neighbours.products == tuple(dot(own, rows[at]) for _, at in sorted(near)[:nearest])


def test_neighbours_are_held_beside_the_references_of_the_updates_base() -> None:
    context = Context(
        references={4: [References(((0, 0),), np.array([[2, 0]], dtype=np.int16))], 3: []},
        records={4: [int16(1, 1), int16(0, 5)]},
    )
    needs = Needs(labels=True, window=Window(rounds=1, steps=0, nearest=1))
    found = seen(needs, context, int16(3, 2), int16(0, 1), int16(0, 1), bases=[4, 4, 3])
    assert [servers[0].explained for servers in found.comparisons[:2]] == [((2,),), ((0,),)]
    assert found.comparisons[2] == ()


def test_sketched_references_are_compared_with_a_sketch_of_the_update() -> None:
    sketch = Sketch(b"seed", 4)
    rows = np.array([[3, -2, 5, 1], [0, 1, 0, 2]], dtype=np.int16)
    update = int16(7, 1, -4, 2)
    sketched = References(((0, 0), (1, 1)), rows).sketched(sketch)
    found = seen(Needs(labels=True), Context(references={4: [sketched]}), update).comparisons[0][0]
    own, table = sketch.of(update[None])[0], sketch.of(rows)
    assert found.products == tuple((table @ own).tolist())
    assert found.own_squared == int(own @ own)
    assert found.squared == tuple((table**2).sum(axis=1).tolist())


def test_servers_with_whole_and_sketched_references_are_compared_each_by_its_own() -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(-9, 10, (5, 2, 6)).astype(np.int16)
    labels = (((0, 0), (0, 1)), ((1, 1), (0, 0)), ((0, 1), (2, 2)), ((0, 0), (1, 1)), ((0, 0), (1, 0)))
    one, other = Sketch(b"one", 2), Sketch(b"other", 4)
    kinds = (None, one, None, other, one)
    servers = [
        References(label, table) if kind is None else References(label, table).sketched(kind)
        for label, table, kind in zip(labels, rows, kinds, strict=True)
    ]
    updates = list(rng.integers(-9, 10, (3, 6)).astype(np.int16))
    context = Context(references={4: servers}, records={4: list(rng.integers(-9, 10, (4, 6)).astype(np.int16))})
    needs = Needs(labels=True, window=Window(rounds=1, steps=0, nearest=2))
    together = seen(needs, context, *updates)
    for number, server in enumerate(servers):
        alone = seen(needs, replace(context, references={4: [server]}), *updates)
        assert [found[number] for found in together.comparisons] == [found[0] for found in alone.comparisons]
        own = updates[0] if server.sketch is None else server.sketch.of([updates[0]])[0]
        assert together.comparisons[0][number].products == tuple((server.vectors.astype(np.int64) @ own).tolist())


def test_vectors_of_another_length_are_refused() -> None:
    wide = References(((0, 0),), np.ones((1, 3), dtype=np.int16))
    with pytest.raises(InvalidRound, match="references of version 4 are 3 wide, not 2"):
        seen(Needs(labels=True), Context(references={4: [wide]}), int16(1, 2))
    needs = Needs(window=Window(rounds=1, steps=1, nearest=1))
    with pytest.raises(InvalidRound, match="has not 2 parameters"):
        seen(needs, Context(records={4: [int16(1, 2, 3)]}), int16(1, 2))


def test_sums_add_up_and_stay_within_int32() -> None:
    before = {1: np.array([INT32.max - 1, INT32.min, 5], dtype=np.int32)}
    added = add_to_sums(before, [1, 2, 1], [int16(1, 0, 1), int16(3, 3, 3), int16(9, -9, 1)])
    assert added[1].tolist() == [INT32.max, INT32.min, 7]
    assert added[2].tolist() == [3, 3, 3]
    assert before[1].tolist() == [INT32.max - 1, INT32.min, 5]
    one, other = [1, 0, 1], [INT32.max, INT32.min + 3, 8]
    assert seen(Needs(sums=True), Context(sums=before), int16(1, 0, 1), int16(3, 3, 3)).sums == (
        (2, INT32.max + 8),
        (sum(a * b for a, b in zip(one, other, strict=True)), sum(a * a for a in other)),
    )


def test_a_step_is_in_the_units_of_an_update() -> None:
    before = np.array([0, 0, 0, INT32.min, INT32.max], dtype=np.int32)
    after = np.array([10, -2, 6, INT32.max, INT32.min], dtype=np.int32)
    assert step_between(before, after, 2).tolist() == [2, 0, 2, INT16.max, INT16.min]


def test_a_job_on_a_ledger_is_refused_a_rule_that_needs_a_context() -> None:
    terms = Terms(dimension=1, fraction_bits=14, shift=8, norm_bound_squared=1, phi=0, max_staleness=0)
    check_terms(replace(terms, scoring="multi-krum"))
    check_terms(replace(terms, scoring="anchored"), context=True)
    with pytest.raises(InvalidTerms, match=r"job term scoring = 'anchored': choose one of cosine, data-size, dbscan"):
        check_terms(replace(terms, scoring="anchored"))
