"""The same edge servers on two chains that are not ours: eth-tester and anvil. No verifier, secp256k1 accounts."""

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from contracts import bindings, events
from contracts.addresses import ZERO
from tests.node.edge.world import SERVERS, TOKEN, Chain, PyEVMChain, Update, World, cast_for

ROOT = Path(__file__).parents[3]
GENESIS_TIME = 1_800_000_000


class AnvilChain:
    """Anvil on loopback: a block for every transaction; its clock is its own and only ever set forward."""

    def __init__(self, url: str) -> None:
        self.w3 = Web3(HTTPProvider(url))

    def fund(self, address: str) -> None:
        self._ask("anvil_setBalance", address, hex(1000 * TOKEN))

    def jump(self, timestamp: int) -> None:
        if timestamp > int(self.w3.eth.get_block("latest")["timestamp"]):
            self._ask("evm_setNextBlockTimestamp", timestamp)

    def _ask(self, method: str, *params: object) -> None:
        answer = self.w3.provider.make_request(RPCEndpoint(method), list(params))
        assert "error" not in answer, answer


@pytest.fixture
def anvil(tmp_path: Path) -> Generator[AnvilChain]:
    """Start anvil on a free port of loopback and end it afterwards."""
    binary = shutil.which("anvil") or shutil.which("anvil", path=ROOT / ".merit" / "bin")
    if binary is None:
        pytest.skip("there is no anvil: scripts/install-anvil brings it")
    command = [binary, "--host", "127.0.0.1", "--port", "0", "--timestamp", str(GENESIS_TIME)]
    own = {**os.environ, "HOME": str(tmp_path)}
    output = tmp_path / "anvil.log"
    with (
        output.open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=own) as process,  # noqa: S603 - our own
    ):
        try:
            yield AnvilChain(f"http://127.0.0.1:{_port(process, output)}")
        finally:
            process.terminate()


def _port(process: "subprocess.Popen[bytes]", output: Path) -> int:
    while process.poll() is None:
        found = re.search(rb"Listening on 127\.0\.0\.1:(\d+)", output.read_bytes())
        if found is not None:
            return int(found[1])
    raise AssertionError(output.read_text(encoding="utf-8"))


def pays_a_round(chain: Chain, directory: Path) -> World:
    """Play a round to paid rewards; nobody but the edge servers verifies its records."""
    world = World(chain, cast_for(chain), directory, {})
    assert world.ledger.verifier() == ZERO
    world.open(max_wait=50)
    assert world.round(1, 2).agreed
    assert not any(event.verified for event in world.events(events.Recorded))
    credited = world.events(events.Credited)
    assert [event.client for event in credited] == [SERVERS + 1, SERVERS + 2]
    assert sum(event.reward for event in credited) == 10 * TOKEN
    assert world.ledger.job(world.job).model != world.log().terms.model
    assert len({world.log(member).model for member in world.servers}) == 1
    return world


def test_a_round_is_agreed_and_paid_on_eth_tester(tmp_path: Path) -> None:
    pays_a_round(PyEVMChain(), tmp_path)


def test_rounds_are_agreed_and_paid_out_on_anvil(anvil: AnvilChain, tmp_path: Path) -> None:
    world = pays_a_round(anvil, tmp_path)
    update = world.update(4)
    signed = world.sign(update.record, world.cast.clients[4])
    forged = Update(dataclasses.replace(signed, signer=update.signed.signer), update.blob)
    world.record(forged)
    assert world.put(forged).reason == "its signature does not verify"

    world.contribute(3)
    world.run()
    world.wait(60)
    world.run()
    assert world.statuses() == ["consumed", "consumed", "void", "consumed"]
    assert [outcome.reward_wei for outcome in world.outcomes] == [10 * TOKEN, 5 * TOKEN], "one of two is half a round"
    token = bindings.Token(anvil.w3, world.cast.token)
    world.to_ledger(world.cast.stranger, bindings.Ledger.encode_release(SERVERS + 3))
    assert token.balance_of(world.cast.clients[2].address) == 5 * TOKEN
