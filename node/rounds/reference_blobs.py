"""The canonical blob of an edge server's references of one version: what it commits to and later shows.

Header of 140 bytes, big-endian: "MRTR", format 1 (2 bytes), 2 zero bytes, genesis hash (32), ledger (20), job, edge
server, version (8 each), digest of the version's model (32), rows, columns (4 each), 16 zero bytes. Then each row's
label, two signed 16-bit numbers (c, k); then the rows, int16 little-endian. Format 2, of references with slopes, has
between labels and rows each row's slope: its bits (2 bytes, signed) and its probability in ppb (4).
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from learner.contribution import ROOT, Slope
from learner.errors import InvalidReferences
from learner.references import References

_HEAD: Final = struct.Struct(">4sH2s32s20sQQQ32sII16s")
_LABEL: Final = struct.Struct(">hh")
_SLOPE: Final = struct.Struct(">hI")
_MAGIC: Final = b"MRTR"
_PLAIN: Final = 1
_SLOPED: Final = 2
_ABOUT_BYTES: Final = struct.calcsize(">4sH2s32s20sQQQ")


@dataclass(frozen=True, slots=True)
class ReferencesHeader:
    """What references belong to: one ledger, job, edge server and version, whose model has this digest."""

    genesis_hash: bytes
    ledger: bytes
    job: int
    edge: int
    version: int
    model: bytes

    def blob(self, references: References) -> bytes:
        """Return the blob of references that are whole, not sketched; `InvalidReferences` for a sketch."""
        if references.sketch is not None:
            raise InvalidReferences(reason="an edge server commits to whole references, not to a sketch")
        rows, columns = references.vectors.shape
        labels = b"".join(_LABEL.pack(*label) for label in references.labels)
        slopes = b"".join(_SLOPE.pack(*slope) for slope in references.slopes)
        head = self._head(rows, columns, _SLOPED if references.slopes else _PLAIN)
        return head + labels + slopes + references.vectors.astype("<i2").tobytes()

    def decode(self, blob: bytes, *, dimension: int, classes: int) -> References:
        """Return the references of a blob with this header; `InvalidReferences` says why it is none.

        Rows have `dimension` columns, labels lie below `classes`, and each label stands once.
        """
        if len(blob) < _HEAD.size:
            raise InvalidReferences(reason=f"{len(blob)} bytes are no header of {_HEAD.size}")
        rows, columns = _HEAD.unpack_from(blob)[-3:-1]
        if columns != dimension or rows > classes * classes + 1:
            raise InvalidReferences(reason=f"{rows} rows of {columns}, not of {dimension} for {classes} classes")
        sloped = rows > 0 and blob[: _HEAD.size] == self._head(rows, columns, _SLOPED)
        if not sloped and blob[: _HEAD.size] != self._head(rows, columns, _PLAIN):
            raise InvalidReferences(reason="its header is not that of its commitment")
        labelled = _HEAD.size + rows * _LABEL.size
        start = labelled + (rows * _SLOPE.size if sloped else 0)
        if len(blob) != start + 2 * rows * columns:
            raise InvalidReferences(reason=f"{len(blob)} bytes, {rows} rows of {columns} make another length")
        labels = tuple(_LABEL.iter_unpack(blob[_HEAD.size : labelled]))
        if any(label != ROOT and max(label) >= classes for label in labels):
            raise InvalidReferences(reason=f"a label is not below {classes}")
        vectors = np.frombuffer(blob, dtype="<i2", offset=start).astype(np.int16).reshape(rows, columns)
        return References(labels, vectors, slopes=tuple(map(Slope._make, _SLOPE.iter_unpack(blob[labelled:start]))))

    def is_of(self, blob: bytes) -> bool:
        """Tell whether a blob says that it is references of this ledger, job, edge server and version."""
        return blob[:_ABOUT_BYTES] in {self._head(0, 0, kind)[:_ABOUT_BYTES] for kind in (_PLAIN, _SLOPED)}

    def _head(self, rows: int, columns: int, kind: int) -> bytes:
        return _HEAD.pack(
            _MAGIC,
            kind,
            bytes(2),
            self.genesis_hash,
            self.ledger,
            self.job,
            self.edge,
            self.version,
            self.model,
            rows,
            columns,
            bytes(16),
        )
