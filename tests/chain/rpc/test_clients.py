"""Wallets and tools of others against a running node: cast, ethers, viem, titanoboa."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chain.rpc.harness import Background
from tests.conftest import ROOT

CLIENTS = ROOT / ".merit" / "clients" / "node_modules"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def modules() -> Path:
    if not CLIENTS.is_dir() or shutil.which("node") is None:
        pytest.skip(f"{CLIENTS} or node is not there: scripts/install-clients brings them")
    return CLIENTS


def run(script: str, modules: Path, running: Background, classical: Any, probe_code: dict[str, Any]) -> Any:
    given = {"url": running.server.url, "key": classical.key.to_0x_hex(), **probe_code}
    done = subprocess.run(  # noqa: S603 - our own script
        [str(shutil.which("node")), str(HERE / script)],
        input=json.dumps(given),
        env=os.environ | {"NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ethers_deploys_sends_reads_and_tells_failures(
    modules: Path, running: Background, classical: Any, probe_code: dict[str, Any]
) -> None:
    answer = run("ethers.cjs", modules, running, classical, probe_code)
    assert (answer["kept"], answer["log"], answer["seen"]) == ("41", "41", True)
    assert answer["refuse"]["reason"] == answer["estimate"]["reason"] == "not today"
    assert answer["error"]["revert"] == {"name": "Refused", "args": ["7"]}
    assert answer["panic"]["revert"] == {"name": "Panic", "args": ["17"]}


def test_viem_deploys_sends_reads_and_tells_failures(
    modules: Path, running: Background, classical: Any, probe_code: dict[str, Any]
) -> None:
    answer = run("viem.cjs", modules, running, classical, probe_code)
    assert (answer["kept"], answer["supposed"], answer["log"], answer["seen"]) == ("41", "7", "41", True)
    assert answer["simulated"] == "9"
    assert answer["refuse"]["reason"] == "not today"
    assert (answer["error"]["name"], answer["error"]["args"]) == ("Refused", ["7"])
    assert "Arithmetic" in answer["panic"]["reason"]


def test_cast_deploys_sends_reads_and_traces(
    modules: Path, running: Background, classical: Any, probe_code: dict[str, Any]
) -> None:
    program = next(modules.glob("@foundry-rs/cast-linux-*/bin/cast"))
    url, key = ["--rpc-url", running.server.url], ["--private-key", classical.key.to_0x_hex()]

    def cast(*words: str, fails: bool = False) -> str:
        done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - as above
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout.strip()

    code = probe_code["bytecode"] + (3).to_bytes(32, "big").hex()
    created = json.loads(cast("send", *url, *key, "--json", "--gas-price", "0", "--legacy", "--create", code))
    probe = created["contractAddress"]
    sent = json.loads(
        cast("send", *url, *key, "--json", "--gas-price", "0", "--legacy", probe, "change(uint256)", "41")
    )
    assert cast("call", *url, probe, "kept()(uint256)") == "41"
    assert (
        int(
            json.loads(cast("logs", *url, "--json", "--from-block", sent["blockNumber"], "--address", probe))[0][
                "data"
            ],
            16,
        )
        == 41
    )
    assert "not today" in cast("call", *url, probe, "refuse()", fails=True)
    assert "Refused" not in cast("call", *url, probe, "panic()", fails=True)
    assert cast("storage", *url, probe, "0") == "0x" + (41).to_bytes(32, "big").hex()
    frame = json.loads(cast("rpc", *url, "debug_traceTransaction", sent["transactionHash"], '{"tracer":"callTracer"}'))
    assert frame["type"] == "CALL"
    assert cast("block", *url, "latest", "--field", "number")


def test_titanoboa_deploys_sends_reads_and_tells_failures(
    running: Background, classical: Any, probe_code: dict[str, Any]
) -> None:
    given = {"url": running.server.url, "key": classical.key.to_0x_hex(), "abi": probe_code["abi"]}
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-W", "error::UserWarning", str(HERE / "titanoboa.py")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert running.http().eth.get_code(seen["address"])
    assert (seen["started"], seen["kept"], seen["named"], seen["log"], seen["survived"]) == (3, 41, 41, 41, False)
    assert "not today" in seen["refuse"]
    assert f"590a5151{7:064x}" in seen["refuse_with_error"]
    assert f"4e487b71{17:064x}" in seen["panic"]
