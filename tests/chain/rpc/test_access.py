"""Hosts and origins that an operator names: who is let in, and what is refused as nonsense."""

import asyncio

import httpx
import pytest

from chain.rpc.access import Access, AccessError
from chain.rpc.http import RpcServer
from tests.chain.rpc.harness import Background

ASK = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
PAGE = "https://app.example.org"


def statuses(running: Background, access: Access, *headers: dict[str, str]) -> list[int]:
    async def asked() -> list[int]:
        server = RpcServer(running.network.dispatcher(), port=0, access=access)
        await server.start()
        try:
            async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
                return [(await client.post("/", json=ASK, headers=each)).status_code for each in headers]
        finally:
            await server.stop()

    return asyncio.run(asked())


def test_a_host_that_the_operator_names_is_answered_and_no_other(running: Background) -> None:
    access = Access.of(hosts=["Node.Example.org", "[2001:DB8::1]"])
    hosts = ("node.example.org", "NODE.example.org:8545", "[2001:db8::1]:80", "localhost", "example.org", "x.example")
    assert statuses(running, access, *({"Host": host} for host in hosts)) == [200, 200, 200, 200, 403, 403]


def test_an_origin_that_the_operator_names_may_ask_and_is_told_so(running: Background) -> None:
    async def asked() -> list[httpx.Response]:
        server = RpcServer(running.network.dispatcher(), port=0, access=Access.of(origins=[f"{PAGE}:443"]))
        await server.start()
        try:
            async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
                wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
                return [
                    await client.options("/", headers={"Origin": PAGE} | wish),
                    await client.post("/", json=ASK, headers={"Origin": PAGE}),
                    await client.post("/", json=ASK, headers={"Origin": "https://other.example"}),
                    await client.options("/", headers={"Origin": "https://other.example"} | wish),
                ]
        finally:
            await server.stop()

    first, second, third, fourth = asyncio.run(asked())
    assert first.status_code == second.status_code == 200
    assert first.headers["access-control-allow-origin"] == second.headers["access-control-allow-origin"] == PAGE
    assert third.status_code == 403
    assert fourth.status_code == 400


@pytest.mark.parametrize(
    "host",
    ["", "*", "*.example.org", "node.example.org:8545", "http://node", "-a", "a..b", "a" * 64, "[::1", "[::g]", "a b"],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(AccessError, match="is no host: give a name or an address without port"):
        Access.of(hosts=[host])


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "null",
        "app.example.org",
        "ftp://app.example.org",
        "https://",
        "https://app.example.org/",
        "https://app.example.org/page",
        "https://*.example.org",
        "https://app.example.org:",
        "https://app.example.org:0",
        "https://app.example.org:65536",
        "https://me@app.example.org",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(AccessError, match="is no origin: give scheme and host"):
        Access.of(origins=[origin])


def test_origins_are_kept_as_browsers_write_them() -> None:
    wishes = ["HTTPS://App.Example.org", "https://app.example.org:443", "http://localhost:3000", "http://[::1]:80"]
    assert Access.of(origins=wishes).origins == {PAGE, "http://localhost:3000", "http://[::1]"}
