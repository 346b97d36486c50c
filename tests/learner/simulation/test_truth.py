"""Measured Shapley values are those of the game, and pay is ranked beside them."""

from functools import cache
from itertools import permutations

import numpy as np
import pytest

from learner.data import Dataset, Split
from learner.data.digits import load
from learner.fixedpoint import decode_model, decode_update
from learner.models import build
from learner.simulation.ledger import Round
from learner.simulation.run import simulate
from learner.simulation.scenario import IID, Synchronous
from learner.simulation.summary import summarise
from learner.simulation.truth import Truth, Values, _weights, spearman
from learner.training import evaluate, one_thread, sample_losses
from tests.learner.simulation.small import small

SCENARIO = small("uniform", server=Synchronous(phi=4), rounds=2)


@pytest.fixture(scope="module")
def split() -> Split:
    return load(3)


@pytest.fixture(scope="module")
def decided(split: Split) -> Round:
    with one_thread():
        return next(event for event in simulate(SCENARIO, split) if isinstance(event, Round))


def truth(split: Split, permutations: int) -> Truth:
    module = build("softmax", features=64, classes=10)
    return Truth(lambda model: sample_losses(module, model, split.test), split.test.labels, permutations, 1)


def of_classes(split: Split, samples: slice) -> list[Dataset]:
    """Every class's samples, or every other one of them."""
    labels = split.test.labels
    return [split.test.subset(np.flatnonzero(labels == label)[samples]) for label in range(10)]


def worth(split: Split, decided: Round, samples: slice) -> list[float]:
    """Shapley's definition: mean marginal fall of the mean over classes of a class's loss, over all orders."""
    module = build("softmax", features=64, classes=10)
    terms = decided.inputs.terms
    start = decode_model(decided.inputs.current, terms.model_fraction_bits)
    updates = [decode_update(record.update, terms.fraction_bits) for record in decided.records]

    @cache
    def value(members: frozenset[int]) -> float:
        mean = sum((updates[at] for at in members), start=np.zeros_like(start)) / max(1, len(members))
        return -float(np.mean([evaluate(module, start + mean, data).loss for data in of_classes(split, samples)]))

    orders = list(permutations(range(4)))
    return [
        float(np.mean([value(frozenset(o[: o.index(at) + 1])) - value(frozenset(o[: o.index(at)])) for o in orders]))
        for at in range(4)
    ]


def test_a_small_round_has_the_games_exact_values(split: Split, decided: Round) -> None:
    found = truth(split, 4)
    clients = [record.client for record in decided.records]
    with one_thread():
        found.decided(decided)
        for values, samples in (
            (found.values.whole, slice(None)),
            (found.values.halves[0], slice(None, None, 2)),
            (found.values.halves[1], slice(1, None, 2)),
        ):
            expected = dict(zip(clients, worth(split, decided, samples), strict=True))
            assert values == pytest.approx(expected, abs=1e-6)


def test_sampled_values_come_near_the_exact_ones(split: Split, decided: Round) -> None:
    terms = decided.inputs.terms
    start = decode_model(decided.inputs.current, terms.model_fraction_bits)
    updates = [decode_update(record.update, terms.fraction_bits) for record in decided.records]
    asked = truth(split, 4)
    with one_thread():
        exact = np.array(asked._exactly(start, updates))  # noqa: SLF001 - both ways of one private choice
        every = np.array(asked._sampled(start, updates, list(permutations(range(4)))))  # noqa: SLF001
        some = np.array(asked._sampled(start, updates, [(0, 1, 2, 3), (3, 2, 1, 0)]))  # noqa: SLF001
    assert every == pytest.approx(exact, abs=1e-9)
    assert some.sum(axis=0) == pytest.approx(exact.sum(axis=0), abs=1e-9)
    assert some != pytest.approx(exact, abs=1e-6)


def test_values_count_each_class_alike() -> None:
    weights = _weights(np.array([0, 0, 0, 1, 2]))
    assert weights[0] == pytest.approx([1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 3])
    assert weights[1] == pytest.approx([1 / 6, 0, 1 / 6, 1 / 3, 1 / 3])
    assert weights[2] == pytest.approx([0, 1, 0, 0, 0])


def test_reliability_is_the_correlation_of_the_halves() -> None:
    assert Values({}, ({1: 0.1, 2: 0.2, 3: 0.3}, {1: 5.0, 2: 7.0, 3: 9.0})).reliability == pytest.approx(1)
    assert Values({}, ({1: 0.1, 2: 0.2}, {1: 5.0, 2: 5.0})).reliability is None


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
        found = summarise(simulate(asked, split))
        assert summarise(simulate(SCENARIO, split)).shapley_rank is None
    assert found.shapley_rank is not None
    assert found.shapley_reliability is not None
    assert -1 <= found.shapley_rank <= 1
