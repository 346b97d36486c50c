"""Merkle-Patricia tries over what a block lists: index -> transaction, index -> receipt (Yellow Paper, appendix D).

tests/chain/execution compares the roots with the `trie` package.
"""

from collections.abc import Sequence

from chain import rlp
from chain.execution.blocks import EMPTY_ROOT
from chain.execution.lookup import NodeCache
from chain.execution.update import update


def ordered_root(values: Sequence[bytes]) -> bytes:
    """Return the root of the trie that maps rlp(index) to each value, none of them empty (32 bytes)."""
    entries = {rlp.encode_bytes(rlp.integer(index)): value for index, value in enumerate(values)}
    return update(NodeCache(entries=0), {}, EMPTY_ROOT, entries)[0] if entries else EMPTY_ROOT
