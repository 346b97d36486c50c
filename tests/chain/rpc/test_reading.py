"""What web3.py reads of a ledger, over HTTP and in process."""

from typing import Any

import pytest
import rlp
from web3 import Web3
from web3.exceptions import BlockNotFound, ContractLogicError, TransactionNotFound, Web3RPCError

from chain.crypto.hashing import keccak256
from chain.crypto.schemes import SigningKey
from chain.rpc.middleware import MLDSAAccount
from contracts import addresses
from tests.chain.rpc.conftest import COIN
from tests.chain.rpc.harness import Background, contract, verify_trie

ANYBODY = Web3.to_checksum_address("0x" + "77" * 20)


@pytest.fixture(scope="module")
def minted(signing: Web3, governor: MLDSAAccount) -> list[Any]:
    """Receipts of three mints, in three blocks."""
    token = contract(signing, "Token", addresses.TOKEN)
    receipts = []
    for number in (1, 2, 3):
        to = Web3.to_checksum_address(number.to_bytes(20, "big"))
        name = token.functions.mint(to, number * COIN).transact({"from": governor.address})
        receipts.append(signing.eth.wait_for_transaction_receipt(name, timeout=20, poll_latency=0.02))
    return receipts


def test_the_node_says_which_ledger_it_serves(w3: Web3) -> None:
    assert w3.is_connected()
    assert w3.eth.chain_id == 19781
    assert w3.net.version == "19781"
    assert w3.client_version.startswith("merit/v")
    assert w3.eth.syncing is False
    assert not w3.eth.accounts


def test_a_block_is_found_by_number_by_hash_and_by_every_tag(w3: Web3, minted: list[Any]) -> None:
    newest = w3.eth.get_block("latest")
    assert newest.number == w3.eth.block_number >= 3
    for tag in ("pending", "safe", "finalized", newest.number, newest.hash):
        assert w3.eth.get_block(tag) == newest
    assert w3.eth.get_block("earliest").number == 0
    with pytest.raises(BlockNotFound):
        w3.eth.get_block(10**6)
    with pytest.raises(BlockNotFound):
        w3.eth.get_block(b"\1" * 32)
    assert minted[0].blockNumber <= newest.number


def test_a_header_in_json_holds_all_that_its_hash_covers(w3: Web3, minted: list[Any]) -> None:
    block = w3.eth.get_block(minted[-1].blockNumber)
    numbers = ["difficulty", "number", "gasLimit", "gasUsed", "timestamp"]
    fields: list[Any] = [
        block["parentHash"],
        block["sha3Uncles"],
        bytes.fromhex(block["miner"][2:]),
        block["stateRoot"],
    ]
    fields += [block["transactionsRoot"], block["receiptsRoot"], block["logsBloom"], *(block[name] for name in numbers)]
    fields += [block["extraData"], block["mixHash"], block["nonce"], block["baseFeePerGas"], block["withdrawalsRoot"]]
    fields += [block["blobGasUsed"], block["excessBlobGas"], block["parentBeaconBlockRoot"], block["requestsHash"]]
    assert keccak256(rlp.encode(fields)) == block.hash


def test_whole_transactions_come_when_asked_for(w3: Web3, minted: list[Any]) -> None:
    receipt = minted[0]
    block = w3.eth.get_block(receipt.blockNumber, full_transactions=True)
    found = block.transactions[receipt.transactionIndex]
    assert found == w3.eth.get_transaction(receipt.transactionHash)
    assert found == w3.eth.get_transaction_by_block(receipt.blockNumber, receipt.transactionIndex)
    assert found == w3.eth.get_transaction_by_block(receipt.blockHash, receipt.transactionIndex)
    assert w3.eth.get_block_transaction_count(receipt.blockNumber) == len(block.transactions)
    assert w3.eth.get_block_transaction_count(receipt.blockHash) == len(block.transactions)
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction(b"\1" * 32)
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction_by_block(receipt.blockNumber, 50)


def test_a_transaction_of_type_0x50_shows_its_scheme_key_and_signature(w3: Web3, minted: list[Any]) -> None:
    first, later = (w3.eth.get_transaction(receipt.transactionHash) for receipt in (minted[0], minted[-1]))
    assert first.type == later.type == 0x50
    assert first["scheme"] == "0x41"
    assert len(later["signerKey"]) == 2 + 2 * 20  # by reference
    assert len(first["signature"]) == 2 + 2 * 3309
    assert "v" not in first
    assert first["from"] == later["from"]


def test_receipts_tell_the_gas_and_the_logs_of_a_transaction(w3: Web3, minted: list[Any]) -> None:
    receipt = w3.eth.get_transaction_receipt(minted[1].transactionHash)
    assert receipt == minted[1]
    assert receipt.status == 1
    assert receipt.type == 0x50
    assert receipt.contractAddress is None
    assert receipt.effectiveGasPrice == 0
    assert receipt in w3.eth.get_block_receipts(receipt.blockNumber)
    (transfer,) = contract(w3, "Token", addresses.TOKEN).events.Transfer().process_receipt(receipt)
    assert transfer.args.value == 2 * COIN
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction_receipt(b"\1" * 32)


def test_balance_code_nonce_and_storage_are_read_at_any_block(
    w3: Web3, running: Background, minted: list[Any], governor: MLDSAAccount
) -> None:
    account = Web3.to_checksum_address(running.network.accounts()[0].address)
    assert w3.eth.get_balance(account, 0) == 10_000 * COIN
    assert w3.eth.get_code(Web3.to_checksum_address(addresses.TOKEN))
    assert w3.eth.get_code(ANYBODY) == b""
    assert w3.eth.get_transaction_count(governor.address, 0) == 0
    assert w3.eth.get_transaction_count(governor.address, minted[1].blockNumber) >= 2
    assert w3.eth.get_storage_at(ANYBODY, 0) == bytes(32)
    token = contract(w3, "Token", addresses.TOKEN)
    receiver = Web3.to_checksum_address((3).to_bytes(20, "big"))
    assert token.functions.balanceOf(receiver).call(block_identifier=minted[1].blockNumber) == 0
    assert token.functions.balanceOf(receiver).call() == 3 * COIN
    assert token.functions.balanceOf(receiver).call(block_identifier=minted[2].blockHash) == 3 * COIN
    with pytest.raises(Web3RPCError, match="block 1000000 not found"):
        w3.eth.get_balance(account, 10**6)


def test_the_reason_of_a_revert_reaches_the_caller(w3: Web3, stranger: SigningKey) -> None:
    mint = contract(w3, "Token", addresses.TOKEN).functions.mint(ANYBODY, 1)
    me = {"from": Web3.to_checksum_address(stranger.address)}
    with pytest.raises(ContractLogicError, match="execution reverted: Token: caller is not the governor") as caught:
        mint.call(me)
    assert str(caught.value.data).startswith("0x08c379a0")
    with pytest.raises(ContractLogicError, match="Token: caller is not the governor"):
        mint.estimate_gas(me)


def test_a_call_that_burns_all_its_gas_is_no_revert(w3: Web3) -> None:
    with pytest.raises(Web3RPCError, match="-32000"):
        contract(w3, "Token", addresses.TOKEN).functions.totalSupply().call({"gas": 100})


def test_an_estimate_is_enough_and_close(w3: Web3, minted: list[Any], governor: MLDSAAccount) -> None:
    mint = contract(w3, "Token", addresses.TOKEN).functions.mint(ANYBODY, 1)
    estimate = mint.estimate_gas({"from": governor.address})
    assert minted[2].gasUsed <= estimate <= minted[2].gasUsed * 1.1


@pytest.mark.usefixtures("minted")
def test_gas_is_free(w3: Web3) -> None:
    assert w3.eth.gas_price == 0
    assert w3.eth.max_priority_fee == 0
    history = w3.eth.fee_history(3, "latest", [10, 90])
    assert history.baseFeePerGas == [0] * 4
    assert history.reward == [[0, 0]] * 3
    assert history.oldestBlock == w3.eth.block_number - 2
    assert all(0 < ratio < 1 for ratio in history.gasUsedRatio)
    assert w3.eth.fee_history(1_000, 2).oldestBlock == 0


@pytest.mark.usefixtures("minted")
def test_proofs_verify_against_the_state_root(w3: Web3) -> None:
    root = w3.eth.get_block("latest").stateRoot
    token = Web3.to_checksum_address(addresses.TOKEN)
    slots = list(range(8))
    proof = w3.eth.get_proof(token, slots)
    leaf = rlp.decode(verify_trie(root, addresses.TOKEN, list(map(bytes, proof.accountProof))))
    assert leaf == [
        proof.nonce.to_bytes(1, "big").lstrip(b"\0"),
        b"",
        proof.storageHash,
        proof.codeHash,
    ]
    assert proof.codeHash == keccak256(w3.eth.get_code(token))
    for slot, entry in zip(slots, proof.storageProof, strict=True):
        value = verify_trie(proof.storageHash, slot.to_bytes(32, "big"), list(map(bytes, entry.proof)))
        found = int.from_bytes(w3.eth.get_storage_at(token, slot), "big")
        assert (int.from_bytes(rlp.decode(value), "big") if value else 0) == found
        assert int.from_bytes(entry.value, "big") == found
    assert any(int.from_bytes(entry.value, "big") for entry in proof.storageProof)


def test_a_proof_shows_that_an_account_does_not_exist(w3: Web3) -> None:
    root = w3.eth.get_block(0).stateRoot
    proof = w3.eth.get_proof(ANYBODY, [], 0)
    assert verify_trie(root, bytes.fromhex(ANYBODY[2:]), list(map(bytes, proof.accountProof))) == b""
    assert proof.balance == proof.nonce == 0


def test_logs_are_found_by_address_range_and_topics(w3: Web3, minted: list[Any]) -> None:
    first, last = minted[0].blockNumber, minted[-1].blockNumber
    transfer = "0x" + keccak256(b"Transfer(address,address,uint256)").hex()
    one, two = ("0x" + number.to_bytes(32, "big").hex() for number in (1, 2))
    everywhere: dict[str, Any] = {
        "fromBlock": first,
        "toBlock": last,
        "address": Web3.to_checksum_address(addresses.TOKEN),
    }

    def found(**changes: Any) -> list[int]:
        return [int.from_bytes(log["data"], "big") // COIN for log in w3.eth.get_logs({**everywhere, **changes})]

    assert found() == [1, 2, 3]
    assert found(topics=[transfer]) == [1, 2, 3]
    assert found(topics=[transfer, None, one]) == [1]
    assert found(topics=[None, None, [one, two]]) == [1, 2]
    assert found(topics=[[one, transfer], [], two]) == [2]
    assert found(topics=[one]) == []
    assert found(topics=[transfer, None, None, None]) == []  # a log with three topics has no fourth
    assert found(address=ANYBODY) == []
    assert found(address=[ANYBODY, everywhere["address"]]) == [1, 2, 3]
    assert found(fromBlock=minted[1].blockNumber, toBlock="latest")[:2] == [2, 3]
    at_one_block = w3.eth.get_logs({"blockHash": minted[1].blockHash})
    assert [log["transactionHash"] for log in at_one_block] == [minted[1].transactionHash]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"fromBlock": 1, "toBlock": 10**6}, "block range extends beyond current head"),
        ({"fromBlock": 2, "toBlock": 1}, "invalid block range params"),
        ({"blockHash": "0x" + "01" * 32}, "not found"),
        ({"blockHash": "0x" + "01" * 32, "fromBlock": 1}, "cannot specify both blockHash and fromBlock"),
    ],
)
@pytest.mark.usefixtures("minted")
def test_a_range_of_logs_that_makes_no_sense_is_refused(w3: Web3, query: dict[str, Any], reason: str) -> None:
    with pytest.raises(Web3RPCError, match=reason):
        w3.eth.get_logs(query)


def test_filters_tell_what_came_since_they_were_last_asked(w3: Web3, signing: Web3, governor: MLDSAAccount) -> None:
    token = contract(w3, "Token", addresses.TOKEN)
    blocks = w3.eth.filter("latest")
    logs = token.events.Transfer.create_filter(from_block="latest", argument_filters={"receiver": ANYBODY})
    others = token.events.Transfer.create_filter(from_block="latest", argument_filters={"receiver": governor.address})
    assert blocks.get_new_entries() == logs.get_new_entries() == []
    name = contract(signing, "Token", addresses.TOKEN).functions.mint(ANYBODY, 7).transact({"from": governor.address})
    receipt = signing.eth.wait_for_transaction_receipt(name, timeout=20, poll_latency=0.02)
    assert receipt.blockHash in blocks.get_new_entries()
    assert [entry.args.value for entry in logs.get_new_entries()] == [7]
    assert [entry.args.value for entry in logs.get_all_entries()][-1] == 7
    assert blocks.get_new_entries() == logs.get_new_entries() == others.get_new_entries() == []
    assert w3.eth.uninstall_filter(blocks.filter_id)
    assert not w3.eth.uninstall_filter(blocks.filter_id)
    with pytest.raises(Web3RPCError, match="filter not found"):
        blocks.get_new_entries()
