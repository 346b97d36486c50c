"""Multi-Krum: accept the updates that are closest to their neighbours (Blanchard and others, NeurIPS 2017).

Prices nobody: whoever is accepted earns the same. With data in label shards the rare honest update is far from all.
"""

import numpy as np

from learner.contribution.geometry import PPB
from learner.contribution.round import Round


def score(scored: Round) -> tuple[int, ...]:
    """theta_i = 10^9 for the n - f updates of the least scores, with f = ceil(n / 4) assumed malicious; 0 for the rest.

    The score of u_i is the sum of its squared distances G_ii + G_jj - 2 G_ij to its max(1, n - f - 2) nearest others.
    At least one is accepted, and whoever has the score of the last accepted one is accepted, too.
    """
    count = len(scored.gram)
    malicious = -(-count // 4)
    squared = np.diagonal(scored.gram)
    distances = squared[:, None] + squared[None] - 2 * scored.gram  # at most 2^58: fits int64
    # of the sorted row the first is the update's own distance, 0
    nearest = np.sort(distances, axis=1)[:, 1 : 1 + max(1, count - malicious - 2)].tolist()
    scores = [sum(row) for row in nearest]
    last = sorted(scores)[max(1, count - malicious) - 1]
    return tuple(PPB if value <= last else 0 for value in scores)
