"""Looking keys up in state and storage tries, through nodes that this replica has decoded before.

A node's name is the keccak256 of its bytes, so what is remembered under a name can never become wrong: not by a new
block, by one that is undone or by a crash (ADR-decoded-nodes.md). The same holds for contract code.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chain import rlp
from chain.execution.blocks import EMPTY_ROOT

_ENTRIES: Final = 32_768  # at most 50 MB; a branch with 16 children takes 1.4 kB, a leaf 0.4 kB
_VALUES: Final = 65_536  # at most 25 MB
_CODES: Final = 1_024  # at most 25 MB; nearly all of them are public keys of 2 kB
WIDTH: Final = 17  # children of a branch, one per half-byte, and its value
VALUE: Final = 16
NIBBLES: Final = {digit: number for number, digit in enumerate("0123456789abcdef")}

Database = Mapping[bytes, bytes]
"""Hash -> a node or a code; its KeyError, when it lacks one, carries that hash."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One child per half-byte, then the value of the key that ends here; state and storage tries have no such key."""

    children: "tuple[Reference, ...]"


@dataclass(frozen=True, slots=True)
class Extension:
    """Half-bytes, in hexadecimal, that all keys below share."""

    path: str
    child: "Reference"


@dataclass(frozen=True, slots=True)
class Leaf:
    """The rest of the one key, in hexadecimal, and its value."""

    path: str
    value: bytes


Node = Branch | Extension | Leaf
Reference = bytes | Node
"""Nothing (empty bytes), a node's hash, or the node itself where its encoding is shorter than a hash."""


class NodeCache:
    """Hash (32 bytes) -> decoded node; root and key -> value; hash -> code. One replica's own.

    The least recently used entries go first. A value is remembered with the root that it was found under, so it is as
    right for ever as a node: a contract that nobody has changed keeps its root, and its words are found at once.
    """

    def __init__(self, entries: int = _ENTRIES, values: int = _VALUES, codes: int = _CODES) -> None:
        """Keep at most `entries` nodes, `values` values and `codes` contract codes."""
        self._entries = entries
        self._most_values = values
        self._most_codes = codes
        self._nodes: OrderedDict[bytes, Node] = OrderedDict()
        self._values: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()
        self._codes: OrderedDict[bytes, bytes] = OrderedDict()

    def find(self, database: Database, root: bytes, key: bytes) -> bytes:
        """Return the value of `key` in the trie `root`, empty when it has none.

        Nodes not met before come from `database`, whose KeyError is passed on when it lacks one.
        """
        if root == EMPTY_ROOT:
            return b""
        place = (root, key)
        value = self._values.get(place)
        if value is not None:
            self._values.move_to_end(place)
            return value
        value = self._values[place] = self._found(database, root, key)
        if len(self._values) > self._most_values:
            self._values.popitem(last=False)
        return value

    def _found(self, database: Database, root: bytes, key: bytes) -> bytes:
        path, at = key.hex(), 0
        reference: Reference = root
        while reference:
            node = self.load(database, reference)
            match node:
                case Branch():
                    if at == len(path):
                        return _value(node)
                    reference = node.children[NIBBLES[path[at]]]
                    at += 1
                case Extension():
                    reference = node.child if path.startswith(node.path, at) else b""
                    at += len(node.path)
                case Leaf():
                    return node.value if path[at:] == node.path else b""
        return b""

    def load(self, database: Database, reference: Reference) -> Node:
        """Return the node behind a reference that is not empty."""
        if not isinstance(reference, bytes):
            return reference
        node = self._nodes.get(reference)
        if node is not None:
            self._nodes.move_to_end(reference)
            return node
        node = _decode(rlp.decode(database[reference]))
        self.keep(reference, node)
        return node

    def keep(self, name: bytes, node: Node) -> None:
        """Remember a node whose encoding hashes to `name`."""
        self._nodes[name] = node
        if len(self._nodes) > self._entries:
            self._nodes.popitem(last=False)

    def code(self, database: Database, name: bytes) -> bytes:
        """Return the code that hashes to `name`; the KeyError of `database` is passed on."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = database[name]
            if len(self._codes) > self._most_codes:
                self._codes.popitem(last=False)
        else:
            self._codes.move_to_end(name)
        return code


def _value(branch: Branch) -> bytes:
    value = branch.children[VALUE]
    if not isinstance(value, bytes):
        message = "a node stands where a branch has its value"
        raise TypeError(message)
    return value


def _decode(node: rlp.Decoded) -> Node:
    """Read a node's list; the first half-byte says leaf or extension, odd or even (Yellow Paper, appendix C)."""
    match node:
        case [bytes(path), bytes(value)] if path[0] & 0x20:
            return Leaf(_half_bytes(path), value)
        case [bytes(path), child]:
            return Extension(_half_bytes(path), _reference(child))
        case [*children, bytes(value)] if len(children) == VALUE:
            return Branch((*(_reference(child) for child in children), value))
    message = "bytes with the hash of a trie node are none"
    raise RuntimeError(message)


def _half_bytes(path: bytes) -> str:
    return path.hex()[1 if path[0] & 0x10 else 2 :]


def _reference(item: rlp.Decoded) -> Reference:
    return item if isinstance(item, bytes) else _decode(item)
