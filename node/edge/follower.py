"""Follows the ledger block by block: the events of the Ledger and the Registry, with each block's time."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from web3 import Web3

from contracts.events import decode_events
from node.rounds.log import BlockEvents

if TYPE_CHECKING:
    from web3.types import LogReceipt

BLOCKS_PER_QUERY = 256


class BlockSource(Protocol):
    """Where blocks come from."""

    def after(self, height: int) -> Iterable[BlockEvents]:
        """Give every block after this one, in order, those without events included (they show the time)."""
        ...


class Web3Source:
    """Blocks by JSON-RPC."""

    def __init__(self, w3: Web3, addresses: tuple[bytes, ...]) -> None:
        """Read the contracts at `addresses`."""
        self._w3 = w3
        self._addresses = [Web3.to_checksum_address(address) for address in addresses]

    def after(self, height: int) -> Iterator[BlockEvents]:
        """Give every block after this one."""
        head = self._w3.eth.block_number
        while height < head:
            last = min(head, height + BLOCKS_PER_QUERY)
            logs: defaultdict[int, list[LogReceipt]] = defaultdict(list)
            for log in self._w3.eth.get_logs({"fromBlock": height + 1, "toBlock": last, "address": self._addresses}):
                logs[log["blockNumber"]].append(log)
            for number in range(height + 1, last + 1):
                timestamp = int(self._w3.eth.get_block(number)["timestamp"])
                yield BlockEvents(number, timestamp, tuple(decode_events(logs[number])))
            height = last


class Follower:
    """Reads events once and in order; `height` is the last block that was read, `timestamp` its time."""

    def __init__(self, source: BlockSource, *, start: int = 0) -> None:
        """Follow `source` from the block after `start`."""
        self._source = source
        self.height = start
        self.timestamp = 0

    def poll(self) -> Iterator[BlockEvents]:
        """Yield every new block."""
        for block in self._source.after(self.height):
            self.height, self.timestamp = block.height, block.timestamp
            yield block
