"""What txpool_* shows of the pool between two blocks."""

from typing import Any

import pytest
from eth_account import Account
from web3 import Web3

from chain.crypto.schemes import Scheme, SigningKey
from chain.rpc import txpool
from chain.rpc.errors import LimitError
from chain.transaction import Fields, sign_transaction
from tests.chain.rpc.harness import Background

BOB = bytes.fromhex("b0" * 20)
EMPTY: dict[str, Any] = {"pending": {}, "queued": {}}


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate(Scheme.ML_DSA_44)


def ours(running: Background, key: SigningKey, nonce: int, **fields: Any) -> bytes:
    given = {"chain_id": 19781, "nonce": nonce, "gas": 10**6, "to": BOB} | fields
    return sign_transaction(key, Fields(**given), running.network.genesis_hash)


def between_blocks(running: Background, raws: list[bytes], *questions: list[Any]) -> list[Any]:
    """Send transactions and ask before any block can hold them, all in one turn of the event loop; then wait."""
    dispatcher = running.network.dispatcher()

    async def ask() -> tuple[list[Any], list[Any]]:
        names = [dispatcher.handle("eth_sendRawTransaction", [f"0x{raw.hex()}"]) for raw in raws]
        return names, [dispatcher.handle(method, params) for method, *params in questions]

    names, answers = running.run(ask())
    for name in names:
        running.http().eth.wait_for_transaction_receipt(name, timeout=20, poll_latency=0.02)
    return answers


def test_what_waits_is_shown_by_sender_and_nonce(running: Background, key: SigningKey) -> None:
    raws = [ours(running, key, nonce, value=0, data=b"\1\2") for nonce in (0, 1)]
    sender = Web3.to_checksum_address(key.address)
    status, content, inspect, mine, others = between_blocks(
        running,
        raws,
        ["txpool_status"],
        ["txpool_content"],
        ["txpool_inspect"],
        ["txpool_contentFrom", f"0x{key.address.hex()}"],
        ["txpool_contentFrom", f"0x{BOB.hex()}"],
    )
    assert status == {"pending": "0x2", "queued": "0x0"}
    assert list(content["pending"]) == [sender]
    waiting = content["pending"][sender]
    assert mine == {"pending": waiting, "queued": {}}
    assert others == EMPTY
    assert list(waiting) == ["0", "1"]
    first = waiting["0"]
    assert (first["type"], first["input"], first["from"]) == ("0x50", "0x0102", f"0x{key.address.hex()}")
    assert first["blockHash"] is first["blockNumber"] is first["transactionIndex"] is None
    assert inspect["pending"][sender]["1"] == f"{Web3.to_checksum_address(BOB)}: 0 wei + 1000000 gas × 0 wei"  # noqa: RUF001 - as geth


def test_a_classical_transaction_waits_in_the_shape_that_it_has_in_a_block(running: Background, classical: Any) -> None:
    w3 = running.http()
    nonce = w3.eth.get_transaction_count(classical.address)
    fields = {"to": BOB, "nonce": nonce, "gas": 21_000, "gasPrice": 0, "value": 3, "chainId": 19781}
    signed = Account.from_key(classical.key).sign_transaction(fields)
    (content,) = between_blocks(running, [signed.raw_transaction], ["txpool_content"])
    waiting = content["pending"][classical.address][str(nonce)]
    found: dict[str, Any] = running.network.dispatcher().handle("eth_getTransactionByHash", [waiting["hash"]])  # type: ignore[assignment]
    places = {"blockHash", "blockNumber", "blockTimestamp", "transactionIndex"}
    assert {name: item for name, item in found.items() if name not in places} == {
        name: item for name, item in waiting.items() if name not in places
    }


def test_what_a_block_holds_waits_no_more(running: Background, key: SigningKey) -> None:
    between_blocks(running, [ours(running, key, 0)])
    ask = running.network.dispatcher().handle
    assert ask("txpool_status") == {"pending": "0x0", "queued": "0x0"}
    assert ask("txpool_content") == ask("txpool_inspect") == EMPTY


def test_a_pool_too_full_for_one_answer_says_so(
    running: Background, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(txpool, "POOL_TRANSACTIONS", 1)
    raws = [ours(running, key, nonce) for nonce in (0, 1)]
    with pytest.raises(LimitError, match=r"2 transactions of .* wait, an answer holds at most 1 "):
        between_blocks(running, raws, ["txpool_content"])
