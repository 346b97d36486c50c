"""Blobs that are fetched from edge servers when a round needs them; what does not hash to its name is dropped.

Rounds ask for one after another, mostly in the order in which the history names them. So the next few are asked for
meanwhile: over a long link the way there and back would otherwise be waited for each time.
"""

from collections.abc import Iterable
from concurrent.futures import Future
from io import BytesIO
from pathlib import Path
from typing import Final

from node.audit import checks
from node.audit.blobs import Blobs, content_of
from node.audit.errors import FaultError, UnansweredError
from node.audit.fetch import Fetcher, Reply
from node.audit.findings import Findings
from node.audit.report import Divergence

_OK: Final = 200
_PART: Final = "blobs"
_AHEAD: Final = 16
"""Blobs that are on their way at once."""
_AHEAD_BYTES: Final = 1 << 24
"""What they may have together, if they are as long as blobs may be: they share the link, and each has 30 s. One is
always asked for."""


class FetchedBlobs(Blobs):
    """The blobs of edge servers elsewhere.

    Any server that has a blob will do: a blob proves itself. So nothing is said about which server holds what
    (`servers` is empty), and what no server gives is no divergence.

    Args:
        urls: the servers' intakes.
        fetcher: sends the requests.
        directory: keeps what came.
        most: bytes that a blob may have.
        findings: where false blobs and silent servers are named.
        coming: blobs in the order in which they will probably be asked for.

    """

    def __init__(
        self,
        urls: tuple[str, ...],
        fetcher: Fetcher,
        directory: Path,
        most: int,
        findings: Findings,
        *,
        coming: Iterable[bytes] = (),
    ) -> None:
        """Ask the servers in this order."""
        super().__init__(exhaustive=False, anywhere=bool(urls))
        self._urls, self._fetcher, self._directory = list(urls), fetcher, directory
        self._most, self._findings = most, findings
        self._asked: set[bytes] = set()
        self._coming = tuple(dict.fromkeys(coming))
        self._places = {digest: at for at, digest in enumerate(self._coming)}
        self._ahead = max(0, min(_AHEAD, _AHEAD_BYTES // most) - 1)
        self._under_way: dict[bytes, tuple[str, Future[Reply]]] = {}

    def __contains__(self, digest: bytes) -> bool:
        """Tell whether any server gives it."""
        self._fetch(digest)
        return super().__contains__(digest)

    def get(self, digest: bytes) -> bytes | None:
        """Return a blob's bytes, None if no server gives it."""
        self._fetch(digest)
        return super().get(digest)

    def payload_digest(self, digest: bytes) -> bytes | None:
        """Return the SHA-256 of what follows an update's header, None if no server gives the blob."""
        self._fetch(digest)
        return super().payload_digest(digest)

    def _fetch(self, digest: bytes) -> None:
        if digest in self._asked:
            return
        self._asked.add(digest)
        self._send_ahead(digest)
        for url in list(self._urls):
            raw = self._ask(url, digest)
            if raw is not None:
                path = self._directory / digest.hex()
                path.write_bytes(raw)
                self.add(0, path, content_of(BytesIO(raw)))
                self._findings.tallies[_PART].add("fetched")
                self._findings.tallies[_PART].add("bytes", len(raw))
                return
        self._findings.tallies[_PART].add("given by nobody")

    def _send_ahead(self, digest: bytes) -> None:
        """Ask the first server for this blob and those that come after it."""
        at = self._places.get(digest, len(self._coming))
        for url in self._urls[:1]:
            for coming in (digest, *self._coming[at + 1 : at + 1 + self._ahead]):
                if coming == digest or (coming not in self._asked and coming not in self._under_way):
                    self._under_way[coming] = url, self._sent(url, coming)

    def _sent(self, url: str, digest: bytes) -> Future[Reply]:
        """Return the answer of this server that is on its way, or ask for it now."""
        asked, reply = self._under_way.pop(digest, ("", None))
        if reply is None or asked != url:
            return self._fetcher.get(f"edge server {url}", f"{url}/v1/blobs/{digest.hex()}", self._most)
        return reply

    def _ask(self, url: str, digest: bytes) -> bytes | None:
        """Return the blob as a server gives it, None if it does not; one that is silent is not asked again."""
        name = f"edge server {url}"
        try:
            reply = self._sent(url, digest).result()
            if reply.status != _OK:
                return None
            checks.blob(reply.body, digest)
        except UnansweredError as error:
            self._urls.remove(url)
            self._findings.remark(f"{name}: does not answer ({error.why}): it is not asked any more")
            return None
        except FaultError as fault:
            self._findings.diverges(Divergence(store=name, part=fault.part, expected=fault.expected, found=fault.found))
            return None
        return reply.body
