"""Global cycles: who trains on what, and how the server averages."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from learner.allocation.cycles import cycles, deal
from learner.data import Split, digits
from learner.models import build, flatten
from learner.training import SGD, Evaluation, evaluate, train
from merit.chance import seed_of

ONCE = SGD(epochs=1, batch_size=20, learning_rate=0.1)
D, TAU = [300, 100, 200], [2, 1, 0]


@pytest.fixture(scope="module")
def split() -> Split:
    return digits.load(seed=1)


def first(split: Split, count: int, *, redealt: bool = False, seed: int = 1) -> list[Evaluation]:
    return list(islice(cycles(split, D, TAU, model="softmax", sgd=ONCE, redealt=redealt, seed=seed), count))


def test_the_server_s_model_is_the_learners_mean_by_samples(split: Split) -> None:
    module = build("softmax", features=64, classes=10, seed=seed_of(1, "model") >> 1)
    start = flatten(module)
    mean = np.zeros_like(start)
    for learner, (own, updates) in enumerate(zip(deal(len(split.train), D, 1, 0), TAU, strict=True)):
        model = start  # who makes no update sends the model back as it is
        if updates:
            seed = seed_of(1, "cycle", 0, learner)
            model = train(module, start, split.train.subset(own), replace(ONCE, epochs=updates), seed=seed)
        mean += len(own) / 600 * model
    assert first(split, 1) == [evaluate(module, mean, split.test)]


def test_learners_get_as_many_samples_as_they_are_allocated_and_nobody_the_same() -> None:
    dealt = deal(1_000, D, 1, 0)
    assert [len(own) for own in dealt] == D
    assert len(set(np.concatenate(dealt).tolist())) == 600


def test_equal_seeds_give_equal_curves_and_others_do_not(split: Split) -> None:
    assert first(split, 2) == first(split, 2)
    assert first(split, 2) != first(split, 2, seed=2)


def test_only_what_the_server_deals_out_anew_changes_after_the_first_cycle(split: Split) -> None:
    own, redealt = first(split, 2), first(split, 2, redealt=True)
    assert own[0] == redealt[0]
    assert own[1] != redealt[1]


def test_more_cycles_make_a_better_model(split: Split) -> None:
    losses = [one.loss for one in first(split, 4)]
    assert losses == sorted(losses, reverse=True)
