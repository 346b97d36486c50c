"""What a scoring rule may see of a round."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A round's n entries in selection order.

    `gram` is the exact int64[n, n] of `learner.gram`. `samples[i]` is the number of samples that the job file credits
    to the client of entry i (0 where it says nothing).
    """

    gram: NDArray[np.int64]
    samples: tuple[int, ...]
