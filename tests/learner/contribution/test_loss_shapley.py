"""The Shapley value of the loss, beside its definition in floats, and pay by it."""

from dataclasses import replace
from itertools import combinations
from math import comb, exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.contribution import REST, Slope, loss_shapley, rule
from learner.contribution.loss_shapley import MOST_EXACT, Slopes, exact, exponential, second_order
from learner.rounds import compute
from tests.learner.contribution.worlds import NUMBER, World

PPB = 10**9
AXES = {(0, 0): 0, (REST, 0): 1, (1, 1): 2, (REST, 1): 3}
"""Of two classes each row is an axis: an update says outright what it teaches, and what it unteaches."""


def slopes(own: list[list[float]], rest: list[list[float]], probabilities: list[float]) -> Slopes:
    """From nats."""
    one, other = (np.round(np.array(rows) * PPB).astype(np.int64) for rows in (own, rest))
    return Slopes(one, other, tuple(round(p * PPB) for p in probabilities))


def over_subsets(found: Slopes, *, quadratic: bool = False) -> list[float]:
    """Shapley's definition in floats."""
    own, rest, p = (np.array(part) / PPB for part in found)
    count, classes = own.shape

    def value(members: tuple[int, ...]) -> float:
        if not members:
            return 0.0
        x = rest[list(members)].mean(axis=0)
        rise = x * x / 2 if quadratic else np.exp(x) - 1 - x
        return float(own[list(members)].mean(axis=0).sum() - (classes - 1) * (p * rise).sum())

    return [
        sum(
            (value((*others, at)) - value(others)) / comb(count - 1, size) / count
            for size in range(count)
            for others in combinations([other for other in range(count) if other != at], size)
        )
        for at in range(count)
    ]


@st.composite
def games(draw: st.DrawFn) -> Slopes:
    count, classes = draw(st.integers(1, 5)), draw(st.integers(2, 3))
    nats = st.lists(st.floats(-4, 4), min_size=classes, max_size=classes)
    rows = st.lists(nats, min_size=count, max_size=count)
    chances = st.lists(st.floats(0.01, 1), min_size=classes, max_size=classes)
    return slopes(draw(rows), draw(rows), draw(chances))


@given(games())
def test_the_values_are_those_over_all_subsets(found: Slopes) -> None:
    ones = Slopes(np.full_like(found.own, PPB), np.zeros_like(found.rest), found.probabilities)
    unit = exact(ones)[0] * len(found.own) / len(found.probabilities)  # v = C for every subset
    assert np.array(exact(found)) / unit == pytest.approx(over_subsets(found), abs=1e-3)


@given(games())
def test_the_second_order_is_that_over_all_subsets(found: Slopes) -> None:
    ones = Slopes(np.full_like(found.own, PPB), np.zeros_like(found.rest), found.probabilities)
    unit = second_order(ones)[0] * len(found.own) / len(found.probabilities)
    assert np.array(second_order(found)) / unit == pytest.approx(over_subsets(found, quadratic=True), abs=1e-6)


@given(st.lists(st.integers(-40 * PPB, 8 * PPB), min_size=1))
def test_the_exponential_is_exact_to_parts_in_a_hundred_million(nats: list[int]) -> None:
    expected = [exp(x / PPB) * PPB for x in nats]
    assert exponential(np.array(nats, dtype=np.int64)).tolist() == pytest.approx(expected, rel=1e-8, abs=20)


def world(*updates: list[int]) -> World:
    table = {label: [1_000 * (axis == at) for at in range(4)] for label, axis in AXES.items()}
    return World(
        updates=updates,
        bases=[NUMBER - 1] * len(updates),
        clients=list(range(1, len(updates) + 1)),
        tables={NUMBER - 1: [table] * 3},
    )


def test_who_teaches_and_unteaches_nothing_earns_most_and_who_only_unteaches_nothing() -> None:
    # axis: class 0 learnt, class 0 believed of others, class 1 learnt, class 1 believed of others
    thetas = world([900, 0, 0, 0], [900, 800, 0, 0], [0, 0, -100, 900]).scored("loss-shapley").thetas
    assert thetas[0] == PPB
    assert 0 < thetas[1] < PPB
    assert thetas[2] == 0


def test_values_follow_what_the_server_sees_and_not_the_scale_of_its_rows() -> None:
    """Rows of half the length with slopes of a bit less are the same gradients."""
    around = world([900, 100, 0, 0], [900, 800, 0, 50], [0, 0, 300, 900])
    context = around.inputs("loss-shapley").context
    assert context is not None
    halved = [
        replace(one, vectors=one.vectors // 2, slopes=tuple(Slope(of.bits - 1, of.probability) for of in one.slopes))
        for one in context.references[NUMBER - 1]
    ]
    other = replace(around.inputs("loss-shapley"), context=replace(context, references={NUMBER - 1: halved}))
    unlike = [replace(one, slopes=()) for one in halved]
    without = replace(around.inputs("loss-shapley"), context=replace(context, references={NUMBER - 1: unlike}))
    assert compute(other).thetas == around.scored("loss-shapley").thetas
    assert not compute(without).paid


def test_all_weigh_alike_in_the_step_but_for_the_cut() -> None:
    result = world([900, 0, 0, 0], [0, 0, 0, 900], [0, 2_700, 0, 0]).scored("loss-shapley")
    assert result.thetas[1:] == (0, 0)
    assert result.weights == (2**30 // 3, 2**30 // 3, 2**29 // 3)


def test_one_lying_server_of_three_decides_nothing() -> None:
    honest = world([900, 0, 0, 0], [0, 0, 500, 900])
    table = honest.tables[NUMBER - 1][0]
    lie = {label: [-x for x in row] for label, row in table.items()}
    thetas = honest.scored("loss-shapley").thetas
    assert replace(honest, tables={NUMBER - 1: [table, lie, table]}).scored("loss-shapley").thetas == thetas


def test_an_update_that_no_server_can_judge_leaves_the_round_unpaid() -> None:
    around = world([900, 0, 0, 0], [0, 0, 500, 900])
    assert not replace(around, bases=[NUMBER - 1, NUMBER - 2]).scored("loss-shapley").paid


def test_large_rounds_take_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    updates = rng.integers(-900, 900, (MOST_EXACT + 1, 4)).tolist()
    monkeypatch.setattr(loss_shapley, "exact", None)
    thetas = world(*updates).scored("loss-shapley").thetas
    assert max(thetas) == PPB
    assert len(thetas) == MOST_EXACT + 1


@pytest.mark.parametrize("scoring", ["calibrated", "decomposed"])
def test_pay_is_by_the_loss_among_those_who_are_accepted(scoring: str) -> None:
    """One update and a flipped one: what the second is worth by the loss does not count."""
    assert rule(f"{scoring}-loss-shapley", 1).needs.slopes
    around = world([900, 30, 20, 10], [10, 20, 800, 30], [-900, 5, -20, 300])
    plain, paid = (around.scored(name) for name in (scoring, f"{scoring}-loss-shapley"))
    assert plain.thetas[2] == paid.thetas[2] == 0
    assert paid.parts["usefulness"] == plain.thetas
    assert paid.weights == plain.weights
    assert max(paid.thetas) == PPB
