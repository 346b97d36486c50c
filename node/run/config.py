"""What `merit run` reads: a TOML file or a preset, with flags over it."""

from pathlib import Path
from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta

from contracts.digests import MAX_VESTING
from learner.allocation.planning import check_plan_terms
from learner.contribution import rule
from learner.data.mnist import CLASSES
from learner.errors import LearnerError, UnknownRule
from learner.objective import Objective, check_objective
from node.configuration import convert, read_toml
from node.errors import ConfigError
from node.jobs import AllocationSpec, Numerics, ReferencesSpec, RoundSpec, Rules, TrainingSpec, VestingSpec

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ledger: edge servers are its validators. Intervals in seconds."""

    edge_servers: Annotated[int, Meta(ge=1, le=64)] = 4
    chain_id: Positive = 19781
    block_interval: Seconds = 0.05
    empty_interval: Seconds = 0.0


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which data set, and how it is spread over the clients."""

    name: Literal["digits", "mnist"] = "digits"
    directory: str = ""
    """Where the four idx files of MNIST lie."""
    partition: Literal["iid", "shards", "dirichlet"] = "shards"
    shards_per_client: Positive = 2
    alpha: Annotated[float, Meta(gt=0)] = 0.5
    train_samples: Annotated[int, Meta(ge=0)] = 0
    """Use only so many training samples; 0 uses all."""


class Clients(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many clients and how fast.

    A client's `training.samples` new samples come in `interval` seconds times its own factor, which is log-normal with
    `spread`; the last `slow` clients are `slow_factor` times slower on top of it. Where work is allocated, the samples
    are there, and it is `training.epochs` on `training.samples` that take so long.
    """

    count: Annotated[int, Meta(ge=1, le=1024)] = 20
    interval: Seconds = 1.0
    spread: Annotated[float, Meta(ge=0, le=3)] = 0.4
    slow: Annotated[int, Meta(ge=0)] = 0
    slow_factor: Annotated[float, Meta(ge=1)] = 10.0
    label_flippers: Annotated[int, Meta(ge=0)] = 0
    """So many clients, the first ones, attack: each label c of their samples is C - 1 - c."""


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether and how work is allocated to clients; see `node.jobs.AllocationSpec`.

    `cycle`: T in seconds, 0 for the clients' interval. `most_samples`: 0 for four times `training.samples`.
    """

    rule: Literal["none", "equal", "exact"] = "none"
    cycle: Annotated[float, Meta(ge=0, le=4_000)] = 0.0
    least_samples: Positive = 1
    most_samples: Annotated[int, Meta(ge=0)] = 0
    most_epochs: Positive = 64


class References(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Private samples of the edge servers, held out of the training data under a rule that needs references."""

    root_samples: Positive = 100
    """Of each edge server."""
    objective: Objective = Objective()
    """What they are to teach; edge servers have the member ids 1, 2, ..."""


class Vesting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether pay vests: what a round credits is settled so many rounds later, or when the job closes; 0: at once."""

    rounds: Annotated[int, Meta(ge=0, le=MAX_VESTING)] = 0


class RunFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run: `rounds` decided rounds, or fewer if `target_accuracy` is reached before (0: never stop early)."""

    title: str = "digits"
    seed: int = 1
    rounds: Positive = 30
    target_accuracy: Annotated[float, Meta(ge=0, le=1)] = 0.0
    model: str = "softmax"
    network: Network = Network()
    data: Data = Data()
    clients: Clients = Clients()
    numerics: Numerics = Numerics()
    round: RoundSpec = RoundSpec()
    rules: Rules = Rules()
    training: TrainingSpec = TrainingSpec()
    allocation: Allocation = Allocation()
    references: References = References()
    vesting: Vesting = Vesting()


PRESETS: dict[str, RunFile] = {
    "digits": RunFile(
        title="scikit-learn digits",
        rounds=36,
        training=TrainingSpec(samples=20, epochs=5, batch=10, learning_rate=0.05),
        clients=Clients(interval=4.0, slow=2, slow_factor=5.0),
        rules=Rules(scoring="decomposed", aggregation="delta"),
    ),
    "mnist": RunFile(
        title="MNIST",
        model="mlp",
        rounds=400,
        target_accuracy=0.9,
        data=Data(name="mnist"),
        clients=Clients(interval=6.0, spread=0.2, slow=2, slow_factor=10.0),
        rules=Rules(scoring="decomposed", aggregation="delta"),
        training=TrainingSpec(samples=600, epochs=1, batch=20, learning_rate=0.1),
    ),
    "paper": RunFile(
        title="MNIST as in BFL-MEC (arXiv 2302.13258)",
        model="cnn",
        rounds=100,
        network=Network(edge_servers=2),
        data=Data(name="mnist"),
        clients=Clients(count=100, interval=150.0, spread=0.4),
        round=RoundSpec(phi=15, max_wait=120, record_deadline=60, attestation_timeout=60),
        rules=Rules(aggregation="literal"),
        training=TrainingSpec(samples=100, epochs=5, batch=10, learning_rate=0.01),
    ),
}


def preset(name: str) -> RunFile:
    """Return a preset.

    Raises:
        ConfigError: no such preset.

    """
    if name not in PRESETS:
        msg = f"no preset {name}: choose one of {', '.join(PRESETS)}"
        raise ConfigError(msg)
    return PRESETS[name]


def load(path: Path, changes: dict[str, object]) -> RunFile:
    """Read a run file and apply flags over it; errors as in `node.configuration`.

    A `preset` key at the file's top says what it starts from.
    """
    return override(from_values(read_toml(path), str(path)), changes)


def from_values(values: dict[str, object], source: str) -> RunFile:
    """Read a run file's plain values; `source` is named in errors, which are as in `load`."""
    base = values.get("preset")
    if base is not None:
        values = {key: value for key, value in values.items() if key != "preset"}
        values = _over(msgspec.to_builtins(preset(str(base))), values)
    return convert(values, RunFile, source)


def override(run: RunFile, changes: dict[str, object]) -> RunFile:
    """Apply flags, given as dotted keys (`network.edge_servers`), over a run file.

    Raises:
        ConfigError: a value is wrong.

    """
    values = msgspec.to_builtins(run)
    for key, value in changes.items():
        place, steps = values, key.split(".")
        for step in steps[:-1]:
            place = place[step]
        place[steps[-1]] = value
    return check(convert(values, RunFile, "flags"))


def check(run: RunFile) -> RunFile:
    """Return the run file if its parts fit together.

    Raises:
        ConfigError: they do not.

    """
    if run.data.name == "mnist" and not run.data.directory:
        msg = "data.directory is missing: name the directory of the MNIST idx files (--data-dir DIR)"
        raise ConfigError(msg)
    if run.clients.slow > run.clients.count:
        msg = f"clients.slow is {run.clients.slow}, but there are only {run.clients.count} clients"
        raise ConfigError(msg)
    if run.clients.label_flippers > run.clients.count:
        msg = f"clients.label_flippers is {run.clients.label_flippers}, but there are only {run.clients.count} clients"
        raise ConfigError(msg)
    if run.round.phi > run.clients.count * run.round.records_per_base:
        most = run.clients.count * run.round.records_per_base
        msg = f"round.phi is {run.round.phi}, but one version gets at most {most} records"
        raise ConfigError(msg)
    allocated = allocation_of(run)
    if allocated is not None:
        try:
            check_plan_terms(allocated.terms(run.training, run.round, run.rules.version))
        except LearnerError as error:
            msg = f"allocation: {error}"
            raise ConfigError(msg) from error
    _check_objective(run)
    return run


def _check_objective(run: RunFile) -> None:
    objective = run.references.objective
    if objective == Objective():
        return
    if references_of(run) is None:
        msg = f"references.objective says what references teach, and rules.scoring = {run.rules.scoring!r} reads none"
        raise ConfigError(msg)
    if any(server > run.network.edge_servers for server in objective.edge_servers):
        msg = f"references.objective.edge_servers: choose from 1 to {run.network.edge_servers}"
        raise ConfigError(msg)
    try:
        check_objective(objective, CLASSES)
    except LearnerError as error:
        raise ConfigError(str(error)) from error


def allocation_of(run: RunFile) -> AllocationSpec | None:
    """Return how the job of a run allocates work, None if it does not.

    Raises:
        ConfigError: the cycle has no length.

    """
    asked = run.allocation
    if asked.rule == "none":
        return None
    cycle = asked.cycle or run.clients.interval
    if not cycle:
        msg = "allocation.cycle is 0 and so is clients.interval: say how many seconds a client's cycle takes"
        raise ConfigError(msg)
    return convert(
        {
            "rule": asked.rule,
            "cycle_us": round(cycle * 10**6),
            "least_samples": asked.least_samples,
            "most_samples": asked.most_samples or 4 * run.training.samples,
            "most_epochs": asked.most_epochs,
        },
        AllocationSpec,
        "allocation",
    )


def references_of(run: RunFile) -> ReferencesSpec | None:
    """Return what the job file says of references, None under a rule that needs none (or that is not known here)."""
    try:
        needs = rule(run.rules.scoring, run.rules.version).needs
    except UnknownRule:
        return None
    asked = run.references
    return ReferencesSpec(root_samples=asked.root_samples, objective=asked.objective) if needs.references else None


def partition_of(run: RunFile) -> str:
    """Say in words what part of the data each client has."""
    match run.data.partition:
        case "iid":
            return "any of the samples"
        case "shards":
            shards = run.data.shards_per_client
            return f"{shards} label shard{'' if shards == 1 else 's'}"
        case "dirichlet":
            return f"labels by Dirichlet({run.data.alpha:g})"
        case _:
            assert_never(run.data.partition)


def vesting_of(run: RunFile) -> VestingSpec | None:
    """Return what the job file says of vesting, None where pay is paid at once."""
    return VestingSpec(rounds=run.vesting.rounds) if run.vesting.rounds else None


def _over(base: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    """Lay tables over tables."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
