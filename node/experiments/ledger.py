"""Experiments of kind `ledger`: a network of processes that learns while it is broken on purpose.

    [network]      validators, powers, relays, timing: as in `testnet.toml`
    [learning]     a run file (`merit run`): data, clients, rounds; `preset` names what it starts from
    [load]         instead of [learning]: records without training, so many a second, signed ahead
    [[behaviour]]  what some clients do: go away and come back, move to another edge server
    [[step]]       at so many seconds: kill, pause, restart or disconnect a node for a while
    [[decision]]   what the edge servers decide by vote
    [storm]        steps made up from the seed, one after another
    [assert]       what has to hold at the end

Seconds count from the first height, or, with [learning], from when the job is open and the clients are ready.
"""

import asyncio
import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import httpx
import msgspec

from chain.crypto.schemes import Scheme
from chain.engines.cometbft import binary
from chain.engines.cometbft.rpc import CometRpc
from chain.engines.errors import UnknownHeightError
from chain.errors import ChainError
from chain.light import Height, header_hash
from contracts import addresses
from merit.chance import seeded
from merit.clock import Clock
from merit.errors import MeritError
from node.council import Asked
from node.errors import ConfigError, RunDirectoryError
from node.experiments.manifest import Assertion, Heading, Result
from node.experiments.plots import plot
from node.load.job import propose
from node.load.running import RunningLoad, prepared
from node.machine.home import NodeHome, SnapshotsFile, TimingFile
from node.run import config
from node.run.clients import ClientSpec, HostSpec
from node.run.config import RunFile
from node.run.events import Accuracy, EventLog
from node.run.session import client_intervals
from node.sponsor import Sponsor, describe, recorded
from node.testnet import membership
from node.testnet.layout import Layout, TestnetFile, free_port_base, make
from node.testnet.supervisor import PERTURBATIONS, Supervisor

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only

    from node.load.process import LoadFigures

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Perturbation = Literal["kill", "pause", "restart", "disconnect"]
Kind = Literal["kill", "pause", "restart", "disconnect", "join", "leave", "rotate"]

SAMPLE_S = 1.0
MOST_PER_SECOND = 2_500
"""A load that goes as fast as it can has so many records for each of its seconds."""
FIRST_HEIGHT_S = 300.0
OPENING_S = 120.0
CLOSING_GRACE_S = 120.0
LEVEL_S = 60.0
FORK_STEP = 100
"""Heights between two at which all nodes' headers are compared; each header names the one before it."""


class NetworkPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The nodes; see `node.testnet.layout.TestnetFile`."""

    engine: Literal["cometbft"] = "cometbft"
    validators: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    powers: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    relays: bool = True
    timing: TimingFile = TimingFile()
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

    `join`: one more edge server is admitted by vote, starts from a snapshot and becomes a validator; `node` is the name
    that it gets. `leave`: an edge server leaves the validators by vote, and its node ends for good. `rotate`: its
    validator and its edge server get new keys by vote.
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
    that a server called final is on every node.
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


class Manifest(Heading, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"assert_": "assert"}):
    """The whole file. It ends after `seconds`, when the load is over, and when `learning.rounds` are decided."""

    seconds: Seconds = 0.0
    network: NetworkPart = NetworkPart()
    learning: dict[str, Any] | None = None
    load: LoadPart | None = None
    client_processes: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    behaviour: tuple[Behaviour, ...] = ()
    step: tuple[Step, ...] = ()
    decision: tuple[Decision, ...] = ()
    storm: Storm | None = None
    assert_: Assertions = Assertions()


def check(manifest: Manifest, source: str) -> None:
    """Refuse what cannot be run or can never hold; ConfigError in one line."""
    problem = next(
        (
            found
            for found in (
                _wrong_network(manifest),
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


@dataclass(frozen=True, slots=True)
class Sample:
    """Where the nodes stood; None where one did not answer."""

    seconds: float
    heights: dict[str, int | None]
    version: int | None


def heights_in(samples: Sequence[Sample], begin: float, end: float) -> list[int]:
    """Return the highest height of each sample of a span in which any node answered."""
    return [
        max(height for height in sample.heights.values() if height is not None)
        for sample in samples
        if begin <= sample.seconds <= end and any(height is not None for height in sample.heights.values())
    ]


def grew(name: str, heights: Sequence[int], least: int, most: float = math.inf) -> Assertion:
    """Assert by how much the highest height rises; what nobody has seen twice does not hold."""
    if len(heights) < 2:  # noqa: PLR2004 - the fewest that show anything
        return Assertion(name=name, holds=False, detail=f"only {len(heights)} answers in this time")
    risen = max(heights) - heights[0]
    return Assertion(name=name, holds=least <= risen <= most, detail=f"{heights[0]} to {max(heights)}")


@dataclass(slots=True)
class _Evidence:
    """What is written down while the experiment runs."""

    samples: list[Sample] = field(default_factory=list)
    happened: list[tuple[float, str]] = field(default_factory=list)


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Run an experiment in directory `out`, which exists and is empty.

    Raises:
        MeritError: it could not be run; what it found wrong is in the result.

    """
    return await _Experiment(manifest, out, clock, tell).run()


class _Experiment:
    """One experiment under way."""

    def __init__(self, manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> None:
        self._manifest, self._out, self._clock, self._tell = manifest, out, clock, tell
        self._learning = None if manifest.learning is None else run_file(manifest, manifest.title)
        self._layout = Layout(out / "testnet")
        self._evidence = _Evidence()
        self._begun = clock.monotonic()
        self._supervisor: Supervisor
        self._job = 1
        self._perturbations = 0
        self._load: RunningLoad | None = None
        self._load_figures: LoadFigures | None = None

    async def run(self) -> Result:
        """Do all of it."""
        began = self._clock.monotonic()
        network, load = self._manifest.network, self._manifest.load
        file = TestnetFile(
            validators=network.validators,
            powers=network.powers,
            clients=self._learning.clients.count if self._learning else load.clients if load else 0,
            client_scheme=load.scheme if load else Scheme.ML_DSA_44,
            port=free_port_base(network.validators + sum(step.do == "join" for step in self._manifest.step)),
            relays=network.relays,
            timing=network.timing,
            snapshots=network.snapshots,
        )
        make(self._layout.directory, file, int(self._clock.now()))
        self._supervisor = Supervisor(self._layout, binary.find().absolute(), self._clock, self._happened)
        self._tell(f"{network.validators} validators start")
        async with self._supervisor.running():
            await self._until(self._moves, FIRST_HEIGHT_S, "the first height")
            async with contextlib.AsyncExitStack() as stack:
                if self._learning is not None:
                    await self._begin_learning(stack, self._learning)
                if load is not None:
                    self._load = await self._prepare_load(stack, load)
                self._begun = self._clock.monotonic()
                sampling = asyncio.create_task(self._sample())
                breaking = asyncio.create_task(self._break())
                try:
                    await self._until_over(breaking)
                finally:
                    sampling.cancel()
                    breaking.cancel()
            assertions = [*self._over_time(), *await self._at_the_end()]
        figures = self._figures()
        files = self._write()
        return Result(
            kind="ledger",
            title=self._manifest.title,
            seed=self._manifest.seed,
            holds=all(assertion.holds for assertion in assertions),
            seconds=round(self._clock.monotonic() - began, 1),
            assertions=tuple(assertions),
            figures=figures,
            files=files,
        )

    # -- learning ---------------------------------------------------------------------------------------------------

    async def _begin_learning(self, stack: contextlib.AsyncExitStack, run: RunFile) -> None:
        """Start the clients' processes, propose the job, and wait until the edge servers have opened it."""
        file = self._layout.read()
        genesis_hash = await self._ask_any("merit_genesisHash")
        urls = [home.read().intake_url for home in self._layout.homes()]
        intervals = client_intervals(run)
        away = {number: b.away for b in self._manifest.behaviour for number in b.clients}
        moves = {number: b.moves for b in self._manifest.behaviour for number in b.clients}
        specs = [
            ClientSpec(
                member=member,
                share=index,
                key=str(self._layout.member_key_path(member).absolute()),
                interval=intervals[index],
                first_server=index % len(urls),
                away=away.get(index + 1, ()),
                moves=tuple((when, server - 1) for when, server in moves.get(index + 1, ())),
            )
            for index, member in enumerate(file.client_members)
        ]
        processes = self._manifest.client_processes
        hosts = []
        for number in range(processes):
            spec = HostSpec(
                run=run,
                urls=urls,
                genesis_hash=genesis_hash[2:],
                ledger=addresses.LEDGER.hex(),
                job=self._job,
                preparation=str((self._out / "job").absolute()),
                password_file=str(self._layout.password.absolute()),
                members=list(file.client_members),
                clients=specs[number::processes],
                observes=number == 0,
            )
            hosts.append(await self._start_clients(stack, number, spec))
        for host in hosts:
            if host.stdout is None or await host.stdout.readline() != b"ready\n":
                message = f"the clients' process has ended: see {self._out / 'clients'}"
                raise RunDirectoryError(message)
        self._tell(f"{run.clients.count} clients are ready")
        await asyncio.to_thread(self._propose, run)
        await self._until(self._is_open, OPENING_S, "the job to open")
        self._tell("the job is open")

    async def _prepare_load(self, stack: contextlib.AsyncExitStack, load: LoadPart) -> RunningLoad:
        """Propose the load's job, wait until it is open, and sign its records."""
        self._job = await asyncio.to_thread(propose, self._layout, self._out / "job")
        await self._until(self._is_open, OPENING_S, "the job to open")
        self._tell(f"{load.records} records are signed")
        running = prepared(
            self._layout,
            self._out / "clients" / "load",
            job=self._job,
            genesis_hash=bytes.fromhex((await self._ask_any("merit_genesisHash"))[2:]),
            clients=load.clients,
            seconds=load.seconds,
            records=load.records,
            records_per_second=load.records_per_second,
        )
        return await stack.enter_async_context(running)

    async def _start_clients(
        self, stack: contextlib.AsyncExitStack, number: int, spec: HostSpec
    ) -> asyncio.subprocess.Process:
        directory = self._out / "clients" / str(number)
        directory.mkdir(parents=True)
        path = directory / "host.json"
        path.write_bytes(msgspec.json.encode(spec))
        with (directory / "host.log").open("ab") as log:
            host = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "node.run.host", str(path.absolute()),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        stack.push_async_callback(_end_clients, host)
        return host

    def _propose(self, run: RunFile) -> None:
        home = self._layout.home(1).read()
        sponsor = Sponsor.connect(
            home.rpc_url,
            self._layout.member_key_path(self._layout.read().sponsor),
            self._layout.password.read_bytes(),
        )
        preparation = self._out / "job"
        self._job = sponsor.create(
            preparation / "job.toml",
            home.intake_url,
            budget=(4 * run.rounds + 8) * run.round.base_reward,
            edge_set=1,
            model=preparation / "model-0.bin",
            seed=run.seed,
        )

    async def _is_open(self) -> bool:
        return (await self._job_view()).get("status") == "open"

    async def _job_view(self) -> dict[str, Any]:
        """Return what the first edge server that answers says of the job."""
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            for home in self._homes():
                with contextlib.suppress(httpx.HTTPError, ValueError):
                    answer = await http.get(f"{home.read().intake_url}/v1/jobs/{self._job}")
                    if answer.is_success:
                        view: dict[str, Any] = answer.json()
                        return view
        return {}

    async def _close(self, run: RunFile) -> None:
        """Close the job and wait until what is recorded is settled."""

        def close() -> None:
            file = self._layout.read()
            for home in self._homes():
                with contextlib.suppress(MeritError):
                    key = self._layout.member_key_path(file.sponsor)
                    Sponsor.connect(home.read().rpc_url, key, self._layout.password.read_bytes()).close(self._job)
                    return
            message = "no node took the transaction that closes the job"
            raise RunDirectoryError(message)

        await asyncio.to_thread(close)
        terms = run.round
        allowed = terms.max_wait + terms.record_deadline + terms.attestation_timeout + CLOSING_GRACE_S
        await self._until(self._is_closed, allowed, "the job to close")

    async def _is_closed(self) -> bool:
        return (await self._job_view()).get("status") == "closed"

    # -- while it runs ----------------------------------------------------------------------------------------------

    async def _until_over(self, breaking: "asyncio.Task[None]") -> None:
        manifest, run = self._manifest, self._learning
        sending = None if self._load is None else asyncio.create_task(self._load.measure())
        while self._elapsed() < manifest.seconds or not breaking.done():
            if breaking.done():
                await breaking  # what went wrong must be seen
            await self._clock.sleep(SAMPLE_S / 4)
        await breaking
        if sending is not None:
            self._load_figures = await sending
            self._tell(f"{self._load_figures.final} records of the load are final")
        if run is None:
            return
        limit = self._clock.monotonic() + 4 * run.rounds * (run.round.max_wait + run.round.attestation_timeout)

        async def enough() -> bool:
            version = (await self._job_view()).get("version", 0)
            best = max((event.accuracy for event in self._accuracies()), default=0.0)
            return version >= run.rounds or 0 < run.target_accuracy <= best

        await self._until(enough, limit - self._clock.monotonic(), f"{run.rounds} rounds")
        await self._close(run)

    async def _sample(self) -> None:
        while True:
            nodes = await self._supervisor.status()
            version = (await self._job_view()).get("version") if self._learning else None
            self._evidence.samples.append(
                Sample(round(self._elapsed(), 2), {node.name: node.height for node in nodes}, version)
            )
            await self._clock.sleep(SAMPLE_S)

    async def _break(self) -> None:
        steps = sorted([*self._manifest.step, *self._storm()], key=lambda step: step.at)
        plans: list[Step | Decision] = [*steps, *self._manifest.decision]
        for plan in sorted(plans, key=lambda plan: plan.at):
            await self._clock.sleep(plan.at - self._elapsed())
            if isinstance(plan, Decision):
                await self._decide(plan)
            else:
                await self._do(plan)
        last = max((step.at + step.for_ for step in steps if step.do in PERTURBATIONS), default=0.0)
        await self._clock.sleep(last - self._elapsed())

    async def _do(self, step: Step) -> None:
        supervisor = self._supervisor
        match step.do:
            case "join":
                await membership.join(self._layout, self._homes(), supervisor.join, self._clock, self._happened)
            case "leave":
                leaving = next(home for home in self._homes() if home.path.name == step.node)
                await membership.leave(self._homes(), leaving, supervisor.leave, self._clock, self._happened)
            case "rotate":
                home = next(home for home in self._homes() if home.path.name == step.node)
                await membership.rotate(self._homes(), home, self._restart, self._clock)
                self._happened(f"{step.node}: new keys")
            case other:
                self._perturbations += 1
                await supervisor.perturb(step.node, other, step.for_)
                if other == "restart":
                    self._happened(f"{step.node}: restart")

    async def _restart(self, name: str) -> None:
        await self._supervisor.perturb(name, "restart", 0)

    async def _decide(self, decision: Decision) -> None:
        number = await membership.decide(self._homes(), self._clock, decision.text, *decision.call)
        self._happened(f"decided: {decision.text} (proposal {number})")

    def _homes(self) -> list[NodeHome]:
        """Return the homes of the nodes that take part now."""
        return [home for home in self._layout.homes() if home.path.name in self._supervisor.names]

    def _storm(self) -> list[Step]:
        storm = self._manifest.storm
        if storm is None:
            return []
        chance = seeded(self._manifest.seed, "storm")
        steps, at = [], storm.from_
        while at < storm.until:
            steps.append(_random_step(storm, at, self._manifest.network.validators, chance))
            at += storm.every * chance.uniform(0.5, 1.5)
        return steps

    def _happened(self, line: str) -> None:
        self._evidence.happened.append((round(self._elapsed(), 2), line))
        self._tell(f"{self._elapsed():7.1f} s  {line}")

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._begun

    # -- what must hold ---------------------------------------------------------------------------------------------

    def _over_time(self) -> list[Assertion]:
        wanted, samples = self._manifest.assert_, self._evidence.samples
        return [
            *(grew(f"moves {begin:g}-{end:g} s", heights_in(samples, begin, end), 1) for begin, end in wanted.moves),
            *(grew(f"still {begin:g}-{end:g} s", heights_in(samples, begin, end), 0, 0) for begin, end in wanted.still),
            *(
                grew(f"at most {most} heights {begin:g}-{end:g} s", heights_in(samples, begin, end), 0, most)
                for begin, end, most in wanted.heights_at_most
            ),
        ]

    async def _at_the_end(self) -> list[Assertion]:
        wanted = self._manifest.assert_
        found = []
        if wanted.level:
            found.append(await self._level())
        if wanted.no_fork:
            found.append(await self._no_fork())
        if self._learning is not None:
            state = await asyncio.to_thread(describe, self._homes()[0].read().rpc_url, self._job)
            decided = int(str(state["version"]))
            if wanted.rounds:
                found.append(
                    Assertion(name="rounds", holds=decided >= wanted.rounds, detail=f"{decided} of {wanted.rounds}")
                )
            if wanted.accuracy:
                best = max((event.accuracy for event in self._accuracies()), default=0.0)
                holds = best >= wanted.accuracy
                found.append(Assertion(name="accuracy", holds=holds, detail=f"{best:.3f} of {wanted.accuracy:g}"))
            if wanted.finals_present:
                found.append(await asyncio.to_thread(self._finals_present))
        if self._load is not None and wanted.load_final:
            found.append(await asyncio.to_thread(self._finals_present, "load final"))
        if wanted.audit_clean:
            found.append(await self._audit())
        return found

    async def _level(self) -> Assertion:
        """Every node answers and reaches the highest height that any had."""
        goal = max((node.height or 0) for node in await self._supervisor.status())

        async def there() -> bool:
            return all((node.height or 0) >= goal for node in await self._supervisor.status())

        try:
            await self._until(there, LEVEL_S, "all nodes to be level")
        except RunDirectoryError as error:
            return Assertion(name="level", holds=False, detail=str(error))
        return Assertion(name="level", holds=True, detail=f"all nodes reached height {goal}")

    async def _no_fork(self) -> Assertion:
        """All nodes hold the same header at the newest height that all have, and at others on the way."""
        nodes = {home.path.name: CometRpc(home.read().comet_url) for home in self._homes()}
        try:
            newest = min([(await rpc.status()).height for rpc in nodes.values()])
            heights = [*range(FORK_STEP, newest, FORK_STEP), newest]
            for height in heights:
                hashes = {}
                for name, rpc in nodes.items():
                    with contextlib.suppress(UnknownHeightError):  # a node that joined has none from before
                        hashes[name] = header_hash(await rpc.header(Height(height)))
                if len(set(hashes.values())) > 1:
                    differing = ", ".join(f"{name} {value.hex()[:16]}" for name, value in hashes.items())
                    return Assertion(name="no fork", holds=False, detail=f"height {height}: {differing}")
        except ChainError as error:
            return Assertion(name="no fork", holds=False, detail=str(error))
        finally:
            for rpc in nodes.values():
                await rpc.close()
        return Assertion(name="no fork", holds=True, detail=f"{len(nodes)} nodes, one chain up to height {newest}")

    def _finals_present(self, name: str = "finals present") -> Assertion:
        """Every record that a client was told is on the ledger is there, on every node."""
        promised = [
            msgspec.json.decode(line)
            for path in sorted((self._out / "clients").glob("*/final.jsonl"))
            for line in path.read_bytes().splitlines()
        ]
        for home in self._homes():
            there = {(event.client, event.digest.hex()) for event in recorded(home.read().rpc_url, self._job)}
            lost = [entry for entry in promised if (entry["client"], entry["digest"]) not in there]
            if lost:
                detail = f"{home.path.name} lacks {len(lost)} of {len(promised)}, first {lost[0]}"
                return Assertion(name=name, holds=False, detail=detail)
        detail = f"{len(promised)} records, all on {len(self._homes())} nodes"
        return Assertion(name=name, holds=bool(promised), detail=detail)

    async def _audit(self) -> Assertion:
        """Replay the whole history from what every node says, in this process, and compare."""
        genesis_hash = await self._ask_any("merit_genesisHash")
        homes = [home.read() for home in self._homes()]
        edges = [home.intake_url for home in homes] if self._learning else []

        def audit() -> Assertion:
            from node.audit import audit_network  # noqa: PLC0415 - loads the EVM

            report = audit_network(
                [home.rpc_url for home in homes], edges=edges, genesis_hash=bytes.fromhex(genesis_hash[2:])
            )
            (self._out / "audit.json").write_bytes(msgspec.json.format(msgspec.json.encode(report.to_json())))
            (self._out / "audit.txt").write_text("\n".join([*report.lines, ""]), encoding="utf-8")
            return Assertion(name="audit clean", holds=report.ok, detail=report.lines[-1])

        return await asyncio.to_thread(audit)

    # -- what is kept -----------------------------------------------------------------------------------------------

    def _accuracies(self) -> list[Accuracy]:
        path = self._out / "clients" / "0" / "accuracy.jsonl"
        return [event for event in EventLog(path).read() if isinstance(event, Accuracy)] if path.exists() else []

    def _figures(self) -> dict[str, Any]:
        samples = self._evidence.samples
        highest = heights_in(samples, 0.0, math.inf)
        figures: dict[str, Any] = {
            "seconds": samples[-1].seconds if samples else 0.0,
            "heights": highest[-1] if highest else 0,
            "perturbations": self._perturbations,
        }
        if self._load_figures is not None:
            figures["load"] = msgspec.to_builtins(self._load_figures)
        accuracies = self._accuracies()
        if accuracies:
            figures["accuracy"] = round(max(event.accuracy for event in accuracies), 4)
        versions = [sample.version for sample in samples if sample.version is not None]
        if versions:
            figures["rounds"] = versions[-1]
        return figures

    def _write(self) -> dict[str, str]:
        log = self._out / "events.jsonl"
        lines: list[dict[str, Any]] = [
            {"seconds": seconds, "event": line} for seconds, line in self._evidence.happened
        ] + [
            {"seconds": sample.seconds, "heights": sample.heights, "version": sample.version}
            for sample in self._evidence.samples
        ]
        lines.sort(key=lambda line: line["seconds"])
        log.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        picture = self._out / "plot.png"
        plot(
            picture,
            title=self._manifest.title,
            seconds=[sample.seconds for sample in self._evidence.samples],
            heights=[sample.heights for sample in self._evidence.samples],
            versions=[sample.version for sample in self._evidence.samples],
            happened=self._evidence.happened,
        )
        return {"events": str(log), "plot": str(picture)}

    # -- small questions --------------------------------------------------------------------------------------------

    async def _moves(self) -> bool:
        return all((node.height or 0) > 0 for node in await self._supervisor.status())

    async def _until(self, done: Callable[[], Any], seconds: float, what: str) -> None:
        limit = self._clock.monotonic() + seconds
        while not await done():
            if self._clock.monotonic() > limit:
                message = f"{self._manifest.title}: waited {seconds:.0f} s for {what}; see {self._layout.nodes}"
                raise RunDirectoryError(message)
            await self._clock.sleep(SAMPLE_S / 4)

    async def _ask_any(self, method: str) -> str:
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
            request = {"jsonrpc": "2.0", "id": 1, "method": method}
            answer = await http.post(self._homes()[0].read().rpc_url, json=request)
            found: str = answer.json()["result"]
            return found


def _random_step(storm: Storm, at: float, validators: int, chance: "Random") -> Step:
    return Step(
        at=round(at, 1),
        node=f"node{chance.randint(1, validators)}",
        do=chance.choice(storm.do),
        for_=round(chance.uniform(1.0, storm.for_), 1),
    )


async def _end_clients(host: asyncio.subprocess.Process) -> None:
    if host.returncode is None and host.stdin is not None:
        host.stdin.close()
        try:
            await asyncio.wait_for(host.wait(), 15.0)
        except TimeoutError:
            host.kill()
            await host.wait()
