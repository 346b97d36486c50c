"""SGD and gradients on a stack of dense layers, written out.

On layers as small as an edge learner's, autograd spends as long on its graph as on the arithmetic. In a step every
product writes into the parameter that it moves. The steps are torch.optim.SGD's up to the order of additions.
"""

from collections.abc import Sequence

from learner.errors import MissingExtra

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtra(package="torch") from error


def dense_layers(module: nn.Module) -> list[nn.Linear]:
    """Return the layers of Sequential(Linear, ReLU, Linear, ..., Linear); none for a module of any other form."""
    if type(module) is not nn.Sequential:
        return []
    parts = list(module)
    layers = [part for part in parts[::2] if type(part) is nn.Linear]
    between = [part for part in parts[1::2] if type(part) is nn.ReLU]
    trained = list(module.parameters())
    own = sum(1 if layer.bias is None else 2 for layer in layers)
    whole = len(layers) == len(between) + 1 and len(parts) == len(layers) + len(between)
    return layers if whole and len(trained) == own and all(one.requires_grad for one in trained) else []


def descend(layers: Sequence[nn.Linear], images: Tensor, labels: Tensor, rate: float) -> None:
    """Take one step of plain SGD on the mean cross-entropy of a batch, in place.

    `images` float32[n, features] and `labels` int64[n], n at least 1; `rate` is the step size. To be called without
    gradients (`torch.no_grad`).
    """
    *seen, logits = activations(layers, images)
    error = torch.softmax(logits, dim=1)
    error[torch.arange(len(labels)), labels] -= 1.0
    scale = -rate / len(labels)
    for at in range(len(layers) - 1, -1, -1):
        layer, given = layers[at], error
        if at:
            error = (given @ layer.weight).mul_(seen[at] > 0)
        layer.weight.addmm_(given.t(), seen[at], alpha=scale)
        if layer.bias is not None:
            layer.bias.add_(given.sum(dim=0), alpha=scale)


def activations(layers: Sequence[nn.Linear], images: Tensor) -> list[Tensor]:
    """Give what each layer sees of float32[n, features], and last the logits; to be called without gradients."""
    seen = [images]
    for layer in layers[:-1]:
        seen.append(_forward(layer, seen[-1]).relu_())
    return [*seen, _forward(layers[-1], seen[-1])]


def gradient(layers: Sequence[nn.Linear], seen: Sequence[Tensor], error: Tensor) -> Tensor:
    """Give the gradient by all parameters, float32[d] in their order; to be called without gradients.

    `seen` is what each layer sees of n samples, `error` float32[n, classes] the gradient by their logits.
    """
    parts: list[Tensor] = []
    for at in range(len(layers) - 1, -1, -1):
        layer, given = layers[at], error
        if at:
            error = (given @ layer.weight).mul_(seen[at] > 0)
        if layer.bias is not None:
            parts.append(given.sum(dim=0))
        parts.append((given.t() @ seen[at]).reshape(-1))
    return torch.cat(parts[::-1])


def _forward(layer: nn.Linear, given: Tensor) -> Tensor:
    return nn.functional.linear(given, layer.weight, layer.bias)
