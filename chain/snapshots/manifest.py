"""What names a snapshot: the manifest, and the five values by which an engine speaks of it.

A snapshot's hash is the SHA-256 of its manifest, and the manifest holds the SHA-256 of each chunk. So whoever has the
hash can check every chunk by itself, from whomever it comes. That says which bytes were meant; whether they are the
ledger's is what restoring finds out (restoring.py).
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from chain import rlp
from chain.errors import RlpError, SnapshotManifestError
from chain.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS

FORMAT: Final = 1
_DIGEST_BYTES: Final = 32
_NUMBER_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as ABCI 2.0 names it; `metadata` is the manifest, `hash` its SHA-256."""

    height: int
    format: int
    chunks: int
    hash: bytes
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a snapshot is of and how its bytes are cut.

    `height` is the engine's, `app_hash` the one after it; `genesis` the digest of the genesis document (SHA-256);
    `size` the bytes of all chunks together. Every chunk but the last has `chunk_bytes` bytes.
    """

    height: int
    app_hash: bytes
    genesis: bytes
    size: int
    chunk_bytes: int
    chunks: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical RLP."""
        numbers = (rlp.integer(value) for value in (FORMAT, self.height, self.size, self.chunk_bytes))
        return rlp.encode([*numbers, self.app_hash, self.genesis, b"".join(self.chunks)])

    def snapshot(self) -> Snapshot:
        """Return the names by which an engine offers it."""
        encoded = self.encode()
        return Snapshot(self.height, FORMAT, len(self.chunks), hashlib.sha256(encoded).digest(), encoded)

    def length(self, index: int) -> int:
        """Return the number of bytes of a chunk."""
        return min(self.chunk_bytes, self.size - index * self.chunk_bytes)

    def fault(self, index: int, chunk: bytes) -> str:
        """Say what is wrong with the chunk `index`, which must exist; empty when nothing is."""
        if len(chunk) != self.length(index):
            return f"has {len(chunk)} bytes, not {self.length(index)}"
        if hashlib.sha256(chunk).digest() != self.chunks[index]:
            return "does not have the SHA-256 that the manifest names"
        return ""


def decode_manifest(data: bytes) -> Manifest:
    """Decode what `Manifest.encode` wrote; `SnapshotManifestError` for anything else and beyond the limits."""
    try:
        match rlp.decode(data):
            case [version, height, size, chunk_bytes, bytes(app_hash), bytes(genesis), bytes(hashes)]:
                numbers = [rlp.to_integer(item, _NUMBER_BYTES) for item in (version, height, size, chunk_bytes)]
            case _:
                message = "the snapshot's manifest has other fields than format 1"
                raise SnapshotManifestError(message)
    except RlpError as error:
        message = f"the snapshot's manifest: {error}"
        raise SnapshotManifestError(message) from None
    if numbers[0] != FORMAT:
        message = f"the snapshot has format {numbers[0]}, this program reads {FORMAT}; use the version that made it"
        raise SnapshotManifestError(message)
    chunks = tuple(hashes[at : at + _DIGEST_BYTES] for at in range(0, len(hashes), _DIGEST_BYTES))
    manifest = Manifest(
        height=numbers[1],
        size=numbers[2],
        chunk_bytes=numbers[3],
        app_hash=app_hash,
        genesis=genesis,
        chunks=chunks,
    )
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    """Refuse what no snapshot of ours has."""
    fault = ""
    if any(len(digest) != _DIGEST_BYTES for digest in (manifest.app_hash, manifest.genesis, *manifest.chunks)):
        fault = "a hash has not 32 bytes"
    elif not 0 < manifest.chunk_bytes <= SNAPSHOT_CHUNK_BYTES:
        fault = f"chunks of {manifest.chunk_bytes} bytes, at most {SNAPSHOT_CHUNK_BYTES} are allowed"
    elif not 0 < len(manifest.chunks) <= SNAPSHOT_CHUNKS:
        fault = f"{len(manifest.chunks)} chunks, at least one and at most {SNAPSHOT_CHUNKS} are allowed"
    elif -(-manifest.size // manifest.chunk_bytes) != len(manifest.chunks):
        fault = f"{manifest.size} bytes do not make {len(manifest.chunks)} chunks of {manifest.chunk_bytes}"
    if fault:
        message = f"the snapshot's manifest: {fault}"
        raise SnapshotManifestError(message)
