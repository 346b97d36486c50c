"""Accounts and storage are py-evm's, step by step: the same answers, the same roots, the same nodes in the store."""

from collections.abc import Callable, Sequence
from typing import Any

from eth.db.account import AccountDB
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chain.crypto.addresses import Address
from chain.execution import evm
from chain.execution.accounts import Accounts
from chain.execution.blocks import EMPTY_ROOT, BlockNumber, Header
from chain.execution.lookup import NodeCache
from chain.execution.nodes import CommittedNodes, StagedNodes
from chain.storage import Space, Store
from tests.chain.stock import stock_execution

ACCOUNTS = [Address(bytes([number]) * 20) for number in (1, 2)]
SLOTS = (0, 1, 255, 2**255)
CHANGES = st.one_of(
    st.tuples(st.just("store"), st.sampled_from(ACCOUNTS), st.sampled_from(SLOTS), st.sampled_from((0, 1, 2**256 - 1))),
    st.tuples(st.just("read"), st.sampled_from(ACCOUNTS), st.sampled_from(SLOTS)),
    st.tuples(st.just("warm"), st.sampled_from(ACCOUNTS), st.sampled_from(SLOTS)),
    st.tuples(st.just("pay"), st.sampled_from(ACCOUNTS), st.integers(0, 3)),
    st.tuples(st.just("code"), st.sampled_from(ACCOUNTS), st.binary(max_size=3)),
    st.tuples(st.sampled_from(("destroy", "empty", "touch", "uncode", "nonce")), st.sampled_from(ACCOUNTS)),
)
CALLS: st.SearchStrategy[tuple[Any, ...]] = st.recursive(
    CHANGES, lambda calls: st.tuples(st.sampled_from(("kept", "reverted")), st.lists(calls, max_size=4))
)
OPERATIONS = st.lists(
    st.one_of(CALLS, CALLS, st.tuples(st.sampled_from(("transaction", "root", "all", "block", "crash", "past")))),
    max_size=40,
)


class States:
    """A sequence of states on one store, with whatever account database is handed in.

    They are used as the EVM uses them: what a call has done is kept or reverted when it ends, none outlives its
    transaction, and an account loses its storage at most once in a transaction, by which it was created (EIP-6780):
    what the slots had been before is then not asked for.
    """

    def __init__(self, accounts: Callable[[Any, Any], Any]) -> None:
        self.accounts = accounts
        self.store = Store.memory()
        self.roots = [EMPTY_ROOT]
        self.begin()

    def begin(self) -> None:
        self.store.discard()
        self.state = self.accounts(StagedNodes(self.store), self.roots[-1])
        self.end_transaction()

    def end_transaction(self) -> None:
        self.state.lock_changes()
        self.wiped: set[bytes] = set()

    def do(self, operation: Sequence[Any]) -> object:
        match operation:
            case ("store", address, place, value):
                return self.state.set_storage(address, place, value)
            case ("read", address, place):
                before = None if address in self.wiped else self.state.get_storage(address, place, False)  # noqa: FBT003
                return self.state.get_storage(address, place), before
            case ("pay", address, amount):
                return self.state.set_balance(address, amount)
            case ("nonce", address):
                return self.state.increment_nonce(address)
            case ("code", address, code):
                return self.state.set_code(address, code)
            case ("uncode", address):
                return self.state.delete_code(address)
            case ("touch", address):
                return self.state.touch_account(address)
            case ("destroy", address) if address not in self.wiped and self.state.account_exists(address):
                self.wiped.add(address)
                return self.state.delete_account(address)
            case ("empty", address) if address not in self.wiped:
                self.wiped.add(address)
                self.state.get_storage(address, 0)  # else py-evm, when this is undone, has forgotten what was there
                return self.state.delete_storage(address)
            case ("warm", address, place):
                self.state.mark_address_warm(address)
                return self.state.mark_storage_warm(address, place)
            case ("kept" | "reverted", calls):
                snapshot = self.state.record()
                answers = [self.do(call) for call in calls]
                leave = self.state.commit if operation[0] == "kept" else self.state.discard
                leave(snapshot)
                return answers, self.everything(self.state)
            case ("transaction",):
                self.end_transaction()
            case ("root",):
                self.end_transaction()
                return self.state.make_state_root()
            case ("all",):
                return self.everything(self.state)
            case ("block",):
                self.end_transaction()
                self.state.persist()
                self.roots.append(self.state.state_root)
                self.store.commit()
                self.begin()
            case ("crash",):  # the block is staged, and never committed
                self.end_transaction()
                self.state.persist()
                self.begin()
            case ("past",):
                return [self.everything(self.accounts(CommittedNodes(self.store), root)) for root in self.roots]
        return None

    def everything(self, state: Any) -> object:
        return [
            (
                state.account_exists(address),
                state.account_is_empty(address),
                state.account_has_code_or_nonce(address),
                state.get_nonce(address),
                state.get_balance(address),
                state.get_code_hash(address),
                state.get_code(address),
                [state.get_storage(address, at) for at in SLOTS],
                state.is_address_warm(address),
                [state.is_storage_warm(address, at) for at in SLOTS],
            )
            for address in ACCOUNTS
        ]


@settings(max_examples=300)
@given(operations=OPERATIONS, entries=st.sampled_from((1, 4, 1_000)))
@example([("store", ACCOUNTS[0], 1, 1), ("block",), ("store", ACCOUNTS[0], 1, 0)], 4)  # read after the root is made
@example([("store", ACCOUNTS[0], 1, 1), ("root",), ("store", ACCOUNTS[0], 1, 0)], 4)  # back to what it was
@example([("store", ACCOUNTS[0], 1, 1), ("block",), ("reverted", [("empty", ACCOUNTS[0])])], 4)
@example([("pay", ACCOUNTS[0], 1), ("reverted", [("code", ACCOUNTS[1], b"\1")])], 4)
def test_accounts_and_storage_are_py_evms_through_reverts_deletions_and_lost_blocks(
    operations: list[tuple[Any, ...]], entries: int
) -> None:
    nodes = NodeCache(entries, values=entries, codes=1)
    ours, stock = States(lambda db, root: Accounts(db, root, nodes)), States(AccountDB)
    for operation in (*operations, ("root",), ("all",), ("block",), ("past",)):
        assert ours.do(operation) == stock.do(operation)
    assert ours.roots == stock.roots
    written = dict(ours.store.scan(Space.NODE))
    if ("root",) in operations:  # which a block never does: py-evm then keeps nodes of roots that were none in the end
        assert written.items() <= dict(stock.store.scan(Space.NODE)).items()
    else:
        assert written == dict(stock.store.scan(Space.NODE))


def test_transient_storage_is_py_evms_through_calls_that_revert_and_into_the_next_transaction() -> None:
    def answers(state: Any) -> list[object]:
        seen: list[object] = []
        for leave in (state.commit, state.revert):
            state.set_transient_storage(ACCOUNTS[0], 1, b"\1")
            outer = state.snapshot()
            state.set_transient_storage(ACCOUNTS[0], 1, b"\2")
            inner = state.snapshot()
            state.set_transient_storage(ACCOUNTS[1], 1, b"\3")
            state.revert(inner)
            seen.append([state.get_transient_storage(address, 1) for address in ACCOUNTS])
            leave(outer)
            seen.append([state.get_transient_storage(address, 1) for address in ACCOUNTS])
            state.clear_transient_storage()
            seen.append([state.get_transient_storage(address, 1) for address in ACCOUNTS])
        return seen

    environment = evm.Environment(1, bytes(32), 10**6, classical=False, deployers=frozenset())
    draft = Header(
        parent_hash=bytes(32), state_root=EMPTY_ROOT, number=BlockNumber(1), gas_limit=1, timestamp=1, extra_data=b""
    )
    ours = evm.open_state(StagedNodes(Store.memory()), draft, EMPTY_ROOT, (), environment)
    with stock_execution():
        stock = evm.open_state(StagedNodes(Store.memory()), draft, EMPTY_ROOT, (), environment)
    assert type(ours) is not type(stock)
    assert answers(ours) == answers(stock)
