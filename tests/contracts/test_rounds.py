"""Acknowledgements, attestations and their quorum, void rounds, time."""

from dataclasses import replace
from itertools import pairwise

import pytest
from eth_hash.auto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.bindings import Ledger, Registry, Role, RoundStatus
from contracts.digests import MAX_EXCEPTIONS, Attestation
from contracts.events import (
    Acknowledged,
    Attested,
    AttestedLate,
    Event,
    RoundAgreed,
    RoundVoid,
    Ticked,
)
from tests.contracts.conftest import Cast
from tests.contracts.world import (
    ATTESTATION_TIMEOUT,
    BASE_REWARD,
    TERMS,
    Actor,
    Reverted,
    World,
    account,
    attestation,
    scores_of,
)


def ballot(world: World, clients: tuple[Actor, ...], model: bytes = keccak(b"a model")) -> Attestation:
    """Record an update of each client and return the attestation of a round of all of them."""
    for client in clients:
        world.record(1, client)
    state = world.ledger.job(1)
    return attestation(1, state.version + 1, world.height, scores_of(clients), state.next_sequence, model)


# Acknowledgements


def test_acknowledgements_follow_on_each_other_with_their_exceptions(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    for counter in range(6):
        world.record(1, clients[0], counter=counter)
    calls = [
        (3, [0, 2], [1], []),
        (3, [], [], [2]),  # nothing new, but a missing one came
        (6, [4], [0, 5], []),  # a missing one came and was wrong
        (6, [], [], [4]),
    ]
    first = 0
    for up_to, missing, invalid, resolved in calls:
        data = Ledger.encode_acknowledge(1, up_to, missing, invalid, resolved)
        said = world.to_ledger(edges[0], data).only(Acknowledged)
        assert (said.job, said.edge, said.first, said.up_to) == (1, edges[0].member, first, up_to)
        assert (list(said.missing), list(said.invalid), list(said.resolved)) == (missing, invalid, resolved)
        assert world.ledger.acknowledged_up_to(1, edges[0].member) == up_to
        first = up_to
    assert world.ledger.acknowledged_up_to(1, edges[1].member) == 0


def test_an_acknowledgement_takes_128_exceptions_of_each_kind(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    for counter in range(MAX_EXCEPTIONS):
        world.record(1, clients[0], counter=counter)
    everything = list(range(MAX_EXCEPTIONS))
    world.to_ledger(edges[0], Ledger.encode_acknowledge(1, MAX_EXCEPTIONS, everything))
    data = Ledger.encode_acknowledge(1, MAX_EXCEPTIONS, [], everything, everything)
    said = world.to_ledger(edges[0], data).only(Acknowledged)
    assert said.invalid == said.resolved == tuple(everything)


@pytest.fixture
def six_records(world: World, cast: Cast) -> World:
    for counter in range(6):
        world.record(1, cast.clients[0], counter=counter)
    return world


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.integers(0, 6),
    up_to=st.integers(0, 7),
    lists=st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=3, max_size=3),
)
def test_order_and_ranges_are_what_a_plain_model_allows(
    six_records: World, cast: Cast, first: int, up_to: int, lists: list[list[int]]
) -> None:
    with six_records.fork() as fork:
        if first:
            fork.to_ledger(cast.edges[0], Ledger.encode_acknowledge(1, first))
        missing, invalid, resolved = lists
        allowed = (
            first <= up_to <= 6
            and (up_to > first or bool(invalid) or bool(resolved))
            and all(a < b for some in lists for a, b in pairwise(some))
            and all(first <= at < up_to for at in missing)
            and all(at < up_to for at in invalid)
            and all(at < first for at in resolved)
        )
        try:
            fork.to_ledger(cast.edges[0], Ledger.encode_acknowledge(1, up_to, missing, invalid, resolved))
        except Reverted:
            assert not allowed
        else:
            assert allowed


# Attestations


def test_digest_on_chain_is_the_digest_that_python_computes(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    vote = ballot(world, clients[:3])
    said = world.attest(edges[0], vote).only(Attested)
    assert said.digest == vote.digest(TERMS.rules_version) == world.ledger.attestation(1, 1, edges[0].member)
    assert (said.height, said.k, said.spent, said.parts) == (vote.height, vote.k, vote.spent, vote.parts)


def test_every_field_of_an_attestation_makes_another_variant(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], sponsor: Actor
) -> None:
    vote = ballot(world, clients[:2])
    variants = [
        vote,
        replace(vote, height=vote.height - 1),
        replace(vote, k=1),
        replace(vote, spent=2, k=1, height=vote.height - 1),
        replace(vote, parts=vote.parts[1:]),
        replace(vote, parts=vote.parts[::-1]),
    ]
    digests = [world.attest(edges[0], variant).only(Attested).digest for variant in variants]
    other_rules = world.open(sponsor, edges[:3], rules_version=2)
    digests += [vote.digest(2), replace(vote, job=other_rules).digest(1), replace(vote, round=2).digest(1)]
    assert len(set(digests)) == len(digests)
    assert world.ledger.round(1, 1).variants == 1  # each replaced the one before


@pytest.mark.parametrize("size", range(1, 11))
def test_only_more_than_two_thirds_decide_a_round(world: World, cast: Cast, size: int) -> None:
    edges = [world.admit(Role.EDGE_SERVER) for _ in range(size)]
    world.govern(Registry.encode_set_edge_set([edge.member for edge in edges]))
    job = world.open(cast.sponsor, edges[: size * 2 // 3 + 1], edge_set=2)
    world.record(job, cast.clients[0])
    vote = attestation(job, 1, world.height, scores_of(cast.clients[:1]), 1)
    decided_at = None
    for count, edge in enumerate(edges, start=1):
        outcome = world.attest(edge, vote)
        if outcome.all(RoundAgreed):
            decided_at = count
            break
        assert world.ledger.job(job).version == 0
    assert decided_at == next(count for count in range(1, size + 1) if 3 * count > 2 * size)


def test_exactly_two_thirds_are_not_enough(world: World, cast: Cast) -> None:
    edges = [world.admit(Role.EDGE_SERVER) for _ in range(3)]
    world.govern(Registry.encode_set_edge_set([edge.member for edge in edges]))
    job = world.open(cast.sponsor, edges, edge_set=2)
    world.record(job, cast.clients[0])
    vote = attestation(job, 1, world.height, scores_of(cast.clients[:1]), 1)
    for edge in edges[:2]:
        assert not world.attest(edge, vote).all(RoundAgreed)
    assert world.ledger.round(job, 1).status == RoundStatus.UNDECIDED


def test_agreement_makes_the_model_current_and_reserves_the_reward(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    vote = ballot(world, clients[:2])
    outcome = [world.attest(edge, vote) for edge in edges[:3]][-1]
    agreed = outcome.only(RoundAgreed)
    assert (agreed.digest, agreed.k, agreed.spent, agreed.phi_next) == (vote.digest(1), 2, 2, TERMS.phi)
    assert agreed.reward == BASE_REWARD * 2 // 3
    assert (agreed.thetas, agreed.model) == (vote.parts[1].digest, vote.parts[2].digest)
    state, found = world.ledger.job(1), world.ledger.round(1, 1)
    assert (state.version, state.model, state.boundary, state.spent) == (1, agreed.model, world.time, 2)
    assert (found.status, found.height, found.reward) == (RoundStatus.AGREED, vote.height, agreed.reward)
    assert world.ledger.free_escrow(1) == 100 * BASE_REWARD - agreed.reward
    assert world.ledger.accounts(1).escrow == 100 * BASE_REWARD


def test_a_server_may_replace_its_attestation_before_the_quorum_and_counts_once(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    right = ballot(world, clients[:1])
    wrong = replace(right, height=right.height - 1)
    world.attest(edges[0], wrong)
    world.attest(edges[1], wrong)
    assert world.ledger.support(1, 1, wrong.digest(1)) == 2
    for edge in (edges[0], edges[1]):
        world.attest(edge, right)
    assert world.ledger.support(1, 1, wrong.digest(1)) == 0
    assert world.ledger.support(1, 1, right.digest(1)) == 2
    assert world.ledger.round(1, 1).variants == 1
    world.attest(edges[1], wrong)
    world.attest(edges[1], right)  # to and fro, still one vote
    assert world.ledger.support(1, 1, right.digest(1)) == 2
    assert world.attest(edges[3], right).only(RoundAgreed).digest == right.digest(1)


def test_a_vote_changed_after_the_quorum_changes_nothing(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    vote = ballot(world, clients[:1])
    for edge in edges[:3]:
        world.attest(edge, vote)
    before = (world.ledger.job(1), world.ledger.round(1, 1), world.ledger.accounts(1))
    other = replace(vote, height=vote.height - 1)
    for edge in edges:
        outcome = world.attest(edge, other)
        late = outcome.only(AttestedLate)
        assert (late.job, late.round, late.edge, late.digest) == (1, 1, edge.member, other.digest(1))
        assert len(outcome.events) == 1
    assert (world.ledger.job(1), world.ledger.round(1, 1), world.ledger.accounts(1)) == before
    assert world.ledger.attestation(1, 1, edges[3].member) == bytes(32)
    assert world.ledger.support(1, 1, other.digest(1)) == 0


def test_an_attestation_of_a_closed_job_is_late(world: World, cast: Cast) -> None:
    vote = ballot(world, cast.clients[:1])
    for edge in cast.edges[:3]:
        world.attest(edge, vote)
    world.to_ledger(cast.sponsor, Ledger.encode_close_job(1))
    end = replace(attestation(1, 2, world.height, scores_of(cast.clients[:1]), 1), k=0)
    for edge in cast.edges[:3]:
        world.attest(edge, end)
    assert world.attest(cast.edges[3], end).only(AttestedLate).round == 2


def test_suspended_server_takes_its_seat_but_casts_no_vote(world: World, cast: Cast) -> None:
    vote = ballot(world, cast.clients[:1])
    world.govern(Registry.encode_suspend(cast.edges[0].member))
    with pytest.raises(Reverted, match="caller is suspended"):
        world.attest(cast.edges[0], vote)
    for edge in cast.edges[1:3]:
        assert not world.attest(edge, vote).all(RoundAgreed)
    assert world.attest(cast.edges[3], vote).all(RoundAgreed)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(votes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_support_and_quorum_match_a_plain_count(world: World, cast: Cast, votes: list[tuple[int, int]]) -> None:
    with world.fork() as fork:
        right = ballot(fork, cast.clients[:1])
        variants = [replace(right, height=right.height - less) for less in range(3)]
        cast_votes: dict[int, int] = {}
        decided = None
        for edge, variant in votes:
            again = decided is None and cast_votes.get(edge) == variant
            try:
                outcome = fork.attest(cast.edges[edge], variants[variant])
            except Reverted as refused:
                if not again:
                    raise AssertionError(refused.reason) from refused
                continue
            assert not again
            if decided is None:
                cast_votes[edge] = variant
                support = sum(choice == variant for choice in cast_votes.values())
                assert outcome.only(Attested).support == support
                assert bool(outcome.all(RoundAgreed)) == (support >= 3)
                decided = variant if support >= 3 else None
            else:
                assert outcome.only(AttestedLate)
        found = fork.ledger.round(1, 1)
        assert found.variants == len(set(cast_votes.values()))
        assert (found.status == RoundStatus.AGREED) == (decided is not None)


# Void rounds


def split(world: World, cast: Cast, spent: tuple[int, int] = (1, 1)) -> tuple[Attestation, Attestation]:
    """Have two servers stand against two."""
    right = ballot(world, cast.clients[:1])
    one, other = replace(right, spent=spent[0]), replace(right, spent=spent[1], height=right.height - 1)
    for edge, vote in zip(cast.edges, (one, one, other, other), strict=True):
        world.attest(edge, vote)
    return one, other


def void(world: World, round_: int = 1) -> list[Event]:
    world.wait(ATTESTATION_TIMEOUT)
    return list(world.to_ledger(account("anybody"), Ledger.encode_void_round(1, round_)).events)


def test_two_against_two_are_void_after_the_timeout_and_nobody_is_paid(world: World, cast: Cast) -> None:
    split(world, cast)
    before, money = world.ledger.job(1), world.ledger.accounts(1)
    (event,) = void(world)
    assert isinstance(event, RoundVoid)
    assert (event.job, event.round, event.variants, event.spent, event.phi_next) == (1, 1, 2, 1, TERMS.phi)
    after = world.ledger.job(1)
    assert after == replace(before, version=1, boundary=world.time, spent=1)
    assert world.ledger.round(1, 1).status == RoundStatus.VOID
    assert world.ledger.round(1, 1).model == before.model
    assert world.ledger.accounts(1) == money
    assert world.attest(cast.edges[0], attestation(1, 1, world.height, scores_of(cast.clients[:1]), 1)).only(
        AttestedLate
    )


def test_void_round_frees_the_budget_so_that_new_records_come(world: World, cast: Cast) -> None:
    job = world.open(cast.sponsor, cast.edges[:3], budget=BASE_REWARD, phi=1)
    world.record(job, cast.clients[0])
    with pytest.raises(Reverted, match="budget cannot pay"):
        world.record(job, cast.clients[1])
    right = attestation(job, 1, world.height, scores_of(cast.clients[:1]), 1)
    for edge, vote in zip(cast.edges, (right, right, replace(right, height=1), replace(right, height=1)), strict=True):
        world.attest(edge, vote)
    world.wait(ATTESTATION_TIMEOUT)
    world.to_ledger(account("x"), Ledger.encode_void_round(job, 1))
    world.record(job, cast.clients[1])
    agreed = attestation(job, 2, world.height, scores_of(cast.clients[1:2]), 2)
    assert [world.attest(edge, agreed) for edge in cast.edges[:3]][-1].only(RoundAgreed).reward == BASE_REWARD


def test_a_lone_liar_cannot_make_a_void_round_spend_more_than_phi_or_block_honest_votes(
    world: World, cast: Cast
) -> None:
    for counter in range(6):
        world.record(1, cast.clients[1], counter=counter)
    lie = replace(ballot(world, cast.clients[:1]), spent=7)
    world.attest(cast.edges[3], lie)
    (event,) = void(world)
    assert isinstance(event, RoundVoid)
    assert event.spent == TERMS.phi == world.ledger.job(1).spent
    honest = attestation(1, 2, world.height, scores_of(cast.clients[:1]), 1)
    assert [world.attest(edge, honest) for edge in cast.edges[:3]][-1].only(RoundAgreed).spent == 1
    assert world.ledger.job(1).spent == 1  # the quorum's number counts


def test_timeout_runs_from_the_first_attestation_and_replacing_it_does_not_help(world: World, cast: Cast) -> None:
    vote = ballot(world, cast.clients[:1])
    world.attest(cast.edges[0], vote)
    first = world.time
    world.wait(ATTESTATION_TIMEOUT // 2)
    world.attest(cast.edges[0], replace(vote, height=vote.height - 1))
    assert world.ledger.round(1, 1).first_attested == first
    world.wait(first + ATTESTATION_TIMEOUT - world.time)
    assert world.to_ledger(account("x"), Ledger.encode_void_round(1, 1)).only(RoundVoid).variants == 1


def test_tick_is_an_event_and_nothing_else(world: World) -> None:
    before = world.ledger.job(1)
    (event,) = world.to_ledger(account("anybody"), Ledger.encode_tick()).events
    assert isinstance(event, Ticked)
    assert event.sender == account("anybody")
    assert world.ledger.job(1) == before
