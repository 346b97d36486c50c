"""Simulated client updates per second beside plain torch SGD on the same training, both in processor seconds.

A row is a federation: the simulator trains each update, rounds it, checks, scores, aggregates and pays it, evaluates
every fifth round and keeps virtual time; torch only trains as many updates of as many samples, with
`torch.optim.SGD` and autograd, or with this repository's own training. All in turns within one run, on one thread.
"""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from learner.data import Dataset, Split, digits, mnist
from learner.models import build, flatten
from learner.simulation.ledger import Round
from learner.simulation.run import simulate
from learner.simulation.scenario import Rules, Scenario, Training
from learner.training import SGD, one_thread, train
from merit.clock import thread_seconds

ROUNDS_A_TURN = 5
TURNS = 8
RULES = ("cosine", "anchored")


def run() -> list[dict[str, object]]:
    """Measure each federation: updates per processor second, and the simulator's as a multiple of plain torch's."""
    rows: list[dict[str, object]] = []
    with one_thread():
        for data, model, batch_size in (("digits", "softmax", 10), ("digits", "mlp", 10), ("mnist", "mlp", 50)):
            split = _split(data)
            if split is None:
                continue
            for scoring in RULES if data == "digits" else RULES[:1]:
                scenario = Scenario(
                    model=model,
                    clients=100 if data == "mnist" else 40,
                    rounds=10**9,
                    rules=Rules(scoring=scoring),
                    training=Training(batch_size=batch_size),
                    evaluation_samples=2_000,
                )
                rows.append({"data": data, "model": model, "scoring": scoring, **_measure(scenario, split)})
    return rows


def _measure(scenario: Scenario, split: Split) -> dict[str, object]:
    simulated = (event for event in simulate(scenario, split) if isinstance(event, Round))
    samples = len(split.train) // scenario.clients
    own = split.train.subset(np.arange(samples, dtype=np.int64))
    ours = _ours(scenario, own)
    plain = _plain(scenario, own)
    next(simulated), next(ours), next(plain)  # what only the first one pays
    seconds = dict.fromkeys(("simulated", "trained", "torch"), 0.0)
    updates = 0
    for _ in range(TURNS):
        begun = thread_seconds()
        turn = sum(len(one.records) for one in islice(simulated, ROUNDS_A_TURN))
        seconds["simulated"] += thread_seconds() - begun
        updates += turn
        seconds["trained"] += _took(lambda turn=turn: [next(ours) for _ in range(turn)])  # type: ignore[misc]
        seconds["torch"] += _took(lambda turn=turn: [next(plain) for _ in range(turn)])  # type: ignore[misc]
    return {
        "updates": updates,
        "simulated_per_second": round(updates / seconds["simulated"], 1),
        "our_training_per_second": round(updates / seconds["trained"], 1),
        "torch_per_second": round(updates / seconds["torch"], 1),
        "times_torch": round(seconds["torch"] / seconds["simulated"], 2),
    }


def _took(work: Callable[[], object]) -> float:
    begun = thread_seconds()
    work()
    return thread_seconds() - begun


def _ours(scenario: Scenario, data: Dataset) -> Iterator[None]:
    """Train one client's update after another as clients do."""
    module = build(scenario.model, features=data.features, classes=data.classes)
    start, training = flatten(module), scenario.training
    sgd = SGD(epochs=training.epochs, batch_size=training.batch_size, learning_rate=training.learning_rate)
    seed = 0
    while True:
        train(module, start, data, sgd, seed=seed)
        seed += 1
        yield


def _plain(scenario: Scenario, data: Dataset) -> Iterator[None]:
    """Train one client's update after another with torch alone."""
    module = build(scenario.model, features=data.features, classes=data.classes)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    while True:
        module.load_state_dict(start)
        _descend(module, images, labels, scenario.training)
        yield


def _descend(module: nn.Module, images: torch.Tensor, labels: torch.Tensor, training: Training) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=training.learning_rate)
    for _ in range(training.epochs):
        for batch in torch.randperm(len(labels)).split(training.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(module(images[batch]), labels[batch]).backward()
            optimizer.step()


def _split(data: str) -> Split | None:
    """Load the data; MNIST only where it is."""
    if data == "digits":
        return digits.load(1)
    directory = Path(os.environ.get("MERIT_SHARED") or "../shared") / "mnist"
    return mnist.load(directory) if directory.is_dir() else None


if __name__ == "__main__":
    for measured in run():
        sys.stdout.write(f"{measured}\n")
