"""Reader of the idx format (MNIST), plain or gzip.

A file is two zero bytes, a type code, the number of dimensions, each dimension as four bytes big-endian, then the
elements in row-major order (http://yann.lecun.com/exdb/mnist). MNIST uses type 0x08, unsigned bytes, only.
"""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learner.errors import InvalidDataFile

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"
MAX_ELEMENTS = 1 << 31
"""Refuse what cannot be meant before memory is asked for: 2 GiB is 45 times MNIST's training images."""


def read(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes with that many dimensions; a new uint8 array of the file's shape.

    Whether it is gzip is told by its first bytes, not by its name. Raises `InvalidDataFile`, naming what is wrong, if
    the file cannot be read, has another magic number or shape, or is shorter or longer than its header says.
    """
    content = _content(path)
    header_bytes = 4 + 4 * dimensions
    magic = struct.pack(">HBB", 0, UNSIGNED_BYTE, dimensions)
    if not magic.startswith(content[:4]):
        raise InvalidDataFile(path=path, reason=f"magic number is {content[:4].hex()}, not {magic.hex()}")
    if len(content) < header_bytes:
        raise InvalidDataFile(path=path, reason=f"{len(content)} bytes are shorter than the header of {header_bytes}")
    shape = struct.unpack(f">{dimensions}I", content[4:header_bytes])
    if (elements := prod(shape)) > MAX_ELEMENTS:
        raise InvalidDataFile(path=path, reason=f"header claims {elements} bytes, more than {MAX_ELEMENTS}")
    if (found := len(content) - header_bytes) != elements:
        relation = "truncated" if found < elements else "too long"
        raise InvalidDataFile(path=path, reason=f"{relation}: {found} bytes of data, the header says {elements}")
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes).reshape(shape).copy()


def read_images(path: Path) -> NDArray[np.uint8]:
    """Read an idx3 file of images: uint8[n, rows, columns]; `InvalidDataFile` as `read`."""
    return read(path, dimensions=3)


def read_labels(path: Path, *, classes: int) -> NDArray[np.uint8]:
    """Read an idx1 file of labels, each below `classes`: uint8[n]; `InvalidDataFile` as `read`, or for a label."""
    labels = read(path, dimensions=1)
    if len(labels) and (largest := int(labels.max())) >= classes:
        raise InvalidDataFile(
            path=path, reason=f"label {largest} at position {int(labels.argmax())}; labels are 0 to {classes - 1}"
        )
    return labels


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidDataFile(path=path, reason=f"cannot be read ({error.strerror})") from error
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError as error:
        raise InvalidDataFile(path=path, reason="truncated: the gzip stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InvalidDataFile(path=path, reason=f"the gzip stream is damaged ({error})") from error
