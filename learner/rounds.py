"""One round, from its selected updates to the next model: the one function that node, audit and simulator call.

updates -> Gram -> thetas (scored, then discounted by delay) -> weights -> aggregate -> model
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from learner import aggregation, contribution, staleness
from learner.errors import InvalidRound, UnknownRule
from learner.fixedpoint import Model, Update
from learner.gram import gram
from learner.rewards import step_weights
from learner.terms import MAX_PHI, Terms


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A record that the round consumes: its base version, its update int16[d], its client's samples (job file)."""

    base: int
    update: Update
    samples: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RoundInputs:
    """What a round is computed from.

    Round `number` makes version `number` from version `number` - 1, which is `current`, int32[d]. `entries` are in
    selection order, 1 to 1,024. `models` holds the base versions of the entries, int32[d] each; only the literal form
    reads them, and version `number` - 1 may be left out.
    """

    terms: Terms
    number: int
    current: Model
    entries: Sequence[Entry]
    models: Mapping[int, Model]


class Outcome(StrEnum):
    """What became of a round."""

    PAID = "paid"
    ALL_ZERO = "all-zero"
    MODEL_OVERFLOW = "model-overflow"


@dataclass(frozen=True, slots=True, eq=False)
class RoundResult:
    """What every node must find, bit for bit.

    `gram` int64[n, n]; `thetas` in ppb and `weights` (of 2^30) in selection order; `total` their sum of thetas;
    `aggregate` int64[d], the new model times 2^30 before rounding; `model` int32[d]. If `total` is 0 the round is not
    paid, every weight is 0 and the model is the current one; `outcome` says why.
    """

    outcome: Outcome
    gram: NDArray[np.int64]
    thetas: tuple[int, ...]
    weights: tuple[int, ...]
    total: int
    aggregate: NDArray[np.int64]
    model: Model

    @property
    def paid(self) -> bool:
        """Whether anybody is paid."""
        return self.total > 0


def compute(inputs: RoundInputs) -> RoundResult:
    """Compute a round by RULES.md. Pure and exact: equal inputs give equal bits on any machine.

    Raises `InvalidRound` if the inputs contradict each other and `UnknownRule` for a rule that this code does not
    have. That each base + (u << k) fits int32 is the hold check's business (`fixedpoint.check_update`).
    """
    terms = inputs.terms
    models = _checked_models(inputs)
    score = contribution.rule(terms.scoring, terms.rules_version)
    discount = staleness.discount(terms.staleness, terms.rules_version)
    updates = [entry.update for entry in inputs.entries]
    bases = [entry.base for entry in inputs.entries]

    products = gram(updates)
    scored = score(contribution.Round(products, tuple(entry.samples for entry in inputs.entries)))
    thetas = tuple(
        staleness.discounted(theta, discount(staleness.delay(inputs.number, base)))
        for theta, base in zip(scored, bases, strict=True)
    )
    weights = step_weights(thetas)
    if sum(thetas) == 0:
        return _not_paid(Outcome.ALL_ZERO, inputs, products)
    match terms.aggregation:
        case "literal":
            aggregate = aggregation.literal(models, bases, updates, weights, terms.shift)
        case "delta":
            aggregate = aggregation.delta(inputs.current, updates, weights, terms.shift)
        case unknown:
            raise UnknownRule(
                kind="aggregation form", name=unknown, version=terms.rules_version, known=aggregation.FORMS
            )
    rounded = aggregation.half_even(aggregate)
    if not aggregation.fits_model(rounded):
        return _not_paid(Outcome.MODEL_OVERFLOW, inputs, products)
    return RoundResult(Outcome.PAID, products, thetas, weights, sum(thetas), aggregate, rounded.astype(np.int32))


def _not_paid(outcome: Outcome, inputs: RoundInputs, products: NDArray[np.int64]) -> RoundResult:
    zeros = (0,) * len(inputs.entries)
    aggregate = aggregation.unchanged(inputs.current)
    return RoundResult(outcome, products, zeros, zeros, 0, aggregate, inputs.current.copy())


def _checked_models(inputs: RoundInputs) -> Mapping[int, Model]:
    """Check the inputs against each other; return the models by version, the current one included."""
    shape = (inputs.terms.dimension,)
    count = len(inputs.entries)
    if not 1 <= count <= MAX_PHI:
        raise InvalidRound(reason=f"{count} entries; a round takes 1 to {MAX_PHI}")
    models = {**inputs.models, inputs.number - 1: inputs.current}
    for version, model in models.items():
        if model.shape != shape or model.dtype != np.int32:
            raise InvalidRound(reason=f"model {version} is {model.dtype}{list(model.shape)}, not int32{list(shape)}")
    for position, entry in enumerate(inputs.entries):
        if entry.update.shape != shape or entry.update.dtype != np.int16:
            found = f"{entry.update.dtype}{list(entry.update.shape)}"
            raise InvalidRound(reason=f"update {position} is {found}, not int16{list(shape)}")
        if not 0 <= entry.base < inputs.number:
            raise InvalidRound(
                reason=f"entry {position} has base {entry.base}; round {inputs.number} takes older versions"
            )
        if inputs.terms.aggregation == "literal" and entry.base not in models:
            raise InvalidRound(reason=f"entry {position} needs model {entry.base}, which is not given")
    return models
