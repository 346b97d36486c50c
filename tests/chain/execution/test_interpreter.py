"""Our loop runs a code as py-evm's does, to the last unit of gas and to the last place on the stack."""

from typing import Any

import pytest
from eth.vm.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.crypto.addresses import Address
from chain.execution.evm import MeritComputation
from contracts.addresses import LEDGER
from contracts.artifacts import initcode
from tests.chain.execution.test_oracle import PROGRAMS, base, push, store_code
from tests.chain.ledger import DEPLOYER
from tests.chain.stock import StockComputation

pytestmark = pytest.mark.filterwarnings("ignore:SELFDESTRUCT opcode present:DeprecationWarning")

A, B = Address(b"\x0a" * 20), Address(b"\x0b" * 20)
DATA = bytes(range(1, 101))


def outcome(computations: Any, code: bytes, gas: int) -> object:
    """Everything that a code leaves behind when it runs as the code of A, called by B."""
    state = base().reader.state(pending=True)
    message = Message(gas=gas, to=A, sender=B, value=0, data=DATA, code=code)
    context = state.get_transaction_context_class()(gas_price=0, origin=DEPLOYER.address)
    computation = computations.apply_message(state, message, context)
    stack = [
        int.from_bytes(word, "big") if isinstance(word, bytes) else word
        for word in computation._stack.values  # noqa: SLF001
    ]
    return (
        (type(computation.error), str(computation.error)) if computation.is_error else None,
        computation.get_gas_remaining(),
        computation.get_gas_refund(),
        computation.output,
        computation.get_log_entries(),
        computation.code.program_counter if computation.is_error else None,
        # what an instruction that fails has taken off the stack by then nobody sees
        None if computation.is_error else stack,
        None if computation.is_error else bytes(computation._memory._bytes),  # noqa: SLF001
        [state.get_storage(A, slot) for slot in range(4)],
    )


def same(code: bytes, gas: int) -> None:
    assert outcome(MeritComputation, code, gas) == outcome(StockComputation, code, gas)


# every instruction of a run on words that are small, great, and negative if they have a sign
WORDS = (0, 1, 2, 31, 32, 255, 256, 2**255 - 1, 2**255, 2**256 - 1)
BINARY = (
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x07,
    0x0A,
    0x0B,
    *range(0x10, 0x15),
    *range(0x16, 0x19),
    0x1A,
    0x1B,
    0x1C,
    0x1D,
)


@pytest.mark.parametrize("opcode", BINARY)
def test_instructions_of_two_words(opcode: int) -> None:
    code = b"".join(push(right) + push(left) + bytes([opcode]) for left in WORDS for right in WORDS)
    same(code, 10**6)


def test_instructions_of_one_word_and_of_none() -> None:
    ones = b"".join(push(word) + bytes([opcode]) for word in WORDS for opcode in (0x15, 0x19, 0x35))
    same(ones + bytes([0x30, 0x33, 0x34, 0x36, 0x38, 0x3D, 0x58, 0x59, 0x5A]), 10**6)


@pytest.mark.parametrize("opcode", [*range(0x80, 0xA0)])
def test_words_far_down_the_stack(opcode: int) -> None:
    same(b"".join(push(word) for word in range(1, 18)) + bytes([opcode]), 10**6)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 96, 200])
@pytest.mark.parametrize("opcode", [0x20, 0x37, 0x39, 0x5E])
def test_memory_is_read_and_written_inside_and_beyond_what_is_there(opcode: int, size: int) -> None:
    fill = b"".join(push(2**256 - 1 - at) + push(at) + b"\x52" for at in (0, 32, 64))
    for to, start in ((0, 0), (0, 32), (1, 0), (33, 90), (64, 2**255), (2**255, 0)):
        words = push(size) + push(to) if opcode == 0x20 else push(size) + push(start) + push(to)
        same(fill + words + bytes([opcode]) + push(1) + b"\x51" + push(2) + b"\x51", 10**6)


LOOP = bytes.fromhex("60055b600190038060025700")  # count down from 5
DEEP = bytes.fromhex("5b80600056")  # DUP1 until the stack is full, if there is anything on it
MIXED = (
    push(7) + push(0) + b"\x52" + push(32) + push(0) + b"\x20" + push(1) + b"\x55" + push(64) + b"\x51" + b"\x5b\x5a"
)


@pytest.mark.parametrize("code", [LOOP, MIXED, b"\x5f" * 4 + b"\x01\x01\x01\x01", b"\x61\x01", b"\x60", b"\x5b" * 3])
def test_gas_runs_out_at_the_same_instruction(code: bytes) -> None:
    for gas in (*range(260), *range(22_000, 24_500, 7)):
        same(code, gas)


def test_the_stack_ends_at_the_same_place() -> None:
    for deep in (1, 1_022, 1_023, 1_024, 1_025):
        same(b"\x5f" * deep + b"\x80\x50\x50", 10**6)
    same(b"\x5f" + DEEP, 10**6)
    same(b"\x5f" * 1_020 + b"\x5b" + b"\x5f\x50" * 20 + b"\x5f" * 5, 10**6)


@pytest.mark.parametrize("target", [0, 1, 4, 5, 6, 7, 100, 2**255])
@pytest.mark.parametrize("taken", [0, 1])
def test_jumps_go_to_jumpdests_that_are_no_operands(target: int, taken: int) -> None:
    landing = bytes.fromhex("615b5b5b5b5f5b")
    same(landing + push(target) + b"\x56", 500)
    same(landing + push(taken) + push(target) + b"\x57" + push(9), 500)


def test_contracts_of_ours_are_created_alike() -> None:
    code = initcode("Ledger", LEDGER, LEDGER, LEDGER)
    same(code, 10**7)
    same(code, 100_000)


def test_what_a_reverted_call_has_used_is_cold_again() -> None:
    balance = push(0x77) + b"\x31\x50"
    for end in (b"\x00", b"\x5f\x5f\xfd"):
        creation = balance + end
        same(store_code(creation) + push(len(creation)) + push(0) + push(0) + b"\xf0" + balance, 10**6)


@settings(max_examples=200)
@given(program=PROGRAMS, gas=st.integers(0, 3_000) | st.integers(20_000, 60_000) | st.just(10**6))
def test_programs_that_nobody_would_write(program: bytes, gas: int) -> None:
    same(program, gas)
