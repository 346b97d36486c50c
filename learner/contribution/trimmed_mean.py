"""Trimmed mean as weights: the share of an update's coordinates that a coordinate-wise trimmed mean would use.

The trimmed mean itself (Yin and others, arXiv 1803.01498) gives each coordinate other weights, which one weight for
each update cannot express: the step here is the mean of whole updates, weighed by how much of each survives. It pays a
zero update, which survives almost everywhere.
"""

import numpy as np

from learner.contribution.geometry import PPB
from learner.contribution.round import Round
from learner.gram import CHUNK_COLUMNS


def score(scored: Round) -> tuple[int, ...]:
    """theta_i = 10^9 * kept_i // d, kept_i the number of coordinates in which u_i is not trimmed.

    Of each coordinate's n values the b = min(ceil(n / 4), (n - 1) // 2) least and the b greatest are trimmed; a value
    equal to one that stays, stays.
    """
    count, dimension = len(scored.updates), len(scored.updates[0])
    trimmed = min(-(-count // 4), (count - 1) // 2)
    kept = np.zeros(count, dtype=np.int64)
    for start in range(0, dimension, CHUNK_COLUMNS):
        part = np.stack([update[start : start + CHUNK_COLUMNS] for update in scored.updates])
        ordered = np.sort(part, axis=0)
        kept += ((part >= ordered[trimmed]) & (part <= ordered[count - 1 - trimmed])).sum(axis=1)
    return tuple(PPB * value // dimension for value in kept.tolist())
