"""A validator whose program computes something else: the others go on, it stops, and the command names the write."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.crypto.addresses import Address
from contracts.addresses import TOKEN
from contracts.bindings import Token
from merit.clock import SystemClock
from node.account import Account
from node.machine import pair
from node.machine.pair import State
from node.testnet.layout import Layout, TestnetFile, free_port_base, make
from node.testnet.supervisor import NodeStatus, Supervisor
from tests.conftest import ROOT
from tests.node.machine.conftest import QUICK

CLOCK = SystemClock()
LIMIT_S = 240.0  # four processes load the EVM at once, perhaps on a busy machine
PAYEE = Address(b"\x77" * 20)
PAID = 12_345
WRONG = 12_346

# Python imports a module of this name first of all; the processes of the other nodes find nothing to patch
PATCH = f"""
import sys
if any(argument.endswith("/node4") for argument in sys.orig_argv):
    from chain.execution.accounts import Accounts
    original = Accounts.set_storage
    def set_storage(self, address, slot, value):
        original(self, address, slot, {WRONG} if value == {PAID} else value)
    Accounts.set_storage = set_storage
"""


async def until(supervisor: Supervisor, what: str, holds: Callable[[list[NodeStatus]], bool]) -> list[NodeStatus]:
    limit = CLOCK.monotonic() + LIMIT_S
    while not holds(now := await supervisor.status()):
        assert CLOCK.monotonic() < limit, f"{what}: {now}"
        await CLOCK.sleep(0.2)
    return now


def compare(layout: Layout, *options: str) -> subprocess.CompletedProcess[str]:
    home = str(layout.home(4).path)
    command = [sys.executable, "-m", "node.cli", "node", "compare", home, *options]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, check=False, timeout=120, env=environment
    )


@pytest.mark.slow
def test_a_node_that_computes_another_state_stops_and_the_first_write_is_named(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "SOCKET_WAIT_S", LIMIT_S)
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(PATCH, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(patch), str(ROOT))))
    file = TestnetFile(validators=4, clients=0, port=free_port_base(4, 45_000), relays=False, timing=QUICK)
    make(tmp_path / "net", file, int(CLOCK.now()))
    layout = Layout(tmp_path / "net")
    told: list[str] = []
    cometbft = program.absolute()

    async def work() -> tuple[str, subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
        supervisor = Supervisor(layout, cometbft, CLOCK, told.append)
        async with supervisor.running():
            await until(supervisor, "all run", lambda now: all((node.height or 0) >= 2 for node in now))
            sponsor = await asyncio.to_thread(
                Account.connect,
                layout.home(1).read().rpc_url,
                layout.member_key_path(file.sponsor),
                layout.password.read_bytes(),
            )
            block, _ = await asyncio.to_thread(sponsor.send, TOKEN, Token.encode_transfer(PAYEE, PAID))
            now = await until(supervisor, "node4 stops", lambda now: now[3].state == State.FAILED.value)
            height = max(node.height or 0 for node in now)
            await until(supervisor, "the others go on", lambda now: all((n.height or 0) > height + 2 for n in now[:3]))
            plain = await asyncio.to_thread(compare, layout)
            document = await asyncio.to_thread(compare, layout, "--json")
            found = json.loads(document.stdout)["difference"]
            assert found["block"] == block
            return now[3].problem, plain, document

    problem, plain, document = asyncio.run(work())
    assert document.returncode == plain.returncode == 1
    found = json.loads(document.stdout)
    difference = found["difference"]
    assert f"this ledger's app hash is {difference['here'][2:]}" in problem
    assert f"the others agreed on {difference['there'][2:]}" in problem
    assert f"`merit node compare {layout.home(4).path}`" in problem
    assert f"node4: {problem}" in told
    assert len(found["nodes"]) == 3  # all peers, from node.toml
    assert difference["header"] == ["stateRoot"]
    (write,) = difference["writes"]
    assert (write["contract"], write["name"]) == ("Token", f"balanceOf[0x{PAYEE.hex()}]")
    assert (write["before"], write["here"], write["there"]) == ("0", str(WRONG), str(PAID))
    assert difference["decided"]
    assert difference["agrees"] == "there"
    assert f"Token (0x{TOKEN.hex()}), balanceOf[0x{PAYEE.hex()}]" in plain.stdout
