"""The canonical blob of what a scoring rule remembers of clients: part "history" of an attestation is its digest.

"MRTH", format 1 (2 bytes), number of clients (4 bytes); then for each client, its number rising, that number (8 bytes),
how many integers are remembered (2 bytes) and each of them, signed, in 16 bytes. All big-endian.
"""

import struct
from typing import Final

from learner.contribution import History
from node.errors import HistoryError

_HEAD: Final = struct.Struct(">4sHI")
_CLIENT: Final = struct.Struct(">QH")
_MAGIC: Final = b"MRTH"
_FORMAT: Final = 1
_INTEGER_BYTES: Final = 16


def encode_history(history: History) -> bytes:
    """Return the blob; `OverflowError` for an integer beyond 127 bits, which no rule comes near."""
    parts = [_HEAD.pack(_MAGIC, _FORMAT, len(history))]
    for client in sorted(history):
        parts.append(_CLIENT.pack(client, len(history[client])))
        parts += [value.to_bytes(_INTEGER_BYTES, "big", signed=True) for value in history[client]]
    return b"".join(parts)


def decode_history(blob: bytes) -> History:
    """Return what a blob says of each client; `HistoryError` unless it is canonical."""
    found: dict[int, tuple[int, ...]] = {}
    try:
        _, _, clients = _HEAD.unpack_from(blob)
        at = _HEAD.size
        for _ in range(clients):
            client, count = _CLIENT.unpack_from(blob, at)
            at += _CLIENT.size
            ends = range(at + _INTEGER_BYTES, at + (count + 1) * _INTEGER_BYTES, _INTEGER_BYTES)
            found[client] = tuple(int.from_bytes(blob[end - _INTEGER_BYTES : end], "big", signed=True) for end in ends)
            at += count * _INTEGER_BYTES
    except struct.error as error:
        raise HistoryError(str(error)) from error
    if encode_history(found) != blob:
        reason = "it does not re-encode to itself"
        raise HistoryError(reason)
    return found
