"""Refusal: updates that nothing about their direction can excuse."""

import numpy as np

from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.geometry import cosines, lower_median
from learner.contribution.round import Round


def refusals(scored: Round, limits: Thresholds) -> list[bool]:
    """Say of each entry whether it is too long, too short, or a near copy of an earlier entry of the round."""
    return [odd or copied for odd, copied in zip(odd_lengths(scored, limits), near_copies(scored, limits), strict=True)]


def odd_lengths(scored: Round, limits: Thresholds) -> list[bool]:
    """Say of each entry whether it is too long or too short beside the round's lower median norm."""
    squared = [int(scored.gram[at, at]) for at in range(len(scored.gram))]
    typical = lower_median(squared)
    return [own > limits.longest**2 * typical or limits.shortest**2 * own < typical for own in squared]


def near_copies(scored: Round, limits: Thresholds) -> list[bool]:
    """Say of each entry whether it is a near copy of an earlier entry of the round."""
    squared = np.diagonal(scored.gram)
    alike = cosines(np.tril(scored.gram, -1), squared[:, None], squared)
    return [bool(row.max(initial=0) > limits.copy) for row in alike]
