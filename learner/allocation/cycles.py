"""Global cycles of mobile edge learning: learner k makes tau_k passes over d_k samples, the server averages.

One cycle (arXiv 1905.01656, section II): every learner starts from the server's model w and updates it tau_k times on
its d_k samples; the server's next model is the mean weighted by samples, the sum over k of d_k w_k / d. One update is a
pass in small batches. Plain floating point, for experiments: nothing here is agreed or paid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from learner.data import Split
from learner.data.dataset import Indices
from learner.models import build, flatten
from learner.training import SGD, Evaluation, evaluate, train
from merit.chance import seed_of, seeded


def cycles(
    split: Split, d: Sequence[int], tau: Sequence[int], *, model: str, sgd: SGD, redealt: bool, seed: int
) -> Iterator[Evaluation]:
    """Yield how the server's model does on `split.test` after each cycle, without end.

    `d` and `tau` have one entry per learner; d sums to at most `len(split.train)`. `sgd.epochs` is not looked at.
    `redealt`: in every cycle the samples are dealt anew, as when the server sends them (parallelised learning);
    otherwise each learner keeps its own (federated learning). The first model, the dealing and the order of training
    depend on `seed` only, so that allocations are compared from one start.

    Raises `InvalidModel` and `TrainingFailed` as `learner.models.build` and `learner.training.train` do.
    """
    module = build(model, features=split.train.features, classes=split.train.classes, seed=seed_of(seed, "model") >> 1)
    vector = flatten(module)
    dealt = deal(len(split.train), d, seed, 0)
    cycle = 0
    while True:
        if redealt and cycle:
            dealt = deal(len(split.train), d, seed, cycle)
        mean = np.zeros_like(vector)
        for learner, (own, updates) in enumerate(zip(dealt, tau, strict=True)):
            trained = vector
            if updates and len(own):
                rounds = replace(sgd, epochs=updates)
                trained = train(
                    module, vector, split.train.subset(own), rounds, seed=seed_of(seed, "cycle", cycle, learner)
                )
            mean += len(own) / sum(d) * trained
        vector = mean
        cycle += 1
        yield evaluate(module, vector, split.test)


def deal(samples: int, d: Sequence[int], seed: int, cycle: int) -> list[Indices]:
    """Deal the indices 0 to `samples` - 1 out at random, d_k to learner k; what is over stays out."""
    order = list(range(samples))
    seeded(seed, "allocation", "deal", cycle).shuffle(order)
    ends = np.cumsum(d)
    return np.split(np.array(order[: int(ends[-1])], dtype=np.int64), ends[:-1])
