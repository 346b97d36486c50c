"""How blocks lie in the store: keys, writing, strict reading, and the record of the last commit."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final, NamedTuple

import msgspec

from chain.errors import StoreCorruptError
from chain.execution.blocks import Block, BlockNumber, Header, decode_header, decode_misbehavior, decode_receipt
from chain.storage import Space, Store

GENESIS_DOCUMENT: Final = b"genesis"  # names in Space.META
_COMMIT: Final = b"commit"
_START: Final = b"start"


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """The last durable commit: the engine's height, the newest block's number and its hash, the app hash."""

    height: int
    number: int
    app_hash: bytes


def number_key(number: int) -> bytes:
    """Return the store's key of a block."""
    return number.to_bytes(8, "big")


def item_key(number: int, index: int) -> bytes:
    """Return the store's key of a block's transaction, receipt or misbehavior."""
    return number.to_bytes(8, "big") + index.to_bytes(4, "big")


def split_item_key(key: bytes) -> tuple[BlockNumber, int]:
    """Return the block number and index that `item_key` joined."""
    return BlockNumber(int.from_bytes(key[:8], "big")), int.from_bytes(key[8:], "big")


class Body(NamedTuple):
    """What a block holds beside its header, each item as it lies in the store: encoded."""

    transactions: Sequence[bytes]
    receipts: Sequence[bytes]
    misbehavior: Sequence[bytes]


def stage_block(store: Store, block: Block, hashes: Sequence[bytes], receipts: Sequence[bytes]) -> None:
    """Stage a block and its index; `hashes` are those of its transactions, `receipts` theirs, encoded."""
    misbehavior = [item.encode() for item in block.misbehavior]
    stage_header(store, block.number, block.header.encode(), block.hash)
    stage_body(store, block.number, Body(block.transactions, receipts, misbehavior), hashes)


def stage_header(store: Store, number: int, encoded: bytes, name: bytes) -> None:
    """Stage a header and where to find it; `name` is its hash."""
    store.stage(Space.HEADER, number_key(number), encoded)
    store.stage(Space.NUMBER, name, number_key(number))


def stage_body(store: Store, number: int, body: Body, hashes: Sequence[bytes]) -> None:
    """Stage what a block holds beside its header; `hashes` are those of its transactions."""
    for index, (raw, receipt, name) in enumerate(zip(body.transactions, body.receipts, hashes, strict=True)):
        key = item_key(number, index)
        store.stage(Space.TRANSACTION, key, raw)
        store.stage(Space.RECEIPT, key, receipt)
        store.stage(Space.PLACE, name, key)
    for index, item in enumerate(body.misbehavior):
        store.stage(Space.MISBEHAVIOR, item_key(number, index), item)


def read_body(store: Store, number: int) -> Body:
    """Return what a block holds beside its header, by `Store.read` alone, so from any thread; not checked."""
    return Body(
        *(list(_values(store, space, number)) for space in (Space.TRANSACTION, Space.RECEIPT, Space.MISBEHAVIOR))
    )


def _values(store: Store, space: Space, number: int) -> Iterator[bytes]:
    for index in count():
        value = store.read(space, item_key(number, index))
        if value is None:
            return
        yield value


def stage_commit(store: Store, commit: Commit) -> None:
    """Stage the record of the commit that is about to be written."""
    store.stage(Space.META, _COMMIT, msgspec.msgpack.encode(commit))


def read_commit(store: Store) -> Commit | None:
    """Return the last durable commit; None in an empty store."""
    encoded = store.read(Space.META, _COMMIT)
    return None if encoded is None else msgspec.msgpack.decode(encoded, type=Commit)


def stage_start(store: Store, commit: Commit) -> None:
    """Stage the record of the snapshot that this store starts from: states before it are not there."""
    store.stage(Space.META, _START, msgspec.msgpack.encode(commit))


def read_start(store: Store) -> Commit | None:
    """Return the commit whose snapshot the store starts from; None if it executed everything itself."""
    encoded = store.read(Space.META, _START)
    return None if encoded is None else msgspec.msgpack.decode(encoded, type=Commit)


def read_header(store: Store, number: int) -> Header:
    """Return the header of a block that must exist; `StoreCorruptError` if it does not."""
    encoded = store.read(Space.HEADER, number_key(number))
    if encoded is None:
        raise StoreCorruptError(store.path, Space.HEADER, number_key(number), "is missing")
    header = decode_header(encoded)
    if header.number != number:
        raise StoreCorruptError(store.path, Space.HEADER, number_key(number), "is another block's")
    return header


def read_block(store: Store, number: int) -> Block:
    """Return a block that must exist, whole; `StoreCorruptError` if a part is missing."""
    header = read_header(store, number)
    transactions = tuple(value for _, value in _items(store, Space.TRANSACTION, number))
    receipts = tuple(decode_receipt(value) for _, value in _items(store, Space.RECEIPT, number))
    misbehavior = tuple(decode_misbehavior(value) for _, value in _items(store, Space.MISBEHAVIOR, number))
    if len(transactions) != len(receipts):
        raise StoreCorruptError(store.path, Space.RECEIPT, number_key(number), "are not one per transaction")
    return Block(header, header.hash, transactions, receipts, misbehavior)


def _items(store: Store, space: Space, number: int) -> Iterator[tuple[int, bytes]]:
    for key, value in store.scan(space, number_key(number)):
        found, index = split_item_key(key)
        if found != number:
            return
        yield index, value


def ancestor_hashes(store: Store, newest: Header, newest_hash: bytes) -> Iterator[bytes]:
    """Yield block hashes from `newest` downwards, as the BLOCKHASH instruction wants them."""
    yield newest_hash
    header = newest
    while header.number > 0:
        yield header.parent_hash
        header = read_header(store, header.number - 1)
