"""What the edge server's thread shows of itself to other threads: how its steps go, and a few counts.

The server's books belong to its thread. So that thread makes the counts and publishes them as one frozen value; whoever
reads sees one whole moment. Records that are decided for good are counted once.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from web3.exceptions import Web3Exception

from merit.clock import Clock
from node.edge.server import EdgeServer, JobDesk
from node.errors import BlobQuotaError
from node.rounds.log import RecordStatus

_log = logging.getLogger(__name__)

PUBLISH_S: Final = 1.0
BUCKETS_S: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_OPEN: Final = {RecordStatus.PENDING, RecordStatus.AVAILABLE}


@dataclass(frozen=True, slots=True)
class EdgeFigures:
    """Counts of one moment; `rounds` by what became of them, `unsettled` are agreed and not paid yet."""

    member: int = 0
    block: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    unsettled: int = 0
    records: Counter[str] = field(default_factory=Counter)
    queued: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    blobs: int = 0
    blob_bytes: int = 0
    blob_quota_bytes: int = 0


class EdgeWatch:
    """Watches one edge server: the thread writes, anybody reads.

    `steps`, `seconds` and `longest` tell of finished steps, `buckets` how many took at most so many seconds; `failures`
    counts steps that were cut short, `failing` says why the last one was (empty if it was not), `stepped_at` is the
    clock's monotonic time of the last step's end.
    """

    def __init__(self, server: EdgeServer, clock: Clock) -> None:
        """Start with nothing seen."""
        self.figures = EdgeFigures()
        self.steps, self.seconds, self.longest, self.failures = 0, 0.0, 0.0, 0
        self.buckets = dict.fromkeys(BUCKETS_S, 0)
        self.failing = ""
        self.stepped_at = clock.monotonic()
        self._server, self._clock = server, clock
        self._published_at = float("-inf")
        self._final: dict[int, tuple[int, Counter[str]]] = {}  # job -> records counted for good, by status

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time a step. What may pass by itself is noted and suppressed: the next step tries again."""
        begun = self._clock.monotonic()
        try:
            yield
            self.failing = ""
        except (BlobQuotaError, Web3Exception) as error:  # (the ledger's thread was busy for too long, for example)
            _log.warning("the edge server's step is cut short: %s", error)
            self.failures += 1
            self.failing = str(error)
        now = self._clock.monotonic()
        took = now - begun
        self.steps, self.seconds, self.longest = self.steps + 1, self.seconds + took, max(self.longest, took)
        for bound in BUCKETS_S:
            self.buckets[bound] += took <= bound
        self.stepped_at = now
        if now - self._published_at >= PUBLISH_S:
            self.figures = self._count()
            self._published_at = now

    def _count(self) -> EdgeFigures:
        server = self._server
        desks = list(server.jobs.values())
        outcomes = [outcome for desk in desks for outcome in desk.log.outcomes]
        records: Counter[str] = Counter()
        for desk in desks:
            records += self._records(desk)
        return EdgeFigures(
            member=server.member,
            block=server.block,
            jobs=Counter(desk.log.status.value for desk in desks),
            rounds=Counter("agreed" if outcome.agreed else "void" for outcome in outcomes),
            unsettled=sum(len(desk.unsettled) for desk in desks),
            records=records,
            queued=sum(len(waiting) for desk in desks for waiting in desk.offered.values()),
            refusals=Counter(server.refusals),
            blobs=len(server.blobs),
            blob_bytes=server.blobs.used_bytes,
            blob_quota_bytes=server.blobs.quota_bytes,
        )

    def _records(self, desk: JobDesk) -> Counter[str]:
        entries = desk.log.records
        done, final = self._final.get(desk.log.job, (0, Counter()))
        while done < len(entries) and entries[done].status not in _OPEN:
            final[entries[done].status.value] += 1
            done += 1
        self._final[desk.log.job] = done, final
        still = Counter(map(attrgetter("status"), entries[done:]))  # thousands may wait for their blobs
        return final + Counter({status.value: count for status, count in still.items()})
