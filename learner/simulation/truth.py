"""What updates were worth, measured: Shapley values of validation loss.

The game of a round (federated Shapley value, Wang et al., arXiv 2009.06192): v(S) is how much the loss on validation
samples falls when the mean of the updates of S is added to the current model. A client's value is the sum over its
rounds. No rule could pay by it: it costs many evaluations, and a validator's samples decide it.

Each class counts alike in the loss. Among a few hundred random samples one class is half as frequent again as another,
and where clients have few classes that draw, not what they did, would decide who is worth most.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from learner.fixedpoint import Reals, decode_model, decode_update
from learner.simulation.ledger import Round
from merit.chance import seed_of


@dataclass(frozen=True, slots=True)
class Values:
    """Each client's Shapley value, on all samples and on every other sample of each class: how much is the draw's."""

    whole: Mapping[int, float]
    halves: tuple[Mapping[int, float], Mapping[int, float]]

    @property
    def reliability(self) -> float | None:
        """Spearman's correlation between the halves; None if a half tells no clients apart."""
        first, second = self.halves
        return spearman([*first.values()], [*second.values()])


class Truth:
    """Adds up each client's Shapley values round by round.

    Exact where a round's coalitions are no more than `permutations` orders of its updates could visit; elsewhere the
    mean over so many orders, drawn by the seed for each round.
    """

    def __init__(
        self, losses: Callable[[Reals], Reals], labels: NDArray[np.int64], permutations: int, seed: int
    ) -> None:
        """Nothing is measured yet; `losses` are those of a model, float64[d], on each sample, int64[n] their labels."""
        self._losses, self._permutations, self._seed = losses, permutations, seed
        self._weights = _weights(labels)
        self._found: dict[int, Reals] = {}

    @property
    def values(self) -> Values:
        """What the rounds so far were worth, by client."""
        whole, *halves = ({client: float(own[at]) for client, own in self._found.items()} for at in range(3))
        return Values(whole, (halves[0], halves[1]))

    def decided(self, decided: Round) -> None:
        """Measure a round."""
        terms = decided.inputs.terms
        start = decode_model(decided.inputs.current, terms.model_fraction_bits)
        updates = [decode_update(record.update, terms.fraction_bits) for record in decided.records]
        if 2 ** len(updates) <= self._permutations * len(updates):
            found = self._exactly(start, updates)
        else:
            chance = np.random.default_rng(seed_of(self._seed, "shapley", decided.number))
            orders = [chance.permutation(len(updates)).tolist() for _ in range(self._permutations)]
            found = self._sampled(start, updates, orders)
        for record, value in zip(decided.records, found, strict=True):
            self._found[record.client] = self._found.get(record.client, np.zeros(3)) + value

    def _exactly(self, start: Reals, updates: Sequence[Reals]) -> Sequence[Reals]:
        """Weigh the losses of all coalitions: |S|! (n - |S| - 1)! / n! for S without the player, less that with it."""
        count, rows = len(updates), np.stack(updates)
        members = np.arange(2**count)[:, None] >> np.arange(count) & 1
        sizes = members.sum(axis=1)
        losses = np.stack(
            [
                self._weighed(start + some @ rows / max(1, size))
                for some, size in zip(members.astype(np.float64), sizes.tolist(), strict=True)
            ]
        )
        ways = [factorial(size) * factorial(count - size - 1) / factorial(count) for size in range(count)]
        before, after = np.array([*ways, 0.0])[sizes], np.array([0.0, *ways])[sizes]
        values = (np.where(members == 1, -after[:, None], before[:, None])).T @ losses
        return list(values)

    def _sampled(self, start: Reals, updates: Sequence[Reals], orders: Sequence[Sequence[int]]) -> Sequence[Reals]:
        """Average marginal values over the orders; no coalition is evaluated twice."""
        losses = {frozenset[int](): self._weighed(start)}
        found = [np.zeros(3) for _ in updates]
        for order in orders:
            total = np.zeros_like(start)
            before = frozenset[int]()
            for at in order:
                total += updates[at]
                after = before | {at}
                if after not in losses:
                    losses[after] = self._weighed(start + total / len(after))
                found[at] += (losses[before] - losses[after]) / len(orders)
                before = after
        return found

    def _weighed(self, model: Reals) -> Reals:
        """Mean loss on all samples and on both halves: float64[3]."""
        found: Reals = self._weights @ self._losses(model)
        return found


def _weights(labels: NDArray[np.int64]) -> Reals:
    """Weigh all samples, and both halves of them, so that each class there counts alike: float64[3, n]."""
    weights = np.zeros((3, len(labels)))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        for row, some in zip(weights, (own, own[::2], own[1::2]), strict=True):
            row[some] = 1 / max(1, len(some))
    scaled: Reals = weights / np.maximum(1, weights.sum(axis=1, keepdims=True))
    return scaled


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation of two figures of the same things, ties sharing their mean rank; None if one is constant."""
    ranks = np.array([_ranks(first), _ranks(second)])
    if len(first) < 2 or not ranks.std(axis=1).all():  # noqa: PLR2004 - nothing correlates with itself alone
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: Sequence[float]) -> Reals:
    _, place, counts = np.unique(np.array(values, dtype=np.float64), return_inverse=True, return_counts=True)
    ranks: Reals = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
