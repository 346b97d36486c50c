"""A sender whose ledger has no room for it in this window: it waits, says so once, and sends when there is room."""

import logging
from typing import Any

import pytest
from web3 import Web3
from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from chain.crypto.schemes import Scheme, SigningKey
from node.sender import WAIT_S, MLDSASigner, Sender
from tests.node.edge.world import HandClock

QUOTA, OTHER = -32005, -32000


class Ledger(BaseProvider):
    """Answers as a node whose pool refuses everything with one code, until it takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: int | None = QUOTA
        self.offered = 0

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ARG002 - the base class names it
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": 1}
        if method == "eth_sendRawTransaction":
            self.offered += 1
            if self.refuses is not None:
                return RPCResponse(answer | {"error": {"code": self.refuses, "message": "quota of edge server 1"}})  # type: ignore[typeddict-item] # a dict that is one
            return RPCResponse(answer | {"result": "0x" + "ab" * 32})  # type: ignore[typeddict-item] # as above
        result = {"eth_getTransactionCount": "0x7", "eth_chainId": "0x1"}.get(method)
        return RPCResponse(answer | {"result": result})  # type: ignore[typeddict-item] # as above


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def clock() -> HandClock:
    return HandClock(0.0)


@pytest.fixture
def sender(ledger: Ledger, clock: HandClock) -> Sender:
    key = SigningKey.from_seed(Scheme.ML_DSA_44, bytes(32))
    return Sender(Web3(ledger), MLDSASigner(key, chain_id=1, genesis_hash=bytes(32), key_on_chain=True), clock)


def send(sender: Sender, purpose: str = "records 1") -> bytes | None:
    return sender.send(purpose, to=bytes(20), data=b"", gas=1)


def test_a_quota_is_waited_for_and_logged_once(
    sender: Sender, ledger: Ledger, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert send(sender) is None
            assert send(sender) is None
            clock.wait(WAIT_S)
    assert ledger.offered == 3
    assert [record.getMessage() for record in caplog.records] == [caplog.records[0].getMessage()]
    assert "transaction for records 1 waits" in caplog.text
    assert "quota of edge server 1" in caplog.text
    ledger.refuses = None
    assert send(sender) == bytes.fromhex("ab" * 32)


def test_other_purposes_do_not_wait_for_the_one_that_a_quota_holds_up(sender: Sender, ledger: Ledger) -> None:
    assert send(sender) is None
    ledger.refuses = None
    assert send(sender) is None
    assert send(sender, "attest 1/1") is not None


def test_another_refusal_is_told_each_time_and_tried_again_at_once(
    sender: Sender, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.refuses = OTHER
    with caplog.at_level(logging.WARNING):
        assert send(sender) is send(sender) is None
    assert ledger.offered == len(caplog.records) == 2
