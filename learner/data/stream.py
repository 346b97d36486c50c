"""A client's data as it arrives: a cycling shuffled stream of its own samples stands for arrival."""

import numpy as np

from learner.data.dataset import Indices
from merit.chance import seeded


def arrivals(samples: Indices, *, first: int, count: int, seed: int) -> Indices:
    """Take `count` samples of the stream from position `first` on; int64[count].

    The stream is pass after pass over `samples` (at least one), each pass shuffled afresh by `seed`. Positions make it
    resumable: a client that restarts goes on where it was.
    """
    size = len(samples)
    taken: list[int] = []
    for number in range(first // size, (first + count - 1) // size + 1):
        order = samples.tolist()
        seeded(seed, "arrivals", number).shuffle(order)
        start = max(first - number * size, 0)
        taken += order[start : first + count - number * size]
    return np.array(taken, dtype=np.int64)
