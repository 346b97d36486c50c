"""The snapshots that a running replica takes and serves.

One directory per height. Taking runs in a thread that is handed in and reads what is committed, so the engine's thread
goes on; it shares the interpreter with it, no more. Serving is for the engine's thread.
"""

import logging
import shutil
import threading
from concurrent.futures import Executor, Future, wait
from pathlib import Path
from typing import Final

from chain.errors import SnapshotError
from chain.execution.index import Commit
from chain.limits import SNAPSHOT_CHUNK_BYTES
from chain.snapshots.files import DRAFT_SUFFIX, read_chunk, read_manifest, write_snapshot
from chain.snapshots.manifest import FORMAT, Snapshot
from chain.storage import Store

_log: Final = logging.getLogger(__name__)


class Keeper:
    """Takes a snapshot at each `every`-th height and keeps the newest `keep`; see the module's docstring."""

    def __init__(
        self,
        directory: Path,
        executor: Executor,
        *,
        every: int = 1_000,
        keep: int = 2,
        chunk_bytes: int = SNAPSHOT_CHUNK_BYTES,
    ) -> None:
        """Use `directory` for nothing else; what a stopped program left half done there is removed.

        `keep` is at least 2 in a network that changes quickly: peers may be in the middle of the older one.
        """
        if every < 1 or keep < 1:
            message = f"a snapshot at every {every}-th height, {keep} kept: both must be at least 1"
            raise SnapshotError(message)
        self._directory, self._executor = directory, executor
        self._every, self._keep, self._chunk_bytes = every, keep, chunk_bytes
        self._running: Future[None] | None = None
        self._stop = threading.Event()
        directory.mkdir(parents=True, exist_ok=True)
        for draft in directory.glob("*" + DRAFT_SUFFIX):
            shutil.rmtree(draft)

    def committed(self, store: Store, commit: Commit) -> None:
        """Take a snapshot if it is time; not while one is being taken, which is then simply missing.

        A disk that is full costs the snapshot and a line in the log. Anything else that went wrong with the last one,
        such as a damaged store, is raised here and stops the node.
        """
        if self._running is not None:
            if not self._running.done():
                return
            finished, self._running = self._running, None
            finished.result()
        if commit.height % self._every == 0 and not self._path(commit.height).exists():
            self._running = self._executor.submit(self._take, store, commit)

    def close(self) -> None:
        """Stop what is being taken and wait for its end; call it before the store is closed."""
        self._stop.set()
        if self._running is not None:
            wait([self._running])

    def snapshots(self) -> list[Snapshot]:
        """Return what can be served, the newest first."""
        found: list[Snapshot] = []
        for height in reversed(self._heights()):
            try:
                found.append(read_manifest(self._path(height)).snapshot())
            except SnapshotError as error:  # damaged, or removed for a newer one at this moment
                _log.warning("the snapshot of height %d cannot be served: %s", height, error)
        return found

    def load(self, height: int, version: int, index: int) -> bytes:
        """Return a chunk; empty when it is not here (any more) or is damaged, which ABCI takes for missing."""
        if version != FORMAT or height not in self._heights():
            return b""
        try:
            manifest = read_manifest(self._path(height))
            return read_chunk(self._path(height), manifest, index) if 0 <= index < len(manifest.chunks) else b""
        except SnapshotError as error:
            _log.warning("the snapshot of height %d cannot be served: %s", height, error)
            return b""

    def _take(self, store: Store, commit: Commit) -> None:
        path = self._path(commit.height)
        try:
            write_snapshot(store, commit, path, chunk_bytes=self._chunk_bytes, stopped=self._stop.is_set)
        except OSError as error:
            shutil.rmtree(path.with_name(path.name + DRAFT_SUFFIX), ignore_errors=True)
            _log.warning("no snapshot of height %d: %s", commit.height, error)
            return
        for height in self._heights()[: -self._keep]:
            old = self._path(height)
            shutil.rmtree(old.rename(old.with_name(old.name + DRAFT_SUFFIX)))  # no half of it under its name

    def _path(self, height: int) -> Path:
        return self._directory / str(height)

    def _heights(self) -> list[int]:
        return sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdecimal())
