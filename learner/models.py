"""Models to train: softmax regression, an MLP, a CNN, or any torch module by "module:factory".

A model travels as one flat vector. Its order is fixed: the parameters in the order of the module's
`named_parameters()` (registration order), each flattened row-major. Everything that a module learns must be a
parameter: one with buffers (batch norm's statistics) is refused, because they would stay behind.
"""

import importlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from math import isqrt
from types import MappingProxyType

import numpy as np

from learner.errors import InvalidModel, MissingExtra
from learner.fixedpoint import Reals

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtra(package="torch") from error

Factory = Callable[[int, int], nn.Module]
"""(features, classes) -> module that maps float32[n, features] to logits float32[n, classes]."""

MLP_HIDDEN = (300, 124, 60)
CNN_CHANNELS = (32, 64)
CNN_DENSE = 512
CNN_KERNEL = 5


def softmax_regression(features: int, classes: int) -> nn.Module:
    """Build one linear layer with bias: features * classes + classes parameters."""
    return nn.Sequential(nn.Linear(features, classes))


def mlp(features: int, classes: int) -> nn.Module:
    """Build the MLP features-300-124-60-classes of arXiv 1905.01656 with ReLU.

    Without biases: 784*300 + 300*124 + 124*60 + 60*10 = 280,440 is the number of parameters that the paper counts.
    """
    sizes = (features, *MLP_HIDDEN, classes)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(features: int, classes: int) -> nn.Module:
    """Build the CNN of BFL-MEC: two 5x5 convolutions (32 and 64 channels) with 2x2 max pooling, dense 512, dense out.

    Images are square with one channel, a side divisible by 4. The convolutions keep the side (padding 2), as in
    McMahan et al. (arXiv 1602.05629): 1,663,370 parameters for 784 features and 10 classes.
    """
    side = isqrt(features)
    if side * side != features or side % 4:
        raise InvalidModel(reason=f"{features} pixels are no square image with a side divisible by 4, as the CNN needs")
    first, second = CNN_CHANNELS
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, first, CNN_KERNEL, padding=CNN_KERNEL // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, CNN_KERNEL, padding=CNN_KERNEL // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (side // 4) ** 2, CNN_DENSE),
        nn.ReLU(),
        nn.Linear(CNN_DENSE, classes),
    )


MODELS: Mapping[str, Factory] = MappingProxyType({"softmax": softmax_regression, "mlp": mlp, "cnn": cnn})


def build(name: str, *, features: int, classes: int, seed: int = 0) -> nn.Module:
    """Make the module `name`, a key of `MODELS` or "package.module:factory" (called as `Factory`).

    Its initial weights are torch's own initialisation under `seed`; torch's global generator is left as it was.
    Raises `InvalidModel` for an unknown name, a factory that is not there, or a module that cannot travel as a vector.
    """
    factory = MODELS.get(name) or _factory(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = factory(features, classes)
    check(name, module)
    return module


def check(name: str, module: object) -> None:
    """Raise `InvalidModel`, naming the model, for what is no module or cannot travel as a vector."""
    if not isinstance(module, nn.Module):
        raise InvalidModel(reason=f"{name} made a {type(module).__name__}, not a torch module")
    if any(True for _ in module.buffers()):
        raise InvalidModel(
            reason=f"{name} has buffers, which would not travel with its parameters: leave out batch norm"
        )
    if any(parameter.dtype != torch.float32 for parameter in module.parameters()):
        raise InvalidModel(reason=f"{name} has parameters that are not float32")
    if dimension(module) == 0:
        raise InvalidModel(reason=f"{name} has no parameters")


def dimension(module: nn.Module) -> int:
    """Count the parameters: the length of the flat vector."""
    return sum(parameter.numel() for parameter in module.parameters())


def flatten(module: nn.Module) -> Reals:
    """Copy the parameters into one float64[d] in the documented order; exact, since they are float32."""
    with torch.no_grad():
        flat = torch.cat([parameter.reshape(-1) for parameter in module.parameters()])
    return flat.numpy().astype(np.float64)


def unflatten(module: nn.Module, vector: Reals) -> None:
    """Set the parameters from float64[d], each rounded to float32; `InvalidModel` if the length does not fit."""
    if vector.shape != (dimension(module),):
        raise InvalidModel(reason=f"a vector of shape {list(vector.shape)} for {dimension(module)} parameters")
    flat = torch.from_numpy(vector.astype(np.float32))
    start = 0
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(flat[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()


def _factory(name: str) -> Factory:
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise InvalidModel(reason=f"no model {name!r}: choose {', '.join(MODELS)} or name a factory as module:factory")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidModel(reason=f"no factory {name!r} ({error})") from error
    if not callable(factory):
        raise InvalidModel(reason=f"{name} is a {type(factory).__name__}, not a factory")
    return factory  # type: ignore[no-any-return]  # the user's own; `build` checks what it makes
