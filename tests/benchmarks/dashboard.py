"""The dashboard over 10,000 rounds: first paint in Chromium, and the time of a request."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx

from merit.clock import SystemClock
from node.dashboard.index import Index
from node.errors import ConfigError
from tests.benchmarks._timing import took_us
from tests.node.dashboard.chromium import MISSING, PROGRAM, chromium
from tests.node.dashboard.history import GENESIS, Story
from tests.node.dashboard.served import served

ROUNDS = 10_000
CLIENTS = 20
PHI = 10
TIMES = 5
_MIDDLE = ROUNDS // 2
PAGES = (
    "/",
    "/blocks",
    "/jobs/1",
    f"/jobs/1?before={_MIDDLE}",
    f"/jobs/1/rounds/{_MIDDLE}",
    "/members/6",
    "/time",
    f"/search?q=round+{_MIDDLE}",
    "/jobs/1/charts/rewards.json",
)
_FIRST_PAINT = """
() => new Promise((resolve) => new PerformanceObserver((list) => {
  for (const entry of list.getEntriesByName("first-contentful-paint")) resolve(entry.startTime);
}).observe({ type: "paint", buffered: true }))
"""


def run() -> list[dict[str, object]]:
    """Ask for each page in turn; medians of 5 in milliseconds.

    *Request* is the whole answer over HTTP, *first paint* Chromium's first contentful paint of a page that it opens
    afresh; a chart's figure is data, and a search leads elsewhere, so they have none. The history is made up, 20,002
    blocks with 100,000 records, and indexed at *blocks a second* (one row's figure for all).
    """
    if PROGRAM is None:
        raise ConfigError(MISSING)
    clock = SystemClock()
    with TemporaryDirectory() as folder, closing(Index(Path(folder) / "index.sqlite", GENESIS)) as index:
        story = Story(index, clients=CLIENTS, phi=PHI, title="ten thousand rounds")
        indexing_us = took_us(clock, lambda: story.tell(ROUNDS))
        rate = story.block / indexing_us * 1e6
        with served(index) as url, httpx.Client(base_url=url, trust_env=False, follow_redirects=True) as http:
            answers = {path: _answer_ms(clock, http, path) for path in PAGES}
            paints = dict(_paints_ms(url))
    return [
        {"page": path, "request ms": answers[path], "first paint ms": paints.get(path), "blocks a second": rate}
        for path in PAGES
    ]


def _answer_ms(clock: SystemClock, http: httpx.Client, path: str) -> float:
    def ask() -> None:
        http.get(path).raise_for_status()

    ask()  # the templates are compiled
    return median(took_us(clock, ask) / 1e3 for _ in range(TIMES))


def _paints_ms(url: str) -> Iterator[tuple[str, float]]:
    with chromium() as browser:
        for path in PAGES:
            if path.endswith(".json") or path.startswith("/search"):
                continue
            times = []
            for _ in range(TIMES):
                with browser.new_context() as context:
                    page = context.new_page()
                    page.goto(url + path)
                    times.append(float(page.evaluate(_FIRST_PAINT)))
            yield path, median(times)
