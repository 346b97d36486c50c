"""`merit up --clients`, `merit job` and `merit client run` together, as the README has its reader type them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.node.test_up import document, up

JOB = """\
title = "digits at home"
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
MOST_LOOKS = 400


def merit(*arguments: object) -> str:
    command = [sys.executable, "-m", "node.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - our own program
    assert done.returncode == 0, done.stderr
    return done.stdout


def job_until(rpc: str, what: str, least: object) -> dict[str, Any]:
    """Look at job 1 until a field of it has come so far."""
    for _ in range(MOST_LOOKS):
        fields: dict[str, Any] = json.loads(merit("job", "show", 1, "--rpc", rpc, "--json"))
        if fields[what] == least or (isinstance(least, int) and fields[what] >= least):
            return fields
    raise AssertionError(fields)


def rewards_by_the_readme(rpc: str) -> list[str]:
    """Run the README's web3.py script against a node; it asks for client 5."""
    script = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert "http://127.0.0.1:8545" in script
    command = [sys.executable, "-c", script.replace("http://127.0.0.1:8545", rpc)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603 - our own script


@pytest.mark.slow
def test_a_job_on_a_development_network_learns_pays_and_audits_clean(tmp_path: Path) -> None:
    directory = tmp_path / "net"
    (tmp_path / "job.toml").write_text(JOB, encoding="utf-8")
    clients = []
    with up(directory, "--clients", "2", "--edge-port", "0", "--json") as network:
        said = document(network)
        rpc, urls = said["rpc"], [server["url"] for server in said["edge_servers"]]
        password = ["--password-file", said["governor"]["password_file"]]
        sponsor = ["--rpc", rpc, "--key", said["sponsors"][0]["key"], *password]
        merit("job", "create", tmp_path / "job.toml", "--server", urls[0], "--budget", 100, *sponsor)
        try:
            for number, client in enumerate(said["clients"], 1):
                options = ["--key", client["key"], *password, "--dir", tmp_path / str(number), "--interval", 0.3]
                servers = [word for url in urls for word in ("--server", url)]
                command = ["client", "run", *servers, *options, "--share", f"{number}/2"]
                clients.append(
                    subprocess.Popen(  # noqa: S603 - our own program
                        [sys.executable, "-m", "node.cli", *map(str, command)], stdout=subprocess.PIPE, text=True
                    )
                )
            job_until(rpc, "version", 3)
            merit("job", "close", 1, *sponsor)
            closed = job_until(rpc, "status", "closed")
            for client in clients:
                told, _ = client.communicate(timeout=120)
                assert client.returncode == 0
                assert "job 1 is closed; client" in told
        finally:
            for client in clients:
                client.kill()
        listed = rewards_by_the_readme(rpc)
        paid = json.loads(merit("rewards", "--rpc", rpc, "--json"))
        network.terminate()
        assert network.wait(30) == 0
    assert int(closed["pending_wei"]) == sum(int(reward["reward_wei"]) for reward in paid["rewards"]) > 0
    assert int(closed["escrow_wei"]) == 0
    assert len(listed) == sum(reward["client"] == said["clients"][0]["member"] for reward in paid["rewards"]) > 0
    verdict = json.loads(merit("audit", directory, "--genesis", said["genesis_hash"], "--json"))
    assert verdict["ok"]
    with up(directory, "--edge-port", "0", "--json") as network:  # goes on, edge servers and all
        assert len(document(network)["edge_servers"]) == 4
