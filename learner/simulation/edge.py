"""The edge servers of a simulated run: what they commit to for each version, from root samples that nobody else has."""

from collections.abc import Sequence

import numpy as np

from learner.contribution import Needs
from learner.data import Dataset
from learner.errors import InvalidScenario
from learner.fixedpoint import Model, Reals, decode_model
from learner.models import build
from learner.references import References
from learner.roots import contrast_references, in_group, label_references, root_update
from learner.simulation.scenario import Scenario
from learner.sketch import Sketch
from learner.training import SGD
from merit.chance import seed_of, seeded


def hold_out(scenario: Scenario, train: Dataset) -> tuple[Dataset, list[Dataset]]:
    """Draw the root samples of each edge server; return what is left for the clients, and the root sets.

    They are drawn whatever the scoring rule, so that rules are compared on the same clients. Raises `InvalidScenario`
    if nothing is left for clients.
    """
    edge = scenario.edge
    wanted = edge.servers * edge.root_samples
    if wanted >= len(train):
        raise InvalidScenario(reason=f"{wanted} root samples of {len(train)} training samples: choose fewer")
    order = list(range(len(train)))
    seeded(scenario.seed, "roots").shuffle(order)
    drawn = np.array(order, dtype=np.int64)
    roots = [train.subset(np.sort(part)) for part in np.split(drawn[:wanted], edge.servers)]
    return train.subset(np.sort(drawn[wanted:])), roots


class EdgeServers:
    """Publish what a scoring rule needs, and no more: to be called with each version and its model.

    A root update makes as many steps as a client's with `client_samples`, so that it is about as long.
    """

    def __init__(self, scenario: Scenario, needs: Needs, roots: Sequence[Dataset], client_samples: float) -> None:
        """Make the scratch module; liars swap their samples for good."""
        edge = scenario.edge
        self._scenario, self._needs = scenario, needs
        self._roots = [edge.lie.root(root) if at < edge.lying else root for at, root in enumerate(roots)]
        self._module = build(scenario.model, features=roots[0].features, classes=roots[0].classes)
        training = scenario.training
        self._sgds = [
            SGD(
                epochs=max(1, round(training.epochs * client_samples / (len(in_group(root, edge.objective)) or 1))),
                batch_size=training.batch_size,
                learning_rate=training.learning_rate,
                momentum=training.momentum,
            )
            for root in self._roots
        ]

    def __call__(self, version: int, model: Model) -> list[References]:
        """Publish each server's references of this version; raises `TrainingFailed` where the model has diverged."""
        rules, buckets = self._scenario.rules, self._scenario.edge.sketch_buckets
        start = decode_model(model, rules.fraction_bits + rules.shift)
        seed = seed_of(self._scenario.seed, "sketch", version).to_bytes(8, "big")
        sketch = Sketch(seed, buckets) if buckets else None
        return [self._of(number, version, start, sketch) for number in range(len(self._roots))]

    def _of(self, number: int, version: int, start: Reals, sketch: Sketch | None) -> References:
        found = self._learnt(number, version, start, sketch)
        if number >= self._scenario.edge.lying:
            return found
        chance = np.random.default_rng(seed_of(self._scenario.seed, "lie", version))
        return self._scenario.edge.lie.told(found, chance)

    def _learnt(self, number: int, version: int, start: Reals, sketch: Sketch | None) -> References:
        own, objective = self._roots[number], self._scenario.edge.objective
        if not objective.counts(number + 1):
            whole = References((), np.empty((0, len(start)), dtype=np.int16))
            return whole if sketch is None else whole.sketched(sketch)
        found = []
        if self._needs.labels:
            found.append(label_references(self._module, start, own, objective=objective, sketch=sketch))
        elif self._needs.against_rest:
            slopes = self._needs.slopes
            found.append(
                contrast_references(self._module, start, own, objective=objective, slopes=slopes, sketch=sketch)
            )
        if self._needs.root or self._needs.newest_root:
            seed = seed_of(self._scenario.seed, "root", number, version)
            bits = self._scenario.rules.fraction_bits
            sgd = self._sgds[number]
            update = root_update(self._module, start, own, sgd, fraction_bits=bits, seed=seed, objective=objective)
            found.append(update if sketch is None else update.sketched(sketch))
        return found[0] if len(found) == 1 else found[0].joined(found[1])
