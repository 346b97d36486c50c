"""A node that signs for development accounts, and what it shows of transactions that wait."""

from collections.abc import Iterator
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3RPCError

from tests.chain.rpc.harness import Background

TYPED = {
    "types": {"EIP712Domain": [{"name": "name", "type": "string"}], "Note": [{"name": "text", "type": "string"}]},
    "primaryType": "Note",
    "domain": {"name": "Merit"},
    "message": {"text": "hello"},
}
STRANGER = "0x" + "77" * 20


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """Its blocks are two seconds apart, so that transactions wait."""
    running = Background(
        tmp_path_factory.mktemp("unlocked"), validators=2, classical=True, accounts=2, block_interval=2.0
    )
    running.network.dispatcher().unlock(bytes.fromhex(one.private_key[2:]) for one in running.network.accounts())
    yield running
    running.stop()


@pytest.fixture(scope="module")
def w3(node: Background) -> Web3:
    return node.http()


@pytest.fixture(scope="module")
def accounts(node: Background) -> list[Any]:
    return [Account.from_key(one.private_key) for one in node.network.accounts()]


def ask(w3: Web3, method: str, *params: Any) -> Any:
    return w3.manager.request_blocking(method, list(params))


def test_a_sent_transaction_is_shown_before_and_after_a_block_holds_it(w3: Web3, accounts: list[Any]) -> None:
    sender = accounts[0].address
    before = w3.eth.get_transaction_count(sender)
    names = [w3.eth.send_transaction({"from": sender, "to": STRANGER, "value": value}) for value in (1, 2)]
    waiting = w3.eth.get_transaction(names[1])
    assert (waiting["blockNumber"], waiting["nonce"], waiting["value"]) == (None, before + 1, 2)
    receipt = w3.eth.wait_for_transaction_receipt(names[1], poll_latency=0.05)
    found = w3.eth.get_transaction(names[1])
    assert found["blockHash"] == receipt["blockHash"]
    place = {"blockHash", "blockNumber", "blockTimestamp", "transactionIndex"}
    assert {key: value for key, value in found.items() if key not in place} == {
        key: value for key, value in waiting.items() if key not in place
    }


def test_an_unknown_transaction_is_not_shown(w3: Web3) -> None:
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction("0x" + "12" * 32)


def test_the_accounts_are_named_and_what_they_sign_is_theirs(w3: Web3, accounts: list[Any]) -> None:
    mine = accounts[1]
    assert [account.lower() for account in ask(w3, "eth_accounts")] == [each.address.lower() for each in accounts]
    for signature in (
        ask(w3, "eth_sign", mine.address, "0x686579"),
        ask(w3, "personal_sign", "0x686579", mine.address),
    ):
        assert Account.recover_message(encode_defunct(b"hey"), signature=signature) == mine.address
    signature = ask(w3, "eth_signTypedData_v4", mine.address, TYPED)
    assert Account.recover_message(encode_typed_data(full_message=TYPED), signature=signature) == mine.address


@pytest.mark.parametrize(
    ("fees", "kind"),
    [
        ({}, "0x2"),
        ({"maxFeePerGas": "0x5", "maxPriorityFeePerGas": "0x1"}, "0x2"),
        ({"gasPrice": "0x3"}, "0x0"),
        ({"gasPrice": "0x3", "accessList": [{"address": STRANGER, "storageKeys": ["0x" + "00" * 32]}]}, "0x1"),
    ],
)
def test_a_signed_transaction_has_the_type_that_its_fees_ask_for(
    w3: Web3, accounts: list[Any], fees: dict[str, Any], kind: str
) -> None:
    wish = {"from": accounts[1].address, "to": STRANGER, "value": "0x7", "nonce": "0x9", **fees}
    answer = w3.provider.make_request("eth_signTransaction", [wish])["result"]
    assert Account.recover_transaction(answer["raw"]) == accounts[1].address
    assert all(answer["tx"][name] == value for name, value in fees.items())
    assert (answer["tx"]["type"], answer["tx"]["value"], answer["tx"]["nonce"]) == (kind, "0x7", "0x9")


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_sendTransaction", [{"from": STRANGER, "to": STRANGER}], -32001),
        ("eth_sendTransaction", [{"to": STRANGER}], -32602),
        ("eth_sign", [STRANGER, "0x"], -32001),
        ("eth_signTypedData", [STRANGER, {"types": {}}], -32602),
        ("eth_signTypedData", [STRANGER, "{"], -32602),
    ],
)
def test_what_the_node_cannot_sign_is_refused(w3: Web3, method: str, params: list[Any], code: int) -> None:
    assert w3.provider.make_request(method, params)["error"]["code"] == code


def test_a_transaction_for_another_chain_is_not_signed(w3: Web3, accounts: list[Any]) -> None:
    with pytest.raises(Web3RPCError, match="has chain id 19781, not 1"):
        ask(w3, "eth_signTransaction", {"from": accounts[0].address, "to": STRANGER, "chainId": "0x1"})


def test_a_node_hears_the_other_validators(w3: Web3) -> None:
    assert w3.net.peer_count == 1


def test_a_node_without_unlocked_accounts_signs_nothing(running: Background) -> None:
    w3 = running.http()
    assert not w3.eth.accounts
    for method in ("eth_sendTransaction", "eth_sign", "eth_signTransaction", "eth_signTypedData", "personal_sign"):
        assert w3.provider.make_request(method, [])["error"]["code"] == -32601
