"""An edge server's own part in references: makes them, keeps them sealed until they are opened, judges others'."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from contracts.records import blob_digest
from learner.contribution import Needs
from learner.errors import InvalidReferences, TrainingFailed
from learner.fixedpoint import Model
from learner.references import References
from node.blobs import BlobStore
from node.errors import BlobCorruptError, BlobMissingError
from node.jobs import JobFile
from node.rounds.attestation import decode_model
from node.rounds.reference_blobs import ReferencesHeader
from node.rounds.references import Commitment

_log = logging.getLogger(__name__)

Teach: TypeAlias = Callable[[JobFile, Needs, int, Model], References]
"""What an edge server's private samples teach: the job file, what the rule needs, a version, its model int32[d]."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where references belong: the ledger, and the job with its file."""

    genesis_hash: bytes
    ledger: bytes
    job: int
    file: JobFile

    def header(self, edge: int, version: int, model: bytes) -> ReferencesHeader:
        """Return the header of an edge server's references of a version whose model has this digest."""
        return ReferencesHeader(self.genesis_hash, self.ledger, self.job, edge, version, model)

    def decode(self, commitment: Commitment, blob: bytes) -> References:
        """Return the references of a commitment's blob.

        Raises:
            InvalidReferences: they are not what was committed to, or of what the job's objective leaves out.

        """
        header = self.header(commitment.edge, commitment.version, commitment.model)
        found = header.decode(blob, dimension=self.file.model.dimension, classes=self.file.model.classes)
        objective = self.file.objective
        if found.labels and not objective.counts(commitment.edge):
            raise InvalidReferences(
                reason=f"the job's objective leaves the samples of edge server {commitment.edge} out"
            )
        for label in found.labels:
            if not objective.allows(label):
                raise InvalidReferences(reason=f"the job's objective has no reference of {label}")
        return found


@dataclass(slots=True)
class Roots:
    """An edge server's root samples, by what they teach, and the store of what is not opened yet.

    Nobody but this server reads `sealed`; it outlives a restart, for floats might not come out the same again.
    """

    teach: Teach
    sealed: BlobStore
    _made: dict[tuple[int, bytes], bytes] = field(default_factory=dict)

    def seal(self, place: Place, edge: int, version: int, model_blob: bytes, needs: Needs) -> bytes:
        """Make references of a version and keep them; return the digest to commit to, b"" where they cannot be made.

        Raises:
            BlobQuotaError: the store of sealed references is full.

        """
        model = blob_digest(model_blob)
        if (version, model) not in self._made:
            try:
                found = self._taught(place.file, edge, needs, version, model_blob)
            except TrainingFailed as error:
                _log.error("edge server %d has no references of version %d: %s", edge, version, error)
                self._made[version, model] = b""
            else:
                self._made[version, model] = self.sealed.put(place.header(edge, version, model).blob(found))
        return self._made[version, model]

    def _taught(self, file: JobFile, edge: int, needs: Needs, version: int, model_blob: bytes) -> References:
        """Return what the samples teach: no row of a server whose samples the job's objective leaves out."""
        if not file.objective.counts(edge):
            return References((), np.empty((0, file.model.dimension), dtype=np.int16))
        return self.teach(file, needs, version, decode_model(model_blob)[1])

    def cannot(self, version: int, model: bytes) -> bool:
        """Tell whether references of a version could not be made."""
        return self._made.get((version, model)) == b""

    def show(self, digest: bytes, blobs: BlobStore) -> None:
        """Give what is opened to everybody; what is not here, or damaged, cannot be shown.

        Raises:
            BlobQuotaError: the server's store is full.

        """
        if digest not in self.sealed:
            return
        try:
            blobs.adopt(digest, self.sealed)
        except (BlobMissingError, BlobCorruptError) as error:
            _log.error("references cannot be shown: %s", error)
        self.sealed.remove(digest)


def is_right(place: Place, commitment: Commitment, blob: bytes) -> bool:
    """Tell whether a blob holds what an edge server committed to; the log says why not."""
    try:
        place.decode(commitment, blob)
    except InvalidReferences as error:
        _log.error("edge server %d, version %d: %s", commitment.edge, commitment.version, error)
        return False
    return True
