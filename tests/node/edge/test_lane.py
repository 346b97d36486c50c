"""The short way for records answers as the long one does, and leaves everything else to uvicorn."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from chain.rpc.http import LoopbackServer
from merit.clock import SystemClock
from node.edge.lane import HEAD_BYTES, lane

MOST = 100
CLOCK = SystemClock()


async def framework(request: Request) -> JSONResponse:
    """Answer the long way, and say what came."""
    body = await request.body()
    return JSONResponse({"long": request.url.path, "query": request.url.query, "bytes": len(body)})


async def offer(query: str, body: bytes) -> tuple[int, bytes]:
    """Answer the short way; `slow` takes its time."""
    if query == "slow":
        await CLOCK.sleep(0.05)
    return 422 if body == b"bad" else 200, b'{"short":"%b","bytes":%d}' % (query.encode(), len(body))


def conversation(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """Let `talk` speak with a server that has the short way."""

    async def run() -> None:
        paths = ("/v1/records", "/v1/recordsmore", "/other")
        app = Starlette(routes=[Route(path, framework, methods=["GET", "POST"]) for path in paths])
        server = LoopbackServer(app, protocol=lane(offer, MOST))
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            await asyncio.wait_for(talk(reader, writer), 20)
        finally:
            writer.close()
            await server.stop()

    asyncio.run(run())


def request(body: bytes = b"record", *, line: bytes = b"POST /v1/records", headers: bytes = b"") -> bytes:
    """Write a request."""
    return b"%b HTTP/1.1\r\nHost: here\r\n%bContent-Length: %d\r\n\r\n%b" % (line, headers, len(body), body)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer: status and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status, _, length = int(head[9:12]), *head.partition(b"content-length: ")[1:]
    if not length:  # uvicorn's own refusal ends with the connection
        return status, await reader.read()
    return status, await reader.readexactly(int(length.split(b"\r\n")[0]))


def answers(*sent: bytes, expected: int = 1) -> list[tuple[int, bytes]]:
    """Send pieces, each by itself, and read the answers."""
    found = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
            await CLOCK.sleep(0.01)
        found.extend([await answer(reader) for _ in range(expected)])

    conversation(talk)
    return found


def test_record_goes_the_short_way_with_its_query_and_status() -> None:
    assert answers(request()) == [(200, b'{"short":"","bytes":6}')]
    assert answers(request(line=b"POST /v1/records?wait=3&until=recorded")) == [
        (200, b'{"short":"wait=3&until=recorded","bytes":6}')
    ]
    assert answers(request(b"bad")) == [(422, b'{"short":"","bytes":3}')]
    assert answers(request(headers=b"Connection: keep-alive\r\n"))[0][1].startswith(b'{"short"')


@pytest.mark.parametrize("at", [1, 5, 20, 40, 60, 70])
def test_record_in_pieces_goes_the_short_way_when_its_beginning_can_be_told(at: int) -> None:
    whole = request()
    status, body = answers(whole[:at], whole[at:])[0]
    assert status == 200
    assert body.startswith(b'{"short"' if at >= len(b"POST /v1/records") else b'{"long"')


@pytest.mark.parametrize(
    "sent",
    [
        request(line=b"POST /other"),
        request(line=b"POST /v1/recordsmore"),
        request(line=b"GET /v1/records"),
        request(b"x" * (MOST + 1)),
        request(headers=b"Connection: close\r\n"),
        request(headers=b"X: " + b"y" * HEAD_BYTES + b"\r\n"),
        b"POST /v1/records HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST /v1/records HTTP/1.1\r\nHost: here\r\n\r\n",
        b"POST /v1/records HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /v1/records HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nContent-Length : 9\r\n\r\nabc",
    ],
)
def test_everything_else_goes_the_long_way(sent: bytes) -> None:
    status, body = answers(sent)[0]
    assert (status, body[:7]) in {(200, b'{"long"'), (400, b"Invalid")}


def test_requests_on_one_connection_are_answered_in_order_whichever_way_they_go() -> None:
    records = answers(request(), request(line=b"POST /other"), request(), expected=3)
    assert [body[:8] for _, body in records] == [b'{"short"', b'{"long":', b'{"short"']


def test_a_request_that_comes_before_the_last_one_is_answered_waits_its_turn() -> None:
    slow, quick, other = request(line=b"POST /v1/records?slow"), request(), request(line=b"POST /other")
    found = answers(slow, quick, expected=2)
    assert [body for _, body in found] == [b'{"short":"slow","bytes":6}', b'{"short":"","bytes":6}']
    found = answers(slow, other, expected=2)
    assert [body[:8] for _, body in found] == [b'{"short"', b'{"long":']


def test_connection_that_ends_before_its_answer_harms_nobody() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request(line=b"POST /v1/records?slow"))
        await writer.drain()
        writer.transport.abort()
        await CLOCK.sleep(0.1)

    conversation(talk)
    assert answers(request())[0][0] == 200
