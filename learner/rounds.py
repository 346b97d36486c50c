"""One round, from its selected updates to the next model: the one function that node, audit and simulator call.

updates -> Gram -> thetas (scored, then discounted by delay) -> weights -> aggregate -> model
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from learner import aggregation, contribution, staleness
from learner.context import Context, add_to_sums, view
from learner.contribution import History, Rule, Scored
from learner.errors import InvalidRound, UnknownRule
from learner.fixedpoint import Model, Update
from learner.gram import gram
from learner.rewards import STEP_TOTAL, bounded_weights, step_weights
from learner.terms import MAX_PHI, Terms


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A record that the round consumes: its base version, its update int16[d], its client's samples (job file).

    `client` is that client's number, by which rules that remember know it again. `beside`: the version whose references
    the update is held beside, its base unless the ledger says otherwise.
    """

    base: int
    update: Update
    samples: int = 0
    client: int = 0
    beside: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RoundInputs:
    """What a round is computed from.

    Round `number` makes version `number` from version `number` - 1, which is `current`, int32[d]. `entries` are in
    selection order, 1 to 1,024. `models` holds the base versions of the entries, int32[d] each; only the literal form
    reads them, and version `number` - 1 may be left out. `context` is what rules with `Needs` are given.
    """

    terms: Terms
    number: int
    current: Model
    entries: Sequence[Entry]
    models: Mapping[int, Model]
    context: Context | None = None


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

    Whatever the outcome, `parts` are what the rule found on the way (`contribution.Scored`), and `history` and `sums`
    are for the next round's `Context`; they are empty for a rule that keeps none.
    """

    outcome: Outcome
    gram: NDArray[np.int64]
    thetas: tuple[int, ...]
    weights: tuple[int, ...]
    total: int
    aggregate: NDArray[np.int64]
    model: Model
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    history: History = field(default_factory=dict)
    sums: Mapping[int, NDArray[np.int32]] = field(default_factory=dict)

    @property
    def paid(self) -> bool:
        """Whether anybody is paid."""
        return self.total > 0


def compute(inputs: RoundInputs, rule: Rule | None = None) -> RoundResult:
    """Compute a round by RULES.md. Pure and exact: equal inputs give equal bits on any machine.

    `rule` stands in for the one that the terms name, to try thresholds that have no name.
    Raises `InvalidRound` if the inputs contradict each other and `UnknownRule` for a rule that this code does not
    have, or that needs a context where none is given. That each base + (u << k) fits int32 is the hold check's
    business (`fixedpoint.check_update`).
    """
    terms = inputs.terms
    models = _checked_models(inputs)
    chosen = _rule(inputs) if rule is None else rule
    discount = staleness.discount(terms.staleness, terms.rules_version)
    updates = [entry.update for entry in inputs.entries]
    bases = [entry.base for entry in inputs.entries]
    context = inputs.context or Context()

    products = gram(updates)
    clients = [entry.client for entry in inputs.entries]
    sums = add_to_sums(context.sums, clients, updates) if chosen.needs.sums else {}
    scored = chosen.score(
        view(
            chosen.needs,
            context,
            number=inputs.number,
            updates=updates,
            versions=[entry.base if entry.beside is None else entry.beside for entry in inputs.entries],
            clients=clients,
            samples=[entry.samples for entry in inputs.entries],
            products=products,
            sums=sums,
            fraction_bits=terms.fraction_bits,
        )
    )
    discounts = [discount(staleness.delay(inputs.number, base)) for base in bases]
    thetas = _discounted(scored.thetas, discounts) if chosen.pay_discounted else scored.thetas
    if sum(thetas) == 0:
        return _not_paid(Outcome.ALL_ZERO, inputs, products, scored, sums)
    weights = _weights(thetas, scored, discounts)
    match terms.aggregation:
        case "literal":
            aggregate = aggregation.literal(models, bases, updates, weights, terms.shift)
            aggregate += inputs.current.astype(np.int64) * (STEP_TOTAL - sum(weights))
        case "delta":
            aggregate = aggregation.delta(inputs.current, updates, weights, terms.shift)
        case unknown:
            raise UnknownRule(
                kind="aggregation form", name=unknown, version=terms.rules_version, known=aggregation.FORMS
            )
    rounded = aggregation.half_even(aggregate)
    if not aggregation.fits_model(rounded):
        return _not_paid(Outcome.MODEL_OVERFLOW, inputs, products, scored, sums)
    return RoundResult(
        Outcome.PAID,
        products,
        thetas,
        weights,
        sum(thetas),
        aggregate,
        rounded.astype(np.int32),
        scored.parts,
        scored.history,
        sums,
    )


def _rule(inputs: RoundInputs) -> Rule:
    name, version = inputs.terms.scoring, inputs.terms.rules_version
    chosen = contribution.rule(name, version)
    if inputs.context is None and not chosen.needs.nothing:
        known = contribution.names(version, alone=True)
        raise UnknownRule(kind="scoring rule that needs no context", name=name, version=version, known=known)
    return chosen


def _discounted(shares: Sequence[int], discounts: Sequence[int]) -> tuple[int, ...]:
    return tuple(staleness.discounted(share, ppb) for share, ppb in zip(shares, discounts, strict=True))


def _weights(thetas: Sequence[int], scored: Scored, discounts: Sequence[int]) -> tuple[int, ...]:
    """p_i of 2^30: by theta, or as the rule wants its step, which a delay shortens all the same."""
    if scored.step is None:
        return step_weights(thetas)
    least = sum(staleness.discounted(scored.step.floor, ppb) for ppb in discounts)
    return bounded_weights(_discounted(scored.step.shares, discounts), scored.step.bounds, least)


def _not_paid(
    outcome: Outcome,
    inputs: RoundInputs,
    products: NDArray[np.int64],
    scored: Scored,
    sums: Mapping[int, NDArray[np.int32]],
) -> RoundResult:
    zeros = (0,) * len(inputs.entries)
    aggregate = aggregation.unchanged(inputs.current)
    model = inputs.current.copy()
    return RoundResult(outcome, products, zeros, zeros, 0, aggregate, model, scored.parts, scored.history, sums)


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
