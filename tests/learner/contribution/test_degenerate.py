"""Every rule in rounds that have nothing usual about them: what RULES.md says comes out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from learner.contribution import REST, ROOT, Label, names
from learner.errors import UnknownRule
from learner.fixedpoint import INT16
from learner.rewards import STEP_TOTAL
from learner.rounds import Outcome, RoundResult, compute
from tests.learner.contribution import oracles
from tests.learner.contribution.worlds import CLASSES, LABELS, NUMBER, World, drawn, with_others

PPB = 10**9
RULES = names(1)
DIMENSION = 12
ALONE = ("cosine", "dbscan", "geometric-median", "leave-one-out", "multi-krum", "trimmed-mean")


def axis(at: int, length: int = 300) -> list[int]:
    return [length if c == at else 0 for c in range(DIMENSION)]


def references() -> dict[Label, list[int]]:
    """Right labels are the first axes, the root update is their sum, wrong labels are other axes."""
    wrong = iter(range(CLASSES, DIMENSION))
    table = {label: axis(label[0] if label[0] == label[1] else next(wrong)) for label in LABELS}
    return {**with_others(table), ROOT: [300] * CLASSES + [0] * (DIMENSION - CLASSES)}


def world(*updates: Sequence[int]) -> World:
    return World(
        updates=updates,
        bases=[NUMBER - 1] * len(updates),
        clients=list(range(1, len(updates) + 1)),
        tables={NUMBER - 1: [references()] * 3},
    )


def found(rule: str, *updates: Sequence[int]) -> RoundResult:
    return world(*updates).scored(rule)


UPDATE = [300, 100, 0, 0, 0, 0, 0, 0, 0, 0, 50, 0]


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"leave-one-out", "anchored", "fltrust"}))
def test_one_update_alone_is_worth_all(rule: str) -> None:
    assert found(rule, UPDATE).thetas == (PPB,)


def test_one_update_alone_has_no_others_to_agree_with() -> None:
    result = found("leave-one-out", UPDATE)
    assert result.outcome is Outcome.ALL_ZERO


def test_one_update_alone_is_held_beside_references() -> None:
    assert found("fltrust", UPDATE).thetas == (int(PPB * 400 / 3**0.5 / 102_500**0.5),)
    assert found("anchored", UPDATE).thetas == (PPB // 2,)
    assert found("anchored-shapley", UPDATE).thetas == (PPB,)


IDENTICAL = {
    "anchored": (PPB // 2, 0, 0, 0),  # copies within the round
    "anchored-shapley": (PPB, 0, 0, 0),
    "calibrated": (PPB, 0, 0, 0),
    "calibrated-shapley": (PPB, 0, 0, 0),
    "calibrated-loss-shapley": (PPB, 0, 0, 0),
    "decomposed": (PPB, 0, 0, 0),
    "decomposed-loss-shapley": (PPB, 0, 0, 0),
    "foolsgold": (0, 0, 0, 0),  # four identities of one
    "fltrust": (int(PPB * 400 / 3**0.5 / 102_500**0.5),) * 4,
    "data-size": (PPB // 4, PPB // 2, PPB * 3 // 4, PPB),
}


@pytest.mark.parametrize("rule", RULES)
def test_identical_updates(rule: str) -> None:
    assert found(rule, *[UPDATE] * 4).thetas == IDENTICAL.get(rule, (PPB,) * 4)


ZEROS = {"uniform", "data-size", "multi-krum", "trimmed-mean", "geometric-median", "foolsgold"}
"""The rules that pay zero updates: comparing with others, they find nothing against them."""


@pytest.mark.parametrize("rule", RULES)
def test_zero_updates(rule: str) -> None:
    result = found(rule, *[[0] * DIMENSION] * 3)
    if rule in ZEROS:
        assert result.paid
    else:
        assert result.outcome is Outcome.ALL_ZERO
    assert not result.model.any()


ORTHOGONAL = {
    "leave-one-out": (0, 0, 0),
    "cosine": (577_350_269,) * 3,
    "dbscan": (577_350_269,) * 3,  # each with the sum, which has three neighbours
    "cgsv": (577_350_269,) * 3,
    "fltrust": (577_350_269,) * 3,
    "anchored": (PPB // 2,) * 3,
    "trimmed-mean": (PPB * 11 // 12,) * 3,  # all but the own coordinate, where the two zeros stay
    "anchored-shapley": (PPB // 12 + PPB // 4,) * 3,
    "calibrated-shapley": (PPB // 12 + PPB // 4,) * 3,
    "data-size": (PPB // 3, PPB * 2 // 3, PPB),
}


@pytest.mark.parametrize("rule", RULES)
def test_updates_at_right_angles(rule: str) -> None:
    thetas = found(rule, *(axis(at) for at in range(3))).thetas
    assert thetas == pytest.approx(ORTHOGONAL.get(rule, (PPB,) * 3), abs=2)


def test_five_updates_at_right_angles_are_no_cluster_of_dbscan() -> None:
    assert found("dbscan", *(axis(at) for at in range(4))).thetas == (PPB // 2,) * 4
    assert found("dbscan", *(axis(at) for at in range(5))).outcome is Outcome.ALL_ZERO


ENORMOUS = axis(0, INT16.max)


LENGTH_BLIND = {"uniform", "data-size", "cosine", "dbscan", "foolsgold", "trimmed-mean"}


@pytest.mark.parametrize("rule", sorted(set(RULES) - LENGTH_BLIND))
def test_one_enormous_update_hardly_moves_the_model(rule: str) -> None:
    usual = [axis(at % 3, 290 + at) for at in range(5)]
    result = found(rule, *usual, ENORMOUS)
    assert result.weights[5] * INT16.max / STEP_TOTAL <= 1_000


@pytest.mark.parametrize("rule", ["cosine", "dbscan"])
def test_an_enormous_update_takes_over_where_the_sum_is_the_measure(rule: str) -> None:
    usual = [axis(at % 3, 290 + at) for at in range(5)]
    assert found(rule, *usual, ENORMOUS).thetas[5] > 999_000_000


GAMES = {
    "gram-shapley",
    "anchored-shapley",
    "calibrated-shapley",
    "loss-shapley",
    "calibrated-loss-shapley",
    "decomposed-loss-shapley",
}
JUDGES = [
    "anchored",
    "anchored-shapley",
    "calibrated",
    "calibrated-shapley",
    "calibrated-loss-shapley",
    "decomposed",
    "decomposed-loss-shapley",
]
"""The rules that hold updates and clients beside references of labels."""


@pytest.mark.parametrize("rule", ["fltrust", "gram-shapley", *JUDGES])
@pytest.mark.parametrize("tables", [{}, {NUMBER - 1: []}, {NUMBER - 1: [{}]}, {NUMBER - 2: [references()]}])
def test_without_references_nobody_is_judged_and_nobody_paid(
    rule: str, tables: dict[int, list[dict[Label, list[int]]]]
) -> None:
    measured = (900_000_000, PPB, 100_000_000, PPB) * 2 if rule.startswith("decomposed") else (900_000_000, 100_000_000)
    history = {1: (3, *measured)}
    result = replace(world(UPDATE, axis(1)), tables=tables, history=history).scored(rule)
    assert result.outcome is Outcome.ALL_ZERO
    if rule in JUDGES:
        assert result.history == history


@pytest.mark.parametrize("rule", ["anchored", "calibrated"])
def test_without_root_updates_the_shapley_variant_pays_by_theta(rule: str) -> None:
    table = {label: row for label, row in references().items() if label != ROOT}
    bare = replace(world(UPDATE, axis(2)), tables={NUMBER - 1: [table]})
    plain = bare.scored(rule).thetas
    assert bare.scored(f"{rule}-shapley").thetas == tuple(PPB * theta // sum(plain) for theta in plain)


@pytest.mark.parametrize("rule", ["fltrust", "gram-shapley", "loss-shapley", *JUDGES])
def test_zero_references_are_none(rule: str) -> None:
    nothing = {label: [0] * DIMENSION for label in (*LABELS, ROOT)}
    around = world(UPDATE, axis(1))
    mixed = replace(around, tables={NUMBER - 1: [references(), nothing, references()]})
    without = replace(around, tables={NUMBER - 1: [references()] * 2})
    assert mixed.scored(rule).thetas == without.scored(rule).thetas
    assert not replace(around, tables={NUMBER - 1: [nothing]}).scored(rule).paid


@pytest.mark.parametrize("rule", JUDGES)
def test_a_reference_for_a_class_that_nobody_has_changes_little(rule: str) -> None:
    """Its cosine is near 0 for all: the least cosine, which q adds, becomes at most that."""
    around = world(UPDATE, axis(1))
    more = {**references(), (7, 7): axis(11), (REST, 7): axis(10, 100)}
    with_it = replace(around, tables={NUMBER - 1: [more] * 3}).scored(rule)
    assert with_it.thetas == pytest.approx(around.scored(rule).thetas, rel=0.1)
    assert with_it.parts["accepted"] == (PPB, PPB)


@pytest.mark.parametrize("rule", JUDGES)
def test_when_all_are_refused_nobody_is_paid_and_all_are_remembered(rule: str) -> None:
    result = found(rule, *([-x for x in axis(at)] for at in range(3)))
    assert result.outcome is Outcome.ALL_ZERO
    assert result.weights == (0, 0, 0)
    assert result.parts["accepted"] == (0, 0, 0)
    assert all(result.history[client][0] == 1 and result.history[client][1] < 0 for client in (1, 2, 3))


@pytest.mark.parametrize("rule", JUDGES)
def test_one_enormous_update_is_refused_and_the_others_are_paid(rule: str) -> None:
    result = found(rule, axis(0), axis(1), axis(2), ENORMOUS)
    assert result.parts["refused"] == (0, 0, 0, PPB)
    assert result.thetas[3] == result.weights[3] == 0
    assert all(result.thetas[:3])
    assert result.history[4][:2] == (1, -PPB // 2)


@pytest.mark.parametrize("rule", sorted(set(RULES) - set(names(1, alone=True))))
def test_a_rule_that_needs_a_context_is_refused_without_one(rule: str) -> None:
    with pytest.raises(UnknownRule, match=r"no scoring rule that needs no context .* choose one of cosine, data-size"):
        compute(replace(world(UPDATE).inputs(rule), context=None))


SMALL = st.lists(
    st.lists(st.sampled_from((0, 0, 1, -1, 3, INT16.max, INT16.min)), min_size=2, max_size=2), min_size=1, max_size=5
)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40)
@given(SMALL, SMALL, st.lists(st.integers(1, 3), min_size=5, max_size=5))
def test_every_rule_answers_whatever_comes(
    rule: str, updates: list[list[int]], rows: list[list[int]], clients: list[int]
) -> None:
    labels = (ROOT, (0, 0), (0, 1), (1, 1), (1, 0))
    tables = {NUMBER - 1: [dict(zip(labels, rows, strict=False)), dict(zip(labels[2:], rows, strict=False))]}
    result = World(
        updates=updates,
        bases=[NUMBER - 1] * len(updates),
        clients=clients[: len(updates)],
        tables=tables,
        records={NUMBER - 1: rows},
    ).scored(rule)
    assert len(result.thetas) == len(updates)
    assert all(0 <= theta <= PPB for theta in result.thetas)
    assert all(weight >= 0 for weight in result.weights)
    assert sum(result.weights) <= STEP_TOTAL
    assert all(len(part) == len(updates) for part in result.parts.values())


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.permutations(range(6)))
def test_thetas_follow_their_updates_when_the_order_changes(rule: str, seed: int, order: list[int]) -> None:
    drawn_ = replace(drawn(seed), clients=[11, 12, 13, 14, 15, 16])
    matrix = np.array(drawn_.updates, dtype=float)
    # of two near copies the earlier one counts
    assume(all(oracles.cosine(a, b) < 0.97 for at, a in enumerate(matrix) for b in matrix[:at]))
    thetas = drawn_.scored(rule).thetas
    moved = drawn_.reordered(order).scored(rule).thetas
    if rule == "data-size":  # samples belong to places in these rounds
        assert moved == thetas
    elif rule == "geometric-median":  # units of weights that division leaves go to earlier entries
        assert moved == pytest.approx([thetas[at] for at in order], abs=10_000)
    else:
        assert moved == tuple(thetas[at] for at in order)


@pytest.mark.parametrize("rule", sorted(set(RULES) - GAMES))
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_the_unit_of_updates_changes_no_theta(rule: str, seed: int, factor: int) -> None:
    around = drawn(seed)
    scaled = around.with_updates([[factor * x for x in row] for row in around.updates])
    assume(all(INT16.min <= x <= INT16.max for row in scaled.updates for x in row))
    tolerance = 1_000 if rule == "geometric-median" else 0
    assert scaled.scored(rule).thetas == pytest.approx(around.scored(rule).thetas, abs=tolerance)


@pytest.mark.parametrize("rule", ["gram-shapley", "anchored-shapley", "calibrated-shapley"])
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_values_keep_when_updates_and_references_change_their_unit_together(rule: str, seed: int, factor: int) -> None:
    around = drawn(seed)
    tables = {
        version: [{label: [factor * x for x in row] for label, row in table.items()} for table in servers]
        for version, servers in around.tables.items()
    }
    rows = [row for servers in tables.values() for table in servers for row in table.values()]
    scaled = replace(around.with_updates([[factor * x for x in row] for row in around.updates]), tables=tables)
    assume(all(INT16.min <= x <= INT16.max for row in [*rows, *scaled.updates] for x in row))
    assert scaled.scored(rule).thetas == around.scored(rule).thetas
