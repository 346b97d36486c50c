"""One run, from the first record to the last reward.

Edge servers work on an embedded ledger in this process, clients in another.

A run directory holds everything: `run.toml`, `genesis.json`, `keys/`, `validators/`, `edge/N/blobs/`, `clients/`,
`events.jsonl`, `report/`.
Started again on the same directory, the run goes on where it stopped.

A job that closes settles what is recorded first, in as many rounds as that takes: the ledger asks for it, so that
nobody's work goes unpaid. Those rounds take only old updates, which can ruin a model. So the run closes its job as soon
as the available records suffice for the last round of the plan, and its model is the one that this round makes.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tomli_w

from chain.crypto.schemes import Scheme
from contracts import addresses, bindings
from contracts.events import Forfeited, Vested
from contracts.records import blob_digest
from learner.allocation.plan import Plan
from merit.chance import seed_of, seeded
from merit.clock import Clock
from node.configuration import parse_toml
from node.dashboard.local import RunDashboard
from node.edge.local import LocalEdgeServers, member_sender
from node.edge.references import Teach
from node.edge.server import JobDesk
from node.errors import RunDirectoryError
from node.founding import Membership
from node.jobs import JobFile, decode_job_file
from node.network import LocalNetwork, MakesEngine
from node.rounds.log import JobLog, JobStatus, RoundOutcome
from node.run.clients import ClientSpec, HostSpec
from node.run.config import RunFile, partition_of, references_of
from node.run.events import (
    Accuracy,
    Allocated,
    Event,
    EventLog,
    PaySettled,
    RecordPaid,
    Refusals,
    RoundDone,
    RunStarted,
    Share,
)
from node.run.household import Household, Subprocess
from node.run.phases import Phase, enter

_log = logging.getLogger(__name__)

STEP_S = 0.01
JOB = 1
CALL_GAS = 4_000_000
REFERENCES_FROM = 3
"""The first contracts version whose Ledger takes commitments to references."""
VESTING_FROM = 4
"""The first contracts version under which pay can vest."""
CLOSING_GRACE_S = 60.0
"""For a round of a job that closes, beyond what the job's own deadlines allow."""
MEASURING_GRACE_S = 10.0
"""How long a run that is over waits for the accuracy of its model."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a run in virtual time is given: where its clients live, the seed of everybody's keys, its engine."""

    household: Household
    seed: int
    engine: MakesEngine


@dataclass(frozen=True, slots=True)
class Roles:
    """Member ids of a run: edge servers first, then clients, then the sponsor."""

    edges: tuple[int, ...]
    clients: tuple[int, ...]
    sponsor: int


def roles_of(run: RunFile) -> Roles:
    """Give the members of a run their ids, from 1."""
    edges = tuple(range(1, run.network.edge_servers + 1))
    clients = tuple(range(len(edges) + 1, len(edges) + run.clients.count + 1))
    return Roles(edges, clients, len(edges) + len(clients) + 1)


def client_intervals(run: RunFile) -> list[float]:
    """Return the seconds in which each client's samples come.

    The interval, times a log-normal factor of the client's own, times the slow ones' factor.
    """
    chance = seeded(run.seed, "speeds")
    factors = [chance.lognormvariate(0.0, run.clients.spread) for _ in range(run.clients.count)]
    first_slow = run.clients.count - run.clients.slow
    return [
        run.clients.interval * factor * (run.clients.slow_factor if index >= first_slow else 1.0)
        for index, factor in enumerate(factors)
    ]


def _contracts_of(run: RunFile) -> int | None:
    """Return the version of the contracts that a run needs, None for the first."""
    if run.vesting.rounds:
        return VESTING_FROM
    return None if references_of(run) is None else REFERENCES_FROM


class Session:
    """A run in progress.

    Args:
        directory: where everything lies.
        run: what to run; must be what the directory holds already, if it holds a run.
        clock: real time, unless `simulated`.
        feed: called with every event of the run, in order.
        source: the run file or preset that `run` came from.
        simulated: for a run in virtual time, which has no threads and no other processes.
        show: shows the run to people while it goes on.
        council: the edge servers govern by vote.

    """

    def __init__(
        self,
        directory: Path,
        run: RunFile,
        clock: Clock,
        feed: Callable[[Event], None],
        *,
        source: str,
        simulated: Simulated | None = None,
        show: RunDashboard | None = None,
        council: bool = False,
    ) -> None:
        """Prepare the directory.

        Raises:
            RunDirectoryError: it holds another run.

        """
        self.directory = directory
        self.run_file = run
        self.roles = roles_of(run)
        self._clock = clock
        self._feed = feed
        self._source = source
        self._show = show
        self.genesis_hash = b""
        self.head: int | None = None
        self.data_sizes: dict[int, int] = {}
        self._keep_run_file()
        self.events = EventLog(directory / "events.jsonl")
        self._accuracy = EventLog(directory / "clients" / "accuracy.jsonl")
        self._reported = sum(isinstance(event, RoundDone) for event in self.events.read())
        self._settled = {event.round for event in self.events.read() if isinstance(event, PaySettled)}
        self._refusals: dict[int, dict[str, int]] = {}
        self.best_accuracy = 0.0
        self.accuracies: dict[int, float] = {}
        """Test accuracy by version, in the order of versions."""
        self.network = LocalNetwork(
            directory,
            chain_id=run.network.chain_id,
            validators=run.network.edge_servers,
            block_interval=run.network.block_interval,
            empty_interval=run.network.empty_interval,
            members=self._memberships(),
            tokens={self.roles.sponsor: self._budget()},
            contracts=_contracts_of(run),
            council=True if council else None,
            clock=clock,
            key_seed=simulated.seed if simulated else None,
            threads=simulated is None,
            engine=simulated.engine if simulated else None,
        )
        self._household = simulated.household if simulated else Subprocess(directory / "clients")
        self.servers: LocalEdgeServers

    @property
    def resumed(self) -> bool:
        """Whether the directory held this run already."""
        return self._resumed

    async def run(self) -> None:
        """Run until enough rounds are decided, then close the job and pay out what is left."""
        async with contextlib.AsyncExitStack() as stack:
            enter(Phase.START)
            await self.network.start()
            stack.push_async_callback(self.network.stop)
            self.genesis_hash = self.network.genesis_hash
            self._tell(self._started())
            show = self._show
            if show is not None:
                await show.open(self.network)
                stack.push_async_callback(show.pause)
            enter(Phase.OPENING)
            scored = None if show is None else show.scored
            teach = self._teachers()
            self.servers = LocalEdgeServers(self.network, self.roles.edges, self._clock, teach=teach, scored=scored)
            if show is not None:
                show.watch(self.network, self.servers.servers[0])
            urls = await self._household.reach(self.servers, stack)
            self._step()
            if lived_in := not self._closed():
                await self._household.move_in(self._host_spec(urls), stack)
                await self._open_job()
                enter(Phase.TRAINING)
                await self.train()
            self.data_sizes = dict(self._prepared()[0].samples_by_member())
            enter(Phase.CLOSING)
            await self._close_job()
            if lived_in:
                await self._be_measured()
            await self.conclude()

    def _teachers(self) -> dict[int, Teach]:
        """Give each edge server private samples if the scoring rule needs references."""
        if references_of(self.run_file) is None:
            return {}
        from node.edge.roots import RootSamples  # noqa: PLC0415 - see above
        from node.run.preparation import root_samples  # noqa: PLC0415 - loads torch, which other rules do without here

        seed = self.run_file.seed
        return {
            member: RootSamples(samples, seed_of(seed, "edge server", member))
            for member, samples in zip(self.roles.edges, root_samples(self.run_file), strict=True)
        }

    # -- set-up -----------------------------------------------------------------------------------------------------

    def _keep_run_file(self) -> None:
        path = self.directory / "run.toml"
        self._resumed = path.exists()
        if self._resumed:
            if parse_toml(path.read_bytes(), RunFile, str(path)) != self.run_file:
                msg = f"{self.directory} holds another run: name another --dir, or repeat the flags of that one"
                raise RunDirectoryError(msg)
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(tomli_w.dumps(msgspec.to_builtins(self.run_file)), encoding="utf-8")
        partial.replace(path)

    def _memberships(self) -> list[Membership]:
        return [
            *(Membership(bindings.Role.EDGE_SERVER, Scheme.ML_DSA_44) for _ in self.roles.edges),
            *(Membership(bindings.Role.CLIENT, Scheme.ML_DSA_44) for _ in self.roles.clients),
            Membership(bindings.Role.SPONSOR, Scheme.ML_DSA_44),
        ]

    def _budget(self) -> int:
        """Enough for every round, and for the records that come while the last ones are decided."""
        return (self.run_file.rounds + 8) * self.run_file.round.base_reward * 10**18

    async def _open_job(self) -> None:
        """Create the job as its sponsor, unless an earlier life of this run did; return when it is open."""
        job_file, model = self._prepared()
        for edge in self.servers.servers:
            edge.blobs.put(job_file.encode())
            edge.blobs.put(model)
        if self._desk() is None:
            sponsor = member_sender(self.network, self.roles.sponsor, self._clock)
            terms = job_file.ledger_terms(model=blob_digest(model), edge_set=1)
            budget = self._budget()
            approve = bindings.Token.encode_approve(addresses.LEDGER, budget)
            sponsor.send("approve", to=addresses.TOKEN, data=approve, gas=CALL_GAS)
            create = bindings.Ledger.encode_create_job(terms, budget)
            sponsor.send("create", to=addresses.LEDGER, data=create, gas=CALL_GAS)
            if job_file.vests:
                vest = bindings.Ledger.encode_vest_pay(JOB, addresses.VESTING, job_file.vests)
                sponsor.send("vest", to=addresses.LEDGER, data=vest, gas=CALL_GAS)
        await self._step_until(self._opened)

    def _opened(self) -> bool:
        desk = self._desk()
        if desk is not None and desk.refusal:
            msg = f"the edge servers refuse the job: {desk.refusal}"
            raise RunDirectoryError(msg)
        return desk is not None and desk.log.status is not JobStatus.PROPOSED

    def _prepared(self) -> tuple[JobFile, bytes]:
        """Return the job file and model 0's blob, as the clients' process left them."""
        job_file = decode_job_file((self._preparation / "job.toml").read_bytes())
        return job_file, (self._preparation / "model-0.bin").read_bytes()

    @property
    def _preparation(self) -> Path:
        return self.directory / "job"

    def _desk(self) -> JobDesk | None:
        return next((server.jobs.get(JOB) for server in self.servers.servers), None)

    @property
    def log(self) -> JobLog:
        """The first edge server's log of the job; the job must have been opened."""
        return self.servers.servers[0].jobs[JOB].log

    def _started(self) -> RunStarted:
        run = self.run_file
        return RunStarted(
            seconds=self.seconds(),
            title=run.title,
            genesis_hash=f"0x{self.genesis_hash.hex()}",
            chain_id=run.network.chain_id,
            edge_servers=run.network.edge_servers,
            clients=run.clients.count,
            rounds=run.rounds,
            seed=run.seed,
            preset_or_file=self._source,
            model=run.model,
            data=run.data.name,
            rule=run.rules.scoring,
            aggregation=run.rules.aggregation,
            phi=run.round.phi,
            vesting=run.vesting.rounds,
            label_flippers=self.roles.clients[: run.clients.label_flippers],
            partition=partition_of(run),
            slow=run.clients.slow,
            slow_factor=run.clients.slow_factor,
            allocation=run.allocation.rule,
            resumed=self._resumed,
        )

    # -- the clients ------------------------------------------------------------------------------------------------

    def _host_spec(self, urls: list[str]) -> HostSpec:
        intervals = client_intervals(self.run_file)
        return HostSpec(
            run=self.run_file,
            urls=urls,
            genesis_hash=self.network.genesis_hash.hex(),
            ledger=addresses.LEDGER.hex(),
            job=JOB,
            preparation=str(self._preparation),
            password_file=str(self.network.password_path),
            members=list(self.roles.clients),
            clients=[
                ClientSpec(
                    member=member,
                    share=index,
                    key=str(self.network.member_key_path(member)),
                    interval=intervals[index],
                    first_server=index % len(urls),
                    flips_labels=index < self.run_file.clients.label_flippers,
                )
                for index, member in enumerate(self.roles.clients)
            ],
        )

    # -- the work ---------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        self.servers.step()
        self._report()

    async def _step_until(self, done: Callable[[], bool]) -> None:
        while True:
            self._step()
            if done():
                return
            await self._clock.sleep(STEP_S)

    async def train(self) -> None:
        """Let the edge servers and the clients work until it is enough."""
        await self._step_until(self.enough)

    def enough(self) -> bool:
        """Whether training may end: the accuracy that was asked for, records for enough rounds, or a closed job."""
        self._household.check()
        desk = self._desk()
        in_sight = 0 if desk is None else desk.log.version + desk.log.rounds_at_hand()
        return self._on_target() is not None or in_sight >= self.run_file.rounds or self._closing()

    def _on_target(self) -> int | None:
        """Return the first version that was seen to have the accuracy that was asked for."""
        target = self.run_file.target_accuracy
        return next((version for version, share in self.accuracies.items() if 0 < target <= share), None)

    @property
    def model_version(self) -> int:
        """The version that the run is for: the first on target, else that of its last round; the newest before."""
        reached = self._on_target()
        last = self.run_file.rounds if reached is None else min(reached, self.run_file.rounds)
        return min(last, self.log.version)

    def model_path(self) -> Path:
        """Return where the blob of that version lies."""
        return self.servers.servers[0].blobs.path(self.log.model_at(self.model_version))

    @property
    def accuracy(self) -> float | None:
        """Test accuracy of that version, or of the last one before it that was measured."""
        found = [share for version, share in self.accuracies.items() if version <= self.model_version]
        return found[-1] if found else None

    async def _be_measured(self) -> None:
        """Give the clients' process time to measure the model, if it has not done so."""
        limit = self._clock.monotonic() + MEASURING_GRACE_S
        await self._step_until(lambda: self.model_version in {0, *self.accuracies} or self._clock.monotonic() > limit)

    async def conclude(self) -> None:
        """See where the ledger stands, last of all before it stops."""
        self.head = self.network.web3(self.servers.first).eth.block_number

    def _closed(self) -> bool:
        desk = self._desk()
        return desk is not None and desk.log.status is JobStatus.CLOSED

    def _closing(self) -> bool:
        desk = self._desk()
        return desk is not None and desk.log.status in {JobStatus.CLOSING, JobStatus.CLOSED}

    async def _close_job(self) -> None:
        """Close the job, let the edge servers settle what is recorded, and release every reward."""
        node = self.servers.first
        sponsor = member_sender(self.network, self.roles.sponsor, self._clock, node)
        ledger = bindings.Ledger(self.network.web3(node), addresses.LEDGER)
        if not self._closing():
            sponsor.send("close", to=addresses.LEDGER, data=ledger.encode_close_job(JOB), gas=CALL_GAS)
        terms = self.run_file.round
        allowed = terms.max_wait + terms.record_deadline + terms.attestation_timeout + CLOSING_GRACE_S
        limit, version = self._clock.monotonic() + allowed, 0

        def closed() -> bool:
            nonlocal limit, version
            desk = self._desk()
            if desk is not None and desk.log.version > version:  # a backlog may take many rounds
                limit, version = self._clock.monotonic() + allowed, desk.log.version
            if self._clock.monotonic() > limit:
                msg = f"job {JOB} does not close: no round in {allowed:.0f} s; run again to go on"
                raise RunDirectoryError(msg)
            done = desk is not None and desk.log.status is JobStatus.CLOSED
            return done and desk is not None and not desk.unsettled and not desk.vesting.held

        await self._step_until(closed)
        enter(Phase.RELEASING)
        payers: list[bindings.Ledger | bindings.Vesting] = [ledger]
        if self.run_file.vesting.rounds:  # what was forfeited is the sponsor's
            payers.append(bindings.Vesting(self.network.web3(node), addresses.VESTING))
        due = [
            (payer, member)
            for payer in payers
            for member in (*self.roles.clients, self.roles.sponsor)
            if payer.releasable(member)
        ]
        for payer, member in due:
            release = payer.encode_release(member)
            sponsor.send(f"release {payer.name} {member}", to=payer.address, data=release, gas=CALL_GAS)
        await self._step_until(lambda: not any(sponsor.busy(f"release {payer.name} {member}") for payer, member in due))

    # -- what is told -----------------------------------------------------------------------------------------------

    def seconds(self) -> float:
        """Seconds since the first start of the run."""
        return self.events.seconds(self._clock.now())

    def _tell(self, event: Event) -> None:
        self.events.write(event)
        self._feed(event)

    def _report(self) -> None:
        """Tell every round that is decided and settled since the last call, and every accuracy measured."""
        for measured in self._accuracy.read_new():
            if isinstance(measured, Accuracy) and measured.version > max(self.accuracies, default=0):
                self.accuracies[measured.version] = measured.accuracy
                self.best_accuracy = max(self.best_accuracy, measured.accuracy)
                self._tell(msgspec.structs.replace(measured, seconds=self.events.seconds(measured.seconds)))
        desk = self._desk()
        if desk is None:
            return
        log = desk.log
        while self._reported < len(log.outcomes):
            outcome = log.outcomes[self._reported]
            if outcome.agreed and outcome.round not in log.settled:
                return
            self._reported += 1
            self._tell_plan(log, outcome.round)  # first: a run that goes on tells again what follows the last round
            self._tell(self._round_done(desk, outcome))
        for number, settled in desk.vesting.settled.items():
            if number in log.settled and number not in desk.vesting.held and number not in self._settled:
                self._settled.add(number)
                self._tell(self._pay_settled(number, settled))
        for edge in self.servers.servers:
            if edge.refusals != self._refusals.get(edge.member, {}):
                self._refusals[edge.member] = dict(edge.refusals)
                counts = dict(edge.refusals)
                self._tell(Refusals(seconds=self.seconds(), edge_server=edge.member, counts=counts))

    def _pay_settled(self, number: int, settled: list[Vested | Forfeited]) -> PaySettled:
        return PaySettled(
            seconds=self.seconds(),
            round=number,
            judge=settled[0].judge,
            vested_wei={one.client: str(one.amount) for one in settled if isinstance(one, Vested)},
            forfeited_wei={one.client: str(one.amount) for one in settled if isinstance(one, Forfeited)},
        )

    def _tell_plan(self, log: JobLog, version: int) -> None:
        """Tell the plan that a round made, if it made one."""
        digest = log.plan_at(version)
        if digest == log.plan_at(version - 1):
            return
        plan = Plan.decode(self.servers.servers[0].blobs.get(digest))
        shares = tuple(
            Share(client=one.client, samples=one.samples, epochs=one.epochs, cycle_us=one.cycle_ns // 1000)
            for one in plan.shares
        )
        self._tell(Allocated(seconds=self.seconds(), version=version, shares=shares))

    def _round_done(self, desk: JobDesk, outcome: RoundOutcome) -> RoundDone:
        log = desk.log
        payments = log.payments.get(outcome.round, [])
        entries = () if outcome.selection is None else outcome.selection.records
        records = tuple(
            RecordPaid(
                client=entry.client,
                theta_ppb=payments[index].theta if payments else 0,
                reward_wei=str(payments[index].reward if payments else 0),
                delay=outcome.round - 1 - entry.base,
                counter=entry.counter,
                base=entry.base,
                sequence=entry.sequence,
            )
            for index, entry in enumerate(entries)
        )
        skipped = Counter(
            status.value for _, status in (() if outcome.selection is None else outcome.selection.skipped)
        )
        before = log.outcomes[outcome.round - 2].height if outcome.round > 1 else 0
        waited = bool(before) and all(entry.decided_at <= before for entry in entries)
        block = self.network.web3(self.servers.first).eth.get_block(outcome.height)
        return RoundDone(
            seconds=self.seconds(),
            round=outcome.round,
            height=outcome.height,
            block_hash=bytes(block["hash"]).hex(),
            agreed=outcome.agreed,
            paid=bool(payments),
            phi=outcome.phi,
            reward_wei=str(outcome.reward_wei if payments else 0),
            records=records,
            skipped=dict(skipped),
            voids=log.voids_between(before, outcome.height),
            waited=waited and len(entries) == outcome.phi,
        )
