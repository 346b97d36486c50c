"""The merit_* methods give a light client all that it needs."""

import hashlib
import json
from typing import Any

import pytest
from web3 import Web3
from web3.exceptions import Web3RPCError

from chain import light
from chain.application import Timestamp
from chain.crypto.schemes import SigningKey
from chain.genesis import Quotas, decode_genesis
from chain.rpc.middleware import MLDSAAccount, MLDSAMiddleware
from tests.chain.rpc.harness import Background


def ask(w3: Web3, method: str, *params: Any) -> Any:
    return w3.manager.request_blocking(method, list(params))  # type: ignore[arg-type] # web3 knows Ethereum's names only


@pytest.fixture(scope="module")
def heights(signing: Web3, governor: MLDSAAccount) -> int:
    """At least two heights, and how many there are."""
    for _ in range(2):
        name = signing.eth.send_transaction({"from": governor.address, "to": governor.address})
        signing.eth.wait_for_transaction_receipt(name, timeout=20, poll_latency=0.02)
    return int(ask(signing, "merit_status")["height"], 16)


def validators_of(answer: Any) -> light.ValidatorSet:
    return light.ValidatorSet(
        tuple(light.Validator(bytes.fromhex(one["publicKey"][2:]), int(one["power"], 16)) for one in answer)
    )


def certificate(answer: Any) -> tuple[light.Header, light.Commit]:
    header, commit = (bytes.fromhex(answer[part][2:]) for part in ("header", "commit"))
    return light.decode_header(header), light.decode_commit(commit)


def test_the_genesis_document_hashes_to_the_extra_data_of_block_0(w3: Web3, running: Background) -> None:
    document = ask(w3, "merit_genesis")
    canonical = json.dumps(json.loads(w3.to_json(document)), sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).digest() == bytes(w3.eth.get_block(0).extraData)
    assert decode_genesis(canonical) == running.network.genesis
    assert ask(w3, "merit_genesisHash") == "0x" + w3.eth.get_block(0).hash.hex()


def test_commits_verify_from_the_genesis_document_to_the_newest_block(w3: Web3, heights: int) -> None:
    genesis = decode_genesis(json.dumps(json.loads(w3.to_json(ask(w3, "merit_genesis")))).encode())
    validators = validators_of(ask(w3, "merit_validators", "0x1"))
    assert {one.public_key for one in validators} == {bytes(one.public_key) for one in genesis.validators}
    header, commit = certificate(ask(w3, "merit_commit", "earliest"))
    trusted = light.verify_first(
        header,
        commit,
        validators,
        genesis.name,
        genesis_time=light.Timestamp(genesis.time),
        app_hash=bytes.fromhex(ask(w3, "merit_genesisHash")[2:]),
    )
    for height in range(2, heights + 1):
        trusted = light.verify_next(trusted, *certificate(ask(w3, "merit_commit", hex(height))))
    assert bytes(trusted.header.app_hash) == bytes(w3.eth.get_block(_block_before(w3, heights)).hash)


def _block_before(w3: Web3, height: int) -> int:
    """The newest block of the heights before this one: what its header commits to."""
    return max(
        number
        for number in range(w3.eth.block_number + 1)
        if number == 0 or int.from_bytes(w3.eth.get_block(number).extraData, "big") < height
    )


def test_status_tells_heights_hashes_and_rules(w3: Web3, running: Background, heights: int) -> None:
    status = ask(w3, "merit_status")
    assert int(status["height"], 16) >= heights
    assert int(status["blockNumber"], 16) == w3.eth.block_number
    assert status["blockHash"] == "0x" + w3.eth.get_block("latest").hash.hex()
    assert status["genesisHash"] == "0x" + running.network.genesis_hash.hex()
    assert status["name"] == "merit-4d45"
    assert status["classical"] is True
    assert status["versions"] == {"execution": 1, "contracts": 1, "rules": 1}
    assert int(status["validators"], 16) == running.network.validators
    newest = ask(w3, "merit_commit")
    assert int(newest["height"], 16) >= heights
    assert Timestamp(*map(int, newest["time"].split("."))) > Timestamp(0)


def test_a_height_that_is_not_decided_is_not_found(w3: Web3) -> None:
    with pytest.raises(Web3RPCError, match="height 1000000 is not decided here"):
        ask(w3, "merit_commit", "0xf4240")
    with pytest.raises(Web3RPCError, match="is not a quantity"):
        ask(w3, "merit_commit", "first")


def test_a_page_of_heights_holds_what_was_decided_at_each(w3: Web3, heights: int, running: Background) -> None:
    answer = ask(w3, "merit_heights", "0x1", hex(heights))
    assert int(answer["height"], 16) >= heights
    assert len(answer["heights"]) == heights
    for height, one in enumerate(answer["heights"], 1):
        alone = ask(w3, "merit_commit", hex(height))
        assert (one["header"], one["commit"]) == (alone["header"], alone["commit"])
        header, _ = certificate(one)
        txs = light.decode_txs(bytes.fromhex(one["transactions"][2:]))
        assert light.data_hash(txs) == header.data_hash
        assert txs == running.run(transactions_of(running, height))
    apps = [one["appHash"] for one in answer["heights"]]
    committed = [ask(w3, "merit_commit", hex(height))["appHash"] for height in range(2, heights + 1)]
    assert apps[:-1] == committed, "the next header commits to what executing a height gave"
    assert apps[-1] == "0x" + w3.eth.get_block("latest").hash.hex()


async def transactions_of(running: Background, height: int) -> tuple[bytes, ...]:
    return running.network.engine.transactions(light.Height(height))


@pytest.mark.parametrize(
    ("first", "count", "given"), [(2, 1, 1), (2, 0, 0), (0, 1, 1), (10**6, 5, 0), (1, 2**63, None)]
)
def test_a_page_ends_at_the_newest_height(w3: Web3, heights: int, first: int, count: int, given: int | None) -> None:
    assert len(ask(w3, "merit_heights", hex(first), hex(count))["heights"]) == (heights if given is None else given)


def test_a_page_is_bounded_in_heights_and_in_bytes(
    running: Background, heights: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given() -> int:
        return len(ask(running.http(), "merit_heights", "0x1", "0xffff")["heights"])

    assert given() == heights >= 2
    monkeypatch.setattr("chain.rpc.ledger.HEIGHTS_BYTES", 1)
    assert given() == 1, "the first one comes whatever its size"
    monkeypatch.undo()
    monkeypatch.setattr("chain.rpc.ledger.HEIGHTS_PER_PAGE", 1)
    assert given() == 1


def test_the_status_names_the_edge_servers_that_were_announced(w3: Web3, running: Background) -> None:
    assert ask(w3, "merit_status")["edgeServers"] == []
    running.network.dispatcher().announce({3: "http://127.0.0.1:8601"})
    named = [dict(one) for one in ask(w3, "merit_status")["edgeServers"]]
    running.network.dispatcher().announce({})
    assert named == [{"member": "0x3", "url": "http://127.0.0.1:8601"}]


def test_an_account_is_told_its_quota_and_what_it_has_used(
    w3: Web3, running: Background, governor: MLDSAAccount, stranger: SigningKey
) -> None:
    account = MLDSAAccount(stranger, running.network.genesis_hash)
    limits = Quotas().stranger
    name = "0x" + stranger.address.hex()
    fresh = ask(w3, "merit_quota", name)
    assert (fresh["kind"], fresh["member"], fresh["reserve"]) == ("stranger", "0x0", None)
    assert [one["of"] for one in fresh["quotas"]] == [f"stranger {name}", "all strangers together"]
    assert fresh["quotas"][0]["used"] == {"transactions": "0x0", "bytes": "0x0", "gas": "0x0"}
    assert fresh["quotas"][0]["limit"] == {
        "transactions": hex(limits.transactions),
        "bytes": hex(limits.bytes),
        "gas": hex(limits.gas),
    }
    assert int(fresh["nextWindow"], 16) % int(fresh["windowSeconds"], 16) == 0
    mine = running.http()
    mine.middleware_onion.inject(MLDSAMiddleware(account), layer=0)
    with pytest.raises(Web3RPCError, match=r"quota of stranger .* of a whole window") as refused:
        mine.eth.send_transaction({"from": account.address, "to": account.address, "gas": limits.gas + 1})
    assert refused.value.rpc_response is not None
    assert refused.value.rpc_response["error"]["code"] == -32005
    sent = mine.eth.send_transaction({"from": account.address, "to": account.address, "gas": 1_000_000})
    mine.eth.wait_for_transaction_receipt(sent, timeout=20, poll_latency=0.02)
    used = ask(w3, "merit_quota", name)["quotas"][0]["used"]  # the ledger is idle, so its window is that of the block
    assert (used["transactions"], used["gas"]) == ("0x1", hex(1_000_000))
    assert int(used["bytes"], 16) > len(stranger.public_key)
    assert ask(w3, "merit_quota", "0x" + governor.key.address.hex())["quotas"] == []
