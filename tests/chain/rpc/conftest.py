from collections.abc import Iterator

import pytest
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


@pytest.fixture
def stranger() -> SigningKey:
    return SigningKey.generate(Scheme.ML_DSA_44)
