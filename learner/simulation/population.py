"""Who takes part: each client's samples, and whether it attacks or is an honest outlier."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from learner.data import Dataset
from learner.data.dataset import Indices
from learner.data.partition import concentrate, dirichlet, iid, label_shards, quantity_skew
from learner.data.skew import noisy
from learner.errors import InvalidScenario
from learner.simulation.scenario import IID, Dirichlet, FeatureSkew, LabelShards, QuantitySkew, Scenario
from merit.chance import seed_of, seeded


class Role(StrEnum):
    """What a client is."""

    PLAIN = "plain"
    RARE = "rare-label"
    SMALL = "small-data"
    SLOW = "slow"
    ATTACKER = "attacker"
    DEVIANT = "deviant"


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """A client and its own samples; its number is its place in the population, `device` that of the device's owner."""

    number: int
    role: Role
    data: Dataset
    device: int


def population(scenario: Scenario, train: Dataset) -> list[Client]:
    """Deal the training samples out and cast the roles, both by the scenario's seed.

    Partition and roles do not depend on what the attackers do, so that runs with different attacks compare.
    Raises `InvalidPartition` if the samples cannot be dealt as asked, `InvalidScenario` for a label that is not there.
    """
    roles = _roles(scenario)
    parts = _partition(scenario, train)
    outliers = scenario.outliers
    if outliers.rare:
        if outliers.rare_label >= train.classes:
            raise InvalidScenario(reason=f"rare_label = {outliers.rare_label}: choose 0 to {train.classes - 1}")
        holders = [number for number, role in enumerate(roles) if role is Role.RARE]
        parts = concentrate(parts, train.labels, label=outliers.rare_label, holders=holders, seed=scenario.seed)
    clients = []
    for number, (role, part) in enumerate(zip(roles, parts, strict=True)):
        own = part
        if role is Role.SMALL:
            kept = max(1, round(outliers.small_share * len(part)))
            own = np.sort(np.array(seeded(scenario.seed, "small", number).sample(part.tolist(), kept)))
        clients.append(Client(number, role, train.subset(own), number))
    if isinstance(scenario.partition, FeatureSkew):
        worst, last = scenario.partition.deviation, max(1, scenario.clients - 1)
        clients = [
            replace(
                one,
                data=noisy(
                    one.data, deviation=worst * one.number / last, seed=seed_of(scenario.seed, "skew", one.number)
                ),
            )
            for one in clients
        ]
    return _split_up(clients, scenario)


def _split_up(clients: list[Client], scenario: Scenario) -> list[Client]:
    """Put further identities of the deviating client at the end, and deal its samples to all of them."""
    identities = 1 if scenario.deviation is None else scenario.deviation.identities
    if identities == 1:
        return clients
    whole = next(one for one in clients if one.role is Role.DEVIANT)
    order = list(range(len(whole.data)))
    seeded(scenario.seed, "split", whole.number).shuffle(order)
    if len(order) < identities:
        raise InvalidScenario(reason=f"{len(order)} samples for {identities} identities: choose fewer")
    parts = [whole.data.subset(np.sort(part)) for part in np.array_split(np.array(order), identities)]
    first = replace(whole, data=parts[0])
    others = [replace(whole, number=len(clients) + at, data=part) for at, part in enumerate(parts[1:])]
    return [first if one is whole else one for one in clients] + others


def _roles(scenario: Scenario) -> list[Role]:
    outliers = scenario.outliers
    adverse = Role.PLAIN if scenario.attack is None and not scenario.attackers_away else Role.ATTACKER
    cast = (
        [adverse] * scenario.attacking
        + [Role.RARE] * outliers.rare
        + [Role.SMALL] * outliers.small
        + [Role.SLOW] * outliers.slow
    )
    if scenario.deviation is not None:
        cast.append(Role.DEVIANT)
    cast += [Role.PLAIN] * (scenario.clients - len(cast))
    order = list(range(scenario.clients))
    seeded(scenario.seed, "roles").shuffle(order)
    roles = [Role.PLAIN] * scenario.clients
    for number, role in zip(order, cast, strict=True):
        roles[number] = role
    return roles


def _partition(scenario: Scenario, train: Dataset) -> list[Indices]:
    clients, seed, labels = scenario.clients, scenario.seed, train.labels
    match scenario.partition:
        case IID() | FeatureSkew():
            return iid(labels, clients=clients, seed=seed)
        case LabelShards(shards=shards):
            return label_shards(labels, clients=clients, shards=shards, seed=seed)
        case Dirichlet(alpha=alpha):
            return dirichlet(labels, clients=clients, alpha=alpha, seed=seed)
        case QuantitySkew(beta=beta):
            return quantity_skew(labels, clients=clients, beta=beta, seed=seed)
