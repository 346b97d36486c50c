"""Follows the ledger block by block: the events of the Ledger and the Registry, with each block's time."""

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from web3 import Web3

from contracts.events import decode_events
from node.rounds.log import BlockEvents

if TYPE_CHECKING:
    from web3.types import LogReceipt

BLOCKS_PER_QUERY = 256


class Follower:
    """Reads events once and in order; `height` is the last block that was read."""

    def __init__(self, w3: Web3, addresses: tuple[bytes, ...], *, start: int = 0) -> None:
        """Follow the contracts at `addresses` from the block after `start`."""
        self._w3 = w3
        self._addresses = [Web3.to_checksum_address(address) for address in addresses]
        self.height = start
        self.timestamp = 0

    def poll(self) -> Iterator[BlockEvents]:
        """Yield every new block, those without events included (they show the time)."""
        head = self._w3.eth.block_number
        while self.height < head:
            last = min(head, self.height + BLOCKS_PER_QUERY)
            logs: defaultdict[int, list[LogReceipt]] = defaultdict(list)
            for log in self._w3.eth.get_logs(
                {"fromBlock": self.height + 1, "toBlock": last, "address": self._addresses}
            ):
                logs[log["blockNumber"]].append(log)
            for height in range(self.height + 1, last + 1):
                self.timestamp = int(self._w3.eth.get_block(height)["timestamp"])
                self.height = height
                yield BlockEvents(height, self.timestamp, tuple(decode_events(logs[height])))
