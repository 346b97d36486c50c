"""What a CometBFT network's stopped node exports is verified by somebody with the wheel and the genesis hash alone."""

import json
import shutil
from pathlib import Path

import pytest

from chain.engines.cometbft import binary
from chain.engines.errors import CometBinaryError
from tests.foundation.test_wheel import installed, merit, wheel
from tests.node.experiments.test_runs import run
from tests.node.testnet.running import merit as here

__all__ = ["installed", "wheel"]  # fixtures

LEARNING = """\
kind = "ledger"
title = "A few clients learn for three rounds"

[learning]
preset = "digits"
rounds = 3

[assert]
rounds = 3
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let four CometBFT validators and their edge servers pay three rounds; return the home of one that stopped."""
    try:
        binary.find()
    except CometBinaryError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("learned")
    (folder / "learning.toml").write_text(LEARNING, encoding="utf-8")
    done, result = run(folder / "learning.toml", folder / "out")
    assert (done.code, result["holds"]) == (0, True), result["assertions"]
    return folder / "out" / "testnet" / "nodes" / "node2"


@pytest.mark.slow
def test_a_bundle_and_a_receipt_of_a_comet_network_verify_without_the_network(
    home: Path, installed: Path, tmp_path: Path
) -> None:
    exported = here("export", home, "--rounds", "2:3", "--out", tmp_path / "rounds.merit", "--json")
    assert exported.code == 0, exported
    genesis = json.loads(exported.out)["genesis_hash"]
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(tmp_path / "rounds.merit", alone)
    audited = merit(installed, "audit", str(alone / "rounds.merit"), "--genesis", genesis, "--json")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    document = json.loads(audited.stdout)
    assert (document["ok"], document["trusted"]) == (True, True)
    assert document["verified"]["rounds"]["rounds"] == 2
    client = next(one["client"] for one in document["clients"] if int(one["reward_wei"]))
    saved = here("client", "receipt", home, "--client", client, "--out", alone / "own.receipt")
    assert saved.code == 0, saved
    proven = merit(installed, "audit", str(alone / "own.receipt"), "--genesis", genesis, "--json")
    assert proven.returncode == 0, proven.stdout + proven.stderr
    document = json.loads(proven.stdout)
    assert (document["ok"], document["trusted"], document["record"]["client"]) == (True, True, client)
