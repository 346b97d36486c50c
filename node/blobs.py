"""Content-addressed blobs: updates, models and job files, each named by the SHA-256 of its bytes.

A write is atomic (a temporary file, then a rename), a read is verified, and the sum of sizes stays below a quota.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec

from node.errors import BlobCorruptError, BlobMissingError, BlobQuotaError

DEFAULT_QUOTA_BYTES = 64 << 30
_PARTIAL = ".partial"
_DAMAGED = ".damaged"


class BlobStore:
    """A directory of blobs, two levels deep (`ab/abcdef...`).

    Args:
        root: directory; made when it is missing.
        quota_bytes: the sum of blob sizes that the store never exceeds.

    """

    def __init__(self, root: Path, *, quota_bytes: int = DEFAULT_QUOTA_BYTES) -> None:
        """Open the store and remove what an interrupted write left behind."""
        self.root = root
        self.quota_bytes = quota_bytes
        self._files = fsspec.filesystem("file")
        self._files.makedirs(str(root), exist_ok=True)
        self._sizes: dict[bytes, int] = {}
        for path, info in self._files.find(str(root), detail=True).items():
            name = Path(path).name
            if name.endswith(_PARTIAL):
                self._files.rm_file(path)
            elif (digest := digest_of_name(name)) is not None:
                self._sizes[digest] = int(info["size"])
        self.used_bytes = sum(self._sizes.values())

    def __contains__(self, digest: bytes) -> bool:
        """Tell whether a blob of this name is stored (its bytes are verified only when read)."""
        return digest in self._sizes

    def __len__(self) -> int:
        """Return how many blobs are stored."""
        return len(self._sizes)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the digests, in no particular order."""
        return iter(tuple(self._sizes))

    def path(self, digest: bytes) -> Path:
        """Where the blob lies or would lie."""
        name = digest.hex()
        return self.root / name[:2] / name

    def put(self, data: bytes) -> bytes:
        """Store `data` and return its SHA-256; storing it again changes nothing.

        Raises:
            BlobQuotaError: the store would exceed its quota; nothing is written.

        """
        digest = hashlib.sha256(data).digest()
        if digest not in self._sizes:
            self._admit(len(data))
            partial = self._partial(digest)
            self._files.pipe_file(str(partial), data)
            partial.replace(self.path(digest))
            self._note(digest, len(data))
        return digest

    def put_expected(self, digest: bytes, data: bytes) -> bool:
        """Store `data` if it hashes to `digest`; False, and nothing stored, if it does not.

        Raises:
            BlobQuotaError: the store would exceed its quota.

        """
        if hashlib.sha256(data).digest() != digest:
            return False
        self.put(data)
        return True

    def adopt(self, digest: bytes, other: "BlobStore") -> None:
        """Take a blob from another store on this machine, by a hard link where that is possible.

        Its bytes are verified first.

        Raises:
            BlobMissingError, BlobCorruptError: the other store cannot give it.
            BlobQuotaError: this store would exceed its quota.

        """
        if digest in self._sizes:
            return
        data = other.get(digest)
        self._admit(len(data))
        partial = self._partial(digest)
        partial.unlink(missing_ok=True)
        try:
            os.link(other.path(digest), partial)
        except OSError:  # another file system, or one without hard links
            self._files.pipe_file(str(partial), data)
        partial.replace(self.path(digest))
        self._note(digest, len(data))

    def get(self, digest: bytes) -> bytes:
        """Return the blob's bytes, verified.

        Raises:
            BlobMissingError: no such blob here.
            BlobCorruptError: its bytes do not hash to its name (the file is left for inspection).

        """
        if digest not in self._sizes:
            raise BlobMissingError(digest)
        try:
            data: bytes = self._files.cat_file(str(self.path(digest)))
        except FileNotFoundError:  # somebody removed the file
            self.remove(digest)
            raise BlobMissingError(digest) from None
        if hashlib.sha256(data).digest() != digest:
            raise BlobCorruptError(digest, self.path(digest))
        return data

    def remove(self, digest: bytes) -> None:
        """Forget a blob; removing what is not there changes nothing."""
        if (size := self._sizes.pop(digest, None)) is not None:
            self.used_bytes -= size
            self.path(digest).unlink(missing_ok=True)

    def set_aside(self, digest: bytes) -> None:
        """Forget a damaged blob and keep its file as `NAME.damaged`, so that the right bytes can take its place."""
        path = self.path(digest)
        if path.exists():
            path.replace(path.with_name(path.name + _DAMAGED))
        self.remove(digest)

    def _admit(self, size: int) -> None:
        if self.used_bytes + size > self.quota_bytes:
            raise BlobQuotaError(self.root, self.quota_bytes)

    def _partial(self, digest: bytes) -> Path:
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True)
        return path.with_name(path.name + _PARTIAL)

    def _note(self, digest: bytes, size: int) -> None:
        self._sizes[digest] = size
        self.used_bytes += size


def digest_of_name(name: str) -> bytes | None:
    """Return the digest that a file's name stands for, None for a name that is none."""
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    return digest if len(digest) == hashlib.sha256().digest_size else None
