"""Events of the newest blocks, as their execution left them: who follows the ledger asks for them at once."""

from collections import OrderedDict
from typing import Final

from chain.execution.blocks import Block, Log

_BLOCKS: Final = 8


class RecentEvents:
    """Block hash -> hash and events of each transaction; the hash says all of them, so nothing goes stale."""

    def __init__(self, blocks: int = _BLOCKS) -> None:
        """Keep the newest `blocks`."""
        self._most = blocks
        self._known: OrderedDict[bytes, tuple[tuple[bytes, tuple[Log, ...]], ...]] = OrderedDict()

    def remember(self, block: Block, hashes: list[bytes]) -> None:
        """Keep a block's events; `hashes` are those of its transactions."""
        logs = (receipt.logs for receipt in block.receipts)
        self._known[block.hash] = tuple(zip(hashes, logs, strict=True))
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def of(self, block_hash: bytes) -> tuple[tuple[bytes, tuple[Log, ...]], ...]:
        """Return what is remembered of a block, transaction by transaction; nothing when it is forgotten."""
        return self._known.get(block_hash, ())
