"""How long an edge server keeps blobs: what settled rounds left behind goes, what anything may still need stays.

Kept always: job files, what is not decided or not settled, the updates of each job's newest `rounds` rounds, and what
those rounds can be computed again from: models (those of the newest `maximum staleness + 1` versions at least), plans,
and what the scoring rule needs of references, histories and earlier updates. Everything else is in the digests on the
ledger, and at an archive member, which keeps all.

Of each pruned update the digest of its payload stays, in a book on disk: a server that starts again reads the whole
log, and must know which payloads were copies. The book is written before the blob goes.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from learner.terms import Terms
from node.blobs import BlobStore
from node.rounds.log import JobLog, JobStatus, RecordEntry, RecordStatus
from node.rounds.references import ReferenceLog

_DIGEST_BYTES: Final = 32
_CHECK_BYTES: Final = 8  # an accident passes once in 2^64
_LINE_BYTES: Final = 2 * _DIGEST_BYTES + _CHECK_BYTES
_OPEN: Final = {RecordStatus.PENDING, RecordStatus.AVAILABLE}


class Desk(Protocol):
    """What this module must know of a job on an edge server's desk."""

    @property
    def log(self) -> JobLog:
        """The ledger's log of it."""
        ...

    @property
    def terms(self) -> Terms:
        """Its terms."""
        ...

    @property
    def references(self) -> ReferenceLog:
        """The ledger's log of edge servers' references."""
        ...


class PayloadBook:
    """The payload digests of pruned updates: blob digest (32 bytes), payload digest (32), checksum (8), one by one."""

    def __init__(self, path: Path) -> None:
        """Read the book; it ends before the first line that is damaged or not whole, and goes on from there."""
        self.known: dict[bytes, bytes] = {}
        self._path = path
        data = path.read_bytes() if path.exists() else b""
        whole = 0
        for at in range(0, len(data) - _LINE_BYTES + 1, _LINE_BYTES):
            pair, check = data[at : at + 2 * _DIGEST_BYTES], data[at + 2 * _DIGEST_BYTES : at + _LINE_BYTES]
            if _checksum(pair) != check:
                break
            self.known[pair[:_DIGEST_BYTES]] = pair[_DIGEST_BYTES:]
            whole = at + _LINE_BYTES
        if whole < len(data):
            os.truncate(path, whole)

    def add(self, pairs: dict[bytes, bytes]) -> None:
        """Keep payload digests by blob digest; durable when this returns."""
        new = {blob: payload for blob, payload in pairs.items() if blob not in self.known}
        if not new:
            return
        with self._path.open("ab") as file:
            for blob, payload in new.items():
                file.write(blob + payload + _checksum(blob + payload))
            file.flush()
            os.fsync(file.fileno())
        self.known |= new


class Retention:
    """Prunes one edge server's blobs.

    Args:
        rounds: the updates of so many rounds stay, at least 1.
        book: remembers the payload digests of what goes.

    """

    def __init__(self, rounds: int, book: PayloadBook) -> None:
        """Start with nothing pruned; what was pruned before is found gone."""
        if rounds < 1:
            message = f"{rounds} rounds: at least 1 stays"
            raise ValueError(message)
        self.book = book
        self._rounds = rounds
        self._passed: dict[int, int] = {}  # job -> records before this one are pruned, or have nothing to prune
        self._seen: dict[int, tuple[int, int]] = {}

    def prune(self, desks: Iterable[Desk], blobs: BlobStore, payloads: dict[bytes, bytes]) -> int:
        """Remove what may go and return how many blobs went; `payloads` maps digests of blobs to those of payloads.

        Every desk must have applied every block: what a log does not know yet may name a blob.
        """
        by_job = {desk.log.job: desk for desk in desks}
        seen = {job: (desk.log.version, len(desk.log.settled)) for job, desk in by_job.items()}
        if seen == self._seen:
            return 0
        self._seen = seen
        kept = set[bytes]().union(*(_kept_files(desk, self._oldest(desk.log)) for desk in by_job.values()))
        updates = {
            entry.digest
            for desk in by_job.values()
            for entry in self._passable(desk.log)
            if entry.digest in blobs
            and entry.digest not in kept
            and self.gone((one.log, named) for one in by_job.values() for named in one.log.naming(entry.digest))
        }
        files = {name for desk in by_job.values() for name in _old_files(desk, self._oldest(desk.log))}
        self.book.add({digest: payloads[digest] for digest in updates if digest in payloads})
        gone = updates | {name for name in files - kept if name in blobs}
        for digest in gone:
            blobs.remove(digest)
        return len(gone)

    def gone(self, entries: Iterable[tuple[JobLog, RecordEntry]]) -> bool:
        """Tell whether a blob that these records name is kept no more."""
        return all(self._may_go(log, entry) for log, entry in entries)

    def _passable(self, log: JobLog) -> Iterator[RecordEntry]:
        """Yield the records that may go, none twice but those behind one that may not."""
        entries = log.records
        at = self._passed.get(log.job, 0)
        stuck = False
        for entry in entries[at:]:
            if self._may_go(log, entry):
                yield entry
                at += not stuck
            else:
                stuck = True
        self._passed[log.job] = at

    def _may_go(self, log: JobLog, entry: RecordEntry) -> bool:
        window = log.needs_of(log.next_round).window
        last = log.version - self._rounds - (0 if window is None else window.rounds)
        if last < 1 or entry.status in _OPEN:
            return False
        if entry.status is RecordStatus.VOID:
            return entry.decided_at <= log.outcomes[last - 1].height
        return entry.round <= last and (entry.round in log.settled or not log.outcomes[entry.round - 1].agreed)

    def _oldest(self, log: JobLog) -> int:
        """Return the oldest round that must stay computable: of those kept, and of those that are not settled."""
        oldest = max(1, log.version - self._rounds + 1)
        unsettled = (one.round for one in log.outcomes[: oldest - 1] if one.agreed and one.round not in log.settled)
        return min((oldest, *unsettled))


def _kept_files(desk: Desk, oldest: int) -> set[bytes]:
    """Return the digests of a job's file and of the models and plans that must stay."""
    log = desk.log
    kept = {log.terms.job_file, log.model}
    if log.status is JobStatus.PROPOSED:
        kept.add(log.terms.model)
    kept |= {log.model_at(version) for version in range(_first_model(desk, oldest), log.version + 1)}
    read = range(oldest - 1, log.version + 1)
    return kept | {log.plan_at(version) for version in read} | {log.history_at(version) for version in read}


def _old_files(desk: Desk, oldest: int) -> set[bytes]:
    log = desk.log
    models = {log.model_at(version) for version in range(_first_model(desk, oldest))}
    references = {
        one.digest
        for version, commitments in desk.references.opened().items()
        if version < oldest - 1 - desk.terms.max_staleness
        for one in commitments
    }
    named = {name for version in range(oldest - 1) for name in (log.plan_at(version), log.history_at(version)) if name}
    return models | references | named


def _first_model(desk: Desk, oldest: int) -> int:
    """Return the oldest version that round `oldest` or a later one may build on."""
    window = desk.log.needs_of(desk.log.next_round).window
    return max(0, oldest - 1 - max(desk.terms.max_staleness, 0 if window is None else window.steps))


def _checksum(pair: bytes) -> bytes:
    return hashlib.sha256(pair).digest()[:_CHECK_BYTES]
