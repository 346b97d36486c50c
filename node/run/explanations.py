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

_MEANINGS = {
    "authenticity": "how well the update agrees with what the edge servers' right labels teach; below 0: against it",
    "explained": "how much of the update that teaching explains; about 1: all of it",
    "honesty": "of what explains it, the share of right labels, each label by how much the update has of it",
    "consistency": "the same with all labels alike: falls where many wrong labels have a little each",
    "new": "how much of what it teaches recent rounds had not taught yet",
    "refused": "too long or too short beside the round, or nearly a copy: earns nothing",
    "judged": "there were references to hold it beside",
    "accepted": "judged, not refused, and each mean near enough to the median client's: only then it earns",
    "price": "what the job pays for what it teaches, by the objective's weights",
    "usefulness": "what theta would be without the Shapley value",
}
_OF_A_CLIENT = {
    "mean": "the moving mean of the client's updates, with one more that is as good as the median client's",
    "typical": "that of the median client, which the mean is held beside",
}
_EXPLAINED_RULES = ("calibrated", "decomposed")
"""Rules, and those of the same name with an ending, whose parts these words are about."""


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


def meanings(rule: str, parts: Sequence[str]) -> list[tuple[str, str]]:
    """Say in words what the parts of a scoring rule mean, in their order; of other rules nothing.

    The many parts `mean_...` and `typical_...` are explained as one each. `learner/RULES.md` is exact.
    """
    if not rule.startswith(_EXPLAINED_RULES):
        return []
    found: dict[str, str] = {}
    for part in parts:
        kind, _, measure = part.partition("_")
        if measure and kind in _OF_A_CLIENT:
            found[f"{kind} \N{HORIZONTAL ELLIPSIS}"] = _OF_A_CLIENT[kind]
        elif part in _MEANINGS:
            found[part] = _MEANINGS[part]
    return list(found.items())


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
