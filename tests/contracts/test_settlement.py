"""Rewards: they sum to exactly what was reserved, each is credited once, and members draw them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.bindings import Accounts, Ledger, Registry, RoundStatus
from contracts.digests import CHUNK, MAX_PHI, Settlement, settlement
from contracts.events import (
    Credited,
    Refunded,
    Released,
    RoundAgreed,
    RoundSettled,
    RoundUnpaid,
    ThetasPosted,
    Transfer,
)
from merit.chance import seeded
from tests.contracts.conftest import Cast
from tests.contracts.world import (
    BASE_REWARD,
    Actor,
    Outcome,
    Reverted,
    World,
    account,
    attestation,
    post_thetas,
    scores_of,
)


def rewards(reward: int, thetas: list[int]) -> list[int]:
    """Return reward_i = R * cum_i // total - R * cum_(i-1) // total, in plain integers."""
    total, before, paid = sum(thetas), 0, []
    for at in range(len(thetas)):
        after = reward * sum(thetas[: at + 1]) // total
        paid.append(after - before)
        before = after
    return paid


def agree(world: World, cast: Cast, scores: Settlement, job: int = 1) -> RoundAgreed:
    """Make as many records as a round takes and have a quorum agree on their scores."""
    for _ in range(scores.k):
        world.record(job, cast.clients[0], counter=world.peek("Ledger", "_jobs", job, "next_sequence"))
    spent = world.peek("Ledger", "_jobs", job, "next_sequence")
    round_ = world.peek("Ledger", "_jobs", job, "version") + 1
    vote = attestation(job, round_, world.height, scores, spent)
    return [world.attest(edge, vote) for edge in cast.edges[:3]][-1].only(RoundAgreed)


def credits_of(outcomes: list[Outcome]) -> list[Credited]:
    return [credit for outcome in outcomes for credit in outcome.all(Credited)]


def test_rewards_are_shared_by_theta_and_sum_to_the_base_reward(world: World, cast: Cast) -> None:
    scores = scores_of(cast.clients[:3], [1, 10**9, 333_333_333])
    agree(world, cast, scores)
    posted, settled = world.settle(1, 1, scores)
    assert posted.only(ThetasPosted).chunk_digests == scores.chunk_digests
    found = settled.all(Credited)
    assert [(credit.client, credit.theta) for credit in found] == list(zip(*scores.chunks[0], strict=True))
    assert [credit.reward for credit in found] == rewards(BASE_REWARD, [1, 10**9, 333_333_333])
    assert sum(credit.reward for credit in found) == BASE_REWARD == settled.only(RoundSettled).paid
    assert world.ledger.round(1, 1).status == RoundStatus.SETTLED
    assert world.ledger.accounts(1) == Accounts(100 * BASE_REWARD, 0, 99 * BASE_REWARD, BASE_REWARD, 0)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), base=st.integers(1, 2**128 - 1), phi=st.integers(1, 6))
def test_any_thetas_share_exactly_base_times_k_over_phi(
    world: World, cast: Cast, data: st.DataObject, base: int, phi: int
) -> None:
    with world.fork() as fork:
        fork.fund(cast.sponsor.account, base)
        job = fork.open(cast.sponsor, cast.edges[:3], base_reward=base, budget=base, phi=phi)
        k = data.draw(st.integers(1, phi))
        thetas = data.draw(st.lists(st.integers(0, 10**9), min_size=k, max_size=k).filter(any))
        everybody = (cast.clients * 2)[:k]
        scores = scores_of(everybody, thetas)
        assert agree(fork, cast, scores, job).reward == base * k // phi
        found = credits_of(fork.settle(job, 1, scores))
        assert [credit.reward for credit in found] == rewards(base * k // phi, thetas)
        assert sum(credit.reward for credit in found) == base * k // phi


def test_partial_rounds_never_pay_more_than_the_budget(world: World, cast: Cast) -> None:
    job = world.open(cast.sponsor, cast.edges[:3], budget=BASE_REWARD, phi=3)
    for client in cast.clients[:3]:
        world.record(job, client)
    paid = []
    for at in range(3):
        scores = scores_of(cast.clients[at : at + 1])
        vote = attestation(job, at + 1, world.height, scores, at + 1)
        paid.append([world.attest(edge, vote) for edge in cast.edges[:3]][-1].only(RoundAgreed).reward)
    assert paid == [BASE_REWARD // 3] * 3
    assert world.ledger.free_escrow(job) == BASE_REWARD % 3


def test_a_theta_of_zero_earns_nothing_and_is_written_down(world: World, cast: Cast) -> None:
    scores = scores_of(cast.clients[:3], [5, 0, 5])
    agree(world, cast, scores)
    found = credits_of(world.settle(1, 1, scores))
    assert [credit.reward for credit in found] == [BASE_REWARD // 2, 0, BASE_REWARD - BASE_REWARD // 2]
    assert world.ledger.credited(cast.clients[1].member) == 0
    with pytest.raises(Reverted, match="nothing to release"):
        world.to_ledger(account("x"), Ledger.encode_release(cast.clients[1].member))


def test_a_round_without_any_contribution_pays_nobody_and_keeps_the_escrow(world: World, cast: Cast) -> None:
    scores = scores_of(cast.clients[:2], [0, 0])
    agree(world, cast, scores)
    before = world.ledger.job(1)
    (posted,) = world.settle(1, 1, scores)
    assert posted.only(RoundUnpaid).round == 1
    assert not posted.all(Refunded)
    assert world.ledger.round(1, 1).status == RoundStatus.UNPAID
    assert world.ledger.free_escrow(1) == 100 * BASE_REWARD
    assert world.ledger.job(1) == before
    assert before.version == 1
    with pytest.raises(Reverted, match="nothing to settle"):
        world.to_ledger(account("x"), Ledger.encode_settle_chunk(1, 1, 0, *scores.chunks[0]))


@pytest.mark.parametrize("k", [63, 64, 65, 128, 129])
def test_chunks_meet_their_borders(world: World, cast: Cast, k: int) -> None:
    thetas = [(at * 7919) % 1000 for at in range(k)]
    scores = settlement([cast.clients[at % 5].member for at in range(k)], thetas)
    job, reward = agreed_by_decree(world, cast, scores)
    outcomes = world.settle(job, 1, scores)
    assert len(outcomes) == 1 + -(-k // CHUNK)
    assert [credit.reward for credit in credits_of(outcomes)] == rewards(reward, thetas)


def agreed_by_decree(world: World, cast: Cast, scores: Settlement) -> tuple[int, int]:
    """Agree on a round of many records without recording each: set the counter of records in storage."""
    job = world.open(cast.sponsor, cast.edges[:3], phi=MAX_PHI)
    world.poke("Ledger", "_jobs", job, "next_sequence", value=scores.k)
    vote = attestation(job, 1, world.height, scores, scores.k)
    agreed = [world.attest(edge, vote) for edge in cast.edges[:3]][-1].only(RoundAgreed)
    return job, agreed.reward


def test_a_round_of_1024_settles_in_16_resumable_chunks(world: World, cast: Cast) -> None:
    chance = seeded(4711, "thetas")
    thetas = [chance.randrange(10**9 + 1) for _ in range(MAX_PHI)]
    everybody = [*range(1000, 1000 + MAX_PHI)]
    scores = settlement(everybody, thetas)
    job, reward = agreed_by_decree(world, cast, scores)
    assert reward == BASE_REWARD
    world.to_ledger(account("one"), post_thetas(job, 1, scores))
    found = []
    for index, chunk in enumerate(scores.chunks):
        data = Ledger.encode_settle_chunk(job, 1, index, *chunk)
        for other in {0, index - 1, index + 1, 15} - {index, -1}:  # no chunk twice, none out of turn
            with pytest.raises(Reverted, match="chunk is not next"):
                world.to_ledger(account("x"), Ledger.encode_settle_chunk(job, 1, other, *chunk))
        with pytest.raises(Reverted, match="chunk does not match its digest"):
            world.to_ledger(account("x"), Ledger.encode_settle_chunk(job, 1, index, *scores.chunks[index - 1]))
        outcome = world.to_ledger(account(f"poster {index % 3}"), data)
        found += outcome.all(Credited)
        state, money = world.ledger.round(job, 1), world.ledger.accounts(job)
        assert state.settled_chunks == index + 1
        assert money.pending == sum(credit.reward for credit in found)
        assert money.escrow + money.pending == money.funded
        with pytest.raises(Reverted):
            world.to_ledger(account("x"), data)
    assert outcome.only(RoundSettled).paid == BASE_REWARD
    assert [credit.reward for credit in found] == rewards(BASE_REWARD, thetas)
    assert [(credit.client, credit.theta) for credit in found] == list(zip(everybody, thetas, strict=True))
    assert world.ledger.free_escrow(job) == 99 * BASE_REWARD


def test_one_client_with_several_records_is_credited_for_each(world: World, cast: Cast) -> None:
    scores = settlement([cast.clients[0].member] * 3, [1, 2, 3])
    agree(world, cast, scores)
    found = credits_of(world.settle(1, 1, scores))
    assert len(found) == 3
    assert world.ledger.credited(cast.clients[0].member) == BASE_REWARD
    assert world.peek("Ledger", "_owing_count", cast.clients[0].member) == 1


# Release


def test_release_pays_the_payout_address_everything_once(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    agree(world, cast, scores_of([client], [7]))
    world.settle(1, 1, scores_of([client], [7]))
    owed = world.ledger.releasable(client.member)
    assert owed == BASE_REWARD // 3 == world.ledger.credited(client.member)
    outcome = world.to_ledger(account("anybody"), Ledger.encode_release(client.member))
    released, moved = outcome.only(Released), outcome.only(Transfer)
    assert (released.member, released.job, released.payout, released.amount) == (
        client.member,
        1,
        world.payout(client),
        owed,
    )
    assert (moved.sender, moved.receiver, moved.value) == (world.ledger_at, world.payout(client), owed)
    assert world.token.balance_of(world.payout(client)) == owed
    assert world.ledger.releasable(client.member) == 0
    assert world.ledger.credited(client.member) == owed
    with pytest.raises(Reverted, match="nothing to release"):
        world.to_ledger(account("anybody"), Ledger.encode_release(client.member))
    assert world.ledger.accounts(1).released == owed


def test_release_goes_where_the_member_wants_it_now(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    agree(world, cast, scores_of([client]))
    world.settle(1, 1, scores_of([client]))
    world.send(client.account, world.registry_at, Registry.encode_set_payout(client.member, account("a new wallet")))
    world.govern(Registry.encode_suspend(client.member))  # takes nothing away that was credited
    world.to_ledger(account("anybody"), Ledger.encode_release(client.member))
    assert world.token.balance_of(account("a new wallet")) == BASE_REWARD // 3


def test_release_keeps_each_jobs_accounts_and_resumes_after_64_jobs(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    jobs = [world.open(cast.sponsor, cast.edges[:3], budget=BASE_REWARD, phi=1) for _ in range(66)]
    for job in jobs:
        agree(world, cast, scores_of([client]), job)
        world.settle(job, 1, scores_of([client]))
    assert world.ledger.releasable(client.member) == 66 * BASE_REWARD
    first = world.to_ledger(account("x"), Ledger.encode_release(client.member)).all(Released)
    assert (len(first), world.ledger.releasable(client.member)) == (64, 2 * BASE_REWARD)
    # one of the jobs that was paid out owes again before the rest is drawn
    world.to_ledger(cast.sponsor, Ledger.encode_top_up(jobs[-1], BASE_REWARD))
    agree(world, cast, scores_of([client]), jobs[-1])
    world.settle(jobs[-1], 2, scores_of([client]))
    second = world.to_ledger(account("x"), Ledger.encode_release(client.member)).all(Released)
    assert sorted(event.job for event in first + second) == sorted([*jobs, jobs[-1]])
    for job in jobs:
        money = world.ledger.accounts(job)
        assert (money.escrow, money.pending, money.released) == (0, 0, money.funded)
    assert world.token.balance_of(world.payout(client)) == 67 * BASE_REWARD
    assert world.ledger.accounts(0).released == 67 * BASE_REWARD


def test_a_jobs_rewards_never_come_from_another_jobs_escrow(world: World, cast: Cast, sponsor: Actor) -> None:
    poor = world.open(sponsor, cast.edges[:3], budget=BASE_REWARD, phi=1)
    rich = world.ledger.accounts(1)
    agree(world, cast, scores_of(cast.clients[:1]), poor)
    world.settle(poor, 1, scores_of(cast.clients[:1]))
    world.to_ledger(account("x"), Ledger.encode_release(cast.clients[0].member))
    assert world.ledger.accounts(1) == rich
    assert world.ledger.accounts(poor) == Accounts(BASE_REWARD, 0, 0, 0, BASE_REWARD)
    with pytest.raises(Reverted, match="budget cannot pay"):
        world.record(poor, cast.clients[1])
