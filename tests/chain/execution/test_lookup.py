"""Reading through remembered nodes gives what py-evm's own tries give, whatever was executed, undone or read before."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
from eth.db.account import AccountDB
from eth.vm.interrupt import MissingAccountTrieNode, MissingStorageTrieNode
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from chain.application import Application, Code, Finalized
from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.errors import StoreCorruptError
from chain.execution import evm
from chain.execution.blocks import EMPTY_ROOT
from chain.execution.lookup import Accounts, NodeCache
from chain.execution.nodes import CommittedNodes, StagedNodes
from chain.execution.reader import Call
from chain.storage import Space, Store
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.chain.ledger import CLIENTS, DEPLOYER, SPONSOR, Replica, client, edge

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
    cache = NodeCache(entries)
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

    counting, cache = Counting(database), NodeCache(entries=3)  # the branch and two of its three leaves
    for key in (keys[0], keys[1], keys[0], keys[1]):
        assert cache.find(counting, root, key) == key
    assert len(fetched) == 3
    cache.find(counting, root, keys[2])
    cache.find(counting, root, keys[1])
    assert len(fetched) == 4
    cache.find(counting, root, keys[0])
    assert len(fetched) == 5


# Accounts against py-evm's own, each on a store of its own

ACCOUNTS = [Address(bytes([number]) * 20) for number in (1, 2)]
SLOTS = (0, 1, 255, 2**255)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("store"), st.sampled_from(ACCOUNTS), st.sampled_from(SLOTS), st.sampled_from((0, 1, 2**256 - 1))
        ),
        st.tuples(st.just("read"), st.sampled_from(ACCOUNTS), st.sampled_from(SLOTS)),
        st.tuples(st.just("pay"), st.sampled_from(ACCOUNTS), st.integers(0, 3)),
        st.tuples(st.just("code"), st.sampled_from(ACCOUNTS), st.binary(max_size=3)),
        st.tuples(st.just("destroy"), st.sampled_from(ACCOUNTS)),
        st.tuples(st.sampled_from(("snapshot", "revert", "transaction", "root", "all", "block", "crash", "past"))),
    ),
    max_size=60,
)


class States:
    """A sequence of states on one store, with whatever account database is handed in."""

    def __init__(self, accounts: Callable[[Any, Any], Any]) -> None:
        self.accounts = accounts
        self.store = Store.memory()
        self.roots = [EMPTY_ROOT]
        self.begin()

    def begin(self) -> None:
        self.store.discard()
        self.state = self.accounts(StagedNodes(self.store), self.roots[-1])
        self.snapshots: list[Any] = []

    def do(self, operation: Sequence[Any]) -> object:
        match operation:
            case ("store", address, place, value):
                return self.state.set_storage(address, place, value)
            case ("read", address, place):
                return self.state.get_storage(address, place), self.state.get_storage(address, place, False)  # noqa: FBT003
            case ("pay", address, amount):
                return self.state.set_balance(address, amount)
            case ("code", address, code):
                return self.state.set_code(address, code)
            case ("destroy", address):
                return self.state.delete_account(address)
            case ("snapshot",):
                self.snapshots.append(self.state.record())
            case ("revert",) if self.snapshots:
                return self.state.discard(self.snapshots.pop())
            case ("transaction",):
                self.snapshots.clear()
                return self.state.lock_changes()
            case ("root",):
                return self.state.make_state_root()
            case ("all",):
                return self.everything(self.state)
            case ("block",):
                self.state.lock_changes()
                self.state.persist()
                self.roots.append(self.state.state_root)
                self.store.commit()
                self.begin()
            case ("crash",):  # the block is staged, and never committed
                self.state.lock_changes()
                self.state.persist()
                self.begin()
            case ("past",):
                return [self.everything(self.accounts(CommittedNodes(self.store), root)) for root in self.roots]
        return None

    def everything(self, state: Any) -> object:
        return [
            (state.get_balance(address), state.get_code(address), [state.get_storage(address, at) for at in SLOTS])
            for address in ACCOUNTS
        ]


@settings(max_examples=100)
@given(operations=OPERATIONS, entries=st.sampled_from((1, 4, 1_000)))
@example([("store", ACCOUNTS[0], 1, 1), ("block",), ("store", ACCOUNTS[0], 1, 0)], 4)  # read after the root is made
def test_accounts_and_storage_are_py_evms_through_reverts_deletions_and_lost_blocks(
    operations: list[tuple[Any, ...]], entries: int
) -> None:
    nodes = NodeCache(entries)
    ours, stock = States(lambda db, root: Accounts(db, root, nodes)), States(AccountDB)
    for operation in (*operations, ("root",), ("all",), ("block",), ("past",)):
        outcomes = []
        for states in (ours, stock):
            try:
                outcomes.append(states.do(operation))
            except Exception as error:  # noqa: BLE001 - what py-evm refuses both must refuse
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]
        assert ours.state.state_root == stock.state.state_root
    assert ours.roots == stock.roots
    assert list(ours.store.scan(Space.NODE)) == list(stock.store.scan(Space.NODE))  # the same written, and no more


# Whole heights, by a replica that remembers nodes and by one whose accounts are py-evm's own

# PUSH1 1 PUSH1 1 SSTORE PUSH1 2 PUSH1 2 SSTORE: initcode that leaves storage, and the same that then SELFDESTRUCTs
CREATES = bytes.fromhex("60016001556002600255")
DESTROYS = CREATES + bytes.fromhex("33ff")
SELFDESTRUCT = pytest.mark.filterwarnings("ignore:SELFDESTRUCT opcode present:DeprecationWarning")

BALANCE = keccak256(b"balanceOf(address)")[:4] + client(2).address.rjust(32, b"\0")

T = TypeVar("T")


class Pair:
    """Two replicas that must answer alike; the second one's accounts are py-evm's."""

    def __init__(self) -> None:
        self.ours = Replica()
        self.ours.open_job()
        self.stock = self.ours.twin()

    def both(self, action: Callable[[Replica], T]) -> T:
        """Let both do the same and return what both answered."""
        ours = action(self.ours)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evm, "Accounts", lambda db, root, _: AccountDB(db, root))
            assert action(self.stock) == ours
        return ours

    def height(self, *raws: bytes) -> Finalized:
        """Make a height of transactions that run, and ask about the next, the newest and older blocks."""
        finalized = self.both(lambda replica: replica.height(*raws))
        assert all(result.code <= Code.REVERTED for result in finalized.results)
        self.both(questions)
        return finalized

    def batch(self, counter: int) -> bytes:
        """A batch of one new record of each client."""
        return self.ours.batch(*(self.ours.record(n + 1, counter=counter) for n in range(CLIENTS)))


def questions(replica: Replica) -> list[object]:
    call = Call(to=Address(TOKEN), data=BALANCE)
    numbers = range(replica.reader.latest() + 1)
    answers: list[object] = [replica.reader.call(call, pending=True)]
    answers += [
        (replica.reader.call(call, number), replica.reader.public_key(SPONSOR.address, number)) for number in numbers
    ]
    return answers


def stored(replica: Replica) -> dict[Space, dict[bytes, bytes]]:
    """The tables of a store in memory, as they lie there."""
    tables: dict[Space, dict[bytes, bytes]] = replica.store._backing._tables  # type: ignore[attr-defined] # noqa: SLF001
    return tables


def restart(replica: Replica) -> None:
    replica.app = Application(replica.store)
    replica.reader = replica.app.reader()


def fail() -> None:
    message = "disk is full"
    raise OSError(message)


def cannot_commit(replica: Replica) -> None:
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(replica.store, "commit", fail)
        with pytest.raises(OSError, match="disk"):
            replica.app.commit()


@SELFDESTRUCT
def test_heights_are_those_of_py_evms_own_accounts_whatever_is_lost_on_the_way() -> None:
    pair = Pair()
    ours = pair.ours
    overdraw = ours.sign(edge(1), TOKEN, Token.encode_transfer(client(1).address, 10**30))
    assert pair.height(overdraw, ours.sign(DEPLOYER, b"", CREATES)).results[0].code is Code.REVERTED
    for counter, lose in enumerate((None, restart, cannot_commit)):
        batch = pair.batch(counter)
        pay = ours.sign(SPONSOR, TOKEN, Token.encode_transfer(client(2).address, counter + 1))
        pair.both(lambda replica, raws=(pay, batch): replica.finalize(*raws))  # type: ignore[misc] # another order,
        pair.both(lambda replica, raws=(batch, pay): replica.finalize(*raws))  # type: ignore[misc] # and then another
        if lose is not None:
            pair.both(lose)
        pair.height(batch, pay)
        pair.height(ours.sign(DEPLOYER, b"", DESTROYS), ours.sign(DEPLOYER, b"", CREATES))
    assert stored(ours) == stored(pair.stock)


@SELFDESTRUCT
def test_a_contract_created_and_destroyed_in_one_transaction_leaves_nothing() -> None:
    pair = Pair()
    for code, kept in ((CREATES, 2), (DESTROYS, 0), (CREATES, 2)):
        (result,) = pair.height(pair.ours.sign(DEPLOYER, b"", code)).results
        receipt = pair.ours.reader.receipt(result.hash)
        assert receipt is not None
        assert receipt.created is not None
        assert pair.both(lambda replica, at=receipt.created: replica.reader.storage(at, 2)) == kept  # type: ignore[misc]


# Damage


def test_a_missing_node_is_an_error_and_never_a_zero() -> None:
    replica = Replica()
    root = replica.reader.header().state_root
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
