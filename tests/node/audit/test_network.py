"""What honest nodes answer audits clean; which were compared, and how far, is said."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from merit.clock import SystemClock
from node.audit import AuditReport, NotAuditableError, Part, audit_directory, audit_network
from node.cli import main
from node.errors import ConfigError
from tests.node.audit.serving import Served, proxy

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def served(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served") / "run"
    shutil.copytree(untouched, directory)
    network = Served(directory)
    yield network
    network.stop()


@pytest.fixture(scope="module")
def report(served: Served) -> AuditReport:
    return audit_network(served.urls, genesis_hash=served.network.genesis_hash)


def test_an_honest_network_audits_clean(report: AuditReport) -> None:
    assert report.ok, report.lines
    assert report.lines[-1].startswith("OK: everything follows from genesis")


def test_the_report_says_which_nodes_were_compared_and_up_to_which_height(report: AuditReport, served: Served) -> None:
    height = served.network.engine.height
    assert [(node.url, node.height, node.complete) for node in report.nodes] == [
        (url, height, True) for url in served.urls
    ]
    assert f"{served.urls[0]}: compared up to height {height} of {height}" in report.lines
    assert any(f"executing height {height} gave is committed to by nobody" in line for line in report.lines)


def test_a_height_that_several_nodes_tell_alike_is_verified_once(report: AuditReport, served: Served) -> None:
    counts = next(tally for tally in report.tallies if tally.name == "heights").counts
    assert counts["heights"] == 4 * served.network.engine.height
    assert counts["different commit signatures"] == 4 * served.network.engine.height


def test_rounds_and_rewards_are_what_the_audit_of_the_directory_computes(report: AuditReport, untouched: Path) -> None:
    by_stores = audit_directory(untouched)
    assert report.clients == by_stores.clients
    assert sum(client.reward_wei for client in report.clients) > 0
    counts, same = ({t.name: t.counts for t in one.tallies}["rounds"] for one in (report, by_stores))
    left_out = {"acknowledged blobs"}  # which server holds what
    assert counts == {name: count for name, count in same.items() if name not in left_out}
    assert counts["rewards"] >= 9


def test_without_a_genesis_hash_it_says_self_consistent_only(served: Served) -> None:
    report = audit_network(served.urls[:1])
    assert report.ok
    assert "self-consistent only" in report.lines[-1]


def test_a_head_in_the_chain_is_accepted_and_another_is_named(served: Served, report: AuditReport) -> None:
    assert audit_network(served.urls[:1], head=report.head).ok
    missing = audit_network(served.urls[:2], head=bytes(32))
    assert [(one.store, one.part) for one in missing.divergences] == [(url, Part.HEAD) for url in served.urls[:2]]


def test_the_edge_servers_are_those_that_the_node_names_or_those_that_the_caller_names(served: Served) -> None:
    def counts(**arguments: object) -> dict[str, int]:
        report = audit_network(served.urls[:1], **arguments)  # type: ignore[arg-type]
        assert report.ok, report.lines
        return next(tally for tally in report.tallies if tally.name == "blobs").counts

    assert counts()["edge servers"] == 4
    named = counts(edges=[served.edge_urls[2] + "/"])
    assert named["edge servers"] == 1
    assert named["fetched"] == counts()["fetched"] > 0


def test_without_edge_servers_rounds_are_checked_by_signatures_only(served: Served) -> None:
    def unnamed(status: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in status.items() if name != "edgeServers"}

    server = served.serve(proxy(served.network.dispatcher(), {"merit_status": unnamed}))
    report = audit_network([server.url])
    served.run(server.stop())
    assert report.ok, report.lines
    counts = next(tally for tally in report.tallies if tally.name == "rounds").counts
    assert counts["rounds checked by signature only"] == counts["rounds"] >= 3
    assert "job 1: no blobs are here: its rounds are checked by signatures only" in report.remarks
    assert sum("blob" in remark for remark in report.remarks) == 1, "said once, not for each record"


def test_edge_servers_that_lack_blobs_leave_rounds_that_are_named(served: Served) -> None:
    empty = served.serve(proxy(served.network.dispatcher(), {}))  # answers 404 to whoever asks for a blob
    report = audit_network(served.urls[:1], edges=[empty.url])
    served.run(empty.stop())
    assert report.ok, report.lines
    assert any("no server gives its job file" in remark for remark in report.remarks)
    assert any("round 1: not computed again, only checked by signatures: job file" in r for r in report.remarks)


def test_blobs_are_fetched_several_at_once_and_each_once(served: Served) -> None:
    asked: list[str] = []
    under_way, most = 0, 0

    async def far_away(request: Request) -> Response:
        nonlocal under_way, most
        asked.append(request.url.path)
        under_way += 1
        most = max(most, under_way)
        await SystemClock().sleep(0.1)
        async with httpx.AsyncClient(timeout=60) as http:
            found = await http.get(served.edge_urls[0] + request.url.path)
        under_way -= 1
        return Response(found.content, found.status_code)

    server = served.serve(Starlette(routes=[Route("/v1/blobs/{digest}", far_away)]))
    report, near = (
        audit_network(served.urls[:1], edges=[url], auditor=served.auditor) for url in (server.url, served.edge_urls[0])
    )
    served.run(server.stop())
    assert report.ok, report.lines
    found, same = ({tally.name: tally.counts for tally in one.tallies}["blobs"] for one in (report, near))
    assert found == same
    assert found["fetched"] > 4
    assert 4 <= most <= 16
    assert len(asked) == len(set(asked))


def test_the_command_prints_its_parts_and_exits_0(
    served: Served, report: AuditReport, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [argument for url in served.urls[:2] for argument in ("--rpc", url)]
    genesis = "0x" + report.genesis_hash.hex()
    assert main(["audit", *nodes, "--genesis", genesis, "--head", report.head.hex()]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:6]] == [
        "genesis", "heights", "records", "blobs", "rounds", "nodes compared",
    ]  # fmt: skip
    assert printed[-1] == f"OK: everything follows from genesis {genesis}"


def test_the_command_as_json_names_the_nodes(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--rpc", served.urls[0], "--rpc", NOBODY, "--genesis", "11" * 32, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["first"]["part"] == "genesis document"
    assert document["first"]["store"] == served.urls[0]
    assert document["directory"] is None
    assert [node["url"] for node in document["nodes"]] == [served.urls[0], NOBODY]
    assert document["nodes"][1]["silent"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a directory, a bundle, a receipt, or nodes by their URLs"),
        (["DIRECTORY", "--rpc", NOBODY], "name one directory or file, or nodes"),
        (["DIRECTORY", "--edge", NOBODY], "use it with nodes"),
        (["--edge", NOBODY], "name a directory, a bundle, a receipt, or nodes by their URLs"),
        (["--rpc", "ws://127.0.0.1:8545"], "expected a URL such as"),
        (["--rpc", "127.0.0.1:8545"], "expected a URL such as"),
        (["--rpc", "http://"], "expected a URL such as"),
        (["--rpc", "http://[::1"], "expected a URL such as"),
        (["--rpc", "http://me:secret@127.0.0.1:1"], "without a password"),
        (["--rpc", NOBODY, "--edge", "file:///etc"], "--edge file:///etc: expected a URL"),
        (["--rpc", NOBODY, "--rpc", NOBODY + "/"], "named twice"),
        (["--rpc", NOBODY], "no node answers: " + NOBODY),
    ],
)
def test_bad_usage_is_said_in_one_line_with_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *(str(tmp_path) if one == "DIRECTORY" else one for one in arguments)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_library_refuses_the_same() -> None:
    with pytest.raises(ConfigError, match="at least one node"):
        audit_network([])
    with pytest.raises(NotAuditableError, match="no node answers"):
        audit_network([NOBODY, "http://127.0.0.1:2"])
