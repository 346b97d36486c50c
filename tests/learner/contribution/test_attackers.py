"""`anchored` with references from real samples and updates from real training: who is paid in a small federation."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from learner.context import Context, step_between
from learner.data import Dataset
from learner.data.digits import load
from learner.data.partition import label_shards
from learner.fixedpoint import Encoded, Model, Reals, decode_model, encode_model, encode_update
from learner.models import build, dimension, flatten
from learner.roots import label_references
from learner.rounds import Entry, RoundInputs, compute
from learner.sketch import Sketch
from learner.terms import Terms
from learner.training import SGD, train

CLIENTS, ATTACKERS, ROUNDS = 16, 4, 10
LOCAL = SGD(epochs=2, batch_size=20, learning_rate=0.1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Attack = Callable[[Dataset, Callable[[Dataset], Reals]], Reals]


def sign_flip(data: Dataset, trained: Callable[[Dataset], Reals]) -> Reals:
    return -trained(data)


def label_flip(data: Dataset, trained: Callable[[Dataset], Reals]) -> Reals:
    return trained(replace(data, labels=9 - data.labels))


def noise(data: Dataset, trained: Callable[[Dataset], Reals]) -> Reals:
    honest = trained(data)
    drawn = np.random.default_rng(len(data)).standard_normal(len(honest))
    return np.asarray(3 * drawn * np.linalg.norm(honest) / np.linalg.norm(drawn))


def paid(attack: Attack, *, sketch: Sketch | None) -> tuple[int, list[int]]:
    """What the attackers, and what each honest client, got of `ROUNDS` rounds in which all take part."""
    split = load(1)
    parts = label_shards(split.train.labels[:1200], clients=CLIENTS, shards=2 * CLIENTS, seed=1)
    roots = [split.train.subset(np.arange(1200 + 59 * s, 1259 + 59 * s)) for s in range(4)]
    module = build("mlp", features=64, classes=10, seed=1)
    terms = Terms(
        dimension=dimension(module),
        fraction_bits=14,
        shift=8,
        norm_bound_squared=2**50,
        phi=0,
        max_staleness=0,
        scoring="anchored",
        aggregation="delta",
    )
    first = encode_model(flatten(module), terms.model_fraction_bits)
    assert isinstance(first, np.ndarray)
    model: Model = first
    context, got = Context(), [0] * CLIENTS
    for number in range(1, ROUNDS + 1):
        start = decode_model(model, terms.model_fraction_bits)
        entries = []
        for client, part in enumerate(parts):

            def trained(data: Dataset, seed: int = 100 * number + client, start: Reals = start) -> Reals:
                return train(module, start, data, LOCAL, seed=seed) - start

            data = split.train.subset(part)
            sent = encode_update(attack(data, trained) if client < ATTACKERS else trained(data), terms.fraction_bits)
            assert isinstance(sent, Encoded)
            entries.append(Entry(number - 1, sent.update, client=client))
        references = [label_references(module, start, root, sketch=sketch) for root in roots]
        around = replace(context, references={number - 1: references})
        result = compute(RoundInputs(terms, number, model, entries, {}, around))
        for client, theta in enumerate(result.thetas):
            got[client] += theta
        context = Context(
            records={**context.records, number: [entry.update for entry in entries]},
            steps={**context.steps, number: step_between(model, result.model, terms.shift)},
            history=result.history,
        )
        model = result.model
    return sum(got[:ATTACKERS]), got[ATTACKERS:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "sketch"),
    [(sign_flip, None), (label_flip, None), (noise, None), (label_flip, Sketch(b"a later block", 8192))],
)
def test_a_quarter_of_attackers_gets_little_and_most_honest_clients_are_paid(
    attack: Attack, sketch: Sketch | None
) -> None:
    attackers, honest = paid(attack, sketch=sketch)
    assert attackers < 0.05 * sum(honest)
    assert sum(theta > sum(honest) / len(honest) / 10 for theta in honest) >= 0.8 * len(honest)
