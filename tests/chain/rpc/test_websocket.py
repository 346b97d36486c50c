"""JSON-RPC over WebSocket: the same answers, subscriptions, and what becomes of those who do not read."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chain.rpc.access import Access
from chain.rpc.http import RpcServer
from chain.rpc.limits import SUBSCRIPTIONS
from tests.chain.rpc.conftest import send
from tests.chain.rpc.harness import Background

WAIT_S = 60


@pytest.fixture
def url(running: Background) -> str:
    return running.server.url.replace("http", "ws")


async def ask(connection: ClientConnection, method: str, *params: object) -> Any:
    await connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    answer = json.loads(await connection.recv())
    return answer.get("result", answer.get("error"))


async def told(connection: ClientConnection) -> Any:
    """The next notification: the subscription's id and what it says."""
    message = json.loads(await asyncio.wait_for(connection.recv(), WAIT_S))
    assert message["method"] == "eth_subscription"
    return message["params"]["subscription"], message["params"]["result"]


def over(url: str, talk: Callable[[ClientConnection], Awaitable[Any]], **how: Any) -> Any:
    async def run() -> Any:
        async with connect(url, **how) as connection:
            return await talk(connection)

    return asyncio.run(asyncio.wait_for(run(), 2 * WAIT_S))


def test_requests_and_batches_are_answered_as_over_http(url: str) -> None:
    async def talk(connection: ClientConnection) -> None:
        assert await ask(connection, "eth_chainId") == "0x4d45"
        assert (await ask(connection, "eth_nothing"))["code"] == -32601
        batch = [{"jsonrpc": "2.0", "id": at, "method": "eth_chainId"} for at in (1, 2)]
        await connection.send(json.dumps(batch))
        assert [answer["id"] for answer in json.loads(await connection.recv())] == [1, 2]
        await connection.send(b"{")
        assert json.loads(await connection.recv())["error"]["code"] == -32700

    over(url, talk)


def test_new_headers_and_logs_are_told_as_they_come(
    url: str, running: Background, classical: Any, probes: tuple[Any, Any]
) -> None:
    first, second = probes

    async def talk(connection: ClientConnection) -> None:
        heads = await ask(connection, "eth_subscribe", "newHeads")
        logs = await ask(connection, "eth_subscribe", "logs", {"address": first.address})
        others = await ask(connection, "eth_subscribe", "logs", {"address": second.address})
        sent = await ask(connection, "eth_subscribe", "newPendingTransactions")
        change = first.functions.change(77)
        receipt = await asyncio.to_thread(send, running.http(), classical, change)
        got = dict([await told(connection) for _ in range(3)])
        assert got[sent] == receipt.transactionHash.to_0x_hex()
        assert got[heads]["hash"] == receipt.blockHash.to_0x_hex()
        assert int(got[logs]["data"], 16) == 77
        assert await ask(connection, "eth_unsubscribe", heads) is True
        assert await ask(connection, "eth_unsubscribe", heads) is False
        await asyncio.to_thread(send, running.http(), classical, second.functions.change(78))
        got = dict([await told(connection) for _ in range(2)])
        assert set(got) == {sent, others}

    over(url, talk)


def test_sent_transactions_are_told_whole_to_those_who_want_that(
    url: str, running: Background, classical: Any, probes: tuple[Any, Any]
) -> None:
    async def talk(connection: ClientConnection) -> None:
        whole = await ask(connection, "eth_subscribe", "newPendingTransactions", True)  # noqa: FBT003 - as clients send it
        name = await ask(connection, "eth_subscribe", "newPendingTransactions", False)  # noqa: FBT003 - as above
        change = probes[0].functions.change(79)
        receipt = await asyncio.to_thread(send, running.http(), classical, change)
        got = dict([await told(connection) for _ in range(2)])
        assert got[name] == got[whole]["hash"] == receipt.transactionHash.to_0x_hex()
        assert got[whole]["from"] == classical.address.lower()
        assert got[whole]["blockHash"] is None

    over(url, talk)


def test_a_node_never_begins_to_synchronize_so_nobody_is_told(url: str) -> None:
    async def talk(connection: ClientConnection) -> None:
        name = await ask(connection, "eth_subscribe", "syncing")
        assert await ask(connection, "eth_syncing") is False
        assert await ask(connection, "eth_unsubscribe", name) is True

    over(url, talk)


def test_a_subscription_ends_with_its_connection(url: str, running: Background) -> None:
    subscriptions = running.network.dispatcher().subscriptions

    async def talk(connection: ClientConnection) -> None:
        await ask(connection, "eth_subscribe", "newHeads")
        assert len(subscriptions.subscribers) == 1

    async def ask_again(connection: ClientConnection) -> None:
        while subscriptions.subscribers:  # the server hears of the end between two requests
            assert await ask(connection, "eth_chainId")

    over(url, talk)
    over(url, ask_again)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        (["newBlocks"], -32602),
        (["syncing", {"a": 1}], -32602),
        (["newPendingTransactions", "yes"], -32602),
        ([5], -32602),
        ([], -32602),
        (["newHeads", {"a": 1}], -32602),
        (["logs", {"blockHash": "0x" + "01" * 32}], -32602),
        (["logs", {"address": 5}], -32602),
    ],
)
def test_a_subscription_that_makes_no_sense_is_refused(url: str, params: list[Any], code: int) -> None:
    async def talk(connection: ClientConnection) -> None:
        assert (await ask(connection, "eth_subscribe", *params))["code"] == code

    over(url, talk)


def test_subscriptions_of_a_connection_are_bounded_and_need_a_connection(url: str, running: Background) -> None:
    async def talk(connection: ClientConnection) -> None:
        for _ in range(SUBSCRIPTIONS):
            assert isinstance(await ask(connection, "eth_subscribe", "newHeads"), str)
        assert (await ask(connection, "eth_subscribe", "newHeads"))["code"] == -32005

    over(url, talk)
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
    answer: Any = running.network.dispatcher().handle_request(request)
    assert answer["error"]["code"] == -32601
    assert "over WebSocket only" in answer["error"]["message"]


def test_pages_and_other_hosts_are_refused_before_the_handshake(url: str) -> None:
    async def talk(_: ClientConnection) -> None:
        pytest.fail("it was let in")

    with pytest.raises(InvalidStatus, match="403"):
        over(url, talk, origin="https://merit.example")

    async def handshake(host: str) -> bytes:
        raw = await shake_hands(url, host)
        with raw:
            return await asyncio.get_running_loop().sock_recv(raw, 4_096)

    assert asyncio.run(handshake("localhost")).startswith(b"HTTP/1.1 101")
    assert asyncio.run(handshake("merit.example")).startswith(b"HTTP/1.1 403")


def test_an_origin_that_the_operator_names_is_let_in(running: Background) -> None:
    access = Access(origins=frozenset({"https://merit.example"}))
    server = RpcServer(running.network.dispatcher(), port=0, access=access)
    running.run(server.start())
    try:

        async def talk(connection: ClientConnection) -> None:
            assert await ask(connection, "eth_chainId") == "0x4d45"

        over(server.url.replace("http", "ws"), talk, origin="https://merit.example")
        with pytest.raises(InvalidStatus, match="403"):
            over(server.url.replace("http", "ws"), talk, origin="https://other.example")
    finally:
        running.run(server.stop())


def test_a_reader_that_stops_reading_is_dropped_and_others_keep_up(
    url: str, running: Background, classical: Any, probes: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a queue of nothing, the first message that the kernel does not take is one too many."""
    monkeypatch.setattr("chain.rpc.websocket.WAITING_BYTES", 0)
    subscriptions = running.network.dispatcher().subscriptions

    async def talk(connection: ClientConnection) -> None:
        heads = await ask(connection, "eth_subscribe", "newHeads")
        dead = await deaf(url)
        assert len(subscriptions.subscribers) == 2
        flood = b"x" * 4_000_000
        running.loop.call_soon_threadsafe(_overfill, subscriptions, flood, heads)
        await asyncio.wait_for(ended(dead), WAIT_S)
        assert len(subscriptions.subscribers) == 1
        await asyncio.to_thread(send, running.http(), classical, probes[0].functions.change(5))
        assert (await told(connection))[0] == heads

    over(url, talk)


def _overfill(subscriptions: Any, flood: bytes, but: str) -> None:
    for subscriber in subscriptions.subscribers:
        if but not in subscriber.subscriptions:
            subscriber.deliver(flood)
            subscriber.deliver(flood)


async def ended(raw: socket.socket) -> None:
    """Read what has come already until the other side has closed."""
    with raw, suppress(ConnectionError):
        while await asyncio.get_running_loop().sock_recv(raw, 1_000_000):
            pass


async def shake_hands(url: str, host: str) -> socket.socket:
    """A raw connection that asks for a WebSocket."""
    loop = asyncio.get_running_loop()
    address, port = url.removeprefix("ws://").split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.settimeout(0)
    await loop.sock_connect(raw, (address, int(port)))
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    await loop.sock_sendall(raw, request.encode())
    return raw


async def deaf(url: str) -> socket.socket:
    """A raw connection that subscribes to headers and then does not read."""
    loop = asyncio.get_running_loop()
    raw = await shake_hands(url, "localhost")
    assert (await loop.sock_recv(raw, 4_096)).startswith(b"HTTP/1.1 101")
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}).encode()
    await loop.sock_sendall(raw, bytes((0x81, 0x80 | len(body))) + bytes(4) + body)  # one masked text frame
    assert b"result" in await loop.sock_recv(raw, 4_096)
    return raw


@pytest.mark.slow
def test_a_thousand_subscribers_keep_up_beside_ten_dead_ones(
    url: str, running: Background, classical: Any, probes: tuple[Any, Any]
) -> None:
    blocks = 5

    async def follow(gate: asyncio.Semaphore, ready: asyncio.Semaphore) -> list[str]:
        async with gate, connect(url, open_timeout=300) as connection:
            await ask(connection, "eth_subscribe", "newHeads")
            ready.release()
            return [(await told(connection))[1]["hash"] for _ in range(blocks)]

    async def run() -> None:
        gate, ready = asyncio.Semaphore(1_000), asyncio.Semaphore(0)
        dead = [await deaf(url) for _ in range(10)]
        readers = [asyncio.create_task(follow(gate, ready)) for _ in range(1_000)]
        for _ in readers:
            await ready.acquire()
        receipts = []
        for value in range(blocks):
            change = probes[0].functions.change(value)
            receipts.append(await asyncio.to_thread(send, running.http(), classical, change))
        expected = [receipt.blockHash.to_0x_hex() for receipt in receipts]
        assert all(heads == expected for heads in await asyncio.gather(*readers))
        for raw in dead:
            raw.close()

    try:
        asyncio.run(asyncio.wait_for(run(), 540))
    except ConnectionClosed as error:
        pytest.fail(f"a reader that reads was dropped: {error}")
