"""What edge servers attest and is not so, and whole directories that are consistent and not the caller's."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from node.audit import AuditReport, Part, audit_directory
from node.cli import main

Runs = Callable[[str], Path]


@pytest.fixture(scope="module")
def agreed_lies(runs: Runs) -> AuditReport:
    return audit_directory(runs("quorum"))


@pytest.fixture(scope="module")
def outvoted_lies(runs: Runs) -> AuditReport:
    return audit_directory(runs("minority"))


def test_false_thetas_of_all_edge_servers_are_named_by_round_and_part(agreed_lies: AuditReport) -> None:
    first = agreed_lies.first
    assert first is not None
    assert (first.store, first.part, first.job, first.round) == ("history of validator 1", Part.THETAS, 1, 2)
    assert first.height is not None
    assert first.block is not None


def test_a_false_model_of_all_edge_servers_is_named_once_and_later_rounds_are_computed_from_it(
    agreed_lies: AuditReport,
) -> None:
    models = [divergence for divergence in agreed_lies.divergences if divergence.part is Part.MODEL]
    assert [(model.job, model.round) for model in models] == [(1, 3)]
    assert not any("not computed again" in remark for remark in agreed_lies.remarks)


def test_each_reward_paid_by_false_thetas_is_named_with_its_client(agreed_lies: AuditReport) -> None:
    others = [divergence for divergence in agreed_lies.divergences if divergence.part is not Part.MODEL]
    assert {divergence.part for divergence in others} == {Part.THETAS, Part.REWARD}
    assert {divergence.round for divergence in others} == {2}
    paid = [divergence for divergence in others if divergence.client is not None]
    assert [divergence.part for divergence in paid] == [Part.THETAS, Part.REWARD, Part.REWARD]


def test_every_edge_server_that_attested_a_lie_is_named(agreed_lies: AuditReport) -> None:
    assert named(agreed_lies) == {(round_, edge, part) for round_, part in LIES_OF_ALL for edge in range(1, 5)}


LIES_OF_ALL = ((2, "thetas"), (3, "model"))


def named(report: AuditReport) -> set[tuple[int, int, str]]:
    """Return the rounds, edge servers and parts that the remarks name."""
    form = (
        r"job 1 round (\d+): edge server (\d+) attests(?:, too late to count,)? another (\w+) than the round computed"
    )
    found = (re.match(form, remark) for remark in report.remarks)
    return {(int(match[1]), int(match[2]), match[3]) for match in found if match}


def test_lies_of_a_minority_leave_the_verdict_alone_and_name_who_told_them(outvoted_lies: AuditReport) -> None:
    assert outvoted_lies.ok, outvoted_lies.lines
    rounds = next(tally for tally in outvoted_lies.tallies if tally.name == "rounds").counts["rounds"]
    expected = {(round_, 1 if round_ % 2 else 4, "thetas") for round_ in range(1, rounds + 1)}
    assert named(outvoted_lies) == expected


def test_the_command_exits_1_and_its_last_line_names_the_lie(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(runs("quorum"))]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    form = (
        r"DIVERGES: history of validator 1, height \d+, block \d+, job 1, round 2: thetas:"
        r" expected [0-9a-f]{64}, found [0-9a-f]{64}"
    )
    assert re.fullmatch(form, last)


def test_the_command_exits_0_and_notes_the_lies_of_a_minority(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(runs("minority"))]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("note: job 1 round 1: edge server 1 attests") for line in printed)
    assert printed[-1].startswith("OK, self-consistent only")


def test_another_network_is_consistent_and_only_the_callers_genesis_hash_tells(
    runs: Runs, untouched: Path, outvoted_lies: AuditReport, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted = audit_directory(untouched).genesis_hash
    assert outvoted_lies.ok
    assert main(["audit", str(runs("minority")), "--genesis", trusted.hex()]) == 1
    expected = f"hash 0x{trusted.hex()}, found 0x{outvoted_lies.genesis_hash.hex()}"
    assert capsys.readouterr().out.splitlines()[-1] == f"DIVERGES: directory: genesis document: expected {expected}"


def test_the_genesis_document_of_another_network_is_named_once(run: Path, runs: Runs) -> None:
    shutil.copy(runs("minority") / "genesis.json", run / "genesis.json")
    first = audit_directory(run).first
    assert first is not None
    assert (first.store, first.part, first.height) == ("directory", Part.GENESIS, None)
    assert "for which all stores were made" in first.expected
