"""Transactions on their way into the ledger: signed by the middleware, by hand, by a classical account."""

import asyncio
import threading
from typing import Any

import pytest
from eth_account import Account
from web3 import AsyncWeb3, Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from chain.crypto.addresses import key_account
from chain.crypto.schemes import Scheme, SigningKey
from chain.errors import TransactionError
from chain.rpc.errors import InvalidParamsError, LimitError
from chain.rpc.middleware import MLDSAAccount, MLDSAMiddleware
from chain.transaction import Fields, decode, sign_transaction
from contracts import addresses
from merit.clock import SystemClock
from tests.chain.rpc.conftest import COIN
from tests.chain.rpc.harness import Background, contract

NOBODY = "0x" + "77" * 20


def signing_with(w3: Web3, account: MLDSAAccount) -> Web3:
    fresh = Web3(w3.provider)
    fresh.middleware_onion.inject(MLDSAMiddleware(account), layer=0)
    return fresh


def wait(w3: Web3, name: bytes) -> Any:
    return w3.eth.wait_for_transaction_receipt(name, timeout=20, poll_latency=0.02)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_the_first_transaction_brings_the_key_and_later_ones_refer_to_it(w3: Web3, scheme: Scheme) -> None:
    account = MLDSAAccount(SigningKey.generate(scheme))  # the genesis hash is fetched
    mine = signing_with(w3, account)
    sizes = []
    for nonce in range(3):
        receipt = wait(mine, mine.eth.send_transaction({"from": account.address, "to": account.address}))
        assert receipt.status == 1
        found = mine.eth.get_transaction(receipt.transactionHash)
        assert found.nonce == nonce
        sizes.append(len(found["signerKey"]) // 2 - 1)
    assert sizes == [len(account.key.public_key), 20, 20]
    assert mine.eth.get_code(Web3.to_checksum_address(key_account(account.key.address)))[2:] == account.key.public_key


def test_contract_calls_are_signed_and_reverts_are_told_before_anything_is_sent(w3: Web3) -> None:
    account = MLDSAAccount(SigningKey.generate(Scheme.ML_DSA_44))
    mine = signing_with(w3, account)
    token = contract(mine, "Token", addresses.TOKEN)
    receipt = wait(mine, token.functions.approve(account.address, 5).transact({"from": account.address}))
    assert receipt.status == 1
    assert token.functions.allowance(account.address, account.address).call() == 5
    with pytest.raises(ContractLogicError, match="Token: balance is too low"):
        token.functions.transfer(account.address, 1).transact({"from": account.address})
    assert mine.eth.get_transaction_count(account.address, "pending") == 1


def test_a_transaction_that_reverts_in_its_block_has_status_0(w3: Web3) -> None:
    account = MLDSAAccount(SigningKey.generate(Scheme.ML_DSA_44))
    mine = signing_with(w3, account)
    transfer = contract(mine, "Token", addresses.TOKEN).functions.transfer(account.address, 1)
    receipt = wait(mine, transfer.transact({"from": account.address, "gas": 2_000_000}))
    assert receipt.status == 0
    assert list(receipt.logs) == []


def test_pending_transactions_count_in_the_pending_nonce(w3: Web3) -> None:
    account = MLDSAAccount(SigningKey.generate(Scheme.ML_DSA_44))
    mine = signing_with(w3, account)
    names = [mine.eth.send_transaction({"from": account.address, "to": NOBODY, "gas": 10**6}) for _ in range(5)]
    assert mine.eth.get_transaction_count(account.address, "pending") == 5
    assert sorted(mine.eth.get_transaction(wait(mine, name).transactionHash).nonce for name in names) == [0, 1, 2, 3, 4]
    assert mine.eth.get_transaction_count(account.address) == 5


def test_a_middleware_signs_for_its_own_accounts_only(w3: Web3, governor: MLDSAAccount) -> None:
    mine = signing_with(w3, MLDSAAccount(SigningKey.generate(Scheme.ML_DSA_44)))
    with pytest.raises(Web3RPCError, match=r"eth_sendTransaction.*does not exist"):
        mine.eth.send_transaction({"from": governor.address, "to": governor.address})


def test_a_middleware_refuses_what_it_cannot_sign(running: Background) -> None:
    account = MLDSAAccount(SigningKey.generate(Scheme.ML_DSA_44))
    mine = signing_with(running.network.web3(), account)
    with pytest.raises(TransactionError, match="the transaction is for chain id 5, the node is on 19781"):
        Web3(mine.provider, middleware=[(MLDSAMiddleware(account), "sign")]).eth.send_transaction(
            {"from": account.address, "to": NOBODY, "chainId": 5, "gas": 10**6}
        )
    with pytest.raises(InvalidParamsError, match="never takes transactions with blobs"):
        mine.eth.send_transaction({"from": account.address, "gas": 10**6, "blobVersionedHashes": []})
    with pytest.raises(TransactionError, match="AsyncWeb3"):
        MLDSAMiddleware(account)(AsyncWeb3())


def test_an_account_bound_to_another_ledger_is_refused_here(w3: Web3) -> None:
    account = MLDSAAccount(SigningKey.generate(Scheme.ML_DSA_44), genesis_hash=bytes(32))
    with pytest.raises(Web3RPCError, match="the signature does not hold"):
        signing_with(w3, account).eth.send_transaction({"from": account.address, "to": NOBODY})


def test_a_repr_shows_the_address_and_not_the_seed() -> None:
    account = MLDSAAccount(SigningKey.from_seed(Scheme.ML_DSA_44, b"s" * 32))
    assert repr(account) == f"MLDSAAccount({account.address})"


def raw(running: Background, key: SigningKey, **fields: Any) -> bytes:
    given = {"chain_id": 19781, "nonce": 0, "gas": 10**6, "to": bytes(20)} | fields
    return sign_transaction(key, Fields(**given), running.network.genesis_hash)


def test_a_raw_transaction_gets_the_hash_of_its_bytes(w3: Web3, running: Background, stranger: SigningKey) -> None:
    signed = raw(running, stranger)
    name = w3.eth.send_raw_transaction(signed)
    assert bytes(name) == decode(signed).hash
    assert wait(w3, name)["from"] == Web3.to_checksum_address(stranger.address)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chain_id": 1}, "signed for chain id 1, this ledger has 19781"),
        ({"nonce": 3}, "nonce 3 leaves a gap; the next one is 0"),
        ({"gas": 21_000}, "gas 21000 is less than"),
        ({"value": 1}, "the sender has 0"),
        ({"to": b"", "data": b"\0"}, "may not create contracts"),
    ],
)
def test_a_refused_transaction_is_answered_with_the_reason(
    w3: Web3, running: Background, stranger: SigningKey, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Web3RPCError, match=reason) as caught:
        w3.eth.send_raw_transaction(raw(running, stranger, **fields))
    assert caught.value.rpc_response is not None
    assert caught.value.rpc_response["error"]["code"] == -32000


def test_bytes_that_are_no_transaction_are_refused(w3: Web3) -> None:
    for garbage in (b"", b"\x50", b"\x50\xc0", b"\xc0", b"\x03\xc0", b"\x7f"):
        with pytest.raises(Web3RPCError, match="-32000"):
            w3.eth.send_raw_transaction(garbage)


def test_a_classical_account_sends_coins_and_deploys(w3: Web3, running: Background) -> None:
    account = Account.from_key(running.network.accounts()[0].private_key)
    nonce = w3.eth.get_transaction_count(account.address, "pending")
    common = {"chainId": 19781, "gas": 100_000}
    signed = [
        account.sign_transaction({**common, "nonce": nonce, "to": NOBODY, "value": COIN, "gasPrice": 0}),
        account.sign_transaction(
            {
                **common,
                "nonce": nonce + 1,
                "to": NOBODY,
                "value": COIN,
                "maxFeePerGas": 0,
                "maxPriorityFeePerGas": 0,
                "accessList": [{"address": NOBODY, "storageKeys": ["0x" + "00" * 32]}],
            }
        ),
        account.sign_transaction({**common, "nonce": nonce + 2, "data": "0x6001600c60003960016000f300", "gasPrice": 0}),
    ]
    before = w3.eth.get_balance(Web3.to_checksum_address(NOBODY))
    receipts = [wait(w3, name) for name in [w3.eth.send_raw_transaction(one.raw_transaction) for one in signed]]
    assert [receipt.status for receipt in receipts] == [1, 1, 1]
    assert w3.eth.get_balance(Web3.to_checksum_address(NOBODY)) == before + 2 * COIN
    legacy, dynamic, creation = (w3.eth.get_transaction(receipt.transactionHash) for receipt in receipts)
    assert (legacy.type, dynamic.type, creation.to) == (0, 2, None)
    assert (legacy.v, int.from_bytes(legacy.r, "big"), int.from_bytes(legacy.s, "big")) == (
        signed[0].v,
        signed[0].r,
        signed[0].s,
    )
    assert dynamic["yParity"] == signed[1].v
    assert dynamic["accessList"][0]["storageKeys"] == ["0x" + "00" * 32]
    assert w3.eth.get_code(receipts[2].contractAddress) == b"\0"


def test_a_call_from_another_thread_runs_in_the_loops_thread(running: Background) -> None:
    seen: list[str] = []
    dispatcher = running.network.dispatcher()
    answers = [threading.Thread(target=lambda: seen.append(str(dispatcher.handle("eth_chainId")))) for _ in range(8)]
    for thread in answers:
        thread.start()
    for thread in answers:
        thread.join()
    assert seen == ["0x4d45"] * 8

    async def inside() -> int:
        return running.network.web3().eth.chain_id

    assert running.run(inside()) == 19781


def test_a_request_that_nobody_waits_for_any_more_is_not_begun(running: Background) -> None:
    dispatcher, free, begun = running.network.dispatcher(), threading.Event(), []

    async def note() -> None:
        begun.append(running.network.engine.height)

    running.loop.call_soon_threadsafe(free.wait)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(dispatcher, "_answer", lambda *_: note())
            with pytest.raises(LimitError, match="busy"):
                dispatcher.handle("eth_chainId", wait_s=0.01)
            free.set()
            running.run(SystemClock().sleep(0))
    finally:
        free.set()
    assert begun == []
    assert dispatcher.handle("eth_chainId") == "0x4d45"


def test_a_provider_whose_loop_is_gone_answers_with_an_error(running: Background) -> None:
    from chain.rpc.dispatcher import Dispatcher  # noqa: PLC0415 - made inside a loop of its own

    application = running.network.dispatcher()

    class Stub:
        genesis = running.network.genesis
        genesis_hash = running.network.genesis_hash

        @staticmethod
        def reader() -> None:
            return None

    async def make() -> Dispatcher:
        return Dispatcher(Stub(), running.network.engine, SystemClock())  # type: ignore[arg-type] # no ledger is read

    made: list[Dispatcher] = []
    thread = threading.Thread(target=lambda: made.append(asyncio.run(make())))
    thread.start()
    thread.join()
    with pytest.raises(LimitError, match="the node has stopped"):
        made[0].handle("eth_chainId")
    assert application.methods == made[0].methods
