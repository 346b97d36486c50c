"""The store as the database that py-evm's state works on."""

from collections.abc import Iterator
from contextlib import contextmanager

from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB

from chain.storage import Space, Store


class StagedNodes(BaseAtomicDB):
    """State for the block being executed: sees what is staged, and stages what is written."""

    def __init__(self, store: Store) -> None:
        """Work on this store's overlay."""
        self._store = store

    def __getitem__(self, key: bytes) -> bytes:
        """Read a node or code by its hash."""
        value = self._store.read(Space.NODE, bytes(key), staged=True)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Stage a node or code under its hash."""
        self._store.stage(Space.NODE, bytes(key), bytes(value))

    def __delitem__(self, key: bytes) -> None:
        """Keep the node: states of the past stay readable, and the overlay is forgotten as a whole."""

    def _exists(self, key: bytes) -> bool:
        return self._store.read(Space.NODE, bytes(key), staged=True) is not None

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicDBWriteBatch]:
        """Collect writes and stage them together."""
        batch = AtomicDBWriteBatch(self)
        yield batch
        batch._diff().apply_to(self, apply_deletes=False)  # noqa: SLF001 - py-evm's own backends end a batch so
        batch._track_diff = None  # type: ignore[assignment] # noqa: SLF001 - ends the batch, as py-evm does


class CommittedNodes(BaseAtomicDB):
    """State for readers: committed nodes only, and nothing can be written."""

    def __init__(self, store: Store) -> None:
        """Read this store."""
        self._store = store

    def __getitem__(self, key: bytes) -> bytes:
        """Read a node or code by its hash."""
        value = self._store.read(Space.NODE, bytes(key))
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Refuse: calls keep their changes in py-evm's journal."""
        message = "a reader wrote to committed state"
        raise RuntimeError(message)

    def __delitem__(self, key: bytes) -> None:
        """Refuse."""
        message = "a reader deleted from committed state"
        raise RuntimeError(message)

    def _exists(self, key: bytes) -> bool:
        return self._store.read(Space.NODE, bytes(key)) is not None

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicDBWriteBatch]:
        """Collect writes; they are not kept."""
        yield AtomicDBWriteBatch(self)


class SupposedNodes(CommittedNodes):
    """State for blocks that are only supposed: what they write lies over the committed nodes, and goes with this."""

    def __init__(self, store: Store) -> None:
        """Begin with what is committed."""
        super().__init__(store)
        self._supposed: dict[bytes, bytes] = {}

    def __getitem__(self, key: bytes) -> bytes:
        """Read a node or code by its hash."""
        value = self._supposed.get(bytes(key))
        return super().__getitem__(key) if value is None else value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Keep a node or code under its hash, here and not in the store."""
        self._supposed[bytes(key)] = bytes(value)

    def _exists(self, key: bytes) -> bool:
        return bytes(key) in self._supposed or super()._exists(key)
