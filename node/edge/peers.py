"""Where an edge server gets blobs that it lacks."""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol

import httpx

from merit.clock import Clock
from node.blobs import BlobStore
from node.errors import BlobCorruptError, BlobMissingError

FETCH_TIMEOUT_S = 10.0
SILENT_FOR_S = 5.0
"""A peer that does not answer is not asked again for so long: a dead one must not hold up the living."""

MAX_BLOB_BYTES = 1 << 30
"""Bytes that a peer or a client may send for one blob."""


class Peer(Protocol):
    """Another edge server, as a source of blobs."""

    @property
    def member(self) -> int:
        """Its member id."""
        ...

    def fetch(self, digest: bytes, into: BlobStore) -> bool:
        """Bring the blob into `into`; False if the peer cannot give it."""
        ...


class DirectoryPeer:
    """An edge server on this machine: its blobs are taken over by hard links."""

    def __init__(self, member: int, store: BlobStore, reached: Callable[[], bool] = lambda: True) -> None:
        """Take blobs of `member` from its store, while it is reached."""
        self.member = member
        self._store, self._reached = store, reached

    def fetch(self, digest: bytes, into: BlobStore) -> bool:
        """Bring the blob into `into`; False if the peer cannot give it."""
        if not self._reached():
            return False
        try:
            into.adopt(digest, self._store)
        except (BlobMissingError, BlobCorruptError):
            return False
        return True


class HttpPeer:
    """An edge server elsewhere, asked over its intake API. A blob that does not hash to its name is dropped."""

    def __init__(self, member: int, url: str, clock: Clock, *, transport: httpx.BaseTransport | None = None) -> None:
        """Ask `member` at `url`; `transport` replaces the network."""
        self.member = member
        self._clock = clock
        self._silent_until = clock.monotonic()
        self._http = httpx.Client(base_url=url, timeout=FETCH_TIMEOUT_S, transport=transport)

    def fetch(self, digest: bytes, into: BlobStore) -> bool:
        """Bring the blob into `into`; False if the peer cannot give it."""
        data = self.get(digest)
        return data is not None and into.put_expected(digest, data)

    def get(self, digest: bytes) -> bytes | None:
        """Ask for the blob and wait for it; None if the peer cannot give it. The bytes are not verified."""
        if self._clock.monotonic() < self._silent_until:
            return None
        try:
            return self._get(f"/v1/blobs/{digest.hex()}")
        except httpx.HTTPError:
            self._silent_until = self._clock.monotonic() + SILENT_FOR_S
            return None

    def _get(self, path: str) -> bytes | None:
        """Return the answer's body; None for a refusal, or for more bytes than a blob may have."""
        with self._http.stream("GET", path) as answer:
            if answer.status_code != httpx.codes.OK:
                return None
            parts, size = [], 0
            for chunk in answer.iter_bytes():
                size += len(chunk)
                if size > MAX_BLOB_BYTES:
                    return None
                parts.append(chunk)
            return b"".join(parts)


class BackgroundPeers:
    """Edge servers elsewhere, asked by threads, so that nobody's step waits for the network.

    Two servers that wait for each other's blobs within their steps would answer neither. `fetch` only begins;
    `deliver`, called between two steps, puts what has come into the store.
    """

    member = 0
    """It stands for all of them."""

    def __init__(self, peers: Sequence[HttpPeer], executor: Executor, told: Callable[[], None] = lambda: None) -> None:
        """Ask `peers` in the threads of `executor`; `told` is called, in any thread, when there is something."""
        self._told = told
        self._peers, self._executor = deque(peers), executor
        self._under_way: dict[bytes, Future[bytes | None]] = {}

    def know(self, peers: Sequence[HttpPeer]) -> None:
        """Ask these from now on."""
        self._peers = deque(peers)

    def fetch(self, digest: bytes, into: BlobStore) -> bool:  # noqa: ARG002 - `deliver` puts it there
        """Begin to ask for a blob; never brings it at once."""
        if digest not in self._under_way:
            self._peers.rotate(1)  # another one first each time
            answer = self._executor.submit(self._ask, digest, tuple(self._peers))
            self._under_way[digest] = answer
            answer.add_done_callback(self._tell)
        return False

    def deliver(self, into: BlobStore) -> None:
        """Put every blob that has come into `into`.

        Raises:
            BlobQuotaError: the store would exceed its quota.

        """
        for digest, answer in tuple(self._under_way.items()):
            if answer.done():
                del self._under_way[digest]
                data = answer.result()
                if data is not None:
                    into.put(data)

    def _tell(self, answer: Future[bytes | None]) -> None:
        if not answer.cancelled() and answer.exception() is None and answer.result() is not None:
            self._told()

    @staticmethod
    def _ask(digest: bytes, peers: tuple[HttpPeer, ...]) -> bytes | None:
        """Return the verified bytes from the first peer that has them."""
        for peer in peers:
            data = peer.get(digest)
            if data is not None and hashlib.sha256(data).digest() == digest:
                return data
        return None
