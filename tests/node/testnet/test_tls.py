"""A testnet with post-quantum TLS before its intakes: clients learn and blobs travel over it, others are refused."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from node.tls import certificates
from node.tls.transport import transport
from tests.node.testnet.running import GUARD_S, Testnet, merit, until

pytestmark = pytest.mark.slow
JOB = """\
title = "digits over TLS"
[model]
name = "softmax"
features = 64
classes = 10
dimension = 650
[round]
phi = 2
max_wait = 20
base_reward = 10
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[Testnet]:
    assert program.exists()
    net = Testnet(tmp_path_factory.mktemp("net") / "t", first_port=26_000, clients=2, tls=True)
    try:
        done = net.start()
        assert done.code == 0, done
        yield net
    finally:
        net.merit("stop")


def told(*arguments: object) -> str:
    done = merit(*arguments)
    assert done.code == 0, done
    return done.out


def intakes(net: Testnet) -> list[str]:
    return [str(node["intake"]) for node in net.status().values()]


def test_clients_learn_and_blobs_reach_a_quorum_over_tls(net: Testnet, tmp_path: Path) -> None:
    """A client hands its update to one edge server, so it is available only if the others fetch it over TLS."""
    servers = intakes(net)
    assert all(url.startswith("https://") for url in servers)
    rpc = net.layout.home(1).read().rpc_url
    trust, password = ("--trust", net.layout.certificates), ("--password-file", net.layout.password)
    sponsor = ("--rpc", rpc, "--key", net.layout.member_key_path(net.file.sponsor), *password)
    (tmp_path / "job.toml").write_text(JOB, encoding="utf-8")
    told("job", "create", tmp_path / "job.toml", "--server", servers[0], *trust, "--budget", 100, *sponsor)
    clients = []
    try:
        for at, member in enumerate(net.file.client_members):
            key = ("--key", net.layout.member_key_path(member), *password)
            paced = ("--dir", tmp_path / str(member), "--share", f"{at + 1}/2", "--interval", 0.3)
            command = ("client", "run", *(word for url in servers for word in ("--server", url)), *trust, *key, *paced)
            clients.append(subprocess.Popen([sys.executable, "-m", "node.cli", *map(str, command)]))  # noqa: S603 - our own program
        until(lambda: json.loads(told("job", "show", 1, "--rpc", rpc, "--json"))["version"] >= 2, "version 2")
        told("job", "close", 1, *sponsor)
        assert [client.wait(GUARD_S) for client in clients] == [0, 0]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    paid = json.loads(told("rewards", "--rpc", rpc, "--json"))["rewards"]
    assert {reward["client"] for reward in paid} == set(net.file.client_members)
    nodes = [word for home in net.layout.homes() for word in ("--rpc", home.read().rpc_url)]
    assert "signatures only" not in told("audit", *nodes), "the audit got the blobs"


def test_a_client_that_can_only_classical_tls_is_refused_in_its_handshake(net: Testnet) -> None:
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    for url in intakes(net):
        with httpx.Client(verify=unverified) as classical, pytest.raises(httpx.ConnectError, match="HANDSHAKE_FAILURE"):
            classical.get(f"{url}/v1/status")
        with httpx.Client(transport=transport(certificates.read(net.layout.certificates))) as http:
            assert http.get(f"{url}/v1/status").is_success
