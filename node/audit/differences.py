"""Says in what two values of a ledger store differ: by the field, event or record where they can be read."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

from chain.errors import ChainError
from chain.execution.blocks import Log, Receipt, decode_header, decode_receipt
from chain.execution.transactions import describe
from chain.storage import Space
from contracts.bindings import Ledger
from contracts.errors import ContractsError
from contracts.events import Event, decode_event
from contracts.records import SignedRecord, split_batch

_CHECK_BYTES: Final = 8  # chain.storage puts a checksum before each value but a state node
_SHOWN_BYTES: Final = 8

Difference = tuple[str, str, int | None]
"""What was expected, what is there, and the client that it is about, None if it is about none alone."""


def difference(space: Space, expected: bytes, found: bytes) -> Difference:
    """Describe two stored values of a table that are not equal."""
    skipped = 0 if space is Space.NODE else _CHECK_BYTES
    right, wrong = expected[skipped:], found[skipped:]
    if right == wrong:
        return f"checksum {expected[:skipped].hex()}", found[:skipped].hex(), None
    try:
        return next(_read(space, right, wrong))
    except (ChainError, ContractsError, StopIteration):  # not to be read, or different in how it is written
        return *differing_bytes(right, wrong), None


def differing_bytes(expected: bytes, found: bytes) -> tuple[str, str]:
    """Describe two values by the place where they begin to differ."""
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )

    def describe_(value: bytes) -> str:
        return f"{len(value)} bytes with {value[at : at + _SHOWN_BYTES].hex() or 'their end'} at byte {at}"

    return describe_(expected), describe_(found)


def _read(space: Space, expected: bytes, found: bytes) -> Iterator[Difference]:
    """Yield what differs in the contents, in their order; nothing for a table whose values have no fields."""
    match space:
        case Space.RECEIPT:
            yield from _receipts(decode_receipt(expected), decode_receipt(found))
        case Space.HEADER:
            yield from _fields("", decode_header(expected), decode_header(found), None)
        case Space.TRANSACTION:
            for number, (right, wrong) in enumerate(zip(_records(expected), _records(found), strict=False)):
                what, client = f"entry {number}: ", right.record.client
                yield from _fields(what, right.record, wrong.record, client)
                yield from _fields(what, right, wrong, client)
        case _:
            pass  # hashes, numbers and nodes


def _receipts(expected: Receipt, found: Receipt) -> Iterator[Difference]:
    for number, (right, wrong) in enumerate(zip(expected.logs, found.logs, strict=False)):
        if right != wrong:
            said, instead = _event(right), _event(wrong)
            if said is not None and type(instead) is type(said):
                what = f"log {number}, {type(said).__name__}: "
                yield from _fields(what, said, instead, getattr(said, "client", None))
            yield from _fields(f"log {number}: ", right, wrong, getattr(said, "client", None))
    yield from _fields("", expected, found, None)


def _event(log: Log) -> Event | None:
    return decode_event(log.topics, log.data, block=0, log_index=0, transaction=b"")


def _records(raw: bytes) -> list[SignedRecord]:
    """Return the batch entries of a transaction, none for one that brings no batch."""
    batch = Ledger.batch_of(describe(raw).data)
    return [] if batch is None else list(split_batch(batch)[0])


def _fields(what: str, expected: Any, found: Any, client: int | None) -> Iterator[Difference]:  # noqa: ANN401 - of one type
    """Yield each field that differs between two values of a dataclass."""
    for field in fields(expected):
        right, wrong = getattr(expected, field.name), getattr(found, field.name)
        if right != wrong:
            yield f"{what}{field.name} {_shown(right)}", _shown(wrong), client


def _shown(value: object) -> str:
    return value.hex() or "nothing" if isinstance(value, bytes) else str(value)
