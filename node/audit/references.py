"""Audits what edge servers commit to and show of their private samples: who is left out, what is not as promised."""

from dataclasses import dataclass

from learner.errors import InvalidReferences
from learner.references import References
from node.audit.blobs import Blobs
from node.edge.references import Place
from node.rounds.log import JobLog
from node.rounds.references import Commitment, ReferenceLog


@dataclass(frozen=True, slots=True)
class Shown:
    """The references of one job as blobs show them; `place` is where they must belong."""

    place: Place
    log: ReferenceLog
    blobs: Blobs

    def read(self, commitment: Commitment) -> References | None:
        """Return what an edge server committed to, None if no server has it.

        Raises:
            InvalidReferences: the blob of that digest is none that this server may show.

        """
        raw = self.blobs.get(commitment.digest)
        return None if raw is None else self.place.decode(commitment, raw)

    def remarks(self, job: JobLog) -> list[str]:
        """Name the edge servers whose references were left out, and why."""
        found = [self._late(one) for one in self.log.late]
        for version, counted in self.log.opened().items():
            used = self.log.settled(version)
            found += [
                self._late(one)
                for one in self.log.commitments.get(version, ())
                if one.model == job.model_at(version) and one.edge not in {other.edge for other in counted}
            ]
            found += [self._unshown(one) for one in counted if used is not None and one not in used]
        return found

    def _late(self, one: Commitment) -> str:
        return (
            f"job {self.place.job}: edge server {one.edge} commits to references of version {one.version} in block"
            f" {one.height}, too late: they are left out"
        )

    def _unshown(self, one: Commitment) -> str:
        what = f"job {self.place.job}: edge server {one.edge}: its references of version {one.version} are left out:"
        promised = f"{one.digest.hex()}, to which it committed"
        other = self._other(one)
        if other is not None:
            return f"{what} it shows {other.hex()} instead of {promised}"
        if one.digest not in self.blobs:
            return f"{what} it does not show {promised}"
        try:
            self.read(one)
        except InvalidReferences as error:
            return f"{what} what it committed to is not what it must be: {error.reason}"
        return f"{what} too few servers held {promised}, in time"

    def _other(self, one: Commitment) -> bytes | None:
        """Return the digest of a blob of this server's that claims to be these references and is not."""
        header = self.place.header(one.edge, one.version, one.model)
        for digest, holders in self.blobs.holders.items():
            if digest != one.digest and one.edge in holders:
                raw = self.blobs.get(digest)
                if raw is not None and header.is_of(raw):
                    return digest
        return None
