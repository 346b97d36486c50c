"""Edge servers that lie about what their root samples teach: other samples, or other vectors of the same shape."""

from dataclasses import replace
from typing import TypeAlias

import msgspec
import numpy as np

from learner.attacks.attack import Above0
from learner.contribution import ROOT, Label
from learner.data import Dataset
from learner.fixedpoint import INT16, Reals
from learner.references import References


class Lie(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What a lying server does; in a file, `kind` says which."""

    def root(self, data: Dataset) -> Dataset:
        """Choose the samples that references are made from; by default its own."""
        return data

    def told(self, references: References, chance: np.random.Generator) -> References:
        """Choose what is committed to; `chance` is common to all liars of a version, and to their clients."""
        del chance
        return references


class Negated(Lie, frozen=True, tag="negated"):
    """Turn every reference round: what helps looks harmful."""

    def told(self, references: References, chance: np.random.Generator) -> References:
        """Negate all rows."""
        del chance
        return _scaled(references, -1.0)


class Scaled(Lie, frozen=True, tag="scaled"):
    """Stretch every reference by `factor`, against rules that read lengths; a coordinate stays within its integers."""

    factor: Above0 = 16.0

    def told(self, references: References, chance: np.random.Generator) -> References:
        """Multiply all rows."""
        del chance
        return _scaled(references, self.factor)


class TargetClass(Lie, frozen=True, tag="target-class"):
    """Call every root sample `target`: only what makes the model say that looks useful."""

    target: int = 0

    def root(self, data: Dataset) -> Dataset:
        """Relabel all samples."""
        return Dataset(data.images, np.full(len(data), self.target % data.classes, dtype=np.int64), data.classes)


class Planted(Lie, frozen=True, tag="planted"):
    """Commit to a secret direction in place of what right labels teach, for its own clients to send."""

    def told(self, references: References, chance: np.random.Generator) -> References:
        """Put the direction, at each row's length, in the place of right labels and the root update."""
        vectors = references.vectors.astype(np.float64)
        drawn = chance.standard_normal(vectors.shape[1])
        planted = drawn / float(np.linalg.norm(drawn))
        for row in _right(references.labels):
            vectors[row] = float(np.linalg.norm(vectors[row])) * planted
        return _encoded(references, vectors)


AnyLie: TypeAlias = Negated | Scaled | TargetClass | Planted
"""What a file may name; `kind` tells them apart."""


def lesson(references: References) -> Reals | None:
    """Add up the unit vectors of all right labels, or take the root update where there are none; float64[columns].

    None if there is neither. This is what somebody without samples would send who knows the references.
    """
    rows = _right(references.labels)
    right = [row for row in rows if references.labels[row] != ROOT] or rows
    vectors = references.vectors[right].astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    if not norms.any():
        return None
    total: Reals = (vectors[norms > 0] / norms[norms > 0, None]).sum(axis=0)
    return total


def _right(labels: tuple[Label, ...]) -> list[int]:
    return [row for row, (of, labelled) in enumerate(labels) if of == labelled]


def _scaled(references: References, factor: float) -> References:
    return _encoded(references, references.vectors.astype(np.float64) * factor)


def _encoded(references: References, vectors: Reals) -> References:
    """Round to the integers that references are of: int16, or int64 for sketches."""
    vectors = np.rint(vectors)
    if references.sketch is not None:
        return replace(references, vectors=vectors.astype(np.int64))
    return replace(references, vectors=np.clip(vectors, INT16.min, INT16.max).astype(np.int16))
