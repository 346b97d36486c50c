"""What people do with the dashboard of a ledger that runs: `merit up`, and `merit run --dashboard` until Ctrl-C."""

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from web3 import HTTPProvider, Web3

from tests.node.dashboard.chromium import MISSING, PROGRAM, chromium
from tests.node.test_up import document, pay, up
from tests.node.testnet.running import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]

PATIENCE_MS = 120_000
PATIENCE_S = 300
expect.set_options(timeout=PATIENCE_MS)
TITLE = "<script>document.title = 'owned'</script> three at home"
RUN = f"""\
title = "{TITLE}"
rounds = 2
[network]
edge_servers = 2
[clients]
count = 3
interval = 0.5
label_flippers = 1
[round]
phi = 3
max_wait = 1
[rules]
scoring = "decomposed"
aggregation = "delta"
[training]
samples = 20
batch = 10
"""


@contextmanager
def browsing(browser: Browser, url: str, **wishes: object) -> Iterator[Page]:
    """A page of a browser that no request leaves but to this machine; a script's error fails the test."""
    context: BrowserContext = browser.new_context(base_url=url, **wishes)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    refused: list[str] = []

    def only_here(route: Route) -> None:
        if route.request.url.startswith((url, "data:", "blob:")):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    context.route("**/*", only_here)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert (refused, complaints) == ([], [])


# -- merit up ---------------------------------------------------------------------------------------------------------


def test_an_open_page_shows_a_block_as_it_comes_and_a_client_by_its_address(tmp_path: Path) -> None:
    with up(tmp_path / "net", "--clients", "2", "--classical", "--edge-port", "0", "--json") as network:
        said = document(network)
        w3 = Web3(HTTPProvider(said["rpc"]))
        with chromium() as browser, browsing(browser, said["dashboard"]) as page:
            page.goto("/blocks")
            expect(page.get_by_text("No block yet: an idle ledger makes none.")).to_be_visible()
            pay(w3, said["accounts"][0]["private_key"])
            expect(page.locator("#block-1")).to_be_visible()
            page.goto("/members")
            address = page.get_by_role("row", name="Member 5").locator(".hash").first.get_attribute("title")
            page.keyboard.press("/")
            page.keyboard.type(str(address))
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="Client 5")).to_be_visible()
        network.terminate()
        assert network.wait(PATIENCE_S) == 0


# -- merit run --dashboard --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that was shown until SIGINT: its directory, how its pages answered afterwards, its exit code."""

    directory: Path
    pages: dict[str, int]
    code: int


@contextmanager
def shown(job: Path, directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run that is over, and goes on being shown; with the dashboard's URL."""
    command = [sys.executable, "-m", "node.cli", "run", str(job), "--dir", str(directory)]
    with subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--dashboard", "--dashboard-port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            said: queue.Queue[str] = queue.Queue()
            threading.Thread(target=_drain, args=(process, said), daemon=True).start()
            assert document(process)["ok"]
            yield process, said.get(timeout=PATIENCE_S)
        finally:
            process.kill()


def _drain(process: subprocess.Popen[str], said: "queue.Queue[str]") -> None:
    """Read what it says besides, so that it never waits for a reader; hand on where its dashboard is."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("dashboard "):
            said.put(line.split()[1])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("job") / "run.toml"
    path.write_text(RUN, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ended(job: Path) -> Ended:
    directory = job.with_name("run")
    with shown(job, directory) as (process, url), httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        _wait_for_ledger(http)
        pages = {path: http.get(path).status_code for path in ("/", "/jobs/1", "/jobs/1/rounds/1", "/blocks/1")}
        process.send_signal(signal.SIGINT)
        return Ended(directory, pages, process.wait(PATIENCE_S))


@dataclass(frozen=True, slots=True)
class Show:
    """A finished run that is shown again, before a browser."""

    browser: Browser
    url: str


@pytest.fixture(scope="module")
def show(job: Path, ended: Ended) -> Iterator[Show]:
    with shown(job, ended.directory) as (process, url):
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            _wait_for_ledger(http)
        with chromium() as browser:
            yield Show(browser, url)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, "SIGTERM ends it as Ctrl-C does"


def _wait_for_ledger(http: httpx.Client) -> None:
    """Wait until the ledger is back, which stood still during the audit, and its round is read."""
    pages = ("/members", "/jobs/1/rounds/1")
    until(lambda: all(http.get(page).status_code == httpx.codes.OK for page in pages), "the ledger is shown")


def test_after_its_end_a_run_is_shown_with_its_ledger_until_ctrl_c(ended: Ended) -> None:
    assert set(ended.pages.values()) == {200}
    assert ended.code == 0


def test_the_keyboard_leads_from_an_address_to_why_it_earned_and_to_the_round(show: Show) -> None:
    with httpx.Client(base_url=show.url, trust_env=False, timeout=60) as http:
        client = http.get("/jobs/1/clients").text.split('href="/members/')[1].split("?")[0]
        address = http.get(f"/members/{client}").text.split("Key 1</dt><dd")[1].split(">0x")[1][:40]
    with browsing(show.browser, show.url) as page:
        page.goto("/")
        page.keyboard.press("/")
        page.keyboard.type(f"0x{address}")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=f"Client {client}", exact=True)).to_be_visible()
        expect(page.get_by_role("heading", name="Why it earned what it earned in job 1")).to_be_visible()
        expect(page.locator("#places th").last).not_to_have_text("Record")  # the parts of theta follow
        number = _tab_to(page, "#places td:first-child a")
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{show.url}/jobs/1/rounds/{number}")
        expect(page.locator("#places").get_by_role("link", name=f"Client {client}", exact=True).first).to_be_visible()
        _tab_to(page, "#places td:first-child a")
        expect(page.locator(":focus")).to_be_in_viewport()


def _tab_to(page: Page, selector: str) -> str:
    """Press Tab until a link of these has the focus; return its text."""
    focused = page.locator(":focus")
    for _ in range(100):
        page.keyboard.press("Tab")
        if focused.evaluate("(found, selector) => found.matches(selector)", selector):
            return focused.inner_text()
    raise AssertionError(page.content())


PAGES = (
    *("/", "/blocks", "/blocks/2", "/validators", "/jobs", "/jobs/1", "/jobs/1/clients", "/jobs/1/rounds/1"),
    *("/jobs/1/records/0", "/members", "/members/3", "/time", "/search?q=1", "/jobs/1/charts/theta"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_every_page_scrolls_only_down_and_wears_the_readers_scheme(show: Show, scheme: str) -> None:
    with browsing(
        show.browser, show.url, viewport={"width": 390, "height": 844}, is_mobile=True, color_scheme=scheme
    ) as page:
        for path in PAGES:
            page.goto(path)
            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            ground = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")
            assert (path, wider, ground > 128) == (path, 0, scheme == "light")


def test_a_script_in_the_title_is_text_everywhere(show: Show) -> None:
    with browsing(show.browser, show.url) as page:
        for path in ("/", "/jobs", "/jobs/1"):
            page.goto(path)
            expect(page.get_by_text(TITLE).first).to_be_visible()
            assert "owned" not in page.title()


def test_charts_are_drawn_with_every_other_host_out_of_reach(show: Show) -> None:
    with browsing(show.browser, show.url) as page:
        page.goto("/")
        for name in ("accuracy", "rewards", "theta", "staleness"):
            chart = page.locator(f"[data-chart='/jobs/1/charts/{name}.json']")
            chart.scroll_into_view_if_needed()
            expect(chart.locator(".main-svg").first).to_be_visible()
