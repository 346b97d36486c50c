"""What a snapshot holds, in the one order that an app hash allows.

    headers         from the newest block to block 0: each one's hash stands in the one before
    genesis         the document: its SHA-256 is block 0's extra data
    bodies          of the blocks 1 to the newest: transactions, receipts, misbehavior; their roots are in the headers
    state           of the newest block, a walk from its root: a node, then what it refers to from left to right, with
                    an account's code and then its storage below its leaf

Each of these items is four bytes of length and the item. The order lets whoever restores know the hash of the next
item before it comes: the app hash names the first header, and all else is named by what came earlier. So one app hash
allows one sequence of items and no other: nothing can be left out, added or exchanged, replicas that agree on the app
hash write the same bytes whatever else their stores hold, and a liar is stopped at the first item that is not the
ledger's. Indexes are not in it: they follow.

A node that two places of the state refer to stands in both. That keeps no list of what was seen, on either side, and
costs no more than gas has paid for: nothing is in the state twice unless transactions put it there twice.
"""

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from chain import rlp
from chain.crypto.hashing import keccak256
from chain.errors import SnapshotContentError, StoreCorruptError
from chain.execution.blocks import (
    EMPTY_CODE_HASH,
    EMPTY_ROOT,
    HASH_BYTES,
    Header,
    decode_header,
    decode_misbehavior,
    misbehavior_hash,
)
from chain.execution.index import (
    GENESIS_DOCUMENT,
    Body,
    Commit,
    number_key,
    read_body,
    read_header,
    stage_body,
    stage_commit,
    stage_header,
    stage_start,
)
from chain.execution.trie import ordered_root
from chain.genesis import decode_genesis
from chain.limits import (
    SNAPSHOT_BODY_BYTES,
    SNAPSHOT_CODE_BYTES,
    SNAPSHOT_GENESIS_BYTES,
    SNAPSHOT_HEADER_BYTES,
    SNAPSHOT_NODE_BYTES,
)
from chain.snapshots.manifest import Manifest
from chain.storage import Space, Store

LENGTH_BYTES: Final = 4


class Kind(Enum):
    """What a hash in the state refers to."""

    ACCOUNTS = auto()  # a node of the trie of accounts
    STORAGE = auto()  # a node of an account's trie of storage
    CODE = auto()


_KIND_BYTES: Final = {
    Kind.ACCOUNTS: SNAPSHOT_NODE_BYTES,
    Kind.STORAGE: SNAPSHOT_NODE_BYTES,
    Kind.CODE: SNAPSHOT_CODE_BYTES,
}


@dataclass(frozen=True, slots=True)
class Reference:
    """Something of the state by its keccak256."""

    kind: Kind
    hash: bytes


def below(kind: Kind, node: bytes) -> list[Reference]:
    """Return what a node refers to, from left to right (Yellow Paper, appendix D); `RlpError` if it is none."""
    return [] if kind is Kind.CODE else _children(kind, rlp.decode(node))


def _children(kind: Kind, node: rlp.Decoded) -> list[Reference]:
    match node:
        case bytes(name) if len(name) == HASH_BYTES:
            return [Reference(kind, name)]
        case b"":
            return []
        case [bytes(path), bytes(leaf)] if path and path[0] & 0x20:  # the half-byte before the path says leaf
            return _account(leaf) if kind is Kind.ACCOUNTS else []
        case [bytes(path), child] if path:
            return _children(kind, child)
        case [*children, b""] if len(children) == 16:  # noqa: PLR2004 - one for each half-byte
            return [reference for child in children for reference in _children(kind, child)]
        case _:
            message = "a node of the state is none"
            raise SnapshotContentError(message)


def _account(leaf: bytes) -> list[Reference]:
    match rlp.decode(leaf):
        case [bytes(), bytes(), bytes(storage), bytes(code)]:
            references = (Reference(Kind.CODE, code), Reference(Kind.STORAGE, storage))
            return [item for item in references if item.hash not in {EMPTY_CODE_HASH, EMPTY_ROOT}]
        case _:
            message = "an account of the state is none"
            raise SnapshotContentError(message)


def items(store: Store, commit: Commit) -> Iterator[bytes]:
    """Yield the items for a commit of this store, the newest or an earlier one.

    Nothing is ever deleted from a store, so a commit's content stays while later ones are made: this needs no
    transaction that lasts, only `Store.read`, and may run in any thread. A replica that started from a snapshot has no
    earlier states: `StoreCorruptError` names what is missing.
    """
    number = commit.number
    for at in range(number, -1, -1):
        yield _read(store, Space.HEADER, number_key(at))
    yield _read(store, Space.META, GENESIS_DOCUMENT)
    for at in range(1, number + 1):
        yield rlp.encode([list(values) for values in read_body(store, at)])
    waiting = roots(read_header(store, number))
    while waiting:
        reference = waiting.pop()
        node = _read(store, Space.NODE, reference.hash)
        yield node
        waiting.extend(reversed(below(reference.kind, node)))


def roots(header: Header) -> list[Reference]:
    """Return where the walk through the state after a block begins."""
    return [] if header.state_root == EMPTY_ROOT else [Reference(Kind.ACCOUNTS, header.state_root)]


def _read(store: Store, space: Space, key: bytes) -> bytes:
    value = store.read(space, key)
    if value is None:
        raise StoreCorruptError(store.path, space, key, "is missing")
    return value


def rebuild(store: Store, manifest: Manifest) -> Generator[int, bytes, None]:
    """Stage in an empty store what `items` took; the mirror image of it.

    Yields how many bytes the next item may have, is sent the item, and ends after the last one. Nothing is staged
    before its hash is the one that must come, down from the manifest's app hash. Commit between items as you like: the
    record that makes a ledger of it is staged last. Raises `SnapshotContentError` or another `ChainError`, which says
    what is wrong; the store is then of no use.
    """
    head, first = yield from _headers(store, manifest.app_hash)
    if head.engine_height > manifest.height:
        message = f"the newest block is of height {head.engine_height}, above {manifest.height}"
        raise SnapshotContentError(message)
    document = yield SNAPSHOT_GENESIS_BYTES
    if not hashlib.sha256(document).digest() == first.extra_data == manifest.genesis:
        message = "the genesis document is not the one of block 0"
        raise SnapshotContentError(message)
    decode_genesis(document)  # whether this program has the ledger's versions
    store.commit()  # the headers, which are read again
    for number in range(1, head.number + 1):
        yield from _body(store, read_header(store, number))
    waiting = roots(head)
    while waiting:
        reference = waiting.pop()
        node = yield _KIND_BYTES[reference.kind]
        _must_hash(node, reference.hash, f"a part of the state ({reference.kind.name.lower()})")
        store.stage(Space.NODE, reference.hash, node)
        waiting.extend(reversed(below(reference.kind, node)))
    store.stage(Space.META, GENESIS_DOCUMENT, document)
    commit = Commit(manifest.height, head.number, manifest.app_hash)
    stage_start(store, commit)
    stage_commit(store, commit)


def _headers(store: Store, newest: bytes) -> Generator[int, bytes, tuple[Header, Header]]:
    """Stage all headers; return the newest one and that of block 0."""
    encoded = yield SNAPSHOT_HEADER_BYTES
    _must_hash(encoded, newest, "the newest header")
    head = header = decode_header(encoded)
    stage_header(store, head.number, encoded, newest)
    while header.number > 0:
        encoded = yield SNAPSHOT_HEADER_BYTES
        name, number = header.parent_hash, header.number - 1
        _must_hash(encoded, name, f"header {number}")
        header = decode_header(encoded)
        if header.number != number:
            message = f"header {number} has the number {header.number}"
            raise SnapshotContentError(message)
        stage_header(store, number, encoded, name)
    return head, header


def _body(store: Store, header: Header) -> Generator[int, bytes, None]:
    """Stage a block's transactions, receipts and misbehavior."""
    match rlp.decode((yield SNAPSHOT_BODY_BYTES + header.gas_used)):
        case [list(transactions), list(receipts), list(misbehavior)]:
            body = Body(*(_strings(values) for values in (transactions, receipts, misbehavior)))
        case _:
            message = f"block {header.number} is no block"
            raise SnapshotContentError(message)
    faults = [decode_misbehavior(value) for value in body.misbehavior]
    for what, found, named in (
        ("transactions", ordered_root(body.transactions), header.transactions_root),
        ("receipts", ordered_root(body.receipts), header.receipts_root),
        ("misbehavior", misbehavior_hash(faults), header.requests_hash),
    ):
        if found != named:
            message = f"the {what} of block {header.number} are not the ones that its header names"
            raise SnapshotContentError(message)
    stage_body(store, header.number, body, [keccak256(raw) for raw in body.transactions])


def _strings(values: list[rlp.Decoded]) -> list[bytes]:
    strings = [value for value in values if isinstance(value, bytes)]
    if len(strings) != len(values):
        message = "a block holds something that is not bytes"
        raise SnapshotContentError(message)
    return strings


def _must_hash(value: bytes, name: bytes, what: str) -> None:
    if keccak256(value) != name:
        message = f"{what} does not hash to 0x{name.hex()}, which the app hash stands for"
        raise SnapshotContentError(message)
