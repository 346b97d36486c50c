"""Reads and changes stores behind their owner's back."""

import hashlib
import shutil
from pathlib import Path

import lmdb

from chain.storage import Space, Store
from contracts import events
from contracts.digests import name32
from node.audit.history import blocks_of
from node.audit.replay import Replay

CHECK_BYTES = 8


def engine(directory: Path, validator: int = 2) -> Path:
    return directory / "validators" / str(validator) / "engine"


def ledger(directory: Path, validator: int = 2) -> Path:
    return directory / "validators" / str(validator) / "ledger"


def engine_key(kind: str, height: int) -> bytes:
    return kind.encode() + height.to_bytes(8, "big")


def read_all(path: Path, table: str = "") -> dict[bytes, bytes]:
    with lmdb.open(str(path), readonly=True, lock=False, max_dbs=16) as environment:
        database = environment.open_db(table.encode(), create=False) if table else None
        with environment.begin(db=database) as transaction:
            return dict(transaction.cursor())


def put(path: Path, key: bytes, value: bytes | None, table: str = "") -> None:
    """Write a value as it lies on disk; None deletes."""
    with lmdb.open(str(path), map_size=1 << 30, max_dbs=16) as environment:
        database = environment.open_db(table.encode(), create=False) if table else None
        with environment.begin(write=True, db=database) as transaction:
            if value is None:
                assert transaction.delete(key)
            else:
                transaction.put(key, value)


def put_checked(path: Path, space: Space, key: bytes, value: bytes) -> None:
    """Write a value with the checksum that makes the store itself believe it."""
    store = Store.open(path)
    store.stage(space, key, value)
    store.commit()
    store.close()


def flipped(raw: bytes, at: int, bit: int = 0) -> bytes:
    damaged = bytearray(raw)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


def blob_path(directory: Path, digest: bytes, edge: int = 2) -> Path:
    name = digest.hex()
    return directory / "edge" / str(edge) / "blobs" / name[:2] / name


def newest_attested(directory: Path, replay: Replay, part: str) -> tuple[int, int, Path]:
    """Return the newest agreed round with a model of its own, who attested it, and the file of a part there."""
    told = [event for block in blocks_of(replay) for event in block.events]
    agreed = max(event.round for event in told if isinstance(event, events.RoundAgreed) and event.k)
    event = next(event for event in told if isinstance(event, events.Attested) and event.round == agreed)
    digest = next(named.digest for named in event.parts if named.name == name32(part))
    return agreed, event.edge, blob_path(directory, digest, event.edge)


def updates(directory: Path, replay: Replay, edge: int = 2) -> list[Path]:
    """Return an edge server's files of the updates that every server said it holds, the earliest record first."""
    told = [event for block in blocks_of(replay) for event in block.events]
    held: dict[int, set[int]] = {server: set() for server in range(1, 5)}
    for event in told:
        if isinstance(event, events.Acknowledged):
            lacked = {*event.missing, *event.invalid}
            held[event.edge] |= {*range(event.first, event.up_to), *event.resolved} - lacked
    everywhere = set.intersection(*held.values())
    records = {event.sequence: event.digest for event in told if isinstance(event, events.Recorded)}
    return [blob_path(directory, records[sequence], edge) for sequence in sorted(everywhere & records.keys())]


def blobs(directory: Path, magic: bytes, edge: int = 2) -> list[Path]:
    """Return an edge server's blob files that begin with these bytes, the smallest name first."""
    files = sorted(path for path in (directory / "edge" / str(edge) / "blobs").rglob("*") if path.is_file())
    return [path for path in files if path.read_bytes().startswith(magic)]


def sha256(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def heights(directory: Path, validator: int = 2) -> int:
    """Return how many heights an engine store says that it has decided."""
    return int.from_bytes(read_all(engine(directory, validator))[b"m/height"], "big")


def cut_engine(directory: Path, height: int, validator: int = 2) -> None:
    """Take an engine store back to `height`, as if its validator had fallen behind there before it voted again."""
    path = engine(directory, validator)
    for above in range(height + 1, heights(directory, validator) + 1):
        for kind in "htcr":
            put(path, engine_key(kind, above), None)
    drop_vote(path)
    put(path, b"m/height", height.to_bytes(8, "big"))


def drop_vote(path: Path) -> None:
    """Take the last vote out of an engine store, if there is one."""
    if b"v" in read_all(path):
        put(path, b"v", None)


def write_ledger(path: Path, replay: Replay, height: int) -> None:
    """Make a ledger store anew as one that has executed `height` heights of a history."""
    shutil.rmtree(path)
    path.mkdir()
    with lmdb.open(str(path), map_size=1 << 30, max_dbs=16) as environment:
        for space in Space:
            database = environment.open_db(space.encode())
            if space is Space.META:
                entries = dict(replay.own_entries(height))
            else:
                expected = replay.expected(space).items()
                entries = {key: entry.value for key, entry in expected if entry.height <= height}
            with environment.begin(write=True, db=database) as transaction:
                for key, value in entries.items():
                    transaction.put(key, value)
