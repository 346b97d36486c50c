"""What CometBFT answers is decoded whole, and whatever else comes is an answer that did not come.

The answers are those of a CometBFT v0.40 with one validator; its key and its signature are shortened.
"""

import asyncio
import base64
import copy
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import httpx
import pytest

from chain import light
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme, SigningKey
from chain.engines.cometbft.rpc import VALIDATORS_MAX, CometRpc, Status
from chain.engines.errors import CometUnreachableError, UnknownHeightError
from chain.light import Height

T = TypeVar("T")
URL = "http://comet"
KEYS = [SigningKey.from_seed(Scheme.ML_DSA_65, keccak256(b"%d" % number)).public_key for number in range(5)]

STATUS: Any = {
    "node_info": {"network": "merit-4d45", "version": "0.39.0", "moniker": "node1"},
    "sync_info": {
        "latest_block_hash": "148BE1575737AE2C6C55358ED4B0D5C7E9F7CB61C98947164359451328EC92A7",
        "latest_app_hash": "A74CB3E5EA2D9AC564C40161E3DA8E43B788B2DE327C1539AC5A9BBA6CD14E69",
        "latest_block_height": "14",
        "latest_block_time": "2026-11-21T19:03:01.546051106Z",
        "earliest_block_height": "1",
        "catching_up": False,
    },
    "validator_info": {"address": "E655460A273467C219F3C944C3B32D9D181F5F92", "voting_power": "1"},
}
NET_INFO: Any = {"listening": True, "listeners": ["Listener(@)"], "n_peers": "0", "peers": []}
COMMIT: Any = {
    "signed_header": {
        "header": {
            "version": {"block": "11", "app": "1"},
            "chain_id": "merit-4d45",
            "height": "3",
            "time": "2026-11-21T19:02:04.693793102Z",
            "last_block_id": {
                "hash": "1F8A65F319A2ECA0513347A3DF8DC8611F2C623AA5152BC4ECF44B4897B9C9D2",
                "parts": {"total": 1, "hash": "4FA1ECA9C98186808AA67BEE5FED7E29294EEA89D2917C0337A5D7A7D22BFD80"},
            },
            "last_commit_hash": "882CE80EE780704C4F8ABDA99C38BC63383C36CFC94F9514B9725D702773823C",
            "data_hash": "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "validators_hash": "DD1B0D1EAF1A51E5745FF33E074A6807A6C62F64D877670FBF7C1464EB535422",
            "next_validators_hash": "DD1B0D1EAF1A51E5745FF33E074A6807A6C62F64D877670FBF7C1464EB535422",
            "consensus_hash": "BAB5041D16246E2757DB17AF4B55FAAFBFD8660F7EB32871C99F91D0E58D5BF2",
            "app_hash": "A74CB3E5EA2D9AC564C40161E3DA8E43B788B2DE327C1539AC5A9BBA6CD14E69",
            "last_results_hash": "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "evidence_hash": "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "proposer_address": "E655460A273467C219F3C944C3B32D9D181F5F92",
        },
        "commit": {
            "height": "3",
            "round": 0,
            "block_id": {
                "hash": "F5283AA9BA1D99D9808960049D7E8624E27B4D0D3CC52844764000C23BEC9A77",
                "parts": {"total": 1, "hash": "229BD52F9A7707E5ABCD3F2B8884C5B5B35DC6969CBBA1BC688A0925AA316033"},
            },
            "signatures": [
                {
                    "block_id_flag": 2,
                    "validator_address": "E655460A273467C219F3C944C3B32D9D181F5F92",
                    "timestamp": "2026-11-21T19:02:09.774731734Z",
                    "signature": "VaeOUzxtcZg5KHJ2krsabgKwNRjSDh0POKtb",
                },
                {"block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": None},
            ],
        },
    },
    "canonical": True,
}
BLOCK: Any = {"block_id": {}, "block": {"header": {}, "data": {"txs": []}, "evidence": {"evidence": []}}}
TOO_HIGH = {
    "code": -32603,
    "message": "Internal error",
    "data": "height 999 must be less than or equal to the current blockchain height 14",
}


def validators(total: str = "1", keys: list[bytes] | None = None) -> Any:
    return {
        "block_height": "3",
        "validators": [
            {
                "address": "E655460A273467C219F3C944C3B32D9D181F5F92",
                "pub_key": {"type": "cometbft/PubKeyMlDsa65", "value": base64.b64encode(key).decode()},
                "voting_power": "1",
                "proposer_priority": "0",
            }
            for key in (KEYS[:1] if keys is None else keys)
        ],
        "count": "1",
        "total": total,
    }


ANSWERS = {"/status": STATUS, "/net_info": NET_INFO, "/commit": COMMIT, "/block": BLOCK, "/validators": validators()}
QUESTIONS: dict[str, Callable[[CometRpc], Awaitable[Any]]] = {
    "/status": lambda rpc: rpc.status(),
    "/net_info": lambda rpc: rpc.status(),
    "/commit": lambda rpc: rpc.signed_header(Height(3)),
    "/block": lambda rpc: rpc.transactions(Height(3)),
    "/validators": lambda rpc: rpc.validators(Height(3)),
}


def asked(answer: Callable[[httpx.Request], httpx.Response], question: Callable[[CometRpc], Awaitable[T]]) -> T:
    async def work() -> T:
        rpc = CometRpc(URL, transport=httpx.MockTransport(answer))
        try:
            return await question(rpc)
        finally:
            await rpc.close()

    return asyncio.run(work())


def serving(answers: dict[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
    """Answer as CometBFT does."""
    return lambda request: httpx.Response(
        200, content=json.dumps({"jsonrpc": "2.0", "id": -1, "result": answers[request.url.path]})
    )


def test_where_it_stands_is_read() -> None:
    assert asked(serving(ANSWERS), lambda rpc: rpc.status()) == Status(Height(14), catching_up=False, peers=0)


def test_a_signed_header_is_read_whole() -> None:
    header, commit = asked(serving(ANSWERS), lambda rpc: rpc.signed_header(Height(3)))
    said = COMMIT["signed_header"]
    assert (header.chain_id, header.height, header.app_version) == ("merit-4d45", 3, 1)
    assert header.time == light.Timestamp(1795287724, 693793102)
    assert header.app_hash.hex().upper() == said["header"]["app_hash"]
    assert header.proposer_address.hex().upper() == said["header"]["proposer_address"]
    assert (commit.height, commit.round) == (3, 0)
    assert commit.signatures[0].flag is light.BlockIdFlag.COMMIT
    assert base64.b64encode(commit.signatures[0].signature).decode() == said["commit"]["signatures"][0]["signature"]
    assert commit.signatures[1] is light.ABSENT


def test_the_header_hashes_to_what_the_commit_is_for() -> None:
    header, commit = asked(serving(ANSWERS), lambda rpc: rpc.signed_header(Height(3)))
    assert light.header_hash(header) == commit.block_id.hash


def test_header_and_commit_are_asked_for_alone_too() -> None:
    signed = asked(serving(ANSWERS), lambda rpc: rpc.signed_header(Height(3)))
    assert asked(serving(ANSWERS), lambda rpc: rpc.header(Height(3))) == signed[0]
    assert asked(serving(ANSWERS), lambda rpc: rpc.commit(Height(3))) == signed[1]


@pytest.mark.parametrize(("said", "read"), [(None, ()), ([], ()), (["YWJj", ""], (b"abc", b""))])
def test_the_transactions_of_a_height_are_read(said: Any, read: tuple[bytes, ...]) -> None:
    answers = {"/block": {"block": {"data": {"txs": said}}}}
    assert asked(serving(answers), lambda rpc: rpc.transactions(Height(3))) == read


def test_validators_are_read_over_all_pages() -> None:
    pages = []

    def answer(request: httpx.Request) -> httpx.Response:
        page = len(pages)
        pages.append(request.url.params["page"])
        keys = [KEYS[:2], KEYS[2:4], KEYS[4:]][page]
        return httpx.Response(200, json={"result": validators("5", keys)})

    found = asked(answer, lambda rpc: rpc.validators(Height(3)))
    assert found == light.ValidatorSet.of([light.Validator(key, 1) for key in KEYS])
    assert len(pages) == 3


def test_a_call_goes_into_the_mempool_and_a_refusal_of_it_is_nobodys_problem() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(500, json={"error": {"code": -32603, "message": "tx already exists in cache"}})

    asked(answer, lambda rpc: rpc.call(b"\xa5\x01"))
    assert seen == [f"{URL}/broadcast_tx_async?tx=0xa501"]


@pytest.mark.parametrize("path", ["/commit", "/block", "/validators"])
def test_a_height_that_is_not_decided_is_told_with_the_newest(path: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == path:
            return httpx.Response(500, json={"jsonrpc": "2.0", "id": -1, "error": TOO_HIGH})
        return serving(ANSWERS)(request)

    with pytest.raises(UnknownHeightError, match="height 3 is not decided here; the newest is 14"):
        asked(answer, QUESTIONS[path])


BODIES = [
    b"",
    b"null",
    b"[]",
    b"5",
    b'"text"',
    b"{",
    b"<html>502</html>",
    b"\xff\xfe",
    b"{}",
    b'{"result": null}',
    b'{"result": []}',
    b'{"result": {}}',
    b'{"result": "text"}',
    b'{"error": "text"}',
    b'{"error": {"data": 5}}',
]


@pytest.mark.parametrize("path", ANSWERS)
@pytest.mark.parametrize("body", BODIES, ids=[repr(body[:20]) for body in BODIES])
def test_a_body_that_is_no_answer_is_no_answer(path: str, body: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body) if request.url.path == path else serving(ANSWERS)(request)

    with pytest.raises(CometUnreachableError, match=f"CometBFT at {URL} does not answer"):
        asked(answer, QUESTIONS[path])


@pytest.mark.parametrize("path", ["/status", "/net_info"])
def test_a_refusal_to_say_where_it_stands_is_no_answer(path: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == path:
            return httpx.Response(500, json={"error": {"message": "out of order"}})
        return serving(ANSWERS)(request)

    with pytest.raises(CometUnreachableError, match="out of order"):
        asked(answer, QUESTIONS[path])


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("x")]
)
@pytest.mark.parametrize("path", ANSWERS)
def test_a_connection_that_fails_is_no_answer(path: str, error: Exception) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(CometUnreachableError, match=str(error) or "ReadTimeout"):
        asked(answer, QUESTIONS[path])


SLOT = COMMIT["signed_header"]["commit"]["signatures"][0]
FREE = {"chain_id", "version", "signature"}
"""Any text is a name, version 0 is not written, and whether a signature holds is not decided here."""
READ: dict[str, list[tuple[str | int, ...]]] = {
    "/status": [("sync_info",), ("sync_info", "latest_block_height"), ("sync_info", "catching_up")],
    "/net_info": [("n_peers",)],
    "/commit": [
        ("signed_header",),
        *(("signed_header", "header", field) for field in COMMIT["signed_header"]["header"] if field not in FREE),
        *(("signed_header", "commit", field) for field in COMMIT["signed_header"]["commit"]),
        *(("signed_header", "commit", "signatures", 0, field) for field in SLOT if field not in FREE),
        *(("signed_header", "commit", "block_id", "parts", field) for field in ("total", "hash")),
    ],
    "/block": [("block",), ("block", "data")],
    "/validators": [
        ("validators",),
        ("total",),
        *(("validators", 0, field) for field in ("pub_key", "voting_power")),
        *(("validators", 0, "pub_key", field) for field in ("type", "value")),
    ],
}
NONSENSE: list[Any] = ["no such thing", {}, [[]], {"a": {}}, -1.5e300, "-", "9" * 5_000, "²", "0xzz", "é"]
MISSING = object()


def changed(path: str) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Yield every answer of a kind with one thing in it that is not what it should be."""
    for place in READ[path]:
        for value in (*NONSENSE, MISSING):
            answer = copy.deepcopy(ANSWERS[path])
            inner = answer
            for step in place[:-1]:
                inner = inner[step]
            if value is MISSING:
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            yield place, value, answer


@pytest.mark.parametrize("path", ANSWERS)
def test_an_answer_with_one_wrong_part_is_no_answer(path: str) -> None:
    """Nothing but a `CometUnreachableError` comes of it: what asks knows no other."""
    taken = []
    for place, value, answer in changed(path):
        try:
            asked(serving({**ANSWERS, path: answer}), QUESTIONS[path])
        except CometUnreachableError:
            continue
        taken.append((place, value))
    assert taken == []


def test_a_key_of_another_kind_is_no_validator() -> None:
    answer = validators()
    answer["validators"][0]["pub_key"]["type"] = "tendermint/PubKeyEd25519"
    with pytest.raises(CometUnreachableError, match="a validator key of type tendermint/PubKeyEd25519"):
        asked(serving({"/validators": answer}), lambda rpc: rpc.validators(Height(3)))


def test_one_validator_twice_is_no_set() -> None:
    with pytest.raises(CometUnreachableError, match="unexpected answer"):
        asked(serving({"/validators": validators("2", [KEYS[0], KEYS[0]])}), lambda rpc: rpc.validators(Height(3)))


@pytest.mark.parametrize("total", ["0", "-1", str(VALIDATORS_MAX + 1), str(10**18)])
def test_a_number_of_validators_that_cannot_be_is_no_answer(total: str) -> None:
    with pytest.raises(CometUnreachableError, match=f"{total} validators"):
        asked(serving({"/validators": validators(total)}), lambda rpc: rpc.validators(Height(3)))
