"""What a replayed history says: its blocks with their events, transaction by transaction, and where each stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chain.crypto.hashing import keccak256
from chain.execution.blocks import Block
from chain.execution.index import split_item_key
from chain.storage import Space
from contracts import events as kinds
from contracts.addresses import LEDGER, REGISTRY, TOKEN, VESTING
from contracts.events import Event, decode_event
from node.audit.replay import Expected, Replay
from node.rounds.log import BlockEvents

_CONTRACTS: Final = frozenset({LEDGER, REGISTRY, TOKEN, VESTING})
_CHECK_BYTES: Final = 8  # chain.storage puts a checksum before each value
_NUMBER_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: engine height, block number, and what the block's events say about it."""

    height: int | None = None
    block: int | None = None
    job: int | None = None
    round: int | None = None
    client: int | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of a block with the events of our contracts that it emitted."""

    index: int
    raw: bytes
    succeeded: bool
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class HistoryBlock:
    """A block of the ledger; `rounds` names the round that each job works on when the block begins."""

    number: int
    height: int
    timestamp: int
    transactions: tuple[Transaction, ...]
    rounds: Mapping[int, int]

    @property
    def events(self) -> tuple[Event, ...]:
        """All events of the block in order."""
        return tuple(event for transaction in self.transactions for event in transaction.events)

    def block_events(self) -> BlockEvents:
        """Return the block as `node.rounds.log` reads it."""
        return BlockEvents(self.number, self.timestamp, self.events)

    def place(self, event: Event | None = None) -> Place:
        """Say where an event, or the block itself, stands."""
        job = getattr(event, "job", None)
        round_ = getattr(event, "round", None)
        if round_ is None and job is not None:
            round_ = self.rounds.get(job)
        return Place(self.height, self.number, job, round_, getattr(event, "client", None))


def blocks_of(replay: Replay) -> tuple[HistoryBlock, ...]:
    """Return every block of a replay but the first, in order."""
    rounds: dict[int, int] = {}
    found: list[HistoryBlock] = []
    for step in replay.steps[1:]:
        if step.block is not None:
            block = HistoryBlock(
                step.block.number, step.height, step.block.header.timestamp, _transactions(step.block), dict(rounds)
            )
            found.append(block)
            for event in block.events:
                match event:
                    case kinds.JobCreated():
                        rounds[event.job] = 1
                    case kinds.RoundAgreed() | kinds.RoundVoid():
                        rounds[event.job] = event.round + 1
                    case _:
                        pass  # moves no round
    return tuple(found)


def events_in(block: Block) -> tuple[Event, ...]:
    """Return the events of our contracts in a block, in order."""
    return tuple(event for transaction in _transactions(block) for event in transaction.events)


def _transactions(block: Block) -> tuple[Transaction, ...]:
    found: list[Transaction] = []
    log_index = 0
    for index, (raw, receipt) in enumerate(zip(block.transactions, block.receipts, strict=True)):
        name = keccak256(raw)
        events: list[Event] = []
        for log in receipt.logs:
            if log.address in _CONTRACTS:
                event = decode_event(log.topics, log.data, block=block.number, log_index=log_index, transaction=name)
                if event is not None:
                    events.append(event)
            log_index += 1
        found.append(Transaction(index, raw, receipt.succeeded, tuple(events)))
    return tuple(found)


class Places:
    """Finds the place of a store's entry, so that a damaged one is named by round and client."""

    def __init__(self, blocks: Sequence[HistoryBlock]) -> None:
        """Look into these blocks, numbered from 1 without a gap."""
        self._blocks = blocks

    def of(self, space: Space, key: bytes, expected: Expected) -> Place:
        """Say where the entry `key` of a table stands."""
        match space:
            case Space.TRANSACTION | Space.RECEIPT:
                return self._of_transaction(*split_item_key(key))
            case Space.PLACE:
                return self._of_transaction(*split_item_key(expected.value[_CHECK_BYTES:]))
            case Space.HEADER | Space.MISBEHAVIOR:
                return self._of_block(int.from_bytes(key[:_NUMBER_BYTES], "big"))
            case Space.NUMBER:
                return self._of_block(int.from_bytes(expected.value[_CHECK_BYTES:], "big"))
            case _:
                return self._of_block(expected.block)

    def _of_block(self, number: int) -> Place:
        if not 1 <= number <= len(self._blocks):
            return Place(0, 0) if number == 0 else Place(block=number)
        return self._blocks[number - 1].place()

    def _of_transaction(self, number: int, index: int) -> Place:
        if not 1 <= number <= len(self._blocks):
            return Place(block=number)
        block = self._blocks[number - 1]
        places = [block.place(event) for event in block.transactions[index].events]

        def only(values: set[int | None]) -> int | None:
            """Return the one value that all events of the transaction share, None if there are several."""
            named = values - {None}
            return named.pop() if len(named) == 1 else None

        return Place(
            block.height,
            block.number,
            only({place.job for place in places}),
            only({place.round for place in places}),
            only({place.client for place in places}),
        )
