"""The exact Gram matrix of a round's updates, at the speed of a float64 matrix product.

Why floats may be used where every bit counts: int16 values are converted to float64 in chunks of columns. A product
of two int16 is at most 2^30 in magnitude, and every partial sum over c columns at most c * 2^30. As long as that
stays below 2^53, each intermediate is an integer that float64 represents exactly, so no rounding ever happens and the
order of the additions, the number of threads, fused multiply-add and the make of the BLAS (CPU or GPU) cannot matter.
8,192 columns stay at 2^43 and a small round fits the cache; sums of chunks are carried on in int64.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHUNK_COLUMNS = 8192
EXACT_COLUMNS = 1 << 23
"""Most columns whose products float64 adds exactly: 2^23 * 2^30 = 2^53."""


def gram(
    updates: Sequence[NDArray[np.int16]] | NDArray[np.int16], *, chunk_columns: int = CHUNK_COLUMNS
) -> NDArray[np.int64]:
    """G[i, j] = sum over c of updates[i][c] * updates[j][c], exact, as int64[n, n].

    `updates` are n arrays int16[d] of one length (or one int16[n, d]), d at most 2^32, so that |G| <= 2^62 fits int64.
    `chunk_columns`, at least 1 and cut to what is exact, changes the speed and never a bit.
    """
    chunk_columns = min(chunk_columns, EXACT_COLUMNS)
    count = len(updates)
    dimension = len(updates[0]) if count else 0
    total = np.zeros((count, count), dtype=np.int64)
    chunk = np.empty((count, min(chunk_columns, max(dimension, 1))), dtype=np.float64)
    for start in range(0, dimension, chunk_columns):
        stop = min(start + chunk_columns, dimension)
        part = chunk[:, : stop - start]
        for row, update in zip(part, updates, strict=True):
            row[:] = update[start:stop]
        total += (part @ part.T).astype(np.int64)
    return total


def encode_gram(matrix: NDArray[np.int64]) -> bytes:
    """Canonical bytes of a Gram matrix, for its digest.

    The upper triangle with the diagonal, row after row, each entry 8 bytes, signed, little-endian. Their number
    n(n+1)/2 gives n, so no header is needed.
    """
    return matrix[np.triu_indices(len(matrix))].astype("<i8").tobytes()
