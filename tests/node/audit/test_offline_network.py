"""Bundles and receipts out of nodes that run: the same as out of their stores."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.audit import audit_bundle, audit_receipt
from node.audit.export import export_rounds
from node.audit.receipts import save_receipt
from node.cli import main
from tests.node.audit.serving import Served


@pytest.fixture(scope="module")
def served(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    network = Served(Path(shutil.copytree(untouched, tmp_path_factory.mktemp("served") / "run")))
    yield network
    network.stop()


def test_a_bundle_out_of_a_node_audits_clean(served: Served, tmp_path: Path) -> None:
    exported = export_rounds(served.urls[0], tmp_path / "rounds.merit", (2, 3), edges=served.edge_urls)
    report = audit_bundle(exported.path, genesis_hash=exported.genesis_hash)
    assert report.ok, report.lines
    assert {one.round for one in report.arithmetic} == {2, 3}


def test_a_receipt_out_of_a_node_proves_the_reward(served: Served, tmp_path: Path) -> None:
    made = save_receipt(served.urls[0], tmp_path / "own.receipt", 5)
    report = audit_receipt(tmp_path / "own.receipt", genesis_hash=made.genesis_hash)
    assert report.ok, report.lines
    assert report.rewards


def test_blobs_come_from_where_the_node_says(served: Served, tmp_path: Path) -> None:
    exported = export_rounds(served.urls[0], tmp_path / "rounds.merit", (2, 2))
    assert exported.blobs > 3
    assert exported.divergences == ()


def test_nodes_are_audited_by_their_bare_urls(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *served.urls[:2], "--genesis", f"0x{served.network.genesis_hash.hex()}"]) == 0
    assert "header hashes" in capsys.readouterr().out


def test_a_url_where_nobody_listens_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "http://127.0.0.1:1", "--rounds", "1", "--out", str(tmp_path / "none")]) == 2
    assert "http://127.0.0.1:1" in capsys.readouterr().err
