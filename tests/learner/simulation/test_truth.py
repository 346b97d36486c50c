"""Sampled Shapley values are those of the game, and pay is ranked beside them."""

from itertools import permutations

import numpy as np
import pytest

from learner.data import Split
from learner.data.digits import load
from learner.fixedpoint import decode_model, decode_update
from learner.models import build
from learner.simulation.ledger import Round
from learner.simulation.run import simulate
from learner.simulation.scenario import IID, Synchronous
from learner.simulation.summary import summarise
from learner.simulation.truth import Truth, spearman
from learner.training import evaluate, one_thread
from tests.learner.simulation.small import small

SCENARIO = small("uniform", server=Synchronous(phi=4), rounds=2)


@pytest.fixture(scope="module")
def split() -> Split:
    return load(3)


@pytest.fixture(scope="module")
def decided(split: Split) -> Round:
    with one_thread():
        return next(event for event in simulate(SCENARIO, split) if isinstance(event, Round))


def test_with_every_order_the_values_are_the_games(split: Split, decided: Round) -> None:
    module = build("softmax", features=64, classes=10)
    truth = Truth(lambda model: evaluate(module, model, split.test).loss, 0, 1)
    terms = decided.inputs.terms
    start = decode_model(decided.inputs.current, terms.model_fraction_bits)
    updates = [decode_update(record.update, terms.fraction_bits) for record in decided.records]

    def value(members: tuple[int, ...]) -> float:
        mean = sum((updates[at] for at in members), start=np.zeros_like(start)) / max(1, len(members))
        return -evaluate(module, start + mean, split.test).loss

    orders = list(permutations(range(4)))
    with one_thread():
        found = truth._shapley(start, updates, orders)  # noqa: SLF001 - the orders are the point
        for at in range(4):
            gains = [value(order[: order.index(at) + 1]) - value(order[: order.index(at)]) for order in orders]
            assert found[at] == pytest.approx(np.mean(gains), abs=1e-6)
        assert sum(found) == pytest.approx(value((0, 1, 2, 3)) - value(()), abs=1e-6)


def test_sampled_values_share_out_what_the_round_gained(split: Split, decided: Round) -> None:
    module = build("softmax", features=64, classes=10)
    with one_thread():
        few, many = (Truth(lambda model: evaluate(module, model, split.test).loss, count, 1) for count in (3, 200))
        few.decided(decided)
        many.decided(decided)
    assert sum(few.values.values()) == pytest.approx(sum(many.values.values()), abs=1e-6)
    assert set(few.values) == {record.client for record in decided.records}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [10, 20, 90], 1),
        ([1, 2, 3], [3, 2, -1], -1),
        ([1, 1, 2], [1, 2, 3], 0.866025),
        ([1, 1, 1], [1, 2, 3], None),
        ([1], [1], None),
        ([], [], None),
    ],
)
def test_rank_correlation(first: list[float], second: list[float], expected: float | None) -> None:
    found = spearman(first, second)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_a_run_ranks_its_pay_beside_its_truth_only_if_asked(split: Split) -> None:
    asked = small("data-size", server=Synchronous(phi=12), rounds=3, partition=IID(), shapley_permutations=2)
    with one_thread():
        ranked = summarise(simulate(asked, split)).shapley_rank
        assert summarise(simulate(SCENARIO, split)).shapley_rank is None
    assert ranked is not None
    assert -1 <= ranked <= 1
