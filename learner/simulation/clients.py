"""What the clients of a simulated run do: train and round as real ones, or attack."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from learner.allocation.plan import Task
from learner.allocation.planning import first_samples
from learner.attacks import Attack, Conspiracy, Published, View
from learner.data import Dataset
from learner.data.dataset import Indices
from learner.data.stream import arrivals
from learner.fixedpoint import Encoded, Reals, Refusal, Update, decode_model, encode_update
from learner.models import build
from learner.references import References
from learner.simulation.deviation import AnyDeviation
from learner.simulation.foresight import foreseen, opened
from learner.simulation.ledger import Fate, Ledger, Record
from learner.simulation.population import Client, Role
from learner.simulation.scenario import Scenario
from learner.training import SGD, train
from merit.chance import seed_of

PUBLISHED = 64
"""How many of the newest updates an attacker can look at."""


class Clients:
    """All clients of a run; each keeps its rounding residual, and counts its updates.

    An honest update depends on the scenario's seed, the client, its number and the base model, on nothing else.
    """

    def __init__(self, scenario: Scenario, population: Sequence[Client], ledger: Ledger) -> None:
        """Make the scratch module; nothing is trained yet."""
        features, classes = population[0].data.features, population[0].data.classes
        self._scenario, self._ledger, self._clients = scenario, ledger, population
        self._module = build(scenario.model, features=features, classes=classes)
        training = scenario.training
        self._sgd = SGD(
            epochs=training.epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            momentum=training.momentum,
        )
        self._drawn: Counter[int] = Counter()  # samples of its stream that each client was told to train on
        self._decoded: dict[int, Reals] = {}
        self._residuals: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
        self._published: deque[Published] = deque(maxlen=PUBLISHED)
        members = tuple(one.number for one in population if one.role is Role.ATTACKER)
        self._conspiracy = Conspiracy(members, {}, {})
        self.sent: Counter[int] = Counter()
        self.passes: Counter[int] = Counter()  # samples times epochs that each client trained
        self.refused: Counter[Refusal | Fate] = Counter()

    def base(self, client: int) -> int:
        """Choose the version that a client starts from now."""
        attack = self._attack(client)
        newest = self._ledger.version
        return newest if attack is None else attack.base(newest, self._ledger.oldest)

    def task(self, client: int) -> Task:
        """Say what a client does for its next update, by the plan or the same as all.

        Without an allocation that is the job's epochs on all of its samples.
        """
        allocation, epochs = self._scenario.allocation, self._scenario.training.epochs
        if allocation is None:
            own, deviation = len(self._clients[client].data), self._deviation(client)
            return (
                Task(own, epochs, 0) if deviation is None else Task(deviation.samples(own), deviation.epochs(epochs), 0)
            )
        samples = allocation.samples
        if self._ledger.plan_terms is not None:
            share = self._ledger.plan.share_of(client)
            unknown = first_samples(samples, allocation.least_samples), 1
            samples, epochs = unknown if share is None else (share.samples, share.epochs)
        first = self._drawn[client]
        self._drawn[client] += samples
        return Task(samples, epochs, first)

    def update(self, client: int, base: int, task: Task) -> Update | None:
        """Make a client's next update from version `base`; None if it is refused at the source."""
        if base not in self._ledger.models:
            self.sent[client] += 1
            self.refused[Fate.STALE] += 1  # as the ledger would; so nobody trains it
            return None
        attack, terms = self._attack(client), self._ledger.terms
        residual = None
        if attack is None:
            delta = self._train(client, base, self._told(client, task), task.epochs)
            residual = self._residuals.get(client)
        else:
            delta = attack.update(self._view(client, base, task))
        self.sent[client] += 1
        encoded = encode_update(
            delta,
            terms.fraction_bits,
            None if residual is None else residual.astype(np.float64),
            norm_bound_squared=terms.norm_bound_squared,
        )
        if not isinstance(encoded, Encoded):
            self.refused[encoded.reason] += 1
            return None
        if attack is None:
            self._residuals[client] = encoded.residual.astype(np.float32)
        return encoded.update

    def publish(self, record: Record) -> None:
        """Let everybody see an available update."""
        bits = self._ledger.terms.fraction_bits
        self._published.append(Published(record.client, record.base, record.update, bits))

    def model(self, version: int) -> Reals:
        """Give a version that can still be had, in real numbers, float64[d]."""
        if version not in self._decoded:
            held = self._ledger.models
            self._decoded = {kept: one for kept, one in self._decoded.items() if kept in held}
            self._decoded[version] = decode_model(held[version], self._ledger.terms.model_fraction_bits)
        return self._decoded[version]

    def _attack(self, client: int) -> Attack | None:
        return self._scenario.attack if self._clients[client].role is Role.ATTACKER else None

    def _deviation(self, client: int) -> AnyDeviation | None:
        return self._scenario.deviation if self._clients[client].role is Role.DEVIANT else None

    def _kept(self, client: int, count: int) -> Indices:
        """Choose the samples of a client that trains on few of its own, the same each time."""
        order = np.random.default_rng(seed_of(self._scenario.seed, "kept", client))
        return np.sort(order.permutation(len(self._clients[client].data))[:count])

    def _told(self, client: int, task: Task) -> Dataset:
        """Give the samples of a task."""
        data = self._clients[client].data
        if self._scenario.allocation is None:
            return data if self._deviation(client) is None else data.subset(self._kept(client, task.samples))
        seed = seed_of(self._scenario.seed, "stream", client)
        return data.subset(arrivals(np.arange(len(data)), first=task.first, count=task.samples, seed=seed))

    def _train(self, client: int, base: int, data: Dataset, epochs: int) -> Reals:
        self.passes[client] += len(data) * epochs
        start = self.model(base)
        seed = seed_of(self._scenario.seed, "train", client, self.sent[client])
        return train(self._module, start, data, replace(self._sgd, epochs=epochs), seed=seed) - start

    def _view(self, client: int, base: int, task: Task) -> View:
        chance = np.random.default_rng(seed_of(self._scenario.seed, "attack", client, self.sent[client]))
        return View(
            client=client,
            sent=self.sent[client],
            base=base,
            newest=self._ledger.version,
            oldest=self._ledger.oldest,
            data=self._told(client, task),
            model=self.model,
            published=self._published,
            train=lambda data: self._train(client, base, data, task.epochs),
            conspiracy=self._conspiracy,
            chance=chance,
            opened=opened(self._ledger),
            sealed=lambda server: self._committed(server, base),
            foreseen=lambda update: foreseen(self._ledger, client, self._encoded(update), self._published),
        )

    def _committed(self, server: int, version: int) -> References | None:
        told = self._ledger.context.references.get(version, ())
        return told[server] if server < len(told) else None

    def _encoded(self, update: Reals) -> Update | None:
        """Encode an update as it would be sent; None if it is refused at the source."""
        terms = self._ledger.terms
        found = encode_update(update, terms.fraction_bits, norm_bound_squared=terms.norm_bound_squared)
        return found.update if isinstance(found, Encoded) else None
