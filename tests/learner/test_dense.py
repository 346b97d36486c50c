"""The gradients that are written out are those of autograd."""

import numpy as np
import pytest
import torch
from torch import nn

from learner import training
from learner.data import Dataset
from learner.dense import activations, dense_layers, gradient
from learner.models import build, flatten
from learner.training import SGD, one_thread, train

DATA = Dataset(np.random.default_rng(1).random((70, 64), dtype=np.float32), np.arange(70, dtype=np.int64) % 10, 10)


def deep(features: int, classes: int) -> nn.Module:
    """Layers with biases, which the MLP of ours has not."""
    return nn.Sequential(nn.Linear(features, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, classes))


@pytest.mark.parametrize("name", ["softmax", "mlp", "tests.learner.test_dense:deep"])
def test_a_training_ends_where_autograd_ends(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(name, features=64, classes=10, seed=2)
    assert dense_layers(module)
    start, sgd = flatten(module), SGD(epochs=3, batch_size=20, learning_rate=0.2)
    with one_thread():
        ours = train(module, start, DATA, sgd, seed=4)
        monkeypatch.setattr(training, "dense_layers", lambda _: [])
        theirs = train(module, start, DATA, sgd, seed=4)
    assert np.abs(ours - start).max() > 0.001
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize("name", ["softmax", "mlp", "tests.learner.test_dense:deep"])
def test_a_gradient_is_autograds(name: str) -> None:
    module = build(name, features=64, classes=10, seed=2)
    layers, images = dense_layers(module), torch.from_numpy(DATA.images)
    error = torch.rand(len(images), 10, generator=torch.Generator().manual_seed(3)) - 0.5
    expected = torch.autograd.grad((module(images) * error).sum(), list(module.parameters()))
    with torch.no_grad():
        *seen, logits = activations(layers, images)
        found = gradient(layers, seen, error)
    assert torch.equal(logits, module(images))
    assert torch.allclose(found, torch.cat([part.reshape(-1) for part in expected]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(4, 2),
        nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 3), nn.ReLU()),
        nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)),
        nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(4, 2)),
        nn.Sequential(),
    ],
    ids=str,
)
def test_only_stacks_of_dense_layers_are_taken(module: nn.Module) -> None:
    assert not dense_layers(module)


def test_layers_that_share_parameters_or_stand_still_are_left_to_autograd() -> None:
    shared = nn.Linear(4, 4)
    assert not dense_layers(nn.Sequential(shared, nn.ReLU(), shared))
    frozen = nn.Sequential(nn.Linear(4, 2))
    frozen[0].weight.requires_grad_(False)  # noqa: FBT003 - torch's own signature
    assert not dense_layers(frozen)


def test_one_thread_is_given_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
