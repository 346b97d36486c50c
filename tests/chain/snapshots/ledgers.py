"""A ledger with everything that a snapshot has to hold, its snapshot, and peers that cut what they like."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trie.hexary import HexaryTrie
from trie.iter import NodeIterator

from chain import rlp
from chain.application import Application, Applied, ApplyResult, Code, Misbehavior, OfferResult, Snapshot, Timestamp
from chain.execution.blocks import EMPTY_CODE_HASH
from chain.execution.index import Commit, read_commit
from chain.snapshots.content import LENGTH_BYTES, items
from chain.snapshots.files import read_chunk, read_manifest, write_snapshot
from chain.snapshots.manifest import Manifest
from chain.storage import Space, Store
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.chain.ledger import DEPLOYER, SPONSOR, STRANGER, Replica, codes

CHUNK = 8 * 1024
PAY = Token.encode_transfer(bytes(19) + b"\1", 5)
FAULT = Misbehavior(kind=1, validator=b"\7" * 20, power=1, height=3, time_ns=5, total_power=4)
CODE = b"\0"  # STOP
INITCODE = bytes.fromhex("600760015560016000f3")  # puts 7 into slot 1 and returns CODE


@cache
def ledger() -> Replica:
    """A ledger with contracts, keys, a job, records, a void round, a revert and misbehavior; do not change it."""
    replica = Replica()
    replica.open_job()
    taken = replica.height(replica.batch(*(replica.record(number) for number in (1, 2, 5))))
    assert codes(taken) == [Code.OK]
    replica.void_round(1, spent=3)
    created = replica.height(replica.sign(DEPLOYER, data=INITCODE), replica.sign(DEPLOYER, data=INITCODE))
    assert codes(created) == [Code.OK] * 2
    assert codes(replica.height(replica.sign(STRANGER, TOKEN, PAY))) == [Code.REVERTED]
    replica.height()
    replica.app.finalize_block(replica.app.info().height + 1, Timestamp(replica.time), (), (FAULT,))
    replica.app.commit()
    replica.height(*(replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)))
    replica.height()
    return replica


def replayed(source: Replica, store: Store | None = None) -> Replica:
    """Another replica that executed what `source` did."""
    store = store or Store.memory()
    other = Replica(store, source.document, source.time)
    blocks = {block.engine_height: block for block in map(source.reader.block, range(1, source.reader.latest() + 1))}
    for height in range(1, source.app.info().height + 1):
        block = blocks.get(height)  # type: ignore[call-overload] # a plain number is a height here
        time = Timestamp(block.header.timestamp if block else source.time)
        other.app.finalize_block(height, time, *((block.transactions, block.misbehavior) if block else ((),)))
        other.app.commit()
    assert other.app.info() == source.app.info()
    return other


@dataclass(frozen=True)
class Taken:
    """A snapshot in memory."""

    manifest: Manifest
    chunks: tuple[bytes, ...]

    @property
    def snapshot(self) -> Snapshot:
        return self.manifest.snapshot()

    @property
    def app_hash(self) -> bytes:
        return self.manifest.app_hash


def head_of(store: Store) -> Commit:
    """The last commit."""
    commit = read_commit(store)
    assert commit is not None
    return commit


def take(store: Store, commit: Commit | None = None, *, chunk_bytes: int = CHUNK) -> Taken:
    """Write a snapshot and read it back."""
    with TemporaryDirectory() as folder:
        directory = Path(folder) / "snapshot"
        write_snapshot(store, commit or head_of(store), directory, chunk_bytes=chunk_bytes)
        return load(directory)


def load(directory: Path) -> Taken:
    """Read a snapshot from a directory."""
    manifest = read_manifest(directory)
    return Taken(manifest, tuple(read_chunk(directory, manifest, index) for index in range(len(manifest.chunks))))


@cache
def snapshot() -> Taken:
    """The snapshot of `ledger()`."""
    return take(ledger().store)


@cache
def parts() -> tuple[bytes, ...]:
    """The items of the snapshot of `ledger()`."""
    return tuple(items(ledger().store, head_of(ledger().store)))


def framed(content: Iterable[bytes]) -> bytes:
    """Items as they follow one another in chunks."""
    return b"".join(len(item).to_bytes(LENGTH_BYTES, "big") + item for item in content)


def cut(content: bytes, chunk_bytes: int = CHUNK, **changes: Any) -> Taken:
    """A snapshot whose manifest fits these bytes, whatever they are: what a liar can offer."""
    chunks = tuple(content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes))
    hashes = tuple(hashlib.sha256(chunk).digest() for chunk in chunks)
    fields = {"size": len(content), "chunk_bytes": chunk_bytes, "chunks": hashes} | changes
    return Taken(replace(snapshot().manifest, **fields), chunks)


def offered(taken: Taken, store: Store | None = None) -> Application:
    """A new replica that took the offer."""
    app = Application(Store.memory() if store is None else store)
    assert app.offer_snapshot(taken.snapshot, taken.app_hash) is OfferResult.ACCEPT
    return app


def applied(app: Application, chunks: Sequence[bytes], sender: str = "peer") -> Applied:
    """Hand over chunks in order up to the first that is not accepted; return the last answer."""
    answer = Applied(ApplyResult.ACCEPT)
    for index, chunk in enumerate(chunks):
        answer = app.apply_snapshot_chunk(index, chunk, sender)
        if answer.result is not ApplyResult.ACCEPT:
            break
    return answer


def joined(taken: Taken, store: Store | None = None) -> Application:
    """A new replica that started from a snapshot."""
    app = offered(taken, store)
    assert applied(app, taken.chunks) == Applied(ApplyResult.ACCEPT)
    assert app.info().app_hash == taken.app_hash
    return app


def contents(store: Store, *spaces: Space) -> dict[tuple[Space, bytes], bytes]:
    """Everything in these tables, or in all."""
    return {(space, key): value for space in spaces or Space for key, value in store.scan(space)}


class _Read(dict[bytes, bytes]):
    """The nodes that were asked for."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def __missing__(self, key: bytes) -> bytes:
        value = self._store.read(Space.NODE, key)
        if value is None:
            raise KeyError(key)
        self[key] = value
        return value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self._store.read(Space.NODE, key) is not None


def state_of(store: Store, root: bytes) -> dict[tuple[Space, bytes], bytes]:
    """Every node and code of a state, as the `trie` package finds them: the oracle for our own walk."""
    found = _Read(store)
    for leaf in NodeIterator(HexaryTrie(found, root)).values():  # type: ignore[no-untyped-call]
        match rlp.decode(bytes(leaf)):
            case [_, _, bytes(storage), bytes(code)]:
                if code != EMPTY_CODE_HASH:
                    _ = found[code]
                list(NodeIterator(HexaryTrie(found, storage)).values())  # type: ignore[no-untyped-call]
    return {(Space.NODE, key): value for key, value in found.items()}
