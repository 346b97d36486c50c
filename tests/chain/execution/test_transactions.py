"""Which transactions a ledger takes, and the one line that says why it does not take another."""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import rlp as reference
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.application import Code
from chain.crypto.addresses import Address
from chain.crypto.schemes import Scheme
from chain.execution.blocks import transaction_type
from chain.execution.reader import Call
from chain.execution.transactions import describe
from chain.limits import TRANSACTION_BYTES
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.chain.ledger import DEPLOYER, EDGES, GAS, SPONSOR, STRANGER, Replica, edge, genesis, key

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)
ACCOUNT = Account.from_key(b"\1" * 32)
ADDRESS = Address(bytes.fromhex(ACCOUNT.address[2:]))
TO = "0x" + "00" * 18 + "4d02"


def classical(kind: int, **changes: Any) -> bytes:
    """A transaction of a plain Ethereum type, signed with secp256k1."""
    fields: dict[str, Any] = {"chainId": 19781, "nonce": 0, "gas": 100_000, "to": TO, "value": 0, "data": b""}
    if kind in {0, 1}:
        fields["gasPrice"] = 0
    else:
        fields |= {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}
    if kind:
        fields["type"] = kind
    if kind == 3:
        fields |= {"maxFeePerBlobGas": 1, "blobVersionedHashes": ["0x01" + "00" * 31]}
    if kind == 4:
        authorization = {"chainId": 19781, "address": "0x" + "11" * 20, "nonce": 0}
        fields["authorizationList"] = [ACCOUNT.sign_authorization(authorization)]
    return bytes(ACCOUNT.sign_transaction(fields | changes).raw_transaction)


@cache
def strict() -> Replica:
    return Replica()


@cache
def open_to_classical() -> Replica:
    return Replica(document=genesis(classical=True))


@cache
def valid() -> list[bytes]:
    ours = open_to_classical().sign(edge(1), TOKEN, PAY, nonce=0, access_list=((Address(bytes(20)), (bytes(32),)),))
    return [*(classical(kind) for kind in (0, 1, 2, 3, 4)), ours]


def refusal(replica: Replica, raw: bytes) -> tuple[Code, str]:
    """What the pool says; a decided block says the same and leaves it out."""
    checked = replica.app.check_tx(raw)
    finalized = replica.finalize(raw)
    assert (finalized.results[0].code, finalized.results[0].reason) == (checked.code, checked.reason)
    assert finalized.block is None
    return checked.code, checked.reason


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_classical_transactions_are_refused_with_a_clear_line_unless_genesis_says_so(kind: int) -> None:
    code, reason = refusal(strict(), classical(kind))
    assert code is Code.REFUSED_TYPE
    assert "classical = false" in reason
    assert "ML-DSA" in reason


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_classical_transactions_run_when_genesis_says_so(kind: int) -> None:
    replica = Replica(document=genesis(classical=True))
    raw = classical(kind)
    (result,) = replica.height(raw).results
    assert result.code is Code.REVERTED  # the Token has no fallback; the transaction itself was taken
    assert replica.reader.nonce(ADDRESS) == 1
    found = replica.reader.transaction(result.hash)
    assert found is not None
    assert found.description.sender == ADDRESS
    assert transaction_type(found.raw) == kind == found.description.type


@pytest.mark.parametrize(("kind", "name"), [(3, "EIP-4844"), (4, "EIP-7702")])
@pytest.mark.parametrize("ledger", [strict, open_to_classical])
def test_blob_and_set_code_transactions_are_never_taken(kind: int, name: str, ledger: Callable[[], Replica]) -> None:
    code, reason = refusal(ledger(), classical(kind))
    assert code is Code.REFUSED_TYPE
    assert name in reason
    assert "never" in reason


def test_classical_transactions_must_bind_the_chain() -> None:
    assert refusal(open_to_classical(), classical(2, chainId=1))[0] is Code.WRONG_CHAIN
    unbound = {"nonce": 0, "gasPrice": 0, "gas": 100_000, "to": TO, "value": 0, "data": b""}
    raw = bytes(ACCOUNT.sign_transaction(unbound).raw_transaction)
    code, reason = refusal(open_to_classical(), raw)
    assert code is Code.WRONG_CHAIN
    assert "EIP-155" in reason


def test_classical_signatures_in_the_upper_half_are_refused() -> None:
    items = reference.decode(classical(2)[1:])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    upper = (order - int.from_bytes(items[11], "big")).to_bytes(32, "big")
    parity = b"" if items[9] else b"\1"
    raw = b"\2" + reference.encode([*items[:9], parity, items[10], upper])
    assert refusal(open_to_classical(), raw)[0] is Code.BAD_SIGNATURE


@settings(max_examples=100)
@given(kind=st.sampled_from([0, 1, 2]), position=st.integers(0, 2**12), bit=st.integers(0, 7))
def test_a_flipped_bit_never_leaves_a_classical_sender_as_it_was(kind: int, position: int, bit: int) -> None:
    raw = bytearray(classical(kind))
    raw[position % len(raw)] ^= 1 << bit
    checked = open_to_classical().app.check_tx(bytes(raw))
    assert checked.sender != ADDRESS


@settings(max_examples=200)
@given(raw=st.binary(max_size=300), kind=st.sampled_from([b"", b"\1", b"\2", b"\3", b"\4", b"\x50", b"\x7f"]))
def test_no_bytes_make_the_application_raise(raw: bytes, kind: bytes) -> None:
    assert not open_to_classical().app.check_tx(kind + raw).accepted
    assert not open_to_classical().app.process_proposal([kind + raw])
    assert open_to_classical().finalize(kind + raw).block is None


@settings(max_examples=300)
@given(data=st.data())
def test_no_damage_to_valid_transactions_makes_the_application_raise(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(valid())))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "delete", "insert"])):
            case "flip":
                raw[position] ^= 1 << data.draw(st.integers(0, 7))
            case "delete":
                del raw[position + 1 : position + data.draw(st.integers(2, 40))]
            case _:
                raw[position:position] = data.draw(st.binary(min_size=1, max_size=4))
    open_to_classical().app.check_tx(bytes(raw), recheck=True)
    open_to_classical().finalize(bytes(raw))


def test_a_transaction_of_another_ledger_is_refused() -> None:
    other = Replica(document=genesis(time=strict().document.time + 1))
    assert other.genesis_hash != strict().genesis_hash
    raw = other.sign(SPONSOR, TOKEN, PAY, nonce=0)
    assert other.app.check_tx(raw).accepted
    assert refusal(strict(), raw)[0] is Code.BAD_SIGNATURE
    assert refusal(strict(), strict().sign(SPONSOR, TOKEN, PAY, nonce=0, chain_id=1))[0] is Code.WRONG_CHAIN


def test_every_flipped_byte_of_a_reference_transaction_is_refused() -> None:
    raw = strict().sign(SPONSOR, TOKEN, PAY, nonce=0)
    for position in range(0, len(raw), 3):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << position % 8
        assert not strict().app.check_tx(bytes(damaged)).accepted, position


def test_a_reference_to_a_key_that_nobody_brought_is_refused() -> None:
    code, reason = refusal(strict(), strict().sign(STRANGER, TOKEN, PAY, nonce=0, reference=True))
    assert code is Code.UNKNOWN_KEY
    assert "whole public key" in reason


def test_a_reference_cannot_name_the_address_of_another_scheme() -> None:
    raw = strict().sign(key("small", Scheme.ML_DSA_44), TOKEN, PAY, nonce=0, reference=False)
    assert strict().app.check_tx(raw, recheck=True).accepted
    small = key("client 1", Scheme.ML_DSA_44)
    large = strict().sign(edge(1), TOKEN, PAY, nonce=0)
    items = reference.decode(large[1:])
    forged = b"\x50" + reference.encode([*items[:10], small.address, items[11]])
    assert refusal(strict(), forged)[0] is Code.BAD_SIGNATURE


def test_a_reference_works_once_the_key_was_used_or_admitted() -> None:
    replica = Replica()
    replica.height(replica.sign(STRANGER, TOKEN, PAY, reference=False))
    assert replica.app.check_tx(replica.sign(STRANGER, TOKEN, PAY, reference=True)).accepted
    assert replica.app.check_tx(replica.sign(edge(EDGES), TOKEN, PAY, reference=True)).accepted


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"gas": 21_000}, Code.GAS),
        ({"gas": 2_000_000_000}, Code.GAS),
        ({"nonce": 7}, Code.NONCE_GAP),
        ({"value": 1}, Code.FUNDS),
        ({"max_fee_per_gas": 1}, Code.FUNDS),
        ({"data": bytes(TRANSACTION_BYTES)}, Code.MALFORMED),
    ],
)
def test_each_other_reason_has_its_code(changes: dict[str, Any], code: Code) -> None:
    raw = strict().sign(SPONSOR, TOKEN, **({"data": PAY, "nonce": 0} | changes))  # type: ignore[arg-type]
    assert refusal(strict(), raw)[0] is code


def test_only_deployers_named_in_genesis_create_contracts() -> None:
    code, reason = refusal(strict(), strict().sign(SPONSOR, b"", b"\x00", nonce=0))
    assert code is Code.NOT_DEPLOYER
    assert "genesis document names who may" in reason
    raw = strict().sign(DEPLOYER, b"", bytes(49_153), nonce=0)
    assert refusal(strict(), raw)[0] is Code.MALFORMED
    assert strict().app.check_tx(strict().sign(DEPLOYER, b"", b"\x00", nonce=0)).accepted


# PUSH1 0 PUSH1 0 PUSH1 0 CREATE PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN: creates an empty contract, returns its address
FACTORY = bytes.fromhex("600060006000f060005260206000f3")


def test_nobody_creates_contracts_through_a_deployers_factory() -> None:
    replica = Replica()
    initcode = bytes([0x60, len(FACTORY), 0x80, 0x60, 0x0B, 0x60, 0, 0x39, 0x60, 0, 0xF3]) + FACTORY
    (result,) = replica.height(replica.sign(DEPLOYER, b"", initcode)).results
    receipt = replica.reader.receipt(result.hash)
    assert receipt is not None
    factory = receipt.created
    assert factory is not None
    assert replica.reader.code(factory) == FACTORY
    by_stranger, by_deployer = (
        replica.reader.call(Call(to=factory, sender=sender.address)).output for sender in (STRANGER, DEPLOYER)
    )
    assert by_stranger == bytes(32)  # CREATE's answer when nothing was created
    assert by_deployer != bytes(32)


def test_blocks_are_filled_to_their_gas_limit_and_no_further() -> None:
    replica = Replica(document=genesis(gas_limit=300_000_000))
    raws = [replica.sign(SPONSOR, TOKEN, PAY, gas=299_950_000) for _ in range(2)]
    codes = [result.code for result in replica.height(*raws).results]
    assert codes == [Code.OK, Code.GAS]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_descriptions_are_those_that_were_signed(kind: int) -> None:
    description = describe(classical(kind, nonce=3, value=9))
    assert (description.sender, description.nonce, description.value, description.gas) == (ADDRESS, 3, 9, 100_000)
    assert description.chain_id == 19781
    assert description.v in ({39597, 39598} if kind == 0 else {0, 1})


def test_description_of_ours_names_scheme_and_key() -> None:
    raw = strict().sign(STRANGER, TOKEN, PAY, nonce=0, reference=False)
    description = describe(raw)
    assert (description.type, description.scheme, description.public_key) == (0x50, 65, STRANGER.public_key)
    assert (description.gas, description.sender) == (GAS, STRANGER.address)


@pytest.mark.parametrize("number", [3, 5, 6, 7, 8, 9, 10, 11, 17])
def test_precompiles_that_are_slow_or_differ_between_machines_are_not_here(number: int) -> None:
    replica = strict()
    result = replica.reader.call(Call(to=Address(number.to_bytes(20, "big")), data=bytes(range(200))))
    assert (result.succeeded, result.output, result.gas_used) == (True, b"", 0)


def test_precompiles_that_are_here_answer() -> None:
    replica = strict()
    for number, answer in ((2, hashlib.sha256(b"data").digest()), (4, b"data")):
        assert replica.reader.call(Call(to=Address(number.to_bytes(20, "big")), data=b"data")).output == answer
    signed = ACCOUNT.unsafe_sign_hash(b"\2" * 32)
    words = [signed.v, signed.r, signed.s]
    data = b"\2" * 32 + b"".join(word.to_bytes(32, "big") for word in words)
    assert replica.reader.call(Call(to=Address(bytes(19) + b"\1"), data=data)).output[12:] == ADDRESS


def test_calls_nested_to_the_limit_end_without_an_exception() -> None:
    replica = Replica()
    calls_itself = bytes.fromhex("5f5f5f5f5f305af100")
    initcode = bytes([0x60, len(calls_itself), 0x80, 0x60, 0x0B, 0x60, 0, 0x39, 0x60, 0, 0xF3]) + calls_itself
    (created,) = replica.height(replica.sign(DEPLOYER, b"", initcode)).results
    receipt = replica.reader.receipt(created.hash)
    assert receipt is not None
    assert receipt.created is not None
    (result,) = replica.height(replica.sign(SPONSOR, receipt.created, gas=999_000_000)).results
    assert result.code is Code.OK


OPCODES = st.sampled_from(
    [*range(256), *([0xF0, 0xF1, 0xF4, 0xF5, 0xFA, 0x54, 0x55, 0x5C, 0x5D, 0x40, 0xFF, 0xA4] * 4)]
)
PUSHES = st.builds(
    lambda size, value: bytes([0x5F + size]) + (value % 256**size).to_bytes(size, "big"),
    st.integers(1, 32),
    st.sampled_from([0, 1, 2, 4, 5, 32, 0x4D01, 0x4D02, 0x4D03, 0x4D10, 0x4D11, 2**160 - 1, 2**256 - 1]),
)
PROGRAMS = st.lists(PUSHES | OPCODES.map(lambda opcode: bytes([opcode])), max_size=60).map(b"".join)


@pytest.mark.filterwarnings("ignore:SELFDESTRUCT opcode present:DeprecationWarning")  # py-evm's word on 0xff
@settings(max_examples=150)
@given(code=PROGRAMS)
def test_no_bytecode_makes_the_evm_raise(code: bytes) -> None:
    replica = strict()
    state = replica.reader.state(pending=True)
    target = Address(b"\x77" * 20)
    state.set_code(target, code)
    state.set_balance(target, 10**18)
    replica.reader.run(state, Call(to=target, sender=DEPLOYER.address, data=b"\1" * 50, gas=2_000_000))
    replica.reader.run(state, Call(to=None, sender=DEPLOYER.address, data=code, gas=2_000_000))
