"""Looking up through remembered nodes gives what the trie package gives, and never what a damaged store gives."""

import pytest
from eth.vm.interrupt import MissingAccountTrieNode, MissingBytecode, MissingStorageTrieNode
from hypothesis import given, settings
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from chain.application import Application
from chain.crypto.addresses import Address
from chain.errors import StoreCorruptError
from chain.execution.blocks import EMPTY_ROOT
from chain.execution.lookup import NodeCache
from chain.storage import Space
from contracts.addresses import LEDGER, TOKEN
from tests.chain.ledger import Replica
from tests.chain.stock import stored

# Keys that part early, late and in their last half-byte: branches, long extensions and, with values of a byte or two,
# nodes that are shorter than a hash and stand in their parent.
KEYS = st.builds(
    lambda head, zeros, tail: (head + bytes(zeros))[:31].ljust(31, b"\7") + bytes([tail]),
    st.binary(max_size=2),
    st.integers(0, 31),
    st.integers(0, 255),
)
CHANGES = st.dictionaries(KEYS, st.binary(max_size=3) | st.binary(min_size=30, max_size=60), max_size=20)


@settings(max_examples=80)
@given(changes=st.lists(CHANGES, min_size=1, max_size=4), absent=st.lists(KEYS, max_size=5), entries=st.integers(1, 40))
def test_every_root_of_a_trie_reads_as_the_trie_package_reads_it(
    changes: list[dict[bytes, bytes]], absent: list[bytes], entries: int
) -> None:
    database: dict[bytes, bytes] = {}
    trie = HexaryTrie(database)
    roots = [EMPTY_ROOT]
    keys = set(absent)
    for change in changes:
        for key, value in change.items():
            trie[key] = value  # empty: deletes
        roots.append(trie.root_hash)
        keys |= set(change)
    cache = NodeCache(entries, values=entries)
    for root in (*roots, *reversed(roots)):
        plain = HexaryTrie(database, root)
        for key in keys:
            assert cache.find(database, root, key) == plain[key]


def test_a_node_is_fetched_once_and_the_oldest_is_forgotten() -> None:
    database: dict[bytes, bytes] = {}
    trie = HexaryTrie(database)
    keys = [bytes([number]) * 32 for number in (0x10, 0x20, 0x30)]
    for key in keys:
        trie[key] = key
    root = trie.root_hash
    fetched: list[bytes] = []

    class Counting(dict[bytes, bytes]):
        def __getitem__(self, key: bytes) -> bytes:
            fetched.append(key)
            return super().__getitem__(key)

    counting, cache = Counting(database), NodeCache(entries=3, values=0)  # the branch and two of its three leaves
    for key in (keys[0], keys[1], keys[0], keys[1]):
        assert cache.find(counting, root, key) == key
    assert len(fetched) == 3
    cache.find(counting, root, keys[2])
    cache.find(counting, root, keys[1])
    assert len(fetched) == 4
    cache.find(counting, root, keys[0])
    assert len(fetched) == 5


# Damage


def test_a_missing_node_is_an_error_and_never_a_zero() -> None:
    replica = Replica()
    root = replica.reader.header().state_root
    code = replica.reader.account(Address(LEDGER)).code_hash
    lost_code = stored(replica)[Space.NODE].pop(code)
    with pytest.raises(MissingBytecode, match=code.hex()):
        Application(replica.store).reader().code(Address(LEDGER))
    stored(replica)[Space.NODE][code] = lost_code
    for lost, error in (
        (replica.reader.account(Address(TOKEN)).storage_root, MissingStorageTrieNode),
        (root, MissingAccountTrieNode),
    ):
        del stored(replica)[Space.NODE][lost]
        with pytest.raises(error, match=lost.hex()):
            Application(replica.store).reader().storage(Address(TOKEN), 0)


def test_a_damaged_node_is_found_by_whoever_opens_the_store_whatever_another_replica_remembers() -> None:
    """The audit opens stores in a process of its own, and compares their bytes besides."""
    replica = Replica()
    token = Address(TOKEN)
    supply = replica.reader.storage(token, 0)
    table = stored(replica)[Space.NODE]
    for name, value in table.items():
        table[name] = value[:-1] + bytes([value[-1] ^ 1])
    assert replica.reader.storage(token, 0) == supply  # read and checked before
    with pytest.raises(StoreCorruptError, match="does not hash to its name"):
        Application(replica.store).reader().storage(token, 0)
    with pytest.raises(StoreCorruptError, match="does not hash to its name"):
        replica.reader.proof(token, (0,))  # proofs are read from the store


def test_bytes_that_are_no_node_are_an_error() -> None:
    root = bytes(32)
    with pytest.raises(RuntimeError, match="are none"):
        NodeCache().find({root: b"\xc0"}, root, bytes(32))


def test_a_value_is_remembered_with_its_root_and_the_oldest_is_forgotten() -> None:
    database: dict[bytes, bytes] = {}
    trie = HexaryTrie(database)
    roots = []
    for value in (b"one", b"two"):
        trie[bytes(32)] = value
        roots.append(trie.root_hash)
    cache = NodeCache(entries=0, values=1)
    assert [cache.find(database, root, bytes(32)) for root in (*roots, roots[0])] == [b"one", b"two", b"one"]
    assert cache.find({}, roots[0], bytes(32)) == b"one"
    with pytest.raises(KeyError):
        cache.find({}, roots[1], bytes(32))
