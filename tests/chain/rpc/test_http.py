"""The server on the loopback interface and whom it answers."""

import asyncio
import http.client
import json
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from web3 import Web3

from chain.rpc.http import BindError, RpcServer
from chain.rpc.limits import REQUEST_BYTES
from merit.clock import SystemClock
from tests.chain.rpc.harness import Background

ASK = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})


def post(running: Background, body: Any = ASK, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(running.server.host, running.server.port, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/", body, {"Content-Type": "application/json"} | named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_request_from_this_machine_is_answered(running: Background) -> None:
    for host in ("localhost", "127.0.0.1:80", "[::1]:9", "LOCALHOST"):
        status, body = post(running, Host=host)
        assert (status, json.loads(body)["result"]) == (200, "0x4d45")


def test_a_kept_connection_answers_without_nagles_delay(http: Web3) -> None:
    clock = SystemClock()
    http.eth.get_block("latest")
    began = clock.monotonic()
    for _ in range(50):
        http.eth.get_block("latest")
    assert clock.monotonic() - began < 50 * 0.03  # with the delay each takes 40 ms more


@pytest.mark.parametrize("host", ["merit.example", "127.0.0.1.example:8545", "localhost.evil", ""])
def test_a_request_that_names_another_host_is_refused(running: Background, host: str) -> None:
    assert post(running, Host=host)[0] == 403


def test_a_request_of_a_web_page_is_refused(running: Background) -> None:
    assert post(running, Origin="https://merit.example")[0] == 403
    assert post(running, Origin=running.server.url)[0] == 403
    assert post(running, Origin="null")[0] == 403
    assert post(running, Origin="Titanoboa")[0] == 200
    assert post(running, Content_Type="text/plain")[0] == 415


def test_requests_are_bounded_in_size_whether_they_say_it_or_not(running: Background) -> None:
    assert post(running, b" " * (REQUEST_BYTES + 1))[0] == 413
    assert post(running, (b" " * 65_536 for _ in range(REQUEST_BYTES // 65_536 + 2)))[0] == 413
    status, body = post(running, ASK.encode() + b" " * (REQUEST_BYTES - len(ASK)))
    assert (status, json.loads(body)["result"]) == (200, "0x4d45")


def test_a_page_is_served_beside_the_rpc_under_the_same_rules(running: Background) -> None:
    async def hello() -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def asked() -> list[tuple[int, str]]:
        server = RpcServer(running.network.dispatcher(), port=0, pages={"/hello": hello})
        await server.start()
        try:
            async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
                answers = [
                    await client.get("/hello"),
                    await client.get("/hello", headers={"Host": "merit.example"}),
                    await client.get("/hello", headers={"Origin": server.url}),
                    await client.post("/hello", json={}),
                    await client.get("/nothing"),
                ]
        finally:
            await server.stop()
        return [(answer.status_code, answer.text) for answer in answers]

    first, *others = asyncio.run(asked())
    assert first == (200, "hello")
    assert [status for status, _ in others] == [403, 403, 405, 404]
    assert not any("hello" in text for _, text in others)


def test_errors_are_answers_with_status_200(running: Background) -> None:
    status, body = post(running, "{")
    assert (status, json.loads(body)["error"]["code"]) == (200, -32700)


def test_other_paths_and_methods_are_not_there(running: Background) -> None:
    connection = http.client.HTTPConnection(running.server.host, running.server.port, timeout=10)
    for method, path, status in (("GET", "/", 405), ("POST", "/x", 404), ("OPTIONS", "/", 405)):
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])  # noqa: S104 - to be refused
def test_only_the_loopback_interface_is_served(running: Background, host: str) -> None:
    with pytest.raises(BindError, match="is not a loopback address"):
        RpcServer(running.network.dispatcher(), host=host)


def test_a_port_that_is_taken_is_told_in_one_line(running: Background) -> None:
    second = RpcServer(running.network.dispatcher(), port=running.server.port)
    with pytest.raises(BindError, match=f"port {running.server.port}: Address already in use; choose another"):
        running.run(second.start())


def test_a_server_stops_while_a_client_holds_its_connection(running: Background) -> None:
    server = RpcServer(running.network.dispatcher(), port=0)
    running.run(server.start())
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    connection.request("POST", "/", ASK, {"Content-Type": "application/json"})
    assert connection.getresponse().read()
    running.run(asyncio.wait_for(server.stop(), 10))
    running.run(server.stop())  # stopping twice is harmless
    connection.close()
