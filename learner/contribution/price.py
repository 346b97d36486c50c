"""Prices: what the classes that an update teaches count for, where a job weighs classes unlike."""

from collections.abc import Sequence
from dataclasses import replace

from learner.contribution.anchored.labels import Classes, right_cosines
from learner.contribution.geometry import PPB, median
from learner.contribution.round import Round
from learner.contribution.rule import Step


def prices(scored: Round) -> list[int]:
    """Give each entry's price in ppb: the weights of the classes, by how much its update teaches each.

    The median over servers of sum_c weight_c max(0, a[c,c]) // sum_c max(0, a[c,c]), a[c,c] = cos(u, g[c,c]). A server
    by whose references the update teaches nothing does not count; 0 if none counts.
    """
    return [_price(right, scored.weights) for right in right_cosines(scored.comparisons)]


def priced(scored: Round, thetas: Sequence[int], step: Step) -> tuple[Sequence[int], Step, dict[str, tuple[int, ...]]]:
    """Multiply pay and shares by the prices, which are the part `price`; nothing changes where all classes count alike.

    The floor of the step falls with the mean price of the entries that have a share: only a round that takes few
    updates is to take a small step, not one that takes cheap ones.
    """
    if not scored.weights:
        return thetas, step, {}
    found = prices(scored)
    taken = [price for price, share in zip(found, step.shares, strict=True) if share]
    return (
        [theta * price // PPB for theta, price in zip(thetas, found, strict=True)],
        replace(
            step,
            shares=tuple(share * price // PPB for share, price in zip(step.shares, found, strict=True)),
            floor=step.floor * sum(taken) // (PPB * len(taken)) if taken else step.floor,
        ),
        {"price": tuple(found)},
    )


def _price(right: Sequence[Classes], weights: Sequence[int]) -> int:
    found = []
    for classes in right:
        taught = {of: value for of, value in classes if value > 0}
        if taught:
            found.append(sum(weights[of] * value for of, value in taught.items()) // sum(taught.values()))
    return median(found) if found else 0
