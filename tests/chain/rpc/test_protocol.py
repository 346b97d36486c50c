"""JSON-RPC itself: whatever comes in, an answer or an error object goes out."""

import json
import logging
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.rpc.dispatcher import Dispatcher
from chain.rpc.errors import InternalError, InvalidParamsError, LimitError, MethodNotFoundError
from chain.rpc.limits import FILTERS, REQUEST_BYTES, REQUESTS_PER_BATCH
from contracts import addresses
from tests.chain.rpc.conftest import send
from tests.chain.rpc.harness import Background

TOKEN = "0x" + addresses.TOKEN.hex()
HASH = "0x" + "01" * 32


@pytest.fixture(scope="module")
def dispatcher(running: Background) -> Dispatcher:
    return running.network.dispatcher()


def request(method: object, params: object = (), **changes: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params) if params == () else params} | changes


def code(answer: object) -> int:
    assert isinstance(answer, dict)
    assert set(answer["error"]) <= {"code", "message", "data"}
    assert "\n" not in answer["error"]["message"]
    return int(answer["error"]["code"])


def test_an_answer_repeats_the_id(dispatcher: Dispatcher) -> None:
    for number in (1, "one", 1.5, None):
        assert dispatcher.handle_request(request("eth_chainId", id=number)) == {
            "jsonrpc": "2.0",
            "id": number,
            "result": "0x4d45",
        }


def test_a_notification_gets_no_answer(dispatcher: Dispatcher) -> None:
    silent = {"jsonrpc": "2.0", "method": "eth_chainId"}
    assert dispatcher.handle_request(silent) is None
    assert dispatcher.handle_request([silent, silent]) is None
    assert dispatcher.handle_request({**silent, "method": "eth_nothing"}) is None
    assert dispatcher.handle_body(json.dumps(silent).encode()) == b""


def test_a_batch_is_answered_in_order(dispatcher: Dispatcher) -> None:
    batch = [request("eth_chainId", id=1), request("eth_nothing", id=2), 5, request("net_version", id=3)]
    answers = dispatcher.handle_request(batch)
    assert isinstance(answers, list)
    assert [answer["id"] for answer in answers] == [1, 2, None, 3]
    assert [answer.get("result") for answer in answers] == ["0x4d45", None, None, "19781"]


def test_batches_that_are_empty_or_too_long_are_refused(dispatcher: Dispatcher) -> None:
    assert code(dispatcher.handle_request([])) == -32600
    assert code(dispatcher.handle_request([request("eth_chainId")] * (REQUESTS_PER_BATCH + 1))) == -32005


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"nul",
        b'"' + b"a" * 10,
        b'{"jsonrpc": NaN}',
        b"\x00",
        b"1 2",
    ],
)
def test_what_is_not_json_is_a_parse_error(dispatcher: Dispatcher, body: bytes) -> None:
    assert code(json.loads(dispatcher.handle_body(body))) == -32700


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["[", ', b'["\\"", [', b'["' + b'\\"' * 1_000])
def test_json_that_would_overrun_the_stack_is_refused(dispatcher: Dispatcher, opening: bytes) -> None:
    assert code(json.loads(dispatcher.handle_body((opening * 200_000)[:REQUEST_BYTES]))) == -32700


def test_brackets_in_a_string_do_not_nest(dispatcher: Dispatcher) -> None:
    answer = json.loads(dispatcher.handle_body(json.dumps(request("eth_chainId", id='["{' * 100)).encode()))
    assert answer["result"] == "0x4d45"


@pytest.mark.parametrize(
    "wrong",
    [
        1,
        None,
        "eth_chainId",
        {},
        {"jsonrpc": "1.0", "id": 1, "method": "eth_chainId"},
        request("eth_chainId", id=[]),
        request("eth_chainId", id=True),
        request(5),
        request("eth_chainId", params={"a": 1}),
        request("eth_chainId", params="x"),
    ],
)
def test_json_that_is_no_request_is_refused(dispatcher: Dispatcher, wrong: object) -> None:
    assert code(dispatcher.handle_request(wrong)) == -32600


def test_an_unknown_method_is_named(dispatcher: Dispatcher) -> None:
    with pytest.raises(MethodNotFoundError, match="the method 'eth_sendTransaction' does not exist"):
        dispatcher.handle("eth_sendTransaction", [{}])


@pytest.mark.parametrize(
    ("method", "params", "reason"),
    [
        ("eth_chainId", [1], "1 parameters, at most 0 are taken"),
        ("eth_getBalance", [], "address is missing"),
        ("eth_getBalance", [None], "address is missing"),
        ("eth_getBalance", ["0x12"], "address: '0x12' has 1 bytes, expected 20"),
        ("eth_getBalance", ["0xzz"], "address: '0xzz' is not data"),
        ("eth_getBalance", [TOKEN, "0x01"], "block: '0x01' is not a quantity"),
        ("eth_getBalance", [TOKEN, "newest"], "block: 'newest' is not a quantity"),
        ("eth_getBalance", [TOKEN, 1], "block: 1 is no block: give a number, a hash, or one of latest"),
        ("eth_getBalance", [TOKEN, {"blockHash": HASH, "blockNumber": "0x0"}], "is no block"),
        ("eth_getBalance", [TOKEN, {"blockHash": HASH, "requireCanonical": 1}], "requireCanonical: 1 is neither"),
        ("eth_getBlockByNumber", [HASH, False], "is not a quantity"),
        ("eth_getBlockByNumber", ["0x1" + "0" * 16, False], "has more than 64 bits"),
        ("eth_getBlockByNumber", ["0x0", "yes"], "full transactions: 'yes' is neither true nor false"),
        ("eth_getBlockByHash", ["0x0"], "hash: '0x0' is not data"),
        ("eth_sendRawTransaction", ["0x 00"], "transaction: '0x 00' is not data"),
        ("eth_getStorageAt", [TOKEN, "0xasdf"], 'invalid hex in storage key: "0xasdf"'),
        ("eth_getStorageAt", [TOKEN, "0x" + "0" * 65], "storage key too long"),
        ("eth_call", ["x"], "transaction: 'x' is not an object"),
        ("eth_call", [{"to": TOKEN, "colour": "red"}], "transaction: unknown field 'colour'"),
        ("eth_call", [{"to": TOKEN, "data": "0x01", "input": "0x02"}], "data and input differ"),
        ("eth_call", [{"to": TOKEN, "gas": "0x" + "f" * 17}], "transaction.gas: .* has more than 64 bits"),
        ("eth_call", [{"gasPrice": "0x0", "maxFeePerGas": "0x0"}], "exclude each other"),
        ("eth_call", [{"maxPriorityFeePerGas": "0x1"}], "maxPriorityFeePerGas is greater"),
        ("eth_call", [{"accessList": [{}]}], "transaction.accessList.address: None is not data"),
        ("eth_call", [{"to": TOKEN}, "latest", {"0x1": {}}], "state overrides: '0x1' is not data"),
        ("eth_call", [{"to": TOKEN}, "latest", {TOKEN: {"money": "0x1"}}], "unknown field 'money'"),
        ("eth_call", [{"to": TOKEN}, "latest", {TOKEN: {"state": {}, "stateDiff": {}}}], "exclude each other"),
        ("eth_call", [{"to": TOKEN}, "latest", {}, {"time": 1}], "block overrides.time: 1 is not a quantity"),
        ("eth_getStorageValues", [{}], "empty request"),
        ("debug_traceCall", [{}, "latest", {"tracer": "4byteTracer"}], "'4byteTracer' is not known"),
        ("debug_traceCall", [{}, "latest", {"tracer": {}}], "{} is not known"),
        ("eth_getLogs", [{"topics": [1]}], r"filter.topics\[0\]: 1 is not a list"),
        ("eth_getLogs", [{"topics": [None] * 5}], "5 items, at most 4 are allowed"),
        ("eth_getLogs", [{"address": 1}], "filter.address: 1 is not a list"),
        ("eth_getLogs", [{"limit": 1}], "unknown field 'limit'"),
        ("eth_newFilter", [{"blockHash": HASH}], "a filter watches what is to come"),
        ("eth_feeHistory", [1, "latest", [101]], "a percentile is a number from 0 to 100"),
        ("eth_feeHistory", [1, "latest", [2, 1]], "percentiles must rise"),
        ("eth_feeHistory", [-1, "latest"], "block count: -1 is not a quantity"),
        ("eth_getProof", [TOKEN, "0x0"], "storage keys: '0x0' is not a list"),
        ("eth_getProof", [TOKEN, ["0x0"] * 1_025], "1025 items, at most 1024 are allowed"),
        ("eth_sendRawTransaction", ["0x0"], "transaction: '0x0' is not data"),
        ("eth_sendRawTransaction", ["0x" + "00" * 600_000], "is longer than"),
        ("eth_uninstallFilter", ["0xzz"], "filter id: '0xzz' is not a quantity"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_wrong(
    dispatcher: Dispatcher, method: str, params: list[object], reason: str
) -> None:
    with pytest.raises(InvalidParamsError, match=reason):
        dispatcher.handle(method, params)


def test_blocks_are_named_in_every_way_of_eip_1898(dispatcher: Dispatcher) -> None:
    genesis = dispatcher.handle("eth_getBlockByNumber", ["earliest"])
    assert isinstance(genesis, dict)
    for name in ("0x0", "earliest", genesis["hash"], {"blockNumber": "0x0"}, {"blockHash": genesis["hash"]}):
        assert dispatcher.handle("eth_getTransactionCount", [TOKEN, name]) == "0x1"
    assert dispatcher.handle("eth_getBlockReceipts", ["0x0"]) == []
    assert dispatcher.handle("eth_getBlockReceipts", ["0xffffff"]) is None
    assert dispatcher.handle("eth_getUncleCountByBlockNumber", ["0x0"]) == "0x0"
    assert dispatcher.handle("eth_getUncleCountByBlockHash", [HASH]) is None
    assert dispatcher.handle("eth_getBlockTransactionCountByHash", [HASH]) is None
    assert dispatcher.handle("eth_getTransactionByBlockNumberAndIndex", ["0x0", "0x100000000"]) is None


def test_a_proof_names_whole_storage_keys_as_data_and_others_as_quantities(dispatcher: Dispatcher) -> None:
    proof = dispatcher.handle("eth_getProof", [TOKEN, ["0x0", "0x00", "0x" + "0" * 64]])
    assert isinstance(proof, dict)
    assert [entry["key"] for entry in proof["storageProof"]] == ["0x0", "0x0", "0x" + "0" * 64]


def test_a_query_for_more_logs_than_are_given_at_once_is_refused_whole(
    dispatcher: Dispatcher,
    probes: tuple[Any, Any],
    running: Background,
    classical: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in (5, 6):
        send(running.http(), classical, probes[0].functions.change(value))
    query = {"fromBlock": "0x0", "toBlock": "latest", "address": probes[0].address}
    assert isinstance(dispatcher.handle("eth_getLogs", [query]), list)
    monkeypatch.setattr("chain.execution.reader.LOGS_PER_QUERY", 1)
    assert code(dispatcher.handle_request(request("eth_getLogs", [query]))) == -32005


def test_the_number_of_filters_is_bounded(dispatcher: Dispatcher) -> None:
    names = [dispatcher.handle("eth_newBlockFilter") for _ in range(FILTERS)]
    with pytest.raises(LimitError, match="1000 filters are installed"):
        dispatcher.handle("eth_newBlockFilter")
    for name in names:
        assert dispatcher.handle("eth_uninstallFilter", [name])


def test_a_filter_for_blocks_has_no_logs(dispatcher: Dispatcher) -> None:
    name = dispatcher.handle("eth_newBlockFilter")
    with pytest.raises(InvalidParamsError, match="it has no logs"):
        dispatcher.handle("eth_getFilterLogs", [name])
    assert dispatcher.handle("eth_uninstallFilter", [name])


def test_a_bug_of_ours_is_an_internal_error_and_in_the_log(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chain.rpc.ethereum.shapes.block", lambda *_: 1 / 0)
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(InternalError, match="eth_getBlockByNumber failed \\(ZeroDivisionError\\)"),
    ):
        dispatcher.handle("eth_getBlockByNumber", ["0x0"])
    assert "ZeroDivisionError" in caplog.text


TEXTS = st.one_of(
    st.sampled_from(
        ["latest", "pending", "earliest", "0x", "0x0", "0x1", "0xffffffffffffffff", TOKEN, HASH, "0xZZ", ""]
    ),
    st.binary(max_size=40).map(lambda data: "0x" + data.hex()),
    st.integers(0, 2**300).map(hex),
    st.text(max_size=8),
)
CALL_KEYS = ["from", "to", "data", "input", "gas", "value", "nonce", "gasPrice", "maxFeePerGas", "accessList", "type"]
OTHER_KEYS = ["chainId", "fromBlock", "toBlock", "blockHash", "address", "topics", "blockNumber", "storageKeys"]
KEYS = st.sampled_from([*CALL_KEYS, *OTHER_KEYS])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, TEXTS), inner, max_size=4)),
    max_leaves=8,
)


@settings(max_examples=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_method_answers_any_parameters_with_a_result_or_an_error_object(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    method = data.draw(st.sampled_from(dispatcher.methods))
    params = data.draw(st.lists(VALUES, max_size=4))
    answer: Any = dispatcher.handle_request(request(method, params))
    if "error" in answer:
        assert code(answer) in {-32602, -32000, -32001, -32005, 3}
    msgspec.json.encode(answer)
    assert not caplog.records  # nothing failed inside


@settings(max_examples=200)
@given(body=st.one_of(st.binary(max_size=200), VALUES.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_answered(dispatcher: Dispatcher, body: bytes) -> None:
    answer = dispatcher.handle_body(body)
    assert not answer or json.loads(answer)
