"""What the ledger does in a simulated run: takes records, selects rounds, scores, aggregates and pays.

Scores, weights, models and rewards come from `learner.rounds.compute` and `learner.rewards`, as on the ledger. Refused
are: what is too stale, a second record of a client and base, what does not pass the hold check, and copies.

Edge servers commit to their references of a version when it is made, and open them with the first round that uses them.
A record counts against those of its base if they were still sealed when it came, else against the newest version's.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import TypeAlias

from learner.allocation.plan import Plan
from learner.allocation.planning import PlanTerms, Work, next_plan
from learner.context import Context, step_between
from learner.contribution import Needs, rule
from learner.fixedpoint import Model, Update, check_update
from learner.references import References
from learner.rewards import rewards, round_reward
from learner.rounds import Entry, RoundInputs, RoundResult, compute
from learner.staleness import delay, next_phi
from learner.terms import MAX_PHI, Terms, check_terms

Publish: TypeAlias = Callable[[int, Model], Sequence[References]]
"""(version, model int32[d]) -> what each edge server publishes of that version."""


class Fate(StrEnum):
    """Why a record has no place in a round."""

    STALE = "stale"
    SURPLUS = "surplus"
    INVALID = "invalid"
    COPY = "copy"


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An available update: who sent it, from which version, when; `samples` are what the job credits to the client.

    `work`: what the client reports of it. `beside`: the version whose references it is held
    beside, for the ledger to say.
    """

    client: int
    base: int
    update: Update
    samples: int
    at_us: int
    work: Work | None = None
    beside: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A decided round: what it was computed from, what came out, what each record earned in wei, and the next plan."""

    number: int
    at_us: int
    records: tuple[Record, ...]
    inputs: RoundInputs
    result: RoundResult
    rewards_wei: tuple[int, ...]
    plan: Plan | None = None


@dataclass(slots=True, eq=False)
class Ledger:
    """The state of a simulated job.

    `models` holds the versions that a record may still have as its base. `publish` makes what the edge servers publish
    of a version (its number, the model); it is asked once for each version, and only by a rule that needs references.
    `context` grows and shrinks with the rounds: it holds what the scoring rule needs, and no more. `plan` tells clients
    how much to do where there are `plan_terms`. Unless `sealed`, every record counts against the references of its
    base, though they be open; `opened` are the versions whose references are. A round takes `phi` records: the job's,
    or with a `target_staleness` as many, up to `most_phi`, as bring their mean delay there.
    """

    terms: Terms
    model: Model
    base_reward_wei: int
    publish: Publish
    plan_terms: PlanTerms | None = None
    sealed: bool = True
    target_staleness: int | None = None
    most_phi: int = MAX_PHI
    version: int = 0
    models: dict[int, Model] = field(default_factory=dict)
    pending: list[Record] = field(default_factory=list)
    context: Context = field(default_factory=Context)
    plan: Plan = field(default_factory=lambda: Plan(0))
    phi: int = field(init=False)
    opened: set[int] = field(default_factory=set)
    refused: Counter[Fate] = field(default_factory=Counter)
    _needs: Needs = field(default_factory=Needs)
    _payloads: set[bytes] = field(default_factory=set)
    _used: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Check the terms; the first model is version 0.

        Raises `InvalidTerms`.
        """
        check_terms(self.terms, context=True)
        self.phi = self.terms.phi
        self._needs = rule(self.terms.scoring, self.terms.rules_version).needs
        self._keep(0, self.model)

    @property
    def oldest(self) -> int:
        """The oldest version that a record may have as its base."""
        return max(0, self.version - self.terms.max_staleness)

    def receive(self, record: Record) -> Fate | None:
        """Take an available record into the next round; else say why not."""
        fate = self._judge(record)
        if fate is None:
            newer = self.sealed and record.base in self.opened
            self.pending.append(replace(record, beside=self.version if newer else record.base))
        else:
            self.refused[fate] += 1
        return fate

    @property
    def full(self) -> bool:
        """Whether the next round has all of its records."""
        return len(self.pending) >= self.phi

    def close(self, at_us: int) -> Round:
        """Decide the next round of at least one pending record, phi at most; its pot grows with their number."""
        records = tuple(self.pending[: self.phi])
        del self.pending[: len(records)]
        entries = [
            Entry(record.base, record.update, record.samples, record.client, record.beside) for record in records
        ]
        inputs = RoundInputs(self.terms, self.version + 1, self.model, entries, dict(self.models), self.context)
        result = compute(inputs)
        pot = round_reward(self.base_reward_wei, len(records), self.terms.phi)
        if self.plan_terms is not None:
            done = [record.work for record in records if record.work is not None]
            self.plan = next_plan(self.plan, inputs.number, done, self.plan_terms)
        plan = None if self.plan_terms is None else self.plan
        decided = Round(inputs.number, at_us, records, inputs, result, rewards(pot, result.thetas), plan)
        self._remember(decided)
        if self.target_staleness is not None:
            delays = [delay(decided.number, record.base) for record in records]
            self.phi = next_phi(self.phi, delays, target=self.target_staleness, most=self.most_phi)
        return decided

    def _remember(self, decided: Round) -> None:
        """Make the round's model current, and keep of the round what later ones need."""
        number, result, window = decided.number, decided.result, self._needs.window
        if self.context.references:
            self.opened |= {record.base if record.beside is None else record.beside for record in decided.records}
        if self._needs.newest_root:
            self.opened.add(number - 1)
        records, steps = dict(self.context.records), dict(self.context.steps)
        if window is not None:
            records[number] = [record.update for record in decided.records]
            steps[number] = step_between(self.model, result.model, self.terms.shift)
            records = {past: kept for past, kept in records.items() if past > number - window.rounds}
            steps = {past: kept for past, kept in steps.items() if past > number - window.steps}
        self.context = replace(self.context, records=records, steps=steps, history=result.history, sums=result.sums)
        self._keep(number, result.model)
        self._used = {(client, base) for client, base in self._used if base >= self.oldest}

    def _keep(self, version: int, model: Model) -> None:
        """Make a model current, with what is published of it; drop what no record can start from any more."""
        self.version, self.model = version, model
        self.models[version] = model
        published = dict(self.context.references)
        if self._needs.references:
            published[version] = self.publish(version, model)
        self.models = {kept: one for kept, one in self.models.items() if kept >= self.oldest}
        published = {kept: one for kept, one in published.items() if kept >= self.oldest}
        self.opened = {kept for kept in self.opened if kept >= self.oldest}
        self.context = replace(self.context, references=published)

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
