"""What an edge server beside the dashboard knows and the ledger does not say: selections, reasons, titles.

The server works in another thread. It hands its scored rounds over; of its logs only what never changes once it is
there is read: decided rounds, a job's file, a record's status.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from node.dashboard.ingest import Reason
from node.rounds.attestation import ScoredRound
from node.rounds.log import RoundOutcome

if TYPE_CHECKING:
    from node.edge.server import EdgeServer

ROUNDS_WAITING: Final = 1_000  # scored rounds that nobody took: the oldest give way


class Insight:
    """A window on one edge server, or on none."""

    def __init__(self) -> None:
        """See nothing yet."""
        self._scored: deque[ScoredRound] = deque(maxlen=ROUNDS_WAITING)
        self._server: EdgeServer | None = None

    def watch(self, server: "EdgeServer | None") -> None:
        """Look at this server from now on."""
        self._server = server

    def scored(self, scored: ScoredRound) -> None:
        """Take a round that an edge server has computed; called in its thread."""
        self._scored.append(scored)

    def take_reasons(self) -> list[Reason]:
        """Return why the records of newly scored rounds are worth what they are."""
        found = []
        while self._scored:
            found += _reasons(self._scored.popleft())
        return found

    def outcome(self, job: int, round_: int) -> RoundOutcome | None:
        """Return a decided round with its selection, None if the server does not know it (yet)."""
        desk = None if self._server is None else self._server.jobs.get(job)
        if desk is None or len(desk.log.outcomes) < round_:
            return None
        return desk.log.outcomes[round_ - 1]

    def title(self, job: int) -> str:
        """Return the title that a job's file gives, empty while the file is not there."""
        desk = None if self._server is None else self._server.jobs.get(job)
        return "" if desk is None or desk.file is None else desk.file.title

    def status(self, job: int, sequence: int) -> str:
        """Return what has become of a record, empty if that is not known here."""
        desk = None if self._server is None else self._server.jobs.get(job)
        if desk is None or len(desk.log.records) <= sequence:
            return ""
        return desk.log.records[sequence].status.value


def _reasons(scored: ScoredRound) -> list[Reason]:
    result, names, chosen = scored.result, scored.names, scored.selection
    if result is None:
        return []
    return [
        Reason(
            job=chosen.job,
            round=chosen.round,
            place=place,
            beside=names.versions[place] if names is not None and names.versions else None,
            parts={name: column[place] for name, column in result.parts.items()},
            thetas=scored.thetas.digest,
        )
        for place in range(len(chosen.records))
    ]
