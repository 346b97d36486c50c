"""Nodes that lie, go on for ever, or fall silent: each is named, and the honest ones are audited to their end."""

import asyncio
import copy
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from chain import light
from chain.light.encoding import decode_header
from node.audit import AuditReport, Part, audit_network
from node.audit.answers import heights as read_heights
from node.audit.errors import FaultError
from tests.node.audit.serving import Lie, Served, proxy

HEIGHT = 9
ANSWER_S = 5.0


@pytest.fixture(scope="module")
def served(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("lying") / "run"
    shutil.copytree(untouched, directory)
    network = Served(directory)
    yield network
    network.stop()


def audited(served: Served, app: Starlette) -> tuple[AuditReport, str]:
    """Audit a node of a test's own and an honest one, with what is known of the run; return the first one's URL too."""
    server = served.serve(app)
    urls = [server.url, served.urls[0]]
    try:
        return audit_network(
            urls, genesis_hash=served.network.genesis_hash, answer_s=ANSWER_S, auditor=served.auditor
        ), server.url
    finally:
        served.run(server.stop())


def flipped(text: str, at: int = -1) -> str:
    """Flip a bit of the byte at `at` of 0x-hexadecimal."""
    raw = bytearray.fromhex(text[2:])
    raw[at] ^= 1
    return f"0x{raw.hex()}"


def in_heights(change: Callable[[list[Any]], list[Any]]) -> Lie:
    """Change the page that begins at height 1, which holds all heights of the run."""
    return lambda page: {**page, "heights": change(copy.deepcopy(page["heights"]))}


def at_height(part: str, change: Callable[[str], str]) -> Lie:
    def told(found: list[Any]) -> list[Any]:
        found[HEIGHT - 1][part] = change(found[HEIGHT - 1][part])
        return found

    return in_heights(told)


def begins_at_1(page: dict[str, Any]) -> bool:
    return bool(page["heights"]) and decode_header(bytes.fromhex(page["heights"][0]["header"][2:])).height == 1


def with_field(name: str, value: object) -> Lie:
    return lambda found: {**found, name: value}


def first_key(validators: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**validators[0], "publicKey": flipped(validators[0]["publicKey"])}, *validators[1:]]


LIES: dict[str, tuple[str, Lie, Part, int | None]] = {
    "a header with a flipped bit": ("merit_heights", at_height("header", flipped), Part.HEADER, HEIGHT),
    "a commit with a flipped bit": ("merit_heights", at_height("commit", flipped), Part.COMMIT, HEIGHT),
    "another app hash": ("merit_heights", at_height("appHash", flipped), Part.OUTCOME, HEIGHT),
    "a transaction more": (
        "merit_heights",
        at_height("transactions", lambda text: text + "0a0101"),
        Part.TRANSACTIONS,
        HEIGHT,
    ),
    "a height left out": ("merit_heights", in_heights(lambda found: found[:4] + found[5:]), Part.COMMIT, 5),
    "a height twice": ("merit_heights", in_heights(lambda found: [*found[:5], *found[4:-1]]), Part.COMMIT, 6),
    "an end before the end": (
        "merit_heights",
        lambda page: {**page, "heights": page["heights"][:3] if begins_at_1(page) else []},
        Part.HEADER,
        4,
    ),
    "no height": ("merit_heights", with_field("heights", []), Part.HEADER, 1),
    "more heights than were asked for": ("merit_heights", in_heights(lambda found: found * 9), Part.ANSWER, 1),
    "digits that are none": ("merit_heights", at_height("commit", lambda text: text[:-1]), Part.ANSWER, 1),
    "a number for a page": ("merit_heights", lambda _: 5, Part.ANSWER, 1),
    "nothing for a page": ("merit_heights", lambda _: None, Part.ANSWER, 1),
    "a list for a record": ("merit_heights", in_heights(lambda found: [[], *found]), Part.ANSWER, 1),
    "a greater height than it has": ("merit_status", with_field("height", "0xffffffff"), Part.HEADER, 1_000),
    "a height that is no number": ("merit_status", with_field("height", "high"), Part.ANSWER, None),
    "an edge server that is no URL": (
        "merit_status",
        with_field("edgeServers", [{"member": "0x1", "url": "file:///etc/passwd"}]),
        Part.ANSWER,
        None,
    ),
    "too many edge servers": (
        "merit_status",
        with_field("edgeServers", [{"member": "0x1", "url": "http://127.0.0.1:1"}] * 1_000),
        Part.ANSWER,
        None,
    ),
    "another genesis": ("merit_genesis", lambda found: {**found, "time": found["time"] + 1}, Part.GENESIS, None),
    "a genesis document of one word": ("merit_genesis", lambda _: "genesis", Part.GENESIS, None),
    "a genesis document without validators": ("merit_genesis", with_field("validators", []), Part.GENESIS, None),
    "another validator": ("merit_validators", first_key, Part.VALIDATORS, 1_000),
    "a validator of no power": (
        "merit_validators",
        lambda found: [{**one, "power": "0x0"} for one in found],
        Part.VALIDATORS,
        1_000,
    ),
    "a validator that is none": ("merit_validators", lambda found: [*found, 7], Part.ANSWER, 1_000),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_node_is_named_with_height_and_part(served: Served, name: str) -> None:
    method, lie, part, height = LIES[name]
    report, liar = audited(served, proxy(served.network.dispatcher(), {method: lie}))
    top = served.network.engine.height
    assert [(one.store, one.part, one.height) for one in report.divergences] == [
        (liar, part, top + 1 if height == 1_000 else height)
    ], report.lines
    assert [node.complete for node in report.nodes][1:] == [True]
    assert report.height == top


def test_a_bit_flipped_anywhere_in_a_page_is_named(served: Served) -> None:
    engine = served.network.engine
    height = max(height for height in range(1, engine.height + 1) if engine.transactions(light.Height(height)))
    sizes: dict[str, int] = {}

    def measure(page: list[Any]) -> list[Any]:
        sizes.update({name: len(raw) // 2 - 1 for name, raw in page[height - 1].items() if len(raw) > len("0x")})
        return page

    audited(served, proxy(served.network.dispatcher(), {"merit_heights": in_heights(measure)}))
    for part, size in sizes.items():
        for at in (0, size // 3, 2 * size // 3):

            def told(found: list[Any], part: str = part, at: int = at) -> list[Any]:
                found[height - 1][part] = flipped(found[height - 1][part], at)
                return found

            report, liar = audited(served, proxy(served.network.dispatcher(), {"merit_heights": in_heights(told)}))
            assert report.first is not None, (part, at)
            assert (report.first.store, report.first.height) == (liar, height)


def test_a_node_that_is_behind_is_no_divergence(served: Served) -> None:
    report, behind = audited(served, proxy(served.network.dispatcher(), {"merit_status": with_field("height", "0x7")}))
    assert report.ok, report.lines
    assert (report.nodes[0].url, report.nodes[0].height) == (behind, 7)
    top = served.network.engine.height
    assert f"{behind}: stands at height 7, {served.urls[0]} at {top}" in report.remarks


def test_a_node_that_is_behind_a_trusted_head_is_no_divergence(served: Served) -> None:
    head = light.header_hash(served.network.engine.header(light.Height(9)))
    server = served.serve(proxy(served.network.dispatcher(), {"merit_status": with_field("height", "0x7")}))
    report = audit_network([server.url, served.urls[0]], head=head)
    alone = audit_network([server.url], head=head)
    served.run(server.stop())
    assert report.ok, report.lines
    assert f"{server.url}: ends at height 7, before the head 0x{head.hex()}" in report.remarks
    assert [one.part for one in alone.divergences] == [Part.HEAD]


def test_a_node_that_gives_few_heights_at_a_time_is_followed_to_its_end(served: Served) -> None:
    firsts: list[int] = []

    def few(page: dict[str, Any]) -> dict[str, Any]:
        firsts.append(len(page["heights"]))
        return {**page, "heights": page["heights"][:3]}

    report, _ = audited(served, proxy(served.network.dispatcher(), {"merit_heights": few}))
    top = served.network.engine.height
    assert report.ok, report.lines
    assert report.nodes[0].height == top
    assert firsts == list(range(top, 0, -3)), "page after page, none twice"


def test_a_node_that_dies_meanwhile_is_named_and_the_others_go_on(served: Served) -> None:
    pages = 0
    dispatcher = served.network.dispatcher()

    async def answer(request: Request) -> Response:
        nonlocal pages
        body = await request.body()
        found = json.loads(dispatcher.handle_body(body))
        if json.loads(body)["method"] == "merit_heights":
            pages += 1
            if pages == 3:
                served.loop.create_task(server.stop())
                await asyncio.Event().wait()
            found["result"]["heights"] = found["result"]["heights"][:3]
        return Response(json.dumps(found))

    server = served.serve(Starlette(routes=[Route("/", answer, methods=["POST"])]))
    report = audit_network([server.url, *served.urls[:2]], genesis_hash=served.network.genesis_hash)
    assert report.ok, report.lines
    assert [node.height for node in report.nodes] == [6, *[served.network.engine.height] * 2]
    assert report.nodes[0].silent
    assert any(remark.startswith(f"{server.url}: does not answer any more") for remark in report.remarks)


def test_when_every_node_dies_the_audit_is_unfinished(served: Served) -> None:
    def few(page: dict[str, Any]) -> dict[str, Any]:
        if len(page["heights"]) < served.network.engine.height:
            raise RuntimeError  # status 500
        return {**page, "heights": page["heights"][:3]}

    server = served.serve(proxy(served.network.dispatcher(), {"merit_heights": few}))
    report = audit_network([server.url])
    served.run(server.stop())
    assert not report.ok
    assert not report.divergences
    assert report.lines[-1].startswith("UNFINISHED: ")
    assert "HTTP status 500" in report.nodes[0].silent


def raw_answer(body: bytes, **more: Any) -> Callable[[], Response]:
    return lambda: Response(body, **more)


async def endless() -> AsyncIterator[bytes]:
    yield b'{"jsonrpc":"2.0","id":1,"result":"0x'
    while True:
        yield b"00" * (1 << 19)
        await asyncio.sleep(0)  # noqa: TID251 - gives other requests a chance, waits for nothing


async def never() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


class Truncated(Response):
    """Says that more comes than does, and closes the connection."""

    async def __call__(self, _: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"999")]})
        await send({"type": "http.response.body", "body": b'{"jsonrpc":', "more_body": True})
        await send({"type": "http.response.body", "body": b""})


REPLIES: dict[str, tuple[Callable[[], Response], str]] = {
    "no JSON": (raw_answer(b"<html>it works</html>"), "lies"),
    "half of JSON": (raw_answer(b'{"jsonrpc":"2.0","id":1,"result":{"hei'), "lies"),
    "no bytes": (raw_answer(b""), "lies"),
    "no UTF-8": (raw_answer(b'{"result":"\xff\xff"}'), "lies"),
    "a list": (raw_answer(b"[]"), "lies"),
    "neither result nor error": (raw_answer(b'{"jsonrpc":"2.0","id":1}'), "lies"),
    "a deep hole": (raw_answer(b'{"result":' + b"[" * 1_000_000), "lies"),
    "a deep hole behind brackets in strings": (raw_answer(b'{"result":' + b'["]",' * 200_000), "lies"),
    "a body without end": (lambda: StreamingResponse(endless()), "lies"),
    "a compressed body": (raw_answer(b"\x1f\x8b", headers={"content-encoding": "gzip"}), "lies"),
    "an error": (raw_answer(b'{"error":{"code":-32601,"message":"no such method"}}'), "silent"),
    "status 404": (raw_answer(b"", status_code=404), "silent"),
    "status 503": (raw_answer(b"", status_code=503), "silent"),
    "a redirection": (raw_answer(b"", status_code=302, headers={"location": "/elsewhere"}), "silent"),
    "a body cut off": (Truncated, "silent"),
    "a body that never ends to come": (lambda: StreamingResponse(never()), "silent"),
}


@pytest.mark.parametrize("method", ["merit_status", "merit_heights"])
@pytest.mark.parametrize("name", REPLIES)
def test_what_is_no_answer_is_named_and_the_others_are_audited(served: Served, name: str, method: str) -> None:
    reply, what = REPLIES[name]
    dispatcher = served.network.dispatcher()

    async def answer(request: Request) -> Response:
        body = await request.body()
        return reply() if json.loads(body)["method"] == method else Response(dispatcher.handle_body(body))

    report, strange = audited(served, Starlette(routes=[Route("/", answer, methods=["POST"])]))
    assert report.nodes[1].complete
    if what == "lies":
        height = 1 if method == "merit_heights" else None
        assert [(one.store, one.part, one.height) for one in report.divergences] == [(strange, Part.ANSWER, height)]
    else:
        assert report.ok, report.lines
        assert report.nodes[0].silent
        assert any(remark.startswith(f"{strange}: does not answer") for remark in report.remarks)


def test_an_edge_server_that_gives_false_blobs_is_named_and_another_is_asked(served: Served) -> None:
    async def false(_: Request) -> Response:
        return Response(b"something else")

    server = served.serve(Starlette(routes=[Route("/v1/blobs/{digest}", false)]))
    report = audit_network(served.urls[:1], edges=[server.url, served.edge_urls[0]])
    served.run(server.stop())
    assert {(one.store, one.part) for one in report.divergences} == {(f"edge server {server.url}", Part.BLOB)}
    counts = next(tally for tally in report.tallies if tally.name == "rounds").counts
    assert counts["rewards"] >= 9
    assert "rounds checked by signature only" not in counts


@pytest.mark.parametrize("answer", [lambda: StreamingResponse(endless()), lambda: StreamingResponse(never())])
def test_an_edge_server_without_end_holds_nobody_up(served: Served, answer: Callable[[], Response]) -> None:
    async def reply(_: Request) -> Response:
        return answer()

    server = served.serve(Starlette(routes=[Route("/v1/blobs/{digest}", reply)]))
    report = audit_network(served.urls[:1], edges=[server.url, served.edge_urls[0]], answer_s=1.0)
    served.run(server.stop())
    assert any(server.url in line for line in report.lines)
    counts = next(tally for tally in report.tallies if tally.name == "rounds").counts
    assert "rounds checked by signature only" not in counts


def test_upper_case_and_odd_digits_are_no_data() -> None:
    for text in ("0xAB", "0xabc", "abcd", "0x a"):
        record = {"header": text, "commit": "0x", "transactions": "0x", "evidence": "0x", "appHash": "0x"}
        with pytest.raises(FaultError, match="two digits per byte"):
            read_heights(json.dumps({"heights": [record]}).encode(), 1, 1)
