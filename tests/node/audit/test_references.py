"""Runs whose rule reads references: the audit scores every round again beside them, and names who left some out."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from node.audit import AuditReport, Part, audit_directory
from node.cli import main
from tests.node.audit import tamper
from tests.node.audit.conftest import copied
from tests.node.audit.test_lies import named

Runs = Callable[[str], Path]
MAGIC = b"MRTR"
EDGE, VERSION, ROWS = slice(68, 76), slice(76, 84), slice(116, 120)  # in the header of references


@pytest.fixture(scope="module")
def honest(runs: Runs) -> AuditReport:
    return audit_directory(runs("anchored"))


@pytest.fixture(scope="module")
def lies(runs: Runs) -> AuditReport:
    return audit_directory(runs("references"))


def earliest(run: Path, edge: int) -> Path:
    """Return an edge server's file of the earliest references that all four servers hold."""
    everywhere = set.intersection(*({path.name for path in tamper.blobs(run, MAGIC, edge)} for edge in range(1, 5)))
    held = [path for path in tamper.blobs(run, MAGIC, edge) if path.name in everywhere]
    return min(held, key=lambda path: path.read_bytes()[VERSION])


def counts(report: AuditReport) -> dict[str, int]:
    return next(tally for tally in report.tallies if tally.name == "rounds").counts


def test_a_run_beside_references_audits_clean_and_every_round_is_scored_again(honest: AuditReport) -> None:
    assert honest.ok, honest.lines
    assert named(honest) == set()
    found = counts(honest)
    assert found["histories"] == found["rounds"] >= 3
    assert found["part digests"] == 7 * found["rounds"]
    assert found["references"] >= 3 * found["rounds"], "of four servers at least three are in time"
    assert "rounds checked by signature only" not in found


def test_each_record_is_explained_part_by_part(honest: AuditReport) -> None:
    assert len(honest.explained) == counts(honest)["selected records"]
    for row in honest.explained:
        assert list(row.parts)[:4] == ["authenticity", "honesty", "novelty", "new"]
        assert row.beside is not None
        assert row.beside >= row.base
        accepted = row.parts["accepted"]
        assert (row.theta_ppb > 0) <= (accepted == 10**9)
        assert row.line().startswith(f"job 1 round {row.round} client {row.client}: base {row.base}, beside references")


@pytest.mark.slow
def test_a_run_with_an_objective_audits_clean_and_its_prices_are_explained(runs: Runs) -> None:
    run = runs("objective")
    report = audit_directory(run)
    assert report.ok, report.lines
    assert named(report) == set()
    found = counts(report)
    assert found["histories"] == found["rounds"] >= 3
    prices = [row.parts["price"] for row in report.explained]
    assert all(price == 0 or 10**9 // 5 <= price <= 10**9 for price in prices)
    assert len(set(prices)) > 1
    rows: dict[int, set[int]] = {edge: set() for edge in range(1, 5)}
    for path in tamper.blobs(run, MAGIC, edge=1):
        raw = path.read_bytes()
        rows[int.from_bytes(raw[EDGE])].add(int.from_bytes(raw[ROWS]))
    assert rows[4] == {0}
    assert all(min(rows[edge]) > 0 for edge in (1, 2, 3))


def test_the_command_explains_the_rounds_that_it_is_asked_about(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(runs("anchored")), "--explain", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("job 1 round ")]
    assert all(line.startswith("job 1 round 2") for line in lines)
    thetas = [line for line in lines if ": theta " in line]
    assert thetas
    assert all(" authenticity " in line for line in thetas), lines


def test_a_server_that_shows_other_references_than_it_committed_to_is_named(lies: AuditReport) -> None:
    assert lies.ok, "the others outvote it"
    (remark,) = [text for text in lies.remarks if "instead of" in text]
    form = (
        r"job 1: edge server 4: its references of version 0 are left out:"
        r" it shows ([0-9a-f]{64}) instead of ([0-9a-f]{64}), to which it committed"
    )
    found = re.fullmatch(form, remark)
    assert found is not None
    assert found[1] != found[2]


def test_a_server_that_commits_too_late_is_named(lies: AuditReport) -> None:
    late = [text for text in lies.remarks if re.search(r"edge server 1 commits to references of version 1 in", text)]
    assert len(late) == 1
    assert late[0].endswith("too late: they are left out")


def test_shown_references_that_are_damaged_and_held_by_nobody_else_are_named(runs: Runs, tmp_path: Path) -> None:
    run = copied(runs("anchored"), tmp_path / "run")
    name = earliest(run, 1).name
    for edge in range(1, 5):
        for path in tamper.blobs(run, MAGIC, edge=edge):
            if path.name == name:
                damaged = tamper.flipped(path.read_bytes(), 150)
                path.unlink()
                path.write_bytes(damaged)
    report = audit_directory(run)
    assert {(one.store, one.part) for one in report.divergences} == {
        (f"edge {edge} blobs", Part.REFERENCES) for edge in range(1, 5)
    }
    assert all(name in one.expected for one in report.divergences)
    assert any("what it is scored beside lost" in remark for remark in report.remarks)


def test_damaged_references_of_one_server_are_named_and_the_others_copies_serve(runs: Runs, tmp_path: Path) -> None:
    run = copied(runs("anchored"), tmp_path / "run")
    path = earliest(run, 3)
    damaged = tamper.flipped(path.read_bytes(), 150)
    path.unlink()
    path.write_bytes(damaged)
    report = audit_directory(run)
    (divergence,) = report.divergences
    assert divergence.store == "edge 3 blobs"
    assert path.name in divergence.expected
    assert "rounds checked by signature only" not in counts(report)


def test_sealed_references_stay_with_their_server(runs: Runs, honest: AuditReport) -> None:
    shown = {path.name for edge in range(1, 5) for path in tamper.blobs(runs("anchored"), MAGIC, edge=edge)}
    assert len(shown) == counts(honest)["references shown"]
    for edge in range(1, 5):
        sealed = {path.name for path in (runs("anchored") / "edge" / str(edge) / "sealed").rglob("*") if path.is_file()}
        assert sealed
        assert not sealed & shown
