"""An exact integer count-sketch: a long vector in few numbers that keep inner products, nearly.

Charikar, Chen and Farach-Colton, "Finding frequent items in data streams" (2002). Coordinate c goes to bucket h(c) with
sign s(c). For vectors a and b the sketches' inner product has mean <a, b> and, over seeds, a variance of at most
(|a|^2 |b|^2 + <a, b>^2) / buckets. It is linear: the sketch of a sum is the sum of the sketches.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.errors import InvalidReferences
from learner.products import Rows

MAX_BUCKETS = 1 << 24
_DOMAIN = b"merit/sketch/1"
_SIGN = np.uint32(1 << 31)


@dataclass(frozen=True, slots=True)
class Sketch:
    """How vectors are sketched: a seed that nobody could choose, and a number of buckets, a power of two."""

    seed: bytes
    buckets: int

    def __post_init__(self) -> None:
        """Raise `InvalidReferences` for a number of buckets that no hash word can be cut to."""
        if not 1 <= self.buckets <= MAX_BUCKETS or self.buckets & (self.buckets - 1):
            raise InvalidReferences(reason=f"{self.buckets} buckets: choose a power of two up to {MAX_BUCKETS}")

    def of(self, vectors: Rows) -> NDArray[np.int64]:
        """Sketch each of n rows of int16: int64[n, buckets], exact.

        The words of coordinates are SHAKE-256("merit/sketch/1" + seed) read as unsigned 32-bit little-endian numbers:
        bucket = word mod buckets, the sign is minus where the word's highest bit is set. A bucket adds at most
        2^26 values of at most 2^15, so float64 adds them exactly.
        """
        stream = hashlib.shake_256(_DOMAIN + self.seed).digest(4 * len(vectors[0]) if len(vectors) else 0)
        words = np.frombuffer(stream, dtype="<u4")
        bucket = (words & np.uint32(self.buckets - 1)).astype(np.intp)
        sign = np.where(words & _SIGN, -1.0, 1.0)
        found = np.empty((len(vectors), self.buckets), dtype=np.int64)
        for into, vector in zip(found, vectors, strict=True):
            into[:] = np.bincount(bucket, weights=sign * vector, minlength=self.buckets)
        return found
