"""What root samples teach: gradients as integers, and how well a sketch keeps their inner products."""

from collections.abc import Iterator
from math import sqrt

import numpy as np
import pytest
import torch
from torch.nn import functional

from learner.contribution import REST, ROOT
from learner.data import Dataset
from learner.data.digits import load
from learner.errors import TrainingFailed
from learner.fixedpoint import Encoded, Reals, encode_update
from learner.models import build, flatten, unflatten
from learner.products import inner
from learner.roots import contrast_references, direction, label_references, root_update
from learner.sketch import Sketch
from learner.training import SGD, train

SOFTMAX = {"features": 64, "classes": 10}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root() -> Dataset:
    return load(1).train.subset(np.arange(100))


def loss_gradient(name: str, model: Reals, data: Dataset, label: int) -> Reals:
    """d mean cross-entropy of `data`, all labelled `label`, by torch's own loss."""
    module = build(name, **SOFTMAX)
    unflatten(module, model)
    loss = functional.cross_entropy(module(torch.from_numpy(data.images)), torch.full((len(data),), label))
    found = torch.autograd.grad(loss, list(module.parameters()))
    return torch.cat([part.reshape(-1) for part in found]).numpy().astype(np.float64)


@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_contrasts_are_a_class_and_all_others_labelled_as_it(name: str, root: Dataset) -> None:
    module = build(name, **SOFTMAX, seed=3)
    model = flatten(module)
    found = contrast_references(module, model, root)
    assert found.labels == tuple(label for k in range(10) for label in ((k, k), (REST, k)))
    for row in (0, 3, 14, 19):
        of, k = found.labels[row]
        chosen = np.flatnonzero(root.labels == k if of == k else root.labels != k)
        expected = -loss_gradient(name, model, root.subset(chosen), k)
        ours = found.vectors[row].astype(np.float64)
        assert ours @ expected / np.linalg.norm(ours) / np.linalg.norm(expected) > 0.9999
    for row, product in enumerate(found.contrasts):
        beside = sum(int(a) * int(b) for a, b in zip(found.vectors[row - 1], found.vectors[row], strict=True))
        assert product == (beside if row % 2 else 0)


def test_a_class_with_one_root_sample_publishes_that_sample(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX, seed=3)
    own = int(np.flatnonzero(root.labels == 4)[0])
    alone = root.subset(np.append(np.flatnonzero(root.labels != 4), own))
    found = contrast_references(module, flatten(module), alone)
    row = found.vectors[found.labels.index((4, 4))]
    weights, biases = row[:640].reshape(10, 64), row[640:]
    assert np.abs(weights[4] / biases[4] - root.images[own]).max() < 0.001


@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_slopes_give_the_gradient_its_length_and_the_label_its_probability(name: str, root: Dataset) -> None:
    module = build(name, **SOFTMAX, seed=3)
    model = flatten(module)
    found = contrast_references(module, model, root, slopes=True)
    assert contrast_references(module, model, root).slopes == ()
    unflatten(module, model)
    with torch.no_grad():
        chances = torch.softmax(module(torch.from_numpy(root.images)), dim=1).numpy()
    for row in (0, 3, 14, 19):
        of, k = found.labels[row]
        chosen = np.flatnonzero(root.labels == k if of == k else root.labels != k)
        gradient = found.vectors[row] / 2.0 ** found.slopes[row].bits
        expected = -loss_gradient(name, model, root.subset(chosen), k)
        assert gradient == pytest.approx(expected, abs=float(np.abs(expected).max()) / 2**12)
        assert found.slopes[row].probability / 10**9 == pytest.approx(chances[chosen, k].mean(), abs=1e-6)


def test_a_server_with_one_class_has_no_contrast(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX)
    alone = root.subset(np.flatnonzero(root.labels == 4))
    found = contrast_references(module, flatten(module), alone)
    assert found.labels == ((4, 4),)
    assert found.contrasts == (0,)
    with pytest.raises(TrainingFailed, match="no root samples"):
        contrast_references(module, flatten(module), root.subset(np.array([], dtype=np.int64)))


@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_a_reference_points_against_the_gradient_of_its_classs_loss(name: str, root: Dataset) -> None:
    module = build(name, **SOFTMAX, seed=3)
    model = flatten(module)
    found = label_references(module, model, root)
    assert found.labels == tuple((of, labelled) for of in range(10) for labelled in range(10))
    for row in (0, 7, 44, 93):
        of, labelled = found.labels[row]
        expected = -loss_gradient(name, model, root.subset(np.flatnonzero(root.labels == of)), labelled)
        ours = found.vectors[row].astype(np.float64)
        cosine = ours @ expected / np.linalg.norm(ours) / np.linalg.norm(expected)
        assert cosine > 0.9999


def test_right_labels_alone_are_the_right_rows_of_all(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX, seed=3)
    model = flatten(module)
    every, right = label_references(module, model, root), label_references(module, model, root, wrong=False)
    assert right.labels == tuple((of, of) for of in range(10))
    assert (right.vectors == every.vectors[[11 * of for of in range(10)]]).all()


def test_a_class_without_a_sample_has_no_row(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX)
    some = root.subset(np.flatnonzero(root.labels != 4))
    found = label_references(module, flatten(module), some, wrong=False)
    assert (4, 4) not in found.labels
    assert len(found.labels) == 9


def test_references_are_sketched_row_by_row_as_a_whole_table_is(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX)
    model, sketch = flatten(module), Sketch(b"height 12", 64)
    at_once = label_references(module, model, root, sketch=sketch)
    afterwards = label_references(module, model, root).sketched(sketch)
    assert (at_once.vectors == afterwards.vectors).all()
    assert at_once.squared == afterwards.squared


def test_a_root_update_is_what_a_client_with_those_samples_would_send(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX)
    model, sgd = flatten(module), SGD(epochs=2, batch_size=20, learning_rate=0.1)
    found = root_update(module, model, root, sgd, fraction_bits=14, seed=9)
    expected = encode_update(train(module, model, root, sgd, seed=9) - model, 14)
    assert isinstance(expected, Encoded)
    assert found.labels == (ROOT,)
    assert (found.vectors[0] == expected.update).all()


def test_a_root_update_beyond_int16_is_left_out(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX)
    wild = SGD(epochs=1, batch_size=20, learning_rate=1e6)
    assert root_update(module, flatten(module), root, wild, fraction_bits=14, seed=9).labels == ()


def test_a_direction_uses_fourteen_bits_whatever_its_length() -> None:
    def of(*values: float) -> list[int]:
        return [int(value) for value in direction(np.array(values, dtype=np.float32))]

    assert of(1.0, -0.5, 0.0) == [8192, -4096, 0]
    assert of(2.0**-140, 3 * 2.0**-140) == of(2.0**100, 3 * 2.0**100) == of(1, 3)
    assert of(-0.9999999) == [-(1 << 14)]
    assert of(0, 0) == [0, 0]


def test_a_model_that_diverged_and_a_server_without_samples_are_refused(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX)
    with pytest.raises(TrainingFailed, match="diverged"):
        label_references(module, np.full(650, np.inf), root)
    with pytest.raises(TrainingFailed, match="no root samples"):
        label_references(module, flatten(module), root.subset(np.arange(0)))


@pytest.mark.parametrize("buckets", [1024, 8192])
def test_a_sketch_keeps_cosines_of_updates_and_references(buckets: int, root: Dataset) -> None:
    """Beside an update of real training, 100 references: the error is what theory allows, sqrt(2 / buckets)."""
    module = build("mlp", **SOFTMAX, seed=1)
    start = flatten(module)
    samples = load(1).train.subset(np.arange(200, 320))
    trained = train(module, start, samples, SGD(epochs=1, batch_size=20, learning_rate=0.1), seed=2)
    sent = encode_update(trained - start, 14)
    assert isinstance(sent, Encoded)
    references = label_references(module, start, root)
    exact = cosines(sent.update[None], references.vectors)
    errors = []
    for seed in range(4):
        sketch = Sketch(bytes([seed]), buckets)
        errors.append(cosines(sketch.of(sent.update[None]), references.sketched(sketch).vectors) - exact)
    allowed = sqrt(2 / buckets)
    assert np.sqrt(np.mean(np.square(errors))) < allowed
    assert np.abs(errors).max() < 6 * allowed


def cosines(update: np.ndarray, rows: np.ndarray) -> np.ndarray:
    dots = np.array(inner(update, rows)[0], dtype=np.float64)
    own = inner(update, update)[0][0]
    norms = np.array([inner(row[None], row[None])[0][0] for row in rows], dtype=np.float64)
    return np.asarray(dots / np.sqrt(own) / np.sqrt(norms))
