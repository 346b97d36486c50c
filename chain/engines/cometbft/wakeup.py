"""Wake-up calls: what CometBFT's mempool holds in place of the ledger's transactions.

CometBFT makes a height when its mempool is not empty, and an idle chain must stand still. The transactions themselves
wait in the nodes' own pools, which saves CometBFT their gossip, their JSON and their base64 (ADR-pool.md). So a node
with work puts a call of 33 bytes into its mempool: CALL and the hash of a transaction that waits. CometBFT gossips it,
every validator enters the height, and whoever proposes takes transactions from its own pool. No block holds a call.

A call is answered, and leaves the mempools, when its transaction is in a block, or is refused. A node that does not
have the transaction cannot know and keeps the call for `PATIENCE` heights.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

CALL: Final = b"\xa5"
"""The first byte: no transaction begins with it (EIP-2718 has types up to 0x7f, legacy transactions begin at 0xc0)."""
CALL_BYTES: Final = 33
PATIENCE: Final = 6
"""Heights for which a node believes a call whose transaction it never saw."""
_REMEMBERED: Final = 16_384

_T = TypeVar("_T")


def call_for(name: bytes) -> bytes:
    """Return the call that a transaction waits; `name` is its hash (32 bytes)."""
    return CALL + name


def is_call(raw: bytes) -> bool:
    """Tell whether bytes in a mempool are a call."""
    return len(raw) == CALL_BYTES and raw[:1] == CALL


class Calls:
    """What one node knows of the calls in its mempool."""

    def __init__(self) -> None:
        """Start with none."""
        self._first_seen: OrderedDict[bytes, int] = OrderedDict()
        self._answered: OrderedDict[bytes, None] = OrderedDict()

    def answer(self, name: bytes) -> None:
        """Note that a transaction is in a block, or was refused."""
        _remember(self._answered, name, None)
        self._first_seen.pop(name, None)

    def stands(self, call: bytes, height: int, *, waiting: bool) -> bool:
        """Tell whether a call is worth a height; `waiting`: its transaction is in this node's pool."""
        name = call[len(CALL) :]
        if waiting:
            self._answered.pop(name, None)
            return True
        if name in self._answered:
            return False
        if name not in self._first_seen:
            _remember(self._first_seen, name, height)
        return height - self._first_seen[name] < PATIENCE


def _remember(table: OrderedDict[bytes, _T], name: bytes, value: _T) -> None:
    table[name] = value
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
