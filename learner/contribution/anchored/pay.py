"""Pay that follows the Shapley value among those who are accepted."""

from collections.abc import Sequence

from learner.contribution.geometry import PPB
from learner.contribution.gram_shapley import values
from learner.contribution.round import Round


def shapley_pay(scored: Round, thetas: Sequence[int], cut: Sequence[int]) -> tuple[int, ...]:
    """Pay a quarter by theta, three quarters by Gram-Shapley value among those with a theta; in ppb of the round.

    A value counts in full from theta 0.1 on, below in proportion. Without positive values all of it goes by theta.
    """
    entries = [at for at, theta in enumerate(thetas) if theta]
    total = sum(thetas)
    found = dict(zip(entries, (max(0, value) for value in values(scored, entries, cut)), strict=True))
    positive = sum(found.values())
    paid = []
    for at, theta in enumerate(thetas):
        if not theta:
            paid.append(0)
        elif positive == 0:
            paid.append(PPB * theta // total)
        else:
            counted = min(10 * theta, PPB)
            paid.append(PPB * theta // (4 * total) + 3 * counted * found[at] // (4 * positive))
    return tuple(paid)
