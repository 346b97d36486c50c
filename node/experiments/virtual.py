"""Experiments on the embedded engine: validators, edge servers and clients in this process, in virtual time.

A seed says everything: keys, data, speeds, the storm. Equal runs leave the same `trace.txt`; its SHA-256 is the run's
digest.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from chain.engines.embedded import Member
from chain.light import BlockIdFlag, Height, header_hash
from merit.chance import seed_of
from merit.clock import Clock
from merit.virtual import VirtualClock, run_virtually
from node.edge.intake import Intake
from node.edge.local import LocalEdgeServers
from node.experiments.evidence import Evidence, Sample, rounds_and_accuracy
from node.experiments.ledger import Manifest, Step, run_file, storm_steps
from node.experiments.manifest import Assertion, Result
from node.run.clients import ClientSpec, HostSpec, read_password
from node.run.command import logged_to
from node.run.session import JOB, Session, Simulated
from node.sponsor import recorded_on

if TYPE_CHECKING:
    from node.edge.server import EdgeServer

EPOCH: Final = 1_767_225_600
"""Virtual time begins with the year 2026."""
SAMPLE_S: Final = 1.0
LATENCY_S: Final = 0.005
"""From a client to an edge server and back."""
LEVEL_S: Final = 60.0
_NS: Final = 10**9


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Run an experiment in directory `out`, which exists and is empty; raises MeritError when that cannot be."""
    began = clock.monotonic()

    def experiment() -> Result:
        return run_virtually(lambda time: _Experiment(manifest, out, time, tell).experiment(), epoch=EPOCH)

    with logged_to(out / "run.log"):
        result = await asyncio.to_thread(experiment)
    return msgspec.structs.replace(result, seconds=round(clock.monotonic() - began, 1))


class _Wire(httpx.AsyncBaseTransport):
    """How clients reach the edge servers: without sockets, and not at all while a server is down."""

    def __init__(self, servers: LocalEdgeServers, clock: Clock) -> None:
        self._servers, self._clock = servers, clock
        self._intakes: dict[int, tuple[EdgeServer, httpx.ASGITransport]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._clock.sleep(LATENCY_S)
        node = int(request.url.host.removeprefix("edge")) - 1
        server = self._servers.at(node)
        if server is None:
            message = f"edge server {node + 1} is down"
            raise httpx.ConnectError(message)
        if node not in self._intakes or self._intakes[node][0] is not server:
            self._intakes[node] = server, httpx.ASGITransport(Intake(server, self._clock).app)
        response = await self._intakes[node][1].handle_async_request(request)
        if self._servers.at(node) is not server:  # it was killed before it had answered
            message = f"edge server {node + 1} hung up"
            raise httpx.ReadError(message)
        return response


class _Household:
    """The clients, as tasks of this loop."""

    def __init__(self, directory: Path, clock: Clock, journeys: Callable[[ClientSpec], ClientSpec]) -> None:
        self._directory, self._clock, self._journeys = directory, clock, journeys
        self._wire: _Wire
        self._work: asyncio.Task[None]

    async def reach(self, servers: LocalEdgeServers, _stack: contextlib.AsyncExitStack) -> list[str]:
        """Name every server; nothing listens."""
        self._wire = _Wire(servers, self._clock)
        return [f"http://edge{number}" for number in range(1, len(servers.servers) + 1)]

    async def move_in(self, spec: HostSpec, stack: contextlib.AsyncExitStack) -> None:
        """Prepare the job and start the clients."""
        from node.run import host  # noqa: PLC0415 - loads torch
        from node.run.preparation import load_data  # noqa: PLC0415 - as above

        split = load_data(spec.run)
        clients = [self._journeys(client) for client in spec.clients]
        spec = msgspec.structs.replace(spec, clients=clients, password=read_password(spec))
        job_file = host.settle(spec, split)
        self._directory.mkdir(parents=True, exist_ok=True)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=self._wire))
        living = host.live(spec, split, job_file, self._directory, http=http, clock=self._clock)
        self._work = asyncio.create_task(living)
        stack.push_async_callback(self._end)

    def check(self) -> None:
        """Pass on what went wrong at the clients."""
        if self._work.done():
            self._work.result()

    async def _end(self) -> None:
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)


class _Experiment(Session):
    """A run under way in virtual time, what breaks meanwhile, and what is seen of it."""

    def __init__(self, manifest: Manifest, out: Path, clock: VirtualClock, tell: Callable[[str], None]) -> None:
        self._manifest, self._out, self._time, self._say = manifest, out, clock, tell
        self._evidence = Evidence()
        self._found: list[Assertion] = []
        self._digest = ""
        self._perturbations = 0
        self._begun = 0.0
        household = _Household(out / "run" / "clients", clock, self._journey)
        super().__init__(
            out / "run",
            run_file(manifest, manifest.title),
            clock,
            lambda _: None,
            source=manifest.title,
            simulated=Simulated(household, seed_of(manifest.seed, "keys")),
        )

    async def experiment(self) -> Result:
        """Do all of it."""
        await self.run()
        figures = self._evidence.figures() | {"perturbations": self._perturbations, "digest": self._digest}
        if self.last_accuracy is not None:
            figures["accuracy"] = round(self.best_accuracy, 4)
        if self._manifest.assert_.audit_clean:
            self._found.append(self._audit())
        return Result(
            kind="ledger",
            title=self._manifest.title,
            seed=self._manifest.seed,
            holds=all(assertion.holds for assertion in self._found),
            seconds=0.0,
            assertions=tuple(self._found),
            figures=figures,
            files=self._evidence.write(self._out, self._manifest.title) | {"trace": str(self._out / "trace.txt")},
        )

    # -- while it runs ----------------------------------------------------------------------------------------------

    async def train(self) -> None:
        """Train while things break; return when both are over."""
        self._begun = self._time.monotonic()
        async with asyncio.TaskGroup() as group:
            breaking, sampling = group.create_task(self._break()), group.create_task(self._sample())
            seconds = self._manifest.seconds
            await self._step_until(lambda: breaking.done() and self._elapsed() >= seconds and self.enough())
            sampling.cancel()

    async def _break(self) -> None:
        steps = sorted([*self._manifest.step, *storm_steps(self._manifest)], key=lambda step: step.at)
        async with asyncio.TaskGroup() as group:
            for step in steps:
                await self._time.sleep(step.at - self._elapsed())
                group.create_task(self._do(step))

    async def _do(self, step: Step) -> None:
        """Kill a node and start it again: after a while, never if that is 0, or, for a restart, at once."""
        node, engine = int(step.node.removeprefix("node")) - 1, self.network.engine
        self._perturbations += 1
        self._happened(f"{step.node}: {step.do}")
        self.servers.stop(node)
        await engine.stop_validator(node)
        if step.do == "kill":
            if step.for_ == 0:
                return
            await self._time.sleep(step.for_)
        await engine.start_validator(node)
        self.servers.start(node)
        self._happened(f"{step.node}: back")

    async def _sample(self) -> None:
        while True:
            heights = {name: member.height if member.running else None for name, member in self._members().items()}
            job = next((server.jobs.get(JOB) for server in self.servers.servers), None)
            version = None if job is None else job.log.version
            self._evidence.samples.append(Sample(round(self._elapsed(), 2), heights, version))
            await self._time.sleep(SAMPLE_S)

    def _journey(self, client: ClientSpec) -> ClientSpec:
        """Give a client what the manifest says of it; clients count from 1."""
        for behaviour in self._manifest.behaviour:
            if client.share + 1 in behaviour.clients:
                moves = tuple((when, server - 1) for when, server in behaviour.moves)
                client = msgspec.structs.replace(client, away=behaviour.away, moves=moves)
        return client

    def _happened(self, line: str) -> None:
        self._evidence.happened.append((round(self._elapsed(), 2), line))
        self._say(f"{self._elapsed():7.1f} s  {line}")

    def _elapsed(self) -> float:
        return self._time.monotonic() - self._begun

    def _trace(self) -> str:
        """Return a line for all that happened, every height and every round: what equal seeds make equal.

        Signatures are not: ML-DSA signs with fresh randomness, so the hashes of blocks differ between runs.
        """
        engine = self.network.engine
        names = {member.address: name for name, member in self._members().items()}
        lines = [f"{seconds:.2f} s: {what}" for seconds, what in self._evidence.happened]
        for height in map(Height, range(1, engine.height + 1)):
            header, commit = engine.header(height), engine.commit(height)
            signed = sum(vote.flag == BlockIdFlag.COMMIT for vote in commit.signatures)
            lines.append(
                f"height {height}: {header.time.to_ns() / _NS - EPOCH:.3f} s, round {commit.round}, "
                f"proposed by {names[header.proposer_address]}, {len(engine.transactions(height))} transactions, "
                f"signed by {signed}"
            )
        for outcome in self.log.outcomes:
            lines.append(
                f"round {outcome.round}: height {outcome.height}, agreed {outcome.agreed}, model {outcome.model.hex()}"
            )
            lines += [
                f"  client {payment.client}: theta {payment.theta} ppb, {payment.reward} wei"
                for payment in self.log.payments.get(outcome.round, [])
            ]
        return "\n".join([*lines, ""])

    # -- what must hold ---------------------------------------------------------------------------------------------

    async def conclude(self) -> None:
        """Judge what has to hold while the network still runs."""
        await super().conclude()
        trace = self._trace().encode()
        (self._out / "trace.txt").write_bytes(trace)
        self._digest = hashlib.sha256(trace).hexdigest()
        wanted = self._manifest.assert_
        self._found += self._evidence.over_time(wanted)
        if wanted.level:
            self._found.append(await self._level())
        if wanted.no_fork:
            self._found.append(self._no_fork())
        self._found += rounds_and_accuracy(wanted, self.log.version, self.best_accuracy)
        if wanted.finals_present:
            self._found.append(self._finals_present())

    def _members(self) -> dict[str, Member]:
        return {f"node{number + 1}": self.network.engine.member(number) for number in range(self.network.validators)}

    async def _level(self) -> Assertion:
        goal = max(member.height for member in self._members().values())
        limit = self._time.monotonic() + LEVEL_S
        while behind := [name for name, member in self._members().items() if member.height < goal]:
            if self._time.monotonic() > limit:
                detail = f"{', '.join(behind)} not at height {goal} after {LEVEL_S:g} s"
                return Assertion(name="level", holds=False, detail=detail)
            await self._time.sleep(SAMPLE_S)
        return Assertion(name="level", holds=True, detail=f"all nodes reached height {goal}")

    def _no_fork(self) -> Assertion:
        members = self._members()
        newest = min(member.height for member in members.values())
        for height in map(Height, range(1, newest + 1)):
            hashes = {name: header_hash(member.header(height)) for name, member in members.items()}
            if len(set(hashes.values())) > 1:
                differing = ", ".join(f"{name} {value.hex()[:16]}" for name, value in hashes.items())
                return Assertion(name="no fork", holds=False, detail=f"height {height}: {differing}")
        return Assertion(name="no fork", holds=True, detail=f"{len(members)} nodes, one chain up to height {newest}")

    def _finals_present(self) -> Assertion:
        """Every record that a client was told is on the ledger is there, on every node."""
        path = self._out / "run" / "clients" / "final.jsonl"
        promised = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        for node, name in enumerate(self._members()):
            there = {(event.client, event.digest.hex()) for event in recorded_on(self.network.web3(node), JOB)}
            lost = [entry for entry in promised if (entry["client"], entry["digest"]) not in there]
            if lost:
                detail = f"{name} lacks {len(lost)} of {len(promised)}, first {lost[0]}"
                return Assertion(name="finals present", holds=False, detail=detail)
        detail = f"{len(promised)} records, all on {self.network.validators} nodes"
        return Assertion(name="finals present", holds=bool(promised), detail=detail)

    def _audit(self) -> Assertion:
        """Replay the whole history from every store, and compare."""
        from node.audit import audit_directory  # noqa: PLC0415 - loads the EVM

        report = audit_directory(self.directory, genesis_hash=self.genesis_hash)
        (self._out / "audit.json").write_bytes(msgspec.json.format(msgspec.json.encode(report.to_json())))
        (self._out / "audit.txt").write_text("\n".join([*report.lines, ""]), encoding="utf-8")
        return Assertion(name="audit clean", holds=report.ok, detail=report.lines[-1])
