"""Audits the blob directories of the edge servers: every file there hashes to its name, and nothing else lies there.

A file that several servers share by hard links is read once: one inode has one content.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from contracts.records import UPDATE_HEADER_BYTES
from node.audit.findings import Findings
from node.audit.report import Divergence, Part

PARTIAL: Final = ".partial"  # node.blobs: a write that did not end; the next start removes it
_PIECE_BYTES: Final = 1 << 20
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: SHA-256 of all of it, and of what follows an update's header."""

    digest: bytes
    payload: bytes
    length: int


@dataclass(slots=True)
class Blobs:
    """Every blob whose bytes hash to its name: who has it, where one copy lies, and its payload's digest.

    `damaged` maps (server, name) to what a file with that name holds instead. Whoever knows what the name stands for
    takes it out and says so; `report_damaged` names the rest.

    `exhaustive` tells that what the servers have is all here, so that what is not here is held by nobody; `anywhere`
    that there is any place at all where blobs are looked for. `given`: those that were read, where somebody asks.
    """

    holders: dict[bytes, set[int]] = field(default_factory=dict)
    servers: set[int] = field(default_factory=set)
    damaged: dict[tuple[int, bytes], str] = field(default_factory=dict)
    exhaustive: bool = True
    anywhere: bool = True
    given: set[bytes] = field(default_factory=set)
    _paths: dict[bytes, Path] = field(default_factory=dict)
    _payloads: dict[bytes, bytes] = field(default_factory=dict)

    def __contains__(self, digest: bytes) -> bool:
        """Tell whether any server has it."""
        return digest in self._paths

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the digests."""
        return iter(self._paths)

    def get(self, digest: bytes) -> bytes | None:
        """Return a blob's bytes, None if no server has it."""
        path = self._paths.get(digest)
        return None if path is None else path.read_bytes()

    def payload_digest(self, digest: bytes) -> bytes | None:
        """Return the SHA-256 of what follows an update's header, None if no server has the blob."""
        return self._payloads.get(digest)

    def lacking(self, digest: bytes, servers: "set[int]") -> list[int]:
        """Return those of `servers` whose directory is here and does not hold the blob."""
        return sorted((servers & self.servers) - self.holders.get(digest, set()))

    def add(self, server: int, path: Path, content: Content) -> None:
        """Note a copy."""
        self.holders.setdefault(content.digest, set()).add(server)
        self._paths.setdefault(content.digest, path)
        self._payloads[content.digest] = content.payload


def audit_blobs(edges: dict[int, Path], findings: Findings) -> Blobs:
    """Read every file of every server's blob directory."""
    found = Blobs(anywhere=bool(edges))
    known: dict[tuple[int, int], Content] = {}
    tally = findings.tallies["blobs"]
    for server, home in edges.items():
        root = home / "blobs"
        if not root.is_dir():
            findings.remark(f"edge {server}: no blobs are here")
            continue
        found.servers.add(server)
        tally.add("directories")
        for path in _files(root):
            fault = _judge(root, path, known, found, server)
            tally.add("files")
            if fault is None:
                continue
            if path.name.endswith(PARTIAL):
                findings.remark(
                    f"edge {server} blobs: {path.name} was not written to its end; the next start removes it"
                )
            else:
                expected, what = fault
                findings.diverges(
                    Divergence(
                        store=f"edge {server} blobs",
                        part=Part.BLOB,
                        expected=expected,
                        found=f"{what} ({path.relative_to(root)})",
                    )
                )
    tally.add("different contents", sum(1 for _ in found))
    return found


def report_damaged(blobs: Blobs, findings: Findings) -> None:
    """Name the damaged files that no record, model or job file stands for."""
    for (server, name), what in blobs.damaged.items():
        findings.diverges(
            Divergence(
                store=f"edge {server} blobs",
                part=Part.BLOB,
                expected=f"a file with SHA-256 {name.hex()}, its name",
                found=what,
            )
        )


def _files(root: Path) -> Iterator[Path]:
    for directory, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            yield Path(directory) / name


def _judge(
    root: Path, path: Path, known: dict[tuple[int, int], Content], found: Blobs, server: int
) -> tuple[str, str] | None:
    """Check one file and note it; return what was expected and what is there if it is no blob."""
    try:
        name = bytes.fromhex(path.name)
    except ValueError:
        name = b""
    if len(name) != _DIGEST_BYTES or path != root / path.name[:2] / name.hex():
        return "files named by their SHA-256, in a directory named by its first byte", "a foreign file"
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return "a plain file", "something else"
        inode = (status.st_dev, status.st_ino)
        if inode not in known:
            with path.open("rb") as file:
                known[inode] = content_of(file)
    except OSError as error:
        return "a readable file", str(error)
    content = known[inode]
    if content.digest != name:
        found.damaged[server, name] = f"a file with SHA-256 {content.digest.hex()}"
    else:
        found.add(server, path, content)
    return None


def content_of(file: IO[bytes]) -> Content:
    """Read a file to its end."""
    whole, payload, length = hashlib.sha256(), hashlib.sha256(), 0
    head = file.read(UPDATE_HEADER_BYTES)
    whole.update(head)
    length += len(head)
    while piece := file.read(_PIECE_BYTES):
        whole.update(piece)
        payload.update(piece)
        length += len(piece)
    return Content(whole.digest(), payload.digest(), length)
