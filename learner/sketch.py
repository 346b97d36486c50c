"""An exact integer count-sketch: a long vector in few numbers that keep inner products, nearly.

Charikar, Chen and Farach-Colton, "Finding frequent items in data streams" (2002). Coordinate c goes to bucket h(c) with
sign s(c). For vectors a and b the sketches' inner product has mean <a, b> and, over seeds, a variance of at most
(|a|^2 |b|^2 + <a, b>^2) / buckets. It is linear: the sketch of a sum is the sum of the sketches.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from learner.errors import InvalidReferences
from learner.products import Rows

MAX_BUCKETS = 1 << 24
CHUNK_WORDS = 1 << 16
_DOMAIN = b"merit/sketch/1"
_SIGN_BIT = 31


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

        The words of coordinates, 65,536 at a time, are SHAKE-256("merit/sketch/1" + number of the chunk in 4 bytes,
        big-endian + seed) read as unsigned 32-bit little-endian numbers: bucket = word mod buckets, the sign is minus
        where the word's highest bit is set. A bucket adds at most 2^26 values of at most 2^15, so float64 adds them
        exactly.
        """
        found = np.zeros((len(vectors), self.buckets), dtype=np.float64)
        length = len(vectors[0]) if len(vectors) else 0
        for number, start in enumerate(range(0, length, CHUNK_WORDS)):
            words = _words(self.seed, number)[: length - start]
            bucket = (words & np.uint32(self.buckets - 1)).astype(np.intp)
            sign = 1.0 - 2.0 * (words >> np.uint32(_SIGN_BIT))
            for into, vector in zip(found, vectors, strict=True):
                weights = sign * vector[start : start + CHUNK_WORDS]
                into[:] += np.bincount(bucket, weights=weights, minlength=self.buckets)
        return found.astype(np.int64)


@lru_cache(maxsize=64)  # 16 MB: a model of four million parameters is hashed once for all rows
def _words(seed: bytes, number: int) -> NDArray[np.uint32]:
    stream = hashlib.shake_256(_DOMAIN + number.to_bytes(4, "big") + seed).digest(4 * CHUNK_WORDS)
    return np.frombuffer(stream, dtype="<u4").astype(np.uint32)
