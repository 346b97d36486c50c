"""Local training by SGD, and evaluation.

Deterministic for one torch thread (`torch.set_num_threads(1)`, set once by the worker process) on one machine. It
need not be the same on another: only the client's own update depends on it, and that is signed, not recomputed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from learner.data import Dataset
from learner.dense import dense_layers, descend
from learner.errors import MissingExtra, TrainingFailed
from learner.fixedpoint import Reals
from learner.models import flatten, unflatten
from merit.chance import seed_of

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
except ImportError as error:
    raise MissingExtra(package="torch") from error

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(logits float32[n, classes], labels int64[n]) -> what a step lowers, a scalar."""

EVALUATION_BATCH = 2_000
SEED_END = 1 << 63
BINS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD:
    """How a client trains: passes over its samples, samples per step, step size, momentum (0: plain SGD)."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0

    def __post_init__(self) -> None:
        """Raise `TrainingFailed` for values that mean nothing."""
        if self.epochs < 1 or self.batch_size < 1:
            raise TrainingFailed(reason=f"epochs = {self.epochs}, batch_size = {self.batch_size}: choose at least 1")
        if not self.learning_rate > 0 or not 0 <= self.momentum < 1:
            raise TrainingFailed(
                reason=f"learning_rate = {self.learning_rate}, momentum = {self.momentum}: "
                "choose a rate above 0 and a momentum from 0 to below 1"
            )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model does on a data set: share of right answers, mean cross-entropy in nats."""

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How a model does on a data set, looked at more closely.

    `by_class`: share of right answers among the samples of each class, None for a class without any. `brier`: mean
    Brier score, sum_k (p_k - y_k)^2. `calibration_error`: expected calibration error, the mean distance between the
    greatest probability and the share of right answers over `BINS` bins of the former (Guo and others, ICML 2017).
    """

    by_class: tuple[float | None, ...]
    brier: float
    calibration_error: float


def train(
    module: nn.Module, start: Reals, data: Dataset, sgd: SGD, *, seed: int, loss: Loss = functional.cross_entropy
) -> Reals:
    """Train from `start` (float64[d]) on `data`, each epoch in an order of its own by `seed`; a new float64[d].

    `module` gives the shape and serves as scratch: its parameters are overwritten. The last batch of an epoch may be
    smaller. A training that diverged returns NaN or infinity, which `fixedpoint.encode_update` refuses.
    Raises `TrainingFailed` without samples and `InvalidModel` if `start` does not fit the module.
    """
    if not len(data):
        raise TrainingFailed(reason="the client has no samples")
    unflatten(module, start)
    module.train()
    parameters = list(module.parameters())
    velocities = [torch.zeros_like(parameter) for parameter in parameters] if sgd.momentum else []
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    chance = torch.Generator().manual_seed(seed_of(seed, "training") % SEED_END)
    if loss is functional.cross_entropy and not sgd.momentum and (layers := dense_layers(module)):
        with torch.no_grad():
            for batch in _batches(len(labels), sgd, chance):
                descend(layers, images[batch], labels[batch], sgd.learning_rate)
        return flatten(module)
    # dropout and the like draw from torch's global generator: seed that too, and give it back as it was
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "layers") % SEED_END)
        for batch in _batches(len(labels), sgd, chance):
            found = loss(module(images[batch]), labels[batch])
            # a parameter that the loss does not reach stands still
            gradients = torch.autograd.grad(found, parameters, allow_unused=True, materialize_grads=True)
            _step(parameters, gradients, velocities, sgd)
    return flatten(module)


def evaluate(module: nn.Module, vector: Reals, data: Dataset) -> Evaluation:
    """Accuracy and mean loss of `vector` (float64[d]) on `data`; `module` is scratch as in `train`.

    Raises `TrainingFailed` without samples and `InvalidModel` if `vector` does not fit the module.
    """
    if not len(data):
        raise TrainingFailed(reason="no samples to evaluate on")
    unflatten(module, vector)
    module.eval()
    right, loss = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(data), EVALUATION_BATCH):
            labels = torch.from_numpy(data.labels[start : start + EVALUATION_BATCH])
            logits = module(torch.from_numpy(data.images[start : start + EVALUATION_BATCH]))
            right += int((logits.argmax(dim=1) == labels).sum())
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
    return Evaluation(right / len(data), loss / len(data))


def quality(module: nn.Module, vector: Reals, data: Dataset) -> Quality:
    """Look closely at `vector` (float64[d]) on `data`; `module` is scratch and errors are as in `evaluate`."""
    if not len(data):
        raise TrainingFailed(reason="no samples to evaluate on")
    unflatten(module, vector)
    module.eval()
    batches = range(0, len(data), EVALUATION_BATCH)
    with torch.inference_mode():
        logits = [module(torch.from_numpy(data.images[first : first + EVALUATION_BATCH])) for first in batches]
        chances = torch.softmax(torch.cat(logits), dim=1).numpy().astype(np.float64)
    right = chances.argmax(axis=1) == data.labels
    sure = chances.max(axis=1)
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    gaps = [abs(float((sure[bins == one] - right[bins == one]).sum())) for one in range(BINS)]
    chosen = [data.labels == of for of in range(data.classes)]
    return Quality(
        by_class=tuple(float(right[own].mean()) if own.any() else None for own in chosen),
        brier=float(((chances - np.eye(data.classes)[data.labels]) ** 2).sum(axis=1).mean()),
        calibration_error=sum(gaps) / len(data),
    )


def sample_losses(module: nn.Module, vector: Reals, data: Dataset) -> NDArray[np.float64]:
    """Cross-entropy in nats of `vector` (float64[d]) on each sample, float64[n]; `module` is scratch as in `train`."""
    unflatten(module, vector)
    module.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(data), EVALUATION_BATCH):
            labels = torch.from_numpy(data.labels[start : start + EVALUATION_BATCH])
            logits = module(torch.from_numpy(data.images[start : start + EVALUATION_BATCH]))
            found.append(functional.cross_entropy(logits, labels, reduction="none"))
    return torch.cat(found).numpy().astype(np.float64)


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread, which makes training the same on every run; others find it as they left it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(samples: int, sgd: SGD, chance: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of each step's samples, each epoch in an order of its own."""
    for _ in range(sgd.epochs):
        order = torch.randperm(samples, generator=chance)
        for first in range(0, samples, sgd.batch_size):
            yield order[first : first + sgd.batch_size]


def _step(parameters: list[nn.Parameter], gradients: tuple[Tensor, ...], velocities: list[Tensor], sgd: SGD) -> None:
    """Take one step in place, as torch.optim.SGD does it, without that class's overhead per step."""
    with torch.no_grad():
        if not velocities:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=sgd.learning_rate)
            return
        for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
            velocity.mul_(sgd.momentum).add_(gradient)
            parameter.sub_(velocity, alpha=sgd.learning_rate)
