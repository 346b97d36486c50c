"""`merit node`, `merit backup` and `merit restore` as an operator types them, over a real CometBFT."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs
from web3 import Web3

from chain.crypto.schemes import SigningKey
from chain.rpc.middleware import MLDSAAccount, MLDSAMiddleware
from merit.clock import SystemClock
from node.cli.backup import NOT_IN_IT
from node.machine.home import NodeHome, TlsFile
from node.testnet.layout import Layout, TestnetFile, free_port_base, make
from node.tls import certificates, identity
from node.tls.transport import transport

CLOCK = SystemClock()
LIMIT_S = 90.0


def merit(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)  # noqa: S603 - our own program


def refused(*arguments: object) -> str:
    """Run a command that must leave with code 2 and one line; return the line."""
    done = merit(*arguments)
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("merit: ")
    return lines[-1]


def asked(*arguments: object) -> Any:
    done = merit(*arguments, "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


@contextlib.contextmanager
def running(home: NodeHome) -> Iterator[dict[str, Any]]:
    """Run a node until the block ends; yield what it announces."""
    command = [sys.executable, "-m", "node.cli", "node", "start", str(home.path), "--json"]
    node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own program
    assert node.stdout is not None
    try:
        said = ""
        while not said.endswith("}\n"):
            line = node.stdout.readline()
            assert line, node.communicate()[1]
            said += line
        yield json.loads(said)
    finally:
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=60)
    assert node.returncode == 0


def until_height(home: NodeHome, height: int) -> dict[str, Any]:
    limit = CLOCK.monotonic() + LIMIT_S
    while True:
        done = merit("node", "status", home.path, "--json")
        now: dict[str, Any] = json.loads(done.stdout)
        if now["ready"] and now["height"] >= height:
            assert done.returncode == 0
            return now
        assert CLOCK.monotonic() < limit, now
        CLOCK.wait(0.2)


def secure(home: NodeHome) -> str:
    """Let a home's intake be reached over TLS, too; return its URL."""
    file = home.read()
    assert file.edge is not None
    tls = TlsFile(port=free_port_base(1, 43_500))
    home.file.write_bytes(structs.replace(file, edge=structs.replace(file.edge, tls=tls)).encode())
    identity.make(home.key.parent, ["127.0.0.1"], home.password.read_bytes(), now=CLOCK.now())
    return f"https://127.0.0.1:{tls.port}"


def metrics(rpc: str) -> dict[str, float]:
    lines = httpx.get(f"{rpc}/metrics").raise_for_status().text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def assert_probes_keep_to_loopback(rpc: str) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert httpx.get(rpc + path).status_code == 200
        assert httpx.get(rpc + path, headers={"Host": "merit.example"}).status_code == 403
        assert httpx.get(rpc + path, headers={"Origin": "http://localhost"}).status_code == 403


def pay(rpc: str, key: SigningKey) -> None:
    account = MLDSAAccount(key)
    w3 = Web3(Web3.HTTPProvider(rpc))
    w3.middleware_onion.inject(MLDSAMiddleware(account), layer=0)
    name = w3.eth.send_transaction({"from": account.address, "to": account.address})
    w3.eth.wait_for_transaction_receipt(name, timeout=LIMIT_S, poll_latency=0.05)


@pytest.mark.usefixtures("program")
def test_a_node_runs_is_backed_up_restored_and_goes_on(layout: Layout, home: NodeHome, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    url = secure(home)
    with running(home) as said:
        assert said["rpc"] == home.read().rpc_url
        with httpx.Client(transport=transport(certificates.read(home.tls_certificate))) as http:
            assert http.get(f"{url}/v1/status").json()["member"] == 1
        pay(said["rpc"], layout.member_key(3))
        (home.blobs / "ab").mkdir(parents=True, exist_ok=True)
        (home.blobs / "ab" / f"ab{'0' * 62}").write_bytes(b"not what its name says")
        taken = asked("backup", home.path, copy)
        assert (taken["blobs"], taken["damaged"]) == (0, 1)
        assert taken["not_in_it"] == list(NOT_IN_IT)
        figures = metrics(said["rpc"])
        assert figures["merit_block_number"] == 1
        assert figures["merit_height"] >= taken["height"]
        assert figures['merit_abci_seconds_count{call="finalize_block"}'] >= 1
        assert figures["merit_edge_step_seconds_count"] > 0
        assert figures["merit_edge_blob_bytes"] == 0
        assert_probes_keep_to_loopback(said["rpc"])
        after = until_height(home, taken["height"] + 1)
        assert "in use by another node process" in refused("restore", copy, home.path)
        assert "in use by another node process" in refused("node", "start", home.path)
    assert merit("node", "status", home.path).returncode == 1
    assert sorted(path.name for path in copy.iterdir()) == ["backup.toml", "blobs", "genesis.json", "ledger"]
    assert "holds a ledger already" in refused("restore", copy, home.path)
    shutil.rmtree(home.ledger)
    wrong = "0x" + "00" * 32
    assert "app hash" in refused("restore", copy, home.path, "--app-hash", wrong)
    assert asked("restore", copy, home.path, "--app-hash", taken["app_hash"])["height"] == taken["height"]
    with running(home):
        again = until_height(home, after["height"] + 1)
    assert again["block"] == after["block"] == 1
    assert again["block_hash"] == after["block_hash"]


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_a_cometbft_that_lost_its_blocks_stops_with_one_line(home: NodeHome, tmp_path: Path) -> None:
    data, old = home.comet / "data", tmp_path / "old"
    fresh = tmp_path / "fresh"
    shutil.copytree(data, fresh)
    with running(home):
        until_height(home, 2)
    shutil.copytree(data, old)
    with running(home):
        until_height(home, 12)
    votes = (data / "priv_validator_state.json").read_bytes()
    for copy, told in ((old, "comet/data is an old copy"), (fresh, "comet/data was lost")):
        shutil.rmtree(data)
        shutil.copytree(copy, data)
        (data / "priv_validator_state.json").write_bytes(votes)
        line = refused("node", "start", home.path)
        assert told in line
        assert f"move {home.path}/ledger away" in line
    shutil.rmtree(data)
    data.mkdir()
    assert "priv_validator_state.json is missing" in refused("node", "start", home.path)
    (data / "priv_validator_state.json").write_text("{", encoding="utf-8")
    assert "never take it from a copy" in refused("node", "start", home.path)


def test_a_home_that_cannot_be_used_is_refused_in_one_line(home: NodeHome, tmp_path: Path) -> None:
    assert "no such node home" in refused("node", "start", tmp_path / "nowhere")
    assert "no such node home" in refused("node", "status", tmp_path / "nowhere")
    assert "holds no ledger" in refused("backup", home.path, tmp_path / "copy")
    assert not (tmp_path / "copy.partial").exists()
    assert "no such file" in refused("restore", tmp_path, home.path)
    (home.path / "node.toml").write_text('nam = "x"\n', encoding="utf-8")
    assert "unknown key nam; the nearest valid one is name" in refused("node", "start", home.path)


@pytest.mark.usefixtures("program")
def test_a_port_in_use_and_an_open_key_are_refused_before_anything_starts(home: NodeHome) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", home.read().handover))
        holder.listen()
        line = refused("node", "start", home.path)
    assert f"port {home.read().handover} cannot be used" in line
    assert "change handover in" in line
    secret = home.comet / "config" / "priv_validator_key.json"
    secret.chmod(0o644)
    assert f"run `chmod 600 {secret}`" in refused("node", "start", home.path)
    assert not home.logs.exists()


def test_a_backup_of_another_chain_is_refused(home: NodeHome, tmp_path: Path) -> None:
    from chain.application import Application  # noqa: PLC0415 - py-evm is slow to load
    from chain.genesis import load_genesis  # noqa: PLC0415 - as above
    from chain.storage import Store  # noqa: PLC0415 - as above

    file = TestnetFile(validators=1, clients=0, port=free_port_base(1, 44_000), relays=False)
    make(tmp_path / "other", file, 1_700_000_000)
    other = Layout(tmp_path / "other").home(1)
    with contextlib.closing(Store.open(other.ledger)) as store:
        Application(store).init_chain(load_genesis(other.genesis))
    asked("backup", other.path, tmp_path / "copy")
    assert "they are other chains" in refused("restore", tmp_path / "copy", home.path)
    assert not home.ledger.exists()
    assert "exists already" in refused("backup", other.path, tmp_path / "copy")


def test_a_missing_cometbft_is_named_with_what_brings_it(home: NodeHome, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from chain.engines.cometbft import binary; import node.cli;"
        "binary._CHECKOUT = Path(sys.argv[2]); sys.exit(node.cli.main(['node', 'start', sys.argv[1]]))"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script, str(home.path), str(tmp_path)],
        cwd=tmp_path, env={"PATH": "/nowhere", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().endswith("run `merit testnet install`")
