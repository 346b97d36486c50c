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
    diagonal = np.array(UNIT + RIDGE)
    found = np.zeros(products.T.shape, dtype=np.int64)
    slopes = np.ascontiguousarray(-UNIT * products.T)  # in 10^-16: of half the sum of squares, by each coefficient
    less, change = np.empty_like(found[0]), np.empty_like(found)
    steps = list(zip(found, slopes, table[:, :, None], strict=True))
    for _ in range(SWEEPS):
        for own, slope, row in steps:  # in place: making arrays would take longer than reckoning
            np.floor_divide(slope, diagonal, out=less)
            np.minimum(own, less, out=less)
            np.subtract(own, less, out=own)
            np.multiply(row, less, out=change)
            np.subtract(slopes, change, out=slopes)
    return found.T
