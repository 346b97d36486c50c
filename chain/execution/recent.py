"""Events that are asked for again soon: of the newest blocks, as their execution left them, and of blocks just read."""

from collections import OrderedDict
from typing import Final, TypeAlias

from chain.execution.blocks import Block, BlockNumber, Log

_BLOCKS: Final = 8
_LOGS: Final = 20_000  # some 10 MB; decoding them takes a tenth of a second

Events: TypeAlias = tuple[tuple[bytes, tuple[Log, ...]], ...]
"""Hash and events of each transaction of a block."""


class RecentEvents:
    """Block hash -> hash and events of each transaction; the hash says all of them, so nothing goes stale."""

    def __init__(self, blocks: int = _BLOCKS) -> None:
        """Keep the newest `blocks`."""
        self._most = blocks
        self._known: OrderedDict[bytes, Events] = OrderedDict()

    def remember(self, block: Block, hashes: list[bytes]) -> None:
        """Keep a block's events; `hashes` are those of its transactions."""
        logs = (receipt.logs for receipt in block.receipts)
        self._known[block.hash] = tuple(zip(hashes, logs, strict=True))
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def of(self, block_hash: bytes) -> Events:
        """Return what is remembered of a block, transaction by transaction; nothing when it is forgotten."""
        return self._known.get(block_hash, ())


class ReadEvents:
    """Block number -> its events, of the blocks read last; a block of the store never changes."""

    def __init__(self, logs: int = _LOGS) -> None:
        """Keep so many logs at most, and those of one block in any case."""
        self._most, self._held = logs, 0
        self._known: dict[BlockNumber, Events] = {}

    def remember(self, block: BlockNumber, events: Events) -> None:
        """Keep what was read of a block."""
        self._known[block] = events
        self._held += _count(events)
        while self._held > self._most and len(self._known) > 1:
            self._held -= _count(self._known.pop(next(iter(self._known))))

    def of(self, block: BlockNumber) -> Events | None:
        """Return what is remembered of a block; None when that is nothing."""
        return self._known.get(block)


def _count(events: Events) -> int:
    return sum(len(logs) for _, logs in events)
