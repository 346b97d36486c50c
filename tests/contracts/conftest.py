"""A world with members and one open job, built once; each test gets a copy whose changes vanish."""

from collections.abc import Generator
from dataclasses import dataclass

import pytest
from boa.environment import Env

from contracts.addresses import ZERO
from contracts.bindings import Registry, Role
from tests.contracts.world import BASE_REWARD, Actor, World


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: four edge servers (the edge set 1), five clients, a sponsor with tokens, an auditor."""

    edges: tuple[Actor, ...]
    clients: tuple[Actor, ...]
    sponsor: Actor
    auditor: Actor


def build(*, cold: bool = False) -> tuple[World, Cast]:
    """Deploy the contracts into an EVM of their own, admit everybody and open job 1."""
    bare = World(Env())
    registry = bare.deploy("Registry", bare.governor, ZERO)
    token = bare.deploy("Token", registry)
    ledger = bare.deploy("Ledger", registry, token, ZERO)
    council = bare.deploy("Council", registry)
    world = World(bare.env, registry, token, ledger, council, height=bare.height, time=bare.time, cold=cold)
    edges = tuple(world.admit(Role.EDGE_SERVER) for _ in range(4))
    clients = tuple(world.admit(Role.CLIENT) for _ in range(5))
    sponsor = world.admit(Role.SPONSOR)
    auditor = world.admit(Role.AUDITOR)
    world.govern(Registry.encode_set_edge_set([edge.member for edge in edges]))
    world.fund(sponsor.account, 10_000 * BASE_REWARD)
    assert world.open(sponsor, edges[:3]) == 1
    return world, Cast(edges, clients, sponsor, auditor)


@pytest.fixture(scope="session")
def _stage() -> tuple[World, Cast]:
    return build()


@pytest.fixture
def world(_stage: tuple[World, Cast]) -> Generator[World]:
    with _stage[0].fork() as world:
        yield world


@pytest.fixture
def cast(_stage: tuple[World, Cast]) -> Cast:
    return _stage[1]


@pytest.fixture
def edges(cast: Cast) -> tuple[Actor, ...]:
    return cast.edges


@pytest.fixture
def clients(cast: Cast) -> tuple[Actor, ...]:
    return cast.clients


@pytest.fixture
def sponsor(cast: Cast) -> Actor:
    return cast.sponsor
