"""The examples of `scripts/examples`, run as their reader would: own model, own rule, over TLS, paid and audited."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from learner.contribution import plugins
from tests.node.small_ledger import CLIENTS, EXAMPLES, SPONSOR, SmallLedger, installed
from tests.node.testnet.running import merit

ROUNDS = 3


@pytest.fixture(scope="module")
def rule(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Install the examples' rule for these tests alone; undo to take it away."""
    with pytest.MonkeyPatch.context() as patch:
        installed(patch, tmp_path_factory.mktemp("site"), EXAMPLES / "majority_rule" / "pyproject.toml")
        patch.syspath_prepend(str(EXAMPLES))
        plugins.find.cache_clear()
        yield patch
    plugins.find.cache_clear()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory, rule: pytest.MonkeyPatch) -> Iterator[SmallLedger]:
    """A ledger on which a job was learned, by an own model and an own rule, and is closed."""
    del rule
    folder = tmp_path_factory.mktemp("examples")
    job = folder / "job.toml"
    text = (EXAMPLES / "own_model.toml").read_text()
    for old, new in (('"cosine"', '"merit-majority:majority.1"'), ("max_wait = 10", "max_wait = 2")):
        assert old in text
        text = text.replace(old, new, 1)
    job.write_text(text)
    made = SmallLedger(folder / "net")
    try:
        made.learn(job, folder / "clients", rounds=ROUNDS)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def copy(ledger: SmallLedger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory, for who reads it while the network runs."""
    target = tmp_path_factory.mktemp("copy") / "net"
    shutil.copytree(ledger.network.directory, target)
    return target


def test_an_own_model_learns_over_tls_and_is_paid_by_an_own_rule(ledger: SmallLedger) -> None:
    paid = ledger.asked("rewards")["rewards"]
    assert {row["client"] for row in paid} == set(CLIENTS)
    assert {row["theta_ppb"] for row in paid} <= {0, 10**9}, "of two updates, the other agrees or does not"
    assert ledger.asked("job", "show", 1)["scoring"] == "merit-majority:majority.1"


def test_a_sponsor_is_told_that_an_objective_names_no_edge_server(ledger: SmallLedger, tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    text = (EXAMPLES / "own_model.toml").read_text().replace('"cosine"', '"calibrated"', 1)
    file.write_text(text + "\n[references.objective]\nedge_servers = [1, 5]\n")
    options = ["--server", ledger.intakes[0], "--trust", ledger.certificate, "--budget", 1, *ledger.secret(SPONSOR)]
    done = ledger.merit("job", "create", file, *options)
    assert done.code == 2, done
    assert done.err.splitlines()[-1].endswith(
        "job term references.objective.edge_servers = [1, 5]: choose edge servers of edge set 1: 1, 2, 3, 4"
    )


def test_the_audit_computes_the_own_rule_again(copy: Path) -> None:
    done = merit("audit", copy)
    assert done.code == 0, done
    assert "checked by signature" not in done.out


def test_an_auditor_without_the_rules_package_is_told_its_name_in_one_line(copy: Path) -> None:
    """In a process of its own, where nothing is installed for tests."""
    command = [sys.executable, "-m", "node.cli", "audit", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert done.returncode == 2, done
    assert done.stderr.splitlines()[-1] == (
        "merit: job 1 round 1: scoring rule 'merit-majority:majority.1': the package merit-majority has no rule"
        " majority.1 for rules version 1: is it installed here?"
    )


def test_rewards_are_read_with_web3(ledger: SmallLedger, capsys: pytest.CaptureFixture[str]) -> None:
    from runpy import run_path  # noqa: PLC0415 - as a reader would run it

    run_path(str(EXAMPLES / "read_rewards.py"))["main"](ledger.rpc)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("block ")]
    sums = [line for line in lines if line.endswith("tokens in all")]
    wanted = {int(client): int(wei) / 10**18 for client, wei in ledger.asked("rewards")["clients"].items()}
    assert {int(line.split()[1][:-1]): float(line.split()[2]) for line in sums} == pytest.approx(wanted, abs=1e-3)
