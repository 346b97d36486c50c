"""The ledger's store: LMDB below, an overlay in memory above; one write transaction per commit.

`stage` collects changes that nobody else sees, `discard` forgets them, `commit` makes all of them durable or none
(LMDB is copy-on-write and syncs before it switches its root page, so a crash leaves the old or the new state).

Nothing damaged is served: a state node's key is its keccak256, and every other value carries a checksum over its
space, key and bytes. A mismatch raises `StoreCorruptError`, which names the record. Checksums find accidents; whoever
rewrites a store on purpose is found by the audit, which derives everything again from signed headers.

A store belongs to one thread, with one exception: `read` of what is committed may be called from any thread. Another
process may read it at the same time (`Store.open(path, readonly=True)`).

A store without a ledger can take over another one as a whole (`draft`, `adopt`): how a snapshot is restored.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import lmdb

from chain.crypto.hashing import keccak256
from chain.errors import StoreCorruptError, StoreError, StoreFormatError, StoreMissingError, StoreReadOnlyError

FORMAT: Final = "merit-store/1"
_FIRST_MAP_BYTES: Final = 1 << 28  # grows by doubling when full; the file itself only holds what is written
_CHECK_BYTES: Final = 8  # one accident in 2^64 passes
_IN_MEMORY: Final = Path("(memory)")
_DATA, _LOCK = "data.mdb", "lock.mdb"  # LMDB's own names
_DRAFT: Final = "draft"  # a directory within the store's own: the same file system, so one renaming puts it in place


class Space(StrEnum):
    """What the store keeps; each is a table of its own."""

    META = "meta"  # name -> format, genesis document, height and app hash
    NODE = "node"  # keccak256 -> node of a state or storage trie, or contract code
    HEADER = "header"  # block number (8 bytes) -> header
    NUMBER = "number"  # block hash -> block number
    TRANSACTION = "transaction"  # block number (8) || index (4) -> raw transaction
    RECEIPT = "receipt"  # block number (8) || index (4) -> receipt
    PLACE = "place"  # transaction hash -> block number (8) || index (4)
    MISBEHAVIOR = "misbehavior"  # block number (8) || index (4) -> misbehavior


class _Backing(Protocol):
    """Durable key-value tables; values as they lie on disk."""

    def read(self, space: Space, key: bytes) -> bytes | None: ...
    def scan(self, space: Space, first: bytes) -> Iterator[tuple[bytes, bytes]]: ...
    def write(self, changes: dict[tuple[Space, bytes], bytes]) -> None: ...
    def close(self) -> None: ...


class Store:
    """See the module's docstring."""

    def __init__(self, backing: _Backing, path: Path, *, readonly: bool) -> None:
        """Use `open` or `memory`."""
        self._backing = backing
        self.path = path
        self.readonly = readonly
        self._staged: dict[tuple[Space, bytes], bytes] = {}

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False, sync: bool = True) -> "Store":
        """Open the store in directory `path`; a missing one is made, unless it is to be read only.

        `sync=False` leaves the time of writing to the operating system: faster, and a power failure may lose the newest
        commits or damage the store; for tests. One process may open a directory once at a time.
        Raises `StoreMissingError`, or `StoreFormatError` when another program or version made it.
        """
        if readonly and not (path / _DATA).is_file():
            raise StoreMissingError(path)
        try:
            backing = _Lmdb(path, readonly=readonly, sync=sync)
        except lmdb.Error as error:
            raise StoreError(path, f"cannot be opened ({error}); use another directory") from error
        store = cls(backing, path, readonly=readonly)
        found = store.read(Space.META, b"format")
        if found is None and not readonly and backing.unused():
            store._name_format()
        elif found != FORMAT.encode():
            store.close()
            raise StoreFormatError(path, FORMAT, "unknown" if found is None else found.decode(errors="replace"))
        return store

    @classmethod
    def memory(cls) -> "Store":
        """Make a store that lives and dies with this object."""
        return cls(_Memory(), _IN_MEMORY, readonly=False)

    def read(self, space: Space, key: bytes, *, staged: bool = False) -> bytes | None:
        """Return the value, or None; `staged` looks at what is not committed first."""
        if staged and (value := self._staged.get((space, key))) is not None:
            return value
        stored = self._backing.read(space, key)
        return None if stored is None else self._checked(space, key, stored)

    def scan(self, space: Space, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Walk through committed entries in the order of their keys, from `first` on."""
        for key, stored in self._backing.scan(space, first):
            yield key, self._checked(space, key, stored)

    def stage(self, space: Space, key: bytes, value: bytes) -> None:
        """Remember a change for the next commit. Nothing is ever deleted: the ledger's past stays."""
        self._staged[space, key] = value

    def discard(self) -> None:
        """Forget what is staged."""
        self._staged.clear()

    def commit(self) -> None:
        """Write what is staged in one transaction; `StoreReadOnlyError` for a store opened for reading."""
        if self.readonly:
            raise StoreReadOnlyError(self.path)
        changes = {(space, key): as_stored(space, key, value) for (space, key), value in self._staged.items()}
        self._backing.write(changes)
        self._staged.clear()

    def draft(self) -> "Store":
        """Return a new, empty store that can take this one's place; one that was begun before is forgotten.

        Nothing of it is durable before `adopt`, and opening a store removes what a draft has left behind.
        """
        if self.readonly:
            raise StoreReadOnlyError(self.path)
        if not isinstance(self._backing, _Lmdb):
            return Store.memory()
        draft = Store(self._backing.draft(), self.path, readonly=False)
        draft._name_format()
        return draft

    def adopt(self, draft: "Store") -> None:
        """Have what `draft` committed in place of everything here, durable as a whole or not at all.

        `draft` comes from `draft()` of this store and is used up. What is staged here is lost.
        """
        self._staged.clear()
        new = draft._backing  # noqa: SLF001 - our own
        if isinstance(self._backing, _Lmdb) and isinstance(new, _Lmdb):
            self._backing.adopt(new)
        else:
            self._backing = new

    def view(self) -> "Store":
        """Return another overlay over what is committed here, to try something out: it can stage but not commit."""
        return Store(self._backing, self.path, readonly=True)

    def close(self) -> None:
        """Release the directory; what is staged is lost."""
        self._backing.close()

    def _name_format(self) -> None:
        self.stage(Space.META, b"format", FORMAT.encode())
        self.commit()

    def _checked(self, space: Space, key: bytes, stored: bytes) -> bytes:
        if space is Space.NODE:
            if keccak256(stored) != key:
                raise StoreCorruptError(self.path, space, key, "does not hash to its name")
            return stored
        value = stored[_CHECK_BYTES:]
        if _checksum(space, key, value) != stored[:_CHECK_BYTES]:
            raise StoreCorruptError(self.path, space, key, "does not match its checksum")
        return value


def as_stored(space: Space, key: bytes, value: bytes) -> bytes:
    """Return a value as it lies on disk: after its checksum, or by itself where its key is its hash."""
    return value if space is Space.NODE else _checksum(space, key, value) + value


def _checksum(space: Space, key: bytes, value: bytes) -> bytes:
    """Cover where a value belongs as well as its bytes, so that a swapped value is found too."""
    digest = hashlib.blake2b(key, digest_size=_CHECK_BYTES, person=space.value.encode())
    digest.update(value)
    return digest.digest()


class _Memory:
    """Tables that are never written to disk."""

    def __init__(self) -> None:
        self._tables: dict[Space, dict[bytes, bytes]] = {space: {} for space in Space}

    def read(self, space: Space, key: bytes) -> bytes | None:
        return self._tables[space].get(key)

    def scan(self, space: Space, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        table = self._tables[space]
        yield from ((key, table[key]) for key in sorted(table) if key >= first)

    def write(self, changes: dict[tuple[Space, bytes], bytes]) -> None:
        for (space, key), value in changes.items():
            self._tables[space][key] = value

    def close(self) -> None:
        """Nothing to release."""


class _Lmdb:
    """One LMDB environment with a database per space.

    Growing the map moves it in memory, which LMDB allows only while no transaction is open in this process; `_mapped`
    keeps readers of other threads out meanwhile. A scan is for the store's own thread, which grows the map.
    """

    def __init__(self, path: Path, *, readonly: bool, sync: bool) -> None:
        self.path, self._readonly, self._sync = path, readonly, sync
        self._mapped = threading.Lock()
        if not readonly:
            path.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(path / _DRAFT, ignore_errors=True)
        self._open()

    def _open(self) -> None:
        readonly = self._readonly
        self._environment = lmdb.open(
            str(self.path),
            map_size=_FIRST_MAP_BYTES,
            max_dbs=len(Space),
            readonly=readonly,
            lock=not readonly or os.access(self.path, os.W_OK),  # a medium that cannot be written has no other writer
            sync=self._sync,
            metasync=self._sync,
        )
        try:
            self._tables = {space: self._environment.open_db(space.encode(), create=not readonly) for space in Space}
        except lmdb.NotFoundError:
            self._environment.close()
            raise StoreFormatError(self.path, FORMAT, "unknown") from None

    def unused(self) -> bool:
        """Tell whether nothing was ever written but empty tables: a new store, or one whose making was cut short."""
        with self._environment.begin() as transaction:
            names = transaction.stat()["entries"]
            return names == len(self._tables) and not any(
                transaction.stat(table)["entries"] for table in self._tables.values()
            )

    def read(self, space: Space, key: bytes) -> bytes | None:
        with self._mapped:
            try:
                return self._read(space, key)
            except lmdb.MapResizedError:
                self._environment.set_mapsize(0)  # the writing process has grown the file: take its size
                return self._read(space, key)

    def _read(self, space: Space, key: bytes) -> bytes | None:
        with self._environment.begin(db=self._tables[space]) as transaction:
            value: bytes | None = transaction.get(key)
            return value

    def scan(self, space: Space, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._environment.begin(db=self._tables[space]) as transaction, transaction.cursor() as cursor:
            if cursor.set_range(first):
                yield from cursor.iternext(keys=True, values=True)

    def write(self, changes: dict[tuple[Space, bytes], bytes]) -> None:
        try:
            with self._environment.begin(write=True) as transaction:
                for (space, key), value in changes.items():
                    transaction.put(key, value, db=self._tables[space])
        except lmdb.MapFullError:
            # the transaction is undone as a whole; no other one is open in this thread, and none in another
            with self._mapped:
                self._environment.set_mapsize(self._environment.info()["map_size"] * 2)
            self.write(changes)

    def draft(self) -> "_Lmdb":
        shutil.rmtree(self.path / _DRAFT, ignore_errors=True)
        return _Lmdb(self.path / _DRAFT, readonly=False, sync=False)  # made durable once, when it is adopted

    def adopt(self, draft: "_Lmdb") -> None:
        if self._sync:
            draft.sync()
        draft.close()
        with self._mapped:
            self._environment.close()
            try:
                (draft.path / _DATA).replace(self.path / _DATA)
                # it names the newest transaction of the file that is gone; LMDB makes it anew
                (self.path / _LOCK).unlink(missing_ok=True)
                sync_directory(self.path)
            finally:
                self._open()
        shutil.rmtree(draft.path, ignore_errors=True)

    def sync(self) -> None:
        """Make durable what was written without waiting for the disk."""
        self._environment.sync(True)  # noqa: FBT003 - lmdb's signature

    def close(self) -> None:
        with self._mapped:
            self._environment.close()


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: what was renamed into it stays there after a power failure (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
