"""What two tries differ in, against plain dictionaries."""

from hypothesis import given
from hypothesis import strategies as st

from chain.crypto.hashing import keccak256
from chain.execution.blocks import EMPTY_ROOT
from chain.execution.difference import changed
from chain.execution.lookup import NodeCache
from chain.execution.update import update

# few hashes with long common starts too: neighbours share branches and extensions, and short values lie inside nodes
KEYS = [keccak256(bytes((n,))) for n in range(12)] + [bytes(30) + bytes((n, 0)) for n in range(4)]
CONTENTS = st.dictionaries(st.sampled_from(KEYS), st.binary(min_size=1, max_size=40))


def trie(database: dict[bytes, bytes], content: dict[bytes, bytes]) -> bytes:
    root, written = update(NodeCache(), database, EMPTY_ROOT, content) if content else (EMPTY_ROOT, {})
    database.update(written)
    return root


@given(CONTENTS, CONTENTS)
def test_exactly_the_keys_with_two_values_are_found(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> None:
    database: dict[bytes, bytes] = {}
    roots = trie(database, before), trie(database, after)
    assert changed(NodeCache(), database, *roots) == {
        key: (before.get(key, b""), after.get(key, b"")) for key in KEYS if before.get(key, b"") != after.get(key, b"")
    }


def test_a_part_that_both_tries_share_is_not_read() -> None:
    database: dict[bytes, bytes] = {}
    content = dict.fromkeys(KEYS, b"v" * 40)
    before = trie(database, content)
    after = trie(database, content | {KEYS[0]: b"other"})
    reads: list[bytes] = []

    class Counting(dict[bytes, bytes]):
        def __getitem__(self, key: bytes) -> bytes:
            reads.append(key)
            return super().__getitem__(key)

    assert changed(NodeCache(), Counting(database), before, after) == {KEYS[0]: (b"v" * 40, b"other")}
    assert len(reads) < len(database) / 2
