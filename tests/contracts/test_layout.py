"""Slots computed from the committed layout are where the EVM really keeps things."""

from dataclasses import fields

import pytest

from contracts.addresses import LEDGER
from contracts.bindings import JobState, Ledger, Registry, Role
from contracts.errors import UnknownVariableError
from contracts.layout import mapped, members, places, slot
from contracts.terms import JobTerms
from tests.contracts.conftest import Cast
from tests.contracts.world import (
    BASE_REWARD,
    TERMS,
    World,
    account,
    address_of,
    attestation,
    post_thetas,
    public_key,
    scores_of,
)


def as_number(value: object) -> int:
    match value:
        case bool() | int():
            return int(value)
        case bytes():
            return int.from_bytes(value)
        case _:
            raise AssertionError(value)


def test_every_member_of_a_job_and_its_terms_is_where_the_layout_says(world: World, cast: Cast) -> None:
    for client in cast.clients[:3]:
        world.record(1, client)
    vote = attestation(1, 1, world.height, scores_of(cast.clients[:2]), 2)
    for edge in cast.edges[:3]:
        world.attest(edge, vote)
    world.govern(Registry.encode_set_edge_set([cast.edges[0].member]))
    world.to_ledger(world.governor, Ledger.encode_use_edge_set(1, 2))
    state, terms = world.ledger.job(1), world.ledger.terms(1)
    for field in fields(JobState):
        assert world.peek("Ledger", "_jobs", 1, field.name) == as_number(getattr(state, field.name)), field.name
    for field in fields(JobTerms):
        assert world.peek("Ledger", "_terms", 1, field.name) == as_number(getattr(terms, field.name)), field.name
    found = world.ledger.round(1, 1)
    for name in members("Ledger", "Round"):
        assert world.peek("Ledger", "_rounds", 1, 1, name) == as_number(getattr(found, name)), name
    assert terms == TERMS
    assert len({getattr(state, name) for name in ("version", "next_sequence", "edge_set_pending")}) == 3


def test_money_is_where_the_layout_says(world: World, cast: Cast) -> None:
    world.record(1, cast.clients[0])
    scores = scores_of(cast.clients[:1])
    vote = attestation(1, 1, world.height, scores, 1)
    for edge in cast.edges[:3]:
        world.attest(edge, vote)
    money = world.ledger.accounts(1)
    reward = BASE_REWARD // 3
    assert world.peek("Ledger", "_accounts", 1, "funded") == money.funded == 100 * BASE_REWARD
    assert world.peek("Ledger", "_accounts", 1, "reserved") == reward
    assert world.peek("Ledger", "_accounts", 1, "free") == money.escrow - reward == world.ledger.free_escrow(1)
    world.to_ledger(account("x"), post_thetas(1, 1, scores))
    assert world.peek("Ledger", "_chunks", 1, 1) == 1  # the DynArray's length
    assert world.peek("Ledger", "_chunks", 1, 1, 0) == as_number(scores.chunk_digests[0])
    world.to_ledger(account("x"), Ledger.encode_settle_chunk(1, 1, 0, *scores.chunks[0]))
    member = cast.clients[0].member
    assert world.peek("Ledger", "_accounts", 1, "pending") == reward == world.peek("Ledger", "_credited", member)
    assert world.peek("Ledger", "_owed", member, 1) == reward
    world.to_ledger(account("x"), Ledger.encode_release(member))
    assert world.peek("Ledger", "_accounts", 1, "released") == reward == world.peek("Ledger", "_withdrawn", member)
    assert world.peek("Token", "balanceOf", world.payout(cast.clients[0])) == reward


def test_what_the_record_rule_reads_is_where_the_layout_says(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    world.record(1, client, counter=7)
    assert (
        world.peek("Ledger", "_marks", 1, client.member) == (1 << 32) | 7 == world.ledger.replay_mark(1, client.member)
    )
    assert world.peek("Registry", "_member_of", client.account) == client.member
    assert world.peek("Registry", "_members", client.member, "role") == Role.CLIENT
    assert world.peek("Registry", "_members", client.member, "suspended") == 0
    (key,) = world.registry.keys(client.member)
    assert world.peek("Registry", "_keys", client.account, "scheme") == key.scheme == 0
    assert world.peek("Registry", "_keys", client.account, "valid_from") == key.valid_from
    assert world.peek("Registry", "_keys", client.account, "valid_to") == key.valid_to == 2**256 - 1
    world.govern(Registry.encode_add_key(client.member, 65, public_key("x", 65)))
    world.govern(Registry.encode_suspend(client.member))
    world.govern(Registry.encode_end_key(client.account))
    second = address_of(65, public_key("x", 65))
    assert world.peek("Registry", "_keys", second, "scheme") == 65
    assert world.peek("Registry", "_members", client.member, "suspended") == 1
    assert world.peek("Registry", "_keys", client.account, "valid_to") == world.height + 1
    assert world.peek("Registry", "_key_list", client.member, 1) == as_number(second)


def test_edge_sets_are_where_the_layout_says(world: World, cast: Cast) -> None:
    assert world.peek("Registry", "_edge_sets", 1) == 4
    found = [world.peek("Registry", "_edge_sets", 1, at) for at in range(4)]
    assert found == [edge.member for edge in cast.edges]
    assert world.peek("Registry", "_seats", 1, cast.edges[2].member) == 1
    assert world.peek("Registry", "_seats", 1, cast.clients[0].member) == 0


def test_hashmap_rule_is_slot_before_key() -> None:
    assert slot("Ledger", "_marks", 5, 6) == mapped(mapped(slot("Ledger", "_marks"), 5), 6)
    assert slot("Ledger", "_support", 1, 2, b"\1" * 32) == mapped(
        mapped(mapped(slot("Ledger", "_support"), 1), 2), int.from_bytes(b"\1" * 32)
    )


@pytest.mark.parametrize(
    "path",
    [
        ("_nothing",),
        ("_jobs", 1, "nothing"),
        ("_jobs", 1, "version", 2),
        ("_jobs", "version"),
        ("_jobs", -1),
        ("_jobs", 2**256),
        ("_jobs", bytes(33)),
        ("_marks", 1, 2, 3),
        ("_chunks", 1, 1, 16),
        ("_job_count", 1),
    ],
)
def test_path_that_leads_nowhere_is_refused(path: tuple[str | int | bytes, ...]) -> None:
    variable, *rest = path
    with pytest.raises(UnknownVariableError, match="leads to no slot of Ledger"):
        slot("Ledger", str(variable), *rest)


def test_unknown_struct_is_refused() -> None:
    with pytest.raises(UnknownVariableError):
        members("Ledger", "Jobs")


ADDRESS = 0x77 << 80
DIGEST = 0x99 << 240


@pytest.mark.parametrize(
    ("contract", "name", "path"),
    [
        ("Token", "totalSupply", ("totalSupply",)),
        ("Token", f"allowance[0x{ADDRESS:040x}][0x{int.from_bytes(LEDGER):040x}]", ("allowance", ADDRESS, LEDGER)),
        ("Ledger", "_jobs[3].version", ("_jobs", 3, "version")),
        ("Ledger", f"_support[3][2][0x{DIGEST:064x}]", ("_support", 3, 2, DIGEST)),
        ("Ledger", "length of _chunks[3][2]", ("_chunks", 3, 2)),
        ("Ledger", "_chunks[3][2][1]", ("_chunks", 3, 2, 1)),
        ("Council", "_active[127]", ("_active", 127)),
        ("Council", f"length of _validator_keys[0x{ADDRESS:040x}]", ("_validator_keys", ADDRESS)),
    ],
)
def test_a_slot_has_the_name_of_the_path_that_leads_to_it(
    contract: str, name: str, path: tuple[str, *tuple[str | int | bytes, ...]]
) -> None:
    keys = [3, 2, ADDRESS, DIGEST, int.from_bytes(LEDGER)]
    named = {text: place for place, text in places(contract, keys)}
    assert named[name] == slot(contract, *path)
    assert len(set(named.values())) == len(named)
