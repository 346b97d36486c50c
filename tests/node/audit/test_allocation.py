"""Runs whose work is allocated: the audit computes every plan again, and names one that is not what it must be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.genesis import load_genesis
from node.audit import Auditor, AuditReport, Part, audit_directory
from node.rounds.attestation import ALLOCATION
from node.run.events import Allocated, EventLog, RoundDone
from node.run.report import write_report
from tests.node.audit import tamper
from tests.node.audit.conftest import copied
from tests.node.audit.test_lies import named

Runs = Callable[[str], Path]


@pytest.fixture(scope="module")
def lies(runs: Runs) -> AuditReport:
    return audit_directory(runs("plan"))


def counts(report: AuditReport) -> dict[str, int]:
    return next(tally for tally in report.tallies if tally.name == "rounds").counts


@pytest.mark.parametrize("rule", ["exact", pytest.param("equal", marks=pytest.mark.slow)])
def test_a_run_by_each_rule_audits_clean_and_each_plan_is_computed_again(runs: Runs, rule: str) -> None:
    report = audit_directory(runs(rule))
    assert report.ok, report.lines
    assert named(report) == set()
    assert counts(report)["plans"] == counts(report)["rounds"] >= 3
    assert counts(report)["part digests"] == 6 * counts(report)["rounds"]


@pytest.mark.parametrize("rule", ["exact", pytest.param("equal", marks=pytest.mark.slow)])
def test_each_round_tells_its_plan_and_the_report_shows_the_staleness(runs: Runs, rule: str, tmp_path: Path) -> None:
    directory = runs(rule)
    events = EventLog(directory / "events.jsonl").read()
    plans = {event.version: event for event in events if isinstance(event, Allocated)}
    rounds = [event for event in events if isinstance(event, RoundDone)]
    assert sorted(plans) == [done.round for done in rounds]
    for done in rounds:
        assert {record.client for record in done.records} <= {share.client for share in plans[done.round].shares}
    if rule == "equal":
        assert {share.samples for plan in plans.values() for share in plan.shares} == {20}
    target = tmp_path / "run"
    target.mkdir()
    (target / "events.jsonl").write_bytes((directory / "events.jsonl").read_bytes())
    page = write_report(target).read_text(encoding="utf-8")
    assert f"Work is allocated by the rule <em>{rule}</em>" in page
    assert "Average staleness" in page
    numbers = json.loads((target / "report" / "report.json").read_bytes())
    assert [plan["version"] for plan in numbers["plans"]] == [done.round for done in rounds]


def test_a_plan_that_all_edge_servers_attest_and_no_report_gives_is_named_by_round_and_part(lies: AuditReport) -> None:
    first = lies.first
    assert first is not None
    assert (first.store, first.part, first.job, first.round) == ("history of validator 1", Part.ALLOCATION, 1, 2)
    assert {divergence.part for divergence in lies.divergences} == {Part.ALLOCATION}
    assert {divergence.round for divergence in lies.divergences} == {2}, "later plans are computed from the agreed one"


def test_every_server_that_lied_about_a_plan_is_named(lies: AuditReport) -> None:
    assert named(lies) == {(2, edge, "allocation") for edge in range(1, 5)} | {(3, 4, "allocation")}


def test_the_newest_plan_that_a_server_attested_and_lost_is_named(runs: Runs, tmp_path: Path) -> None:
    run, auditor = copied(runs("exact"), tmp_path / "run"), Auditor()
    assert auditor.audit(run).ok
    replay = auditor.replays.begin(load_genesis(run / "genesis.json")).replay
    round_, edge, path = tamper.newest_attested(run, replay, ALLOCATION)
    path.unlink()
    first = auditor.audit(run).first
    assert first is not None
    assert (first.store, first.part, first.round) == (f"edge {edge} blobs", Part.ALLOCATION, round_)
