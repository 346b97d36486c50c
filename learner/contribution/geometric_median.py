"""Geometric median by Weiszfeld's iteration, as weights (RFA: Pillutla and others, arXiv 1912.13445).

A robust mean, no price: near updates earn more, also a zero one.
"""

from math import isqrt

import numpy as np

from learner.contribution.geometry import PPB
from learner.contribution.round import Round
from learner.products import inner
from learner.rewards import STEP_BITS, step_weights

ITERATIONS = 8
SMOOTHING = 10**6
"""A distance counts as at least the greatest one over this: RFA's nu, which keeps weights finite."""


def score(scored: Round) -> tuple[int, ...]:
    """theta_i = 10^9 * beta_i // max_j beta_j after 8 iterations from the plain mean.

    With weights w of 2^30 (`step_weights`), z = sum w_i u_i / 2^30 and D_i = isqrt(2^60 |u_i - z|^2): nu = max(1, max D
    // 10^6), beta_i = 10^18 * nu // max(D_i, nu), and the next weights are `step_weights(beta)`.
    """
    squared = np.diagonal(scored.gram).tolist()
    beta = [1] * len(squared)
    for _ in range(ITERATIONS):
        weights = step_weights(beta)
        toward = [row[0] for row in inner(scored.gram, np.array([weights], dtype=np.int64))]
        own = sum(weight * value for weight, value in zip(weights, toward, strict=True))
        distances = [
            isqrt((norm << 2 * STEP_BITS) - (dot << (STEP_BITS + 1)) + own)
            for norm, dot in zip(squared, toward, strict=True)
        ]
        least = max(1, max(distances) // SMOOTHING)
        beta = [PPB * PPB * least // max(distance, least) for distance in distances]
    most = max(beta)
    return tuple(PPB * value // most for value in beta)
