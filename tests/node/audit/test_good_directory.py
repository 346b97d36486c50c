"""What an honest run's directory gives."""

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from node.audit import Auditor, AuditReport, NotAuditableError, Part, audit_directory
from node.cli import main

Audit = Callable[..., AuditReport]


@pytest.fixture(scope="module")
def report(untouched: Path) -> AuditReport:
    return audit_directory(untouched)


def test_an_honest_run_audits_clean(report: AuditReport) -> None:
    assert report.ok, report.lines
    assert report.first is None


def test_the_report_counts_what_was_verified(report: AuditReport) -> None:
    counts = {tally.name: tally.counts for tally in report.tallies}
    assert counts["engine stores"]["stores"] == counts["ledger stores"]["stores"] == 4
    assert counts["engine stores"]["different commit signatures"] == 4 * report.height
    assert counts["engine stores"]["heights"] == 4 * report.height
    assert counts["rounds"]["rounds"] >= 3
    assert counts["rounds"]["paid rounds"] == counts["rounds"]["rounds"]
    assert counts["rounds"]["part digests"] == 5 * counts["rounds"]["rounds"]
    assert counts["records"]["batch entries judged again"] >= counts["rounds"]["selected records"] >= 9
    assert counts["blobs"]["directories"] == 4


def test_every_reward_is_computed_again_and_sums_to_the_base_per_phi_records(report: AuditReport) -> None:
    rounds = next(tally for tally in report.tallies if tally.name == "rounds").counts
    paid = sum(account.reward_wei for account in report.clients)
    # whole rounds pay the base exactly; one that closed with fewer than phi pays its part, rounded down
    assert 0 <= rounds["selected records"] * 100 * 10**18 - 3 * paid < 3 * rounds["rounds"]
    assert all(account.delay is not None and account.delay >= 0 for account in report.clients)


def test_without_a_genesis_hash_it_says_self_consistent_only(report: AuditReport) -> None:
    assert not report.trusted
    assert "self-consistent only" in report.lines[-1]


def test_the_last_execution_is_said_to_be_uncommitted(report: AuditReport) -> None:
    assert any(f"executing height {report.height} gave is committed to by nobody" in line for line in report.lines)


def test_the_right_genesis_hash_makes_a_trusted_report(audit: Audit, untouched: Path, report: AuditReport) -> None:
    trusted = audit(untouched, genesis_hash=report.genesis_hash)
    assert trusted.ok
    assert trusted.trusted
    assert trusted.lines[-1].startswith("OK: everything follows from genesis")


def test_another_genesis_hash_is_named(audit: Audit, untouched: Path) -> None:
    report = audit(untouched, genesis_hash=bytes(32))
    assert report.first is not None
    assert report.first.part is Part.GENESIS


def test_a_head_in_every_chain_is_accepted_and_another_is_named_for_each_store(
    audit: Audit, untouched: Path, report: AuditReport
) -> None:
    assert audit(untouched, head=report.head).ok
    missing = audit(untouched, head=bytes(32))
    assert [divergence.part for divergence in missing.divergences] == [Part.HEAD] * 4


def test_some_of_the_stores_are_enough(audit: Audit, run: Path) -> None:
    for number in (1, 3, 4):
        shutil.rmtree(run / "validators" / str(number))
    for number in (1, 2, 4):
        shutil.rmtree(run / "edge" / str(number))
    report = audit(run)
    assert report.ok, report.lines
    assert "no stores of validators 1, 3, 4 are here" in report.remarks


def test_without_any_blobs_rounds_are_checked_by_signatures_only(audit: Audit, run: Path) -> None:
    shutil.rmtree(run / "edge")
    report = audit(run)
    assert report.ok, report.lines
    counts = next(tally for tally in report.tallies if tally.name == "rounds").counts
    assert counts["rounds checked by signature only"] == counts["rounds"] == counts["paid rounds"]
    assert "job 1: no blobs are here: its rounds are checked by signatures only" in report.remarks


def test_what_is_known_is_recognised_by_content_only(auditor: Auditor, untouched: Path) -> None:
    again, fresh = auditor.audit(untouched), audit_directory(untouched)
    known = {tally.name: tally.counts for tally in again.tallies}
    first = {tally.name: tally.counts for tally in fresh.tallies}
    assert known["engine stores"].pop("different commit signatures") == 0
    assert first["engine stores"].pop("different commit signatures") > 0
    assert known == first


def test_the_command_prints_its_parts_and_exits_0(
    untouched: Path, report: AuditReport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(untouched), "--genesis", "0x" + report.genesis_hash.hex()]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:7]] == [
        "genesis", "engine stores", "ledger stores", "records", "blobs", "rounds", "stores compared",
    ]  # fmt: skip
    assert printed[-1].startswith("OK: everything follows from genesis")


def test_the_command_as_json_exits_1_when_the_genesis_is_another(
    untouched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(untouched), "--genesis", "11" * 32, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["first"]["part"] == "genesis document"
    assert document["verified"]["rounds"]["rounds"] >= 3


@pytest.mark.parametrize("arguments", [["--genesis", "12"], ["--head", "xyz"]])
def test_a_hash_that_is_none_is_bad_usage(
    untouched: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(untouched), *arguments]) == 2
    assert "not a hash of 32 bytes" in capsys.readouterr().err


def test_a_directory_without_a_network_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(tmp_path)]) == 2
    assert "holds no network" in capsys.readouterr().err


def test_a_running_network_is_not_audited(run: Path) -> None:
    with (run / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(NotAuditableError, match="in use by a running network"):
            audit_directory(run)


def test_an_audit_writes_nothing(audit: Audit, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    audit(run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_rewards_lists_what_the_audit_computes(
    untouched: Path, report: AuditReport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rewards", str(untouched), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    expected = {str(account.client): str(account.reward_wei) for account in report.clients if account.consumed}
    assert document["clients"] == expected
    assert int(document["total_wei"]) == sum(account.reward_wei for account in report.clients)


def test_rewards_filters_by_client_and_round(untouched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards", str(untouched), "--round", "2", "--csv"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "job,round,client,theta_ppb,reward_wei,block,fate"
    assert len(rows) == 3
    assert all(row.split(",")[1] == "2" for row in rows)
    clients = [row.split(",")[2] for row in rows]  # one may be in a round twice
    client = clients[0]
    assert main(["rewards", str(untouched), "--round", "2", "--client", client, "--json"]) == 0
    listed = [row["client"] for row in json.loads(capsys.readouterr().out)["rewards"]]
    assert listed == [int(client)] * clients.count(client)


def test_rewards_wants_a_directory_or_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards"]) == 2
    assert "name a directory, or a node by --rpc URL" in capsys.readouterr().err
