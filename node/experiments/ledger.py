"""Experiments of kind `ledger`: a network that learns while it is broken on purpose.

    [network]      validators, powers, relays, timing: as in `testnet.toml`; `engine` says what it runs on:
                   "cometbft" (processes, real time) or "embedded" (this process, virtual time); `links` of the latter
    [learning]     a run file (`merit run`): data, clients, rounds; `preset` names what it starts from
    [load]         instead of [learning]: records without training, so many a second, signed ahead
    [[behaviour]]  what some clients do: go away and come back, move to another edge server
    [[step]]       at so many seconds: kill, pause, restart or disconnect a node for a while
    [[decision]]   what the edge servers decide by vote
    [storm]        steps made up from the seed, one after another
    [[link]], [[clock]], [[fault]], [[byzantine]]    what only "embedded" can have broken (node/experiments/faults.py)
    [assert]       what has to hold at the end

Seconds count from the first height, or, with [learning], from when the job is open and the clients are ready.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from chain.simulation.scenario import Links
from merit.chance import seeded
from merit.clock import Clock
from node.council import Asked
from node.errors import ConfigError
from node.experiments.faults import ClockPart, FaultPart, LiePart, LinkPart, Node, problems
from node.experiments.manifest import Heading, Result, Runner
from node.machine.home import SnapshotsFile, TimingFile
from node.run import config
from node.run.config import RunFile

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Perturbation = Literal["kill", "pause", "restart", "disconnect"]
Kind = Literal["kill", "pause", "restart", "disconnect", "join", "leave", "rotate"]

MOST_PER_SECOND = 2_500
"""A load that goes as fast as it can has so many records for each of its seconds."""
ENGINES: Final = {"cometbft": "node.experiments.processes", "embedded": "node.experiments.virtual"}
"""Engine -> the module whose coroutine `run` runs experiments on it."""


class NetworkPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The nodes; see `node.testnet.layout.TestnetFile`."""

    engine: Literal["cometbft", "embedded"] = "cometbft"
    validators: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    powers: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    relays: bool = True
    timing: TimingFile = TimingFile()
    links: Links = Links()
    snapshots: SnapshotsFile = SnapshotsFile(every=200)


class LoadPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Records of many clients; see `node.load`.

    `records_per_second`: 0 for as fast as it goes. `clients`: so many records may be on their way at once.
    """

    seconds: Annotated[float, msgspec.Meta(gt=0)]
    records_per_second: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    scheme: Literal[44, 65] = 44
    clients: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64

    @property
    def records(self) -> int:
        """How many are signed ahead."""
        rate = self.records_per_second or MOST_PER_SECOND
        return int(1.2 * rate * self.seconds) + self.clients  # some clients get through more of them than others


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What some clients do besides training; clients and edge servers count from 1.

    `away`: pairs of seconds, gone from the first until the second. `moves`: pairs of a second and an edge server.
    """

    clients: tuple[Annotated[int, msgspec.Meta(ge=1)], ...]
    away: tuple[tuple[Seconds, Seconds], ...] = ()
    moves: tuple[tuple[Seconds, Annotated[int, msgspec.Meta(ge=1)]], ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """One thing that is done to a node; `for` 0 leaves it broken until a `restart`.

    `join`: one more edge server is admitted by vote, starts from a snapshot (with the embedded engine, from the first
    block) and becomes a validator; `node` is the name that it gets. `leave`: an edge server leaves the validators by
    vote, and its node ends for good. `rotate`: its validator and its edge server get new keys by vote.
    """

    at: Seconds
    node: str
    do: Kind
    for_: Seconds = 5.0


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the edge servers decide by vote at second `at`; the calls are those of a proposal file (node/council.py)."""

    at: Seconds
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    call: Annotated[tuple[Asked, ...], msgspec.Meta(min_length=1, max_length=16)]


class Storm(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for", "from_": "from"}
):
    """Random steps from second `from` until `until`: one about every `every` seconds, each for up to `for` seconds."""

    until: Seconds
    from_: Seconds = 5.0
    every: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    for_: Annotated[float, msgspec.Meta(gt=0)] = 8.0
    do: Annotated[tuple[Perturbation, ...], msgspec.Meta(min_length=1)] = ("kill", "pause", "restart", "disconnect")


class Assertions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to hold.

    `moves`, `still`: spans of seconds in which the highest height rises, or does not. `heights_at_most`: in a span of
    seconds. `level`: at the end every node reaches one height within a minute. `load_final`: every record of the load
    that a server called final is on every node. `accused`: the nodes whose validators evidence in blocks convicts,
    exactly; `lost_least`, `lost_most`: rounds without a decision, of all heights together.
    """

    no_fork: bool = True
    level: bool = True
    finals_present: bool = True
    load_final: bool = True
    audit_clean: bool = True
    moves: tuple[tuple[Seconds, Seconds], ...] = ()
    still: tuple[tuple[Seconds, Seconds], ...] = ()
    heights_at_most: tuple[tuple[Seconds, Seconds, int], ...] = ()
    rounds: Annotated[int, msgspec.Meta(ge=0)] = 0
    accuracy: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    accused: tuple[Node, ...] | None = None
    lost_least: Annotated[int, msgspec.Meta(ge=0)] = 0
    lost_most: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Manifest(Heading, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"assert_": "assert"}):
    """The whole file. It ends after `seconds`, when the load is over, and when `learning.rounds` are decided.

    `seeds`: with the embedded engine, so many are played from `seed` on, until one does not hold.
    """

    seconds: Seconds = 0.0
    seeds: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    network: NetworkPart = NetworkPart()
    learning: dict[str, Any] | None = None
    load: LoadPart | None = None
    client_processes: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    behaviour: tuple[Behaviour, ...] = ()
    step: tuple[Step, ...] = ()
    decision: tuple[Decision, ...] = ()
    storm: Storm | None = None
    link: tuple[LinkPart, ...] = ()
    clock: tuple[ClockPart, ...] = ()
    fault: tuple[FaultPart, ...] = ()
    byzantine: tuple[LiePart, ...] = ()
    assert_: Assertions = Assertions()


def check(manifest: Manifest, source: str) -> None:
    """Refuse what cannot be run or can never hold; ConfigError in one line."""
    problem = next(
        (
            found
            for found in (
                _wrong_network(manifest),
                _wrong_engine(manifest),
                _wrong_step(manifest),
                _wrong_assertion(manifest),
                _wrong_learning(manifest, source),
            )
            if found
        ),
        "",
    )
    if problem:
        message = f"{source}: {problem}"
        raise ConfigError(message)


def _wrong_network(manifest: Manifest) -> str:
    network, storm = manifest.network, manifest.storm
    if network.powers and len(network.powers) != network.validators:
        return f"{len(network.powers)} powers for {network.validators} validators: name one for each"
    if storm is not None and storm.from_ >= storm.until:
        return f"the storm ends at {storm.until:g} s, before it begins at {storm.from_:g} s"
    if storm is not None and "disconnect" in storm.do and not network.relays:
        return "storm.do: disconnect needs network.relays = true"
    return ""


def _wrong_engine(manifest: Manifest) -> str:
    if manifest.network.engine != "embedded":
        return _only_embedded(manifest)
    if manifest.learning is None:
        return "network.engine: the embedded one needs a [learning] table"
    if manifest.network.powers:
        return "network.powers: those of the embedded engine are equal"
    validators, wanted = manifest.network.validators, manifest.assert_
    if wanted.lost_most is not None and wanted.lost_least > wanted.lost_most:
        return f"assert.lost_most: {wanted.lost_most} are fewer than lost_least, {wanted.lost_least}"
    liars = {node for lie in manifest.byzantine if lie.habit == "equivocating" for node in lie.nodes}
    for node in wanted.accused or ():
        if node not in liars:
            return f"assert.accused: {node} never says two things: evidence against it would break a rule"
    found = problems(manifest.link, manifest.clock, manifest.fault, manifest.byzantine, validators=validators)
    return next(found, "")


def _only_embedded(manifest: Manifest) -> str:
    """Say what of the file asks for more than processes and real time can do; an empty string for nothing."""
    wanted = manifest.assert_
    asked = {
        "network.links": manifest.network.links != Links(),
        "link": bool(manifest.link),
        "clock": bool(manifest.clock),
        "fault": bool(manifest.fault),
        "byzantine": bool(manifest.byzantine),
        "seeds": manifest.seeds > 1,
        "assert.accused": wanted.accused is not None,
        "assert.lost_least": wanted.lost_least > 0,
        "assert.lost_most": wanted.lost_most is not None,
    }
    return next((f'{what}: needs network.engine = "embedded"' for what, is_there in asked.items() if is_there), "")


def _wrong_step(manifest: Manifest) -> str:
    names = {f"node{number}" for number in range(1, manifest.network.validators + 1)}
    newest = manifest.network.validators
    for step in sorted(manifest.step, key=lambda step: step.at):
        where = f"step at {step.at:g} s"
        if step.do == "join":
            newest += 1
            if step.node != f"node{newest}":
                return f"{where}: the node that joins is node{newest}, not {step.node!r}"
            names.add(step.node)
            continue
        if step.node not in names:
            return f"{where}: no node {step.node!r}, there are {', '.join(sorted(names))}"
        if step.do == "disconnect" and not manifest.network.relays:
            return f"{where}: disconnect needs network.relays = true"
        if step.do == "leave":
            names.remove(step.node)
            if not names:
                return f"{where}: nobody is left"
    return ""


def _wrong_assertion(manifest: Manifest) -> str:
    wanted = manifest.assert_
    spans = [("moves", *span) for span in wanted.moves] + [("still", *span) for span in wanted.still]
    spans += [("heights_at_most", begin, end) for begin, end, _ in wanted.heights_at_most]
    for name, begin, end in spans:
        if begin >= end:
            return f"assert.{name}: the span from {begin:g} to {end:g} s is empty"
        if manifest.learning is None and manifest.load is None and end > manifest.seconds:
            return f"assert.{name}: the span to {end:g} s is longer than the experiment's {manifest.seconds:g} s"
    for begin, end in wanted.moves:
        still = [*wanted.still, *((first, last) for first, last, most in wanted.heights_at_most if most < 1)]
        for first, last in still:
            if first <= begin and end <= last:
                return (
                    f"assert: heights cannot rise from {begin:g} to {end:g} s "
                    f"and stand still from {first:g} to {last:g} s"
                )
    return ""


def _wrong_learning(manifest: Manifest, source: str) -> str:
    wanted = manifest.assert_
    if manifest.learning is not None and manifest.load is not None:
        return "[learning] and [load] are two experiments: leave one out"
    if manifest.learning is None:
        if wanted.rounds or wanted.accuracy or manifest.behaviour:
            return "rounds, accuracy and behaviours need a [learning] table"
        if manifest.load is None and manifest.seconds <= 0:
            return "seconds is missing: without [learning] or [load] nothing else ends the experiment"
        return ""
    run = run_file(manifest, source)
    if run.target_accuracy == 0 and wanted.rounds > run.rounds:
        return f"assert.rounds: {wanted.rounds} are more than the {run.rounds} after which learning ends"
    for behaviour in manifest.behaviour:
        if behaviour.clients and max(behaviour.clients) > run.clients.count:
            return f"behaviour of client {max(behaviour.clients)}, there are {run.clients.count}"
        for _, server in behaviour.moves:
            if server > manifest.network.validators:
                return f"behaviour: a move to edge server {server}, there are {manifest.network.validators}"
        times = [second for span in behaviour.away for second in span]
        if times != sorted(times):
            return f"behaviour.away of clients {behaviour.clients}: seconds must rise"
    return ""


def with_data(manifest: Manifest, directory: str) -> Manifest:
    """Return the manifest with the directory of its data set; as it is when it does not learn."""
    if manifest.learning is None:
        return manifest
    data = {**manifest.learning.get("data", {}), "directory": directory}
    return msgspec.structs.replace(manifest, learning={**manifest.learning, "data": data})


def run_file(manifest: Manifest, source: str) -> RunFile:
    """Return the learning part as a run file."""
    values = dict(manifest.learning or {}) | {"seed": manifest.seed}
    return config.override(config.from_values(values, source), {"network.edge_servers": manifest.network.validators})


def storm_steps(manifest: Manifest) -> list[Step]:
    """Make up the storm's steps from the seed; none without a storm."""
    storm = manifest.storm
    if storm is None:
        return []
    chance = seeded(manifest.seed, "storm")
    steps, at = [], storm.from_
    while at < storm.until:
        steps.append(_random_step(storm, at, manifest.network.validators, chance))
        at += storm.every * chance.uniform(0.5, 1.5)
    return steps


def _random_step(storm: Storm, at: float, validators: int, chance: "Random") -> Step:
    return Step(
        at=round(at, 1),
        node=f"node{chance.randint(1, validators)}",
        do=chance.choice(storm.do),
        for_=round(chance.uniform(1.0, storm.for_), 1),
    )


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Run an experiment in directory `out`, which exists and is empty.

    Raises:
        MeritError: it could not be run; what it found wrong is in the result.

    """
    runner: Runner = importlib.import_module(ENGINES[manifest.network.engine]).run
    return await runner(manifest, out, clock, tell)
