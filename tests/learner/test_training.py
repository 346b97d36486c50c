"""Training learns, repeats itself, and refuses what means nothing."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import functional

from learner.data import Dataset, Split
from learner.data.digits import load
from learner.errors import InvalidModel, TrainingFailed
from learner.fixedpoint import Refusal, Rejected, encode_update
from learner.models import build, flatten
from learner.training import SGD, Evaluation, evaluate, train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits() -> Split:
    return load(1)


SOFTMAX = {"features": 64, "classes": 10}


def test_softmax_regression_learns_the_digits(digits: Split) -> None:
    module = build("softmax", **SOFTMAX)
    start = flatten(module)
    trained = train(module, start, digits.train, SGD(epochs=10, batch_size=20, learning_rate=0.1), seed=1)
    before, after = evaluate(module, start, digits.test), evaluate(module, trained, digits.test)
    assert before.accuracy < 0.3
    assert after.accuracy > 0.9
    assert after.loss < before.loss


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_every_model_gets_better(digits: Split, name: str) -> None:
    module = build(name, **SOFTMAX)
    start = flatten(module)
    some = digits.train.subset(np.arange(400))
    trained = train(module, start, some, SGD(epochs=2, batch_size=20, learning_rate=0.1), seed=1)
    assert evaluate(module, trained, some).loss < evaluate(module, start, some).loss


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(digits: Split, momentum: float) -> None:
    module = build("mlp", **SOFTMAX)
    start = flatten(module)
    sgd = SGD(epochs=1, batch_size=50, learning_rate=0.1, momentum=momentum)
    first, again, other = (train(module, start, digits.train, sgd, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_is_the_step_of_torchs_own_sgd(digits: Split, momentum: float) -> None:
    module, reference = build("softmax", **SOFTMAX), build("softmax", **SOFTMAX)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.5, momentum=momentum)
    for _ in range(3):  # whole batches, so that the order does not matter
        optimizer.zero_grad()
        images, labels = torch.from_numpy(digits.train.images), torch.from_numpy(digits.train.labels)
        functional.cross_entropy(reference(images), labels).backward()
        optimizer.step()
    sgd = SGD(epochs=3, batch_size=len(digits.train), learning_rate=0.5, momentum=momentum)
    trained = train(module, flatten(module), digits.train, sgd, seed=1)
    assert np.abs(trained - flatten(reference)).max() < 1e-6


def test_training_leaves_the_start_vector_and_the_global_generator_alone(digits: Split) -> None:
    module = build("softmax", **SOFTMAX)
    start = flatten(module)
    kept, state = start.copy(), torch.random.get_rng_state()
    train(module, start, digits.train, SGD(epochs=1, batch_size=50, learning_rate=0.1), seed=1)
    assert (start == kept).all()
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_training_that_diverges_is_refused_by_the_encoder(digits: Split) -> None:
    module = build("mlp", **SOFTMAX)
    start = flatten(module)
    trained = train(module, start, digits.train, SGD(epochs=1, batch_size=20, learning_rate=1e30), seed=1)
    answer = encode_update(trained - start, 14)
    assert isinstance(answer, Rejected)
    assert answer.reason is Refusal.NOT_FINITE


def test_evaluation_counts_over_several_batches() -> None:
    module = build("softmax", features=1, classes=2)
    # logits (0, x): class 1 wins exactly where x > 0
    data = Dataset(np.linspace(-1, 1, 4_001, dtype=np.float32)[:, None], np.ones(4_001, dtype=np.int64), 2)
    result = evaluate(module, np.array([0.0, 1.0, 0.0, 0.0]), data)
    assert result.accuracy == 2_000 / 4_001
    assert result.loss == pytest.approx(float(np.mean(np.log1p(np.exp(-data.images)))), rel=1e-5)
    assert isinstance(result, Evaluation)


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"momentum": -0.1},
    ],
)
def test_settings_that_mean_nothing_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(TrainingFailed, match="choose"):
        SGD(**{"epochs": 1, "batch_size": 1, "learning_rate": 0.1, **bad})  # type: ignore[arg-type]


def test_no_samples_and_wrong_vectors_are_refused(digits: Split) -> None:
    module = build("softmax", **SOFTMAX)
    sgd = SGD(epochs=1, batch_size=1, learning_rate=0.1)
    nothing = digits.train.subset(np.arange(0))
    with pytest.raises(TrainingFailed, match="no samples"):
        train(module, flatten(module), nothing, sgd, seed=1)
    with pytest.raises(TrainingFailed, match="no samples"):
        evaluate(module, flatten(module), nothing)
    with pytest.raises(InvalidModel):
        train(module, np.zeros(3), digits.train, sgd, seed=1)
