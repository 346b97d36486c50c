"""Experiments on a network of processes: CometBFT, real time, real signals."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from chain.crypto.schemes import Scheme
from chain.engines.cometbft import binary
from chain.engines.cometbft.rpc import CometRpc
from chain.engines.errors import UnknownHeightError
from chain.errors import ChainError
from chain.light import Height, header_hash
from contracts import addresses, artifacts
from learner.data import arrays
from merit.clock import Clock
from merit.errors import MeritError
from node.errors import RunDirectoryError
from node.experiments.evidence import Evidence, Sample, rounds_and_accuracy
from node.experiments.ledger import Decision, LoadPart, Manifest, Step, run_file, storm_steps
from node.experiments.manifest import Assertion, Result
from node.load.job import propose
from node.load.running import RunningLoad, prepared
from node.machine.home import NodeHome
from node.run.clients import ClientSpec, HostSpec
from node.run.config import RunFile, references_of
from node.run.events import Accuracy, EventLog
from node.run.session import client_intervals
from node.sponsor import Sponsor, describe, recorded
from node.testnet import membership
from node.testnet.layout import Layout, TestnetFile, free_port_base, make
from node.testnet.supervisor import PERTURBATIONS, Supervisor

if TYPE_CHECKING:
    from node.load.process import LoadFigures

SAMPLE_S = 1.0
FIRST_HEIGHT_S = 300.0
OPENING_S = 120.0
CLOSING_GRACE_S = 120.0
LEVEL_S = 60.0
FORK_STEP = 100
"""Heights between two at which all nodes' headers are compared; each header names the one before it."""


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Run an experiment in directory `out`, which exists and is empty; raises MeritError when that cannot be."""
    return await _Experiment(manifest, out, clock, tell).run()


class _Experiment:
    """One experiment under way."""

    def __init__(self, manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> None:
        self._manifest, self._out, self._clock, self._tell = manifest, out, clock, tell
        self._learning = None if manifest.learning is None else run_file(manifest, manifest.title)
        self._layout = Layout(out / "testnet")
        self._evidence = Evidence()
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
            dashboards=False,  # nobody looks while it is broken on purpose
            contracts=network.contracts or max(artifacts.VERSIONS),
            timing=network.timing,
            snapshots=network.snapshots,
        )
        make(self._layout.directory, file, int(self._clock.now()))
        if self._learning is not None and references_of(self._learning) is not None:
            self._deal_root_samples(self._learning)
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
            assertions = [*self._evidence.over_time(self._manifest.assert_), *await self._at_the_end()]
        figures = self._figures()
        files = self._evidence.write(self._out, self._manifest.title)
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

    def _deal_root_samples(self, run: RunFile) -> None:
        """Give each edge server its private samples; who joins later has none, and commits to no references."""
        from node.run.preparation import root_samples  # noqa: PLC0415 - loads torch, which other rules do without here

        for home, samples in zip(self._layout.homes(), root_samples(run), strict=True):
            arrays.save(home.root_samples, samples)

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
        steps = sorted([*self._manifest.step, *storm_steps(self._manifest)], key=lambda step: step.at)
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

    def _happened(self, line: str) -> None:
        self._evidence.happened.append((round(self._elapsed(), 2), line))
        self._tell(f"{self._elapsed():7.1f} s  {line}")

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._begun

    # -- what must hold ---------------------------------------------------------------------------------------------

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
            best = max((event.accuracy for event in self._accuracies()), default=0.0)
            found += rounds_and_accuracy(wanted, decided, best)
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
        figures = self._evidence.figures() | {"perturbations": self._perturbations}
        if self._load_figures is not None:
            figures["load"] = msgspec.to_builtins(self._load_figures)
        accuracies = self._accuracies()
        if accuracies:
            figures["accuracy"] = round(max(event.accuracy for event in accuracies), 4)
        return figures

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


async def _end_clients(host: asyncio.subprocess.Process) -> None:
    if host.returncode is None and host.stdin is not None:
        host.stdin.close()
        try:
            await asyncio.wait_for(host.wait(), 15.0)
        except TimeoutError:
            host.kill()
            await host.wait()
