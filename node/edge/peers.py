"""Where an edge server gets blobs that it lacks."""

from typing import Protocol

import httpx

from node.blobs import BlobStore
from node.errors import BlobCorruptError, BlobMissingError

FETCH_TIMEOUT_S = 10.0


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

    def __init__(self, member: int, store: BlobStore) -> None:
        """Take blobs of `member` from its store."""
        self.member = member
        self._store = store

    def fetch(self, digest: bytes, into: BlobStore) -> bool:
        """Bring the blob into `into`; False if the peer cannot give it."""
        try:
            into.adopt(digest, self._store)
        except (BlobMissingError, BlobCorruptError):
            return False
        return True


class HttpPeer:
    """An edge server elsewhere, asked over its intake API. A blob that does not hash to its name is dropped."""

    def __init__(self, member: int, url: str) -> None:
        """Ask `member` at `url`."""
        self.member = member
        self._http = httpx.Client(base_url=url, timeout=FETCH_TIMEOUT_S)

    def fetch(self, digest: bytes, into: BlobStore) -> bool:
        """Bring the blob into `into`; False if the peer cannot give it."""
        try:
            answer = self._http.get(f"/v1/blobs/{digest.hex()}")
        except httpx.HTTPError:
            return False
        if answer.status_code != httpx.codes.OK:
            return False
        return into.put_expected(digest, answer.content)
