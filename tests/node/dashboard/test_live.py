"""The dashboard beside a network that runs: what it reads from the ledger itself."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from chain.light import Height
from chain.rpc.middleware import MLDSAAccount, MLDSAMiddleware
from contracts import addresses
from merit.clock import SystemClock
from node.dashboard import gateway, server
from node.dashboard.follower import Follower
from node.dashboard.index import Index
from node.dashboard.insight import Insight
from node.dashboard.local import beside
from node.dashboard.server import Dashboard
from node.dashboard.signers import Signers
from node.founding import Membership
from tests.chain.rpc.harness import Background

MOST_LOOKS = 600
MEMBERS = [Membership(1), Membership(1), Membership(2)]


@dataclass(frozen=True, slots=True)
class Stage:
    """Two validators, a dashboard beside them, and the hash of the newest transaction."""

    network: Background
    dashboard: Dashboard
    http: httpx.Client
    transaction: str
    sender: str

    def until(self, path: str, what: str) -> str:
        """Ask for a page until it says something."""
        for _ in range(MOST_LOOKS):
            text = self.http.get(path).text
            if what in text:
                return text
            SystemClock().wait(0.05)
        raise AssertionError(text)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    network = Background(tmp_path_factory.mktemp("net"), validators=2, members=MEMBERS)
    try:
        account = MLDSAAccount(network.network.key("governor"))
        w3 = network.http()
        w3.middleware_onion.inject(MLDSAMiddleware(account), layer=0)
        name = w3.eth.send_transaction({"from": account.address, "to": account.address})
        w3.eth.wait_for_transaction_receipt(name, timeout=60, poll_latency=0.02)
        dashboard = beside(network.network, SystemClock())
        network.run(dashboard.start())
        dashboard.attach(network.network.dispatcher())
        with httpx.Client(base_url=dashboard.url, trust_env=False, timeout=60, follow_redirects=True) as http:
            made = Stage(network, dashboard, http, w3.to_hex(name), account.address.lower())
            made.until("/blocks", 'id="block-1"')
            made.until("/validators", '<i class="commit" title="1">')
            yield made
        network.run(dashboard.stop())
    finally:
        network.stop()


@contextmanager
def another(stage: Stage, tmp_path: Path) -> Iterator[tuple[Dashboard, httpx.Client]]:
    """A second dashboard of the same node, with an index of its own, and what asks it."""
    network = stage.network
    dashboard = Dashboard(
        name="another",
        index=tmp_path / "index.sqlite",
        genesis_hash=network.network.genesis_hash,
        clock=SystemClock(),
    )
    network.run(dashboard.start())
    try:
        with httpx.Client(base_url=dashboard.url, trust_env=False, timeout=60, follow_redirects=True) as http:
            yield dashboard, http
    finally:
        network.run(dashboard.stop())


def test_a_block_shows_its_transaction_and_who_signed(stage: Stage) -> None:
    text = stage.http.get("/blocks/1").text
    assert f'href="/transactions/{stage.transaction}"' in text
    assert re.search(r"2 of 2 validators signed height [12] with ML-DSA-65", text), text
    assert text.count('<span class="badge good">signed</span>') == 2
    assert text.count('<span class="badge">proposed</span>') == 1


def test_validators_are_shown_with_their_power_and_their_votes(stage: Stage) -> None:
    text = stage.http.get("/validators").text
    assert text.count("<td>50%</td>") == 2
    assert text.count('<i class="commit" title="1">') == 2


def test_a_transaction_is_found_by_its_hash(stage: Stage) -> None:
    answer = stage.http.get("/search", params={"q": stage.transaction})
    assert str(answer.url).endswith(f"/transactions/{stage.transaction}")
    assert "signed with ML-DSA" in answer.text
    assert '<a href="/blocks/1">1</a>' in answer.text


def test_a_member_is_found_by_its_address(stage: Stage) -> None:
    key = stage.network.network.member_key(3)
    answer = stage.http.get("/search", params={"q": f"0x{key.address.hex()}"})
    assert str(answer.url).endswith("/members/3")
    assert "Client 3" in answer.text
    assert "ML-DSA-44" in answer.text


def test_every_member_is_listed_with_its_role(stage: Stage) -> None:
    text = stage.http.get("/members").text
    assert text.count(">edge server<") == 2
    assert text.count(">client<") == 1


def test_accounts_that_are_no_members_are_shown_if_they_are_anything(stage: Stage) -> None:
    assert "Ledger contract" in stage.http.get(f"/accounts/0x{addresses.LEDGER.hex()}").text
    assert "<dt>Transactions sent</dt><dd>1</dd>" in stage.http.get(f"/accounts/{stage.sender}").text
    nobody = stage.http.get("/accounts/0x" + "ab" * 20)
    assert nobody.status_code == 404
    assert "is no member" in nobody.text


@pytest.mark.parametrize("path", ["/transactions/0x" + "ab" * 32, "/members/4", "/blocks/1000"])
def test_what_the_ledger_does_not_hold_is_not_found(stage: Stage, path: str) -> None:
    assert stage.http.get(path).status_code == 404


def test_pages_answer_while_the_node_is_busy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(gateway, "ANSWER_S", 0.1)
        stage.dashboard.attach(stage.network.network.dispatcher())
    stage.network.loop.call_soon_threadsafe(free.wait)
    try:
        assert 'id="block-1"' in stage.http.get("/blocks").text
        assert "These pages are behind the ledger" in stage.until("/blocks", "behind")
        assert '<i class="commit" title="1">' in stage.http.get("/validators").text
        found = stage.http.get("/search", params={"q": "block 1"})
        assert (str(found.url.path), found.status_code) == ("/blocks/1", 503)
        assert "the node has stopped or is busy" in found.text
        assert stage.http.get("/members/3").status_code == 503
    finally:
        free.set()
        stage.dashboard.attach(stage.network.network.dispatcher())
    assert stage.http.get("/blocks/1").status_code == 200


def test_a_block_is_shown_while_the_engine_does_not_say_who_signed_it(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = stage.network.network
    history, free = type(network.engine.history), asyncio.Event()
    answer = history.signed_header

    async def silent(self: Any, height: Height) -> object:
        await free.wait()
        return await answer(self, height)

    monkeypatch.setattr(gateway, "ANSWER_S", 2.0)
    monkeypatch.setattr(history, "signed_header", silent)
    with another(stage, tmp_path) as (dashboard, http):
        dashboard.attach(network.dispatcher())
        late = replace(stage, http=http)
        late.until("/blocks", 'id="block-1"')
        text = http.get("/blocks/1").text
        assert f'href="/transactions/{stage.transaction}"' in text
        assert "does not say at the moment who signed" in text
        stage.network.loop.call_soon_threadsafe(free.set)
        late.until("/blocks/1", "2 of 2 validators signed")


def test_commits_are_read_only_for_somebody_who_looks(stage: Stage, tmp_path: Path) -> None:
    reached, signers = gateway.Gateway(), Signers()
    reached.attach(stage.network.network.dispatcher())
    with closing(Index(tmp_path / "index.sqlite", stage.network.network.genesis_hash)) as index:
        follower = Follower(index, reached, signers, Insight())
        while follower.step(watched=False):
            pass
        assert (index.block >= 1, signers.height) == (True, 0)
        while follower.step():
            pass
        assert [one.height for one in signers.heights][-1] == 1


def test_a_page_that_is_opened_wakes_the_reading(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_UNWATCHED_S", 3600.0)
    with another(stage, tmp_path) as (dashboard, http):
        dashboard.attach(stage.network.network.dispatcher())
        replace(stage, http=http).until("/blocks", 'id="block-1"')


def test_all_that_the_ledger_says_is_read_before_it_goes(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_UNWATCHED_S", 3600.0)
    with another(stage, tmp_path) as (dashboard, http):
        dashboard.attach(stage.network.network.dispatcher())
        stage.network.run(dashboard.catch_up())
        stage.network.run(dashboard.detach())
        assert 'id="block-1"' in http.get("/blocks").text
    stage.network.run(dashboard.catch_up())  # there is nothing to wait for after its end


def test_pages_stay_when_the_ledger_goes_and_are_whole_when_it_is_back(stage: Stage) -> None:
    stage.network.run(stage.dashboard.detach())
    assert 'id="block-1"' in stage.http.get("/blocks").text
    assert stage.http.get("/blocks/1").status_code == 503
    stage.dashboard.attach(stage.network.network.dispatcher())
    assert stage.http.get("/blocks/1").status_code == 200
