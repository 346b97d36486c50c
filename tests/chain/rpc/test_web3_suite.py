"""web3.py's own integration tests, those that it runs against geth, against a node with unlocked accounts.

Blocks come twice a second, so that there are pending transactions, and subscribers hear of headers.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3, Web3, WebSocketProvider
from web3._utils.contract_sources.contract_data.emitter_contract import EMITTER_CONTRACT_DATA
from web3._utils.contract_sources.contract_data.math_contract import MATH_CONTRACT_DATA
from web3._utils.contract_sources.contract_data.offchain_lookup import OFFCHAIN_LOOKUP_DATA
from web3._utils.contract_sources.contract_data.panic_errors_contract import PANIC_ERRORS_CONTRACT_DATA
from web3._utils.contract_sources.contract_data.revert_contract import REVERT_CONTRACT_DATA
from web3._utils.contract_sources.contract_data.storage_contract import STORAGE_CONTRACT_DATA
from web3._utils.module_testing import (
    AsyncEthModuleTest,
    AsyncNetModuleTest,
    EthModuleTest,
    GoEthereumAsyncDebugModuleTest,
    GoEthereumAsyncTxPoolModuleTest,
    GoEthereumDebugModuleTest,
    GoEthereumTxPoolModuleTest,
    NetModuleTest,
    Web3ModuleTest,
)
from web3._utils.module_testing.persistent_connection_provider import PersistentConnectionProviderTest
from web3._utils.module_testing.utils import RequestMocker
from web3._utils.module_testing.web3_module import AsyncWeb3ModuleTest

from merit.clock import SystemClock
from tests.chain.rpc.harness import Background

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:coroutine 'AsyncEth.*' was never awaited:RuntimeWarning"),  # its batches' own
]

CONTRACTS = {
    "emitter": EMITTER_CONTRACT_DATA,
    "math": MATH_CONTRACT_DATA,
    "offchain_lookup": OFFCHAIN_LOOKUP_DATA,
    "panic_errors": PANIC_ERRORS_CONTRACT_DATA,
    "revert": REVERT_CONTRACT_DATA,
    "storage": STORAGE_CONTRACT_DATA,
}
BLOCK_S = 0.5
LOG_DOUBLE_WITH_INDEX = 9  # in the emitter's enumeration

FREE = "gas is free: the price that a node proposes is 0"
KEEPS = "the pool keeps the first transaction of a nonce: where gas is free, nobody outbids himself"
NO_DRAFT = "there is no block before validators agree on it: pending is the newest one"
THEIR_BUG = "web3.py 8.0.0 raises on what it should send: async_map_if_collection takes values for items"

BY_NATURE = {
    "test_eth_gas_price": FREE,
    "test_eth_send_transaction_no_gas": "an estimate counts the signature and key of ML-DSA, more than 21,000",
    "test_sign_authorization_send_raw_and_send_set_code_transactions": "transactions of type 4 (EIP-7702) are refused",
    "test_async_sign_authorization_send_raw_and_send_set_code_transactions": "as without async",
    "test_eth_getBlockByHash_pending": NO_DRAFT,
    "test_eth_getBlockByNumber_pending": NO_DRAFT,
    **{
        f"test_{prefix}eth_replace_transaction{case}": KEEPS
        for prefix in ("", "async_")
        for case in (
            "",
            "_legacy",
            "_underpriced",
            "_gas_price_defaulting_minimum",
            "_gas_price_defaulting_strategy_higher",
            "_gas_price_defaulting_strategy_lower",
        )
    },
    "test_eth_modify_transaction": KEEPS,
    "test_eth_modify_transaction_legacy": KEEPS,
    "test_invalid_eth_sign_typed_data": "expects Web3ValueError, which no answer of a node makes web3.py raise",
    "TestAsyncEth::test_eth_sign_typed_data": THEIR_BUG,
}
"""Why a test cannot hold, by its name: each fails over every transport (the reasons are in the README, too)."""

BY_CHANCE = {
    "TestAsyncEth::test_eth_call_offchain_lookup_tries_next_url_for_non_4xx_error_status_and_tests_POST": (
        "its mock of POST closes the connection before it reads the answer"
    ),
}
"""What may fail with any node."""


@pytest.fixture(autouse=True)
def named(request: pytest.FixtureRequest) -> None:
    name = request.node.originalname
    for reasons, strict in ((BY_NATURE, True), (BY_CHANCE, False)):
        reason = reasons.get(name) or reasons.get(f"{request.node.cls.__name__}::{name}")
        if reason is not None:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=strict))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    running = Background(
        tmp_path_factory.mktemp("web3"),
        chain_id=131_277_322_940_537,  # which its tests expect
        validators=1,
        classical=True,
        accounts=1,
        block_every_height=True,
        block_interval=BLOCK_S,
    )
    running.network.dispatcher().unlock(
        bytes.fromhex(account.private_key[2:]) for account in running.network.accounts()
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def story(node: Background) -> dict[str, Any]:
    """What there is on the ledger: contracts, a payment and a log, with hashes of transactions and blocks."""
    w3 = node.http()
    while w3.eth.block_number == 0:  # block 1 stays empty
        SystemClock().wait(BLOCK_S / 10)
    account = w3.eth.accounts[0]

    def mined(name: Any) -> Any:
        return w3.eth.wait_for_transaction_receipt(name, poll_latency=0.05)

    deployed = {
        name: mined(w3.eth.contract(abi=it["abi"], bytecode=it["bytecode"]).constructor().transact({"from": account}))
        for name, it in CONTRACTS.items()
    }
    emitter = w3.eth.contract(deployed["emitter"].contractAddress, abi=EMITTER_CONTRACT_DATA["abi"])
    logged = mined(emitter.functions.logDouble(LOG_DOUBLE_WITH_INDEX, 12345, 54321).transact({"from": account}))
    tip = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 10**9}
    paid = mined(w3.eth.send_transaction({"from": account, "to": account, "value": 1, "gas": 21_000, **tip}))
    return {"account": account, "deployed": deployed, "logged": logged, "paid": paid}


# -- what web3.py's tests ask for, by its names ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def w3(node: Background) -> Web3:
    return node.http()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["http", "websocket"])
async def async_w3(node: Background, request: pytest.FixtureRequest) -> AsyncIterator[AsyncWeb3[Any]]:
    if request.param == "http":
        w3 = AsyncWeb3(AsyncHTTPProvider(node.server.url))
        yield w3
        await w3.provider.disconnect()
        return
    async with AsyncWeb3(WebSocketProvider(node.server.url.replace("http:", "ws:"))) as connected:
        yield connected


@pytest.fixture(scope="module")
def keyfile_account_address(story: dict[str, Any]) -> Any:
    return story["account"]


@pytest.fixture(scope="module")
def keyfile_account_pkey(node: Background) -> Any:
    return node.network.accounts()[0].private_key


@pytest.fixture(scope="module")
def keyfile_account_address_dual_type(keyfile_account_address: Any) -> Any:
    return keyfile_account_address


@pytest.fixture(scope="module")
def async_keyfile_account_address(keyfile_account_address: Any) -> Any:
    return keyfile_account_address


@pytest.fixture(scope="module")
def async_keyfile_account_address_dual_type(keyfile_account_address: Any) -> Any:
    return keyfile_account_address


def _contract(name: str) -> Any:
    def made(w3: Web3, story: dict[str, Any]) -> Any:
        return w3.eth.contract(story["deployed"][name].contractAddress, abi=CONTRACTS[name]["abi"])

    return pytest.fixture(scope="module")(made)


def _async_contract(name: str) -> Any:
    def made(async_w3: AsyncWeb3[Any], story: dict[str, Any]) -> Any:
        return async_w3.eth.contract(story["deployed"][name].contractAddress, abi=CONTRACTS[name]["abi"])

    return pytest.fixture(scope="module")(made)


emitter_contract, async_emitter_contract = _contract("emitter"), _async_contract("emitter")
math_contract, async_math_contract = _contract("math"), _async_contract("math")
offchain_lookup_contract, async_offchain_lookup_contract = (
    _contract("offchain_lookup"),
    _async_contract("offchain_lookup"),
)
panic_errors_contract, async_panic_errors_contract = _contract("panic_errors"), _async_contract("panic_errors")
revert_contract, async_revert_contract = _contract("revert"), _async_contract("revert")
storage_contract, async_storage_contract = _contract("storage"), _async_contract("storage")


@pytest.fixture(scope="module")
def math_contract_address(story: dict[str, Any]) -> Any:
    return story["deployed"]["math"].contractAddress


@pytest.fixture(scope="module")
def async_math_contract_address(math_contract_address: Any) -> Any:
    return math_contract_address


@pytest.fixture(scope="module")
def emitter_contract_address(story: dict[str, Any]) -> Any:
    return story["deployed"]["emitter"].contractAddress


@pytest.fixture(scope="module")
def async_emitter_contract_address(emitter_contract_address: Any) -> Any:
    return emitter_contract_address


@pytest.fixture(scope="module")
def math_contract_deploy_txn_hash(story: dict[str, Any]) -> Any:
    return story["deployed"]["math"].transactionHash


@pytest.fixture(scope="module")
def mined_txn_hash(story: dict[str, Any]) -> Any:
    return story["paid"].transactionHash


@pytest.fixture(scope="module")
def txn_hash_with_log(story: dict[str, Any]) -> Any:
    return story["logged"].transactionHash


@pytest.fixture(scope="module")
def empty_block(node: Background, story: dict[str, Any]) -> Any:  # noqa: ARG001 - it is there when the story is told
    """Block 1, which was made before anybody sent anything."""
    block = node.http().eth.get_block(1)
    assert block["transactions"] == []
    return block


@pytest.fixture(scope="module")
def async_empty_block(empty_block: Any) -> Any:
    return empty_block


@pytest.fixture(scope="module")
def block_with_txn(node: Background, story: dict[str, Any]) -> Any:
    return node.http().eth.get_block(story["paid"].blockHash)


@pytest.fixture(scope="module")
def async_block_with_txn(block_with_txn: Any) -> Any:
    return block_with_txn


@pytest.fixture(scope="module")
def block_with_txn_with_log(node: Background, story: dict[str, Any]) -> Any:
    return node.http().eth.get_block(story["logged"].blockHash)


@pytest.fixture(scope="module")
def async_block_with_txn_with_log(block_with_txn_with_log: Any) -> Any:
    return block_with_txn_with_log


@pytest.fixture
def skip_if_testrpc() -> Callable[[Any], None]:
    return lambda _: None


@pytest.fixture
def async_skip_if_testrpc(skip_if_testrpc: Callable[[Any], None]) -> Callable[[Any], None]:
    return skip_if_testrpc


@pytest.fixture
def request_mocker() -> type[RequestMocker]:
    return RequestMocker


# -- the tests ---------------------------------------------------------------------------------------------------------


class TestEth(EthModuleTest):
    pass


class TestNet(NetModuleTest):
    pass


class TestWeb3(Web3ModuleTest):
    def _check_web3_client_version(self, client_version: str) -> None:
        assert client_version.startswith("merit/")


class TestDebug(GoEthereumDebugModuleTest):
    pass


class TestTxPool(GoEthereumTxPoolModuleTest):
    pass


class TestAsyncEth(AsyncEthModuleTest):
    pass


class TestAsyncNet(AsyncNetModuleTest):
    pass


class TestAsyncWeb3(AsyncWeb3ModuleTest):
    def _check_web3_client_version(self, client_version: str) -> None:
        assert client_version.startswith("merit/")


class TestAsyncDebug(GoEthereumAsyncDebugModuleTest):
    pass


class TestAsyncTxPool(GoEthereumAsyncTxPoolModuleTest):
    pass


@pytest.mark.parametrize("async_w3", ["websocket"], indirect=True, scope="module")
class TestPersistentConnection(PersistentConnectionProviderTest):
    pass
