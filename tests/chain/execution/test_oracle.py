"""Whole heights are py-evm's, byte for byte: results, gas, logs, headers, receipts, and every node in the store.

Two replicas execute the same heights, the second one by `tests.chain.stock`: py-evm's own accounts, tries, interpreter
and way through a transaction.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from chain.application import Application, Code, Finalized
from chain.crypto.addresses import ZERO, Address, key_account
from chain.crypto.hashing import keccak256
from chain.execution.reader import Call
from chain.storage import Store
from contracts.addresses import KEYS, LEDGER, REGISTRY, TOKEN, VERIFIER
from contracts.bindings import Ledger, Registry, Role, Token
from contracts.digests import Attestation, Part, chunk_digest, name32, thetas_digest
from tests.chain.ledger import (
    CLIENTS,
    DEPLOYER,
    GOVERNOR,
    SPONSOR,
    STRANGER,
    TERMS,
    Replica,
    client,
    client_id,
    edge,
    genesis,
    key,
)
from tests.chain.stock import stock_execution, stored

pytestmark = pytest.mark.filterwarnings("ignore:SELFDESTRUCT opcode present:DeprecationWarning")

# PUSH1 1 PUSH1 1 SSTORE PUSH1 2 PUSH1 2 SSTORE: initcode that leaves storage, and the same that then SELFDESTRUCTs
CREATES = bytes.fromhex("60016001556002600255")
DESTROYS = CREATES + bytes.fromhex("33ff")

BALANCE = keccak256(b"balanceOf(address)")[:4] + client(2).address.rjust(32, b"\0")

T = TypeVar("T")


class Pair:
    """Two replicas that must answer alike, the second one by the oracle."""

    def __init__(self, ours: Replica, stock: Replica) -> None:
        self.ours = ours
        self.stock = stock

    def both(self, action: Callable[[Replica], T]) -> T:
        """Let both do the same and return what both answered."""
        ours = action(self.ours)
        with stock_execution():
            assert action(self.stock) == ours
        return ours

    def height(self, *raws: bytes) -> Finalized:
        """Make a height, and ask about the next, the newest and older blocks."""
        finalized = self.both(lambda replica: replica.height(*raws))
        self.both(questions)
        return finalized

    def batch(self, counter: int) -> bytes:
        """A batch of one new record of each client."""
        return self.ours.batch(*(self.ours.record(n + 1, counter=counter) for n in range(CLIENTS)))


def copy_of(replica: Replica) -> Replica:
    """The same ledger in a store of its own, with nothing remembered."""
    store = Store.memory()
    for space, table in stored(replica).items():
        store._backing._tables[space].update(table)  # type: ignore[attr-defined] # noqa: SLF001
    return Replica(store=store, document=replica.document, time=replica.time)


@cache
def base() -> Replica:
    """A ledger with a job, coins in two accounts, and the sponsor's, edges' and deployer's keys."""
    coins = {"0x" + account.address.hex(): str(10**18) for account in (SPONSOR, edge(1), DEPLOYER)}
    replica = Replica(document=genesis(balances=coins))
    replica.open_job()
    replica.height(replica.sign(DEPLOYER, SPONSOR.address))
    return replica


def pair() -> Pair:
    return Pair(copy_of(base()), copy_of(base()))


def questions(replica: Replica) -> list[object]:
    call = Call(to=Address(TOKEN), data=BALANCE)
    newest = replica.reader.latest()
    answers: list[object] = [replica.reader.call(call, pending=True)]
    answers += [
        (replica.reader.call(call, number), replica.reader.public_key(SPONSOR.address, number))
        for number in (0, newest - 1, newest)
    ]
    return answers


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


def test_block_0_is_py_evms() -> None:
    with stock_execution():
        stock = Replica()
    assert stored(Replica()) == stored(stock)


def test_heights_are_py_evms_whatever_is_lost_on_the_way() -> None:
    two = pair()
    ours = two.ours
    overdraw = ours.sign(edge(1), TOKEN, Token.encode_transfer(client(1).address, 10**30))
    assert two.height(overdraw, ours.sign(DEPLOYER, b"", CREATES)).results[0].code is Code.REVERTED
    for counter, lose in enumerate((None, restart, cannot_commit)):
        batch = two.batch(counter)
        pay = ours.sign(SPONSOR, TOKEN, Token.encode_transfer(client(2).address, counter + 1))
        two.both(lambda replica, raws=(pay, batch): replica.finalize(*raws))  # type: ignore[misc] # another order,
        two.both(lambda replica, raws=(batch, pay): replica.finalize(*raws))  # type: ignore[misc] # and then another
        if lose is not None:
            two.both(lose)
        two.height(batch, pay)
        two.height(ours.sign(DEPLOYER, b"", DESTROYS), ours.sign(DEPLOYER, b"", CREATES))
    assert stored(ours) == stored(two.stock)


def test_a_contract_created_and_destroyed_in_one_transaction_leaves_nothing() -> None:
    two = pair()
    for code, kept in ((CREATES, 2), (DESTROYS, 0), (CREATES, 2)):
        (result,) = two.height(two.ours.sign(DEPLOYER, b"", code)).results
        receipt = two.ours.reader.receipt(result.hash)
        assert receipt is not None
        assert receipt.created is not None
        assert two.both(lambda replica, at=receipt.created: replica.reader.storage(at, 2)) == kept  # type: ignore[misc]


def test_the_life_of_a_job_is_py_evms() -> None:
    """What takes more than one block to come to: votes of a quorum, rewards, deadlines, closing."""
    two = pair()
    ours = two.ours
    two.height(two.batch(0))
    clients, thetas = [client_id(1), client_id(2)], [10**9, 5]
    chunk = chunk_digest(clients, thetas)
    parts = (Part(name32("thetas"), thetas_digest(sum(thetas), 2, [chunk])), Part(name32("model"), keccak256(b"model")))
    ours.height(
        *(ours.sign(edge(n), LEDGER, Ledger.encode_attest(Attestation(1, 1, 1, 2, 2, parts))) for n in (1, 2, 3, 4))
    )
    ours.send(edge(1), LEDGER, Ledger.encode_post_thetas(1, 1, sum(thetas), [chunk]))
    ours.send(edge(1), LEDGER, Ledger.encode_settle_chunk(1, 1, 0, clients, thetas))
    ours.send(edge(2), LEDGER, Ledger.encode_release(client_id(1)))
    ours.void_round(2, CLIENTS)
    ours.send(SPONSOR, LEDGER, Ledger.encode_close_job(1))
    with stock_execution():
        for seconds, raws, _ in ours.history[1:]:
            two.stock.height(*raws, seconds=seconds)
    assert stored(ours) == stored(two.stock)


def test_gas_that_costs_coins_is_paid_and_given_back_as_in_py_evm() -> None:
    """The floor for calldata (EIP-7623), the refund for a slot set to 0 (EIP-3529), and what is left."""
    two = pair()
    ours = two.ours
    fees = {"max_fee_per_gas": 7, "max_priority_fee_per_gas": 3, "gas": 1_000_000}
    (many_bytes, failed, cleared) = two.height(
        ours.sign(edge(1), client(1).address, b"\1" * 9_000, **fees),
        ours.sign(edge(1), TOKEN, Token.encode_transfer(client(1).address, 1), **fees),
        ours.sign(DEPLOYER, b"", bytes.fromhex("6001600155600060015560016002556000600255"), **fees),
    ).results
    assert [result.code for result in (many_bytes, failed, cleared)] == [Code.OK, Code.REVERTED, Code.OK]
    assert many_bytes.gas_used == 21_000 + 40 * 9_000
    assert stored(ours) == stored(two.stock)


# Programs that nobody would write, run as initcode: what they do to the stack, to memory, to accounts.


def push(value: int) -> bytes:
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([0x5F + size]) + value.to_bytes(size, "big")


def store_code(code: bytes) -> bytes:
    """Put up to 32 bytes at the start of memory."""
    return push(int.from_bytes(code, "big") << 8 * (32 - len(code))) + push(0) + b"\x52"


TARGETS = st.sampled_from(
    (ZERO, bytes(19) + b"\2", bytes(19) + b"\3", bytes(19) + b"\4", b"\7" * 20, TOKEN, LEDGER, VERIFIER, KEYS)
).map(lambda address: push(int.from_bytes(address, "big")))
SMALL = st.integers(0, 3).map(push)
NUMBERS = st.one_of(
    SMALL, st.sampled_from((31, 32, 33, 64, 255, 256, 2**255 - 1, 2**255, 2**256 - 1)).map(push), st.just(b"\x5f")
)
ONE_BYTE = st.sampled_from(
    [*range(0x01, 0x0C), *range(0x10, 0x1E), *range(0x30, 0x49), *range(0x50, 0x5C), 0x5E, *range(0x80, 0xA0), 0xFE]
).map(lambda code: bytes([code]))
SNIPPETS = st.one_of(
    NUMBERS,
    NUMBERS,
    st.tuples(NUMBERS, NUMBERS, NUMBERS, ONE_BYTE).map(b"".join),
    ONE_BYTE,
    st.tuples(NUMBERS, SMALL, st.just(b"\x55")).map(b"".join),  # SSTORE
    st.tuples(SMALL, st.just(b"\x54")).map(b"".join),  # SLOAD
    st.tuples(NUMBERS, SMALL, st.just(b"\x5d")).map(b"".join),  # TSTORE
    st.tuples(SMALL, st.just(b"\x5c")).map(b"".join),  # TLOAD
    st.tuples(NUMBERS, NUMBERS, st.sampled_from((b"\x52", b"\x53"))).map(b"".join),  # MSTORE, MSTORE8
    st.tuples(SMALL, SMALL, SMALL, st.sampled_from((b"\xa0", b"\xa1"))).map(b"".join),  # LOG0, LOG1
    st.tuples(SMALL, SMALL, SMALL, SMALL, SMALL, TARGETS, st.just(push(30_000) + b"\xf1")).map(b"".join),  # CALL
    st.tuples(SMALL, SMALL, SMALL, SMALL, TARGETS, st.just(push(30_000)), st.sampled_from((b"\xf4", b"\xfa"))).map(
        b"".join
    ),  # DELEGATECALL, STATICCALL
    # JUMPDEST JUMPDEST reached by PC arithmetic: PC PUSH1 5 ADD JUMP JUMPDEST; and jumps to nowhere
    st.just(bytes.fromhex("58600501565b")),
    st.just(bytes.fromhex("600158600501575b")),
    st.tuples(NUMBERS, st.just(b"\x56")).map(b"".join),
    # CREATE and CREATE2 of programs that keep, destroy or revert
    st.tuples(
        st.sampled_from(
            (CREATES, DESTROYS, bytes.fromhex("600160015560006000fd"), b"\xfe", bytes.fromhex("5f5ff3"))
        ).map(lambda code: (store_code(code), push(len(code)) + push(0))),
        SMALL,
        st.booleans(),
    ).map(
        lambda draw: (
            draw[0][0] + (push(7) if draw[2] else b"") + draw[0][1] + draw[1] + (b"\xf5" if draw[2] else b"\xf0")
        )
    ),
)
ENDS = st.one_of(
    st.just(b""),
    st.tuples(SMALL, SMALL, st.sampled_from((b"\xf3", b"\xfd"))).map(b"".join),  # RETURN, REVERT
    TARGETS.map(lambda target: target + b"\xff"),  # SELFDESTRUCT
)
PROGRAMS = st.tuples(st.lists(SNIPPETS, max_size=25).map(b"".join), ENDS).map(b"".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    programs=st.lists(
        st.tuples(PROGRAMS, st.sampled_from((130_000, 250_000, 2_000_000)), st.sampled_from((0, 3))), max_size=6
    )
)
def test_programs_that_nobody_would_write_run_as_in_py_evm(programs: list[tuple[bytes, int, int]]) -> None:
    two = pair()
    raws = [
        two.ours.sign(DEPLOYER, b"", program, gas=gas, value=value, nonce=1 + nonce)
        for nonce, (program, gas, value) in enumerate(programs)
    ]
    finalized = two.both(lambda replica: replica.height(*raws))
    for result in finalized.results:
        event(f"{result.code.name} {result.reason[:30]}")
    assert stored(two.ours) == stored(two.stock)


# Blocks of what users do, rightly and wrongly.

ACTIONS = st.one_of(
    st.tuples(
        st.just("batch"),
        st.lists(
            st.tuples(st.integers(1, CLIENTS), st.integers(0, 3), st.sampled_from(("good", "forged", "long"))),
            min_size=1,
            max_size=CLIENTS,
        ),
    ),
    st.tuples(st.just("record"), st.integers(1, CLIENTS), st.integers(0, 2)),
    st.tuples(st.just("token"), st.sampled_from((SPONSOR, edge(1))), st.sampled_from((0, 1, 10**30))),
    st.tuples(
        st.just("coins"),
        st.sampled_from((SPONSOR, edge(1), edge(2))),
        st.sampled_from(
            (ZERO, b"\7" * 20, bytes(19) + b"\3", VERIFIER, TOKEN, key_account(SPONSOR.address), edge(3).address)
        ),
        st.sampled_from((0, 1, 10**17, 10**19)),
    ),
    st.tuples(st.just("fees"), st.sampled_from((SPONSOR, edge(1), edge(2))), st.integers(0, 5_000)),
    st.tuples(st.just("job"), st.sampled_from((0, 1, 10**18))),
    st.tuples(st.just("acknowledge"), st.integers(1, 4), st.integers(1, 2)),
    st.tuples(st.just("key"), st.integers(0, 2)),
    st.tuples(
        st.just("stranger"),
    ),
    st.tuples(st.just("admit"), st.integers(0, 2)),
    st.tuples(st.just("suspend"), st.integers(1, CLIENTS), st.booleans()),
    st.tuples(st.just("deploy"), PROGRAMS),
    st.tuples(
        st.just("not a deployer"),
    ),
    st.tuples(
        st.just("gap"),
    ),
    st.tuples(st.just("little gas"), st.integers(0, 60_000)),
    st.tuples(st.just("garbage"), st.binary(max_size=4)),
)


def transaction(replica: Replica, action: tuple[Any, ...]) -> bytes:
    match action:
        case ("batch", entries):
            return replica.batch(*(signed(replica, *entry) for entry in entries))
        case ("record", number, counter):
            record = signed(replica, number, counter, "good").record
            return replica.sign(client(number), LEDGER, Ledger.encode_record(record))
        case ("token", sender, amount):
            return replica.sign(sender, TOKEN, Token.encode_transfer(client(1).address, amount))
        case ("coins", sender, to, value):
            return replica.sign(sender, to, value=value)
        case ("fees", sender, size):
            fees = {"max_fee_per_gas": 7, "max_priority_fee_per_gas": 3, "gas": 500_000}
            return replica.sign(sender, client(1).address, b"\1" * size, **fees)
        case ("job", budget):
            return replica.sign(SPONSOR, LEDGER, Ledger.encode_create_job(TERMS, budget))
        case ("acknowledge", number, job):
            return replica.sign(edge(number), LEDGER, Ledger.encode_acknowledge_job(job))
        case ("key", number):
            newcomer = key(f"newcomer {number}")
            return replica.sign(edge(1), KEYS, bytes([newcomer.scheme]) + newcomer.public_key)
        case ("stranger",):
            return replica.sign(STRANGER, TOKEN, Token.encode_transfer(client(1).address, 1))
        case ("admit", number):
            newcomer = key(f"newcomer {number}")
            data = Registry.encode_admit(Role.CLIENT, newcomer.scheme, newcomer.public_key, newcomer.address)
            return replica.sign(GOVERNOR, REGISTRY, data)
        case ("suspend", number, suspended):
            encode = Registry.encode_suspend if suspended else Registry.encode_reinstate
            return replica.sign(GOVERNOR, REGISTRY, encode(client_id(number)))
        case ("deploy", program):
            return replica.sign(DEPLOYER, b"", program, gas=400_000)
        case ("not a deployer",):
            return replica.sign(SPONSOR, b"", CREATES, nonce=replica.reader.nonce(SPONSOR.address))
        case ("gap",):
            return replica.sign(SPONSOR, TOKEN, nonce=10**6)
        case ("little gas", gas):
            return replica.sign(edge(4), TOKEN, Token.encode_transfer(client(1).address, 0), gas=64_000 + gas)
        case ("garbage", data):
            return bytes(data)
    raise AssertionError(action)


def signed(replica: Replica, number: int, counter: int, kind: str) -> Any:
    match kind:
        case "forged":
            return replica.record(number, counter=counter, signer=key("forger"))
        case "long":
            return replica.record(number, counter=counter, length=1)
    return replica.record(number, counter=counter)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(blocks=st.lists(st.lists(ACTIONS, min_size=1, max_size=5), min_size=1, max_size=3), checked=st.booleans())
def test_random_blocks_are_py_evms(blocks: list[list[tuple[Any, ...]]], *, checked: bool) -> None:
    two = pair()
    for block in blocks:
        raws = [transaction(two.ours, action) for action in block]
        if checked:  # by one of them only
            for raw in raws:
                two.ours.app.check_tx(raw)
        for action, result in zip(block, two.height(*raws).results, strict=True):
            event(f"{action[0]} {result.code.name}")
    assert stored(two.ours) == stored(two.stock)
