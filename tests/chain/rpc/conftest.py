import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vyper
from eth_account import Account
from web3 import Web3

from chain.crypto.schemes import Scheme, SigningKey
from chain.rpc.middleware import MLDSAAccount, MLDSAMiddleware
from tests.chain.rpc.harness import Background

COIN = 10**18


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    network = Background(tmp_path_factory.mktemp("rpc"), validators=1, classical=True, accounts=2)
    yield network
    network.stop()


@pytest.fixture(params=["in process", "http"])
def w3(running: Background, request: pytest.FixtureRequest) -> Web3:
    """Both ways in; every claim that takes this holds for both."""
    return running.network.web3() if request.param == "in process" else running.http()


@pytest.fixture
def http(running: Background) -> Web3:
    return running.http()


@pytest.fixture(scope="session")
def governor(running: Background) -> MLDSAAccount:
    return MLDSAAccount(running.network.key("governor"), running.network.genesis_hash)


@pytest.fixture(scope="session")
def signing(running: Background, governor: MLDSAAccount) -> Web3:
    """A connection that signs for the governor."""
    w3 = running.http()
    w3.middleware_onion.inject(MLDSAMiddleware(governor), layer=0)
    return w3


@pytest.fixture(scope="session")
def classical(running: Background) -> Any:
    """A secp256k1 account that has coins and may deploy contracts."""
    return Account.from_key(running.network.accounts()[0].private_key)


@pytest.fixture(scope="session")
def probe_code() -> dict[str, Any]:
    """ABI (with the error that Vyper cannot declare) and bytecode of Probe.vy."""
    source = (Path(__file__).parent / "Probe.vy").read_text()
    code: dict[str, Any] = vyper.compile_code(source, output_formats=["abi", "bytecode"])
    error = {"type": "error", "name": "Refused", "inputs": [{"name": "why", "type": "uint256"}]}
    return {"abi": json.loads(json.dumps([*code["abi"], error])), "bytecode": code["bytecode"]}


def send(w3: Web3, account: Any, call: Any) -> Any:
    """Sign and send what a contract function or constructor wants; the receipt."""
    nonce = w3.eth.get_transaction_count(account.address, "pending")
    fields = call.build_transaction({"from": account.address, "nonce": nonce, "gasPrice": 0})
    name = w3.eth.send_raw_transaction(account.sign_transaction(fields).raw_transaction)
    return w3.eth.wait_for_transaction_receipt(name, timeout=60, poll_latency=0.02)


@pytest.fixture(scope="session")
def probes(running: Background, classical: Any, probe_code: dict[str, Any]) -> tuple[Any, Any]:
    """Two contracts; the first forwards to the second."""
    w3 = running.http()
    factory = w3.eth.contract(abi=probe_code["abi"], bytecode=probe_code["bytecode"])
    made = [send(w3, classical, factory.constructor(start)).contractAddress for start in (1, 2)]
    first, second = (w3.eth.contract(address, abi=probe_code["abi"]) for address in made)
    return first, second


@pytest.fixture
def stranger() -> SigningKey:
    return SigningKey.generate(Scheme.ML_DSA_44)
