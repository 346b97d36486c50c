"""Making a ledger of chunks, of which none is believed.

A chunk is first compared with the manifest, then cut into items, and each item is checked against what the app hash
stands for (content.py) before it is written. The app hash in the manifest must be one that the caller trusts: from the
light client, or because it is his own backup. Memory: one chunk, one item, and the way down the state.
"""

from chain.errors import ChainError, SnapshotChunkError, SnapshotContentError, VersionError
from chain.snapshots.content import LENGTH_BYTES, rebuild
from chain.snapshots.manifest import Manifest
from chain.storage import Store


class Restorer:
    """Takes the chunks of one snapshot in order into a draft of `store`, and puts the draft in place at the end.

    Until then `store` is as it was, also after a crash; what was begun is forgotten when somebody begins again.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        """Begin; `store` must be empty, and the manifest's app hash one that the caller trusts."""
        self._store = store
        self._draft = store.draft()
        self._manifest = manifest
        self._content = rebuild(self._draft, manifest)
        self._limit = next(self._content)
        self._ended = False
        self._rest = bytearray()
        self.next = 0  # the index of the chunk that is to come

    @property
    def complete(self) -> bool:
        """Tell whether all chunks were taken."""
        return self.next == len(self._manifest.chunks)

    def take(self, chunk: bytes) -> None:
        """Take the chunk `next`.

        Raises:
            SnapshotChunkError: it is not the one that the manifest names. It was not used, and may come again.
            SnapshotContentError: it is, and what is in it is not the ledger's: the manifest's maker lied. Begin anew
                with another snapshot.
            VersionError: this program is too old for the ledger.

        """
        fault = self._manifest.fault(self.next, chunk)
        if fault:
            raise SnapshotChunkError(self.next, fault)
        try:
            self._use(chunk)
        except (SnapshotContentError, VersionError):
            raise
        except ChainError as error:  # a decoder of the ledger's says what is wrong
            raise SnapshotContentError(str(error)) from error
        self.next += 1
        if self.complete and not self._ended:
            message = "the snapshot ends before all of the ledger is there"
            raise SnapshotContentError(message)
        self._draft.commit()

    def put_in_place(self) -> None:
        """Make the restored ledger the store's content, durable as a whole or not at all; all chunks must be there."""
        if not self.complete:
            raise SnapshotChunkError(self.next, "is missing")
        self._store.adopt(self._draft)

    def abandon(self) -> None:
        """Close the draft; what is in it is lost."""
        self._draft.close()

    def _use(self, chunk: bytes) -> None:
        """Hand on the items that are whole now and keep the beginning of the next one."""
        data = self._rest
        data += chunk
        at = 0
        while not self._ended and len(data) - at >= LENGTH_BYTES:
            start = at + LENGTH_BYTES
            length = int.from_bytes(data[at:start], "big")
            if length > self._limit:
                message = f"an item of {length} bytes, at most {self._limit} are possible here"
                raise SnapshotContentError(message)
            if start + length > len(data):
                break
            at = start + length
            try:
                self._limit = self._content.send(bytes(data[start:at]))
            except StopIteration:
                self._ended = True
        del data[:at]
        if self._ended and data:
            message = "more follows after the last item"
            raise SnapshotContentError(message)
