"""A node that answers JSON-RPC, as a source of its chain: page after page, the next on its way while one is read."""

from collections import deque
from concurrent.futures import Future
from typing import Final
from urllib.parse import urlsplit

import msgspec

from chain.genesis import Genesis, decode_genesis
from chain.light import ValidatorSet
from chain.validators import CONSENSUS_PARAMS
from node.audit import answers
from node.audit.errors import FaultError
from node.audit.fetch import Fetcher, Reply
from node.audit.replay import Step
from node.audit.report import Part
from node.audit.source import HeightRecords
from node.errors import ConfigError

PAGE_HEIGHTS: Final = 64
"""Heights in a page: some 2 MB of hexadecimal for four validators and small blocks."""
_PAGE_BYTES: Final = 8 * CONSENSUS_PARAMS.block_max_bytes
"""Bytes of an answer: a server ends a page after one block's worth of records, or one height; twice that in
hexadecimal, with room for the commits of many validators."""
_EDGES_MOST: Final = 256
"""Edge servers that a node may name."""


def checked_url(url: str, option: str) -> str:
    """Return a URL that can be asked, without a slash at its end; `ConfigError` for any other."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or parts.username is not None:
        message = f"{option} {url}: expected a URL such as http://127.0.0.1:8545, without a password"
        raise ConfigError(message)
    return url.rstrip("/")


class Node:
    """What one node says. Nothing of it is believed; each method raises FaultError or UnansweredError."""

    def __init__(self, url: str, fetcher: Fetcher) -> None:
        """Ask at `url`, once asked."""
        self.name = url
        self._fetcher = fetcher
        self._waiting: deque[HeightRecords] = deque()
        self._page: tuple[int, Future[Reply]] | None = None
        self.decided = 0
        self.first = 1
        self.edges: tuple[str, ...] = ()

    def ask_status(self) -> Future[Reply]:
        """Send the question of `read_status`."""
        return self._send("merit_status")

    def read_status(self, asked: Future[Reply]) -> None:
        """Take note of the height at which it stands, and of the edge servers that it names."""
        status = answers.status(self._result("merit_status", asked))
        self.decided, self.first, edges = status.height, status.first, status.edges
        if len(edges) > _EDGES_MOST:
            raise FaultError(Part.ANSWER, f"merit_status: at most {_EDGES_MOST} edge servers", f"{len(edges)}")
        try:
            self.edges = tuple(checked_url(edge, "edgeServers") for edge in edges)
        except ConfigError as error:
            raise FaultError(Part.ANSWER, "merit_status: URLs of edge servers", ascii(str(error))) from None

    def ask_genesis(self) -> Future[Reply]:
        """Send the question of `read_genesis`."""
        return self._send("merit_genesis")

    def read_genesis(self, asked: Future[Reply]) -> Genesis:
        """Return its genesis document; raises what `decode_genesis` raises, too."""
        return decode_genesis(self._result("merit_genesis", asked))

    def validators(self, height: int) -> ValidatorSet:
        """Return who it says are the validators of a height."""
        return answers.validators(self._result("merit_validators", self._send("merit_validators", hex(height))))

    def records(self, height: int) -> HeightRecords:
        """Return what it has for a height; heights are asked for in order."""
        if not self._waiting:
            self._turn(height)
        records = self._waiting.popleft()
        if records.height != height:
            message = f"height {height} was asked for, {records.height} is next"
            raise RuntimeError(message)
        return records

    @staticmethod
    def outcome(step: Step) -> bytes:
        """Return what a node says of the outcome: its ledger's app hash."""
        return step.app_hash

    def _turn(self, first: int) -> None:
        """Take the page that begins at `first`, and send for the one after it."""
        if self._page is None or self._page[0] != first:
            self._page = first, self._ask_page(first)
        asked, self._page = self._page[1], None
        page = answers.heights(self._result("merit_heights", asked), PAGE_HEIGHTS, first)
        if not page:
            raise FaultError(Part.HEADER, f"an entry, for it says that it stands at height {self.decided}", "none")
        self._waiting += page
        following = first + len(page)
        if following <= self.decided:
            self._page = following, self._ask_page(following)

    def _ask_page(self, first: int) -> Future[Reply]:
        """Ask for no height above the one that was announced: a commit of the newest height is not final yet."""
        return self._send("merit_heights", hex(first), hex(min(PAGE_HEIGHTS, self.decided - first + 1)))

    def _send(self, method: str, *params: str) -> Future[Reply]:
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return self._fetcher.post(self.name, self.name, body, _PAGE_BYTES)

    def _result(self, method: str, asked: Future[Reply]) -> bytes:
        return answers.result(self.name, method, asked.result())
