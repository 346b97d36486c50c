"""Starting from a snapshot that peers offer: ABCI 2.0's OfferSnapshot and ApplySnapshotChunk.

Nothing that a peer sends is believed, and nothing of it is an exception: the answers tell the engine what to fetch anew
and whom to ask no more. A chunk that is not the manifest's is its sender's fault alone. A chunk that is the manifest's,
with content that is not the ledger's, shows that the manifest lies: the snapshot is refused, whoever offers it.
"""

import logging
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from chain.errors import SnapshotChunkError, SnapshotContentError, SnapshotManifestError
from chain.snapshots.manifest import FORMAT, Snapshot, decode_manifest
from chain.snapshots.restoring import Restorer
from chain.storage import Store

_log: Final = logging.getLogger(__name__)


class OfferResult(IntEnum):
    """The answer to an offer; ABCI's numbers."""

    ACCEPT = 1
    ABORT = 2  # give up state sync
    REJECT = 3  # this snapshot
    REJECT_FORMAT = 4  # all snapshots of this format
    REJECT_SENDER = 5  # all snapshots of whoever offers this one


class ApplyResult(IntEnum):
    """The answer to a chunk; ABCI's numbers."""

    ACCEPT = 1
    ABORT = 2
    RETRY = 3  # this chunk, after what is to be fetched anew
    RETRY_SNAPSHOT = 4  # the same snapshot from its offer on
    REJECT_SNAPSHOT = 5


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer to a chunk, the chunks to fetch anew and the peers to ask no more; `reason` is for the log."""

    result: ApplyResult
    refetch_chunks: tuple[int, ...] = ()
    reject_senders: tuple[str, ...] = ()
    reason: str = ""


class Joining:
    """Restores what is offered into a store without a ledger."""

    def __init__(self, store: Store, genesis: bytes | None) -> None:
        """`genesis`: the digest of the document that the ledger must start from, if this replica knows it."""
        self._store, self._genesis = store, genesis
        self._restorer: Restorer | None = None

    def offer(self, snapshot: Snapshot, app_hash: bytes) -> OfferResult:
        """Judge an offer, and begin if it is taken; `app_hash` is the light client's for the snapshot's height.

        The same snapshot may be offered again: it begins anew.
        """
        self.abandon()
        if snapshot.format != FORMAT:
            return OfferResult.REJECT_FORMAT
        try:
            manifest = decode_manifest(snapshot.metadata)
        except SnapshotManifestError as error:
            return self._refused(snapshot, str(error))
        if manifest.snapshot() != snapshot:
            return self._refused(snapshot, "its names are not its manifest's")
        if manifest.app_hash != app_hash:
            return self._refused(snapshot, f"the ledger's app hash is 0x{app_hash.hex()}")
        if self._genesis is not None and manifest.genesis != self._genesis:
            return self._refused(snapshot, "it is of another genesis document")
        self._restorer = Restorer(self._store, manifest)
        return OfferResult.ACCEPT

    def apply(self, index: int, chunk: bytes, sender: str) -> Applied:
        """Take a chunk from the peer `sender`; after the last one the store holds the ledger.

        Chunks are used in order, as CometBFT hands them over; one that comes too early is asked for again after those
        before it, one that was used is passed over.
        """
        restorer = self._restorer
        if restorer is None:
            return Applied(ApplyResult.RETRY_SNAPSHOT, reason="no snapshot was accepted since the start")
        if index < restorer.next:
            return Applied(ApplyResult.ACCEPT, reason=f"chunk {index} was used already")
        if index > restorer.next:
            early = f"chunk {index} came before chunk {restorer.next}"
            return Applied(ApplyResult.RETRY, (restorer.next,), reason=early)
        try:
            restorer.take(chunk)
        except SnapshotChunkError as error:
            _log.warning("peer %s: %s", sender, error)
            return Applied(ApplyResult.RETRY, (index,), _senders(sender), str(error))
        except SnapshotContentError as error:
            _log.warning("a false snapshot, chunk %d from peer %s: %s", index, sender, error)
            self.abandon()
            return Applied(ApplyResult.REJECT_SNAPSHOT, (), _senders(sender), f"chunk {index}: {error}")
        except Exception:  # our own disk or version: nobody else's fault, and half of the chunk may have been used
            self.abandon()
            raise
        if restorer.complete:
            self._restorer = None
            restorer.put_in_place()
        return Applied(ApplyResult.ACCEPT)

    def abandon(self) -> None:
        """Forget what was begun."""
        if self._restorer is not None:
            self._restorer.abandon()
            self._restorer = None

    def _refused(self, snapshot: Snapshot, why: str) -> OfferResult:
        """Refuse whoever offers what no honest replica of this ledger has."""
        _log.warning("the snapshot of height %d is refused: %s", snapshot.height, why)
        return OfferResult.REJECT_SENDER


def _senders(sender: str) -> tuple[str, ...]:
    return (sender,) if sender else ()
