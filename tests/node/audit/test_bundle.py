"""A bundle of rounds is verified offline; whatever is changed in it is named."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from node.audit import Auditor, AuditReport, Part, audit_bundle
from node.audit.bundle import form
from node.audit.container import MAGIC, Container, Key, Kind, Writer
from node.audit.errors import FaultError, NotAuditableError
from node.audit.export import Exported, export_rounds
from node.audit.scope import RoundsScope, decode_scope, encode_scope
from node.cli import main


@pytest.fixture(scope="module")
def exported(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_rounds(untouched, tmp_path_factory.mktemp("bundle") / "rounds.merit", (2, 3))


@pytest.fixture(scope="module")
def report(exported: Exported) -> AuditReport:
    return audit_bundle(exported.path, genesis_hash=exported.genesis_hash)


def entries(path: Path) -> list[tuple[Key, bytes]]:
    with Container(path) as container:
        container.index(form)
        return [(key, container[key]) for key in container]


def rewritten(path: Path, to: Path, changed: dict[Key, bytes | None]) -> Path:
    """Write a bundle again with other contents, or without entries."""
    with Writer(to) as writer:
        for key, content in entries(path):
            new = changed.get(key, content)
            if new is not None:
                writer.add(key, new)
    return to


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def first(report: AuditReport) -> str:
    assert report.first is not None, report.lines
    return report.first.line()


def test_a_bundle_audits_clean_and_computes_its_rounds_again(report: AuditReport) -> None:
    assert report.ok, report.lines
    assert report.trusted
    counts = {tally.name: tally.counts for tally in report.tallies}
    assert counts["rounds"]["rounds"] == 2
    assert counts["rounds"]["part digests"] == 10
    assert counts["rounds"]["rounds followed by signatures"] == 1
    assert {one.round for one in report.arithmetic} == {2, 3}


def test_a_bundle_pays_what_the_whole_directory_pays(report: AuditReport, auditor: Auditor, untouched: Path) -> None:
    whole = {one.round: one for one in auditor.audit(untouched).arithmetic}
    assert [whole[one.round] for one in report.arithmetic] == list(report.arithmetic)
    assert all(sum(share.reward_wei for share in one.shares) == one.pool_wei for one in report.arithmetic)


def test_two_exports_of_the_same_rounds_are_the_same_bytes(exported: Exported, untouched: Path, tmp_path: Path) -> None:
    again = export_rounds(untouched, tmp_path / "again.merit", (2, 3))
    assert again.path.read_bytes() == exported.path.read_bytes()


def test_another_genesis_hash_is_named_and_nothing_else(exported: Exported) -> None:
    report = audit_bundle(exported.path, genesis_hash=bytes(32))
    assert [one.part for one in report.divergences] == [Part.GENESIS]


def test_rounds_that_are_not_decided_cannot_be_exported(untouched: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAuditableError, match="round 99 of job 1 is not decided and paid"):
        export_rounds(untouched, tmp_path / "none", (1, 99))
    assert not list(tmp_path.iterdir())


def test_rounds_whose_blobs_are_gone_cannot_be_exported(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "edge")
    with pytest.raises(NotAuditableError, match=r"not all of it is there.*round 2"):
        export_rounds(run, tmp_path / "none", (2, 2))
    assert not (tmp_path / "none").exists()


def test_a_scope_of_more_rounds_than_the_bundle_has_is_a_divergence(exported: Exported, tmp_path: Path) -> None:
    scope = RoundsScope(job=1, first=2, last=99)
    report = audit_bundle(rewritten(exported.path, tmp_path / "more", {Key(Kind.SCOPE): encode_scope(scope)}))
    assert "rounds 2 to 99 of job 1" in first(report)


def test_a_blob_that_no_round_of_the_scope_needs_is_a_divergence(exported: Exported, tmp_path: Path) -> None:
    scope = RoundsScope(job=1, first=2, last=2)
    report = audit_bundle(rewritten(exported.path, tmp_path / "fewer", {Key(Kind.SCOPE): encode_scope(scope)}))
    assert "no blob that these rounds do not need" in first(report)


def test_a_damaged_update_is_named_by_round_and_client(exported: Exported, tmp_path: Path) -> None:
    key, raw = next((key, raw) for key, raw in entries(exported.path) if raw.startswith(b"MRTU"))
    name = sha256(raw).hexdigest()
    damaged = rewritten(exported.path, tmp_path / "damaged", {key: flipped(raw, len(raw) - 1)})
    report = audit_bundle(damaged, genesis_hash=exported.genesis_hash)
    (named,) = [one for one in report.divergences if name in one.expected]
    assert named.part is Part.BLOB
    assert named.round in {2, 3}
    assert named.client is not None
    assert "which has SHA-256" in named.found


@pytest.mark.parametrize("kind", [Kind.HEADER, Kind.COMMIT, Kind.TRANSACTIONS])
def test_a_changed_record_of_a_height_is_named(exported: Exported, tmp_path: Path, kind: Kind) -> None:
    key, raw = next((key, raw) for key, raw in entries(exported.path) if key.kind is kind and key.number >= 3 and raw)
    report = audit_bundle(rewritten(exported.path, tmp_path / "changed", {key: flipped(raw, len(raw) // 2)}))
    assert f"bundle, height {key.number}" in first(report)


def heads(path: Path) -> Iterator[tuple[Key, int]]:
    """Yield each entry with the place of its head."""
    at = len(MAGIC)
    for key, raw in entries(path):
        yield key, at
        at += 13 + len(raw)


def test_every_byte_of_every_head_is_held(exported: Exported, tmp_path: Path) -> None:
    whole, damaged = exported.path.read_bytes(), tmp_path / "damaged"
    for _, at in list(heads(exported.path))[:12]:
        for offset in range(13):
            damaged.write_bytes(flipped(whole, at + offset))
            with Container(damaged) as container, pytest.raises(FaultError):
                container.index(form)


@pytest.mark.parametrize("cut", [1, 14, 500, 20_000])
def test_a_bundle_that_is_cut_says_where_it_ends(exported: Exported, tmp_path: Path, cut: int) -> None:
    damaged = tmp_path / "cut"
    damaged.write_bytes(exported.path.read_bytes()[:-cut])
    assert "bundle: bundle: expected" in first(audit_bundle(damaged))


def test_bytes_after_the_end_are_named(exported: Exported, tmp_path: Path) -> None:
    damaged = tmp_path / "longer"
    damaged.write_bytes(exported.path.read_bytes() + b"\0")
    assert "1 more bytes" in first(audit_bundle(damaged))


def test_each_byte_of_a_scope_counts(exported: Exported) -> None:
    raw = dict(entries(exported.path))[Key(Kind.SCOPE)]
    known = decode_scope(raw)
    for at in range(len(raw)):
        try:
            found = decode_scope(flipped(raw, at))
        except FaultError:
            continue  # named by what reads it
        assert found != known


def test_a_file_of_another_kind_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").write_bytes(b"merit bundle 9\n")
    assert main(["audit", str(tmp_path / "other")]) == 2
    assert "no bundle or receipt of this version" in capsys.readouterr().err


def test_an_environment_without_network_or_files_verifies_a_bundle(exported: Exported, tmp_path: Path) -> None:
    script = (
        "import socket, sys\n"
        "def never(*_, **__): raise OSError('no network here')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = never\n"
        "from node.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    shutil.copy(exported.path, tmp_path / "rounds.merit")
    genesis = f"0x{exported.genesis_hash.hex()}"
    command = [sys.executable, "-c", script, "audit", "rounds.merit", "--genesis-hash", genesis, "--json"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=300)  # noqa: S603
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"]
    assert document["trusted"]


def test_the_command_exports_and_audits(untouched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "two.merit"
    assert main(["export", str(untouched), "--rounds", "2", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rounds"] == [2, 2]
    page = tmp_path / "audit.html"
    command = ["audit", str(out), "--genesis", document["genesis_hash"], "--explain", "2", "--html", str(page)]
    assert main(command) == 0
    lines = capsys.readouterr().out
    assert "reward = pool *" in lines
    assert "OK: everything follows from genesis" in page.read_text()


@pytest.mark.parametrize("rounds", ["3:2", "0", "a:b", "1:2:3", ""])
def test_rounds_that_are_none_are_bad_input(untouched: Path, rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(untouched), "--rounds", rounds]) == 2
    assert "is not A:B" in capsys.readouterr().err
