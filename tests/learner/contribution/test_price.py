"""Prices of classes: pay and step by what an update teaches, beside an oracle in floats; alike, nothing changes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.learner.contribution import oracles
from tests.learner.contribution.test_anchored import vector
from tests.learner.contribution.test_calibrated import honest, world
from tests.learner.contribution.worlds import CLASSES, drawn

PPB = 10**9
SEEDS = st.integers(0, 10_000)
WEIGHTS = (PPB, PPB // 5, PPB // 2)


@given(SEEDS, st.sampled_from(["anchored", "calibrated", "decomposed"]))
def test_an_update_is_paid_by_the_classes_that_it_teaches(seed: int, scoring: str) -> None:
    around = drawn(seed, count=8)
    plain, found = around.scored(scoring), replace(around, weights=WEIGHTS).scored(scoring)
    assert found.history == plain.history, "who is accepted does not depend on prices"
    assert {name: part for name, part in found.parts.items() if name != "price"} == plain.parts
    for at, (update, base) in enumerate(zip(around.updates, around.bases, strict=True)):
        expected = oracles.price(np.array(update, dtype=float), around.tables[base], [one / PPB for one in WEIGHTS])
        assert found.parts["price"][at] == pytest.approx(PPB * expected, abs=1_000)
        if found.paid:
            assert found.thetas[at] == plain.thetas[at] * found.parts["price"][at] // PPB


@pytest.mark.parametrize("scoring", ["anchored", "calibrated", "decomposed", "anchored-shapley", "calibrated-shapley"])
@given(seed=SEEDS)
def test_classes_that_count_alike_change_nothing(scoring: str, seed: int) -> None:
    around = drawn(seed)
    plain, found = around.scored(scoring), replace(around, weights=(PPB,) * CLASSES).scored(scoring)
    assert found.parts["price"] == (PPB,) * len(around.updates) or 0 in found.parts["price"]
    if 0 not in found.parts["price"]:
        assert (found.thetas, found.weights) == (plain.thetas, plain.weights)


def test_the_step_follows_the_prices_and_cheap_updates_do_not_shrink_it() -> None:
    updates = [honest(0), honest(1, 10), honest(2, 11)]
    plain = world(*updates).scored("calibrated")
    cheap = replace(world(*updates), weights=(PPB // 5, PPB // 5, PPB)).scored("calibrated")
    assert plain.thetas == (PPB,) * 3
    assert cheap.thetas == pytest.approx((PPB // 5, PPB // 5, PPB), abs=10)
    assert sum(cheap.weights) == pytest.approx(sum(plain.weights), abs=10)
    assert cheap.weights[2] == pytest.approx(5 * cheap.weights[0], rel=1e-6)
    alone = replace(world(*updates), weights=(PPB // 5, PPB // 10, PPB // 10)).scored("calibrated")
    assert sum(alone.weights) == pytest.approx(sum(plain.weights), abs=10)


def test_what_teaches_two_classes_is_paid_by_the_share_of_each() -> None:
    both = vector(c0=300, c1=100, c9=50)
    found = replace(world(both, honest(1, 10), honest(2, 11)), weights=(PPB, 0, 0)).scored("calibrated")
    assert found.parts["price"] == pytest.approx((3 * PPB // 4, 0, 0), abs=10)
    assert found.thetas[1:] == (0, 0)
