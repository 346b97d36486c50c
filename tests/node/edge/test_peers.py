"""Blobs come from peers in the background: nobody's step waits, and only what hashes to its name is kept."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from node.blobs import BlobStore
from node.edge import peers as edge_peers
from node.edge.peers import SILENT_FOR_S, BackgroundPeers, HttpPeer
from node.errors import BlobQuotaError
from tests.node.edge.world import HandClock

BLOB = b"a model" * 100
NAME = hashlib.sha256(BLOB).digest()
Answering = Callable[[httpx.Request], httpx.Response]


def gives(data: bytes) -> Answering:
    return lambda _: httpx.Response(200, content=data)


def lacks(_: httpx.Request) -> httpx.Response:
    return httpx.Response(404)


def dead(request: httpx.Request) -> httpx.Response:
    message = "refused"
    raise httpx.ConnectError(message, request=request)


class Peers:
    """Peers that answer so, and who was asked in which order."""

    def __init__(self, threads: ThreadPoolExecutor, *answering: Answering) -> None:
        self.asked: list[int] = []
        self.clock = HandClock(1000)
        self._threads = threads
        self.peers = [self.peer(number, answer) for number, answer in enumerate(answering, 1)]
        self.background = BackgroundPeers(self.peers, threads)

    def peer(self, number: int, answer: Answering) -> HttpPeer:
        def asked(request: httpx.Request) -> httpx.Response:
            assert request.url.path.startswith("/v1/blobs/")
            self.asked.append(number)
            return answer(request)

        return HttpPeer(number, f"http://server-{number}", self.clock, transport=httpx.MockTransport(asked))

    def settle(self) -> None:
        """Wait until every thread has nothing to do."""
        for future in list(self.background._under_way.values()):  # noqa: SLF001 - nothing tells it
            future.exception(60)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_fetching_only_begins_and_delivering_puts_the_blob_into_the_store(
    threads: ThreadPoolExecutor, store: BlobStore
) -> None:
    peers = Peers(threads, gives(BLOB))
    assert not peers.background.fetch(NAME, store)
    peers.settle()
    assert NAME not in store
    peers.background.deliver(store)
    assert store.get(NAME) == BLOB


def test_nobody_waits_for_a_peer_that_takes_its_time(threads: ThreadPoolExecutor, store: BlobStore) -> None:
    may_answer = threading.Event()

    def slow(_: httpx.Request) -> httpx.Response:
        assert may_answer.wait(60)
        return httpx.Response(200, content=BLOB)

    peers = Peers(threads, slow)
    for _ in range(5):
        assert not peers.background.fetch(NAME, store)
        peers.background.deliver(store)
        assert NAME not in store
    may_answer.set()
    peers.settle()
    peers.background.deliver(store)
    assert NAME in store
    assert peers.asked == [1], "asked once, however often it is wanted"


@pytest.mark.parametrize("bad", [lacks, dead, gives(b"another blob"), gives(b"")])
def test_what_one_peer_cannot_give_comes_from_the_next(
    threads: ThreadPoolExecutor, store: BlobStore, bad: Answering
) -> None:
    peers = Peers(threads, gives(BLOB), bad)
    peers.background.fetch(NAME, store)  # the second first: another one first each time
    peers.settle()
    peers.background.deliver(store)
    assert store.get(NAME) == BLOB
    assert peers.asked == [2, 1]


def test_a_blob_that_nobody_has_is_asked_for_again_when_it_is_wanted_again(
    threads: ThreadPoolExecutor, store: BlobStore
) -> None:
    peers = Peers(threads, lacks, gives(b"wrong"))
    for _ in range(3):
        peers.background.fetch(NAME, store)
        peers.settle()
        peers.background.deliver(store)
    assert NAME not in store
    assert peers.asked == [2, 1, 1, 2, 2, 1]


def test_who_does_not_answer_is_left_alone_for_a_while(threads: ThreadPoolExecutor, store: BlobStore) -> None:
    peers = Peers(threads, dead)
    for passing in (0.0, SILENT_FOR_S / 2, SILENT_FOR_S / 2):
        peers.clock.wait(passing)
        peers.background.fetch(NAME, store)
        peers.settle()
        peers.background.deliver(store)
    assert peers.asked == [1, 1], "not in between"


def test_more_bytes_than_a_blob_may_have_are_not_taken(
    threads: ThreadPoolExecutor, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = Peers(threads, gives(BLOB))
    monkeypatch.setattr(edge_peers, "MAX_BLOB_BYTES", len(BLOB) - 1)
    peers.background.fetch(NAME, store)
    peers.settle()
    peers.background.deliver(store)
    assert NAME not in store


def test_peers_that_come_later_are_asked_too(threads: ThreadPoolExecutor, store: BlobStore) -> None:
    peers = Peers(threads)
    peers.background.fetch(NAME, store)
    peers.settle()
    peers.background.deliver(store)
    peers.background.know([peers.peer(7, gives(BLOB))])
    peers.background.fetch(NAME, store)
    peers.settle()
    peers.background.deliver(store)
    assert store.get(NAME) == BLOB
    assert peers.asked == [7]


def test_a_full_store_is_told_and_the_rest_comes_when_there_is_room(
    threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    peers = Peers(threads, gives(BLOB))
    small, large = BlobStore(tmp_path / "small", quota_bytes=10), BlobStore(tmp_path / "large")
    peers.background.fetch(NAME, small)
    peers.settle()
    with pytest.raises(BlobQuotaError):
        peers.background.deliver(small)
    peers.background.deliver(small)
    peers.background.fetch(NAME, large)
    peers.settle()
    peers.background.deliver(large)
    assert NAME in large
