"""The audit of a network whose edge servers prune: named where nobody keeps all, never a divergence."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.audit import AuditReport, audit_network
from node.edge.retention import PayloadBook, Retention
from node.edge.server import EdgeServer
from tests.node.audit.serving import Served

ARCHIVE = 0


@pytest.fixture(scope="module")
def served(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run whose servers have read it all and keep one round each, but for the first."""
    directory = tmp_path_factory.mktemp("pruned") / "run"
    shutil.copytree(untouched, directory)
    network = Served(directory)
    for number, server in enumerate(network.edges.servers):
        network.run(_step(server))
        if number != ARCHIVE:
            assert prune(server, directory / f"payloads-{number}") > 0
    yield network
    network.stop()


async def _step(server: EdgeServer) -> None:
    server.step()


def prune(server: EdgeServer, book: Path) -> int:
    return Retention(1, PayloadBook(book)).prune(server.jobs.values(), server.blobs, {})


def rounds(report: AuditReport) -> dict[str, int]:
    return next(tally for tally in report.tallies if tally.name == "rounds").counts


def test_one_archive_member_is_enough_to_compute_everything_again(served: Served) -> None:
    report = audit_network(served.urls[:1])
    assert report.ok, report.lines
    assert "rounds checked by signature only" not in rounds(report)
    assert rounds(report)["rounds"] >= 3
    assert not any("not computed again" in remark for remark in report.remarks)


def test_without_an_archive_what_is_pruned_is_named_and_nothing_diverges(served: Served) -> None:
    edges = [url for number, url in enumerate(served.edge_urls) if number != ARCHIVE]
    report = audit_network(served.urls[:1], edges=edges)
    assert report.ok, report.lines
    assert report.divergences == ()
    assert rounds(report)["rounds checked by signature only"] == rounds(report)["rounds"] - 1, "the newest is kept"
    named = [remark for remark in report.remarks if "not computed again, only checked by signatures: " in remark]
    assert len(named) == rounds(report)["rounds"] - 1
    assert all("update" in remark and remark.endswith("lost") for remark in named)
    assert not any("job file" in remark for remark in report.remarks)
