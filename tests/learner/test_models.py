"""Models have the published sizes and travel as vectors without loss."""

import numpy as np
import pytest
import torch
from torch import nn

from learner.errors import InvalidModel
from learner.models import MODELS, build, dimension, flatten, unflatten

SIZES = [("softmax", 784, 7_850), ("softmax", 64, 650), ("mlp", 784, 280_440), ("cnn", 784, 1_663_370)]


def two_layers(features: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 3), nn.Tanh(), nn.Linear(3, classes))


def with_batch_norm(features: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, classes))


def in_double(features: int, classes: int) -> nn.Module:
    return nn.Linear(features, classes, dtype=torch.float64)


def without_parameters(features: int, classes: int) -> nn.Module:
    del features, classes
    return nn.Flatten()


def no_module(features: int, classes: int) -> object:
    return features, classes


NOT_CALLABLE = 5


@pytest.mark.parametrize(("name", "features", "parameters"), SIZES)
def test_a_model_has_its_published_number_of_parameters(name: str, features: int, parameters: int) -> None:
    module = build(name, features=features, classes=10)
    assert dimension(module) == len(flatten(module)) == parameters


@pytest.mark.parametrize("name", MODELS)
def test_a_model_maps_images_to_logits(name: str) -> None:
    assert build(name, features=64, classes=10)(torch.zeros(3, 64)).shape == (3, 10)


@pytest.mark.parametrize("name", MODELS)
def test_flatten_undoes_unflatten(name: str) -> None:
    module, other = build(name, features=64, classes=10, seed=1), build(name, features=64, classes=10, seed=2)
    vector = flatten(module)
    unflatten(other, vector)
    assert (flatten(other) == vector).all()
    images = torch.linspace(0, 1, 128).reshape(2, 64)
    assert torch.equal(module(images), other(images))


def test_the_order_is_registration_order_row_major() -> None:
    module = build("softmax", features=4, classes=2)
    unflatten(module, np.arange(10, dtype=np.float64))
    weight, bias = module.parameters()
    assert weight.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert bias.tolist() == [8, 9]


def test_the_seed_decides_the_initial_weights() -> None:
    first, again, other = (flatten(build("mlp", features=64, classes=10, seed=seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    build("mlp", features=64, classes=10, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_any_factory_can_be_named() -> None:
    assert dimension(build(f"{__name__}:two_layers", features=5, classes=2)) == 5 * 3 + 3 + 3 * 2 + 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mpl", "no model 'mpl': choose softmax, mlp, cnn or name a factory as module:factory"),
        ("no_such_module:factory", "no factory 'no_such_module:factory'"),
        (f"{__name__}:no_such_factory", "no factory"),
        (":factory", "no factory"),
        (f"{__name__}:NOT_CALLABLE", "is a int, not a factory"),
        (f"{__name__}:no_module", "made a tuple, not a torch module"),
        (f"{__name__}:with_batch_norm", "has buffers"),
        (f"{__name__}:in_double", "not float32"),
        (f"{__name__}:without_parameters", "has no parameters"),
    ],
)
def test_what_cannot_be_a_model_is_refused(name: str, reason: str) -> None:
    with pytest.raises(InvalidModel, match=reason):
        build(name, features=5, classes=2)


@pytest.mark.parametrize("features", [63, 36])
def test_the_cnn_wants_a_square_image_divisible_by_four(features: int) -> None:
    with pytest.raises(InvalidModel, match="square image"):
        build("cnn", features=features, classes=10)


@pytest.mark.parametrize("shape", [(649,), (651,), (1, 650)])
def test_a_vector_of_another_length_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidModel, match="for 650 parameters"):
        unflatten(build("softmax", features=64, classes=10), np.zeros(shape))
