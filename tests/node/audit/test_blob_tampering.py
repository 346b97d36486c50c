"""Blob directories in which something is missing, swapped or added."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.records import UpdateHeader, blob_digest
from node.audit import AuditReport, Divergence, Part
from node.audit.replay import Replay
from node.cli import main
from tests.node.audit import tamper

Audit = Callable[..., AuditReport]
MODEL, JOB_FILE = b"MRTM", b"title"


def only(report: AuditReport) -> Divergence:
    (found,) = report.divergences
    return found


def test_an_acknowledged_blob_that_is_gone_is_named_with_client_and_round(
    audit: Audit, run: Path, replay: Replay, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tamper.updates(run, replay)[0]
    header = UpdateHeader.decode(path.read_bytes()[:96])
    path.unlink()
    found = only(audit(run))
    assert (found.store, found.part, found.found) == ("edge 2 blobs", Part.BLOB, "no such file")
    assert (found.job, found.client) == (1, header.client)
    assert None not in {found.height, found.block, found.round}
    assert main(["audit", str(run)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"DIVERGES: {found.line()}"


def test_a_blob_that_no_server_has_any_more_is_named_for_each_and_its_round_is_said_not_to_be_computed(
    audit: Audit, run: Path, replay: Replay
) -> None:
    name = tamper.updates(run, replay)[0].name
    for edge in range(1, 5):
        tamper.blob_path(run, bytes.fromhex(name), edge).unlink()
    report = audit(run)
    assert [(found.store, found.part) for found in report.divergences] == [
        (f"edge {edge} blobs", Part.BLOB) for edge in range(1, 5)
    ]
    round_ = report.divergences[0].round
    assert any(
        remark.startswith(f"job 1 round {round_}: not computed again, only checked by signatures: update ")
        for remark in report.remarks
    )


def test_a_job_file_that_is_gone_is_named(audit: Audit, run: Path) -> None:
    tamper.blobs(run, JOB_FILE)[0].unlink()
    found = only(audit(run))
    assert (found.store, found.part, found.job, found.found) == ("edge 2 blobs", Part.JOB_FILE, 1, "no such file")


def test_a_model_that_is_gone_is_named_with_its_round(audit: Audit, run: Path, replay: Replay) -> None:
    round_, edge, path = tamper.newest_attested(run, replay, "model")
    path.unlink()
    found = only(audit(run))
    assert (found.store, found.part, found.round) == (f"edge {edge} blobs", Part.MODEL, round_)
    assert found.found == "no such file"


def test_a_blob_swapped_for_another_valid_one_is_named_with_both_digests(
    audit: Audit, run: Path, replay: Replay
) -> None:
    one, other = tamper.updates(run, replay)[:2]
    header = UpdateHeader.decode(one.read_bytes()[:96])
    one.write_bytes(other.read_bytes())
    found = only(audit(run))
    assert (found.store, found.part, found.client) == ("edge 2 blobs", Part.BLOB, header.client)
    assert one.name in found.expected
    assert found.found == f"a file with SHA-256 {other.name}"


def test_a_model_swapped_for_another_is_named_with_its_round(audit: Audit, run: Path, replay: Replay) -> None:
    round_, edge, path = tamper.newest_attested(run, replay, "model")
    other = next(model for model in tamper.blobs(run, MODEL, edge) if model != path)
    path.write_bytes(other.read_bytes())
    found = only(audit(run))
    assert (found.store, found.part, found.round) == (f"edge {edge} blobs", Part.MODEL, round_)
    assert found.found == f"a file with SHA-256 {other.name}"


def test_a_file_that_no_record_names_must_still_hash_to_its_name(audit: Audit, run: Path) -> None:
    name = blob_digest(b"what it says it is")
    path = tamper.blob_path(run, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"what it is")
    found = only(audit(run))
    assert (found.store, found.part, found.job) == ("edge 2 blobs", Part.BLOB, None)
    assert found.expected == f"a file with SHA-256 {name.hex()}, its name"
    assert found.found == f"a file with SHA-256 {blob_digest(b'what it is').hex()}"


def test_a_right_blob_that_no_record_names_does_no_harm(audit: Audit, run: Path) -> None:
    path = tamper.blob_path(run, blob_digest(b"more"))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"more")
    assert audit(run).ok


def test_a_foreign_file_and_a_link_are_named(audit: Audit, run: Path, replay: Replay) -> None:
    path = tamper.updates(run, replay)[0]
    elsewhere = run / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    (path.parent / "notes").write_bytes(b"")
    report = audit(run)
    assert {divergence.store for divergence in report.divergences} == {"edge 2 blobs"}
    said = {divergence.found.split(" (")[0] for divergence in report.divergences}
    assert said == {"something else", "a foreign file", "no such file"}


def test_servers_whose_blobs_are_not_here_are_named(audit: Audit, run: Path) -> None:
    shutil.rmtree(run / "edge" / "2")
    shutil.rmtree(run / "edge" / "3" / "blobs")
    report = audit(run)
    assert report.ok, report.lines
    assert "no blobs of edge servers 2 are here" in report.remarks
    assert "edge 3: no blobs are here" in report.remarks
