"""Changing a trie in one pass gives the trie package's root, and exactly its nodes."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from trie.exceptions import ValidationError
from trie.hexary import HexaryTrie

from chain.execution.blocks import EMPTY_ROOT
from chain.execution.lookup import NodeCache
from chain.execution.update import update

# Keys of a state trie: as long as each other, parting early, late and in their last half-byte.
LONG = st.builds(
    lambda head, zeros, tail: (head + bytes(zeros))[:31].ljust(31, b"\7") + tail,
    st.sampled_from((b"", b"\1", b"\x10", b"\x10\1")),
    st.sampled_from((0, 1, 30, 31)),
    st.sampled_from((b"\0", b"\1", b"\x10", b"\xff")),
)
# Keys of which one can begin another: values at branches, and at paths that end inside an extension.
PREFIXES = st.lists(st.sampled_from((0x00, 0x01, 0x10, 0x11, 0xFF)), max_size=4).map(bytes)
# Short values make nodes that stand in their parent; empty ones delete.
VALUES = st.one_of(st.just(b""), st.binary(min_size=1, max_size=3), st.binary(min_size=30, max_size=60))


def changes(keys: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[dict[bytes, bytes]]]:
    return st.lists(st.dictionaries(keys, VALUES, min_size=1, max_size=24), min_size=1, max_size=5)


def reachable(database: dict[bytes, bytes], root: bytes) -> dict[bytes, bytes]:
    """All nodes of a trie that have a name."""
    found: dict[bytes, bytes] = {}

    def walk(node: Any) -> None:
        for child in node.sub_segments:
            walk(trie.traverse_from(node, child))
        body = node.raw
        found.update(named(body))

    def named(body: Any) -> dict[bytes, bytes]:
        return {
            item: database[item] for item in body if isinstance(item, bytes) and len(item) == 32 and item in database
        }

    trie = HexaryTrie(database, root)
    if root != EMPTY_ROOT:
        found[root] = database[root]
        walk(trie.root_node)
    return found


def model_of(steps: list[dict[bytes, bytes]]) -> dict[bytes, bytes]:
    """What a trie holds in the end."""
    together: dict[bytes, bytes] = {}
    for step in steps:
        together |= step
    return {key: value for key, value in together.items() if value}


@settings(max_examples=300)
@given(steps=changes(LONG), entries=st.integers(1, 40))
@example([{b"\0" * 32: b"a", b"\0" * 31 + b"\1": b"b", b"\1" * 32: b"c"}, {b"\1" * 32: b""}], 8)  # branch to extension
def test_a_pass_is_what_the_trie_package_makes_of_the_same_changes_one_by_one(
    steps: list[dict[bytes, bytes]], entries: int
) -> None:
    plain: dict[bytes, bytes] = {}
    trie = HexaryTrie(plain)
    database: dict[bytes, bytes] = {}
    nodes, root = NodeCache(entries, values=entries), EMPTY_ROOT
    for number, step in enumerate(steps, 1):
        for key, value in step.items():
            trie[key] = value
        root, written = update(nodes, database, root, step)
        database |= written
        assert root == trie.root_hash
        held = model_of(steps[:number])
        before = model_of(steps[: number - 1])
        event(f"{sum(not value and key in before for key, value in step.items())} deleted")
        for key in {key for past in steps for key in past}:
            assert nodes.find(database, root, key) == held.get(key, b"")
            assert NodeCache().find(database, root, key) == held.get(key, b"")
    assert reachable(plain, root) == reachable(database, root)


@settings(max_examples=300)
@given(steps=changes(PREFIXES), entries=st.integers(1, 40))
@example([{b"": b"at the root", b"\0": b"below"}, {b"\0": b""}], 8)  # a branch with nothing left but its value
@example([{b"\0\1": b"x", b"\0\1\2": b"y", b"\0\1\3": b"z"}, {b"\0\1\2": b"", b"\0\1": b""}], 8)
@example([{b"\0\1\2": b"y", b"\0\1\3": b"z"}, {b"\0": b""}, {b"\0\5": b"", b"\0\1\2": b"w"}], 8)  # were not there
def test_keys_that_begin_others_are_kept_and_deleted_as_if_the_trie_were_made_anew(
    steps: list[dict[bytes, bytes]], entries: int
) -> None:
    """Made anew, because the trie package raises where it looks for such a key and finds an extension in its parent."""
    database: dict[bytes, bytes] = {}
    nodes, root = NodeCache(entries, values=entries), EMPTY_ROOT
    for number, step in enumerate(steps, 1):
        root, written = update(nodes, database, root, step)
        database |= written
        held = model_of(steps[:number])
        anew, _ = update(NodeCache(), {}, EMPTY_ROOT, held)
        assert root == anew
        for key in {key for past in steps for key in past}:
            assert nodes.find(database, root, key) == held.get(key, b"")
        with suppress(ValidationError):
            plain = HexaryTrie({})
            for key, value in held.items():
                plain[key] = value
            assert root == plain.root_hash
            event("compared with the trie package")


@settings(max_examples=100)
@given(first=st.dictionaries(LONG, VALUES, min_size=1, max_size=24), second=st.dictionaries(LONG, VALUES, max_size=24))
def test_no_node_is_written_that_the_new_trie_does_not_have(
    first: dict[bytes, bytes], second: dict[bytes, bytes]
) -> None:
    database: dict[bytes, bytes] = {}
    root = EMPTY_ROOT
    for step in (first, second):
        if not step:
            continue
        root, written = update(NodeCache(), database, root, step)
        database |= written
        assert set(written) <= set(reachable(database, root))


@given(steps=st.permutations([{b"\0" * 32: b"a"}, {b"\1" * 32: b"b"}, {b"\1" * 31 + b"\2": b"c"}]))
def test_the_order_and_the_grouping_of_changes_make_no_difference(steps: list[dict[bytes, bytes]]) -> None:
    database: dict[bytes, bytes] = {}
    nodes, root = NodeCache(), EMPTY_ROOT
    for step in steps:
        root, written = update(nodes, database, root, step)
        database |= written
    together, _ = update(nodes, {}, EMPTY_ROOT, {key: value for step in steps for key, value in step.items()})
    assert root == together


def test_a_node_that_is_missing_is_an_error() -> None:
    keys = [bytes([number]) * 32 for number in (0x10, 0x20)]
    root, written = update(NodeCache(), {}, EMPTY_ROOT, {key: bytes(40) for key in keys})
    lost = next(name for name in written if name != root)
    database = {name: node for name, node in written.items() if name != lost}
    with pytest.raises(KeyError) as missing:
        update(NodeCache(), database, root, dict.fromkeys(keys, b""))
    assert missing.value.args == (lost,)
