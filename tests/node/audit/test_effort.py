"""An audit by several processes, or one that goes on, says what one process says that begins anew."""

from pathlib import Path

import pytest

from node.audit import Auditor, AuditReport, audit_bundle
from node.audit.effort import Effort
from node.audit.errors import NotAuditableError
from node.audit.export import export_rounds
from node.audit.rounds import Rounds
from node.cli import main


@pytest.fixture(scope="module")
def alone(auditor: Auditor, untouched: Path) -> AuditReport:
    return auditor.audit(untouched)


def said(report: AuditReport) -> tuple[object, ...]:
    """Return all of a report but times."""
    counts = {tally.name: tally.counts for tally in report.tallies}
    return (
        counts["rounds"],
        report.clients,
        report.explained,
        report.arithmetic,
        report.settled,
        report.remarks,
        report.divergences,
    )


def test_several_processes_say_the_same_as_one(auditor: Auditor, untouched: Path, alone: AuditReport) -> None:
    report = auditor.audit(untouched, effort=Effort(jobs=2))
    assert report.ok
    assert said(report) == said(alone)


def test_an_audit_that_goes_on_computes_no_round_twice(
    auditor: Auditor, untouched: Path, alone: AuditReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effort = Effort(keep=tmp_path / "kept")
    assert said(auditor.audit(untouched, effort=effort)) == said(alone)

    def never(*_: object, **__: object) -> None:
        pytest.fail("a round that is kept was computed again")

    monkeypatch.setattr(Rounds, "_scored", never)
    assert said(auditor.audit(untouched, effort=effort)) == said(alone)


def test_a_file_that_was_not_written_to_its_end_is_used_up_to_there(
    auditor: Auditor, untouched: Path, alone: AuditReport, tmp_path: Path
) -> None:
    effort = Effort(keep=tmp_path / "kept")
    auditor.audit(untouched, effort=effort)
    whole = (tmp_path / "kept").read_bytes()
    (tmp_path / "kept").write_bytes(whole[: len(whole) * 2 // 3])
    assert said(auditor.audit(untouched, effort=effort)) == said(alone)
    assert (tmp_path / "kept").read_bytes() == whole


def test_what_another_program_has_kept_is_not_believed(
    auditor: Auditor, untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effort = Effort(keep=tmp_path / "kept")
    auditor.audit(untouched, effort=effort)
    computed: list[int] = []
    honest = Rounds._scored  # noqa: SLF001 - what an audit must do again

    def noted(self: Rounds, job, selection, *, agreed):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        computed.append(selection.round)
        return honest(self, job, selection, agreed=agreed)

    monkeypatch.setattr(Rounds, "_scored", noted)
    monkeypatch.setattr("node.audit.effort.version", lambda _: "another program")
    assert auditor.audit(untouched, effort=effort).ok
    assert computed == sorted(computed)
    assert computed[:3] == [1, 2, 3]


def test_a_blob_that_was_damaged_meanwhile_is_still_found(auditor: Auditor, run: Path, tmp_path: Path) -> None:
    effort = Effort(keep=tmp_path / "kept")
    assert auditor.audit(run, effort=effort).ok
    blob = next(iter(sorted((run / "edge" / "1" / "blobs").glob("*/*"))))
    raw = bytearray(blob.read_bytes())
    raw[-1] ^= 1
    blob.unlink()
    blob.write_bytes(raw)
    report = auditor.audit(run, effort=effort)
    assert report.first is not None
    assert "edge 1 blobs" in report.first.line()


def test_a_bundle_is_computed_by_several_processes(untouched: Path, tmp_path: Path) -> None:
    exported = export_rounds(untouched, tmp_path / "rounds.merit", (1, 3))
    one, two = (audit_bundle(exported.path, effort=Effort(jobs=jobs)) for jobs in (1, 2))
    assert one.ok, one.lines
    assert said(two) == said(one)


def test_a_file_that_keeps_something_else_is_bad_input(auditor: Auditor, untouched: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(NotAuditableError, match="keeps no rounds of an audit"):
        auditor.audit(untouched, effort=Effort(keep=tmp_path / "notes"))
    assert (tmp_path / "notes").read_text() == "mine"


def test_nodes_are_audited_by_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "http://127.0.0.1:1", "--jobs", "2"]) == 2
    assert "export them first" in capsys.readouterr().err
