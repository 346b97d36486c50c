"""What debug_* tells of transactions and calls, and what calls may suppose.

Single steps are compared with geth's in test_execution_apis.py; here it is Merit's own execution that is traced.
"""

from itertools import pairwise
from typing import Any

import pytest
import rlp
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from chain.crypto.hashing import keccak256
from chain.rpc.limits import TRACE_GAS
from chain.rpc.middleware import MLDSAAccount
from contracts import addresses
from tests.chain.rpc.conftest import send
from tests.chain.rpc.harness import Background, contract

CALLS = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}


@pytest.fixture
def ask(http: Web3) -> Any:
    return lambda method, *params: http.manager.request_blocking(method, list(params))


@pytest.fixture(scope="module")
def forwarded(running: Background, classical: Any, probes: tuple[Any, Any]) -> Any:
    """The receipt of a call that calls another contract."""
    first, second = probes
    return send(running.http(), classical, first.functions.forward(second.address, 5))


def test_a_call_within_a_call_is_a_frame_below_its_own(ask: Any, forwarded: Any, probes: tuple[Any, Any]) -> None:
    first, second = probes
    frame = ask("debug_traceTransaction", forwarded.transactionHash.to_0x_hex(), CALLS)
    assert (frame["type"], int(frame["gasUsed"], 16)) == ("CALL", forwarded.gasUsed)
    assert Web3.to_checksum_address(frame["to"]) == first.address
    (inner,) = frame["calls"]
    assert inner["from"] == frame["to"]
    assert Web3.to_checksum_address(inner["to"]) == second.address
    assert inner["input"] == second.encode_abi("change", [5])
    (log,) = inner["logs"]
    assert int(log["data"], 16) == 5
    assert "error" not in frame
    assert "calls" not in ask(
        "debug_traceTransaction",
        forwarded.transactionHash.to_0x_hex(),
        {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}},
    )


def test_a_failure_that_a_contract_survives_is_in_the_trace(ask: Any, probes: tuple[Any, Any]) -> None:
    first, second = probes
    call = {"to": first.address, "data": first.encode_abi("survive", [second.address])}
    frame = ask("debug_traceCall", call, "latest", CALLS)
    assert int(frame["output"], 16) == 0
    (inner,) = frame["calls"]
    assert (inner["error"], inner["revertReason"]) == ("execution reverted", "not today")


def test_every_instruction_is_told_with_gas_that_adds_up(ask: Any, forwarded: Any) -> None:
    name = forwarded.transactionHash.to_0x_hex()
    trace = ask("debug_traceTransaction", name, {"enableMemory": True, "enableReturnData": True})
    steps = trace["structLogs"]
    assert trace["gas"] == forwarded.gasUsed
    assert {step["depth"] for step in steps} == {1, 2}
    assert {"CALL", "SSTORE", "LOG2", "STOP"} <= {step["op"] for step in steps}
    for depth in (1, 2):
        mine = [step for step in steps if step["depth"] == depth]
        for step, following in pairwise(mine):
            if step["op"] != "CALL":
                assert step["gas"] - step["gasCost"] == following["gas"]
    call = next(at for at, step in enumerate(steps) if step["op"] == "CALL")
    assert steps[call]["gasCost"] > steps[call + 1]["gas"]  # what it hands on counts
    (stored,) = next(step["storage"] for step in steps if step["op"] == "SSTORE").values()
    assert int(stored, 16) == 5
    assert len(ask("debug_traceTransaction", name, {"limit": 3, "disableStack": True})["structLogs"]) == 3


def test_accounts_are_told_as_a_transaction_finds_them_and_what_it_changes(
    ask: Any, http: Web3, forwarded: Any, probes: tuple[Any, Any], classical: Any
) -> None:
    name, before = forwarded.transactionHash.to_0x_hex(), forwarded.blockNumber - 1
    first, second = (one.address for one in probes)
    found = ask("debug_traceTransaction", name, {"tracer": "prestateTracer"})
    told = {Web3.to_checksum_address(address): account for address, account in found.items()}
    assert {first, second, classical.address} <= set(told)
    for address, account in told.items():
        assert int(account["balance"], 16) == http.eth.get_balance(address, before)
        assert account.get("nonce", 0) == http.eth.get_transaction_count(address, before)
        assert account.get("code", "0x") == http.eth.get_code(address, before).to_0x_hex()
        for slot, value in account.get("storage", {}).items():
            assert bytes.fromhex(value[2:]) == http.eth.get_storage_at(address, int(slot, 16), before).rjust(32, b"\0")

    changes = ask("debug_traceTransaction", name, {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}})
    pre, post = changes["pre"], changes["post"]
    assert post[classical.address.lower()]["nonce"] == pre[classical.address.lower()]["nonce"] + 1
    assert list(map(Web3.to_checksum_address, pre)) == sorted([second, classical.address], key=str.lower)
    ((slot, value),) = post[second.lower()]["storage"].items()
    assert int(value, 16) == 5
    assert "code" in pre[second.lower()]
    assert "code" not in post[second.lower()]
    assert int.from_bytes(http.eth.get_storage_at(second, int(slot, 16), forwarded.blockNumber)) == 5

    config = {"disableCode": True, "disableStorage": True}
    short = ask(
        "debug_traceBlockByNumber", hex(forwarded.blockNumber), {"tracer": "prestateTracer", "tracerConfig": config}
    )
    assert short == [
        {
            "txHash": name,
            "result": {
                address: {key: account[key] for key in account if key in {"balance", "nonce"}}
                for address, account in found.items()
            },
        }
    ]


def test_a_created_contract_stands_in_what_comes_after_alone(ask: Any, http: Web3, probes: tuple[Any, Any]) -> None:
    created = next(
        receipt
        for number in range(1, http.eth.block_number + 1)
        for receipt in http.eth.get_block_receipts(number)
        if receipt["contractAddress"] == probes[0].address
    )
    name = created["transactionHash"].to_0x_hex()
    changes = ask("debug_traceTransaction", name, {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}})
    address = probes[0].address.lower()
    assert address not in changes["pre"]
    assert changes["post"][address]["code"] == http.eth.get_code(probes[0].address).to_0x_hex()


def test_a_block_is_traced_transaction_by_transaction(ask: Any, forwarded: Any) -> None:
    by_number = ask("debug_traceBlockByNumber", hex(forwarded.blockNumber), CALLS)
    assert [one["txHash"] for one in by_number] == [forwarded.transactionHash.to_0x_hex()]
    assert ask("debug_traceBlockByHash", forwarded.blockHash.to_0x_hex(), CALLS) == by_number


def test_a_transaction_signed_with_mldsa_is_traced_too(
    ask: Any, signing: Web3, governor: MLDSAAccount, stranger: Any
) -> None:
    token = contract(signing, "Token", addresses.TOKEN)
    receiver = Web3.to_checksum_address(stranger.address)
    name = token.functions.mint(receiver, 1).transact({"from": governor.address})
    receipt = signing.eth.wait_for_transaction_receipt(name, timeout=60, poll_latency=0.02)
    frame = ask("debug_traceTransaction", name.to_0x_hex(), CALLS)
    assert (int(frame["gasUsed"], 16), len(frame["logs"])) == (receipt.gasUsed, len(receipt.logs))


@pytest.mark.parametrize(
    ("method", "params", "reason"),
    [
        ("debug_traceTransaction", ["0x" + "01" * 32], "transaction not found"),
        ("debug_traceBlockByNumber", ["0x0"], "genesis is not traceable"),
        ("debug_traceBlockByNumber", ["0xffffff"], "block #16777215 not found"),
        ("debug_traceTransaction", ["0x" + "01" * 32, {"tracer": "{data: []}"}], "is not known"),
        ("debug_traceCall", [{}, "latest", {"tracer": "prestateTracer"}], "of transactions and blocks"),
        ("debug_getRawBlock", ["0xffffff"], "block 16777215 not found"),
    ],
)
def test_what_cannot_be_traced_is_refused(ask: Any, method: str, params: list[Any], reason: str) -> None:
    with pytest.raises(Web3RPCError, match=reason):
        ask(method, *params)


def test_a_trace_has_a_limit(ask: Any, forwarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = forwarded.transactionHash.to_0x_hex()
    monkeypatch.setattr("chain.execution.tracing.TRACE_STEPS", 10)
    with pytest.raises(Web3RPCError, match="more than 10 instructions would be in the trace"):
        ask("debug_traceTransaction", name)
    monkeypatch.setattr("chain.rpc.debug.TRACE_GAS", 10)
    with pytest.raises(Web3RPCError, match="at most 10 is"):
        ask("debug_traceTransaction", name)
    assert TRACE_GAS > 10


def test_raw_encodings_hash_to_their_names(ask: Any, forwarded: Any) -> None:
    at = hex(forwarded.blockNumber)
    block = rlp.decode(bytes.fromhex(ask("debug_getRawBlock", at)[2:]))
    header = bytes.fromhex(ask("debug_getRawHeader", at)[2:])
    assert keccak256(header) == forwarded.blockHash
    assert rlp.encode(block[0]) == header
    raw = bytes.fromhex(ask("debug_getRawTransaction", forwarded.transactionHash.to_0x_hex())[2:])
    assert keccak256(raw) == forwarded.transactionHash
    assert len(ask("debug_getRawReceipts", at)) == 1


def test_a_call_may_suppose_other_accounts_and_another_block(http: Web3, probes: tuple[Any, Any]) -> None:
    first, _ = probes
    poor = Web3.to_checksum_address("0x" + "99" * 20)
    word = "0x" + (42).to_bytes(32, "big").hex()
    kept = first.functions.kept()
    assert kept.call(state_override={first.address: {"stateDiff": {"0x" + "00" * 32: word}}}) == 42
    assert kept.call(state_override={first.address: {"state": {}}}) == 0
    assert kept.call() != 0
    code = "0x4360005260206000f3"  # NUMBER PUSH0-free MSTORE RETURN
    answer = http.eth.call({"to": poor}, "latest", {poor: {"code": code}})
    assert int.from_bytes(answer, "big") == http.eth.block_number
    supposed = http.manager.request_blocking(
        "eth_call", [{"to": poor}, "latest", {poor: {"code": code}}, {"number": "0x1234"}]
    )
    assert int(supposed.to_0x_hex() if isinstance(supposed, bytes) else supposed, 16) == 0x1234
    with pytest.raises(Web3RPCError, match="coins"):
        http.eth.call({"from": poor, "to": first.address, "value": 1})
    with pytest.raises(ContractLogicError):  # not payable, but there is enough to pay
        http.eth.call({"from": poor, "to": first.address, "value": 1}, "latest", {poor: {"balance": hex(10)}})


def test_an_access_list_names_what_a_transaction_reaches(http: Web3, probes: tuple[Any, Any], classical: Any) -> None:
    first, second = probes
    data = first.encode_abi("forward", [second.address, 9])
    wish = {"from": classical.address, "to": first.address, "data": data}
    found = http.manager.request_blocking("eth_createAccessList", [wish, "latest"])
    assert [(entry["address"], entry["storageKeys"]) for entry in found["accessList"]] == [
        (second.address.lower(), ["0x" + "00" * 32])
    ]
    nothing = http.manager.request_blocking("eth_createAccessList", [{"to": classical.address}, "latest"])
    assert nothing["accessList"] == []


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("refuse", "execution reverted: not today"),
        ("panic", "Panic error 0x11"),
    ],
)
def test_reasons_and_panics_reach_the_caller(probes: tuple[Any, Any], function: str, reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        probes[0].functions[function]().call()
