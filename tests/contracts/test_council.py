"""Votes of edge servers: who may, what counts, what is executed; validators and the schedule of upgrades."""

import hashlib

import pytest
from eth_hash.auto import keccak

from contracts.artifacts import load
from contracts.bindings import Council, Ledger, Registry, Role, Tally, Token, ValidatorState, Vote
from contracts.calls import Call
from contracts.events import (
    EdgeSetPending,
    Executed,
    MemberAdmitted,
    Proposed,
    Suspended,
    Transfer,
    UpgradeCancelled,
    UpgradeScheduled,
    ValidatorChanged,
    Voted,
)
from contracts.layout import slot
from contracts.upgrades import Upgrade, UpgradeKind
from tests.contracts.conftest import Cast
from tests.contracts.world import Actor, Reverted, World, account, public_key

ANYBODY = account("anybody")


@pytest.fixture
def governed(world: World) -> World:
    """A world in which the Council governs."""
    world.govern(Registry.encode_set_governor(world.council_at))
    return world


def approve(world: World, proposal: int, *edges: Actor) -> None:
    for edge in edges:
        world.to_council(edge, Council.encode_vote(proposal, approves=True))


def key(label: str) -> bytes:
    return public_key(label, 65)


def named(label: str) -> bytes:
    return hashlib.sha256(key(label)).digest()[:20]


def validators(world: World, edges: tuple[Actor, ...], power: int = 1) -> None:
    """Give each edge server a validator, by the governor."""
    for edge in edges:
        world.govern(Council.encode_add_validator(edge.member, key(f"{edge.member}"), power), to=world.council_at)


# Votes


def test_three_of_four_edge_servers_admit_a_member_and_events_tell_everything(governed: World, cast: Cast) -> None:
    calls = (
        Call(governed.registry_at, Registry.encode_admit(Role.CLIENT, 0, account("new"), account("payout"))),
        Call(governed.token_at, Token.encode_mint(account("new"), 7)),
        Call(governed.ledger_at, Ledger.encode_use_edge_set(1, 1)),
    )
    expiry = governed.time + 500
    proposed = governed.to_council(cast.edges[1], Council.encode_propose(expiry, "admit a client", calls))
    event = proposed.only(Proposed)
    assert (event.proposal, event.proposer, event.expiry, event.text, event.calls) == (
        1, cast.edges[1].member, expiry, "admit a client", calls,
    )  # fmt: skip
    voted = [governed.to_council(edge, Council.encode_vote(1, approves=True)) for edge in cast.edges[:3]]
    assert [outcome.only(Voted).member for outcome in voted] == [edge.member for edge in cast.edges[:3]]
    outcome = governed.to_council(ANYBODY, Council.encode_execute(1, calls))
    executed = outcome.only(Executed)
    assert (executed.proposal, executed.executor, executed.approvals, executed.electorate) == (1, ANYBODY, 3, 4)
    assert outcome.only(MemberAdmitted).role == Role.CLIENT
    assert outcome.only(Transfer).value == 7
    assert outcome.only(EdgeSetPending).job == 1
    state = governed.council.proposal(1)
    assert state is not None
    assert state.executed


def test_an_approval_of_a_member_suspended_since_does_not_count(governed: World, cast: Cast) -> None:
    calls = (Call(governed.ledger_at, Ledger.encode_tick()),)
    number = governed.propose_calls(cast.edges[0], *calls)
    approve(governed, number, *cast.edges[:3])
    assert governed.council.tally(number) == Tally(3, 4)
    assert governed.council.tally(number).suffices
    governed.poke("Registry", "_members", cast.edges[0].member, "suspended", value=1)
    governed.poke("Registry", "_active_edge_servers", value=3)
    assert governed.council.tally(number) == Tally(2, 3)
    with pytest.raises(Reverted, match="too few approvals"):
        governed.to_council(ANYBODY, Council.encode_execute(number, calls))
    approve(governed, number, cast.edges[3])
    governed.to_council(ANYBODY, Council.encode_execute(number, calls))


def test_the_electorate_follows_admission_suspension_and_reinstatement(world: World, cast: Cast) -> None:
    count = world.registry.active_edge_servers
    assert count() == 4
    world.admit(Role.EDGE_SERVER)
    world.admit(Role.CLIENT)
    assert count() == 5
    world.govern(Registry.encode_suspend(cast.edges[0].member))
    world.govern(Registry.encode_suspend(cast.clients[0].member))
    assert count() == 4
    world.govern(Registry.encode_reinstate(cast.edges[0].member))
    assert count() == 5


def test_a_suspended_edge_server_neither_proposes_nor_votes(world: World, cast: Cast) -> None:
    call = Call(world.ledger_at, Ledger.encode_tick())
    number = world.propose_calls(cast.edges[1], call)
    world.govern(Registry.encode_suspend(cast.edges[0].member))
    for data in (Council.encode_propose(world.time + 99, "", [call]), Council.encode_vote(number, approves=True)):
        with pytest.raises(Reverted, match="no edge server in good standing"):
            world.to_council(cast.edges[0], data)


def test_two_keys_of_a_member_have_one_vote(world: World, cast: Cast) -> None:
    number = world.propose_calls(cast.edges[0], Call(world.ledger_at, Ledger.encode_tick()))
    second = account("second key")
    world.govern(Registry.encode_add_key(cast.edges[0].member, 0, second))
    approve(world, number, cast.edges[0])
    with pytest.raises(Reverted, match="voted already"):
        world.to_council(second, Council.encode_vote(number, approves=True))


def test_a_rejection_is_a_vote_that_does_not_approve(world: World, cast: Cast) -> None:
    number = world.propose_calls(cast.edges[0], Call(world.ledger_at, Ledger.encode_tick()))
    outcome = world.to_council(cast.edges[2], Council.encode_vote(number, approves=False))
    assert not outcome.only(Voted).approves
    approve(world, number, cast.edges[1])
    assert [world.council.vote_of(number, edge.member) for edge in cast.edges[:3]] == [
        Vote.NONE, Vote.APPROVES, Vote.REJECTS,
    ]  # fmt: skip
    assert world.council.tally(number) == Tally(1, 4)


def test_calls_are_made_all_or_none(governed: World, cast: Cast) -> None:
    good = Call(governed.registry_at, Registry.encode_suspend(cast.clients[0].member))
    bad = Call(governed.registry_at, Registry.encode_suspend(10**6))
    with pytest.raises(Reverted, match="Registry: unknown member"):
        governed.decide(cast.edges, good, bad)
    member = governed.registry.member(cast.clients[0].member)
    assert member is not None
    assert not member.suspended
    assert governed.council.proposal(1) is not None
    assert not governed.peek("Council", "_proposals", 1, "executed")


def test_a_call_that_executes_its_own_proposal_again_fails(governed: World, cast: Cast) -> None:
    number = governed.council.proposal_count() + 1
    inner = Call(governed.council_at, Council.encode_execute(number, []))
    with pytest.raises(Reverted, match="executed already"):
        governed.decide(cast.edges, inner)


def test_the_longest_proposal_fits(governed: World, cast: Cast) -> None:
    longest = Registry.encode_set_edge_set([cast.edges[0].member] * 128)
    assert len(longest) <= 4_608
    calls = [Call(governed.registry_at, longest.ljust(4_608, b"\0"))] * 16
    event = governed.to_council(cast.edges[0], Council.encode_propose(governed.time + 9, "x" * 256, calls)).only(
        Proposed
    )
    assert event.calls == tuple(calls)


def test_what_is_stored_of_a_proposal_binds_targets_and_data(world: World, cast: Cast) -> None:
    call = Call(world.ledger_at, Ledger.encode_tick())
    number = world.propose_calls(cast.edges[0], call)
    state = world.council.proposal(number)
    assert state is not None
    assert (state.proposer, state.executed) == (cast.edges[0].member, False)
    from eth_abi.abi import encode  # noqa: PLC0415 - beside the digest that it explains

    assert state.digest == keccak(encode(["(address,bytes)[]"], [[(call.target, call.data)]]))
    assert world.council.proposal(number + 1) is None
    assert world.council.proposal_count() == number
    assert world.council.registry() == world.registry_at


def test_a_member_leaves_by_vote_with_its_key_and_its_seat(governed: World, cast: Cast) -> None:
    leaver = cast.edges[3]
    rest = [edge.member for edge in cast.edges[:3]]
    outcome = governed.decide(
        cast.edges[:3],
        Call(governed.registry_at, Registry.encode_set_edge_set(rest)),
        Call(governed.ledger_at, Ledger.encode_use_edge_set(1, 2)),
        Call(governed.registry_at, Registry.encode_end_key(leaver.account)),
        Call(governed.registry_at, Registry.encode_suspend(leaver.member)),
    )
    assert outcome.only(Suspended).member == leaver.member
    assert governed.registry.edge_set(2) == tuple(rest)
    assert governed.registry.active_edge_servers() == 3


def test_the_governor_can_be_given_back_to_an_account(governed: World, cast: Cast) -> None:
    governed.decide(cast.edges[:3], Call(governed.registry_at, Registry.encode_set_governor(account("heir"))))
    assert governed.registry.governor() == account("heir")


# Validators


def test_a_validator_enters_by_vote_and_its_event_carries_the_whole_key(governed: World, cast: Cast) -> None:
    member = cast.edges[0].member
    outcome = governed.decide(
        cast.edges[:3], Call(governed.council_at, Council.encode_add_validator(member, key("a"), 5))
    )
    event = outcome.only(ValidatorChanged)
    assert (event.validator, event.member, event.power, event.key) == (named("a"), member, 5, key("a"))
    assert governed.council.validators() == (named("a"),)
    assert governed.council.validator(named("a")) == ValidatorState(member, 5, key("a"))
    assert governed.council.validator_of(member) == named("a")
    assert governed.council.power() == (5, 5)


def test_a_rotation_keeps_member_and_power_and_says_both_changes(world: World, cast: Cast) -> None:
    validators(world, cast.edges, power=3)
    outcome = world.govern(Council.encode_rotate_validator(named("2"), key("new")), to=world.council_at)
    assert [(event.validator, event.member, event.power) for event in outcome.all(ValidatorChanged)] == [
        (named("2"), 2, 0), (named("new"), 2, 3),
    ]  # fmt: skip
    assert world.council.validators() == (named("1"), named("3"), named("4"), named("new"))
    assert world.council.validator_of(2) == named("new")
    assert world.council.validator(named("2")) == ValidatorState(2, 0, key("2"))
    assert world.council.power() == (12, 12)


def test_the_only_validator_can_rotate_and_return_to_its_old_key(world: World, cast: Cast) -> None:
    validators(world, cast.edges[:1])
    world.govern(Council.encode_rotate_validator(named("1"), key("b")), to=world.council_at)
    world.govern(Council.encode_rotate_validator(named("b"), key("1")), to=world.council_at)
    assert world.council.validators() == (named("1"),)


def test_removal_and_power_keep_order_and_sums(world: World, cast: Cast) -> None:
    validators(world, cast.edges, power=2)
    removed = world.govern(Council.encode_remove_validator(named("2")), to=world.council_at).only(ValidatorChanged)
    assert (removed.validator, removed.power, removed.key) == (named("2"), 0, key("2"))
    world.govern(Council.encode_set_validator_power(named("4"), 9), to=world.council_at)
    assert world.council.validators() == (named("1"), named("3"), named("4"))
    assert world.council.power() == (13, 13)
    world.govern(Council.encode_add_validator(2, key("2"), 1), to=world.council_at)
    assert world.council.validators()[-1] == named("2")


def test_expulsions_together_leave_more_than_two_thirds_until_members_decide_again(world: World, cast: Cast) -> None:
    validators(world, cast.edges)
    world.govern(Council.encode_expel_validator(named("1")), to=world.council_at)
    assert world.council.power() == (3, 4)
    with pytest.raises(Reverted, match="too little power"):
        world.govern(Council.encode_expel_validator(named("2")), to=world.council_at)
    world.govern(Council.encode_set_validator_power(named("3"), 4), to=world.council_at)
    assert world.council.power() == (6, 6)
    world.govern(Council.encode_expel_validator(named("2")), to=world.council_at)
    assert world.council.validators() == (named("3"), named("4"))


def test_validators_lie_where_the_layout_says(world: World, cast: Cast) -> None:
    validators(world, cast.edges, power=7)
    assert world.peek("Council", "_active") == 4
    assert world.peek("Council", "_active", 2).to_bytes(20, "big") == named("3")
    assert world.peek("Council", "_validators", named("3"), "member") == 3
    assert world.peek("Council", "_validators", named("3"), "power") == 7
    assert world.peek("Council", "_validator_keys", named("3")) == 1952
    first = slot("Council", "_validator_keys", named("3")) + 1
    words = (world.env.evm.get_storage(_address(world), first + at).to_bytes(32, "big") for at in range(61))
    assert b"".join(words) == key("3")


def _address(world: World) -> object:
    from boa.util.abi import Address  # noqa: PLC0415 - what titanoboa takes

    return Address("0x" + world.council_at.hex())


# Upgrades


def test_an_upgrade_is_scheduled_cancelled_and_scheduled_again(world: World) -> None:
    kind, height = UpgradeKind.EXECUTION, world.height + 20
    outcome = world.govern(Council.encode_schedule_upgrade(kind, 2, height), to=world.council_at)
    event = outcome.only(UpgradeScheduled)
    assert (event.kind, event.version, event.height) == (kind, 2, height)
    assert world.council.upgrades(kind) == (Upgrade(2, height),)
    cancelled = world.govern(Council.encode_cancel_upgrade(kind), to=world.council_at).only(UpgradeCancelled)
    assert (cancelled.kind, cancelled.version, cancelled.height) == (kind, 2, height)
    assert world.council.upgrades(kind) == ()
    world.govern(Council.encode_schedule_upgrade(kind, 2, height - 5), to=world.council_at)
    world.govern(Council.encode_schedule_upgrade(kind, 4, height), to=world.council_at)
    assert world.council.upgrades(kind) == (Upgrade(2, height - 5), Upgrade(4, height))
    assert world.council.upgrades(UpgradeKind.CONTRACTS) == ()


# The second version of the Token


def test_many_balances_are_read_with_one_question(world: World, cast: Cast) -> None:
    immutables = world.registry_at.rjust(32, b"\0")
    world.env.evm.set_code(_token(world), load("Token", 2).deployed_bytecode + immutables)
    world.govern(Token.encode_mint(account("rich"), 5), to=world.token_at)
    owners = [account("rich"), account("poor"), cast.sponsor.account]
    assert world.token.balances_of(owners) == (5, 0, world.token.balance_of(cast.sponsor.account))
    assert world.token.balances_of([account("poor")] * 1_024) == (0,) * 1_024


def _token(world: World) -> object:
    from boa.util.abi import Address  # noqa: PLC0415 - what titanoboa takes

    return Address("0x" + world.token_at.hex())
