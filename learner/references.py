"""What an edge server publishes of its private root samples at one version of the model: a vector for each label.

Only directions count, but for the root update, which is encoded as an update is (`learner.fixedpoint`), and where a
rule asks for slopes.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from learner.contribution.geometry import PPB
from learner.contribution.round import REST, ROOT, Label, Slope
from learner.errors import InvalidReferences
from learner.products import Integers, dots, squared_norms
from learner.sketch import Sketch

MOST_BITS = 256
"""Gradients are at most 2^256 times as long as their rows, and no shorter than one part in as many."""


@dataclass(frozen=True, eq=False)
class References:
    """One edge server's references at one version of the model.

    Row r of `vectors` belongs to `labels[r]`: (c, k) for the negated gradient of the loss of its samples of class c
    labelled k, (REST, k) for that of its samples of all other classes labelled k, `ROOT` for its own update from its
    root samples. int16[rows, d], or int64[rows, buckets] of a `sketch`. A class that the server has no sample of has no
    row. `slopes`, one for each row or none at all, say how long the gradients are. Raises `InvalidReferences` if that
    is not so.
    """

    labels: tuple[Label, ...]
    vectors: Integers
    sketch: Sketch | None = None
    slopes: tuple[Slope, ...] = ()

    def __post_init__(self) -> None:
        """Check the shape of what a server sent."""
        kind = np.int16 if self.sketch is None else np.int64
        if self.vectors.ndim != 2 or self.vectors.dtype != kind:  # noqa: PLR2004 - rows and columns
            found = f"{self.vectors.dtype}{list(self.vectors.shape)}"
            raise InvalidReferences(reason=f"references are {found}, not {np.dtype(kind)}[rows, columns]")
        if len(self.labels) != len(self.vectors) or len(set(self.labels)) != len(self.labels):
            raise InvalidReferences(reason=f"{len(self.vectors)} references for {len(set(self.labels))} labels")
        if self.slopes and len(self.slopes) != len(self.labels):
            raise InvalidReferences(reason=f"{len(self.slopes)} slopes for {len(self.labels)} references")
        if any(abs(slope.bits) > MOST_BITS or not 0 <= slope.probability <= PPB for slope in self.slopes):
            raise InvalidReferences(reason=f"a slope is not within {MOST_BITS} bits, or its probability within 0 to 1")
        if any(label != ROOT and ((label[0] < 0 and label[0] != REST) or label[1] < 0) for label in self.labels):
            raise InvalidReferences(reason="a label is below 0")
        if self.sketch is not None and self.vectors.shape[1] != self.sketch.buckets:
            raise InvalidReferences(reason=f"{self.vectors.shape[1]} columns of {self.sketch.buckets} buckets")

    @cached_property
    def squared(self) -> tuple[int, ...]:
        """|g|^2 of each row."""
        return squared_norms(self.vectors)

    @cached_property
    def contrasts(self) -> tuple[int, ...]:
        """<g[k,k], g[REST,k]> for each row (REST, k) beside a row (k, k), 0 for other rows."""
        rows = {label: row for row, label in enumerate(self.labels)}
        pairs = [(rows[k, k], row) for (of, k), row in rows.items() if of == REST and (k, k) in rows]
        found = [0] * len(rows)
        products = dots([self.vectors[right] for right, _ in pairs], [self.vectors[row] for _, row in pairs])
        for (_, row), product in zip(pairs, products, strict=True):
            found[row] = product
        return tuple(found)

    def joined(self, other: "References") -> "References":
        """Put another table of the same server and version under this one."""
        if other.sketch != self.sketch or other.vectors.shape[1] != self.vectors.shape[1]:
            raise InvalidReferences(reason="tables of different width or sketch are not one server's")
        if self.slopes or other.slopes:
            raise InvalidReferences(reason="tables with slopes are not joined")
        return References(self.labels + other.labels, np.concatenate([self.vectors, other.vectors]), self.sketch)

    def sketched(self, sketch: Sketch) -> "References":
        """Give the same references, sketched; they must be whole."""
        if self.sketch is not None:
            raise InvalidReferences(reason="a sketch cannot be sketched again")
        return References(self.labels, sketch.of(self.vectors), sketch, self.slopes)
