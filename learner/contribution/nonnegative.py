"""Non-negative least squares in integers: which directions, and how much of each, make up a vector."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNIT = 10**8
"""What one is: with it no product below leaves a signed 64-bit integer."""
RIDGE = 10**5
"""A thousandth on the diagonal: directions that are nearly alike share what they explain, and sizes stay below 64."""
SWEEPS = 64


def coefficients(cosines: Sequence[Sequence[int]], products: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give int64[n, r]: for each of n unit vectors how much of each of r unit directions it has.

    `cosines` are those between the directions, `products` int64[n, r] those of the vectors with the directions, all in
    units of 10^-8. x minimises |v - sum_j x_j d_j|^2 + |x|^2 / 1000 over x >= 0, by `SWEEPS` rounds of coordinate
    descent from 0, each step rounded up (RULES.md, "decomposed").

    Nothing overflows: the sum of squares falls with every step, so |sum_j x_j d_j| <= 2 and |x|^2 <= 4000.
    """
    table = np.array(cosines, dtype=np.int64)
    table[np.diag_indices_from(table)] = UNIT + RIDGE
    found = np.zeros_like(products)
    slopes = -UNIT * products  # in 10^-16: of half the sum of squares, by each coefficient
    for _ in range(SWEEPS):
        for at, row in enumerate(table):
            better = np.maximum(0, found[:, at] - slopes[:, at] // (UNIT + RIDGE))
            slopes += (better - found[:, at])[:, None] * row
            found[:, at] = better
    return found
