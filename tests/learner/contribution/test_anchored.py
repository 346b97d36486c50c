"""The rule `anchored`: its parts beside an oracle in floats, and what it does with those who cheat."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.contribution import Neighbours
from learner.contribution.anchored import Thresholds, anchored
from learner.contribution.anchored.novelty import projection
from learner.contribution.anchored.reputation import Record
from learner.rewards import STEP_TOTAL
from learner.rounds import compute
from tests.learner.contribution import oracles
from tests.learner.contribution.worlds import CLASSES, NUMBER, World, drawn

PPB = 10**9
SEEDS = st.integers(0, 10_000)
RIGHT = [(of, of) for of in range(CLASSES)]
DIMENSION = 12


def window(world: World) -> np.ndarray:
    vectors = []
    for number in range(NUMBER - 8, NUMBER):
        vectors += list(world.records.get(number, ()))
        if number in world.steps:
            vectors.append(world.steps[number])
    return np.array(vectors, dtype=float)


@given(SEEDS)
def test_the_parts_are_what_their_formulas_say(seed: int) -> None:
    world = drawn(seed)
    parts = world.scored("anchored").parts
    for at, (update, base) in enumerate(zip(world.updates, world.bases, strict=True)):
        q, m, n = oracles.judged(np.array(update, dtype=float), world.tables[base], window(world))
        assert parts["authenticity"][at] == pytest.approx(PPB * q, abs=50)
        assert parts["honesty"][at] == pytest.approx(PPB * m, abs=50)
        assert parts["novelty"][at] == pytest.approx(PPB * n, abs=2_000)


@given(SEEDS)
def test_acceptance_step_and_pay_follow_from_the_parts(seed: int) -> None:
    world = drawn(seed, count=8)
    result = world.scored("anchored", staleness="polynomial")
    parts, limits = result.parts, Thresholds()
    sums: dict[int, list[tuple[float, float]]] = {}
    shares = []
    for at, client in enumerate(world.clients):
        q, m, new = (parts[name][at] / PPB for name in ("authenticity", "honesty", "new"))
        assert new == pytest.approx(min(max(parts["novelty"][at] / 0.05 / PPB, 0), 1), abs=1e-8)
        seen_q, seen_m = (-0.5, -0.3) if parts["refused"][at] else (q, m)
        if new < 0.3:
            seen_q = min(seen_q, 0)
        known = sums.setdefault(client, [])
        known.append((min(max(seen_q, -1), 0.5), min(max(seen_m, -0.5), 0.1)))
        mean_q = (0.2 + sum(pair[0] for pair in known)) / (len(known) + 1)
        mean_m = sum(pair[1] for pair in known) / (len(known) + 1)
        assert parts["mean_authenticity"][at] == pytest.approx(PPB * mean_q, abs=20)
        assert parts["mean_honesty"][at] == pytest.approx(PPB * mean_m, abs=20)
        accepted = seen_q > 0 and seen_m > -0.3 and mean_q > 0.1 and mean_m > -0.06
        assert parts["accepted"][at] == PPB * accepted
        theta = accepted * min(max(q, 0), 0.5) * new * min(max(1 + m / 0.12, 0), 1)
        if result.paid:
            assert result.thetas[at] == pytest.approx(PPB * theta, abs=20)
        shares.append(accepted * new * (NUMBER - world.bases[at]) ** -0.5)
    least = limits.floor / PPB * sum((NUMBER - base) ** -0.5 for base in world.bases)
    norms = np.linalg.norm(np.array(world.updates, dtype=float), axis=1)
    cut = np.minimum(1, 1.5 * oracles.lower_middle(norms.tolist()) / norms)
    expected = np.array(shares) * cut / max(sum(shares), least) * STEP_TOTAL
    if result.paid:
        assert list(result.weights) == pytest.approx(expected.tolist(), abs=20)
    assert sum(result.weights) <= STEP_TOTAL


def simple(*updates: list[int], clients: list[int] | None = None, **around: object) -> World:
    """Three classes whose references are axes; the wrong labels are others."""
    axes = np.eye(DIMENSION, dtype=int) * 1000
    labels = [(of, labelled) for of in range(CLASSES) for labelled in range(CLASSES)]
    wrong = iter(axes[CLASSES:])
    table = {label: (axes[label[0]] if label in RIGHT else next(wrong)).tolist() for label in labels}
    whole = {
        "bases": [NUMBER - 1] * len(updates),
        "clients": clients or list(range(1, len(updates) + 1)),
        "tables": {NUMBER - 1: [table, table, table]},
    }
    return World(updates=updates, **{**whole, **around})  # type: ignore[arg-type]


def vector(**coordinates: int) -> list[int]:
    found = [0] * DIMENSION
    for name, value in coordinates.items():
        found[int(name[1:])] = value
    return found


def test_an_honest_update_is_paid_and_a_flipped_sign_is_not() -> None:
    honest, other = vector(c0=300, c11=100), vector(c1=300, c10=100)
    result = simple(honest, other, [-x for x in honest]).scored("anchored")
    assert result.thetas[0] == result.thetas[1] == PPB // 2
    assert result.thetas[2] == 0
    assert result.parts["accepted"] == (PPB, PPB, 0)


def test_flipped_labels_lose_acceptance_although_they_point_to_a_class() -> None:
    flipped = vector(c0=100, c3=400)  # g[0,1] is axis 3
    result = simple(vector(c1=300, c10=100), flipped).scored("anchored")
    assert result.parts["authenticity"][1] > 0
    assert result.parts["honesty"][1] < -300_000_000
    assert result.thetas[1] == 0


def test_a_copy_of_an_earlier_record_brings_nothing_new() -> None:
    record, fresh = vector(c0=300, c5=100), vector(c0=310, c9=250)
    copied = [x + y for x, y in zip(record, vector(c8=30), strict=True)]
    result = simple(copied, fresh, records={NUMBER - 2: [record]}).scored("anchored")
    assert result.parts["new"][0] < 300_000_000
    assert result.thetas[0] == 0
    assert result.parts["new"][1] > 900_000_000
    assert result.thetas[1] > 0


def test_a_near_copy_in_the_same_round_is_refused_and_the_earlier_entry_is_not() -> None:
    first = vector(c0=300, c5=100)
    result = simple(first, [x + 1 for x in first]).scored("anchored")
    assert result.parts["refused"] == (0, PPB)
    assert result.thetas[0] > 0
    assert result.thetas[1] == 0
    assert result.history[2] == (1, -500_000_000, -300_000_000)


@pytest.mark.parametrize(("length", "refused"), [(16_800, 0), (16_801, PPB), (210, 0), (209, PPB)])
def test_an_update_beyond_four_usual_lengths_or_under_a_twentieth_is_refused(length: int, refused: int) -> None:
    usual = [vector(c0=4200), vector(c1=4200), vector(c2=4200)]
    assert simple(*usual, vector(c9=length)).scored("anchored").parts["refused"] == (0, 0, 0, refused)


def test_a_client_that_lost_its_reputation_is_not_paid_for_one_honest_update() -> None:
    honest = vector(c0=300, c11=100)
    spoiled = {7: (3, -1_500_000_000, 0)}
    result = simple(honest, vector(c1=300), clients=[7, 8], history=spoiled).scored("anchored")
    assert result.parts["authenticity"][0] > 0
    assert result.thetas[0] == 0
    assert result.thetas[1] > 0
    assert result.history[7] == (4, -1_000_000_000, 100_000_000)


def test_who_is_absent_is_remembered_as_before() -> None:
    result = simple(vector(c0=300), history={5: (2, 3, 4)}).scored("anchored")
    assert result.history[5] == (2, 3, 4)


def test_a_stale_but_useful_update_is_paid_in_full_and_moves_the_model_less() -> None:
    world = simple(vector(c0=300, c11=100), vector(c1=300, c10=100))
    table = world.tables[NUMBER - 1]
    result = replace(world, bases=[NUMBER - 1, NUMBER - 4], tables={NUMBER - 1: table, NUMBER - 4: table}).scored(
        "anchored", staleness="polynomial"
    )
    assert result.thetas == (PPB // 2, PPB // 2)
    assert result.weights == pytest.approx([STEP_TOTAL * 2 / 3, STEP_TOTAL / 3], abs=2)


def test_a_round_of_few_accepted_takes_a_small_step() -> None:
    honest = vector(c0=300, c11=100)
    noise = [vector(c9=-300), vector(c10=-300), vector(c11=-300)]
    result = simple(honest, *noise).scored("anchored")
    assert result.weights == (STEP_TOTAL // 2, 0, 0, 0)
    assert (result.model != 0).any()


def test_a_server_without_wrong_labels_has_no_say_about_honesty() -> None:
    world = simple(vector(c0=100, c3=400))
    full = world.tables[NUMBER - 1][0]
    bare = {label: row for label, row in full.items() if label in RIGHT}
    mixed = replace(world, tables={NUMBER - 1: [bare, full, bare]})
    assert mixed.scored("anchored").parts["honesty"] == world.scored("anchored").parts["honesty"]
    assert replace(world, tables={NUMBER - 1: [bare]}).scored("anchored").parts["honesty"] == (0,)


def test_thresholds_can_be_tried_without_a_name() -> None:
    world = simple(vector(c0=300, c11=100))
    strict = anchored(Thresholds(least_authenticity=PPB))
    assert compute(world.inputs("anchored"), rule=strict).thetas == (0,)
    assert world.scored("anchored").paid


def test_a_record_stands_by_both_means() -> None:
    limits = Thresholds()
    assert Record().stands(limits)
    assert Record().after(PPB, PPB, limits) == Record(1, 500_000_000, 100_000_000)
    assert not Record(1, -100_000_000, 0).stands(limits)
    assert not Record(1, 500_000_000, -200_000_000).stands(limits)


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_what_the_projection_leaves_is_at_right_angles_to_every_neighbour(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-9, 9, (3, 5))
    vectors[rank:] = vectors[0] * 2  # dependent ones
    update = rng.integers(-9, 9, 5)
    neighbours = Neighbours(tuple((vectors @ update).tolist()), tuple(map(tuple, (vectors @ vectors.T).tolist())))
    coefficients, scale = projection(neighbours)
    left = [
        scale * x - sum(a * v for a, v in zip(coefficients, column, strict=True))
        for x, column in zip(update.tolist(), vectors.T.tolist(), strict=True)
    ]
    assert scale > 0
    assert all(oracles.dot(left, row) == 0 for row in vectors.tolist())


@given(SEEDS)
def test_three_quarters_of_the_shapley_variants_pay_follow_the_values(seed: int) -> None:
    world = drawn(seed)
    plain, priced = world.scored("anchored"), world.scored("anchored-shapley")
    assert priced.parts["usefulness"] == plain.thetas or not plain.paid
    assert priced.weights == plain.weights
    assert [theta > 0 for theta in priced.thetas] == [theta > 0 for theta in plain.thetas] or not priced.paid
    if plain.paid:
        shares = np.array(plain.thetas) / sum(plain.thetas)
        assert all(ours >= int(PPB * share / 4) - 1 for ours, share in zip(priced.thetas, shares, strict=True))
        assert sum(priced.thetas) <= PPB
