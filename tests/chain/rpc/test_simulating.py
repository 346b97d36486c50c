"""Supposed blocks on Merit's own ledger; the files of execution-apis about them are in test_execution_apis.py."""

from collections.abc import Callable
from typing import Any

import pytest
import rlp
from web3 import Web3

from chain.crypto.addresses import key_account
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import SigningKey
from chain.execution import simulated
from chain.execution.nodes import CommittedNodes
from chain.limits import CALL_GAS
from chain.rpc import ethereum
from chain.rpc.errors import RpcError
from chain.rpc.middleware import MLDSAAccount
from contracts import addresses
from contracts.layout import slot
from contracts.upgrades import UpgradeKind
from tests.chain.rpc.conftest import COIN
from tests.chain.rpc.harness import Background

Simulate = Callable[..., Any]

ALICE, BOB, CODE, OTHER = ("0x" + f"{number:02x}" * 20 for number in (0xA1, 0xB0, 0xC0, 0xD0))
RICH = {"balance": hex(COIN)}
ETHER = "0x" + "ee" * 20
TRANSFER = "0x" + keccak256(b"Transfer(address,address,uint256)").hex()
SHA256 = "0x" + "02".zfill(40)

# code by hand
COUNT = "0x5f5460010180" + "5f55" + "5f5260205ff3"  # adds one to slot 0 and returns it
CLEAR = "0x5f5f5500"  # clears slot 0: a refund
BLOCK = "0x43" + "5f52" + "42" + "602052" + "48" + "604052" + "4a" + "606052" + "60805ff3"  # number, time, fees
HASHES = "0x5f3540" + "5f52" + "60205ff3"  # BLOCKHASH of the number given
SPIN = "0x5b5f56"
REVERT = "0x5f5ffd"
HUGE = "0x620fffff5ff3"  # returns a megabyte
PAY = "0x5f5f5f5f600173" + OTHER[2:] + "5af1" + "00"  # sends one wei on, and survives if that fails
LOG_AND_PAY = "0x5f5fa0" + PAY[2:-2] + "5f5fa0" + "00"
FORGET = "0x73" + OTHER[2:] + "ff"  # SELFDESTRUCT in favour of OTHER


def word(number: int) -> str:
    return f"0x{number:064x}"


@pytest.fixture
def simulate(running: Background) -> Simulate:
    """Ask with blocks as objects; the answer, or the error as it is raised."""
    dispatcher = running.network.dispatcher()

    def ask(*blocks: dict[str, Any], on: str = "latest", **options: bool) -> Any:
        return dispatcher.handle("eth_simulateV1", [{"blockStateCalls": list(blocks), **options}, on])

    return ask


@pytest.fixture
def minting(governor: MLDSAAccount) -> dict[str, Any]:
    """Return a call of the governor that gives Bob 7."""
    data = Web3.keccak(text="mint(address,uint256)")[:4] + bytes.fromhex(BOB[2:]).rjust(32, b"\0") + (7).to_bytes(32)
    return {"from": governor.address.lower(), "to": f"0x{addresses.TOKEN.hex()}", "input": f"0x{data.hex()}"}


def code(address: str, runs: str, **more: Any) -> dict[str, Any]:
    return {address: {"code": runs, **more}}


def refusal(simulate: Simulate, *blocks: dict[str, Any], **options: Any) -> tuple[int, str]:
    with pytest.raises(RpcError) as caught:
        simulate(*blocks, **options)
    answer = caught.value.to_json()
    return answer["code"], answer["message"]  # type: ignore[return-value] # a number and a text


# -- the same as on the ledger ------------------------------------------------------------------------------------


def test_what_is_simulated_happens_so_when_it_is_sent(
    simulate: Simulate, signing: Web3, governor: MLDSAAccount, minting: dict[str, Any]
) -> None:
    def send(**call: Any) -> Any:
        name = signing.eth.send_transaction({**call, "from": governor.address})
        return signing.eth.wait_for_transaction_receipt(name, timeout=20, poll_latency=0.02)

    send(to=governor.address)  # the ledger keeps the key from now on
    (block,) = simulate({"calls": [minting]})
    receipt = send(to=Web3.to_checksum_address(minting["to"]), data=minting["input"])
    (call,) = block["calls"]
    assert int(call["gasUsed"], 16) == receipt.gasUsed
    assert int(call["status"], 16) == receipt.status == 1
    (told,), (logged,) = call["logs"], receipt.logs
    assert Web3.to_checksum_address(told["address"]) == logged["address"]
    assert told["data"] == Web3.to_hex(logged["data"])
    assert told["topics"] == [Web3.to_hex(topic) for topic in logged["topics"]]
    assert int(block["number"], 16) == receipt.blockNumber
    assert block["parentHash"] == Web3.to_hex(signing.eth.get_block(receipt.blockNumber).parentHash)


def test_web3_reads_the_answer(running: Background, governor: MLDSAAccount, minting: dict[str, Any]) -> None:
    call: Any = {"from": governor.address, "to": Web3.to_checksum_address(minting["to"]), "data": minting["input"]}
    payload: Any = {"blockStateCalls": [{"calls": [call]}], "validation": True, "traceTransfers": False}
    (block,) = running.http().eth.simulate_v1(payload, "latest")
    assert block["calls"][0]["status"] == 1


def test_a_key_that_the_ledger_keeps_costs_what_its_signature_does(
    simulate: Simulate, governor: MLDSAAccount, stranger: SigningKey
) -> None:
    """On a ledger that takes secp256k1 a sender without a key may be of that kind, and pays no more."""
    calls = [{"from": sender, "to": BOB} for sender in (governor.address.lower(), f"0x{stranger.address.hex()}")]
    kept, unknown = (int(call["gasUsed"], 16) for call in simulate({"calls": calls})[0]["calls"])
    assert unknown == 21_000
    assert kept == 21_000 + 4_500 + 16 * (3_309 + 20)


def test_code_that_is_supposed_in_the_place_of_a_key_is_none(simulate: Simulate, governor: MLDSAAccount) -> None:
    holder = f"0x{key_account(governor.key.address).hex()}"
    block = {"calls": [{"from": governor.address.lower(), "to": BOB}]}
    for strange in ("0x00", "0x0063", "0x6001"):
        (made,) = simulate({**block, "stateOverrides": code(holder, strange)})
        assert int(made["gasUsed"], 16) == 21_000


def test_only_those_that_genesis_names_create_contracts(simulate: Simulate, classical: Any) -> None:
    calls = [{"from": sender, "input": "0x00", "gas": hex(10**5)} for sender in (ALICE, classical.address.lower())]
    refused, made = simulate({"calls": calls})[0]["calls"]
    assert (refused["status"], made["status"]) == ("0x0", "0x1")
    assert "deployers that genesis names" in refused["error"]["message"]


def test_nothing_of_it_stays(simulate: Simulate, running: Background, minting: dict[str, Any]) -> None:
    w3, application = running.http(), running.network.application()
    newest = w3.eth.get_block("latest")
    roots = [
        bytes.fromhex(block["stateRoot"][2:])
        for block in simulate({"calls": [minting], "stateOverrides": code(CODE, COUNT)}, {"calls": [{"to": CODE}]})
    ]
    assert len({bytes(newest.stateRoot), *roots}) == 3
    assert w3.eth.get_block("latest") == newest
    assert w3.eth.get_code(Web3.to_checksum_address(CODE)) == b""
    kept = CommittedNodes(application.reader()._store)  # noqa: SLF001 - what no reader shows
    assert bytes(newest.stateRoot) in kept
    assert not any(root in kept for root in roots)


def test_a_block_follows_from_the_one_before(simulate: Simulate) -> None:
    calls = [{"to": CODE}, {"to": CODE}]
    first, second = simulate({"calls": calls, "stateOverrides": code(CODE, COUNT)}, {"calls": calls})
    assert [call["returnData"] for call in first["calls"] + second["calls"]] == [word(n) for n in (1, 2, 3, 4)]
    assert second["parentHash"] == first["hash"]
    assert int(second["timestamp"], 16) == int(first["timestamp"], 16) + 12
    assert int(first["gasUsed"], 16) == sum(int(call["gasUsed"], 16) for call in first["calls"])
    numbers = ["difficulty", "number", "gasLimit", "gasUsed", "timestamp"]
    names = ["parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom"]
    names += [*numbers, "extraData", "mixHash", "nonce", "baseFeePerGas", "withdrawalsRoot", "blobGasUsed"]
    names += ["excessBlobGas", "parentBeaconBlockRoot", "requestsHash"]
    numbers += ["baseFeePerGas", "blobGasUsed", "excessBlobGas"]
    fields: list[int | bytes] = [
        int(second[name], 16) if name in numbers else bytes.fromhex(second[name][2:]) for name in names
    ]
    assert Web3.to_hex(keccak256(rlp.encode(fields))) == second["hash"]


def test_earlier_blocks_can_be_built_on(simulate: Simulate, running: Background) -> None:
    (block,) = simulate({}, on="0x0")
    genesis = running.http().eth.get_block(0)
    assert (block["number"], block["parentHash"]) == ("0x1", Web3.to_hex(genesis.hash))
    assert block["stateRoot"] == Web3.to_hex(genesis.stateRoot)
    assert refusal(simulate, {}, on="0xffffff") == (-32000, "header not found")


# -- what is supposed ---------------------------------------------------------------------------------------------


def test_a_block_says_what_is_supposed_of_it(simulate: Simulate) -> None:
    wish = {"time": "0x70000000", "baseFeePerGas": "0x9", "blobBaseFee": "0x5", "gasLimit": "0x98967f"}
    wish |= {"feeRecipient": BOB, "prevRandao": "0x4d"}
    (block,) = simulate({"blockOverrides": wish, "stateOverrides": code(CODE, BLOCK), "calls": [{"to": CODE}]})
    said = block["calls"][0]["returnData"][2:]
    assert [int(said[at : at + 64], 16) for at in range(0, 256, 64)] == [int(block["number"], 16), 0x70000000, 9, 5]
    assert (block["miner"], block["mixHash"], block["baseFeePerGas"]) == (BOB, word(77), "0x9")
    assert (block["gasLimit"], block["timestamp"]) == ("0x98967f", "0x70000000")


def test_gaps_are_filled_with_empty_blocks_that_blockhash_finds(simulate: Simulate, running: Background) -> None:
    number = running.http().eth.block_number
    asked = [{"to": CODE, "input": word(at)} for at in (number, number + 2, number + 3)]
    blocks = simulate(
        {"blockOverrides": {"number": hex(number + 3)}, "stateOverrides": code(CODE, HASHES), "calls": asked}
    )
    assert [int(block["number"], 16) for block in blocks] == [number + 1, number + 2, number + 3]
    assert [len(block["calls"]) for block in blocks] == [0, 0, 3]
    found = [call["returnData"] for call in blocks[-1]["calls"]]
    newest = Web3.to_hex(running.http().eth.get_block(number).hash)
    assert found == [newest, blocks[1]["hash"], word(0)]


def test_a_fee_that_is_offered_is_paid_to_the_recipient(simulate: Simulate) -> None:
    offered = {"from": ALICE, "to": BOB, "maxFeePerGas": "0xf", "maxPriorityFeePerGas": "0x2", "gas": "0x5208"}
    wish = {"baseFeePerGas": "0xa", "feeRecipient": CODE}
    (block,) = simulate(
        {"blockOverrides": wish, "stateOverrides": {ALICE: RICH}, "calls": [offered]}, returnFullTransactions=True
    )
    (transaction,) = block["transactions"]
    assert (transaction["gasPrice"], transaction["type"], transaction["from"]) == ("0xc", "0x2", ALICE)
    balance = {"code": "0x73" + CODE[2:] + "31" + "5f52" + "60205ff3"}
    reads = {"stateOverrides": {OTHER: balance}, "calls": [{"to": OTHER}]}
    blocks = simulate({"blockOverrides": wish, "stateOverrides": {ALICE: RICH}, "calls": [offered]}, reads)
    assert blocks[1]["calls"][0]["returnData"] == word(2 * 21_000)
    free = simulate({"blockOverrides": wish, "calls": [{"from": ALICE, "to": BOB}]}, reads)
    assert free[1]["calls"][0]["returnData"] == word(0)


def test_a_legacy_transaction_is_one_with_a_gas_price(simulate: Simulate) -> None:
    call = {"from": ALICE, "to": BOB, "gasPrice": "0x3"}
    (block,) = simulate({"stateOverrides": {ALICE: RICH}, "calls": [call]}, returnFullTransactions=True)
    (transaction,) = block["transactions"]
    items = [b"", b"\3", CALL_GAS, bytes.fromhex(BOB[2:]), b"", b"", b"", b"", b""]
    assert transaction["type"] == "0x0"
    assert transaction["hash"] == Web3.to_hex(keccak256(rlp.encode(items)))


def test_gas_before_refunds_is_told_too(simulate: Simulate) -> None:
    state = {word(0): word(1)}
    (block,) = simulate({"stateOverrides": code(CODE, CLEAR, state=state), "calls": [{"to": CODE}]})
    (call,) = block["calls"]
    assert int(call["maxUsedGas"], 16) - int(call["gasUsed"], 16) == 4_800  # EIP-3529


def test_precompiles_move_and_native_ones_too(simulate: Simulate) -> None:
    moved = {SHA256: {"movePrecompileToAddress": BOB}}
    (block,) = simulate({"stateOverrides": moved, "calls": [{"to": BOB}, {"to": SHA256}]})
    here, gone = (call["returnData"] for call in block["calls"])
    assert (here, gone) == ("0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "0x")
    verifier = f"0x{addresses.VERIFIER.hex()}"
    (block,) = simulate({"stateOverrides": {verifier: {"movePrecompileToAddress": BOB}}, "calls": [{"to": BOB}]})
    assert "serves the Ledger only" in block["calls"][0]["error"]["message"]
    (block,) = simulate({"stateOverrides": code(SHA256, COUNT), "calls": [{"to": SHA256}]})
    assert block["calls"][0]["returnData"] == word(1)


def test_a_call_may_suppose_the_same(running: Background) -> None:
    ask = running.network.dispatcher().handle
    said = str(ask("eth_call", [{"to": CODE}, "latest", code(CODE, BLOCK), {"blobBaseFee": "0x5"}]))
    assert int(said[-64:], 16) == 5
    moved = {SHA256: {"movePrecompileToAddress": BOB}}
    assert ask("eth_call", [{"to": BOB}, "latest", moved]) == ask("eth_call", [{"to": SHA256}, "latest"])
    assert ask("eth_call", [{"to": SHA256}, "latest", moved]) == "0x"
    with pytest.raises(RpcError, match="is not a precompile"):
        ask("eth_call", [{"to": BOB}, "latest", {ALICE: {"movePrecompileToAddress": BOB}}])


# -- transfers of ether -------------------------------------------------------------------------------------------


def transfers(call: dict[str, Any]) -> list[tuple[str, str, int]]:
    found = [log for log in call["logs"] if log["address"] == ETHER]
    assert all(log["topics"][0] == TRANSFER for log in found)
    return [("0x" + log["topics"][1][26:], "0x" + log["topics"][2][26:], int(log["data"], 16)) for log in found]


def test_transfers_stand_among_the_logs_in_order_and_not_in_the_receipts(simulate: Simulate) -> None:
    block = {
        "stateOverrides": {ALICE: RICH, **code(CODE, LOG_AND_PAY)},
        "calls": [{"from": ALICE, "to": CODE, "value": "0x5"}] * 2,
    }
    (told,), (untold,) = simulate(block, traceTransfers=True), simulate(block)
    first, second = told["calls"]
    assert [log["address"] for log in first["logs"]] == [ETHER, CODE, ETHER, CODE]
    assert [int(log["logIndex"], 16) for log in first["logs"] + second["logs"]] == list(range(8))
    assert transfers(first) == [(ALICE, CODE, 5), (CODE, OTHER, 1)]
    assert [log["address"] for log in untold["calls"][0]["logs"]] == [CODE, CODE]
    assert (told["receiptsRoot"], told["logsBloom"], told["hash"]) == tuple(
        untold[name] for name in ("receiptsRoot", "logsBloom", "hash")
    )


def test_a_contract_cannot_pass_its_logs_off_as_transfers(simulate: Simulate) -> None:
    block = {"stateOverrides": code(ETHER, "0x5f5fa000"), "calls": [{"to": ETHER}]}
    (told,), (untold,) = simulate(block, traceTransfers=True), simulate(block)
    assert len(told["calls"][0]["logs"]) == 1
    assert told["receiptsRoot"] == untold["receiptsRoot"]


@pytest.mark.filterwarnings("ignore:SELFDESTRUCT opcode present:DeprecationWarning")  # py-evm's word on 0xff
def test_a_transfer_that_is_undone_has_no_log(simulate: Simulate) -> None:
    accounts = {ALICE: RICH, **code(CODE, PAY), **code(OTHER, REVERT), **code(BOB, FORGET)}
    calls = [{"from": ALICE, "to": to, "value": "0x9"} for to in (CODE, OTHER, BOB)]
    (block,) = simulate({"stateOverrides": accounts, "calls": calls}, traceTransfers=True)
    survived, reverted, destroyed = block["calls"]
    assert transfers(survived) == [(ALICE, CODE, 9)]
    assert reverted["logs"] == []
    assert reverted["error"] == {"code": 3, "message": "execution reverted", "data": "0x"}
    assert transfers(destroyed) == [(ALICE, BOB, 9), (BOB, OTHER, 9)]


# -- refusals -----------------------------------------------------------------------------------------------------

FROM_ALICE = {"from": ALICE, "to": BOB}


@pytest.mark.parametrize(
    ("code_of_error", "block", "words"),
    [
        (-38010, {"stateOverrides": {ALICE: {"nonce": "0x5"}}, "calls": [{**FROM_ALICE, "nonce": "0x4"}]}, "too low"),
        (-38011, {"calls": [{**FROM_ALICE, "nonce": "0x4"}]}, "nonce too high"),
        (-38012, {"blockOverrides": {"baseFeePerGas": "0x1"}, "calls": [FROM_ALICE]}, "less than block base fee"),
        (-38013, {"calls": [{**FROM_ALICE, "gas": "0x5207"}]}, "intrinsic gas too low: have 20999, want 21000"),
        (-38013, {"calls": [{**FROM_ALICE, "input": "0x" + "11" * 100, "gas": hex(24_000)}]}, "floor data gas"),
        (-38014, {"calls": [{**FROM_ALICE, "value": "0x1"}]}, "have 0 want 1"),
        (-38015, {"blockOverrides": {"gasLimit": "0x5208"}, "calls": [{**FROM_ALICE, "gas": "0x5209"}]}, "reached"),
        (-38022, {"stateOverrides": {SHA256: {"movePrecompileToAddress": SHA256}}}, "to itself"),
        (-32000, {"stateOverrides": {SHA256: {"movePrecompileToAddress": BOB}, BOB: RICH}}, "already overridden"),
        (-38025, {"calls": [{"from": ALICE, "input": "0x" + "00" * 49_153}]}, "max initcode size"),
        (-32602, {"calls": [{**FROM_ALICE, "chainId": "0x1"}]}, "chainId does not match"),
        (-32602, {"calls": [{**FROM_ALICE, "blobVersionedHashes": [word(1)]}]}, "never takes transactions with blobs"),
        (-32602, {"blockOverrides": {"withdrawals": [{}]}}, "no withdrawals"),
        (-32602, {"blockOverrides": {"nummer": "0x1"}}, "unknown field"),
    ],
)
def test_what_cannot_be_is_refused_with_the_code_of_execution_apis(
    simulate: Simulate, code_of_error: int, block: dict[str, Any], words: str
) -> None:
    found, message = refusal(simulate, block, validation=True)
    assert found == code_of_error
    assert words in message


def test_without_validation_any_nonce_will_do_and_fees_may_be_left_out(simulate: Simulate) -> None:
    calls = [{**FROM_ALICE, "nonce": nonce} for nonce in ("0x9", "0x9", "0x0")]
    (block,) = simulate({"blockOverrides": {"baseFeePerGas": "0x1"}, "calls": calls})
    assert [call["status"] for call in block["calls"]] == ["0x1"] * 3


def test_blocks_come_in_order(simulate: Simulate, running: Background) -> None:
    number = running.http().eth.block_number
    assert refusal(simulate, {"blockOverrides": {"number": hex(number)}})[0] == -38020
    assert refusal(simulate, {"blockOverrides": {"time": "0x1"}})[0] == -38021
    assert refusal(simulate, {"blockOverrides": {"number": hex(number + 257)}}) == (-38026, "too many blocks")
    assert refusal(simulate, *[{}] * 257) == (-38026, "too many blocks")
    assert refusal(simulate) == (-32602, "empty input")
    assert len(simulate(*[{}] * 256)) == 256


# -- bounds -------------------------------------------------------------------------------------------------------


def test_the_calls_of_a_request_share_the_gas_of_one_call(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.execution.reader.CALL_GAS", 100_000)
    spinning = {"stateOverrides": code(CODE, SPIN), "calls": [{"to": CODE}]}
    (block,) = simulate(spinning)
    assert block["calls"][0]["error"] == {"code": -32015, "message": "out of gas"}
    assert int(block["gasUsed"], 16) == 100_000
    assert refusal(simulate, spinning, {"calls": [FROM_ALICE]})[0] == -38026


def test_the_calls_of_a_request_share_the_bytes_of_one_answer(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ethereum, "SIMULATED_BYTES", 2**21)
    large = {"stateOverrides": code(CODE, HUGE), "calls": [{"to": CODE}]}
    assert len(simulate(large, large)) == 2
    code_of_error, message = refusal(simulate, large, large, large)
    assert code_of_error == -38026
    assert "more than one answer may hold" in message
    looping = "0x62001000" + "5b5f5fa060019003" + "80600457" + "00"  # 4,096 logs
    assert (
        refusal(simulate, {"stateOverrides": code(CODE, looping), "calls": [{"to": CODE}, {"to": CODE}]})[0] == -38026
    )


def test_a_supposed_schedule_of_upgrades_is_not_read(simulate: Simulate) -> None:
    """Or its length, which anybody may suppose, would be the node's work before the next block."""
    count = slot("Council", "_upgrade_count", UpgradeKind.EXECUTION)
    council = {f"0x{addresses.COUNCIL.hex()}": {"stateDiff": {word(count): word(2**255)}}}
    assert len(simulate({"stateOverrides": council}, {"calls": [FROM_ALICE]})) == 2


def test_gaps_are_filled_as_far_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "MOST_BLOCKS", 3)
    plans = [simulated.Plan(block=simulated.BlockOverride(number=number), accounts={}) for number in (12, 13)]
    assert [plan.block.timestamp for plan in simulated.fill_gaps(plans, 10, 100)] == [112, 124, 136]
    with pytest.raises(simulated.SimulatedBlockError, match="too many blocks"):
        simulated.fill_gaps([*plans, plans[0]], 9, 100)
