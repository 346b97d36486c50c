"""What a run's events add up to: one fold that the live table and the report share. Starts after a stop are merged."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Self

import numpy as np

from learner.allocation.instance import pair_sum
from node.run.events import (
    Accuracy,
    Allocated,
    AuditVerdict,
    Event,
    PaySettled,
    RecordPaid,
    Refusals,
    RoundDone,
    RunFinished,
    RunStarted,
)

PPB = 10**9


@dataclass(frozen=True, slots=True)
class ClientSummary:
    """What became of one client; means are over its consumed records and None without any."""

    client: int
    records: int
    mean_theta: float | None
    mean_delay: float | None
    tau_avg: float | None
    reward_wei: int
    vested_wei: int
    forfeited_wei: int
    data_size: int | None
    slow: bool


@dataclass(frozen=True, slots=True)
class RewardCheck:
    """Whether what the clients got is what the paid rounds owe, to the wei.

    A full round owes the base reward, one of k < phi records base * k // phi. The log names no base reward: it is
    what the first full paid round paid, and a round that paid anything else breaks the check. Without a full round
    `base_wei` is None and each round owes what it says.
    """

    base_wei: int | None
    full_rounds: int
    partial_rounds: int
    owed_wei: int
    credited_wei: int
    ledger_wei: int | None
    """What the run counted as paid when it finished; None before."""

    @property
    def holds(self) -> bool:
        """Whether all of the sums are equal."""
        return self.credited_wei == self.owed_wei and self.ledger_wei in {None, self.credited_wei}


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan in numbers: the average and the greatest |tau_k - tau_l| over all pairs of its clients, in epochs.

    The average is equation 13 of arXiv 1905.01656, `pair_sum` over the number of pairs (0 for one client).
    """

    version: int
    seconds: float
    clients: int
    samples: int
    epochs: int
    pair_sum: int
    average_staleness: float
    max_staleness: int

    @classmethod
    def of(cls, plan: Allocated) -> Self:
        """Sum a plan up."""
        tau = np.array([share.epochs for share in plan.shares] or [0], dtype=np.int64)
        pairs, count = pair_sum(tau), len(plan.shares)
        return cls(
            version=plan.version,
            seconds=plan.seconds,
            clients=count,
            samples=sum(share.samples for share in plan.shares),
            epochs=int(tau.sum()),
            pair_sum=pairs,
            average_staleness=pairs / max(1, count * (count - 1) // 2),
            max_staleness=int(tau.max() - tau.min()),
        )


class History:
    """The state of a run after the events that were fed.

    A round, or the accuracy of a version, that is told again after a restart changes nothing: the first one counts.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        """Start from these events."""
        self.started: RunStarted | None = None
        self.finished: RunFinished | None = None
        self.seconds = 0.0
        """Of the newest event."""
        self.updates = 0
        """Records that rounds consumed."""
        self.credited_wei = 0
        """What they earned in sum."""
        self.resumed_at: list[float] = []
        self._rounds: dict[int, RoundDone] = {}
        self._settled: dict[int, PaySettled] = {}
        self._accuracy: dict[int, Accuracy] = {}
        self._allocated: dict[int, Allocated] = {}
        self._refused_before: Counter[str] = Counter()
        self._refused: dict[int, dict[str, int]] = {}
        for event in events:
            self.feed(event)

    def feed(self, event: Event) -> None:
        """Take one more event."""
        self.seconds = max(self.seconds, event.seconds)
        match event:
            case RunStarted():
                if self.started is None:
                    self.started = event
                else:
                    self.resumed_at.append(event.seconds)
                    self.finished = None  # its sums and its audit are those of a shorter run
                    self._refused_before = self.refused
                    self._refused = {}
            case RoundDone():
                if event.round not in self._rounds:
                    self._rounds[event.round] = event
                    self.updates += len(event.records)
                    self.credited_wei += sum(int(record.reward_wei) for record in event.records)
            case PaySettled():
                self._settled.setdefault(event.round, event)
            case Allocated():
                self._allocated.setdefault(event.version, event)
            case Accuracy():
                self._accuracy.setdefault(event.version, event)
            case Refusals():
                self._refused[event.edge_server] = event.counts
            case RunFinished():
                self.finished = event

    @property
    def rounds(self) -> list[RoundDone]:
        """The decided rounds in order."""
        return list(self._rounds.values())

    @property
    def version(self) -> int:
        """The version that the run is for: what it says at its end, before that the planned one, at most the newest."""
        newest = len(self._rounds)
        if self.finished is not None:
            return newest if self.finished.version is None else self.finished.version
        return newest if self.started is None else min(newest, self.started.rounds)

    @property
    def run_accuracy(self) -> Accuracy | None:
        """The measurement of that version, or of the last one before it that was measured."""
        versions = [version for version in self._accuracy if version <= self.version]
        return self._accuracy[max(versions)] if versions else None

    @property
    def rounds_after(self) -> list[RoundDone]:
        """The rounds after that version: a job that closes pays what was recorded before."""
        return [done for done in self._rounds.values() if done.round > self.version]

    @property
    def settling(self) -> str:
        """One line about these rounds; empty without any."""
        after = self.rounds_after
        if not after:
            return ""
        records = sum(len(done.records) for done in after)
        return (
            f"{len(after)} more round{'' if len(after) == 1 else 's'} after version {self.version} settled "
            f"{records} record{'' if records == 1 else 's'} that came before the job closed"
        )

    @property
    def slowness(self) -> str:
        """One line for a run in most of whose rounds records waited for the machine; empty for others."""
        waited = sum(done.waited for done in self._rounds.values())
        if 2 * waited <= len(self._rounds):
            return ""
        return (
            f"clients send faster than this machine decides rounds, so updates are stale: in {waited} of "
            f"{len(self._rounds)} rounds every record had come before the round before was decided; "
            "lower --clients or raise --interval"
        )

    @property
    def settled(self) -> list[PaySettled]:
        """How the pay of rounds was settled where it vests, in the order of rounds."""
        return [self._settled[round_] for round_ in sorted(self._settled)]

    @property
    def accuracies(self) -> list[Accuracy]:
        """The measurements, in the order of versions."""
        return [self._accuracy[version] for version in sorted(self._accuracy)]

    @property
    def plans(self) -> list[PlanSummary]:
        """What was allocated, in the order of versions."""
        return [PlanSummary.of(self._allocated[version]) for version in sorted(self._allocated)]

    @property
    def newest_plan(self) -> Allocated | None:
        """The newest plan; None where work is not allocated."""
        return self._allocated[max(self._allocated)] if self._allocated else None

    def accuracy_of(self, version: int) -> float | None:
        """Test accuracy of a version; None if it was not measured (yet)."""
        measured = self._accuracy.get(version)
        return None if measured is None else measured.accuracy

    @property
    def newest_accuracy(self) -> Accuracy | None:
        """The measurement of the newest version that was measured."""
        return self._accuracy[max(self._accuracy)] if self._accuracy else None

    @property
    def refused(self) -> Counter[str]:
        """What the edge servers' intakes refused over all starts, by kind."""
        total = Counter(self._refused_before)
        for counts in self._refused.values():
            total.update(counts)
        return total

    @property
    def skipped(self) -> Counter[str]:
        """Records that selections passed over, by status."""
        total: Counter[str] = Counter()
        for done in self._rounds.values():
            total.update(done.skipped)
        return total

    @property
    def records(self) -> list[RecordPaid]:
        """The records that rounds consumed, in their order."""
        return [record for done in self._rounds.values() for record in done.records]

    @property
    def audit(self) -> AuditVerdict | None:
        """What the run's own audit found; None before."""
        return None if self.finished is None else self.finished.audit

    def round_interval(self, newest: int) -> float | None:
        """Mean seconds a round over the newest rounds since the last start; None before there are two."""
        since = self.resumed_at[-1] if self.resumed_at else 0.0
        times = [done.seconds for done in self.rounds[-newest:] if done.seconds >= since]
        return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None

    def reward_check(self) -> RewardCheck:
        """Compare what the clients got with what the paid rounds owe."""
        paid = [done for done in self._rounds.values() if done.paid]
        full = [done for done in paid if len(done.records) >= done.phi]
        base = int(full[0].reward_wei) if full else None
        owed = sum(
            int(done.reward_wei) if base is None else base * min(len(done.records), done.phi) // max(done.phi, 1)
            for done in paid
        )
        return RewardCheck(
            base_wei=base,
            full_rounds=len(full),
            partial_rounds=len(paid) - len(full),
            owed_wei=owed,
            credited_wei=self.credited_wei,
            ledger_wei=None if self.finished is None else int(self.finished.paid_wei),
        )

    def clients(self) -> list[ClientSummary]:
        """Every client that the run names, best paid first."""
        by_client: dict[int, list[RecordPaid]] = {}
        for record in self.records:
            by_client.setdefault(record.client, []).append(record)
        sizes = {} if self.finished is None else self.finished.data_sizes
        averages = {} if self.finished is None else self.finished.tau_avg
        slow = () if self.finished is None else self.finished.slow_clients
        vested, forfeited = Counter[int](), Counter[int]()
        for settled in self._settled.values():
            vested.update({client: int(amount) for client, amount in settled.vested_wei.items()})
            forfeited.update({client: int(amount) for client, amount in settled.forfeited_wei.items()})
        summaries = []
        for client in sorted({*by_client, *sizes, *averages, *slow}):
            records = by_client.get(client, [])
            summaries.append(
                ClientSummary(
                    client=client,
                    records=len(records),
                    mean_theta=fmean(record.theta_ppb for record in records) / PPB if records else None,
                    mean_delay=fmean(record.delay for record in records) if records else None,
                    tau_avg=averages.get(client),
                    reward_wei=sum(int(record.reward_wei) for record in records),
                    vested_wei=vested[client],
                    forfeited_wei=forfeited[client],
                    data_size=sizes.get(client),
                    slow=client in slow,
                )
            )
        return sorted(summaries, key=lambda summary: (-summary.reward_wei, summary.client))
