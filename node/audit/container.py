"""The file that an auditor takes along: a bundle of rounds, or a client's receipt. One form for each content.

    MAGIC                        "merit bundle 1" and a line feed: the format and its version
    entry, entry, ...            to the end of the file

Each entry is a head (kind u8, number u64, length u32, big-endian) and `length` bytes. The number is a height for a
header, commit, transaction list, evidence or set of validators, a block's number for a block header or receipt, and for
a blob its place in the list of names; otherwise 0. Entries come in one order only (`Form`), so that a head says nothing
that the reader does not expect but where the entry ends. What the bytes of an entry must be is told by what names them:
there is no checksum, because everything here is signed, or hashes to something that is.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from node.audit.errors import FaultError, NotAuditableError
from node.audit.report import Part

MAGIC: Final = b"merit bundle 1\n"
_HEAD: Final = struct.Struct(">BQI")
_SCOPE_MOST: Final = 1 << 16
"""Bytes within which a scope says what it is of."""


class Kind(IntEnum):
    """What an entry is."""

    SCOPE = 1
    GENESIS = 2
    HEADER = 3
    COMMIT = 4
    TRANSACTIONS = 5
    EVIDENCE = 6
    NAMES = 7
    BLOB = 8
    VALIDATORS = 9
    BLOCK = 10
    RECEIPT = 11


_OF_HEIGHT: Final = frozenset({Kind.HEADER, Kind.COMMIT, Kind.TRANSACTIONS, Kind.EVIDENCE, Kind.VALIDATORS})


@dataclass(frozen=True, slots=True)
class Key:
    """Which entry: its kind and number."""

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        """Name it as divergences do."""
        name = self.kind.name.lower()
        if self.kind in _OF_HEIGHT:
            return f"{name} of height {self.number}"
        if self.kind is Kind.RECEIPT:
            return f"receipt {self.number & _INDEX} of block {self.number >> _INDEX_BITS}"
        if self.kind is Kind.BLOCK:
            return f"block {self.number}"
        return f"blob {self.number}" if self.kind is Kind.BLOB else name


_INDEX_BITS: Final = 24
_INDEX: Final = (1 << _INDEX_BITS) - 1


def receipt_key(block: int, index: int) -> Key:
    """Name the receipt of a block's transaction."""
    return Key(Kind.RECEIPT, block << _INDEX_BITS | index)


Form = Callable[["Container"], Iterator[tuple[Key, ...]]]
"""Yields, entry by entry, which ones may come next; the first that fits is taken. It reads what was indexed before."""


class Container:
    """A file opened for reading; entries are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Open it; raises NotAuditableError for a file that is none of ours."""
        self.path = path
        self._file = path.open("rb")
        self._places: dict[Key, tuple[int, int]] = {}
        if self._file.read(len(MAGIC)) != MAGIC:
            self._file.close()
            raise NotAuditableError(path, f"no bundle or receipt of this version (it must begin with {MAGIC!r})")

    def __enter__(self) -> Self:
        """Use it as a context manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()

    def __contains__(self, key: Key) -> bool:
        """Tell whether the entry was indexed."""
        return key in self._places

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the entries, in their order."""
        return iter(self._places)

    def __getitem__(self, key: Key) -> bytes:
        """Return an entry's bytes."""
        at, length = self._places[key]
        return os.pread(self._file.fileno(), length, at)  # processes that share the file do not move its position

    def index(self, form: Form) -> None:
        """Find every entry that the form expects; raises FaultError at the first byte that does not fit."""
        at, last, size = len(MAGIC), "the file's first line", self.path.stat().st_size
        for expected in form(self):
            self._file.seek(at)
            raw = self._file.read(_HEAD.size)
            wanted = f"at byte {at}, after {last}, the head of {' or of '.join(map(str, expected))}"
            if len(raw) < _HEAD.size:
                raise FaultError(Part.BUNDLE, wanted, "the end of the file")
            kind, number, length = _HEAD.unpack(raw)
            key = next((key for key in expected if (key.kind, key.number) == (kind, number)), None)
            if key is None:
                raise FaultError(Part.BUNDLE, wanted, f"0x{raw.hex()} (or what is before it has another length)")
            at += _HEAD.size
            if at + length > size:
                raise FaultError(Part.BUNDLE, f"{length} bytes of {key} from byte {at} on", f"{size - at} bytes")
            self._places[key] = at, length
            at, last = at + length, str(key)
        if at != size:
            raise FaultError(Part.BUNDLE, f"the end of the file at byte {at}, after {last}", f"{size - at} more bytes")


class Writer:
    """Writes a container beside its final name; `finish` puts it into place, anything else removes it."""

    def __init__(self, path: Path) -> None:
        """Write what shall be at `path`."""
        self._path, self._partial = path, path.with_name(f"{path.name}.partial")
        self._file: IO[bytes] = self._partial.open("wb")
        self._file.write(MAGIC)

    def __enter__(self) -> Self:
        """Use it as a context manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file; put it into place if nothing was raised."""
        self._file.close()
        if error is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def add(self, key: Key, content: bytes) -> None:
        """Write the next entry."""
        self._file.write(_HEAD.pack(key.kind, key.number, len(content)))
        self._file.write(content)


def holds(path: Path) -> str:
    """Tell whether a file claims to hold "rounds" or a "receipt"; raises NotAuditableError if it is neither."""
    with path.open("rb") as file:
        begin = file.read(len(MAGIC) + _HEAD.size + _SCOPE_MOST)
    if not begin.startswith(MAGIC):
        raise NotAuditableError(path, f"no bundle or receipt of this version (it must begin with {MAGIC!r})")
    return "receipt" if b'"holds":"receipt"' in begin else "rounds"
