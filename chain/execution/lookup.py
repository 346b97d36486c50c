"""Looking up accounts and storage: py-evm's tries, reading through nodes that this replica has decoded before.

A node's name is the keccak256 of its bytes, so what is remembered under a name can never become wrong: not by a new
block, by one that is undone or by a crash (ADR-decoded-nodes.md). Changing a trie, and its root, stays py-evm's.
"""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from eth.db.account import AccountDB
from eth.db.storage import AccountStorageDB, StorageLookup
from trie.hexary import HexaryTrie

from chain import rlp
from chain.execution.blocks import EMPTY_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth.abc import AccountStorageDatabaseAPI, AtomicDatabaseAPI, DatabaseAPI
    from eth_typing import Address, Hash32

_ENTRIES: Final = 32_768  # at most 50 MB; a branch with 16 children takes 1.4 kB, a leaf 0.4 kB


@dataclass(frozen=True, slots=True)
class _Branch:
    """One child per half-byte; every key of a state or storage trie has 32 bytes, so none ends at a branch."""

    children: "tuple[_Reference, ...]"


@dataclass(frozen=True, slots=True)
class _Extension:
    """Half-bytes, in hexadecimal, that all keys below share."""

    path: str
    child: "_Reference"


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The rest of the one key, in hexadecimal, and its value."""

    path: str
    value: bytes


_Node = _Branch | _Extension | _Leaf
_Reference = bytes | _Node
"""Nothing (empty bytes), a node's hash, or the node itself where its encoding is shorter than a hash."""


class NodeCache:
    """Hash (32 bytes) -> decoded node; the least recently used entry goes first. One replica's own."""

    def __init__(self, entries: int = _ENTRIES) -> None:
        """Keep at most `entries` nodes."""
        self._entries = entries
        self._nodes: OrderedDict[bytes, _Node] = OrderedDict()

    def find(self, database: "Mapping[bytes, bytes]", root: bytes, key: bytes) -> bytes:
        """Return the value of `key` (32 bytes) in the trie `root`, empty when it has none.

        Nodes not met before come from `database`, whose KeyError is passed on when it lacks one.
        """
        if root == EMPTY_ROOT:
            return b""
        path, at = key.hex(), 0
        reference: _Reference = root
        while reference != b"":
            node = self._load(database, reference) if isinstance(reference, bytes) else reference
            match node:
                case _Branch():
                    reference = node.children[int(path[at], 16)]
                    at += 1
                case _Extension():
                    reference = node.child if path.startswith(node.path, at) else b""
                    at += len(node.path)
                case _Leaf():
                    return node.value if path[at:] == node.path else b""
        return b""

    def _load(self, database: "Mapping[bytes, bytes]", name: bytes) -> _Node:
        node = self._nodes.get(name)
        if node is not None:
            self._nodes.move_to_end(name)
            return node
        node = self._nodes[name] = _decode(rlp.decode(database[name]))
        if len(self._nodes) > self._entries:
            self._nodes.popitem(last=False)
        return node


def _decode(node: "rlp.Decoded") -> _Node:
    """Read a node's list; the first half-byte says leaf or extension, odd or even (see `_path` in trie.py)."""
    match node:
        case [bytes(path), bytes(value)] if path[0] & 0x20:
            return _Leaf(_half_bytes(path), value)
        case [bytes(path), child]:
            return _Extension(_half_bytes(path), _reference(child))
        case [*children, b""]:
            return _Branch(tuple(_reference(child) for child in children))
    message = "bytes with the hash of a trie node are none"
    raise RuntimeError(message)


def _half_bytes(path: bytes) -> str:
    return path.hex()[1 if path[0] & 0x10 else 2 :]


def _reference(item: "rlp.Decoded") -> _Reference:
    return item if isinstance(item, bytes) else _decode(item)


class _Trie(HexaryTrie):
    """Looks up through the cache if it has one; the copy that py-evm makes of it for changes has none."""

    __slots__ = ("_nodes",)

    def __init__(
        self,
        db: "DatabaseAPI",
        root_hash: bytes,
        prune: bool = False,  # noqa: FBT001, FBT002 - py-evm's signature
        ref_count: dict[bytes, int] | None = None,
        nodes: NodeCache | None = None,
    ) -> None:
        super().__init__(db, root_hash, prune, ref_count)
        self._nodes = nodes

    def get(self, key: bytes) -> bytes:
        if self._nodes is not None:
            with suppress(KeyError):  # a node is missing: the package's own way ends in an error that names it
                return self._nodes.find(self.db, self.root_hash, key)
        return super().get(key)


class _StorageLookup(StorageLookup):
    """Reads the storage that a block started with through the cache."""

    def __init__(self, db: "DatabaseAPI", storage_root: "Hash32", address: "Address", nodes: NodeCache) -> None:
        super().__init__(db, storage_root, address)
        self._nodes = nodes

    def _get_read_trie(self) -> HexaryTrie:
        if self._write_trie is not None:
            return self._write_trie
        return _Trie(self._db, self._starting_root_hash, nodes=self._nodes)


class _Storage(AccountStorageDB):
    """One account's storage, with a lookup of ours at its bottom."""

    def __init__(self, db: "AtomicDatabaseAPI", storage_root: "Hash32", address: "Address", nodes: NodeCache) -> None:
        super().__init__(db, storage_root, address)
        self._storage_lookup = _StorageLookup(db, storage_root, address, nodes)
        self._storage_cache._db = self._storage_lookup  # noqa: SLF001 - the only way to put ours in py-evm's place


class Accounts(AccountDB):
    """Accounts and their storage at one state root."""

    def __init__(self, db: "AtomicDatabaseAPI", state_root: "Hash32", nodes: NodeCache) -> None:
        """Read `db`, and what was read before in `nodes`."""
        super().__init__(db, state_root)
        self._nodes = nodes
        trie = _Trie(self._batchtrie, state_root, prune=True, nodes=nodes)
        self._trie._db = trie  # type: ignore[assignment] # noqa: SLF001 - as above; py-evm types what it wraps too narrow

    def _get_address_store(self, address: "Address") -> "AccountStorageDatabaseAPI":
        store = self._account_stores.get(address)
        if store is None:
            store = _Storage(self._raw_store_db, self._get_storage_root(address), address, self._nodes)
            self._account_stores[address] = store
        return store
