"""Every reason string in the sources is reached by a case here, and no case expects a reason that they do not have."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import vyper
from eth_hash.auto import keccak

import contracts
from contracts.addresses import ZERO
from contracts.artifacts import FOUNDING
from contracts.bindings import Council, Ledger, Registry, Role, Token
from contracts.calls import Call
from contracts.digests import Attestation, Part, Settlement, chunk_digest, name32, thetas_digest
from contracts.upgrades import UpgradeKind
from tests.contracts.conftest import Cast
from tests.contracts.world import (
    ATTESTATION_TIMEOUT,
    BASE_REWARD,
    MAX_WAIT,
    TERMS,
    Reverted,
    World,
    account,
    attestation,
    post_thetas,
    public_key,
    scores_of,
)

SOURCES = Path(contracts.__file__).parent

Case = Callable[[World, Cast], object]
CASES: list[tuple[str, Case]] = []


def reverts(reason: str) -> Callable[[Case], Case]:
    """Put a case into the table."""

    def keep(case: Case) -> Case:
        CASES.append((reason, case))
        return case

    return keep


def reasons_in_sources() -> Counter[str]:
    text = "".join((SOURCES / f"{name}.vy").read_text() for name in FOUNDING)
    return Counter(re.findall(r'"((?:Registry|Token|Ledger|Council): [^"]+)"', text))


def test_table_names_every_reason_at_least_as_often_as_the_sources() -> None:
    wanted, have = reasons_in_sources(), Counter(reason for reason, _ in CASES)
    assert {reason for reason in wanted if have[reason] < wanted[reason]} == set()
    assert have.keys() - wanted.keys() == set()


def test_no_assert_is_without_a_reason() -> None:
    for name in FOUNDING:
        text = (SOURCES / f"{name}.vy").read_text()
        bare = [line for line in text.splitlines() if re.match(r"\s+assert ", line) and '"' not in line]
        assert bare in ([], ["    assert holds, reason"]), name
        assert not re.findall(r"^\s+raise\b(?! \")", text, re.MULTILINE), name


@pytest.mark.parametrize(("reason", "case"), CASES, ids=[f"{case.__name__}" for _, case in CASES])
def test_reason_is_reached(world: World, cast: Cast, reason: str, case: Case) -> None:
    with pytest.raises(Reverted) as caught:
        case(world, cast)
    assert caught.value.reason == reason


# Registry


@reverts("Registry: governor is zero")
def registry_deployed_without_governor(world: World, _: Cast) -> None:
    world.deploy("Registry", ZERO, ZERO)


@reverts("Registry: governor is zero")
def governor_set_to_zero(world: World, _: Cast) -> None:
    world.govern(Registry.encode_set_governor(ZERO))


@reverts("Registry: caller is not the governor")
def stranger_sets_the_governor(world: World, _: Cast) -> None:
    world.send(account("stranger"), world.registry_at, Registry.encode_set_governor(account("stranger")))


def admit(world: World, scheme: int = 0, key: bytes | None = None, role: int = 2, payout: bytes = b"p" * 20) -> None:
    world.govern(Registry.encode_admit(role, scheme, account("new") if key is None else key, payout))  # type: ignore[arg-type]  # also roles that do not exist


@reverts("Registry: unknown role")
def role_zero(world: World, _: Cast) -> None:
    admit(world, role=0)


@reverts("Registry: unknown role")
def role_five(world: World, _: Cast) -> None:
    admit(world, role=5)


@reverts("Registry: payout address is zero")
def admitted_without_payout(world: World, _: Cast) -> None:
    admit(world, payout=ZERO)


@reverts("Registry: payout address is zero")
def payout_set_to_zero(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_set_payout(cast.sponsor.member, ZERO))


@reverts("Registry: unknown scheme")
def scheme_87(world: World, _: Cast) -> None:
    admit(world, scheme=87, key=bytes(1952))


@reverts("Registry: unknown scheme")
def scheme_1(world: World, _: Cast) -> None:
    admit(world, scheme=1)


@reverts("Registry: plain address is not 20 bytes")
def plain_address_of_19_bytes(world: World, _: Cast) -> None:
    admit(world, key=bytes(19))


@reverts("Registry: plain address is zero")
def plain_address_zero(world: World, _: Cast) -> None:
    admit(world, key=ZERO)


@reverts("Registry: ML-DSA-44 key is not 1312 bytes")
def short_key_44(world: World, _: Cast) -> None:
    admit(world, scheme=44, key=public_key("x", 44)[:-1])


@reverts("Registry: ML-DSA-65 key is not 1952 bytes")
def short_key_65(world: World, _: Cast) -> None:
    admit(world, scheme=65, key=public_key("x", 44))


@reverts("Registry: address is known already")
def account_of_another_member(world: World, cast: Cast) -> None:
    admit(world, key=cast.clients[0].account)


@reverts("Registry: address is known already")
def ended_key_comes_back(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_end_key(cast.clients[0].account))
    world.govern(Registry.encode_add_key(cast.clients[0].member, 0, cast.clients[0].account))


@reverts("Registry: unknown member")
def key_for_nobody(world: World, _: Cast) -> None:
    world.govern(Registry.encode_add_key(10**6, 0, account("new")))


@reverts("Registry: unknown member")
def member_zero_is_suspended(world: World, _: Cast) -> None:
    world.govern(Registry.encode_suspend(0))


@reverts("Registry: unknown address")
def unknown_key_ends(world: World, _: Cast) -> None:
    world.govern(Registry.encode_end_key(account("stranger")))


@reverts("Registry: caller is neither governor nor that key")
def another_member_ends_a_key(world: World, cast: Cast) -> None:
    world.send(cast.edges[0].account, world.registry_at, Registry.encode_end_key(cast.clients[0].account))


@reverts("Registry: key has ended already")
def key_ends_twice(world: World, cast: Cast) -> None:
    for _ in range(2):
        world.govern(Registry.encode_end_key(cast.clients[0].account))


@reverts("Registry: member is suspended already")
def suspended_twice(world: World, cast: Cast) -> None:
    for _ in range(2):
        world.govern(Registry.encode_suspend(cast.clients[0].member))


@reverts("Registry: member is not suspended")
def reinstated_without_suspension(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_reinstate(cast.clients[0].member))


@reverts("Registry: caller is neither governor nor the member")
def another_member_sets_the_payout(world: World, cast: Cast) -> None:
    data = Registry.encode_set_payout(cast.clients[0].member, account("thief"))
    world.send(cast.clients[1].account, world.registry_at, data)


@reverts("Registry: caller is neither governor nor the member")
def ended_key_sets_the_payout(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    world.govern(Registry.encode_end_key(client.account))
    world.send(client.account, world.registry_at, Registry.encode_set_payout(client.member, account("elsewhere")))


@reverts("Registry: member is suspended")
def suspended_member_sets_its_payout(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    world.govern(Registry.encode_suspend(client.member))
    world.send(client.account, world.registry_at, Registry.encode_set_payout(client.member, account("elsewhere")))


@reverts("Registry: edge set is empty")
def empty_edge_set(world: World, _: Cast) -> None:
    world.govern(Registry.encode_set_edge_set([]))


@reverts("Registry: not an edge server")
def client_in_an_edge_set(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_set_edge_set([cast.edges[0].member, cast.clients[0].member]))


@reverts("Registry: edge server is suspended")
def suspended_server_in_an_edge_set(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_suspend(cast.edges[0].member))
    world.govern(Registry.encode_set_edge_set([cast.edges[0].member]))


@reverts("Registry: edge server is named twice")
def edge_server_twice_in_a_set(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_set_edge_set([cast.edges[0].member, cast.edges[1].member, cast.edges[0].member]))


@reverts("Registry: no such key")
def key_behind_the_last(world: World, cast: Cast) -> None:
    world.registry._call("keyAt", cast.clients[0].member, 1)  # noqa: SLF001 - the bindings ask for existing keys only


# Token


@reverts("Token: caller is not the governor")
def sponsor_mints(world: World, cast: Cast) -> None:
    world.send(cast.sponsor.account, world.token_at, Token.encode_mint(cast.sponsor.account, 1))


@reverts("Token: receiver is zero")
def minted_to_zero(world: World, _: Cast) -> None:
    world.govern(Token.encode_mint(ZERO, 1), to=world.token_at)


@reverts("Token: receiver is zero")
def sent_to_zero(world: World, cast: Cast) -> None:
    world.send(cast.sponsor.account, world.token_at, Token.encode_transfer(ZERO, 1))


@reverts("Token: supply overflows")
def minted_too_much(world: World, _: Cast) -> None:
    world.govern(Token.encode_mint(account("x"), 2**256 - 1), to=world.token_at)


@reverts("Token: balance is too low")
def sent_more_than_owned(world: World, _: Cast) -> None:
    world.send(account("poor"), world.token_at, Token.encode_transfer(account("x"), 1))


@reverts("Token: allowance is too low")
def taken_without_allowance(world: World, cast: Cast) -> None:
    data = Token.encode_transfer_from(cast.sponsor.account, account("thief"), 1)
    world.send(account("thief"), world.token_at, data)


# The Ledger, who calls


@reverts("Ledger: caller's key is unknown or not in force")
def stranger_sends_a_batch(world: World, _: Cast) -> None:
    world.to_ledger(account("stranger"), Ledger.encode_record_batch(1, b"x"))


@reverts("Ledger: caller's key is unknown or not in force")
def stranger_attests(world: World, cast: Cast) -> None:
    world.to_ledger(account("stranger"), Ledger.encode_attest(vote(world, cast)))


@reverts("Ledger: caller has another role")
def client_attests(world: World, cast: Cast) -> None:
    world.attest(cast.clients[0], vote(world, cast))


@reverts("Ledger: caller has another role")
def edge_server_creates_a_job(world: World, cast: Cast) -> None:
    world.propose(cast.edges[0])


@reverts("Ledger: caller is suspended")
def suspended_server_attests(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_suspend(cast.edges[0].member))
    world.attest(cast.edges[0], vote(world, cast))


@reverts("Ledger: caller is not the governor")
def sponsor_moves_the_edge_set(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, Ledger.encode_use_edge_set(1, 1))


@reverts("Ledger: caller is not the job's sponsor")
def another_sponsor_closes(world: World, _: Cast) -> None:
    world.to_ledger(world.admit(Role.SPONSOR), Ledger.encode_close_job(1))


@reverts("Ledger: edge server is not in the job's set")
def server_outside_the_set_attests(world: World, cast: Cast) -> None:
    world.attest(world.admit(Role.EDGE_SERVER), vote(world, cast))


@reverts("Ledger: edge server is not in the job's set")
def server_outside_the_set_acknowledges(world: World, _: Cast) -> None:
    world.record(1, _.clients[0])
    world.to_ledger(world.admit(Role.EDGE_SERVER), Ledger.encode_acknowledge(1, 1))


# The Ledger, a job's life


BAD_TERMS: dict[str, list[dict[str, Any]]] = {
    "Ledger: dimension is not 1 to 2^26": [{"dimension": 0}, {"dimension": 2**26 + 1}],
    "Ledger: shift is above 16": [{"shift": 17, "fraction_bits": 0}],
    "Ledger: model has more than 30 fraction bits": [{"shift": 16, "fraction_bits": 15}, {"fraction_bits": 255}],
    "Ledger: norm bound squared is not 1 to 2^63 - 1": [{"norm_bound_squared": 0}, {"norm_bound_squared": 2**63}],
    "Ledger: phi is above 1024": [{"phi": 1025}],
    "Ledger: max_wait is 0": [{"max_wait": 0}],
    "Ledger: base reward is 0": [{"base_reward": 0}],
    "Ledger: rules version is 0": [{"rules_version": 0}],
    "Ledger: scoring rule is not named": [{"scoring": bytes(32)}],
    "Ledger: aggregation rule is not named": [{"aggregation": bytes(32)}],
    "Ledger: staleness rule is not named": [{"staleness": bytes(32)}],
    "Ledger: record deadline is 0": [{"record_deadline": 0}],
    "Ledger: attestation timeout is 0": [{"attestation_timeout": 0}],
    "Ledger: records per base is not 1 to 1024": [{"records_per_base": 0}, {"records_per_base": 1025}],
    "Ledger: unknown edge set": [{"edge_set": 0}, {"edge_set": 2}],
    "Ledger: job file has no digest": [{"job_file": bytes(32)}],
    "Ledger: model has no digest": [{"model": bytes(32)}],
    "Ledger: budget is below one base reward": [{"budget": BASE_REWARD - 1}, {"budget": 0}],
    "Ledger: budget is above 2^192": [{"budget": 2**192 + 1}],
}


def proposal(changes: dict[str, Any]) -> Case:
    def propose(world: World, cast: Cast) -> None:
        world.propose(cast.sponsor, **changes)

    propose.__name__ = "proposed_with_" + "_".join(f"{name}_{value}"[:30] for name, value in changes.items())
    return propose


for _reason, _changes in BAD_TERMS.items():
    for _change in _changes:
        reverts(_reason)(proposal(_change))


def test_terms_at_their_limits_are_taken(world: World, cast: Cast) -> None:
    limits: list[dict[str, Any]] = [
        {"dimension": 1},
        {"dimension": 2**26},
        {"shift": 16, "fraction_bits": 14},
        {"shift": 0, "fraction_bits": 30},
        {"norm_bound_squared": 2**63 - 1},
        {"phi": 1024},
        {"phi": 0},
        {"base_reward": 1},
        {"max_staleness": 0},
        {"records_per_base": 1024},
        {"budget": BASE_REWARD},
    ]
    for change in limits:
        world.propose(cast.sponsor, **change)
    assert world.ledger.job_count() == 1 + len(limits)


@reverts("Ledger: budget is above 2^192")
def topped_up_too_much(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, Ledger.encode_top_up(1, 2**192 - 100 * BASE_REWARD + 1))


@reverts("Ledger: job is not proposed")
def open_job_acknowledged(world: World, cast: Cast) -> None:
    world.to_ledger(cast.edges[3], Ledger.encode_acknowledge_job(1))


@reverts("Ledger: edge server has acknowledged the job already")
def job_acknowledged_twice(world: World, cast: Cast) -> None:
    job = world.propose(cast.sponsor)
    for _ in range(2):
        world.to_ledger(cast.edges[0], Ledger.encode_acknowledge_job(job))


@reverts("Ledger: unknown job")
def unknown_job_topped_up(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, Ledger.encode_top_up(9, 1))


@reverts("Ledger: job is closed")
def closed_job_topped_up(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, Ledger.encode_close_job(1))
    world.to_ledger(cast.sponsor, Ledger.encode_top_up(1, 1))


@reverts("Ledger: top-up of 0")
def topped_up_with_nothing(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, Ledger.encode_top_up(1, 0))


@reverts("Ledger: job is not proposed or open")
def closing_job_closed(world: World, cast: Cast) -> None:
    world.record(1, cast.clients[0])
    for _ in range(2):
        world.to_ledger(cast.sponsor, Ledger.encode_close_job(1))


@reverts("Ledger: job is not open or closing")
def edge_set_of_a_proposed_job(world: World, cast: Cast) -> None:
    world.to_ledger(world.governor, Ledger.encode_use_edge_set(world.propose(cast.sponsor), 1))


@reverts("Ledger: job is not open or closing")
def closed_job_acknowledged(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, Ledger.encode_close_job(1))
    world.to_ledger(cast.edges[0], Ledger.encode_acknowledge(1, 0))


@reverts("Ledger: unknown edge set")
def job_moved_to_no_set(world: World, _: Cast) -> None:
    world.to_ledger(world.governor, Ledger.encode_use_edge_set(1, 2))


@reverts("Ledger: no edge set is pending")
def nothing_to_apply(world: World, _: Cast) -> None:
    world.to_ledger(account("x"), Ledger.encode_apply_edge_set(1))


@reverts("Ledger: max_wait has not passed")
def edge_set_applied_too_early(world: World, _: Cast) -> None:
    world.to_ledger(world.governor, Ledger.encode_use_edge_set(1, 1))
    boundary = world.ledger.job(1).boundary
    world.wait(boundary + MAX_WAIT - 2 - world.time)
    world.to_ledger(account("x"), Ledger.encode_apply_edge_set(1))


@reverts("Ledger: round is attested already")
def edge_set_applied_after_an_attestation(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], vote(world, cast))
    world.to_ledger(world.governor, Ledger.encode_use_edge_set(1, 1))
    world.wait(MAX_WAIT)
    world.to_ledger(account("x"), Ledger.encode_apply_edge_set(1))


# The Ledger, records


@reverts("Ledger: job is not open")
def record_for_a_proposed_job(world: World, cast: Cast) -> None:
    world.record(world.propose(cast.sponsor), cast.clients[0])


@reverts("Ledger: job is not open")
def batch_for_a_closing_job(world: World, cast: Cast) -> None:
    world.record(1, cast.clients[0])
    world.to_ledger(cast.sponsor, Ledger.encode_close_job(1))
    world.to_ledger(cast.edges[0], Ledger.encode_record_batch(1, b"x"))


@reverts("Ledger: batch is empty")
def empty_batch(world: World, cast: Cast) -> None:
    world.to_ledger(cast.edges[0], Ledger.encode_record_batch(1, b""))


@reverts("Ledger: key is unknown, not in force or another member's")
def record_in_anothers_name(world: World, cast: Cast) -> None:
    world.record(1, replace(cast.clients[0], account=cast.clients[1].account))


@reverts("Ledger: key is unknown, not in force or another member's")
def record_of_a_stranger_in_nobodys_name(world: World, cast: Cast) -> None:
    world.record(1, replace(cast.clients[0], account=account("stranger"), member=0))


@reverts("Ledger: member is no client or is suspended")
def record_of_an_auditor(world: World, cast: Cast) -> None:
    world.record(1, cast.auditor)


@reverts("Ledger: member is no client or is suspended")
def record_of_a_suspended_client(world: World, cast: Cast) -> None:
    world.govern(Registry.encode_suspend(cast.clients[0].member))
    world.record(1, cast.clients[0])


@reverts("Ledger: record has expired")
def expired_record(world: World, cast: Cast) -> None:
    world.record(1, cast.clients[0], expiry=world.time)


@reverts("Ledger: base is above the current version")
def record_of_a_future_base(world: World, cast: Cast) -> None:
    world.record(1, cast.clients[0], base=1)


@reverts("Ledger: base is too old")
def record_of_an_old_base(world: World, cast: Cast) -> None:
    for round_ in range(1, TERMS.max_staleness + 2):
        agree(world, cast, round_=round_)
    world.record(1, cast.clients[1], base=0)


@reverts("Ledger: base and counter do not rise")
def record_twice(world: World, cast: Cast) -> None:
    for _ in range(2):
        world.record(1, cast.clients[0])


@reverts("Ledger: blob length does not fit the dimension")
def record_of_another_length(world: World, cast: Cast) -> None:
    world.record(1, cast.clients[0], length=95 + 2 * TERMS.dimension)


@reverts("Ledger: budget cannot pay another record")
def record_beyond_the_budget(world: World, cast: Cast) -> None:
    job = world.open(cast.sponsor, cast.edges[:3], budget=BASE_REWARD)
    for counter in range(TERMS.phi + 1):
        world.record(job, cast.clients[0], counter=counter)


# The Ledger, acknowledgements


def acknowledged(world: World, cast: Cast, up_to: int, *exceptions: list[int], records: int = 4) -> None:
    for _ in range(records):
        world.record(1, cast.clients[0], counter=world.ledger.job(1).next_sequence)
    world.to_ledger(cast.edges[0], Ledger.encode_acknowledge(1, up_to, *exceptions))


@reverts("Ledger: acknowledgement goes backwards")
def acknowledged_less_than_before(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 3)
    acknowledged(world, cast, 2)


@reverts("Ledger: acknowledgement of what is not recorded")
def acknowledged_too_much(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 5)


@reverts("Ledger: nothing to acknowledge")
def acknowledged_nothing(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 4)
    acknowledged(world, cast, 4, records=0)


@reverts("Ledger: exceptions do not rise or lie before their range")
def missing_does_not_rise(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 4, [1, 1])


@reverts("Ledger: exceptions do not rise or lie before their range")
def missing_what_was_held(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 2)
    acknowledged(world, cast, 4, [1])


@reverts("Ledger: exceptions lie beyond their range")
def missing_beyond_the_range(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 3, [3])


@reverts("Ledger: exceptions lie beyond their range")
def invalid_beyond_the_range(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 3, [], [2, 3])


@reverts("Ledger: exceptions lie beyond their range")
def resolved_what_is_new(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 2)
    acknowledged(world, cast, 4, [], [], [2])


@reverts("Ledger: exceptions lie beyond their range")
def resolved_the_greatest_number(world: World, cast: Cast) -> None:
    acknowledged(world, cast, 2, [0])
    acknowledged(world, cast, 4, [], [], [0, 2**64 - 1])


# The Ledger, rounds


def vote(world: World, cast: Cast, round_: int = 1, spent: int = 1) -> Attestation:
    """Return what a round of one record of the first client gives; makes that record."""
    world.record(1, cast.clients[0])
    return attestation(1, round_, world.height, scores_of(cast.clients[:1]), spent)


def agree(world: World, cast: Cast, round_: int = 1, scores: Settlement | None = None) -> None:
    """Make the records of a round, by default one of the first client, and have a quorum agree."""
    scores = scores or scores_of(cast.clients[:1])
    for counter in range(scores.k):
        world.record(1, cast.clients[0], counter=counter)
    agreed = attestation(1, round_, world.height, scores, world.ledger.job(1).next_sequence)
    for edge in cast.edges[:3]:
        world.attest(edge, agreed)


@reverts("Ledger: job has not opened")
def proposed_job_attested(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], replace(vote(world, cast), job=world.propose(cast.sponsor)))


@reverts("Ledger: round is not next")
def round_after_next_attested(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], vote(world, cast, round_=2))


@reverts("Ledger: round is not next")
def round_zero_attested(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], vote(world, cast, round_=0))


@reverts("Ledger: height is not in the past")
def attested_of_its_own_block(world: World, cast: Cast) -> None:
    ballot = vote(world, cast)
    world.attest(cast.edges[0], replace(ballot, height=world.height + 1))


@reverts("Ledger: more is spent than recorded")
def attested_more_spent_than_there_is(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], vote(world, cast, spent=2))


@reverts("Ledger: round takes nothing")
def attested_nothing_taken(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], replace(vote(world, cast), k=0))


@reverts("Ledger: live records are left")
def attested_the_end_with_live_records(world: World, cast: Cast) -> None:
    ballot = vote(world, cast)
    world.to_ledger(cast.sponsor, Ledger.encode_close_job(1))
    world.attest(cast.edges[0], replace(ballot, k=0, spent=0))


@reverts("Ledger: round takes more than phi")
def attested_more_than_phi(world: World, cast: Cast) -> None:
    for client in cast.clients[:4]:
        world.record(1, client)
    world.attest(cast.edges[0], attestation(1, 1, world.height, scores_of(cast.clients[:4]), 4))


@reverts("Ledger: less is spent than taken")
def attested_less_spent_than_taken(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], vote(world, cast, spent=0))


@reverts("Ledger: less is spent than taken")
def attested_a_record_spent_before(world: World, cast: Cast) -> None:
    agree(world, cast)
    world.attest(cast.edges[0], vote(world, cast, round_=2, spent=1))


def with_parts(*named: tuple[str, bytes]) -> Case:
    def attest(world: World, cast: Cast) -> None:
        parts = tuple(Part(name32(name), digest) for name, digest in named)
        world.attest(cast.edges[0], replace(vote(world, cast), parts=parts))

    attest.__name__ = "attested_with_" + "_".join(name for name, _ in named)
    return attest


DIGEST = keccak(b"something")
reverts("Ledger: no digest of thetas")(with_parts(("model", DIGEST)))
reverts("Ledger: no digest of thetas")(with_parts(("thetas", bytes(32)), ("model", DIGEST)))
reverts("Ledger: no digest of the model")(with_parts(("thetas", DIGEST)))
reverts("Ledger: no digest of thetas")(with_parts())
reverts("Ledger: thetas are named twice")(with_parts(("thetas", DIGEST), ("model", DIGEST), ("thetas", DIGEST)))
reverts("Ledger: model is named twice")(with_parts(("model", DIGEST), ("model", DIGEST), ("thetas", DIGEST)))


@reverts("Ledger: edge server attests this already")
def attested_twice(world: World, cast: Cast) -> None:
    ballot = vote(world, cast)
    for _ in range(2):
        world.attest(cast.edges[0], ballot)


@reverts("Ledger: round is not next")
def decided_round_voided(world: World, cast: Cast) -> None:
    agree(world, cast)
    world.to_ledger(account("x"), Ledger.encode_void_round(1, 1))


@reverts("Ledger: nobody has attested the round")
def voided_without_attestation(world: World, _: Cast) -> None:
    world.wait(10**6)
    world.to_ledger(account("x"), Ledger.encode_void_round(1, 1))


@reverts("Ledger: attestation timeout has not passed")
def voided_at_the_last_second(world: World, cast: Cast) -> None:
    world.attest(cast.edges[0], vote(world, cast))
    world.wait(ATTESTATION_TIMEOUT - 1)
    world.to_ledger(account("x"), Ledger.encode_void_round(1, 1))


# The Ledger, rewards


@reverts("Ledger: round does not wait for thetas")
def thetas_of_an_undecided_round(world: World, cast: Cast) -> None:
    world.to_ledger(account("x"), post_thetas(1, 1, scores_of(cast.clients[:1])))


@reverts("Ledger: round does not wait for thetas")
def thetas_posted_twice(world: World, cast: Cast) -> None:
    agree(world, cast)
    for _ in range(2):
        world.to_ledger(account("x"), post_thetas(1, 1, scores_of(cast.clients[:1])))


@reverts("Ledger: thetas do not match the agreed digest")
def other_thetas_posted(world: World, cast: Cast) -> None:
    agree(world, cast)
    world.to_ledger(account("x"), post_thetas(1, 1, scores_of(cast.clients[1:2])))


def agree_on(world: World, cast: Cast, k: int, total: int, digests: tuple[bytes, ...]) -> None:
    """Have a quorum agree on thetas that no honest server computes, and post them."""
    for counter in range(k):
        world.record(1, cast.clients[0], counter=counter)
    honest = attestation(1, 1, world.height, scores_of(cast.clients[:k]), k)
    parts = (Part(name32("thetas"), thetas_digest(total, k, digests)), honest.parts[-1])
    for edge in cast.edges[:3]:
        world.attest(edge, replace(honest, parts=parts))
    world.to_ledger(account("x"), Ledger.encode_post_thetas(1, 1, total, digests))


@reverts("Ledger: sum of thetas is impossible")
def total_above_k(world: World, cast: Cast) -> None:
    agree_on(world, cast, 1, 10**9 + 1, (DIGEST,))


@reverts("Ledger: wrong number of chunks")
def two_chunks_for_one_record(world: World, cast: Cast) -> None:
    agree_on(world, cast, 1, 1, (DIGEST, DIGEST))


@reverts("Ledger: wrong number of chunks")
def no_chunk_for_one_record(world: World, cast: Cast) -> None:
    agree_on(world, cast, 1, 1, ())


@reverts("Ledger: round has nothing to settle")
def settled_before_the_thetas(world: World, cast: Cast) -> None:
    agree(world, cast)
    world.to_ledger(account("x"), Ledger.encode_settle_chunk(1, 1, 0, [cast.clients[0].member], [10**6]))


@reverts("Ledger: round has nothing to settle")
def settled_twice(world: World, cast: Cast) -> None:
    agree(world, cast)
    scores = scores_of(cast.clients[:1])
    world.settle(1, 1, scores)
    world.to_ledger(account("x"), Ledger.encode_settle_chunk(1, 1, 0, *scores.chunks[0]))


@reverts("Ledger: chunk is not next")
def second_chunk_settled_first(world: World, cast: Cast) -> None:
    agree(world, cast)
    scores = scores_of(cast.clients[:1])
    world.to_ledger(account("x"), post_thetas(1, 1, scores))
    world.to_ledger(account("x"), Ledger.encode_settle_chunk(1, 1, 1, *scores.chunks[0]))


@reverts("Ledger: chunk does not match its digest")
def other_client_settled(world: World, cast: Cast) -> None:
    agree(world, cast)
    world.to_ledger(account("x"), post_thetas(1, 1, scores_of(cast.clients[:1])))
    world.to_ledger(account("x"), Ledger.encode_settle_chunk(1, 1, 0, [cast.clients[1].member], [10**6]))


def settle_nonsense(world: World, cast: Cast, total: int, clients: list[int], thetas: list[int]) -> None:
    """Settle a chunk that a quorum agreed on for a round of two records."""
    agree_on(world, cast, 2, total, (chunk_digest(clients, thetas),))
    world.to_ledger(account("x"), Ledger.encode_settle_chunk(1, 1, 0, clients, thetas))


@reverts("Ledger: chunk has the wrong size")
def chunk_of_one_for_two_records(world: World, cast: Cast) -> None:
    settle_nonsense(world, cast, 5, [1], [5])


@reverts("Ledger: clients and thetas differ in number")
def chunk_with_too_many_thetas(world: World, cast: Cast) -> None:
    settle_nonsense(world, cast, 5, [1, 2], [1, 2, 2])


@reverts("Ledger: theta is above 1")
def theta_above_one(world: World, cast: Cast) -> None:
    settle_nonsense(world, cast, 10**9 + 1, [1, 2], [10**9 + 1, 0])


@reverts("Ledger: thetas exceed their sum")
def thetas_above_their_sum(world: World, cast: Cast) -> None:
    settle_nonsense(world, cast, 5, [1, 2], [3, 3])


@reverts("Ledger: thetas fall short of their sum")
def thetas_below_their_sum(world: World, cast: Cast) -> None:
    settle_nonsense(world, cast, 5, [1, 2], [3, 1])


@reverts("Ledger: nothing to release")
def released_nothing(world: World, cast: Cast) -> None:
    world.to_ledger(account("x"), Ledger.encode_release(cast.clients[0].member))


@reverts("Ledger: nothing to release")
def released_twice(world: World, cast: Cast) -> None:
    agree(world, cast)
    world.settle(1, 1, scores_of(cast.clients[:1]))
    for _ in range(2):
        world.to_ledger(account("x"), Ledger.encode_release(cast.clients[0].member))


# The Ledger, other contracts that misbehave


def faulty_token(world: World, cast: Cast, pays_in: str) -> None:
    """Create and close a job with a token that answers False instead of reverting."""
    source = f"""
@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    return {pays_in}

@external
def transfer(to: address, amount: uint256) -> bool:
    return False
"""
    code = vyper.compile_code(source, output_formats=["bytecode"])["bytecode"]
    token = world.deploy_code(bytes.fromhex(code[2:]))
    ledger = world.deploy("Ledger", world.registry_at, token, ZERO)
    other = replace(world, token_at=token, ledger_at=ledger)
    other.propose(cast.sponsor)
    other.to_ledger(cast.sponsor, Ledger.encode_close_job(1))


@reverts("Ledger: token takes no payment")
def token_refuses_the_budget(world: World, cast: Cast) -> None:
    faulty_token(world, cast, pays_in="False")


@reverts("Ledger: token makes no payment")
def token_refuses_the_refund(world: World, cast: Cast) -> None:
    faulty_token(world, cast, pays_in="True")


@reverts("Ledger: verifier fails its known answer")
def verifier_without_code(world: World, _: Cast) -> None:
    world.deploy("Ledger", world.registry_at, world.token_at, account("nobody is here"))


@reverts("Ledger: verifier fails its known answer")
def token_as_verifier(world: World, _: Cast) -> None:
    world.deploy("Ledger", world.registry_at, world.token_at, world.token_at)


@reverts("Registry: key precompile disagrees")
def key_precompile_without_code(world: World, _: Cast) -> None:
    registry = world.deploy("Registry", world.governor, account("nobody is here"))
    data = Registry.encode_admit(Role.CLIENT, 44, public_key("x", 44), account("payout"))
    world.send(world.governor, registry, data)


@reverts("Ledger: caller is not the governor")
def sponsor_changes_the_rules(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, use_rules(1))


@reverts("Ledger: job is not open or closing")
def rules_of_a_proposed_job_change(world: World, cast: Cast) -> None:
    world.to_ledger(world.governor, use_rules(world.propose(cast.sponsor)))


@reverts("Ledger: rules version is 0")
def rules_change_without_a_version(world: World, _: Cast) -> None:
    world.to_ledger(world.governor, use_rules(1, version=0))


def use_rules(job: int, version: int = 2) -> bytes:
    """Return call data that names other rules."""
    return Ledger.encode_use_rules(job, version, name32("uniform"), name32("literal"), name32("constant"))


# The Council

NOTHING = Ledger.encode_tick()


def by_vote(world: World, cast: Cast, *calls: Call) -> None:
    """Let the Council govern and decide."""
    world.govern(Registry.encode_set_governor(world.council_at))
    world.decide(cast.edges[:3], *calls)


def of_council(world: World, data: bytes) -> None:
    """Call the Council as the governor."""
    world.govern(data, to=world.council_at)


def validator(label: str) -> bytes:
    """Return a made-up validator key."""
    return public_key(label, 65)


def named(label: str) -> bytes:
    """Return how the engine names the validator with this key."""
    return hashlib.sha256(validator(label)).digest()[:20]


def tick(world: World) -> Call:
    """Return a call that does nothing much."""
    return Call(world.ledger_at, NOTHING)


@reverts("Council: caller is no edge server in good standing")
def client_proposes(world: World, cast: Cast) -> None:
    world.propose_calls(cast.clients[0], tick(world))


@reverts("Council: expiry is not within 30 days")
def proposal_that_has_expired(world: World, cast: Cast) -> None:
    world.propose_calls(cast.edges[0], tick(world), seconds=0)


@reverts("Council: proposal has no calls")
def proposal_of_nothing(world: World, cast: Cast) -> None:
    world.propose_calls(cast.edges[0])


@reverts("Council: target is no contract")
def proposal_to_call_an_account(world: World, cast: Cast) -> None:
    world.propose_calls(cast.edges[0], tick(world), Call(account("nobody"), NOTHING))


@reverts("Council: unknown proposal")
def vote_on_nothing(world: World, cast: Cast) -> None:
    world.to_council(cast.edges[0], Council.encode_vote(1, approves=True))


@reverts("Council: proposal is executed already")
def executed_twice(world: World, cast: Cast) -> None:
    world.decide(cast.edges[:3], tick(world))
    world.to_council(cast.edges[0], Council.encode_execute(1, [tick(world)]))


@reverts("Council: proposal has expired")
def vote_too_late(world: World, cast: Cast) -> None:
    number = world.propose_calls(cast.edges[0], tick(world), seconds=10)
    world.wait(10)
    world.to_council(cast.edges[0], Council.encode_vote(number, approves=True))


@reverts("Council: member has voted already")
def vote_twice(world: World, cast: Cast) -> None:
    number = world.propose_calls(cast.edges[0], tick(world))
    world.to_council(cast.edges[0], Council.encode_vote(number, approves=False))
    world.to_council(cast.edges[0], Council.encode_vote(number, approves=True))


@reverts("Council: proposal has 1024 approvals")
def vote_after_1024(world: World, cast: Cast) -> None:
    number = world.propose_calls(cast.edges[0], tick(world))
    world.poke("Council", "_approval_count", number, value=1024)
    world.to_council(cast.edges[0], Council.encode_vote(number, approves=True))


@reverts("Council: these are not the proposed calls")
def other_calls_executed(world: World, cast: Cast) -> None:
    number = world.propose_calls(cast.edges[0], tick(world))
    world.to_council(cast.edges[0], Council.encode_execute(number, [tick(world), tick(world)]))


@reverts("Council: too few approvals")
def two_of_four_are_too_few(world: World, cast: Cast) -> None:
    world.decide(cast.edges[:2], tick(world))


@reverts("Council: caller is not the governor")
def stranger_adds_a_validator(world: World, cast: Cast) -> None:
    world.to_council(cast.edges[0], Council.encode_add_validator(1, validator("a"), 1))


@reverts("Council: caller is not the governor")
def council_that_does_not_govern_adds_a_validator(world: World, cast: Cast) -> None:
    world.decide(cast.edges, Call(world.council_at, Council.encode_add_validator(1, validator("a"), 1)))


@reverts("Registry: member is suspended already")
def call_that_fails_gives_its_own_reason(world: World, cast: Cast) -> None:
    suspend = Call(world.registry_at, Registry.encode_suspend(cast.edges[3].member))
    by_vote(world, cast, suspend, suspend)


@reverts("Council: there are 128 validators")
def validator_129(world: World, _: Cast) -> None:
    world.poke("Council", "_active", value=128)
    of_council(world, Council.encode_add_validator(1, validator("a"), 1))


@reverts("Council: member is no edge server in good standing")
def client_validates(world: World, cast: Cast) -> None:
    of_council(world, Council.encode_add_validator(cast.clients[0].member, validator("a"), 1))


@reverts("Council: member is no edge server in good standing")
def nobody_validates_after_block_0(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(0, validator("a"), 1))


@reverts("Council: member is no edge server in good standing")
def suspended_member_rotates(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, validator("a"), 1))
    world.govern(Registry.encode_suspend(1))
    of_council(world, Council.encode_rotate_validator(named("a"), validator("b")))


@reverts("Council: member runs a validator")
def second_validator_of_a_member(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, validator("a"), 1))
    of_council(world, Council.encode_add_validator(1, validator("b"), 1))


@reverts("Council: power is not 1 to 10^12")
def validator_without_power(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, validator("a"), 0))


@reverts("Council: power is not 1 to 10^12")
def validator_with_all_power(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, validator("a"), 1))
    of_council(world, Council.encode_set_validator_power(named("a"), 10**12 + 1))


@reverts("Council: validator key is not 1952 bytes")
def validator_with_a_key_of_another_scheme(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, public_key("a", 44), 1))


@reverts("Council: validator takes part already")
def key_of_another_validator(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, validator("a"), 1))
    of_council(world, Council.encode_add_validator(2, validator("a"), 1))


@reverts("Council: key was another member's")
def key_that_another_member_used(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, validator("a"), 1))
    of_council(world, Council.encode_rotate_validator(named("a"), validator("b")))
    of_council(world, Council.encode_add_validator(2, validator("a"), 1))


@reverts("Council: no such validator takes part")
def unknown_validator_gets_power(world: World, _: Cast) -> None:
    of_council(world, Council.encode_set_validator_power(named("a"), 1))


@reverts("Council: no such validator takes part")
def unknown_validator_rotates(world: World, _: Cast) -> None:
    of_council(world, Council.encode_rotate_validator(named("a"), validator("b")))


@reverts("Council: no validator would be left")
def last_validator_leaves(world: World, _: Cast) -> None:
    of_council(world, Council.encode_add_validator(1, validator("a"), 1))
    of_council(world, Council.encode_remove_validator(named("a")))


@reverts("Council: too little power would remain")
def one_of_three_is_expelled(world: World, _: Cast) -> None:
    for member in (1, 2, 3):
        of_council(world, Council.encode_add_validator(member, validator(f"{member}"), 1))
    of_council(world, Council.encode_expel_validator(named("1")))


@reverts("Council: unknown kind of upgrade")
def upgrade_of_nothing(world: World, _: Cast) -> None:
    of_council(world, Council.encode_schedule_upgrade(4, 2, world.height + 100))  # type: ignore[arg-type]  # no such kind


@reverts("Council: version does not rise")
def version_goes_back(world: World, _: Cast) -> None:
    of_council(world, Council.encode_schedule_upgrade(UpgradeKind.EXECUTION, 2, world.height + 100))
    of_council(world, Council.encode_schedule_upgrade(UpgradeKind.EXECUTION, 2, world.height + 200))


@reverts("Council: upgrade is less than 8 blocks away")
def upgrade_at_short_notice(world: World, _: Cast) -> None:
    of_council(world, Council.encode_schedule_upgrade(UpgradeKind.EXECUTION, 2, world.height + 8))


@reverts("Council: an upgrade is scheduled for then or later")
def upgrade_before_the_one_before(world: World, _: Cast) -> None:
    of_council(world, Council.encode_schedule_upgrade(UpgradeKind.EXECUTION, 2, world.height + 100))
    of_council(world, Council.encode_schedule_upgrade(UpgradeKind.EXECUTION, 3, world.height + 50))


@reverts("Council: no upgrade lies ahead")
def cancelled_too_late(world: World, _: Cast) -> None:
    of_council(world, Council.encode_schedule_upgrade(UpgradeKind.RULES, 2, world.height + 9))
    world.tick_blocks(7)
    of_council(world, Council.encode_cancel_upgrade(UpgradeKind.RULES))
