"""Two tries compared, and a trie with other values: what tells which entries two replicas' states differ in.

Only what differs is visited, from both roots downwards: equal hashes are equal subtrees.
"""

from typing import TYPE_CHECKING, Final

from chain.errors import StoreCorruptError
from chain.execution.accounts import Account, decode_account, decode_word, encode_account, encode_word
from chain.execution.blocks import EMPTY_ROOT, HASH_BYTES
from chain.execution.lookup import NIBBLES, Branch, Database, Extension, Leaf, Node, NodeCache, Reference
from chain.execution.nodes import StagedNodes
from chain.execution.update import update
from chain.storage import Space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chain.storage import Store

_KEY_DIGITS: Final = 2 * HASH_BYTES  # every key of a state or storage trie is a hash


def changed(nodes: NodeCache, database: Database, before: bytes, after: bytes) -> dict[bytes, tuple[bytes, bytes]]:
    """Return each key whose value differs between two roots, with both values; empty where a trie has no such key.

    The KeyError of `database` is passed on when it lacks a node.
    """
    found: dict[bytes, tuple[bytes, bytes]] = {}

    def visit(old: Reference, new: Reference, path: str) -> None:
        if old == new:
            return
        one = nodes.load(database, old) if old else None
        two = nodes.load(database, new) if new else None
        if len(path) == _KEY_DIGITS:
            found[bytes.fromhex(path)] = (_value(one), _value(two))
            return
        for digit in NIBBLES:
            visit(_below(one, digit), _below(two, digit), path + digit)

    visit(_reference(before), _reference(after), "")
    return found


def _reference(root: bytes) -> Reference:
    return b"" if root == EMPTY_ROOT else root


def _value(node: Node | None) -> bytes:
    return node.value if isinstance(node, Leaf) else b""


def _below(node: Node | None, digit: str) -> Reference:
    """Return what lies one half-byte further down."""
    match node:
        case Branch():
            return node.children[NIBBLES[digit]]
        case Extension() if node.path.startswith(digit):
            return Extension(node.path[1:], node.child) if node.path[1:] else node.child
        case Leaf() if node.path.startswith(digit):
            return Leaf(node.path[1:], node.value)
        case _:
            return b""


class States:
    """States of one store, also staged ones, by their roots; keys are hashes of addresses and of slots.

    `StoreCorruptError` where a state lacks a node.
    """

    def __init__(self, store: "Store") -> None:
        """Read this store."""
        self._store = store
        self._database = StagedNodes(store)
        self._nodes = NodeCache()

    def account(self, root: bytes, key: bytes) -> Account | None:
        """Return an account of the state `root`."""
        try:
            encoded = self._nodes.find(self._database, root, key)
        except KeyError as missing:
            raise self._lacking(missing) from None
        return decode_account(encoded) if encoded else None

    def word(self, root: bytes, key: bytes) -> int:
        """Return a word of the storage `root`."""
        try:
            encoded = self._nodes.find(self._database, root, key)
        except KeyError as missing:
            raise self._lacking(missing) from None
        return decode_word(encoded) if encoded else 0

    def changed(self, before: bytes, after: bytes) -> list[bytes]:
        """Return the keys whose entries differ between two tries."""
        try:
            return list(changed(self._nodes, self._database, before, after))
        except KeyError as missing:
            raise self._lacking(missing) from None

    def root_with_words(self, root: bytes, words: "Mapping[bytes, int]") -> bytes:
        """Return the root of the storage `root` with these words in it."""
        return self._root_with(root, {key: encode_word(value) for key, value in words.items()})

    def root_with_accounts(self, root: bytes, accounts: "Mapping[bytes, Account | None]") -> bytes:
        """Return the root of the state `root` with these accounts in it."""
        encoded = {key: encode_account(account) if account else b"" for key, account in accounts.items()}
        return self._root_with(root, encoded)

    def _root_with(self, root: bytes, values: "Mapping[bytes, bytes]") -> bytes:
        if not values:
            return root
        try:
            return update(self._nodes, self._database, root, values)[0]
        except KeyError as missing:
            raise self._lacking(missing) from None

    def _lacking(self, missing: KeyError) -> StoreCorruptError:
        return StoreCorruptError(self._store.path, Space.NODE, missing.args[0], "is missing")
