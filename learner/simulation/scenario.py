"""What a simulated run depends on: equal scenarios give equal bytes (on one machine and with the same packages)."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from learner.allocation.planning import PlanTerms, check_plan_terms
from learner.attacks import AnyAttack, AnyLie, Negated
from learner.data.mnist import CLASSES
from learner.errors import InvalidScenario
from learner.objective import Objective, check_objective
from learner.simulation.deviation import AnyDeviation
from learner.terms import MAX_PHI, Terms

Count = Annotated[int, msgspec.Meta(ge=1)]
Clients = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Phi = Annotated[int, msgspec.Meta(ge=1, le=MAX_PHI)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]
AtLeast0 = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a scenario."""


class _Kind(_Part, frozen=True, tag_field="kind"):
    """A part of which there are several kinds; in a file, `kind` says which."""


class IID(_Kind, frozen=True, tag="iid"):
    """Each client has a random share of all samples."""


class LabelShards(_Kind, frozen=True, tag="label-shards"):
    """Each client has so many pieces of one label (arXiv 1602.05629)."""

    shards: Count = 2


class Dirichlet(_Kind, frozen=True, tag="dirichlet"):
    """Each client has a Dirichlet share of each label (arXiv 1909.06335)."""

    alpha: Above0 = 0.5


class QuantitySkew(_Kind, frozen=True, tag="quantity-skew"):
    """All labels, but sizes from a Dirichlet distribution (arXiv 2102.02079)."""

    beta: Above0 = 0.5


class FeatureSkew(_Kind, frozen=True, tag="feature-skew"):
    """IID, but client i of n sees through noise of standard deviation `deviation` * i / (n - 1) (arXiv 2102.02079)."""

    deviation: AtLeast0 = 0.3


Partition: TypeAlias = IID | LabelShards | Dirichlet | QuantitySkew | FeatureSkew


class LogNormal(_Kind, frozen=True, tag="log-normal"):
    """An update takes `seconds` * LogN(0, `clients`) of its client * LogN(0, `updates`) of its own."""

    seconds: Above0 = 1.0
    clients: AtLeast0 = 1.0
    updates: AtLeast0 = 0.3


class DeviceClass(_Part, frozen=True):
    """A kind of device: how often it occurs, its time for one sample of one epoch and for the transfers, and its draw.

    `watts` while it trains: a few, as phones and single-board computers draw under load.
    """

    weight: Above0
    milliseconds_per_sample: Above0
    transfer_seconds: AtLeast0 = 0.0
    watts: Above0 = 5.0


class DeviceClasses(_Kind, frozen=True, tag="device-classes"):
    """An update takes (samples * epochs * time per sample + transfers) of its client's class * LogN(0, `updates`)."""

    classes: Annotated[tuple[DeviceClass, ...], msgspec.Meta(min_length=1)] = (
        DeviceClass(weight=0.3, milliseconds_per_sample=0.5, transfer_seconds=0.1, watts=10.0),
        DeviceClass(weight=0.5, milliseconds_per_sample=2.0, transfer_seconds=0.3, watts=5.0),
        DeviceClass(weight=0.2, milliseconds_per_sample=8.0, transfer_seconds=1.0, watts=3.0),
    )
    updates: AtLeast0 = 0.3


Speed: TypeAlias = LogNormal | DeviceClasses


class Mobility(_Part, frozen=True):
    """Clients come and go: connected and away for exponential times of these means.

    Who is away when its turn comes starts on return, and holds its turn meanwhile; who finishes while away sends then.
    """

    connected_seconds: Above0 = 20.0
    away_seconds: Above0 = 5.0


class Asynchronous(_Kind, frozen=True, tag="asynchronous"):
    """The ledger's rounds: the next `phi` updates, or those that are there after `max_wait_seconds`.

    `concurrency` clients train at a time, each at random among those that are free; 0: all. With a `target_staleness`
    (versions) rounds grow and shrink one by one from `phi`, to `concurrency` at most (`learner.staleness.next_phi`).
    """

    phi: Phi = 10
    concurrency: Annotated[int, msgspec.Meta(ge=0)] = 20
    max_wait_seconds: Above0 = 1_000.0
    target_staleness: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Synchronous(_Kind, frozen=True, tag="synchronous"):
    """Classic federated averaging: `phi` clients train from one version, and the round waits for the last of them."""

    phi: Phi = 10


Server: TypeAlias = Asynchronous | Synchronous


class Edge(_Part, frozen=True):
    """The edge servers' root samples, for scoring rules that need references.

    `root_samples` for each server, held out of the training samples. `sketch_buckets`: publish sketches of so many
    buckets, a power of two; 0: whole vectors. The first `lying` servers tell the `lie`. `sealed`: a record whose base's
    references are open already counts against the newest version's, which are not. `objective`: what references
    teach; its edge servers are numbered from 1.
    """

    servers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    root_samples: Count = 50
    sketch_buckets: Annotated[int, msgspec.Meta(ge=0)] = 0
    lying: Annotated[int, msgspec.Meta(ge=0)] = 0
    lie: AnyLie = Negated()
    sealed: bool = True
    objective: Objective = Objective()


class Costs(_Part, frozen=True):
    """What taking part costs, and what pay is worth; for the figures alone (`learner.simulation.costs`).

    `worth`: what an update earns on average, as a multiple of what an honest client's costs on average. Defaults: a
    household's electricity in the European Union, a prepaid mobile plan, a device of 60 euro used up in three years.
    """

    worth: Above0 = 2.0
    euro_per_kwh: AtLeast0 = 0.29
    euro_per_gigabyte: AtLeast0 = 1.0
    euro_per_device_hour: AtLeast0 = 0.0023


class Leaving(_Part, frozen=True):
    """A client leaves for good once its pay is worth less than its costs, after so many updates sent or more."""

    after: Count = 5


class Rules(_Part, frozen=True):
    """The job terms that scoring, aggregation and pay depend on; names as in RULES.md."""

    scoring: str = "cosine"
    aggregation: str = "delta"
    staleness: str = "polynomial"
    version: int = 1
    max_staleness: Annotated[int, msgspec.Meta(ge=0)] = 16
    fraction_bits: int = 12
    shift: int = 10
    norm_bound: Above0 = 64.0
    base_reward_wei: Annotated[int, msgspec.Meta(ge=1, le=10**18)] = 10**18


class Training(_Part, frozen=True):
    """How clients train."""

    epochs: Count = 1
    batch_size: Count = 50
    learning_rate: Above0 = 0.1
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0


class Outliers(_Part, frozen=True):
    """Honest clients who are unlike the others and must not be starved; how many of each.

    `rare`: who alone have samples of `rare_label`; `small`: who have `small_share` of the samples dealt to them;
    `slow`: who take `slow_factor` times as long.
    """

    rare: Annotated[int, msgspec.Meta(ge=0)] = 0
    rare_label: Annotated[int, msgspec.Meta(ge=0)] = 0
    small: Annotated[int, msgspec.Meta(ge=0)] = 0
    small_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    slow: Annotated[int, msgspec.Meta(ge=0)] = 0
    slow_factor: Annotated[float, msgspec.Meta(ge=1)] = 5.0


class Allocation(_Part, frozen=True):
    """Who trains how much: each update is so many epochs on so many samples of its client's stream.

    `rule` "same": all make the job's `training.epochs` on `samples`, however long that takes them; "equal" and "exact":
    by the plan of RULES.md, "Who trains how much", within a cycle of `cycle_seconds`.
    """

    rule: Literal["same", "equal", "exact"] = "exact"
    cycle_seconds: Annotated[float, msgspec.Meta(gt=0, lt=4_000)] = 4.0
    samples: Count = 20
    least_samples: Count = 1
    most_samples: Count = 80
    most_epochs: Count = 64


class Scenario(_Part, frozen=True):
    """One run: who learns what, how fast, by which rules, and who attacks.

    `data` names the data set. `rounds`: after how many the run ends, or with the first one after `seconds` of virtual
    time (0: by rounds alone). The model is evaluated after every
    `evaluate_every` of them on the first `evaluation_samples` test samples (0: all). A share `attackers` of the clients
    makes the `attack`; with none they are as honest as the others, and if `attackers_away` they take no part at all.
    Without an `allocation` an update is `training.epochs` on all samples of its client. One plain client does as the
    `deviation` says; `costs` and who is `leaving` for them want speeds of device classes. With
    `shapley_permutations` the Shapley values of each round are measured on the evaluation samples (`truth.py`). With
    `watched` classes the figures tell apart who has more than a fair share of them, and look closely at evaluations.
    """

    data: Literal["digits", "mnist"] = "digits"
    model: str = "mlp"
    clients: Clients = 100
    rounds: Count = 50
    seconds: AtLeast0 = 0.0
    partition: Partition = LabelShards()
    speed: Speed = LogNormal()
    mobility: Mobility | None = None
    server: Server = Asynchronous()
    rules: Rules = Rules()
    edge: Edge = Edge()
    training: Training = Training()
    allocation: Allocation | None = None
    outliers: Outliers = Outliers()
    deviation: AnyDeviation | None = None
    costs: Costs | None = None
    leaving: Leaving | None = None
    attack: AnyAttack | None = None
    attackers: Share = 0.25
    attackers_away: bool = False
    evaluate_every: Count = 5
    evaluation_samples: Annotated[int, msgspec.Meta(ge=0)] = 0
    shapley_permutations: Annotated[int, msgspec.Meta(ge=0)] = 0
    watched: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()
    seed: int = 0

    @property
    def attacking(self) -> int:
        """How many clients are attackers."""
        return round(self.attackers * self.clients)

    def terms(self, dimension: int) -> Terms:
        """Return the job terms for a model of so many parameters."""
        rules = self.rules
        return Terms(
            dimension=dimension,
            fraction_bits=rules.fraction_bits,
            shift=rules.shift,
            norm_bound_squared=int((rules.norm_bound * 2**rules.fraction_bits) ** 2),
            phi=self.server.phi,
            max_staleness=rules.max_staleness,
            scoring=rules.scoring,
            aggregation=rules.aggregation,
            staleness=rules.staleness,
            rules_version=rules.version,
        )

    def plan_terms(self) -> PlanTerms | None:
        """Return the terms by which clients are told how much to do; None where no plan tells them."""
        asked = self.allocation
        if asked is None or asked.rule == "same":
            return None
        return PlanTerms(
            rule=asked.rule,
            rules_version=self.rules.version,
            cycle_us=round(asked.cycle_seconds * 10**6),
            samples=asked.samples,
            least_samples=asked.least_samples,
            most_samples=asked.most_samples,
            most_epochs=asked.most_epochs,
            forget_after=4 * (self.rules.max_staleness + 1),
        )


def check_scenario(scenario: Scenario) -> None:
    """Raise `InvalidScenario` for a scenario whose parts contradict each other.

    Raises `InvalidPlan` for an allocation's, `InvalidTerms` for an objective's.
    """
    plan_terms = scenario.plan_terms()
    if plan_terms is not None:
        check_plan_terms(plan_terms)
    check_objective(scenario.edge.objective, CLASSES)
    if any(of >= CLASSES for of in scenario.watched):
        raise InvalidScenario(reason=f"watched = {[*scenario.watched]}: choose classes from 0 to {CLASSES - 1}")
    if any(server > scenario.edge.servers for server in scenario.edge.objective.edge_servers):
        raise InvalidScenario(reason=f"edge.objective.edge_servers: choose from 1 to {scenario.edge.servers}")
    outliers = scenario.outliers
    odd = outliers.rare + outliers.small + outliers.slow + (scenario.deviation is not None)
    taking_part = scenario.clients - (scenario.attacking if scenario.attackers_away else 0)
    if scenario.attack is not None and scenario.attackers_away:
        raise InvalidScenario(reason="attackers who are away make no attack: choose one of the two")
    if scenario.attack is not None and not scenario.attacking:
        raise InvalidScenario(reason=f"attackers = {scenario.attackers} of {scenario.clients} clients are none")
    if scenario.costs is not None and not isinstance(scenario.speed, DeviceClasses):
        raise InvalidScenario(reason="costs are those of devices: choose speed.kind = device-classes")
    if scenario.leaving is not None and scenario.costs is None:
        raise InvalidScenario(reason="nobody leaves who has no costs: add costs")
    if scenario.deviation is not None and scenario.allocation is not None:
        raise InvalidScenario(reason="a plan tells clients what to do: choose a deviation or an allocation")
    if scenario.edge.lying > scenario.edge.servers:
        raise InvalidScenario(reason=f"edge.lying = {scenario.edge.lying} of {scenario.edge.servers} edge servers")
    if scenario.attack is not None and scenario.attack.reads_references and scenario.edge.sketch_buckets:
        raise InvalidScenario(reason="the attack is made from whole references: choose edge.sketch_buckets = 0")
    if odd > scenario.clients - scenario.attacking:
        honest = scenario.clients - scenario.attacking
        raise InvalidScenario(reason=f"{odd} outliers of {honest} honest clients: choose fewer")
    if scenario.server.phi > taking_part:
        raise InvalidScenario(reason=f"phi = {scenario.server.phi} of {taking_part} clients: choose at most that")
    if isinstance(scenario.server, Asynchronous) and scenario.server.concurrency > taking_part:
        raise InvalidScenario(
            reason=f"concurrency = {scenario.server.concurrency} of {taking_part} clients: choose at most that"
        )
