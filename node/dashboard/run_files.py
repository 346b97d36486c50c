"""What a run's directory says beyond its ledger: accuracy, the phases that it went through, what its audit found."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.dashboard.ingest import Reason
from node.run import explanations
from node.run.events import Accuracy, EventLog, RunStarted
from node.run.phases import Phase, entered

_STAMP: Final = "%Y-%m-%d %H:%M:%S,%f"
_STAMP_LENGTH: Final = 23


class RunFiles:
    """One run's files; one thread reads what is new, any may look at `started` and `phases`."""

    def __init__(self, directory: Path) -> None:
        """Read nothing yet."""
        self._directory = directory
        self._log = EventLog(directory / "events.jsonl")
        self._explained_at = 0
        self._read_bytes = 0
        self._entered: tuple[tuple[Phase, float], ...] = ()
        self._last = 0.0
        self.started: RunStarted | None = None

    @property
    def phases(self) -> list[tuple[str, float]]:
        """The phases of the newest start with their seconds; the last one until now, as the log knows it."""
        found, last = self._entered, self._last
        ends = [*(at for _, at in found[1:]), last]
        return [(phase.value, max(0.0, end - at)) for (phase, at), end in zip(found, ends, strict=True)]

    def read_new(self) -> tuple[list[Accuracy], list[Reason]]:
        """Return what was measured, and what was explained, since the last call.

        Raises:
            RunDirectoryError: a file is unreadable.

        """
        measured = []
        for event in self._log.read_new():
            match event:
                case Accuracy():
                    measured.append(event)
                case RunStarted():
                    self.started = event
                case _:
                    pass  # the ledger says the same
        self._read_phases()
        return measured, self._read_reasons()

    def _read_phases(self) -> None:
        path = self._directory / "run.log"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines(keepends=True):
            self._last = _seconds(line) or self._last
            for phase in entered(line):
                before = () if phase is Phase.START else self._entered
                self._entered = (*before, (phase, self._last))

    def _read_reasons(self) -> list[Reason]:
        path = self._directory / explanations.FILE
        changed = path.stat().st_mtime_ns if path.exists() else 0
        if changed == self._explained_at:
            return []
        self._explained_at = changed
        taken: Counter[tuple[int, int]] = Counter()
        reasons = []
        for one in explanations.read(self._directory).records:  # in the order of rounds and selection
            place = taken[one.job, one.round]
            taken[one.job, one.round] += 1
            reasons.append(Reason(one.job, one.round, place, one.beside, one.parts, None))
        return reasons


def _seconds(line: str) -> float | None:
    """Return when a line was written, None for a line of a traceback; only differences mean something."""
    try:
        return datetime.strptime(line[:_STAMP_LENGTH], _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
