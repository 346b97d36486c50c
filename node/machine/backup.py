"""A backup of what a node has learned, taken while it runs, and a home's ledger and blobs made from one.

    DEST/backup.toml        what it is of (`BackupFile`); a directory without it is no backup
    DEST/genesis.json       the genesis document
    DEST/ledger/            a snapshot of the ledger (chain/snapshots)
    DEST/blobs/             updates, models and job files

No keys, and nothing of CometBFT's: an old copy of its memory of votes would let a validator sign twice, and its blocks
come from the other members. A backup is made beside its final name and gets that when it is complete.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import tomli_w

from chain.genesis import load_genesis
from chain.snapshots import files
from chain.storage import Store
from node.blobs import BlobStore, digest_of_name
from node.configuration import convert, read_toml
from node.errors import BlobCorruptError, HomeError
from node.machine.home import NodeHome

DRAFT_SUFFIX = ".partial"


class BackupFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`backup.toml`. Hashes in hexadecimal; `damaged` counts blobs of the home that did not hash to their name."""

    node: str
    chain: str
    genesis: str
    height: int
    app_hash: str
    blobs: int
    blob_bytes: int
    damaged: int


def backup(home: NodeHome, destination: Path) -> BackupFile:
    """Copy a home's ledger as of its last commit, and its blobs, to `destination`; the node may run.

    Raises:
        HomeError: `destination` exists.
        StoreMissingError: the home holds no ledger yet.

    """
    name, genesis = home.read().name, load_genesis(home.genesis)
    if destination.exists():
        message = f"{destination} exists already: name a new directory"
        raise HomeError(message)
    draft = destination.with_name(destination.name + DRAFT_SUFFIX)
    shutil.rmtree(draft, ignore_errors=True)
    store = Store.open(home.ledger, readonly=True)
    try:
        draft.mkdir(parents=True)
        snapshot = files.backup(store, draft / "ledger")
        count, size, damaged = _copy_blobs(home.blobs, BlobStore(draft / "blobs", quota_bytes=_UNBOUNDED))
        genesis.save(draft / "genesis.json")
        content = BackupFile(
            node=name,
            chain=genesis.name,
            genesis=genesis.digest().hex(),
            height=snapshot.height,
            app_hash=files.read_manifest(draft / "ledger").app_hash.hex(),
            blobs=count,
            blob_bytes=size,
            damaged=damaged,
        )
        (draft / _FILE).write_text(tomli_w.dumps(msgspec.to_builtins(content)), encoding="utf-8")
        draft.rename(destination)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        store.close()
    return content


def restore(source: Path, home: NodeHome, *, app_hash: bytes | None = None) -> BackupFile:
    """Make the ledger and the blobs of a home that has no ledger; everything is checked on the way.

    The ledger is checked down from `app_hash`, or from what the backup itself says; every blob against its name. Keys
    and CometBFT's directory stay as they are. Blobs that the home has already are kept.

    Raises:
        ConfigError: `source` is no backup.
        HomeError: it is of another chain.
        RunDirectoryError: a node runs in this home.
        SnapshotError: the home has a ledger, or the backup's is damaged or another than `app_hash` says.
        BlobCorruptError: a blob of the backup is damaged; the ledger is in place then, the node fetches the rest.

    """
    content = convert(read_toml(source / _FILE), BackupFile, str(source / _FILE))
    home.read()
    genesis = load_genesis(home.genesis)
    if content.genesis != genesis.digest().hex():
        message = f"{source} is a backup of {content.chain}, {home.path} is of {genesis.name}: they are other chains"
        raise HomeError(message)
    with home.locked():
        files.restore(source / "ledger", home.ledger, app_hash=app_hash, genesis=genesis.digest())
        to = BlobStore(home.blobs)
        for digest, path in _blobs(source / "blobs"):
            if digest not in to and not to.put_expected(digest, path.read_bytes()):
                raise BlobCorruptError(digest, path)
    return content


_FILE = "backup.toml"
_UNBOUNDED = 1 << 62  # what was within the node's quota is within the backup's


def _copy_blobs(source: Path, to: BlobStore) -> tuple[int, int, int]:
    """Copy what hashes to its name; return how many, how many bytes, and how many did not.

    The directory is read without a `BlobStore`, which would take what the running node is writing for left over.
    """
    damaged = 0
    for digest, path in _blobs(source):
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # pruned meanwhile
            continue
        damaged += not to.put_expected(digest, data)
    return len(to), to.used_bytes, damaged


def _blobs(root: Path) -> Iterator[tuple[bytes, Path]]:
    for path in sorted(root.glob("??/*")):
        if (digest := digest_of_name(path.name)) is not None:
            yield digest, path
