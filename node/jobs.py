"""The canonical job file: what a sponsor asks for, in TOML.

It is stored as a blob and named by its digest in the job's terms.
"""

import hashlib
from typing import Annotated

import msgspec
import tomli_w
from msgspec import Meta

from contracts.digests import MAX_VESTING, name32, text_of
from contracts.terms import JobTerms
from learner.allocation.planning import PlanTerms, check_plan_terms
from learner.contribution import rule
from learner.errors import InvalidTerms
from learner.objective import Objective, check_objective
from learner.terms import Terms, check_terms
from node.configuration import parse_toml

MemberNumber = Annotated[str, Meta(pattern="^[1-9][0-9]{0,18}$")]
"""A member id as a TOML key."""

Uint16 = Annotated[int, Meta(ge=0, lt=1 << 16)]
Uint32 = Annotated[int, Meta(ge=0, lt=1 << 32)]
Positive = Annotated[int, Meta(ge=1, lt=1 << 31)]


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which model is trained: a name that `learner.models` knows or `module:factory`, and its shape."""

    name: str
    features: Positive
    classes: Positive
    dimension: Positive


class Numerics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fixed point of updates and models; see `learner/RULES.md`."""

    fraction_bits: Annotated[int, Meta(ge=0, le=30)] = 12
    shift: Annotated[int, Meta(ge=0, le=16)] = 10
    norm_bound: Annotated[float, Meta(gt=0, le=1e9)] = 64.0
    """Largest Euclidean norm of an update, in the model's own units."""


class RoundSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a round closes and what it pays; times in seconds of block time, reward in whole tokens."""

    phi: Annotated[int, Meta(ge=0, le=1024)] = 10
    max_wait: Uint32 = 10
    base_reward: Annotated[int, Meta(ge=1, le=10**18)] = 100
    max_staleness: Uint16 = 8
    record_deadline: Uint32 = 20
    attestation_timeout: Uint32 = 30
    records_per_base: Annotated[int, Meta(ge=1, lt=1 << 16)] = 1


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of the rules and their version."""

    version: Uint16 = 1
    scoring: str = "cosine"
    aggregation: str = "literal"
    staleness: str = "constant"


class TrainingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the sponsor asks clients to do: train when `samples` new ones have come."""

    samples: Positive = 20
    epochs: Positive = 5
    batch: Positive = 10
    learning_rate: Annotated[float, Meta(gt=0, le=1e9)] = 0.01


class AllocationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How work is allocated to clients: by a rule of `learner/RULES.md`, "Who trains how much".

    `cycle_us`: T, in microseconds. A client gets `least_samples` to `most_samples` samples and 1 to `most_epochs`
    epochs; all together get `training.samples` each, on average. Who is not known yet makes one epoch on an eighth
    of that.
    """

    rule: str
    cycle_us: Annotated[int, Meta(ge=1, lt=1 << 32)]
    least_samples: Positive = 1
    most_samples: Positive
    most_epochs: Positive = 64

    def terms(self, training: TrainingSpec, round_: RoundSpec, rules_version: int) -> PlanTerms:
        """Return what plans depend on under these rules."""
        return PlanTerms(
            rule=self.rule,
            rules_version=rules_version,
            cycle_us=self.cycle_us,
            samples=training.samples,
            least_samples=self.least_samples,
            most_samples=self.most_samples,
            most_epochs=self.most_epochs,
            forget_after=4 * (round_.max_staleness + 1),
        )


class ReferencesSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the sponsor asks of edge servers under a rule that reads references: private labelled samples of their own.

    `root_samples`: how many each should have; how many it has is its own word. `objective`: what they are to teach.
    """

    root_samples: Positive = 100
    objective: Objective = Objective()


class VestingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Pay that vests: what a round credits is settled `rounds` rounds later, or when the job is closed before.

    A client whose record with the scoring rule stands then is paid, what others would have had is the sponsor's again.
    """

    rounds: Annotated[int, Meta(ge=1, le=MAX_VESTING)]


class JobFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole job file. `samples` declares each client's data size (for the data-size baseline), by member id.

    A job without `allocation` has no such table, and its updates have no report. One without `references` takes no rule
    that reads what edge servers publish. One without `vesting` pays at once.
    """

    title: str
    model: ModelSpec
    numerics: Numerics = Numerics()
    round: RoundSpec = RoundSpec()
    rules: Rules = Rules()
    training: TrainingSpec = TrainingSpec()
    samples: dict[MemberNumber, Annotated[int, Meta(ge=0)]] = {}
    allocation: AllocationSpec | None = None
    references: ReferencesSpec | None = None
    vesting: VestingSpec | None = None

    def encode(self) -> bytes:
        """Return the canonical TOML bytes."""
        values = msgspec.to_builtins(self)
        for table in ("allocation", "references", "vesting"):
            if getattr(self, table) is None:
                del values[table]
        if self.objective == Objective() and self.references is not None:
            del values["references"]["objective"]
        return tomli_w.dumps(values).encode()

    @property
    def objective(self) -> Objective:
        """Return what references are to teach; the ordinary one if the job says nothing."""
        return Objective() if self.references is None else self.references.objective

    @property
    def class_weights(self) -> tuple[int, ...]:
        """Return what each class counts in ppb of the one that counts most; () if all count alike."""
        return self.objective.prices(self.model.classes)

    def samples_by_member(self) -> dict[int, int]:
        """Return the declared data size of each client, by member id."""
        return {int(member): size for member, size in self.samples.items()}

    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.encode()).digest()

    @property
    def vests(self) -> int:
        """Return after how many rounds pay is settled; 0 if it is paid at once."""
        return 0 if self.vesting is None else self.vesting.rounds

    def learner_terms(self) -> Terms:
        """Return the terms that the numbers depend on.

        Raises:
            learner.errors.InvalidTerms: a bound of RULES.md does not hold.
            learner.errors.UnknownRule: the scoring rule is of a package that is not here.

        """
        terms = self.unchecked_terms()
        check_terms(terms, context=True)
        self._check_needs(terms)
        return terms

    def unchecked_terms(self) -> Terms:
        """Return the same as the file has them: enough to make an update, for which nobody needs the scoring rule."""
        return Terms(
            dimension=self.model.dimension,
            fraction_bits=self.numerics.fraction_bits,
            shift=self.numerics.shift,
            norm_bound_squared=int((self.numerics.norm_bound * 2**self.numerics.fraction_bits) ** 2),
            phi=self.round.phi,
            max_staleness=self.round.max_staleness,
            scoring=self.rules.scoring,
            aggregation=self.rules.aggregation,
            staleness=self.rules.staleness,
            rules_version=self.rules.version,
        )

    def _check_needs(self, terms: Terms) -> None:
        needs = rule(terms.scoring, terms.rules_version).needs
        if needs.sums:
            allowed = "a rule that needs no sums of updates: a ledger keeps none"
            raise InvalidTerms(field="scoring", value=terms.scoring, allowed=allowed)
        if needs.references and self.references is None:
            allowed = "with a table [references], for this rule reads what edge servers publish"
            raise InvalidTerms(field="scoring", value=terms.scoring, allowed=allowed)
        if self.objective != Objective() and not needs.references:
            allowed = "a rule that reads references, for the job has an objective of them"
            raise InvalidTerms(field="scoring", value=terms.scoring, allowed=allowed)
        check_objective(self.objective, self.model.classes)

    def plan_terms(self, rules_version: int) -> PlanTerms | None:
        """Return what plans depend on under these rules, None for a job that allocates nothing."""
        asked = self.allocation
        return None if asked is None else asked.terms(self.training, self.round, rules_version)

    def ledger_terms(self, *, model: bytes, edge_set: int) -> JobTerms:
        """Return the terms as the Ledger stores them; `model` is the digest of model 0's blob.

        Raises:
            learner.errors.LearnerError: a bound of RULES.md does not hold, or a rule is unknown.

        """
        terms = self.learner_terms()
        if (planned := self.plan_terms(terms.rules_version)) is not None:
            check_plan_terms(planned)
        return JobTerms(
            dimension=terms.dimension,
            fraction_bits=terms.fraction_bits,
            shift=terms.shift,
            norm_bound_squared=terms.norm_bound_squared,
            phi=terms.phi,
            max_wait=self.round.max_wait,
            base_reward=self.round.base_reward * 10**18,
            rules_version=terms.rules_version,
            scoring=name32(terms.scoring),
            aggregation=name32(terms.aggregation),
            staleness=name32(terms.staleness),
            max_staleness=terms.max_staleness,
            record_deadline=self.round.record_deadline,
            attestation_timeout=self.round.attestation_timeout,
            records_per_base=self.round.records_per_base,
            edge_set=edge_set,
            job_file=self.digest(),
            model=model,
        )


def decode_job_file(data: bytes) -> JobFile:
    """Parse a job file.

    Raises:
        ConfigError: not TOML, an unknown key, a wrong value.

    """
    return parse_toml(data, JobFile, "job file")


def learner_terms(terms: JobTerms) -> Terms:
    """Return the learner's terms of a job as the ledger stores it."""
    return Terms(
        dimension=terms.dimension,
        fraction_bits=terms.fraction_bits,
        shift=terms.shift,
        norm_bound_squared=terms.norm_bound_squared,
        phi=terms.phi,
        max_staleness=terms.max_staleness,
        scoring=text_of(terms.scoring),
        aggregation=text_of(terms.aggregation),
        staleness=text_of(terms.staleness),
        rules_version=terms.rules_version,
    )
