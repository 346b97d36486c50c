"""What the events say about one job's pay that vests: what is held of which round, and by which round it is settled.

Like `node.rounds.log`, a pure function of the event log. The pay of round q is settled by the records after the newest
agreed round up to q + `vests`, as soon as that many rounds are decided, or by those after the job's last agreed round
once it is closed. See RULES.md, "Pay that vests".
"""

from dataclasses import dataclass, field

from contracts import events
from contracts.digests import Attestation, Part, name32, text_of
from learner.contribution import History
from learner.vesting import fallen
from node.rounds.attestation import HISTORY
from node.rounds.log import BlockEvents, JobLog, JobStatus


@dataclass(slots=True)
class VestingLog:
    """The held pay of one job, advanced block by block with `observe`.

    `held`: by round, what each client was credited for it and is not settled, in wei. `judged`: the rounds of which the
    ledger knows whose records had fallen. `settled`: by client, what was settled: (its own, the sponsor's again).
    """

    job: int
    held: dict[int, dict[int, int]] = field(default_factory=dict)
    judged: set[int] = field(default_factory=set)
    settled: dict[int, list[events.Vested | events.Forfeited]] = field(default_factory=dict)

    def observe(self, block: BlockEvents, log: JobLog) -> None:
        """Apply one block's events, after the job's log has observed the block."""
        for event in block.events:
            if log.vests and getattr(event, "job", None) == self.job:
                self._apply(event)

    def _apply(self, event: events.Event) -> None:
        match event:
            case events.Credited() if event.reward:
                pay = self.held.setdefault(event.round, {})
                pay[event.client] = pay.get(event.client, 0) + event.reward
            case events.Judged():
                self.judged.add(event.round)
            case events.Vested() | events.Forfeited():
                self.settled.setdefault(event.round, []).append(event)
                pay = self.held[event.round]
                del pay[event.client]
                if not pay:
                    del self.held[event.round]
            case _:
                pass  # moves no held pay


def decider(round_: int, log: JobLog) -> int | None:
    """Return the round by whose records an agreed round's pay is settled, None while that is not known."""
    last = round_ + log.vests
    if last > log.version:
        if log.status is not JobStatus.CLOSED:
            return None
        last = log.version
    return next(number for number in range(last, 0, -1) if log.outcomes[number - 1].agreed)


def history_part(parts: tuple[Part, ...]) -> bytes:
    """Return the digest of what the rule remembers after a round, b"" if that is nothing."""
    return next((part.digest for part in parts if part.name == name32(HISTORY)), b"")


def agreed(round_: int, log: JobLog) -> tuple[Attestation, int]:
    """Return what a quorum attested of an agreed round, and the version of the rules it was scored by."""
    outcome = log.outcomes[round_ - 1]
    chosen = outcome.selection
    if chosen is None:
        message = f"round {round_} of job {log.job} was not agreed"
        raise ValueError(message)
    attested = Attestation(log.job, round_, chosen.height, len(chosen.records), chosen.spent, outcome.parts)
    return attested, log.terms_of(round_).rules_version


def fallen_after(round_: int, log: JobLog, history: History) -> frozenset[int]:
    """Return the clients whose record had fallen after a round, by what its rule remembered then."""
    return fallen(text_of(log.terms_of(round_).scoring), history)
