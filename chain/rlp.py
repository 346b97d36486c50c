"""Recursive length prefix encoding over bytes and lists, strict both ways (Ethereum Yellow Paper, appendix B).

Our own because the fast path encodes and decodes millions of small items: no sedes, no copies, no import of py-evm's
dependencies. `decode` accepts exactly what `encode` produces, so equal values have equal bytes and equal hashes.
"""

from typing import TYPE_CHECKING, TypeAlias

from chain.errors import RlpError

if TYPE_CHECKING:
    from collections.abc import Sequence

Item: TypeAlias = "bytes | Sequence[Item]"
Decoded: TypeAlias = "bytes | list[Decoded]"

_STRING, _LONG_STRING, _LIST = 0x80, 0xB7, 0xC0
LONG_LIST = 0xF7  # greater first bytes announce a list by the length of its length
_SHORT = 55  # longest payload whose length fits into the first byte
_DEEPEST = 16  # nothing of ours nests deeper; a bound keeps hostile input from exhausting the stack


def _prefix(length: int, short: int, long: int) -> bytes:
    if length <= _SHORT:
        return bytes((short + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((long + len(size),)) + size


def encode_bytes(value: bytes) -> bytes:
    """Encode one string."""
    if len(value) == 1 and value[0] < _STRING:
        return value
    return _prefix(len(value), _STRING, _LONG_STRING) + value


def encode_list(payload: bytes) -> bytes:
    """Wrap the concatenated encodings of a list's items."""
    return _prefix(len(payload), _LIST, LONG_LIST) + payload


def encode(item: Item) -> bytes:
    """Encode bytes or a nested sequence of bytes."""
    if isinstance(item, bytes):
        return encode_bytes(item)
    return encode_list(b"".join(map(encode, item)))


def integer(value: int) -> bytes:
    """Big-endian bytes of a non-negative integer without leading zeros; zero is the empty string."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def to_integer(value: Decoded, limit: int) -> int:
    """Read what `integer` wrote; `limit` is the greatest number of bytes allowed."""
    if not isinstance(value, bytes):
        message = "a list stands where a number belongs"
        raise RlpError(message)
    if len(value) > limit:
        message = f"a number of {len(value)} bytes, at most {limit} are allowed"
        raise RlpError(message)
    if value[:1] == b"\0":
        message = "a number with a leading zero"
        raise RlpError(message)
    return int.from_bytes(value, "big")


def _length(data: bytes, at: int, size: int, end: int) -> int:
    if at + size > end:
        message = "the length runs past the end"
        raise RlpError(message)
    length = int.from_bytes(data[at : at + size], "big")
    if length <= _SHORT or data[at] == 0:
        message = "a length that is not the shortest form"
        raise RlpError(message)
    return length


def _item(data: bytes, at: int, end: int, depth: int) -> tuple[Decoded, int]:
    """Decode the item at `at`, which may not reach beyond `end`; return it and the position after it."""
    if at >= end:
        message = "an item is missing"
        raise RlpError(message)
    first = data[at]
    if first < _STRING:
        return data[at : at + 1], at + 1
    at += 1
    long = _LONG_STRING if first < _LIST else LONG_LIST
    if first > long:
        length, start = _length(data, at, first - long, end), at + first - long
    else:
        length, start = first - (_STRING if first < _LIST else _LIST), at
    stop = start + length
    if stop > end:
        message = "an item runs past the end"
        raise RlpError(message)
    if first < _LIST:
        if length == 1 and data[start] < _STRING:
            message = "a single byte that is not the shortest form"
            raise RlpError(message)
        return data[start:stop], stop
    if depth == 0:
        message = "lists nested too deep"
        raise RlpError(message)
    items: list[Decoded] = []
    while start < stop:
        item, start = _item(data, start, stop, depth - 1)
        items.append(item)
    return items, stop


def decode(data: bytes) -> Decoded:
    """Decode exactly one item that fills `data`; `RlpError` for anything but its canonical encoding."""
    item, end = _item(data, 0, len(data), _DEEPEST)
    if end != len(data):
        message = f"{len(data) - end} bytes follow the item"
        raise RlpError(message)
    return item
