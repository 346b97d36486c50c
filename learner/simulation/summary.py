"""What a run came to: accuracy, who was told apart, who was paid.

A client's wage is what it earned for each of its updates that a round took. Figures are floats for reading and
comparing; nothing here is agreed or paid.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import msgspec
import numpy as np

from learner.simulation.ledger import Round
from learner.simulation.population import Role
from learner.simulation.run import Evaluated, Event, Finished, Started
from learner.simulation.timing import MICROSECONDS

TARGETS = (0.9, 0.95, 0.97)
LAST = 3
STARVED = 0.1
DIGITS = 6


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run; None where there is nothing to measure.

    `accuracy`: mean of the last three evaluations; `best` of all. `auc_update`: how often theta ranks an honest update
    above an attacker's (ties half); `auc_client` the same of clients' mean thetas. `attackers_share` of all pay.
    `starved`: share of the honest clients with a wage below a tenth of the honest mean; `wages`: mean wage by role as a
    multiple of the honest mean. `seconds_to`: virtual time of the first evaluation that reaches an accuracy.
    `triggered`: mean of the last three evaluations of a back door. `refused`: updates without a place, by reason.
    """

    accuracy: float
    best: float
    auc_update: float | None
    auc_client: float | None
    attackers_share: float | None
    starved: float
    wages: dict[str, float]
    seconds_to: dict[str, float | None]
    triggered: float | None
    rounds: int
    unpaid_rounds: int
    updates: int
    refused: dict[str, int]
    virtual_seconds: float


@dataclass(slots=True)
class _Account:
    """A client's thetas in ppb and rewards in wei, one for each update that a round took."""

    thetas: list[int] = field(default_factory=list)
    rewards_wei: list[int] = field(default_factory=list)

    @property
    def wage(self) -> float:
        return sum(self.rewards_wei) / len(self.rewards_wei)


class Tally:
    """Counts a run as it goes on."""

    def __init__(self, started: Started) -> None:
        """Nothing has happened yet."""
        self._roles = started.roles
        self._accounts: dict[int, _Account] = {}
        self._evaluations: list[Evaluated] = []
        self._rounds = self._unpaid = 0

    def decided(self, one: Round) -> None:
        """Count a round."""
        self._rounds += 1
        self._unpaid += not one.result.paid
        for record, theta, reward in zip(one.records, one.result.thetas, one.rewards_wei, strict=True):
            account = self._accounts.setdefault(record.client, _Account())
            account.thetas.append(theta)
            account.rewards_wei.append(reward)

    def evaluated(self, one: Evaluated) -> None:
        """Count an evaluation."""
        self._evaluations.append(one)

    def attackers_share(self, one: Round) -> float | None:
        """Share of a round's pay that went to attackers; None if nobody was paid."""
        total = sum(one.rewards_wei)
        theirs = [
            pay
            for record, pay in zip(one.records, one.rewards_wei, strict=True)
            if self._roles[record.client] is Role.ATTACKER
        ]
        return _rounded(sum(theirs) / total) if total else None

    def summary(self, end: Finished) -> Summary:
        """Sum it up."""
        attackers = {c: a for c, a in self._accounts.items() if self._roles[c] is Role.ATTACKER}
        honest = {c: a for c, a in self._accounts.items() if self._roles[c] is not Role.ATTACKER}
        paid = sum(sum(one.rewards_wei) for one in self._accounts.values())
        stolen = sum(sum(one.rewards_wei) for one in attackers.values())
        mean = fmean(one.wage for one in honest.values()) if honest else 0.0
        last = self._evaluations[-LAST:]
        triggered = [one.triggered for one in last if one.triggered is not None]
        return Summary(
            accuracy=_rounded(fmean(one.accuracy for one in last)),
            best=_rounded(max(one.accuracy for one in self._evaluations)),
            auc_update=auc(_thetas(honest.values()), _thetas(attackers.values())),
            auc_client=auc([fmean(a.thetas) for a in honest.values()], [fmean(a.thetas) for a in attackers.values()]),
            attackers_share=_rounded(stolen / paid) if Role.ATTACKER in self._roles and paid else None,
            starved=_rounded(fmean(one.wage < STARVED * mean for one in honest.values())) if mean else 0.0,
            wages=self._wages(mean),
            seconds_to={f"{target:g}": self._reached(target) for target in TARGETS},
            triggered=_rounded(fmean(triggered)) if triggered else None,
            rounds=self._rounds,
            unpaid_rounds=self._unpaid,
            updates=end.updates,
            refused=end.refused,
            virtual_seconds=end.at_us / MICROSECONDS,
        )

    def _wages(self, mean: float) -> dict[str, float]:
        of: dict[str, list[float]] = {}
        for client, account in sorted(self._accounts.items()):
            of.setdefault(str(self._roles[client]), []).append(account.wage)
        return {role: _rounded(fmean(wages) / mean) for role, wages in sorted(of.items())} if mean else {}

    def _reached(self, target: float) -> float | None:
        return next((one.at_us / MICROSECONDS for one in self._evaluations if one.accuracy >= target), None)


def summarise(events: Iterable[Event]) -> Summary:
    """Count a whole run, as `learner.simulation.run.simulate` yields it."""
    beginning, *middle, end = events
    if not isinstance(beginning, Started) or not isinstance(end, Finished):
        raise TypeError(beginning, end)
    tally = Tally(beginning)
    for event in middle:
        match event:
            case Round():
                tally.decided(event)
            case Evaluated():
                tally.evaluated(event)
            case _:
                raise TypeError(event)
    return tally.summary(end)


def auc(higher: Sequence[float], lower: Sequence[float]) -> float | None:
    """Share of the pairs in which the first value is above the second, ties counting half; None without pairs.

    The area under the ROC curve (Mann-Whitney U), by ranks.
    """
    if not higher or not lower:
        return None
    values = np.array([*higher, *lower])
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    above = float(ranks[: len(higher)].sum()) - len(higher) * (len(higher) + 1) / 2
    return _rounded(above / (len(higher) * len(lower)))


def _thetas(accounts: Iterable[_Account]) -> list[int]:
    return [theta for account in accounts for theta in account.thetas]


def _rounded(value: float) -> float:
    return round(value, DIGITS)
