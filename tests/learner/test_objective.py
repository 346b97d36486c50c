"""What a job calls useful: gradients of each objective beside torch's own, and what is refused."""

import numpy as np
import pytest
import torch

from learner.contribution import REST, ROOT
from learner.data import Dataset
from learner.data.digits import load
from learner.errors import InvalidTerms
from learner.fixedpoint import Reals
from learner.models import build, flatten, unflatten
from learner.objective import Objective, check_objective
from learner.roots import contrast_references, in_group, label_references, root_update
from learner.training import SGD, one_thread, quality

SOFTMAX = {"features": 64, "classes": 10}
HEAVY = Objective(weights={"3": 5})
BRIER = Objective(loss="brier")
GROUP = Objective(classes=(3, 8))


@pytest.fixture(scope="module")
def root() -> Dataset:
    return load(1).train.subset(np.arange(100))


def loss(objective: Objective, model: Reals, data: Dataset, labels: np.ndarray, name: str = "softmax") -> float:
    """The objective's mean loss of samples with these labels, each by the weight of its own class, in float64."""
    module = build(name, **SOFTMAX)
    unflatten(module, model)
    module.double()
    chances = torch.softmax(module(torch.from_numpy(data.images).double()), dim=1).detach().numpy()
    weights = np.array([objective.weights.get(str(of), 1) for of in data.labels.tolist()], dtype=float)
    if objective.loss == "brier":
        each = ((chances - np.eye(10)[labels]) ** 2).sum(axis=1)
    else:
        each = -np.log(chances[np.arange(len(labels)), labels])
    return float(weights @ each / weights.sum())


@pytest.mark.parametrize("objective", [Objective(), HEAVY, BRIER, Objective(loss="brier", weights={"3": 5})])
@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_a_reference_is_the_descent_of_the_objective_by_finite_differences(
    name: str, objective: Objective, root: Dataset
) -> None:
    """Along random directions and along the reference itself, from float32 parameters."""
    module = build(name, **SOFTMAX, seed=3)
    model = flatten(module) * 3  # so that the losses differ more than at the start
    with one_thread():
        found = contrast_references(module, model, root, objective=objective)
    rng = np.random.default_rng(1)
    for label in ((4, 4), (REST, 4), (REST, 3)):
        of, k = label
        samples = root.subset(np.flatnonzero(root.labels == k if of == k else root.labels != k))
        labels = np.full(len(samples), k)
        row = found.vectors[found.labels.index(label)].astype(float)
        row /= np.linalg.norm(row)
        steps = [row, *(one / np.linalg.norm(one) for one in rng.normal(size=(2, len(row))))]
        slopes = [
            (
                loss(objective, model - 1e-2 * step, samples, labels, name)
                - loss(objective, model + 1e-2 * step, samples, labels, name)
            )
            / 2e-2
            for step in steps
        ]
        assert slopes[0] > 0
        for step, slope in zip(steps, slopes, strict=True):
            assert slope / slopes[0] == pytest.approx(float(step @ row), abs=2e-3)


def test_the_weights_tell_on_what_is_of_several_classes(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX, seed=3)
    model = flatten(module)
    plain = contrast_references(module, model, root)
    heavy = contrast_references(module, model, root, objective=HEAVY)
    assert plain.labels == heavy.labels
    for at, (of, k) in enumerate(plain.labels):
        mixed = of == REST and k != 3  # of the others, or 3 among them
        assert (plain.vectors[at] != heavy.vectors[at]).any() == mixed


def test_references_of_a_group_are_of_its_classes_alone(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX, seed=3)
    model = flatten(module)
    contrasts = contrast_references(module, model, root, objective=GROUP)
    assert contrasts.labels == ((3, 3), (REST, 3), (8, 8), (REST, 8))
    every = contrast_references(module, model, root)
    assert (contrasts.vectors == every.vectors[[every.labels.index(label) for label in contrasts.labels]]).all()
    table = label_references(module, model, root, objective=GROUP)
    assert table.labels == tuple((of, k) for of in (3, 8) for k in range(10))
    assert all(GROUP.allows(label) for label in (*contrasts.labels, *table.labels, ROOT))
    assert not any(GROUP.allows(label) for label in ((4, 4), (4, 3), (REST, 4)))


def test_a_root_update_is_trained_on_the_group(root: Dataset) -> None:
    module = build("softmax", **SOFTMAX)
    model, sgd = flatten(module), SGD(epochs=2, batch_size=20, learning_rate=0.1)
    own = in_group(root, GROUP)
    assert set(own.labels.tolist()) == {3, 8}
    of_group = root_update(module, model, root, sgd, fraction_bits=14, seed=9, objective=GROUP)
    assert (of_group.vectors == root_update(module, model, own, sgd, fraction_bits=14, seed=9).vectors).all()
    without = root.subset(np.flatnonzero(~np.isin(root.labels, GROUP.classes)))
    assert root_update(module, model, without, sgd, fraction_bits=14, seed=9, objective=GROUP).labels == ()


@pytest.mark.parametrize("objective", [HEAVY, BRIER])
def test_a_root_update_of_one_step_is_a_step_down_the_objective(objective: Objective, root: Dataset) -> None:
    module = build("softmax", **SOFTMAX, seed=3)
    model, sgd = flatten(module), SGD(epochs=1, batch_size=100, learning_rate=0.1)
    found = root_update(module, model, root, sgd, fraction_bits=14, seed=9, objective=objective)
    step = found.vectors[0] / 2**14
    across = np.random.default_rng(2).normal(size=len(step))
    for way in (step / np.linalg.norm(step), across / np.linalg.norm(across)):
        slope = (
            loss(objective, model - 1e-2 * way, root, root.labels)
            - loss(objective, model + 1e-2 * way, root, root.labels)
        ) / 2e-2
        assert step @ way == pytest.approx(0.1 * slope, abs=1e-4)


def test_prices_are_shares_of_the_greatest_weight() -> None:
    assert Objective(weights={"1": 5, "2": 2}).prices(4) == (200_000_000, 10**9, 400_000_000, 200_000_000)
    assert Objective(weights={"0": 3, "1": 3}).prices(2) == Objective().prices(2) == ()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Objective(weights={"10": 2}), r"weights = \{'10': 2\}: choose classes from 0 to 9"),
        (Objective(classes=(3, 3)), r"classes = \[3, 3\]: choose classes from 0 to 9, each once"),
        (Objective(classes=(12,)), r"classes = \[12\]: choose classes from 0 to 9, each once"),
        (Objective(classes=(3,), weights={"4": 2}), r"weights = .*: choose weights of the classes that count, 3"),
        (Objective(edge_servers=(2, 2)), r"edge_servers = \[2, 2\]: choose each server once"),
    ],
)
def test_what_no_job_can_mean_is_refused(objective: Objective, message: str) -> None:
    with pytest.raises(InvalidTerms, match=f"job term references.objective.{message}"):
        check_objective(objective, 10)


def test_a_job_of_very_many_classes_weighs_none() -> None:
    assert Objective(weights={"1": 2}).prices(1 << 31) == ()
    with pytest.raises(InvalidTerms, match="choose none with 32769 classes, more than 32768"):
        check_objective(Objective(weights={"1": 2}), (1 << 15) + 1)


def test_quality_is_what_its_formulas_say() -> None:
    """Two samples of class 0, one of class 1, and a model that is sure of class 0 to 3/4."""
    module = build("softmax", features=1, classes=2)
    names = [name for name, _ in module.named_parameters()]
    bias = float(np.log(3))
    vector = np.concatenate([[0.0, 0.0] if "weight" in name else [bias, 0.0] for name in names])
    data = Dataset(np.zeros((3, 1), dtype=np.float32), np.array([0, 0, 1]), 2)
    found = quality(module, vector, data)
    assert found.by_class == (1.0, 0.0)
    assert found.brier == pytest.approx((2 * 2 * 0.25**2 + 2 * 0.75**2) / 3)
    assert found.calibration_error == pytest.approx(0.75 - 2 / 3)
