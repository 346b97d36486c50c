"""A testnet of four validators under the real CometBFT, from `start -d` to `stop`, and all that may be done to it."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from web3 import Web3

from chain.application import Code
from chain.engines.cometbft.rpc import CometRpc
from chain.light import Height, header_hash
from chain.limits import TRANSACTION_BYTES
from chain.transaction import Fields, sign_transaction
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.node.testnet.running import CLOCK, Testnet, merit, until

ALL = ("node1", "node2", "node3", "node4")
PAY = Token.encode_transfer(bytes(19) + b"\1", 5)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[tuple[Testnet, dict[str, Any]]]:
    """The testnet that every test here has, and what `start` said of it."""
    assert program.exists()
    net = Testnet(tmp_path_factory.mktemp("net") / "t", first_port=29_000)
    try:
        done = net.start()
        assert done.code == 0, done
        yield net, json.loads(done.out)
    finally:
        net.merit("stop")


@pytest.fixture
def net(started: tuple[Testnet, dict[str, Any]]) -> Testnet:
    return started[0]


def test_start_returns_when_heights_come_and_says_where_everything_is(started: tuple[Testnet, dict[str, Any]]) -> None:
    net, said = started
    assert said["directory"] == str(net.layout.directory)
    assert said["chain_id"] == net.genesis.chain_id
    assert [node["name"] for node in said["nodes"]] == list(ALL)
    homes = [home.read() for home in net.layout.homes()]
    assert [node["rpc"] for node in said["nodes"]] == [home.rpc_url for home in homes]
    assert [node["intake"] for node in said["nodes"]] == [home.intake_url for home in homes]
    assert sum(bool(node["height"]) for node in said["nodes"]) >= 3


def test_every_node_runs_is_connected_and_makes_heights(net: Testnet) -> None:
    net.grows(*ALL)
    for node in net.status().values():
        assert (node["state"], node["connected"], node["problem"]) == ("running", True, "")
        assert set(node["processes"]) == {"node", "cometbft"}
    table = net.merit("status")
    assert table.code == 0
    for word in (*ALL, "running", "whole", "height"):
        assert word in table.out


def test_all_nodes_hold_the_same_headers(net: Testnet) -> None:
    newest = min(net.heights().values())

    async def hashes(url: str) -> list[bytes]:
        rpc = CometRpc(url)
        try:
            return [header_hash(await rpc.header(Height(height))) for height in range(1, newest + 1)]
        finally:
            await rpc.close()

    found = [asyncio.run(hashes(home.read().comet_url)) for home in net.layout.homes()]
    assert newest >= 2
    assert found == [found[0]] * 4


def test_a_transaction_through_one_node_is_final_on_all(net: Testnet) -> None:
    block, logs = net.account(2).send(TOKEN, PAY)
    assert len(logs) == 1
    for home in net.layout.homes():
        w3 = Web3(Web3.HTTPProvider(home.read().rpc_url))
        until(lambda: w3.eth.block_number >= block, f"block {block} at {home.path.name}")  # noqa: B023 - called at once
        assert w3.eth.get_transaction_receipt(logs[0]["transactionHash"])["status"] == 1
        assert w3.eth.get_block(block)["hash"] == logs[0]["blockHash"]


def signed(net: Testnet, **changes: Any) -> bytes:
    """A transfer in the sponsor's name, whose first nonce is used."""
    genesis_hash = changes.pop("genesis_hash", b"\xee" * 32)
    values = {"chain_id": net.genesis.chain_id, "nonce": 0, "gas": 1_000_000, "to": TOKEN, "data": PAY} | changes
    return sign_transaction(net.sponsor, Fields(**values), genesis_hash, reference=True)


def genesis_hash(net: Testnet) -> bytes:
    request = {"jsonrpc": "2.0", "id": 1, "method": "merit_genesisHash"}
    said: str = httpx.post(net.layout.home(1).read().rpc_url, json=request, timeout=60).json()["result"]
    return bytes.fromhex(said[2:])


REFUSED: dict[str, tuple[Callable[[Testnet], bytes], Code, str]] = {
    "no RLP": (lambda _: b"\x50" + b"\xff" * 40, Code.MALFORMED, "not canonical RLP"),
    "one byte too many": (lambda _: b"\x50" + bytes(TRANSACTION_BYTES), Code.MALFORMED, f"{TRANSACTION_BYTES} bytes"),
    "a type that there is not": (lambda _: b"\x07" + bytes(40), Code.REFUSED_TYPE, "unknown transaction type 7"),
    "another chain": (lambda net: signed(net, chain_id=1), Code.WRONG_CHAIN, "chain"),
    "signed for another ledger": (signed, Code.BAD_SIGNATURE, "the signature does not hold"),
    "a used nonce": (lambda net: signed(net, genesis_hash=genesis_hash(net)), Code.NONCE_USED, "nonce 0 is used"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_not_be_in_a_block_is_refused_by_json_rpc_with_its_reason(net: Testnet, what: str) -> None:
    make, code, reason = REFUSED[what]
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [f"0x{make(net).hex()}"]}
    answer = httpx.post(net.layout.home(1).read().rpc_url, json=request, timeout=60).json()
    assert "result" not in answer
    assert answer["error"]["code"] == (-32602 if what == "one byte too many" else -32000), code
    assert reason in answer["error"]["message"]


@pytest.mark.parametrize("what", [what for what in REFUSED if what != "one byte too many"])
def test_what_may_not_be_in_a_block_is_refused_by_cometbft_with_code_and_reason(net: Testnet, what: str) -> None:
    make, code, reason = REFUSED[what]
    said = broadcast(net, make(net))["result"]
    assert (said["code"], said["codespace"]) == (code, "merit")
    assert reason in said["log"]


def test_cometbft_itself_refuses_what_is_too_long(net: Testnet) -> None:
    said = broadcast(net, b"\x50" + bytes(TRANSACTION_BYTES))
    assert "too large" in json.dumps(said["error"]).lower()


def broadcast(net: Testnet, raw: bytes) -> Any:
    """Send bytes past the node, to the CometBFT beside it."""
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "broadcast_tx_sync",
        "params": {"tx": base64.b64encode(raw).decode()},
    }
    return httpx.post(net.layout.home(1).read().comet_url, json=request, timeout=60).json()


def test_logs_show_the_last_lines_of_either_process(net: Testnet) -> None:
    lines = net.merit("logs", "node1", "-n", 1).out.splitlines()
    assert len(lines) == 1
    whole = json.loads(net.merit("logs", "node1", "--lines", 10_000, "--json").out)
    assert whole["file"].endswith("node1/logs/node.jsonl")
    assert any("ready at height" in line for line in whole["lines"])
    assert "ready at height" in net.merit("logs", "node1", "-n", 10_000).out
    assert "module=" in net.merit("logs", "node1", "--comet", "-n", 10_000).out


@pytest.mark.parametrize("command", [("logs",), ("perturb", "kill"), ("leave",)])
def test_a_node_that_is_not_there_is_refused_with_those_that_are(net: Testnet, command: tuple[str, ...]) -> None:
    done = net.merit(command[0], "node9", *command[1:])
    assert done.code == 2
    assert done.err.startswith("merit: no node 'node9'")
    assert "node1, node2, node3, node4" in done.err
    assert done.err.count("\n") == 1


def test_an_unknown_perturbation_is_refused_with_those_that_are(net: Testnet) -> None:
    done = net.merit("perturb", "node1", "tickle")
    assert (done.code, done.err) == (
        2, "merit: 'tickle' is no perturbation: kill, pause, restart, disconnect\n",
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_a_second_start_is_refused_and_disturbs_nothing(net: Testnet, options: tuple[str, ...]) -> None:
    before = net.status()
    done = net.merit("start", *options)
    assert done.code == 2
    assert done.err.endswith("this testnet runs already; `merit testnet stop` ends it\n")
    assert {name: node["processes"] for name, node in net.status().items()} == {
        name: node["processes"] for name, node in before.items()
    }


def test_a_testnet_that_runs_is_not_replaced_by_force(net: Testnet) -> None:
    done = net.merit("init", "--force")
    assert done.code == 2
    assert "this testnet runs; `merit testnet stop` ends it first" in done.err
    assert net.layout.read() == net.file


def test_another_testnet_on_its_ports_is_refused_with_the_port(net: Testnet, tmp_path: Path) -> None:
    merit("testnet", "init", "--dir", tmp_path / "t", "--port", net.file.port, "--clients", 0)
    done = merit("testnet", "start", "--dir", tmp_path / "t")
    assert done.code == 2
    assert done.err == (
        f"merit: node1: port {net.file.port} (p2p) cannot be used (Address already in use): end what holds it, "
        "or init with another --port\n"
    )


def test_a_paused_node_says_nothing_and_gets_level_when_it_is_healed(net: Testnet) -> None:
    assert net.perturb("node1", "pause", 0) == "node1: pause until `merit testnet perturb node1 restart`"
    paused = net.status()["node1"]
    assert (paused["state"], paused["height"]) == ("paused", None)
    net.grows("node2", "node3", "node4")
    assert "for 0.5 s" in net.perturb("node1", "pause", 0.5)
    until(lambda: net.status()["node1"]["state"] == "running", "node1 to be healed")
    net.grows(*ALL)


def test_a_disconnected_node_stands_still_and_a_restart_reconnects_it(net: Testnet) -> None:
    net.perturb("node4", "disconnect", 0)
    cut = net.status()["node4"]
    assert (cut["state"], cut["connected"]) == ("running", False)
    net.grows("node1", "node2", "node3")
    behind = net.heights()
    assert behind["node4"] < behind["node1"]
    assert "cut" in net.merit("status").out
    assert net.perturb("node4", "restart", 0) == "node4 restarts"
    assert net.status()["node4"]["connected"]
    net.grows(*ALL)


def test_two_killed_of_four_stop_the_chain_and_it_goes_on_when_they_are_back(net: Testnet) -> None:
    for name in ("node3", "node4"):
        net.perturb(name, "kill", 0)
    until(lambda: all(net.status()[name]["state"] == "down" for name in ("node3", "node4")), "both to be down")
    until(stands(net), "the last height under way")
    stood = net.heights()
    CLOCK.wait(3.0)  # six heights, if there were any
    assert net.heights() == stood
    assert (stood["node3"], stood["node4"]) == (0, 0)
    for name in ("node3", "node4"):
        net.perturb(name, "restart", 0)
    net.grows(*ALL)
    account = net.account(3)
    assert account.send(TOKEN, PAY)[0] > 0


def stands(net: Testnet) -> Callable[[], bool]:
    """Tell whether three heights' time passes without one."""

    def holds() -> bool:
        before = net.heights()
        CLOCK.wait(1.5)
        return net.heights() == before

    return holds


@pytest.mark.parametrize("process", ["node", "cometbft"])
def test_a_node_whose_process_is_killed_comes_back_by_itself(net: Testnet, process: str) -> None:
    before = net.status()["node2"]
    os.kill(before["processes"][process], signal.SIGKILL)
    until(lambda: net.status()["node2"]["restarts"] == before["restarts"] + 1, "the restart")
    net.grows(*ALL)
    after = net.status()["node2"]
    assert set(after["processes"].values()).isdisjoint(before["processes"].values())


def test_an_edge_server_joins_while_another_is_down_and_the_first_one_leaves(net: Testnet) -> None:
    assert net.merit("perturb", "node2", "kill", "--for", "8").code == 0
    joined = net.merit("join")
    assert (joined.code, "node5" in joined.out) == (0, True), joined
    left = net.merit("leave", "node1")
    assert left.code == 0, left
    assert set(net.status()) == {"node2", "node3", "node4", "node5"}
    net.grows("node2", "node3", "node4", "node5")


def test_stop_ends_every_process_and_status_says_so(net: Testnet) -> None:
    processes = [number for node in net.status().values() for number in node["processes"].values()]
    assert len(processes) == 8
    assert json.loads(net.merit("stop", "--json").out) == {"stopped": True}
    assert [number for number in processes if Path(f"/proc/{number}").exists()] == []
    assert not net.layout.control.exists()
    done = net.merit("status", "--json")
    assert (done.code, json.loads(done.out)) == (1, {"running": False, "nodes": []})
    assert net.merit("status").code == 1
    for command in ("stop", "join"):
        done = net.merit(command)
        assert (done.code, "does not run: `merit testnet start` starts it" in done.err) == (2, True)
