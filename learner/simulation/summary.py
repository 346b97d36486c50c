"""What a run came to: accuracy, who was told apart, who was paid.

A client's wage is what it earned for each of its updates that a round took. Figures are floats for reading and
comparing; nothing here is agreed or paid.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from types import MappingProxyType

import msgspec
import numpy as np

from learner.simulation.costs import gini, jain
from learner.simulation.ledger import Round
from learner.simulation.population import Role
from learner.simulation.run import Evaluated, Event, Finished, Started
from learner.simulation.timing import MICROSECONDS
from learner.simulation.truth import Values, spearman
from learner.simulation.vesting import Vesting
from learner.staleness import delay
from learner.training import Quality

TARGETS = (0.8, 0.9, 0.95, 0.97)
LAST = 3
VESTING_ROUNDS = MappingProxyType({"20": 20, "end": 0})
STARVED = 0.1
DIGITS = 6


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run; None where there is nothing to measure.

    `accuracy`: mean of the last three evaluations; `best` of all. `auc_update`: how often theta ranks an honest update
    above an attacker's (ties half); `auc_client` the same of clients' mean thetas. `attackers_share` of all pay.
    `starved`: share of the honest clients with a wage below a tenth of the honest mean; `wages`: mean wage by role as a
    multiple of the honest mean. `seconds_to`: virtual time of the first evaluation that reaches an accuracy.
    `triggered`: mean of the last three evaluations of a back door. `staleness`: mean delay of the records in rounds, in
    versions; `wasted`: share of the updates that have no place in a round, or wait for one at the end. `refused`:
    updates without a place, by reason.

    `vested_share`: the attackers' share of what is released when pay vests, by the rounds until then ("end": at the end
    of the job); `withheld`: the share of honest pay that is not. `gini` and `jain` are of honest clients' whole pay.
    Where there are costs, in mean costs of an honest update: `utility`: pay less costs per update sent, the mean of a
    role's clients; `profit`: the same in all, not per update, of all identities together for the deviating client;
    `stayed`: share of a role's clients who did not leave.

    `shapley_rank`: Spearman's correlation of the clients' whole pay with their Shapley values; `shapley_reliability`:
    that of their values on one half of the evaluation samples with those on the other.

    Where classes are watched, `class_accuracy` is of the last three evaluations, and so are in `watched` "accuracy"
    (the mean over the watched classes), "accuracy_others", "brier" and "calibration_error"
    (`learner.training.Quality`); its "wage" is that of honest clients with more than their share of the watched
    classes, "wage_others" that of the other honest ones, as multiples of the honest mean.
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
    staleness: float
    wasted: float
    rounds: int
    unpaid_rounds: int
    updates: int
    refused: dict[str, int]
    virtual_seconds: float
    vested_share: dict[str, float | None]
    withheld: dict[str, float]
    gini: float | None
    jain: float | None
    utility: dict[str, float] = {}
    profit: dict[str, float] = {}
    stayed: dict[str, float] = {}
    shapley_rank: float | None = None
    shapley_reliability: float | None = None
    watched: dict[str, float] = {}
    class_accuracy: dict[str, float] = {}


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
        self._watched, self._holders = started.watched, started.holders
        self._accounts: dict[int, _Account] = {}
        self._vesting = {name: Vesting(started.scoring, rounds) for name, rounds in VESTING_ROUNDS.items()}
        self._evaluations: list[Evaluated] = []
        self._rounds = self._unpaid = self._taken = self._delays = 0

    def decided(self, one: Round) -> None:
        """Count a round."""
        self._rounds += 1
        self._unpaid += not one.result.paid
        self._taken += len(one.records)
        for vesting in self._vesting.values():
            vesting.decided(one)
        self._delays += sum(delay(one.number, record.base) for record in one.records)
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
        earned = paid - stolen
        released = {name: vesting.end() for name, vesting in self._vesting.items()}
        all_pay = [
            float(sum(self._accounts[client].rewards_wei)) if client in self._accounts else 0.0
            for client, role in enumerate(self._roles)
            if role is not Role.ATTACKER
        ]
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
            staleness=_rounded(self._delays / self._taken) if self._taken else 0.0,
            wasted=_rounded(1 - self._taken / end.updates) if end.updates else 0.0,
            rounds=self._rounds,
            unpaid_rounds=self._unpaid,
            updates=end.updates,
            refused=end.refused,
            virtual_seconds=end.at_us / MICROSECONDS,
            vested_share={name: self._stolen(pay) for name, pay in released.items()},
            withheld={
                name: _rounded(1 - sum(pay.get(one, 0) for one in honest) / earned) if earned else 0.0
                for name, pay in released.items()
            },
            gini=_rounded_or_none(gini(all_pay)),
            jain=_rounded_or_none(jain(all_pay)),
            **self._profits(end),
            shapley_rank=_rounded_or_none(None if end.shapley is None else self._beside(end.shapley)),
            shapley_reliability=_rounded_or_none(None if end.shapley is None else end.shapley.reliability),
            **self._closely([one.quality for one in last if one.quality is not None], honest, mean),
        )

    def _closely(
        self, last: Sequence[Quality], honest: Mapping[int, _Account], mean: float
    ) -> dict[str, dict[str, float]]:
        """Hold the watched classes and their holders beside the others; nothing where none is watched."""
        if not last:
            return {}
        by_class = {
            of: fmean(seen)
            for of, column in enumerate(zip(*(one.by_class for one in last), strict=True))
            if (seen := [value for value in column if value is not None])
        }
        groups = {
            "accuracy": [value for of, value in by_class.items() if of in self._watched],
            "accuracy_others": [value for of, value in by_class.items() if of not in self._watched],
            "brier": [one.brier for one in last],
            "calibration_error": [one.calibration_error for one in last],
        }
        if mean:
            groups["wage"] = [one.wage / mean for client, one in honest.items() if client in self._holders]
            groups["wage_others"] = [one.wage / mean for client, one in honest.items() if client not in self._holders]
        return {
            "watched": {name: _rounded(fmean(values)) for name, values in groups.items() if values},
            "class_accuracy": {str(of): _rounded(value) for of, value in by_class.items()},
        }

    def _beside(self, values: Values) -> float | None:
        """Hold pay beside what updates were worth."""
        pay = [float(sum(self._accounts[client].rewards_wei)) for client in values.whole]
        return spearman(pay, [*values.whole.values()])

    def _stolen(self, released: Mapping[int, int]) -> float | None:
        total = sum(released.values())
        theirs = sum(pay for client, pay in released.items() if self._roles[client] is Role.ATTACKER)
        return _rounded(theirs / total) if total and Role.ATTACKER in self._roles else None

    def _profits(self, end: Finished) -> dict[str, dict[str, float]]:
        """Pay less costs by role, and who stayed; nothing without costs."""
        by_role: dict[str, list[tuple[float, float, bool]]] = {}
        for client, spent in enumerate(end.costs):
            rewards = self._accounts[client].rewards_wei if client in self._accounts else []
            profit = sum(rewards) * end.wei_worth - spent
            found = by_role.setdefault(str(self._roles[client]), [])
            found.append((profit, profit / end.sent[client] if end.sent[client] else 0.0, client not in end.left))
        return {
            "utility": {role: _rounded(fmean(own for _, own, _ in found)) for role, found in sorted(by_role.items())},
            "profit": {
                role: _rounded(
                    sum(own for own, _, _ in found) if role == Role.DEVIANT else fmean(own for own, _, _ in found)
                )
                for role, found in sorted(by_role.items())
            },
            "stayed": {role: _rounded(fmean(own for _, _, own in found)) for role, found in sorted(by_role.items())},
        }

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


def _rounded_or_none(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _rounded(value: float) -> float:
    return round(value, DIGITS)
