"""The journal: a write-ahead log of one height's inputs, as bytes; whoever has a disk writes and reads them.

    journal = head, record, record, ...
    head    = record of: format, height (8 bytes), owner's address
    record  = length (4 bytes), CRC-32 of the length (4), payload, link (16)
    link    = BLAKE2b(link before, payload)

Inputs are durable before any output leaves. Replaying them gives the same outputs, so a validator that crashed goes on
as if it had only been slow. What a crash can leave is a beginning of the last record, or zeros: that is cut off. Any
other damage is refused. The links make a journal's `Mark` stand for all records before it: a signer records the mark
with each signature, so a journal that lacks what a signature was made by does not pass for a shorter one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from chain.consensus.codec import decode_input, encode_input
from chain.consensus.errors import JournalError

if TYPE_CHECKING:
    from chain.consensus.driver import Input
    from chain.consensus.types import Address, Height

FORMAT: Final = b"merit-journal-1"

_LENGTH: Final = struct.Struct(">II")
_LINK_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a journal: how many records come before it, and the last one's link."""

    records: int
    link: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a journal holds: its inputs, where it ends, and of how many bytes that is the end."""

    inputs: tuple[Input, ...]
    journal: Journal
    length: int


class Journal:
    """Makes the bytes to append; it knows no file."""

    def __init__(self, mark: Mark = Mark(0, bytes(_LINK_BYTES))) -> None:
        """Go on at `mark`, by default where a journal begins."""
        self.mark = mark

    def begin(self, height: Height, owner: Address) -> bytes:
        """Return the head."""
        return self._record(_head(height, owner))

    def record(self, input_: Input) -> bytes:
        """Return the bytes of the next input."""
        return self._record(encode_input(input_))

    def _record(self, payload: bytes) -> bytes:
        length = len(payload).to_bytes(4, "big")
        link = _link(self.mark.link, payload)
        self.mark = Mark(self.mark.records + 1, link)
        return length + zlib.crc32(length).to_bytes(4, "big") + payload + link


def recover(raw: bytes, height: Height, owner: Address, *, at_least: Mark | None = None) -> Recovered:
    """Read a journal of `height` and `owner`; `at_least` is the mark of the last signature at this height.

    Raises JournalError for damage other than a torn end, and for a journal that `at_least` is no mark of.
    """
    journal, position = Journal(), 0
    inputs: list[Input] = []
    holds = at_least is None
    while (payload := _payload(raw, position, journal.mark)) is not None:
        if journal.mark.records == 0:
            if payload != _head(height, owner):
                raise JournalError(0, f"it is not the journal of height {height} of 0x{owner.hex()}")
        else:
            try:
                inputs.append(decode_input(payload))
            except ValueError as error:
                raise JournalError(journal.mark.records, str(error)) from error
        position += len(journal._record(payload))  # noqa: SLF001 - the same link again
        holds = holds or journal.mark == at_least
    if not holds:
        raise JournalError(journal.mark.records, "a signature was made by inputs that it does not hold")
    return Recovered(tuple(inputs), journal, position)


def _payload(raw: bytes, position: int, mark: Mark) -> bytes | None:
    """Return the payload of the record at `position`; None where the journal ends, if need be torn."""
    rest = raw[position:]
    if not rest.strip(b"\0"):
        return None  # the end, or zeros that a file system put where a write did not arrive
    if len(rest) < _LENGTH.size:
        return None
    length, check = _LENGTH.unpack_from(rest)
    if zlib.crc32(rest[:4]) != check:
        raise JournalError(mark.records, "its length does not hold")
    end = _LENGTH.size + length
    payload, link = rest[_LENGTH.size : end], rest[end : end + _LINK_BYTES]
    if len(link) < _LINK_BYTES:
        return None
    if link != _link(mark.link, payload):
        raise JournalError(mark.records, "its link does not hold")
    return payload


def _head(height: Height, owner: Address) -> bytes:
    return FORMAT + height.to_bytes(8, "big") + owner


def _link(before: bytes, payload: bytes) -> bytes:
    return blake2b(before + payload, digest_size=_LINK_BYTES).digest()
