"""A job's life: proposed, open, closing, closed; its budget; its edge sets."""

from dataclasses import replace

import pytest

from contracts.bindings import Accounts, JobStatus, Ledger, Registry, Role, Token
from contracts.digests import name32, settlement
from contracts.events import (
    Attested,
    EdgeSetChanged,
    EdgeSetPending,
    JobAcknowledged,
    JobClosed,
    JobClosing,
    JobCreated,
    JobOpened,
    Refunded,
    RoundAgreed,
    RoundUnpaid,
    RulesChanged,
    RulesPending,
    ToppedUp,
)
from tests.contracts.conftest import Cast
from tests.contracts.world import (
    BASE_REWARD,
    MAX_WAIT,
    TERMS,
    Actor,
    Outcome,
    Reverted,
    World,
    account,
    attestation,
    post_thetas,
    scores_of,
)


def test_job_is_proposed_with_its_terms_and_its_budget_in_escrow(world: World, cast: Cast) -> None:
    before = world.token.balance_of(cast.sponsor.account)
    terms = replace(TERMS, phi=7, base_reward=5)
    outcome = world.to_ledger(cast.sponsor, Ledger.encode_create_job(terms, 123))
    created = outcome.only(JobCreated)
    assert (created.job, created.sponsor, created.terms, created.budget) == (2, cast.sponsor.member, terms, 123)
    assert int.from_bytes(outcome.output) == 2 == world.ledger.job_count()
    assert world.ledger.terms(2) == terms
    state = world.ledger.job(2)
    assert (state.status, state.version, state.model) == (JobStatus.PROPOSED, 0, terms.model)
    assert world.ledger.accounts(2) == Accounts(123, 0, 123, 0, 0)
    assert before - world.token.balance_of(cast.sponsor.account) == 123
    assert world.ledger.job(3).status == JobStatus.UNKNOWN


def test_job_without_tokens_behind_it_is_not_created(world: World) -> None:
    sponsor = world.admit(Role.SPONSOR)
    with pytest.raises(Reverted, match="Token: allowance is too low"):
        world.propose(sponsor)
    world.send(sponsor.account, world.token_at, Token.encode_approve(world.ledger_at, 2**255))
    with pytest.raises(Reverted, match="Token: balance is too low"):
        world.propose(sponsor)
    assert world.ledger.job_count() == 1


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (9, 7), (10, 7)])
def test_job_opens_with_more_than_two_thirds_of_its_set_and_not_before(
    world: World, cast: Cast, size: int, needed: int
) -> None:
    edges = [world.admit(Role.EDGE_SERVER) for _ in range(size)]
    world.govern(Registry.encode_set_edge_set([edge.member for edge in edges]))
    job = world.propose(cast.sponsor, edge_set=2)
    for count, edge in enumerate(edges[:needed], start=1):
        assert world.ledger.job(job).status == JobStatus.PROPOSED
        outcome = world.to_ledger(edge, Ledger.encode_acknowledge_job(job))
        assert outcome.only(JobAcknowledged).support == count
        assert world.ledger.acknowledged_job(job, edge.member)
    assert outcome.only(JobOpened).phi == TERMS.phi
    state = world.ledger.job(job)
    assert (state.status, state.phi_now, state.boundary) == (JobStatus.OPEN, TERMS.phi, world.time)


def test_top_up_by_anyone_goes_to_the_job_and_its_rest_to_the_sponsor(world: World, cast: Cast) -> None:
    donor = account("donor")
    world.fund(donor, 50)
    topped = world.to_ledger(donor, Ledger.encode_top_up(1, 50)).only(ToppedUp)
    assert (topped.job, topped.funder, topped.amount) == (1, donor, 50)
    refunded = world.to_ledger(cast.sponsor, Ledger.encode_close_job(1)).only(Refunded)
    assert (refunded.payout, refunded.amount) == (world.payout(cast.sponsor), 100 * BASE_REWARD + 50)
    assert world.token.balance_of(donor) == 0


def test_proposed_job_closes_at_once_and_refunds_everything(world: World, cast: Cast) -> None:
    job = world.propose(cast.sponsor, budget=2 * BASE_REWARD)
    outcome = world.to_ledger(cast.sponsor, Ledger.encode_close_job(job))
    assert outcome.only(JobClosing).next_sequence == 0
    assert outcome.only(JobClosed).job == job
    assert world.ledger.job(job).status == JobStatus.CLOSED
    assert world.ledger.accounts(job) == Accounts(2 * BASE_REWARD, 2 * BASE_REWARD, 0, 0, 0)


def agree(world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], spent: int, job: int = 1) -> RoundAgreed:
    """Have three of four edge servers agree on a round of one record of each client."""
    return decide(world, edges, clients, spent, job).only(RoundAgreed)


def decide(world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], spent: int, job: int = 1) -> Outcome:
    """Do the same and return everything that the deciding attestation did."""
    vote = attestation(job, world.ledger.job(job).version + 1, world.height, scores_of(clients), spent)
    return [world.attest(edge, vote) for edge in edges[:3]][-1]


def test_closing_settles_what_is_recorded_first_and_then_refunds_the_rest(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], sponsor: Actor
) -> None:
    for client in clients[:4]:
        world.record(1, client)
    assert world.to_ledger(sponsor, Ledger.encode_close_job(1)).only(JobClosing).next_sequence == 4
    with pytest.raises(Reverted, match="job is not open"):
        world.record(1, clients[4])
    agree(world, edges, clients[:3], 3)
    end = replace(attestation(1, 2, world.height, scores_of(clients[:1]), 4), k=0)
    with pytest.raises(Reverted, match="live records are left"):
        world.attest(edges[0], replace(end, spent=3))
    last = agree(world, edges, clients[3:4], 4)
    assert last.reward == BASE_REWARD // 3
    end = replace(attestation(1, 3, world.height, scores_of(clients[:1]), 4), k=0)
    first, second, third = (world.attest(edge, end) for edge in edges[:3])
    assert world.ledger.job(1).status == JobStatus.CLOSED
    assert not first.all(JobClosed) + second.all(JobClosed)
    assert first.only(Attested).k == 0
    refund = third.only(Refunded).amount
    assert refund == 100 * BASE_REWARD - BASE_REWARD - last.reward
    assert world.token.balance_of(world.payout(sponsor)) == refund
    assert world.ledger.job(1).version == 2  # the end is no round
    # what was agreed is still settled after closing
    for round_, members in ((1, clients[:3]), (2, clients[3:4])):
        world.settle(1, round_, scores_of(members))
    assert world.ledger.accounts(1) == Accounts(100 * BASE_REWARD, refund, 0, BASE_REWARD + last.reward, 0)


def test_unpaid_round_that_is_posted_after_closing_goes_back_to_the_sponsor(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], sponsor: Actor
) -> None:
    world.record(1, clients[0])
    nothing = settlement([clients[0].member], [0])
    vote = attestation(1, 1, world.height, nothing, 1)
    for edge in edges[:3]:
        world.attest(edge, vote)
    world.to_ledger(sponsor, Ledger.encode_close_job(1))
    end = replace(attestation(1, 2, world.height, nothing, 1), k=0)
    for edge in edges[:3]:
        world.attest(edge, end)
    assert world.ledger.accounts(1).escrow == BASE_REWARD // 3
    outcome = world.to_ledger(account("x"), post_thetas(1, 1, nothing))
    assert outcome.only(RoundUnpaid).round == 1
    assert outcome.only(Refunded).amount == BASE_REWARD // 3
    assert world.ledger.accounts(1) == Accounts(100 * BASE_REWARD, 100 * BASE_REWARD, 0, 0, 0)


def test_phi_of_all_is_the_number_of_active_clients_at_each_boundary(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], sponsor: Actor
) -> None:
    job = world.open(sponsor, edges[:3], phi=0)
    assert world.ledger.job(job).phi_now == len(clients)
    world.govern(Registry.encode_suspend(clients[4].member))
    assert world.ledger.job(job).phi_now == len(clients)  # of the round that runs
    world.record(job, clients[0])
    agreed = agree(world, edges, clients[:1], 1, job)
    assert agreed.reward == BASE_REWARD // len(clients)
    assert agreed.phi_next == len(clients) - 1 == world.ledger.job(job).phi_now


def test_phi_of_all_is_one_without_clients_and_1024_with_more(world: World, cast: Cast) -> None:
    for client in cast.clients:
        world.govern(Registry.encode_suspend(client.member))
    assert world.ledger.job(world.open(cast.sponsor, cast.edges[:3], phi=0)).phi_now == 1
    world.poke("Registry", "_active_clients", value=1025)
    assert world.ledger.job(world.open(cast.sponsor, cast.edges[:3], phi=0)).phi_now == 1024


def test_shrinking_phi_of_all_shares_what_is_left_and_never_blocks(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], sponsor: Actor
) -> None:
    job = world.open(sponsor, edges[:3], phi=0, budget=BASE_REWARD)
    for client in clients:
        world.record(job, client)
    for client in clients[1:]:
        world.govern(Registry.encode_suspend(client.member))
    first = agree(world, edges, clients[:2], 2, job)
    assert (first.reward, first.phi_next) == (BASE_REWARD * 2 // 5, 1)
    second = agree(world, edges, clients[2:3], 3, job)
    assert second.reward == BASE_REWARD - first.reward  # a whole base reward is due, this is what there is
    third = agree(world, edges, clients[3:4], 4, job)
    assert third.reward == 0
    world.settle(job, 3, scores_of(clients[3:4]))
    assert world.ledger.accounts(job).pending == 0


# Edge sets


@pytest.fixture
def fresh(world: World) -> tuple[Actor, ...]:
    """Three new edge servers, the edge set 2."""
    fresh = tuple(world.admit(Role.EDGE_SERVER) for _ in range(3))
    world.govern(Registry.encode_set_edge_set([edge.member for edge in fresh]))
    return fresh


def test_pending_set_acknowledges_at_once_and_attests_from_the_next_boundary(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], fresh: tuple[Actor, ...]
) -> None:
    for client in clients[:2]:
        world.record(1, client)
    with pytest.raises(Reverted, match="not in the job's set"):
        world.to_ledger(fresh[0], Ledger.encode_acknowledge(1, 2))
    outcome = world.to_ledger(world.governor, Ledger.encode_use_edge_set(1, 2))
    assert outcome.only(EdgeSetPending).number == 2
    world.to_ledger(fresh[0], Ledger.encode_acknowledge(1, 2))
    world.to_ledger(edges[0], Ledger.encode_acknowledge(1, 2))
    vote = attestation(1, 1, world.height, scores_of(clients[:1]), 1)
    with pytest.raises(Reverted, match="not in the job's set"):
        world.attest(fresh[0], vote)
    world.attest(edges[0], vote)
    world.attest(edges[1], vote)
    changed = world.attest(edges[2], vote).only(EdgeSetChanged)
    assert (changed.number, changed.round) == (2, 2)
    state = world.ledger.job(1)
    assert (state.edge_set, state.edge_set_pending) == (2, 0)
    second = attestation(1, 2, world.height, scores_of(clients[1:2]), 2)
    with pytest.raises(Reverted, match="not in the job's set"):
        world.attest(edges[0], second)
    assert [world.attest(edge, second) for edge in fresh][-1].only(RoundAgreed).round == 2


@pytest.mark.usefixtures("fresh")
def test_silent_set_is_replaced_when_max_wait_has_passed(world: World) -> None:
    world.to_ledger(world.governor, Ledger.encode_use_edge_set(1, 2))
    before = world.ledger.job(1)
    world.wait(before.boundary + MAX_WAIT - 1 - world.time)
    changed = world.to_ledger(account("anybody"), Ledger.encode_apply_edge_set(1)).only(EdgeSetChanged)
    assert (changed.number, changed.round) == (2, 1)
    after = world.ledger.job(1)
    assert world.time == before.boundary + MAX_WAIT
    assert after == replace(before, edge_set=2, edge_set_pending=0)  # no boundary: phi and its time stand


def test_naming_the_set_in_force_withdraws_the_pending_one(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...], fresh: tuple[Actor, ...]
) -> None:
    for number in (2, 1):
        world.to_ledger(world.governor, Ledger.encode_use_edge_set(1, number))
    world.record(1, clients[0])
    agree(world, edges, clients[:1], 1)
    assert world.ledger.job(1).edge_set == 1
    with pytest.raises(Reverted, match="not in the job's set"):
        world.to_ledger(fresh[0], Ledger.encode_acknowledge(1, 1))


# Its rules


def test_other_rules_hold_from_the_next_boundary_on_and_the_event_names_the_first_round(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    names = (name32("uniform"), name32("delta"), name32("polynomial"))
    pending = world.to_ledger(world.governor, Ledger.encode_use_rules(1, 7, *names)).only(RulesPending)
    assert (pending.version, pending.scoring, pending.aggregation, pending.staleness) == (7, *names)
    assert world.ledger.terms(1) == TERMS
    world.record(1, clients[0])
    outcome = decide(world, edges, clients[:1], 1)
    changed = outcome.only(RulesChanged)
    assert (changed.round, changed.version, changed.scoring, changed.aggregation, changed.staleness) == (2, 7, *names)
    assert [type(event) for event in outcome.events] == [Attested, RulesChanged, RoundAgreed]
    after = replace(TERMS, rules_version=7, scoring=names[0], aggregation=names[1], staleness=names[2])
    assert world.ledger.terms(1) == after
    world.record(1, clients[0], counter=1)
    assert not decide(world, edges, clients[:1], 2).all(RulesChanged)
    assert world.ledger.terms(1) == after


def test_the_rules_version_of_a_round_is_in_what_its_attestations_sign(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    world.to_ledger(world.governor, Ledger.encode_use_rules(1, 7, TERMS.scoring, TERMS.aggregation, TERMS.staleness))
    for round_, version in ((1, 1), (2, 7)):
        world.record(1, clients[0], counter=round_)
        vote = attestation(1, round_, world.height, scores_of(clients[:1]), round_)
        assert world.attest(edges[0], vote).only(Attested).digest == vote.digest(version)
        for edge in edges[1:3]:
            world.attest(edge, vote)


def test_a_void_round_is_a_boundary_for_rules_too(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    world.to_ledger(world.governor, Ledger.encode_use_rules(1, 2, TERMS.scoring, TERMS.aggregation, TERMS.staleness))
    world.record(1, clients[0])
    world.attest(edges[0], attestation(1, 1, world.height, scores_of(clients[:1]), 1))
    world.wait(TERMS.attestation_timeout + 1)
    outcome = world.to_ledger(account("anybody"), Ledger.encode_void_round(1, 1))
    assert outcome.only(RulesChanged).round == 2


def test_the_last_rules_named_before_a_boundary_hold(
    world: World, edges: tuple[Actor, ...], clients: tuple[Actor, ...]
) -> None:
    for version in (2, 3):
        data = Ledger.encode_use_rules(1, version, TERMS.scoring, TERMS.aggregation, TERMS.staleness)
        world.to_ledger(world.governor, data)
    world.record(1, clients[0])
    assert decide(world, edges, clients[:1], 1).only(RulesChanged).version == 3
