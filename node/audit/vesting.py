"""Audits held pay: who had fallen is computed again, and each settlement must follow from it.

What a settlement moves, and that nothing is lost, are the books' business (`node.audit.book`).
"""

from dataclasses import dataclass, field

from contracts import events as kinds
from contracts.digests import fallen_words
from contracts.events import Event
from learner.contribution import History
from node.audit.report import ExplainedSettlement
from node.rounds.log import JobLog
from node.rounds.vesting import decider, fallen_after


@dataclass(frozen=True, slots=True)
class Step:
    """One event about held pay: what it must say, what it says, what is counted, and why a client is paid or not."""

    expected: str
    found: str
    counted: str
    explained: ExplainedSettlement | None = None


@dataclass(slots=True)
class VestingAudit:
    """The held pay of one job.

    `histories`: what the scoring rule remembers after each round that was computed again. `said`: whose record had
    fallen, as the ledger says it, for rounds that could not be.
    """

    log: JobLog
    histories: dict[int, History] = field(default_factory=dict)
    said: dict[int, tuple[int, ...]] = field(default_factory=dict)
    held: dict[tuple[int, int], int] = field(default_factory=dict)

    def computed(self, number: int, history: History) -> None:
        """Note what the rule remembers after a round."""
        if self.log.vests:
            self.histories[number] = history

    def step(self, event: Event) -> Step | None:
        """Judge an event of the job; None if it is not about held pay."""
        if not self.log.vests:
            return None
        match event:
            case kinds.Credited():
                key = event.round, event.client
                if event.reward:
                    self.held[key] = self.held.get(key, 0) + event.reward
                return None
            case kinds.Judged():
                self.said[event.round] = event.fallen
                return Step(_words(self._words(event.round)), _words(event.fallen), "rounds judged again")
            case kinds.Vested() | kinds.Forfeited():
                return self._settled(event)
            case _:
                return None

    def _settled(self, event: kinds.Vested | kinds.Forfeited) -> Step:
        amount = self.held.pop((event.round, event.client), 0)
        judge = decider(event.round, self.log)
        words = () if judge is None else self._words(judge)
        index, bit = divmod(event.client, 256)
        lost = index < len(words) and bool(words[index] >> bit & 1)
        history = self.histories.get(event.judge, {})
        explained = ExplainedSettlement(
            job=event.job,
            round=event.round,
            client=event.client,
            judge=event.judge,
            amount_wei=event.amount,
            stands=isinstance(event, kinds.Vested),
            remembered=tuple(history.get(event.client, ())),
        )
        expected = _text(judge, amount, stands=not lost)
        found = _text(event.judge, event.amount, stands=isinstance(event, kinds.Vested))
        return Step(expected, found, "settlements", explained)

    def _words(self, number: int) -> tuple[int, ...]:
        """Return who had fallen after a round; as the ledger says it where the round could not be computed again."""
        if number not in self.histories:
            return self.said.get(number, ())
        return fallen_words(fallen_after(number, self.log, self.histories[number]))

    def remarks(self) -> list[str]:
        """Name the rounds whose pay is due and not settled."""
        due = sorted({number for number, _ in self.held if decider(number, self.log) is not None})
        return [f"job {self.log.job} round {number}: its pay is due and not settled yet" for number in due]


def _words(words: tuple[int, ...]) -> str:
    bits = ((256 * index + bit, word >> bit & 1) for index, word in enumerate(words) for bit in range(256))
    return f"fallen clients {', '.join(str(client) for client, set_ in bits if set_) or 'none'}"


def _text(judge: int | None, amount: int, *, stands: bool) -> str:
    if judge is None:
        return "nothing settled: the pay is not due"
    return f"{amount} wei {'released' if stands else 'forfeited'} by the record after round {judge}"
