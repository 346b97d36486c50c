"""Bundles and receipts out of nodes that run: the same as out of their stores."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from node.audit import audit_bundle, audit_receipt
from node.audit.export import export_rounds
from node.audit.receipts import save_receipt
from node.cli import main
from node.tls.front import Front
from node.tls.identity import CERTIFICATE_NAME
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


@pytest.fixture
def fronted(served: Served) -> Iterator[list[str]]:
    """Put post-quantum TLS before a node and an edge server; return the two URLs."""
    tls = served.network.intake_tls()
    ports = [urlsplit(url).port or 0 for url in (served.urls[0], served.edge_urls[0])]
    fronts = [Front(tls, ("127.0.0.1", port)) for port in ports]
    for front in fronts:
        served.run(front.start())
    yield [front.url for front in fronts]
    for front in fronts:
        served.run(front.stop())


def test_nodes_and_edge_servers_are_audited_over_post_quantum_tls(
    served: Served, fronted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    node, edge = fronted
    command = ["audit", node, "--edge", edge, "--genesis", f"0x{served.network.genesis_hash.hex()}", "--json"]
    assert main([*command, "--trust", str(served.network.keys_path / CERTIFICATE_NAME)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verified"]["blobs"]["fetched"] > 0
    assert [one["url"] for one in document["nodes"]] == [node]


def test_a_server_whose_certificate_nobody_trusts_does_not_answer(
    fronted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", fronted[0]]) == 2
    assert "no node answers" in capsys.readouterr().err


def test_a_url_where_nobody_listens_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "http://127.0.0.1:1", "--rounds", "1", "--out", str(tmp_path / "none")]) == 2
    assert "http://127.0.0.1:1" in capsys.readouterr().err
