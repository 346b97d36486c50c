"""Contracts version 3: edge servers commit to references, and say whose they hold."""

from collections.abc import Generator

import pytest
from boa.environment import Env

from contracts.addresses import ZERO
from contracts.bindings import Ledger, Registry, Role
from contracts.events import ReferencesAcknowledged, ReferencesCommitted
from tests.contracts.conftest import Cast
from tests.contracts.world import BASE_REWARD, Reverted, World, account, attestation, scores_of

MODEL, DIGEST = b"m" * 32, b"d" * 32
EDGE_SERVERS = 5
"""Four in the job's set, one beside it."""


def build(*, cold: bool = False) -> tuple[World, Cast]:
    """Deploy the Ledger of version 3, admit everybody and propose job 1, which nobody has acknowledged."""
    bare = World(Env())
    registry = bare.deploy("Registry", bare.governor, ZERO)
    token = bare.deploy("Token", registry)
    ledger = bare.deploy("Ledger", registry, token, ZERO, version=3)
    council = bare.deploy("Council", registry)
    world = World(bare.env, registry, token, ledger, council, height=bare.height, time=bare.time, cold=cold)
    edges = tuple(world.admit(Role.EDGE_SERVER) for _ in range(EDGE_SERVERS))
    clients = tuple(world.admit(Role.CLIENT) for _ in range(3))
    sponsor, auditor = world.admit(Role.SPONSOR), world.admit(Role.AUDITOR)
    world.govern(Registry.encode_set_edge_set([edge.member for edge in edges[:4]]))
    world.fund(sponsor.account, 10_000 * BASE_REWARD)
    assert world.propose(sponsor) == 1
    return world, Cast(edges, clients, sponsor, auditor)


@pytest.fixture(scope="module")
def stage() -> tuple[World, Cast]:
    return build()


@pytest.fixture
def proposed(stage: tuple[World, Cast]) -> Generator[World]:
    """Give a world whose job is proposed."""
    with stage[0].fork() as world:
        yield world


@pytest.fixture
def cast3(stage: tuple[World, Cast]) -> Cast:
    return stage[1]


@pytest.fixture
def opened(proposed: World, cast3: Cast) -> World:
    """Give a world whose job is open."""
    for edge in cast3.edges[:3]:
        proposed.to_ledger(edge, Ledger.encode_acknowledge_job(1))
    return proposed


def commit(world: World, edge: object, version: int) -> ReferencesCommitted:
    data = Ledger.encode_commit_references(1, version, MODEL, DIGEST)
    return world.to_ledger(edge, data).only(ReferencesCommitted)  # type: ignore[arg-type] - an actor or an address


def refused(world: World, edge: object, data: bytes) -> str | None:
    with pytest.raises(Reverted) as caught:
        world.to_ledger(edge, data)  # type: ignore[arg-type] - an actor or an address
    return caught.value.reason


def decide(world: World, cast: Cast) -> None:
    """Decide round 1."""
    for client in cast.clients:
        world.record(1, client)
    word = attestation(1, 1, world.height, scores_of(cast.clients), 3)
    for edge in cast.edges[:3]:
        world.attest(edge, word)


def test_a_commitment_names_edge_server_version_model_and_digest(proposed: World, cast3: Cast) -> None:
    event = commit(proposed, cast3.edges[1], 0)
    assert (event.job, event.version, event.edge) == (1, 0, cast3.edges[1].member)
    assert (event.model, event.digest) == (MODEL, DIGEST)


def test_current_and_next_version_take_commitments_and_no_other(opened: World, cast3: Cast) -> None:
    assert [commit(opened, cast3.edges[0], version).version for version in (0, 1)] == [0, 1]
    reason = "Ledger: version is neither current nor next"
    assert refused(opened, cast3.edges[0], Ledger.encode_commit_references(1, 2, MODEL, DIGEST)) == reason
    decide(opened, cast3)
    assert [commit(opened, cast3.edges[0], version).version for version in (1, 2)] == [1, 2]
    assert refused(opened, cast3.edges[0], Ledger.encode_commit_references(1, 0, MODEL, DIGEST)) == reason


def test_a_job_that_is_unknown_or_closed_takes_no_commitment(opened: World, cast3: Cast) -> None:
    reason = "Ledger: job is unknown or closed"
    assert refused(opened, cast3.edges[0], Ledger.encode_commit_references(2, 0, MODEL, DIGEST)) == reason
    opened.to_ledger(cast3.sponsor, Ledger.encode_close_job(1))
    assert refused(opened, cast3.edges[0], Ledger.encode_commit_references(1, 0, MODEL, DIGEST)) == reason


def test_only_edge_servers_of_the_set_or_of_the_pending_one_commit_and_acknowledge(opened: World, cast3: Cast) -> None:
    outsider = cast3.edges[4]
    calls = [Ledger.encode_commit_references(1, 0, MODEL, DIGEST), Ledger.encode_acknowledge_references(1, 0, [1])]
    for data in calls:
        assert refused(opened, outsider, data) == "Ledger: edge server is not in the job's set"
        assert refused(opened, cast3.clients[0], data) == "Ledger: caller has another role"
        assert refused(opened, account("stranger"), data) == "Ledger: caller's key is unknown or not in force"
    opened.govern(Registry.encode_set_edge_set([edge.member for edge in cast3.edges]))
    opened.govern(Ledger.encode_use_edge_set(1, 2), to=opened.ledger_at)
    for data in calls:
        opened.to_ledger(outsider, data)


def test_an_acknowledgement_lists_whose_references_are_held(opened: World, cast3: Cast) -> None:
    outcome = opened.to_ledger(cast3.edges[2], Ledger.encode_acknowledge_references(1, 0, [1, 2, 4]))
    event = outcome.only(ReferencesAcknowledged)
    assert (event.job, event.version, event.edge, event.held) == (1, 0, cast3.edges[2].member, (1, 2, 4))


def test_nothing_and_what_is_not_decided_yet_cannot_be_acknowledged(opened: World, cast3: Cast) -> None:
    empty = Ledger.encode_acknowledge_references(1, 0, [])
    assert refused(opened, cast3.edges[0], empty) == "Ledger: nothing to acknowledge"
    early = Ledger.encode_acknowledge_references(1, 1, [1])
    assert refused(opened, cast3.edges[0], early) == "Ledger: version is not decided"


def test_a_job_that_is_only_proposed_has_nothing_to_acknowledge(proposed: World, cast3: Cast) -> None:
    data = Ledger.encode_acknowledge_references(1, 0, [1])
    assert refused(proposed, cast3.edges[0], data) == "Ledger: job is not open or closing"


def test_a_job_goes_from_record_to_release_as_under_version_1(opened: World, cast3: Cast) -> None:
    decide(opened, cast3)
    opened.settle(1, 1, scores_of(cast3.clients))
    for client in cast3.clients:
        due = opened.ledger.releasable(client.member)
        opened.to_ledger(account("anybody"), Ledger.encode_release(client.member))
        assert opened.token.balance_of(opened.payout(client)) == due > 0
    money = opened.ledger.accounts(1)
    assert money.escrow + money.pending + money.released == money.funded - money.refunded


@pytest.mark.parametrize(("call", "gas"), [("commitReferences", 53_900), ("acknowledgeReferences, 4 servers", 56_200)])
def test_a_call_costs_what_the_guide_says(call: str, gas: int) -> None:
    world, cast = build(cold=True)
    for edge in cast.edges[:3]:
        world.to_ledger(edge, Ledger.encode_acknowledge_job(1))
    data = (
        Ledger.encode_commit_references(1, 0, MODEL, DIGEST)
        if call == "commitReferences"
        else Ledger.encode_acknowledge_references(1, 0, [1, 2, 3, 4])
    )
    assert world.to_ledger(cast.edges[0], data).gas == pytest.approx(gas, rel=0.03)
