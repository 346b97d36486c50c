"""What updates were worth, measured: Shapley values of validation loss, by sampling permutations.

The game of a round (federated Shapley value, Wang et al., arXiv 2009.06192): v(S) is how much the loss on validation
samples falls when the mean of the updates of S is added to the current model. A client's value is the sum over its
rounds. No rule could pay by it: it costs many evaluations, and a validator's samples decide it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from learner.fixedpoint import Reals, decode_model, decode_update
from learner.simulation.ledger import Round
from merit.chance import seed_of


class Truth:
    """Adds up each client's Shapley values round by round, from `permutations` drawn by the seed for each round."""

    def __init__(self, loss: Callable[[Reals], float], permutations: int, seed: int) -> None:
        """Nothing is measured yet; `loss` is that of a model, float64[d], on the validation samples."""
        self._loss, self._permutations, self._seed = loss, permutations, seed
        self.values: dict[int, float] = {}

    def decided(self, decided: Round) -> None:
        """Measure a round."""
        terms = decided.inputs.terms
        start = decode_model(decided.inputs.current, terms.model_fraction_bits)
        updates = [decode_update(record.update, terms.fraction_bits) for record in decided.records]
        chance = np.random.default_rng(seed_of(self._seed, "shapley", decided.number))
        orders = [chance.permutation(len(updates)).tolist() for _ in range(self._permutations)]
        for record, value in zip(decided.records, self._shapley(start, updates, orders), strict=True):
            self.values[record.client] = self.values.get(record.client, 0.0) + value

    def _shapley(self, start: Reals, updates: Sequence[Reals], orders: Sequence[Sequence[int]]) -> list[float]:
        """Average marginal values over the orders; no coalition is evaluated twice."""
        losses: dict[frozenset[int], float] = {frozenset(): self._loss(start)}
        found = [0.0] * len(updates)
        for order in orders:
            total = np.zeros_like(start)
            before = frozenset[int]()
            for at in order:
                total += updates[at]
                after = before | {at}
                if after not in losses:
                    losses[after] = self._loss(start + total / len(after))
                found[at] += (losses[before] - losses[after]) / len(orders)
                before = after
        return found


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
