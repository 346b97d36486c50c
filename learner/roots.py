"""What an edge server's private root samples teach at a version of the model: its references.

Gradients are floats and belong to the server that computed them; what it publishes of them are integers, and from there
on everything is exact (`learner.references`).
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learner.contribution import REST, ROOT, Label, Slope
from learner.contribution.geometry import PPB
from learner.data import Dataset
from learner.errors import MissingExtra, TrainingFailed
from learner.fixedpoint import Encoded, Reals, Update, encode_update
from learner.models import dimension, unflatten
from learner.references import References
from learner.sketch import Sketch
from learner.training import SGD, train

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtra(package="torch") from error

WIDEST_BITS = 14
"""A reference's greatest coordinate has so many bits: its scale does not count, and int16 holds twice as much."""


def label_references(
    module: nn.Module, model: Reals, root: Dataset, *, wrong: bool = True, sketch: Sketch | None = None
) -> References:
    """Compute g[c,k], the negated gradient at `model` (float64[d]) of the mean loss of class c's samples labelled k.

    Rows in order of c and k for the classes that `root` has samples of; `wrong`: all labels k, else k = c alone. With a
    `sketch` each row is sketched at once, so that no whole table is ever held. A gradient of zeros makes no row.
    One forward pass for each class, one backward pass for each row; `module` is scratch as in `training.train`.
    Raises `TrainingFailed` without samples or where the model has diverged.
    """
    if not len(root):
        raise TrainingFailed(reason="the edge server has no root samples")
    unflatten(module, model)
    module.eval()
    return _published(module, _gradients(module, root, wrong=wrong), sketch)


def contrast_references(
    module: nn.Module, model: Reals, root: Dataset, *, slopes: bool = False, sketch: Sketch | None = None
) -> References:
    """Compute g[k,k] and g[REST,k], as `label_references` does, for each class k that `root` has samples of.

    g[REST,k] is the negated gradient of the mean loss of all samples of other classes, labelled k; it is missing where
    the server has one class alone. With `slopes` it says how long they are, too. Two backward passes for each class.
    Raises as `label_references`.
    """
    if not len(root):
        raise TrainingFailed(reason="the edge server has no root samples")
    unflatten(module, model)
    module.eval()
    return _published(module, _contrasts(module, root), sketch, slopes=slopes)


class _Gradient(NamedTuple):
    """-d loss / d w of a row, float32[d], and the mean probability that the model gave its label."""

    label: Label
    values: NDArray[np.float32]
    probability: float


def _published(
    module: nn.Module, gradients: Iterable[_Gradient], sketch: Sketch | None, *, slopes: bool = False
) -> References:
    """Round gradients to directions, sketch them, and leave out those of zeros."""
    labels: list[Label] = []
    rows: list[NDArray[np.int16] | NDArray[np.int64]] = []
    lengths: list[Slope] = []
    for label, gradient, probability in gradients:
        row, bits = _scaled(gradient)
        if row.any():
            labels.append(label)
            rows.append(row if sketch is None else sketch.of(row[None])[0])
            lengths.append(Slope(bits, round(PPB * probability)))
    if not labels:
        kind, width = (np.int16, dimension(module)) if sketch is None else (np.int64, sketch.buckets)
        return References((), np.empty((0, width), dtype=kind), sketch)
    return References(tuple(labels), np.stack(rows), sketch, tuple(lengths) if slopes else ())


def root_update(
    module: nn.Module, model: Reals, root: Dataset, sgd: SGD, *, fraction_bits: int, seed: int
) -> References:
    """Train on the root samples as a client would, and encode the update as a client does (FLTrust's server update).

    One row, `ROOT`, or none if the update does not fit int16. Raises `TrainingFailed` without samples.
    """
    trained = train(module, model, root, sgd, seed=seed)
    match encode_update(trained - model, fraction_bits):
        case Encoded(update=update):
            return References((ROOT,), update[None])
        case _:
            return References((), np.empty((0, len(model)), dtype=np.int16))


def direction(gradient: NDArray[np.float32]) -> Update:
    """Scale a gradient (float32[d]) by a power of two to 14 bits and round it, a tie to even: int16[d], zeros stay.

    Raises `TrainingFailed` for NaN and infinity.
    """
    return _scaled(gradient)[0]


def _scaled(gradient: NDArray[np.float32]) -> tuple[Update, int]:
    """Give `direction` of a gradient and the power of two that it was scaled by."""
    widest = max(float(gradient.max()), -float(gradient.min()))
    if not math.isfinite(widest):
        raise TrainingFailed(reason="a root gradient holds NaN or infinity: the model has diverged")
    _, exponent = math.frexp(widest)
    scaled = gradient.astype(np.float64)
    scaled *= math.ldexp(1.0, WIDEST_BITS - exponent)
    return np.rint(scaled, out=scaled).astype(np.int16), WIDEST_BITS - exponent


def _gradients(module: nn.Module, root: Dataset, *, wrong: bool) -> Iterator[_Gradient]:
    """-d loss / d w for each (class, label)."""
    for of in range(root.classes):
        samples = np.flatnonzero(root.labels == of)
        if not len(samples):
            continue
        logits = module(torch.from_numpy(root.images[samples]))
        for labelled in range(root.classes) if wrong else (of,):
            yield _descent(module, logits, slice(None), (of, labelled))


def _contrasts(module: nn.Module, root: Dataset) -> Iterator[_Gradient]:
    """-d loss / d w for each class rightly labelled, and for the samples of all others labelled as it."""
    logits = module(torch.from_numpy(root.images))
    for labelled in range(root.classes):
        own = np.flatnonzero(root.labels == labelled)
        others = np.flatnonzero(root.labels != labelled)
        if len(own):
            yield _descent(module, logits, own, (labelled, labelled))
        if len(own) and len(others):
            yield _descent(module, logits, others, (REST, labelled))


def _descent(module: nn.Module, logits: torch.Tensor, samples: NDArray[np.intp] | slice, label: Label) -> _Gradient:
    """-d loss / d w of some rows of `logits`, all labelled alike: by logits it is onehot(label) - softmax(logits)."""
    _, labelled = label
    chosen = torch.zeros(len(logits), 1)
    chosen[samples] = 1
    probabilities = torch.softmax(logits.detach(), dim=1)
    toward = -probabilities
    toward[:, labelled] += 1
    parts = torch.autograd.grad(
        logits,
        list(module.parameters()),
        grad_outputs=toward * chosen / chosen.sum(),
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    probability = float(probabilities[samples, labelled].mean())
    return _Gradient(label, torch.cat([part.reshape(-1) for part in parts]).numpy(), min(1.0, probability))
