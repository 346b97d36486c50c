"""Merkle-Patricia tries over what a block lists: index -> transaction, index -> receipt (Yellow Paper, appendix D).

State tries are changed in `update.py`; these two are built once from scratch and never read, so all that is needed is a
recursion over the sorted keys. tests/chain/execution compares the roots with the `trie` package.
"""

from collections.abc import Sequence

from chain import rlp
from chain.crypto.hashing import keccak256
from chain.execution.blocks import EMPTY_ROOT

_Node = list[rlp.Item]
_HASHED_FROM = 32  # a node whose encoding is shorter stands in its parent itself


def ordered_root(values: Sequence[bytes]) -> bytes:
    """Return the root of the trie that maps rlp(index) to each value (32 bytes)."""
    if not values:
        return EMPTY_ROOT
    entries = sorted((_nibbles(rlp.encode_bytes(rlp.integer(index))), value) for index, value in enumerate(values))
    return keccak256(rlp.encode(_build(entries, 0)))


def _nibbles(key: bytes) -> bytes:
    return bytes(half for byte in key for half in (byte >> 4, byte & 15))


def _path(nibbles: bytes, *, leaf: bool) -> bytes:
    """Hex-prefix encoding: the first half-byte says leaf or extension, and odd or even."""
    flag = 2 if leaf else 0
    padded = bytes((flag + 1,)) + nibbles if len(nibbles) % 2 else bytes((flag, 0)) + nibbles
    return bytes(padded[at] << 4 | padded[at + 1] for at in range(0, len(padded), 2))


def _reference(node: _Node) -> rlp.Item:
    encoded = rlp.encode(node)
    return node if len(encoded) < _HASHED_FROM else keccak256(encoded)


def _build(entries: list[tuple[bytes, bytes]], depth: int) -> _Node:
    """Build the node of sorted `entries` that agree in their first `depth` half-bytes; none is a prefix of another."""
    first, value = entries[0]
    if len(entries) == 1:
        return [_path(first[depth:], leaf=True), value]
    last = entries[-1][0]
    fork = depth
    while first[fork] == last[fork]:
        fork += 1
    branch: _Node = [b""] * 17
    for nibble in range(16):
        below = [entry for entry in entries if entry[0][fork] == nibble]
        if below:
            branch[nibble] = _reference(_build(below, fork + 1))
    return branch if fork == depth else [_path(first[depth:fork], leaf=False), _reference(branch)]
