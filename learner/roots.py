"""What an edge server's private root samples teach at a version of the model: its references.

What they teach is the descent of the job's objective: its loss, on the samples of its classes, each by its weight. The
gradients of one class alone have no weight, since only their direction counts: there the weight is in the price
(`learner.contribution.price`).

Gradients are floats and belong to the server that computed them; what it publishes of them are integers, and from there
on everything is exact (`learner.references`).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from learner.contribution import REST, ROOT, Label, Slope
from learner.contribution.geometry import PPB
from learner.data import Dataset
from learner.dense import activations, dense_layers, gradient
from learner.errors import MissingExtra, TrainingFailed
from learner.fixedpoint import Encoded, Reals, Update, encode_update
from learner.models import dimension, unflatten
from learner.objective import Objective
from learner.references import References
from learner.sketch import Sketch
from learner.training import SGD, Loss, train

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    raise MissingExtra(package="torch") from error

Backward: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

WIDEST_BITS = 14
"""A reference's greatest coordinate has so many bits: its scale does not count, and int16 holds twice as much."""


PLAIN = Objective()


def label_references(
    module: nn.Module,
    model: Reals,
    root: Dataset,
    *,
    objective: Objective = PLAIN,
    wrong: bool = True,
    sketch: Sketch | None = None,
) -> References:
    """Compute g[c,k], the negated gradient at `model` (float64[d]) of the mean loss of class c's samples labelled k.

    Rows in order of c and k for the objective's classes that `root` has samples of; `wrong`: all labels k, else k = c
    alone. With a `sketch` each row is sketched at once, so that no whole table is ever held. A gradient of zeros makes
    no row. One forward pass for each class, one backward pass for each row; `module` is scratch as in `training.train`.
    Raises `TrainingFailed` without samples or where the model has diverged.
    """
    if not len(root):
        raise TrainingFailed(reason="the edge server has no root samples")
    unflatten(module, model)
    module.eval()
    return _published(module, _gradients(module, root, objective, wrong=wrong), sketch)


def contrast_references(
    module: nn.Module,
    model: Reals,
    root: Dataset,
    *,
    objective: Objective = PLAIN,
    slopes: bool = False,
    sketch: Sketch | None = None,
) -> References:
    """Compute g[k,k] and g[REST,k], as `label_references` does, for each class k that `root` has samples of.

    Of k the objective's classes alone. g[REST,k] is the negated gradient of the mean loss of all samples of other
    classes, whether the objective's or not, each by its weight, labelled k; it is missing where the server has one
    class alone. With `slopes` it says how long they are, too. Two backward passes for each class. Raises as
    `label_references`.
    """
    if not len(root):
        raise TrainingFailed(reason="the edge server has no root samples")
    unflatten(module, model)
    module.eval()
    return _published(module, _contrasts(module, root, objective), sketch, slopes=slopes)


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
    for label, values, probability in gradients:
        row, bits = _scaled(values)
        if row.any():
            labels.append(label)
            rows.append(row if sketch is None else sketch.of(row[None])[0])
            lengths.append(Slope(bits, round(PPB * probability)))
    if not labels:
        kind, width = (np.int16, dimension(module)) if sketch is None else (np.int64, sketch.buckets)
        return References((), np.empty((0, width), dtype=kind), sketch)
    return References(tuple(labels), np.stack(rows), sketch, tuple(lengths) if slopes else ())


def root_update(
    module: nn.Module,
    model: Reals,
    root: Dataset,
    sgd: SGD,
    *,
    fraction_bits: int,
    seed: int,
    objective: Objective = PLAIN,
) -> References:
    """Train on the root samples as a client would, and encode the update as a client does (FLTrust's server update).

    One row, `ROOT`, or none if the update does not fit int16 or no sample is of the objective's classes. Raises
    `TrainingFailed` without samples.
    """
    none = References((), np.empty((0, len(model)), dtype=np.int16))
    own = in_group(root, objective)
    if len(root) and not len(own):
        return none
    trained = train(module, model, own, sgd, seed=seed, loss=_loss(objective, root.classes))
    match encode_update(trained - model, fraction_bits):
        case Encoded(update=update):
            return References((ROOT,), update[None])
        case _:
            return none


def in_group(root: Dataset, objective: Objective) -> Dataset:
    """Return the samples of the objective's classes, in their order: what a root update is made of."""
    return root.subset(np.flatnonzero(np.isin(root.labels, objective.classes))) if objective.classes else root


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


def _gradients(module: nn.Module, root: Dataset, objective: Objective, *, wrong: bool) -> Iterator[_Gradient]:
    """-d loss / d w for each (class, label)."""
    for of in range(root.classes):
        samples = np.flatnonzero(root.labels == of)
        if not len(samples) or not objective.allows((of, of)):
            continue
        logits, backward = _forward(module, root.images[samples])
        for labelled in range(root.classes) if wrong else (of,):
            yield _descent(logits, backward, torch.ones(len(samples), 1), (of, labelled), objective)


def _contrasts(module: nn.Module, root: Dataset, objective: Objective) -> Iterator[_Gradient]:
    """-d loss / d w for each class rightly labelled, and for the samples of all others labelled as it."""
    logits, backward = _forward(module, root.images)
    weights = torch.tensor([float(objective.weight(of)) for of in root.labels.tolist()])[:, None]
    for labelled in range(root.classes):
        own = torch.from_numpy(root.labels == labelled)[:, None]
        if not own.any() or not objective.allows((labelled, labelled)):
            continue
        yield _descent(logits, backward, weights * own, (labelled, labelled), objective)
        if not own.all():
            yield _descent(logits, backward, weights * ~own, (REST, labelled), objective)


def _forward(module: nn.Module, images: NDArray[np.float32]) -> tuple[torch.Tensor, Backward]:
    """Give the logits of some samples, and what leads from a gradient by them to that by all parameters, float32[d]."""
    given = torch.from_numpy(images)
    if layers := dense_layers(module):
        with torch.no_grad():
            *seen, logits = activations(layers, given)

        def written_out(error: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return gradient(layers, seen, error)

        return logits, written_out
    logits = module(given)

    def by_autograd(error: torch.Tensor) -> torch.Tensor:
        parts = torch.autograd.grad(
            (logits * error).sum(),  # a scalar: torch imports seconds' worth of packages to check `grad_outputs`
            list(module.parameters()),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([part.reshape(-1) for part in parts])

    return logits.detach(), by_autograd


def _descent(
    logits: torch.Tensor, backward: Backward, weights: torch.Tensor, label: Label, objective: Objective
) -> _Gradient:
    """-d loss / d w of the rows of `logits` by their `weights` (float32[n, 1]), all labelled alike.

    With p = softmax(logits) and e = onehot(label) - p it is by logits e of the cross-entropy, and 2 p (e - <p, e>) of
    the Brier score.
    """
    _, labelled = label
    chances = torch.softmax(logits, dim=1)
    toward = -chances
    toward[:, labelled] += 1
    if objective.loss == "brier":
        toward = 2 * chances * (toward - (chances * toward).sum(dim=1, keepdim=True))
    probability = float((chances[:, labelled] * weights[:, 0]).sum() / weights.sum())
    return _Gradient(label, backward(toward * weights / weights.sum()).numpy(), min(1.0, probability))


def _loss(objective: Objective, classes: int) -> Loss:
    """Return the objective's mean loss of a batch, each sample by the weight of its class."""
    if objective.loss == "cross-entropy" and not objective.weights:
        return functional.cross_entropy
    weights = torch.tensor([float(objective.weight(of)) for of in range(classes)])

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if objective.loss == "cross-entropy":
            return functional.cross_entropy(logits, labels, weight=weights)
        wrong = torch.softmax(logits, dim=1) - functional.one_hot(labels, classes)
        return (wrong.square().sum(dim=1) * weights[labels]).sum() / weights[labels].sum()

    return loss
