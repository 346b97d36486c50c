"""Experiments on the embedded engine: validators, edge servers and clients in this process, in virtual time.

A seed says everything: keys, data, speeds, the links' moods, the storm. Equal runs leave the same `trace.txt`; its
SHA-256 is the run's digest.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from chain.consensus.timeouts import Timeouts
from chain.engines.embedded import Member, ScatteredEngine, Validator
from chain.engines.embedded.liars import Habit, Lie
from chain.engines.embedded.scattered import Lost
from chain.engines.embedded.world import World
from chain.genesis import Genesis
from chain.light import BlockIdFlag, Height, accusations, decode_evidence, header_hash
from contracts import addresses, bindings
from merit.chance import seed_of
from merit.clock import Clock
from merit.virtual import VirtualClock, run_virtually
from node.experiments.assembly import Assembly
from node.experiments.evidence import Evidence, Sample, rounds_and_accuracy
from node.experiments.faults import FaultPart, LiePart, links_from, place
from node.experiments.ledger import Manifest, Step, run_file, storm_steps
from node.experiments.manifest import Assertion, Result
from node.experiments.search import search
from node.experiments.wire import Household
from node.run.clients import ClientSpec
from node.run.command import logged_to
from node.run.session import JOB, Session, Simulated
from node.sponsor import recorded_on

EPOCH: Final = 1_767_225_600
"""Virtual time begins with the year 2026."""
SAMPLE_S: Final = 1.0
LEVEL_S: Final = 60.0
_NS: Final = 10**9


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Run an experiment in directory `out`, which exists and is empty; raises MeritError when that cannot be."""
    began = clock.monotonic()
    if manifest.seeds > 1:
        result = await search(manifest, out, _play, tell)
    else:
        result = await _play(manifest, out, tell)
    return msgspec.structs.replace(result, seconds=round(clock.monotonic() - began, 1))


async def _play(manifest: Manifest, out: Path, tell: Callable[[str], None]) -> Result:
    """Play one seed."""

    def experiment() -> Result:
        return run_virtually(lambda time: _Experiment(manifest, out, time, tell).experiment(), epoch=EPOCH)

    with logged_to(out / "run.log"):
        return await asyncio.to_thread(experiment)


def _is_suspended(registry: bindings.Registry, member: int) -> bool:
    found = registry.member(member)
    return found is not None and found.suspended


def _world(manifest: Manifest) -> World:
    """Return what is between the validators."""
    timing, validators = manifest.network.timing, manifest.network.validators
    return World(
        seed=seed_of(manifest.seed, "world"),
        weather=manifest.network.links.weather(),
        weather_of={
            link: part.weather() for part in manifest.link for link in links_from(part.from_, part.to, validators)
        },
        timeouts=Timeouts(propose_ms=timing.propose, prevote_ms=timing.vote, precommit_ms=timing.vote),
        ahead_s={place(node): part.ahead for part in manifest.clock for node in part.nodes},
    )


class _Experiment(Session):
    """A run under way in virtual time, what breaks meanwhile, and what is seen of it."""

    def __init__(self, manifest: Manifest, out: Path, clock: VirtualClock, tell: Callable[[str], None]) -> None:
        self._manifest, self._out, self._time, self._say = manifest, out, clock, tell
        self._evidence = Evidence()
        self._found: list[Assertion] = []
        self._digest = ""
        self._perturbations = 0
        self._begun = 0.0
        self._engine: ScatteredEngine
        self._disconnected: Counter[str] = Counter()
        self._assembly: Assembly
        self._gone: set[str] = set()
        household = Household(out / "run" / "clients", clock, self._journey)
        super().__init__(
            out / "run",
            run_file(manifest, manifest.title),
            clock,
            lambda _: None,
            source=manifest.title,
            simulated=Simulated(household, seed_of(manifest.seed, "keys"), self._make_engine),
            council=True,
        )

    def _make_engine(
        self,
        validators: Sequence[Validator],
        genesis: Genesis,
        clock: Clock,
        *,
        block_interval: float,
        empty_interval: float,
    ) -> ScatteredEngine:
        self._engine = ScatteredEngine(
            validators,
            genesis,
            clock,
            _world(self._manifest),
            block_interval=block_interval,
            empty_interval=empty_interval,
        )
        return self._engine

    async def experiment(self) -> Result:
        """Do all of it."""
        await self.run()
        figures = self._evidence.figures() | {"perturbations": self._perturbations, "digest": self._digest}
        figures["rounds_lost"] = sum(map(len, self._lost.values()))
        figures["counts"] = [{"what": what, "times": times} for what, times in sorted(self._engine.counts.items())]
        if self.accuracies:
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
        self._assembly = Assembly(self.network, self.servers, self._time, self._happened)
        async with asyncio.TaskGroup() as group:
            breaking, sampling = group.create_task(self._break()), group.create_task(self._sample())
            seconds = self._manifest.seconds
            await self._step_until(lambda: breaking.done() and self._elapsed() >= seconds and self.enough())
            sampling.cancel()

    async def _break(self) -> None:
        plans: list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = [
            *((step.at, partial(self._do, step)) for step in (*self._manifest.step, *storm_steps(self._manifest))),
            *((asked.at, partial(self._assembly.decide, asked.text, *asked.call)) for asked in self._manifest.decision),
            *((fault.at, partial(self._cut, fault)) for fault in self._manifest.fault),
            *((lie.seconds[0] if lie.seconds else 0.0, partial(self._lie, lie)) for lie in self._manifest.byzantine),
        ]
        async with asyncio.TaskGroup() as group:
            for at, breaks in sorted(plans, key=lambda plan: plan[0]):
                await self._time.sleep(at - self._elapsed())
                group.create_task(breaks())

    async def _do(self, step: Step) -> None:
        """Do to a node what a step says; a storm's have nobody to hit where one has left."""
        if step.node in self._gone:
            return
        node = place(step.node)
        match step.do:
            case "join":
                await self._assembly.join()
            case "leave":
                self._gone.add(step.node)
                await self._assembly.leave(node, self._member(node))
                self._happened(f"{step.node}: gone")
            case "rotate":
                await self._assembly.rotate(node, self._member(node))
                self._happened(f"{step.node}: new keys")
            case _:
                await self._perturb(step)

    def _member(self, node: int) -> int:
        return self.servers.members[node]

    async def _perturb(self, step: Step) -> None:
        """Break a node for a while; for 0 until a restart. What is killed comes back with what its disk has."""
        node, engine = place(step.node), self._engine
        self._perturbations += 1
        self._happened(f"{step.node}: {step.do}")
        match step.do:
            case "pause":
                engine.pause(node)
                self.servers.pause(node)
            case "disconnect":
                self._disconnected[step.node] += 1
                engine.cut(self._around([step.node]))
            case _:
                self.servers.stop(node)
                await engine.stop_validator(node)
        if step.do != "restart":
            if step.for_ == 0:
                return
            await self._time.sleep(step.for_)
        if step.node in self._gone:
            return
        match step.do:
            case "pause":
                self.servers.resume(node)
                engine.resume(node)
            case "disconnect":
                self._reconnect(step.node)
            case _:
                await engine.start_validator(node)
                self.servers.start(node)
                while step.do == "restart" and self._disconnected[step.node]:
                    self._reconnect(step.node)
        self._happened(f"{step.node}: back")

    def _reconnect(self, node: str) -> None:
        """Undo one disconnection, unless a restart has."""
        if self._disconnected[node]:
            self._disconnected[node] -= 1
            self._engine.mend(self._around([node]))

    async def _cut(self, fault: FaultPart) -> None:
        """Break links for a while; for 0 to the end."""
        what = f"{fault.do} {', '.join(fault.nodes)}"
        breaks, mends = self._engine.cut, self._engine.mend
        match fault.do:
            case "partition":
                links = self._around(fault.nodes)
            case "one-way partition":
                links = links_from(fault.nodes, (), self.network.validators)
            case "clog":
                links = links_from(fault.nodes, fault.to, self.network.validators)
                breaks, mends = self._engine.clog, self._engine.unclog
        self._perturbations += 1
        self._happened(what)
        breaks(links)
        if fault.for_:
            await self._time.sleep(fault.for_)
            mends(links)
            self._happened(f"{what}: over")

    async def _lie(self, lie: LiePart) -> None:
        """Let validators lie, for good or for a while."""
        for node in lie.nodes:
            self._engine.lie(place(node), Lie(Habit(lie.habit), lie.heights))
        if lie.heights is None:
            self._happened(f"{', '.join(lie.nodes)}: {lie.habit}")
        if lie.seconds is not None:
            await self._time.sleep(lie.seconds[1] - self._elapsed())
            for node in lie.nodes:
                self._engine.lie(place(node), None)
            self._happened(f"{', '.join(lie.nodes)}: honest")

    def _around(self, nodes: Sequence[str]) -> list[tuple[int, int]]:
        """Return the links between nodes and all others, in both directions."""
        out = links_from(nodes, (), self.network.validators)
        return [*out, *((b, a) for a, b in out)]

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
        names = self._names()
        lines = [f"{seconds:.2f} s: {what}" for seconds, what in self._evidence.happened]
        for height in map(Height, range(1, self._top() + 1)):
            header, commit = self._engine.header(height), self._engine.commit(height)
            signed = sum(vote.flag == BlockIdFlag.COMMIT for vote in commit.signatures)
            line = (
                f"height {height}: {header.time.to_ns() / _NS - EPOCH:.3f} s, round {commit.round}, "
                f"proposed by {names[header.proposer_address]}, {len(self._engine.transactions(height))} transactions, "
                f"signed by {signed}"
            )
            line += "".join(f", proof against {node}" for node in self._convicted(height))
            lost = (f"round {one.round} of {names[one.proposer]} lost: {one.why}" for one in self._lost.get(height, ()))
            lines.append("; ".join([line, *lost]))
        for outcome in self.log.outcomes:
            lines.append(
                f"round {outcome.round}: height {outcome.height}, agreed {outcome.agreed}, model {outcome.model.hex()}"
            )
            lines += [
                f"  client {payment.client}: theta {payment.theta} ppb, {payment.reward} wei"
                for payment in self.log.payments.get(outcome.round, [])
            ]
        registry = bindings.Registry(self.network.web3(self.servers.first), addresses.REGISTRY)
        suspended = [number for number, edge in enumerate(self.roles.edges, 1) if _is_suspended(registry, edge)]
        lines += [f"node{number}: its edge server is suspended" for number in suspended]
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
        if wanted.accused is not None:
            self._found.append(self._accused(wanted.accused))
        if wanted.lost_least or wanted.lost_most is not None:
            self._found.append(self._rounds_lost())
        self._found += rounds_and_accuracy(wanted, self.log.version, self.best_accuracy)
        if wanted.finals_present:
            self._found.append(self._finals_present())

    def _members(self) -> dict[str, Member]:
        """Return those that have not left."""
        return {name: member for name, member in self._everybody().items() if name not in self._gone}

    def _everybody(self) -> dict[str, Member]:
        return {f"node{number + 1}": self._engine.member(number) for number in range(self.network.validators)}

    def _names(self) -> dict[bytes, str]:
        """Return whose each validator's address is, or was."""
        return {address: name for name, member in self._everybody().items() for address in member.addresses}

    def _top(self) -> Height:
        return max(member.height for member in self._members().values())

    @property
    def _lost(self) -> dict[int, tuple[Lost, ...]]:
        return self._engine.lost

    async def _level(self) -> Assertion:
        goal = self._top()
        limit = self._time.monotonic() + LEVEL_S
        while behind := [name for name, member in self._members().items() if member.height < goal]:
            if self._time.monotonic() > limit:
                detail = f"{', '.join(behind)} not at height {goal} after {LEVEL_S:g} s"
                return Assertion(name="level", holds=False, detail=detail)
            await self._time.sleep(SAMPLE_S)
        return Assertion(name="level", holds=True, detail=f"all nodes reached height {goal}")

    def _no_fork(self) -> Assertion:
        members = self._everybody()
        newest = self._top()
        for height in map(Height, range(1, newest + 1)):
            there = {name: member for name, member in members.items() if member.height >= height}
            hashes = {name: header_hash(member.header(height)) for name, member in there.items()}
            if len(set(hashes.values())) > 1:
                differing = ", ".join(f"{name} {value.hex()[:16]}" for name, value in hashes.items())
                return Assertion(name="no fork", holds=False, detail=f"height {height}: {differing}")
        return Assertion(name="no fork", holds=True, detail=f"{len(members)} nodes, one chain up to height {newest}")

    def _convicted(self, height: Height) -> list[str]:
        """Name whom the evidence in a block convicts."""
        names = self._names()
        evidence = map(decode_evidence, self._engine.evidence(height))
        return [names[one.validator] for found in evidence for one in accusations(found)]

    def _accused(self, wanted: Sequence[str]) -> Assertion:
        found = sorted({name for height in range(1, self._top() + 1) for name in self._convicted(Height(height))})
        holds = found == sorted(set(wanted))
        return Assertion(name="evidence", holds=holds, detail=f"against {', '.join(found) or 'nobody'}")

    def _rounds_lost(self) -> Assertion:
        wanted, lost = self._manifest.assert_, sum(map(len, self._lost.values()))
        most = wanted.lost_most
        bounds = f"{wanted.lost_least} or more" if most is None else f"{wanted.lost_least} to {most}"
        holds = lost >= wanted.lost_least and (most is None or lost <= most)
        return Assertion(name="rounds lost", holds=holds, detail=f"{lost} of {bounds}")

    def _finals_present(self) -> Assertion:
        """Every record that a client was told is on the ledger is there, on every node."""
        path = self._out / "run" / "clients" / "final.jsonl"
        promised = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        for name in self._members():
            w3 = self.network.web3(place(name))
            there = {(event.client, event.digest.hex()) for event in recorded_on(w3, JOB)}
            lost = [entry for entry in promised if (entry["client"], entry["digest"]) not in there]
            if lost:
                detail = f"{name} lacks {len(lost)} of {len(promised)}, first {lost[0]}"
                return Assertion(name="finals present", holds=False, detail=detail)
        detail = f"{len(promised)} records, all on {len(self._members())} nodes"
        return Assertion(name="finals present", holds=bool(promised), detail=detail)

    def _audit(self) -> Assertion:
        """Replay the whole history from every store, and compare."""
        from node.audit import audit_directory  # noqa: PLC0415 - loads the EVM

        report = audit_directory(self.directory, genesis_hash=self.genesis_hash)
        (self._out / "audit.json").write_bytes(msgspec.json.format(msgspec.json.encode(report.to_json())))
        (self._out / "audit.txt").write_text("\n".join([*report.lines, ""]), encoding="utf-8")
        return Assertion(name="audit clean", holds=report.ok, detail=report.lines[-1])
