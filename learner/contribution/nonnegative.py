"""Non-negative least squares in integers: which directions, and how much of each, make up a vector."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNIT = 10**8
"""What one is: with it no product below leaves a signed 64-bit integer."""
RIDGE = 10**5
"""A thousandth on the diagonal: directions that are nearly alike share what they explain, and sizes stay below 64."""
SWEEPS = 64
MOST_NUMBERS = 1 << 22
"""Numbers in the rows of vectors that are taken at a time, 32 MB."""


def coefficients(cosines: ArrayLike, products: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give int64[n, r]: for each of n unit vectors how much of each of r unit directions it has.

    `cosines` are those between the directions, [r, r] or for each vector its own [n, r, r], `products` int64[n, r]
    those of the vectors with the directions, all in units of 10^-8, cut or rounded to them by less than 1.1. x
    approaches the least f(x) = |v - sum_j x_j d_j|^2 + |x|^2 / 1000 over x >= 0, by `SWEEPS` rounds of coordinate
    descent from 0, each step rounded up (RULES.md, "decomposed"). It gets there where the directions' cosines are below
    0.9; of pairs at 0.97 f stays some 10^-4 above its least, at 0.99 some 10^-3, and what comes first keeps more of
    what both explain.

    A step leaves x_j - min(x_j, floor(s / D)), s being the slope by x_j and D what is on the diagonal. That is
    -min(0, floor((s - D x_j) / D)), whatever x_j was; the difference is that of the other directions with v, here one
    product of a row with what is known: -x, and v's products.

    Nothing overflows. A step lowers f, its rounding lifts it by 1.001 * 10^-16 at most, so f(x) <= f(0) = |v|^2 = 1 all
    along, but for that and what the inputs were rounded by: 1.1 * 10^-8 (|x|_1^2 + 2 |x|_1), where |x|_1^2 <= r |x|^2.
    So (10^-3 - 1.1 * 10^-8 r) |x|^2 <= 1 and a little: |x| < 32 up to 2,000 directions, < 64 up to the 65,536 of as
    many classes as a label can name. A step is then at most 6.4 * 10^9, what it adds to a slope 6.5 * 10^17, and a
    slope, the product of a direction with what is left of v and these errors, below 3 * 10^16, of 9.2 * 10^18. The sums
    on the way to it may wrap around: modulo 2^64 they come to the same.
    """
    others = np.array(cosines, dtype=np.int64)
    count = others.shape[-1]
    most = max(1, MOST_NUMBERS // max(1, 2 * count * count))
    if others.ndim > 2 and len(products) > most:  # noqa: PLR2004 - a table for each vector
        parts = [slice(start, start + most) for start in range(0, len(products), most)]
        return np.concatenate([coefficients(others[part], products[part]) for part in parts])
    others[..., range(count), range(count)] = 0
    rows = np.concatenate([-others, np.broadcast_to(np.eye(count, dtype=np.int64), others.shape)], axis=-1)
    known = np.concatenate([np.zeros_like(products), -UNIT * products], axis=1)
    left = np.empty(len(known), dtype=np.int64)
    diagonal, nothing = np.array(UNIT + RIDGE), np.array(0)
    steps = list(zip(np.moveaxis(rows, -2, 0), known.T[:count], strict=True))
    for _ in range(SWEEPS):
        for row, own in steps:  # in place: making arrays would take longer than reckoning
            np.vecdot(known, row, out=left)
            np.floor_divide(left, diagonal, out=left)
            np.minimum(left, nothing, out=own)
    return -known[:, :count]
