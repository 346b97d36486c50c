"""Why each record of a run earned what it did: what the run's audit computed again, kept beside it for the report."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from node.errors import RunDirectoryError
from node.run.history import PPB

if TYPE_CHECKING:
    from node.audit import AuditReport

FILE = "explained.json"


class RecordWorth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a record of a round was worth: theta and the scoring rule's parts, in parts per billion.

    `beside`: the version whose references it was held beside, None under a rule that reads none.
    """

    job: int
    round: int
    client: int
    base: int
    beside: int | None
    theta_ppb: int
    parts: dict[str, int]


class Explanations(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every record of every round that was computed again, in the order of rounds and selection."""

    records: tuple[RecordWorth, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names of the rule's parts, in its order; of several rules, one after the other."""
        return tuple(dict.fromkeys(name for record in self.records for name in record.parts))

    def flags(self) -> frozenset[str]:
        """Return the parts that say yes or no: they are 0 or all."""
        return frozenset(
            name
            for name in self.parts
            if {record.parts[name] for record in self.records if name in record.parts} <= {0, PPB}
        )

    def of_round(self, number: int) -> list[RecordWorth]:
        """Return a round's records, in the order of selection."""
        return [record for record in self.records if record.round == number]

    def means(self) -> list[tuple[int, int, float, dict[str, float]]]:
        """Return each client with the number of its records, and the means of theta and of the parts (1 = all)."""
        by_client: dict[int, list[RecordWorth]] = {}
        for record in self.records:
            by_client.setdefault(record.client, []).append(record)
        return [
            (client, len(own), fmean(one.theta_ppb for one in own) / PPB, _means(own))
            for client, own in sorted(by_client.items())
        ]


def _means(records: Sequence[RecordWorth]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record.parts)
    return {name: fmean(one.parts[name] for one in records if name in one.parts) / PPB for name in names}


def write(directory: Path, report: "AuditReport") -> None:
    """Keep what an audit explains in a run directory."""
    found = Explanations(
        records=tuple(
            RecordWorth(
                job=one.job,
                round=one.round,
                client=one.client,
                base=one.base,
                beside=one.beside,
                theta_ppb=one.theta_ppb,
                parts=dict(one.parts),
            )
            for one in report.explained
        )
    )
    (directory / FILE).write_bytes(msgspec.json.encode(found) + b"\n")


def read(directory: Path) -> Explanations:
    """Return what is kept in a run directory; nothing before its first audit.

    Raises:
        RunDirectoryError: the file is none of ours.

    """
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Explanations)
    except FileNotFoundError:
        return Explanations()
    except msgspec.DecodeError as error:
        message = f"{path} explains no run ({error}): remove it"
        raise RunDirectoryError(message) from error
