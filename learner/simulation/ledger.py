"""What the ledger does in a simulated run: takes records, selects rounds, scores, aggregates and pays.

Scores, weights, models and rewards come from `learner.rounds.compute` and `learner.rewards`, as on the ledger. Refused
are: what is too stale, a second record of a client and base, what does not pass the hold check, and copies.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from learner.fixedpoint import Model, Update, check_update
from learner.rewards import rewards, round_reward
from learner.rounds import Entry, RoundInputs, RoundResult, compute
from learner.staleness import delay
from learner.terms import Terms, check_terms


class Fate(StrEnum):
    """Why a record has no place in a round."""

    STALE = "stale"
    SURPLUS = "surplus"
    INVALID = "invalid"
    COPY = "copy"


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An available update: who sent it, from which version, when; `samples` are what the job credits to the client."""

    client: int
    base: int
    update: Update
    samples: int
    at_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A decided round: what it was computed from, what came out, and what each record earned in wei."""

    number: int
    at_us: int
    records: tuple[Record, ...]
    inputs: RoundInputs
    result: RoundResult
    rewards_wei: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Ledger:
    """The state of a simulated job.

    `models` holds the versions that a record may still have as its base; `rounds` the newest `kept_rounds` decided
    rounds, oldest first. `complete` is given the ledger and a round's inputs, and returns those inputs with what a
    scoring rule needs beyond the entries (references, history, earlier records); by default nothing.
    """

    terms: Terms
    model: Model
    base_reward_wei: int
    kept_rounds: int = 8
    complete: Callable[["Ledger", RoundInputs, Sequence[Record]], RoundInputs] | None = None
    version: int = 0
    models: dict[int, Model] = field(default_factory=dict)
    pending: list[Record] = field(default_factory=list)
    rounds: deque[Round] = field(default_factory=deque)
    refused: Counter[Fate] = field(default_factory=Counter)
    _payloads: set[bytes] = field(default_factory=set)
    _used: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Check the terms; the first model is version 0. Raises `InvalidTerms`."""
        check_terms(self.terms)
        self.models[0] = self.model
        self.rounds = deque(self.rounds, maxlen=self.kept_rounds)

    @property
    def oldest(self) -> int:
        """The oldest version that a record may have as its base."""
        return max(0, self.version - self.terms.max_staleness)

    def receive(self, record: Record) -> Fate | None:
        """Take an available record into the next round; else say why not."""
        fate = self._judge(record)
        if fate is None:
            self.pending.append(record)
        else:
            self.refused[fate] += 1
        return fate

    @property
    def full(self) -> bool:
        """Whether the next round has all of its records."""
        return len(self.pending) >= self.terms.phi

    def close(self, at_us: int) -> Round:
        """Decide the next round of at least one pending record, phi at most."""
        records = tuple(self.pending[: self.terms.phi])
        del self.pending[: len(records)]
        entries = [Entry(record.base, record.update, record.samples) for record in records]
        inputs = RoundInputs(self.terms, self.version + 1, self.model, entries, dict(self.models))
        if self.complete is not None:
            inputs = self.complete(self, inputs, records)
        result = compute(inputs)
        pot = round_reward(self.base_reward_wei, len(records), self.terms.phi)
        decided = Round(inputs.number, at_us, records, inputs, result, rewards(pot, result.thetas))
        self.rounds.append(decided)
        self.version, self.model = inputs.number, result.model
        self.models[self.version] = self.model
        for version in [one for one in self.models if one < self.oldest]:
            del self.models[version]
        self._used = {(client, base) for client, base in self._used if base >= self.oldest}
        return decided

    def _judge(self, record: Record) -> Fate | None:
        if delay(self.version + 1, record.base) > self.terms.max_staleness:
            return Fate.STALE
        if (record.client, record.base) in self._used:
            return Fate.SURPLUS
        refused = check_update(
            self.models[record.base],
            record.update,
            shift=self.terms.shift,
            norm_bound_squared=self.terms.norm_bound_squared,
        )
        if refused is not None:
            return Fate.INVALID
        self._used.add((record.client, record.base))
        payload = sha256(record.update.tobytes()).digest()
        if payload in self._payloads:
            return Fate.COPY
        self._payloads.add(payload)
        return None
