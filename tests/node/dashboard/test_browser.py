"""The dashboard as a person uses it, in a real Chromium that reaches nothing but the node."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from node.dashboard.index import Index
from tests.node.dashboard.chromium import MISSING, PROGRAM, chromium
from tests.node.dashboard.history import GENESIS, HOSTILE, Story, digest_of
from tests.node.dashboard.served import served

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

PATIENCE_MS = 60_000
_WATCH = """
window.blocked = [];
addEventListener("securitypolicyviolation", (event) => {
  window.blocked.push(`${event.violatedDirective} ${event.blockedURI} ${event.target?.outerHTML?.slice(0, 200)}`);
});
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A browser before a node whose history goes on when the test tells more of it."""

    browser: Browser
    url: str
    story: Story


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    index = Index(tmp_path_factory.mktemp("dashboard") / "index.sqlite", GENESIS)
    story = Story(index)
    story.tell(30)
    with served(index) as url, chromium() as browser:
        yield Stage(browser, url, story)
    index.close()


@pytest.fixture
def page(stage: Stage) -> Iterator[Page]:
    """A page on a screen of ordinary size; what it complains about, or what its policy blocks, fails the test.

    But for the styles of maps, which Plotly brings when it loads and no chart here needs.
    """
    context = stage.browser.new_context(viewport={"width": 1280, "height": 900}, base_url=stage.url)
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.add_init_script(_WATCH)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    blocked = opened.evaluate("window.blocked")
    context.close()
    assert not [text for text in blocked if "maplibregl" not in text]
    assert not [text for text in complaints if "404" not in text and "Applying inline style" not in text]
    assert all(url.startswith((stage.url, "data:", "blob:")) for url in asked), "it asks nobody else"


def test_a_new_block_arrives_on_the_open_page(stage: Stage, page: Page) -> None:
    page.goto("/blocks")
    number = stage.story.block + 1
    expect(page.locator(f"#block-{number}")).to_have_count(0)
    stage.story.empty_block()
    expect(page.locator(f"#block-{number}")).to_be_visible(timeout=PATIENCE_MS)


def test_the_keyboard_alone_finds_a_round_and_its_best_client(stage: Stage, page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("round 12")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{stage.url}/jobs/1/rounds/12", timeout=PATIENCE_MS)
    client = page.locator("#places a").first
    client.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Why it earned what it earned in job 1")).to_be_visible()


def test_a_link_keeps_the_focus_when_its_table_is_renewed(stage: Stage, page: Page) -> None:
    page.goto("/blocks")
    number = stage.story.block
    page.locator(f"#block-{number} a").focus()
    stage.story.empty_block()
    expect(page.locator(f"#block-{number + 1}")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(f"#block-{number} a")).to_be_focused()


def test_charts_are_drawn_without_a_complaint_of_the_policy(page: Page) -> None:
    page.goto("/jobs/1")
    expect(page.locator("[data-chart='/jobs/1/charts/theta.json'] .main-svg").first).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("link", name="Theta in numbers").click()
    expect(page.get_by_role("columnheader", name="mean theta")).to_be_visible()


def test_a_hostile_title_is_read_and_does_nothing(page: Page) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto("/jobs/1")
    expect(page.get_by_text(HOSTILE)).to_be_visible()


def test_a_hash_that_nobody_knows_gets_a_page_that_says_so(page: Page) -> None:
    page.goto("/")
    page.locator("#q").fill(digest_of("nothing").hex())
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("Nothing here is called")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/jobs/1/rounds/12", "/members/6", "/blocks", "/time"])
def test_a_phone_scrolls_only_down(stage: Stage, path: str) -> None:
    context = stage.browser.new_context(viewport={"width": 360, "height": 740}, base_url=stage.url)
    opened = context.new_page()
    opened.goto(path)
    wider = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    context.close()
    assert wider == 0


def test_the_page_is_dark_where_the_reader_is(stage: Stage) -> None:
    context = stage.browser.new_context(color_scheme="light", base_url=stage.url)
    opened = context.new_page()
    opened.goto("/blocks")
    ground = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
    assert opened.evaluate(ground) > 200
    opened.emulate_media(color_scheme="dark")
    assert opened.evaluate(ground) < 60
    context.close()


def test_without_its_script_a_page_shows_everything_all_the_same(stage: Stage) -> None:
    context = stage.browser.new_context(java_script_enabled=False, base_url=stage.url)
    opened = context.new_page()
    opened.goto("/jobs/1/rounds/12")
    expect(opened.locator("#places tbody tr")).to_have_count(4)
    context.close()
