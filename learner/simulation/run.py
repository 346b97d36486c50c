"""A simulated run in virtual time: events in order of time, those of one moment as they were made."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from heapq import heappop, heappush
from typing import TypeAlias

import numpy as np

from learner.allocation.plan import Task
from learner.allocation.planning import Work
from learner.context import Context
from learner.contribution import rule
from learner.data import Dataset, Split
from learner.errors import InvalidScenario
from learner.fixedpoint import Model, Reals, Rejected, encode_model
from learner.models import build, dimension, flatten
from learner.simulation.accounts import Accounts
from learner.simulation.clients import Clients
from learner.simulation.edge import EdgeServers, hold_out
from learner.simulation.ledger import Ledger, Record, Round
from learner.simulation.population import Client, Role, population
from learner.simulation.scenario import Asynchronous, Scenario, Synchronous, check_scenario
from learner.simulation.timing import MICROSECONDS, Connections, Stopwatch
from learner.simulation.truth import Truth, Values
from learner.training import Quality, evaluate, quality, sample_losses
from merit.chance import seed_of, seeded

EMPTY_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Started:
    """The beginning: how many parameters the model has, what each client is, by its number, and the scoring rule.

    `watched`: the classes that are; `holders`: the clients with a greater share of them than there is in all samples.
    """

    dimension: int
    roles: tuple[Role, ...]
    scoring: str = ""
    watched: tuple[int, ...] = ()
    holders: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How version `version` does on the test samples; `triggered`: share that a back door sends where it wants.

    `quality`: a closer look, where classes are watched.
    """

    version: int
    at_us: int
    accuracy: float
    loss: float
    triggered: float | None = None
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end: how many updates the clients made, and how many have no place in a round, by reason.

    Where the scenario has costs, `costs[i]` are those of client i, who sent `sent[i]` updates, and `wei_worth` is what
    a wei is worth, both in mean costs of an honest client's update; `left` are the clients who left. `shapley`: what
    the updates of each client who had a record were worth, where that was asked for.
    """

    at_us: int
    updates: int
    refused: dict[str, int]
    costs: tuple[float, ...] = ()
    sent: tuple[int, ...] = ()
    wei_worth: float = 0.0
    left: tuple[int, ...] = ()
    shapley: Values | None = None


Event: TypeAlias = Started | Round | Evaluated | Finished


def simulate(scenario: Scenario, split: Split) -> Iterator[Event]:
    """Run a scenario on a data set; yield the beginning, each decided round, each evaluation, and the end.

    To be run with one torch thread (`learner.training.one_thread`), or equal scenarios may differ in their last bits.

    Raises `InvalidScenario` for parts that contradict each other, or if nobody can send any more, and what partitions,
    models, terms and training raise.
    """
    check_scenario(scenario)
    return _Run(scenario, split).events()


class _Step(IntEnum):
    START = 0
    ARRIVE = 1
    TICK = 2


class _Run:
    """One run under way."""

    def __init__(self, scenario: Scenario, split: Split) -> None:
        seed = scenario.seed
        self._scenario = scenario
        dealt, roots = hold_out(scenario, split.train)
        self._everybody = population(scenario, dealt)
        first = _first_model(scenario, split)
        terms = scenario.terms(len(first))
        needs = rule(scenario.rules.scoring, scenario.rules.version).needs
        publish = EdgeServers(scenario, needs, roots, len(dealt) / scenario.clients)
        server = scenario.server
        self._ledger = Ledger(
            terms,
            first,
            scenario.rules.base_reward_wei,
            publish,
            scenario.plan_terms(),
            context=Context(weights=scenario.edge.objective.prices(split.train.classes)),
            sealed=scenario.edge.sealed,
            target_staleness=server.target_staleness if isinstance(server, Asynchronous) else None,
            most_phi=(server.concurrency if isinstance(server, Asynchronous) else 0) or scenario.clients,
        )
        self._clients = Clients(scenario, self._everybody, self._ledger)
        slow = {one.number: scenario.outliers.slow_factor for one in self._everybody if one.role is Role.SLOW}
        owners = {one.number: one.device for one in self._everybody}
        if scenario.deviation is not None and scenario.deviation.identities > 1:
            shared = float(scenario.deviation.identities)
            slow |= {one.number: shared for one in self._everybody if one.role is Role.DEVIANT}
        self._stopwatch = Stopwatch(scenario.speed, slow, seed, owners)
        self._accounts = Accounts(scenario, self._everybody, self._stopwatch, len(first))
        self._connections = Connections(scenario.mobility, seed)
        self._taking_part = [one for one in self._everybody if not _stays_away(scenario, one)]
        kept = scenario.evaluation_samples or len(split.test)
        self._test = split.test.subset(np.arange(min(kept, len(split.test))))
        self._triggered = None if scenario.attack is None else scenario.attack.trigger(self._test)
        self._judge = build(scenario.model, features=split.train.features, classes=split.train.classes)
        permutations = scenario.shapley_permutations
        self._truth = Truth(self._losses, self._test.labels, permutations, seed) if permutations else None
        self._turns = seeded(seed, "turns")
        self._left: set[int] = set()
        self._updates = 0
        self._under_way: dict[int, tuple[Task, int]] = {}  # what each client does, and for how many microseconds

    def events(self) -> Iterator[Event]:
        roles = tuple(one.role for one in self._everybody)
        watched = self._scenario.watched
        holders = self._holders() if watched else frozenset()
        yield Started(len(self._ledger.model), roles, self._scenario.rules.scoring, watched, holders)
        yield self._evaluated(0)
        rounds = self._asynchronous if isinstance(self._scenario.server, Asynchronous) else self._synchronous
        at_us = evaluated = 0
        for decided in rounds():
            at_us = decided.at_us
            yield decided
            self._let_go(decided)
            if self._truth is not None:
                self._truth.decided(decided)
            over = 0 < self._scenario.seconds <= at_us / MICROSECONDS
            last = over or decided.number == self._scenario.rounds
            if last or decided.number % self._scenario.evaluate_every == 0:
                evaluated = decided.number
                yield self._evaluated(at_us)
            if last:
                break
        if evaluated < self._ledger.version:  # everybody left
            yield self._evaluated(at_us)
        refused = Counter(str(why) for counted in (self._ledger, self._clients) for why in counted.refused.elements())
        yield Finished(
            at_us,
            self._updates,
            dict(sorted(refused.items())),
            self._accounts.costs(self._clients.sent, self._clients.passes),
            tuple(self._clients.sent[one.number] for one in self._everybody),
            self._accounts.wei_worth,
            tuple(sorted(self._left)),
            None if self._truth is None else self._truth.values,
        )

    # -- the two kinds of servers -----------------------------------------------------------------------------------

    def _asynchronous(self) -> Iterator[Round]:
        """Yield rounds without end: whoever is free trains, and a round is decided when it is full or overdue."""
        server = self._scenario.server
        if not isinstance(server, Asynchronous):
            raise TypeError(server)
        wait_us = round(server.max_wait_seconds * MICROSECONDS)
        concurrency = server.concurrency or len(self._taking_part)
        agenda: list[tuple[int, int, _Step, int, int]] = [(wait_us, 0, _Step.TICK, 0, 0)]
        made = 1
        busy: set[int] = set()
        started_at: dict[int, int] = {}  # client -> version: at most one update from each
        overdue = False
        now = 0
        while self._taking_part:
            free = [
                one.number
                for one in self._taking_part
                if one.number not in busy and started_at.get(one.number) != self._ledger.version
            ]
            while free and len(busy) < concurrency:
                client = free.pop(self._turns.randrange(len(free)))
                busy.add(client)
                heappush(agenda, (self._connections.from_us(client, now), made, _Step.START, client, 0))
                made += 1
            if not agenda:
                raise InvalidScenario(reason=f"from version {self._ledger.version} on nobody can send any more")
            now, _, step, client, version = heappop(agenda)
            match step:
                case _Step.START:
                    started_at[client] = self._ledger.version
                    base = self._clients.base(client)
                    heappush(agenda, (self._arrival_us(client, now), made, _Step.ARRIVE, client, base))
                    made += 1
                    continue
                case _Step.ARRIVE:
                    busy.discard(client)
                    self._send(client, version, now)
                case _Step.TICK:
                    overdue = overdue or version == self._ledger.version
            if self._ledger.full or (overdue and self._ledger.pending):
                overdue = False
                yield self._ledger.close(now)
                heappush(agenda, (now + wait_us, made, _Step.TICK, 0, self._ledger.version))
                made += 1

    def _synchronous(self) -> Iterator[Round]:
        """Yield rounds without end: phi clients train from one version, and the slowest decides when it ends."""
        server = self._scenario.server
        if not isinstance(server, Synchronous):
            raise TypeError(server)
        now = empty = 0
        while empty < EMPTY_ROUNDS:
            there = [one.number for one in self._taking_part]
            if not there:
                return
            chosen = self._turns.sample(there, min(server.phi, len(there)))
            arrivals = sorted(
                (self._arrival_us(client, self._connections.from_us(client, now)), client, self._clients.base(client))
                for client in chosen
            )
            for now, client, base in arrivals:
                self._send(client, base, now)
            empty = 0 if self._ledger.pending else empty + 1
            if self._ledger.pending:
                yield self._ledger.close(now)
        raise InvalidScenario(reason=f"from version {self._ledger.version} on nobody sends what a round can take")

    def _let_go(self, decided: Round) -> None:
        """Let those leave for whom taking part does not pay."""
        self._accounts.decided(decided)
        if self._scenario.leaving is not None:
            self._left |= self._accounts.losing(self._clients.sent, self._clients.passes, self._scenario.leaving.after)
            self._taking_part = [one for one in self._taking_part if one.number not in self._left]

    def _arrival_us(self, client: int, start_us: int) -> int:
        scenario, number, task = self._scenario, self._clients.sent[client], self._clients.task(client)
        ordinary = (
            task if scenario.allocation is None else Task(scenario.allocation.samples, scenario.training.epochs, 0)
        )
        share = task.samples * task.epochs / (ordinary.samples * ordinary.epochs)
        taken = self._stopwatch.duration_us(client, number, task.samples, task.epochs, share=share)
        self._under_way[client] = task, taken
        deviation = scenario.deviation if self._everybody[client].role is Role.DEVIANT else None
        if deviation is not None:
            taken += round(deviation.delay_seconds * MICROSECONDS)
        return self._connections.from_us(client, start_us + taken)

    def _send(self, client: int, base: int, at_us: int) -> None:
        self._updates += 1
        task, taken = self._under_way[client]
        update = self._clients.update(client, base, task)
        if update is None:
            return
        work = Work(client, task.samples, task.epochs, taken, 0, 0)
        record = Record(client, base, update, len(self._everybody[client].data), at_us, work)
        if self._ledger.receive(record) is None:
            self._clients.publish(record)

    def _losses(self, model: Reals) -> Reals:
        return sample_losses(self._judge, model, self._test)

    def _evaluated(self, at_us: int) -> Evaluated:
        version = self._ledger.version
        vector = self._clients.model(version)
        found = evaluate(self._judge, vector, self._test)
        triggered = None if self._triggered is None else evaluate(self._judge, vector, self._triggered).accuracy
        closely = quality(self._judge, vector, self._test) if self._scenario.watched else None
        return Evaluated(version, at_us, found.accuracy, found.loss, triggered, closely)

    def _holders(self) -> frozenset[int]:
        """Tell which clients have more of the watched classes, by share of their samples, than all have together."""
        watched = {one.number: np.isin(one.data.labels, self._scenario.watched) for one in self._everybody}
        fair = np.concatenate([*watched.values()]).mean()
        return frozenset(number for number, own in watched.items() if own.mean() > fair)


def _first_model(scenario: Scenario, split: Split) -> Model:
    """Make version 0; all scenarios of one seed and model start from the same."""
    data: Dataset = split.train
    seed = seed_of(scenario.seed, "model") >> 1
    module = build(scenario.model, features=data.features, classes=data.classes, seed=seed)
    terms = scenario.terms(dimension(module))
    encoded = encode_model(flatten(module), terms.model_fraction_bits)
    if isinstance(encoded, Rejected):
        raise InvalidScenario(reason=f"the first model: {encoded.detail}")
    return encoded


def _stays_away(scenario: Scenario, client: Client) -> bool:
    return scenario.attackers_away and client.role is Role.ATTACKER
