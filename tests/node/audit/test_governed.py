"""A run that votes: a validator's new key, other rules for its job, new versions, and an audit that follows them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.crypto import keystore
from chain.engines.embedded import EngineStore
from chain.execution import evm
from chain.genesis import load_genesis
from chain.light import validator_address
from contracts import events
from node.audit import Auditor, AuditReport, audit_directory, audit_network
from node.audit.history import blocks_of
from node.audit.replay import Replay
from tests.node.audit.conftest import GOVERNED
from tests.node.audit.serving import Served


@pytest.fixture(scope="module")
def directory(runs: Callable[[str], Path]) -> Path:
    return runs(GOVERNED)


@pytest.fixture(scope="module")
def known() -> Auditor:
    return Auditor()


@pytest.fixture(scope="module")
def report(known: Auditor, directory: Path) -> AuditReport:
    return known.audit(directory)


@pytest.fixture(scope="module")
def history(known: Auditor, report: AuditReport, directory: Path) -> Replay:
    """Give what the audit executed."""
    replay = known.replays.begin(load_genesis(directory / "genesis.json")).replay
    assert len(replay.steps) == report.height + 1
    return replay


def happened(replay: Replay, kind: type[events.Event]) -> list[events.Event]:
    return [event for block in blocks_of(replay) for event in block.events if isinstance(event, kind)]


def test_a_governed_run_audits_clean(report: AuditReport) -> None:
    assert report.ok, report.lines
    counts = {tally.name: tally.counts for tally in report.tallies}
    assert counts["rounds"]["paid rounds"] == counts["rounds"]["rounds"] >= 8
    assert "rounds checked by signature only" not in counts["rounds"]


def test_a_governed_run_audits_clean_over_the_network(
    known: Auditor, report: AuditReport, directory: Path, tmp_path: Path
) -> None:
    shutil.copytree(directory, tmp_path / "run")
    served = Served(tmp_path / "run")
    try:
        told = audit_network(served.urls[:2], auditor=known)
    finally:
        served.stop()
    assert told.ok, told.lines
    assert told.clients == report.clients
    updates = next(tally for tally in told.tallies if tally.name == "heights").counts["validator updates"]
    assert updates == 2 * len(told.nodes)  # a key goes and another comes, as each node tells it


def test_the_history_has_the_new_key_the_new_rules_and_the_new_versions(history: Replay, directory: Path) -> None:
    reader = history.reader
    new = keystore.load(directory / "keys" / "validator-2.2.pem", (directory / "keys" / "password").read_bytes())
    assert new.public_key in {seat.public_key for seat in reader.validators()}
    store = EngineStore(directory / "validators" / "1" / "engine", history.genesis.digest())
    newest = store.commit(store.height)
    store.close()
    assert validator_address(new.public_key) in {slot.validator_address for slot in newest.signatures}
    assert reader.versions(0) == (1, 1, 1)
    assert reader.versions() == (2, 2, 2)
    (changed,) = happened(history, events.RulesChanged)
    assert isinstance(changed, events.RulesChanged)
    assert changed.round > 1


def test_rounds_before_and_after_the_boundary_are_scored_by_their_own_rules(history: Replay) -> None:
    (changed,) = happened(history, events.RulesChanged)
    assert isinstance(changed, events.RulesChanged)
    thetas: dict[bool, set[int]] = {False: set(), True: set()}
    for event in happened(history, events.Credited):
        assert isinstance(event, events.Credited)
        thetas[event.round >= changed.round].add(event.theta)
    delays = {10**9, 707_106_781, 577_350_269, 500_000_000, 447_213_595}  # uniform, less (1 + tau)^(-1/2), tau to 4
    assert thetas[True]
    assert thetas[True] <= delays
    assert thetas[False] - delays


def test_an_audit_by_a_program_that_lacks_a_version_says_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm, "COMPUTATIONS", {1: evm.MeritComputation})
    report = audit_directory(directory)
    assert not report.ok
    assert any("on the ledger uses execution version 2, this program has 1;" in line for line in report.lines)
