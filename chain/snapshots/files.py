"""Snapshots as directories: `manifest`, which begins with its own SHA-256, and the chunks `00000`, `00001`, ...

A directory is written under another name and renamed when it is complete and durable, so one that has its name is
whole. What was begun and not ended has the suffix `.draft` and is of no use.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from chain.errors import (
    SnapshotChunkError,
    SnapshotExistsError,
    SnapshotLedgerError,
    SnapshotManifestError,
    SnapshotSizeError,
    StoreMissingError,
)
from chain.execution.index import Commit, read_commit, read_header
from chain.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS
from chain.snapshots.content import LENGTH_BYTES, items
from chain.snapshots.manifest import Manifest, Snapshot, decode_manifest
from chain.snapshots.restoring import Restorer
from chain.storage import Store, sync_directory

DRAFT_SUFFIX: Final = ".draft"
_MANIFEST: Final = "manifest"
_DIGEST_BYTES: Final = 32


def write_snapshot(
    store: Store,
    commit: Commit,
    directory: Path,
    *,
    chunk_bytes: int = SNAPSHOT_CHUNK_BYTES,
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest | None:
    """Write the snapshot of one of the store's commits to `directory`, which must not exist; return its manifest.

    Reads with `Store.read` alone, so it may run in any thread while the store goes on. `stopped` is asked before each
    chunk; when it says so, nothing is left and the result is None. `chunk_bytes` is for tests: replicas that cut in
    another way have other snapshots. Memory: one chunk and one block.
    """
    if directory.exists():
        raise SnapshotExistsError(directory, "something")
    draft = directory.with_name(directory.name + DRAFT_SUFFIX)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    hashes: list[bytes] = []
    size = 0
    for chunk in _chunks(items(store, commit), chunk_bytes):
        if stopped():
            shutil.rmtree(draft)
            return None
        if len(hashes) == SNAPSHOT_CHUNKS:
            shutil.rmtree(draft)
            raise SnapshotSizeError(SNAPSHOT_CHUNKS)
        _write(draft / _chunk_name(len(hashes)), chunk)
        hashes.append(hashlib.sha256(chunk).digest())
        size += len(chunk)
    manifest = Manifest(
        height=commit.height,
        app_hash=commit.app_hash,
        genesis=read_header(store, 0).extra_data,
        size=size,
        chunk_bytes=chunk_bytes,
        chunks=tuple(hashes),
    )
    encoded = manifest.encode()
    _write(draft / _MANIFEST, hashlib.sha256(encoded).digest() + encoded)
    sync_directory(draft)
    draft.rename(directory)
    sync_directory(directory.parent)
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """Read what `write_snapshot` wrote; `SnapshotManifestError` when it is missing or damaged."""
    try:
        data = (directory / _MANIFEST).read_bytes()
    except OSError as error:
        message = f"{directory}: holds no snapshot ({error.strerror})"
        raise SnapshotManifestError(message) from None
    digest, encoded = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(encoded).digest() != digest:
        message = f"{directory}: the manifest does not have its SHA-256; take this snapshot from another source"
        raise SnapshotManifestError(message)
    return decode_manifest(encoded)


def read_chunk(directory: Path, manifest: Manifest, index: int) -> bytes:
    """Read a chunk; `SnapshotChunkError` names one that is missing or damaged."""
    try:
        chunk = (directory / _chunk_name(index)).read_bytes()
    except OSError:
        raise SnapshotChunkError(index, "is missing") from None
    fault = manifest.fault(index, chunk)
    if fault:
        raise SnapshotChunkError(index, fault)
    return chunk


def backup(store: Store, destination: Path) -> Snapshot:
    """Write the ledger as of its last commit to `destination`, a new directory, and return the snapshot's names.

    `store` may be in use: the one of a running node, or opened with `readonly=True` by another process. Raises
    `SnapshotExistsError` when `destination` exists and `StoreMissingError` when the store holds no ledger.
    """
    commit = read_commit(store)
    if commit is None:
        raise StoreMissingError(store.path)
    manifest = write_snapshot(store, commit, destination)
    if manifest is None:
        message = "a backup was stopped, which nobody can do"
        raise RuntimeError(message)
    return manifest.snapshot()


def restore(source: Path, destination: Path, *, app_hash: bytes | None = None, genesis: bytes | None = None) -> Commit:
    """Make the ledger store `destination` of a backup, or of any snapshot in a directory; return where it stands.

    Everything is checked down from the backup's app hash. Name `app_hash` (32 bytes), as a node or the light client
    tells it, unless you trust the backup itself, and `genesis`, the digest of the genesis document, if you know it.

    Raises:
        SnapshotExistsError: `destination` holds a ledger. It is not touched.
        SnapshotLedgerError: the backup is of another ledger or moment.
        SnapshotManifestError, SnapshotChunkError, SnapshotContentError: it is damaged or false, and where.
            `destination` then holds no ledger, and may be used again.

    """
    manifest = read_manifest(source)
    for what, expected, found in (
        ("the app hash", app_hash, manifest.app_hash),
        ("the genesis document", genesis, manifest.genesis),
    ):
        if expected is not None and expected != found:
            raise SnapshotLedgerError(what, expected, found)
    store = Store.open(destination)
    try:
        if read_commit(store) is not None:
            raise SnapshotExistsError(destination, "a ledger")
        restorer = Restorer(store, manifest)
        try:
            while not restorer.complete:
                restorer.take(read_chunk(source, manifest, restorer.next))
        except BaseException:
            restorer.abandon()
            raise
        restorer.put_in_place()
        commit = read_commit(store)
    finally:
        store.close()
    if commit is None:
        raise StoreMissingError(destination)
    return commit


def _chunks(parts: Iterator[bytes], chunk_bytes: int) -> Iterator[bytes]:
    """Join items, each after its length, and cut what results into chunks."""
    waiting = bytearray()
    for part in parts:
        waiting += len(part).to_bytes(LENGTH_BYTES, "big")
        waiting += part
        while len(waiting) >= chunk_bytes:
            yield bytes(waiting[:chunk_bytes])
            del waiting[:chunk_bytes]
    if waiting:
        yield bytes(waiting)


def _chunk_name(index: int) -> str:
    return f"{index:05}"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
