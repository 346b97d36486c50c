"""Pages without a browser, over a made-up history and without a ledger, which comes and goes."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import plotly.graph_objects as go
import pytest

from node.dashboard.index import Index
from node.dashboard.ingest import Reason, add_reason
from node.dashboard.pages import Cost
from tests.node.dashboard.history import GENESIS, HOSTILE, Story, digest_of
from tests.node.dashboard.served import served

ROUNDS = 60
VOID = 9


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    made = Index(tmp_path_factory.mktemp("dashboard") / "index.sqlite", GENESIS)
    story = Story(made)
    story.tell(ROUNDS, void=frozenset({VOID}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(index: Index) -> Iterator[httpx.Client]:
    with (
        served(index, [Cost("finalize_block", 12, 1.5, 0.25)]) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield client


PAGES = [
    *("/", "/blocks", "/validators", "/jobs", "/jobs/1", "/jobs/1/clients", "/jobs/1/rounds/3", "/jobs/1/records/5"),
    *("/members/6?job=1", "/time", "/search", "/jobs/1/charts/theta", "/jobs/1/clients/6/charts/rewards"),
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_itself_and_its_headers_let_nothing_foreign_in(browser: httpx.Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text), "nothing comes from elsewhere"
    assert " style=" not in answer.text, "the policy would drop it"


def test_what_a_sponsor_wrote_is_text(browser: httpx.Client) -> None:
    for path in ("/", "/jobs", "/jobs/1", "/members/6", "/jobs/1/rounds/3"):
        text = browser.get(path).text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<b>part" not in text
    assert "&lt;script&gt;alert" in browser.get("/jobs/1").text
    assert "&lt;b&gt;part" in browser.get("/jobs/1/rounds/3").text


@pytest.mark.parametrize("text", [HOSTILE, '"><script>x</script>', "\x00", "0x", "round", "9" * 300, "job 1 round 999"])
def test_a_search_for_nothing_says_so(browser: httpx.Client, text: str) -> None:
    answer = browser.get("/search", params={"q": text})
    assert answer.status_code == 404
    assert "Nothing here is called" in answer.text
    assert "<script>x" not in answer.text
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("round 12", "/jobs/1/rounds/12"),
        ("  Round #12 ", "/jobs/1/rounds/12"),
        ("job 1 round 12", "/jobs/1/rounds/12"),
        ("1/12", "/jobs/1/rounds/12"),
        ("block 4", "/blocks/4"),
        ("record 40", "/jobs/1/records/40"),
        (f"0x{digest_of('block', 4).hex()}", "/blocks/4"),
        (digest_of("update", 7).hex().upper(), "/jobs/1/records/7"),
        ("0x" + "Ab" * 20, "/accounts/0x" + "ab" * 20),
    ],
)
def test_one_hit_is_opened_at_once(browser: httpx.Client, text: str, path: str) -> None:
    answer = browser.get("/search", params={"q": text})
    assert (answer.status_code, answer.headers["location"]) == (303, path)


def test_a_bare_number_may_mean_several_things(browser: httpx.Client) -> None:
    answer = browser.get("/search?q=1")
    assert [f'href="{path}"' in answer.text for path in ("/jobs/1/rounds/1", "/blocks/1", "/jobs/1")] == [True] * 3


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/jobs/1/rounds/4000", "round 4000 of job 1 is not decided (yet)"),
        ("/jobs/2", "there is no job 2"),
        ("/jobs/1/records/99999", "job 1 has no record 99999"),
        ("/blocks/99999", "there is no block 99999 yet"),
        (f"/jobs/{10**30}", "there is nothing with so high a number"),
        ("/transactions/0x12", "what you look for has 64 hexadecimal digits after 0x"),
        ("/accounts/nobody", "what you look for has 40 hexadecimal digits after 0x"),
        ("/jobs/1/charts/nothing", "there is no chart nothing"),
        ("/jobs/1/charts/" + quote(HOSTILE, safe=""), "Not found"),
        ("/nowhere", "Not found"),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(browser: httpx.Client, path: str, says: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert says in answer.text
    assert "<script>alert" not in answer.text
    assert "Overview" in answer.text, "with the way back"


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=1.5", "before=²"])
def test_a_query_that_is_no_number_is_refused(browser: httpx.Client, query: str) -> None:
    assert browser.get(f"/blocks?{query}").status_code == 400


@pytest.mark.parametrize("path", ["/members", "/transactions/0x" + "ab" * 32, "/blocks/3"])
def test_what_only_the_ledger_knows_waits_for_it(browser: httpx.Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 503
    assert "the ledger is not running at the moment" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8580", "127.0.0.1.evil.example", "", "[::2]"])
def test_a_request_that_names_another_host_is_refused(browser: httpx.Client, host: str) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8580", "127.0.0.1:1", "[::1]", "[::1]:8580"])
def test_this_machine_by_any_name_is_answered(browser: httpx.Client, host: str) -> None:
    assert browser.get("/pulse", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_pages_only_show(browser: httpx.Client, method: str) -> None:
    answer = browser.request(method, "/")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_a_round_shows_who_earned_what_and_why(browser: httpx.Client, index: Index) -> None:
    text = browser.get("/jobs/1/rounds/12").text
    with index.reading() as db:
        places = db.execute("SELECT * FROM places WHERE job = 1 AND round = 12 ORDER BY place").fetchall()
    assert len(places) == 4
    assert sum(int(place["reward"]) for place in places) == 100 * 10**18
    for place in places:
        assert f"Client {place['client']}</a>" in text
        assert f"{place['theta'] / 10**9:.3f}" in text
    assert "<th>cosine</th>" in text
    assert "3 edge servers" in text
    assert "not agreed" in text, "server 4 said something else"


def test_a_rule_that_has_no_parts_is_not_called_unknown(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "index.sqlite", GENESIS)) as made:
        Story(made).tell(1)
        with made.writing() as db:
            for place in range(4):
                add_reason(db, Reason(1, 1, place, None, {}, None))
        with served(made) as url:
            for path in ("/jobs/1/rounds/1", "/members/9"):
                text = httpx.get(url + path, trust_env=False, timeout=60).text
                assert "in one step, without parts" in text
                assert "this node" not in text.lower()


def test_a_void_round_pays_nobody_and_shows_both_variants(browser: httpx.Client) -> None:
    text = browser.get(f"/jobs/1/rounds/{VOID}").text
    assert '<span class="badge bad">void</span>' in text
    assert text.count('<span class="badge warn">not agreed</span>') == 2


def test_a_clients_sums_are_those_of_its_records(browser: httpx.Client, index: Index) -> None:
    with index.reading() as db:
        sums = db.execute("SELECT * FROM clients WHERE job = 1 AND client = 6").fetchone()
        places = db.execute("SELECT * FROM places WHERE job = 1 AND client = 6").fetchall()
    credited = [place for place in places if place["reward"] is not None]
    assert int(sums["reward"]) == sum(int(place["reward"]) for place in credited)
    assert (sums["credited"], sums["theta"]) == (len(credited), sum(place["theta"] for place in credited))
    assert sums["delays"] == sum(place["round"] - 1 - place["base"] for place in places)
    assert "Why it earned what it earned in job 1" in browser.get("/members/6").text


def test_older_rounds_are_a_page_away(browser: httpx.Client) -> None:
    first = browser.get("/jobs/1")
    link = re.search(r'href="(/jobs/1\?before=\d+)" rel="next"', first.text)
    assert link is not None
    second = browser.get(link[1]).text
    shown = [set(re.findall(r'id="round-1-(\d+)"', text)) for text in (first.text, second)]
    assert [len(numbers) for numbers in shown] == [25, 25]
    assert not shown[0] & shown[1]


@pytest.mark.parametrize("name", ["accuracy", "theta", "staleness", "rewards", "time"])
def test_every_chart_is_a_figure_that_plotly_takes(browser: httpx.Client, name: str) -> None:
    figure = go.Figure(browser.get(f"/jobs/1/charts/{name}.json").json())
    assert figure.data
    for line in figure.data:
        assert len(line.x) == len(line.y) == ROUNDS - (name == "rewards") * (ROUNDS - len(line.x))


def test_plotly_comes_from_its_package_and_is_kept(browser: httpx.Client) -> None:
    name = re.search(r'data-plotly="([^"]+)"', browser.get("/").text)
    assert name is not None
    answer = browser.get(name[1])
    assert "immutable" in answer.headers["cache-control"]
    assert len(answer.content) > 10**6


def test_the_pulse_beats_when_something_new_is_there(browser: httpx.Client, index: Index) -> None:
    before = browser.get("/pulse").json()["revision"]
    assert browser.get("/pulse").json()["revision"] == before
    with index.writing():
        pass
    assert browser.get("/pulse").json()["revision"] == before + 1


def test_where_time_goes_is_told_by_stage_and_by_work(browser: httpx.Client) -> None:
    text = browser.get("/time").text
    assert "Collecting" in text
    assert "2.00 s" in text, "a block every two seconds"
    assert "finalize_block" in text
    assert "250.0 ms" in text


def test_an_index_of_another_ledger_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    first = Index(path, GENESIS)
    Story(first).tell(2)
    first.close()
    assert Index(path, GENESIS).block == 5
    assert Index(path, bytes(32)).block == 0


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_index_is_made_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(content)
    assert Index(path, GENESIS).block == 0
