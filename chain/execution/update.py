"""Changing a trie: all changes of a block in one pass, which encodes and hashes every node that it touches once.

py-evm sets one key at a time, and each time makes every node anew from the key's leaf up to the root. A block of 64
records changes 66 slots of one contract: 66 roots were made, of which one counts. The result is the trie package's,
node by node (tests/chain/execution/test_update.py).
"""

from collections.abc import Mapping
from typing import assert_never

from chain import rlp
from chain.crypto.hashing import keccak256
from chain.execution.blocks import EMPTY_ROOT, HASH_BYTES
from chain.execution.lookup import NIBBLES, VALUE, WIDTH, Branch, Database, Extension, Leaf, Node, NodeCache, Reference

_Entry = tuple[str, bytes]  # a key's half-bytes and its new value; empty deletes
_EMPTY_ITEM = b"\x80"
_HASH_PREFIX = b"\xa0"  # of a string of 32 bytes


def update(
    nodes: NodeCache, database: Database, root: bytes, changes: Mapping[bytes, bytes]
) -> tuple[bytes, dict[bytes, bytes]]:
    """Set every key of `changes` in the trie `root`, delete those with an empty value.

    Returns the new root and all nodes on changed paths, by hash; the others are reached from them as before. The
    KeyError of `database` is passed on when it lacks a node. `nodes` learns the new ones.
    """
    entries = sorted((key.hex(), value) for key, value in changes.items())
    changing = _Pass(nodes, database)
    node = changing.change(None if root == EMPTY_ROOT else nodes.load(database, root), entries, 0)
    if node is None:
        return EMPTY_ROOT, {}
    return changing.name(*changing.settle(node)), changing.written


class _Pass:
    """One pass over a trie. While it runs, a changed node refers to changed nodes themselves; `settle` hashes them."""

    def __init__(self, nodes: NodeCache, database: Database) -> None:
        self._nodes = nodes
        self._database = database
        self.written: dict[bytes, bytes] = {}

    def change(self, node: Node | None, entries: list[_Entry], depth: int) -> Node | None:
        """Apply sorted `entries`, of which there is one at least and which agree in their first `depth` half-bytes."""
        match node:
            case None:
                return self._build([entry for entry in entries if entry[1]], depth)
            case Branch():
                return self._branch(list(node.children), entries, depth)
            case Leaf():
                here = entries[0][0][:depth] + node.path
                if all(key != here for key, _ in entries):
                    entries = sorted([*entries, (here, node.value)])
                return self._build([entry for entry in entries if entry[1]], depth)
            case Extension():
                return self._below(node, entries, depth)
            case _:
                assert_never(node)

    def _below(self, node: Extension, entries: list[_Entry], depth: int) -> Node | None:
        path = node.path
        entries = [entry for entry in entries if entry[1] or entry[0].startswith(path, depth)]  # the others are absent
        if not entries:
            return node
        shared = min(_shared(path, key, depth) for key in (entries[0][0], entries[-1][0]))
        if shared == len(path):
            child = self.change(self._nodes.load(self._database, node.child), entries, depth + shared)
            return _extended(path, child)
        children: list[Reference] = [b""] * WIDTH
        rest = path[shared + 1 :]
        children[NIBBLES[path[shared]]] = Extension(rest, node.child) if rest else node.child
        return _extended(path[:shared], self._branch(children, entries, depth + shared))

    def _build(self, entries: list[_Entry], depth: int) -> Node | None:
        """Make a trie of nothing but `entries`, none of them empty."""
        if not entries:
            return None
        first, value = entries[0]
        if len(entries) == 1:
            return Leaf(first[depth:], value)
        path = first[depth:]
        shared = _shared(path, entries[-1][0], depth)
        return _extended(path[:shared], self._branch([b""] * WIDTH, entries, depth + shared))

    def _branch(self, children: list[Reference], entries: list[_Entry], depth: int) -> Node | None:
        at, end = 0, len(entries)
        if len(entries[0][0]) == depth:
            children[VALUE] = entries[0][1]
            at = 1
        while at < end:
            digit, first = entries[at][0][depth], at
            at += 1
            while at < end and entries[at][0][depth] == digit:
                at += 1
            old = children[NIBBLES[digit]]
            child = self._nodes.load(self._database, old) if old else None
            children[NIBBLES[digit]] = self.change(child, entries[first:at], depth + 1) or b""
        used = [number for number, child in enumerate(children) if child]
        match used:
            case []:
                return None
            case [number]:
                only = children[number]
                if number == VALUE and isinstance(only, bytes):
                    return Leaf("", only)
                return _extended(f"{number:x}", self._nodes.load(self._database, only))
            case _:
                return Branch(tuple(children))

    def settle(self, node: Node) -> tuple[bytes, Node]:
        """Return the encoding of a node, and the node with references in the place of what is named by a hash."""
        match node:
            case Leaf():
                payload = rlp.encode_bytes(_path(node.path, leaf=True)) + rlp.encode_bytes(node.value)
                return rlp.encode_list(payload), node
            case Extension():
                item, child = self._settled(node.child)
                return rlp.encode_list(rlp.encode_bytes(_path(node.path, leaf=False)) + item), Extension(
                    node.path, child
                )
            case Branch():
                items: list[bytes] = []
                children = list(node.children)
                value = children.pop()
                for number, child in enumerate(children):
                    if not child:
                        items.append(_EMPTY_ITEM)
                    elif isinstance(child, bytes):
                        items.append(_HASH_PREFIX + child)
                    else:
                        item, children[number] = self._settled(child)
                        items.append(item)
                items.append(rlp.encode(value) if isinstance(value, bytes) else b"")
                return rlp.encode_list(b"".join(items)), Branch((*children, value))
            case _:
                assert_never(node)

    def _settled(self, child: Reference) -> tuple[bytes, Reference]:
        """Return what stands for a child in its parent's encoding, and in its parent."""
        if isinstance(child, bytes):
            return _HASH_PREFIX + child, child
        encoded, settled = self.settle(child)
        if len(encoded) < HASH_BYTES:
            return encoded, settled
        name = self.name(encoded, settled)
        return _HASH_PREFIX + name, name

    def name(self, encoded: bytes, node: Node) -> bytes:
        """Hash a settled node and keep it under its hash."""
        name = keccak256(encoded)
        self.written[name] = encoded
        self._nodes.keep(name, node)
        return name


def _shared(path: str, key: str, depth: int) -> int:
    """Count the half-bytes at the start of `path` that `key` has from `depth` on."""
    if key.startswith(path, depth):
        return len(path)
    count = 0
    for mine, other in zip(path, key[depth:], strict=False):
        if mine != other:
            break
        count += 1
    return count


def _extended(path: str, node: Node | None) -> Node | None:
    """Put a path in front of a node; a path in front of a path is one path."""
    if not path:
        return node
    match node:
        case None:
            return None
        case Branch():
            return Extension(path, node)
        case Extension():
            return Extension(path + node.path, node.child)
        case Leaf():
            return Leaf(path + node.path, node.value)
        case _:
            assert_never(node)


def _path(digits: str, *, leaf: bool) -> bytes:
    """Hex-prefix encoding: the first half-byte says leaf or extension, and odd or even (Yellow Paper, appendix C)."""
    flag = 2 if leaf else 0
    return bytes.fromhex(f"{flag + 1}{digits}" if len(digits) % 2 else f"{flag}0{digits}")
