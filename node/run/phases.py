"""What a run is doing. `run.log` has a line for each phase that it enters, for whoever watches it from outside."""

import logging
from enum import Enum
from typing import Final

_log = logging.getLogger(__name__)

MARK: Final = "phase: "


class Phase(Enum):
    """The phases in their order; a run that goes on after a stop passes through those that it has done quickly."""

    START = "start-up"
    """The directory, the keys, the stores; every validator recovers."""
    OPENING = "opening"
    """The edge servers catch up, the clients' process starts, the job is created and opened."""
    TRAINING = "training"
    """Updates are recorded, scored and paid until there are records for enough rounds."""
    CLOSING = "closing"
    """No more records; what is recorded is settled and the rest of the budget goes back."""
    RELEASING = "releasing"
    """Every client's rewards go to its payout address."""
    AUDIT = "audit"
    """Every store is replayed from block 0."""
    REPORT = "report"
    """The sums, the page and its plots are written."""


def enter(phase: Phase) -> None:
    """Note that a phase begins."""
    _log.info("%s%s", MARK, phase.value)


def entered(log: str) -> list[Phase]:
    """Return the phases that a part of `run.log` names, in order; a torn last line is left out."""
    lines = log[: log.rfind("\n") + 1].splitlines()
    return [Phase(line.rpartition(MARK)[2]) for line in lines if f"{__name__}: {MARK}" in line]
