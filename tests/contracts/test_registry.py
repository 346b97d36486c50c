"""Members, keys over time, edge sets and the governor."""

from collections.abc import Generator
from typing import Any

import pytest
from boa.vm.py_evm import deregister_raw_precompile, register_raw_precompile
from eth_hash.auto import keccak

from contracts.addresses import KEYS, ZERO
from contracts.bindings import Key, Member, Registry, Role, Standing, Token
from contracts.events import (
    EdgeSetDefined,
    GovernorSet,
    KeyAdded,
    KeyEnded,
    MemberAdmitted,
    PayoutSet,
    Reinstated,
    Suspended,
)
from tests.contracts.conftest import Cast
from tests.contracts.world import Reverted, World, account, address_of, public_key

FOREVER = 2**256 - 1


def test_ids_count_from_one_and_say_role_and_payout(world: World, cast: Cast) -> None:
    assert [edge.member for edge in cast.edges] == [1, 2, 3, 4]
    assert world.registry.member(1) == Member(Role.EDGE_SERVER, suspended=False, payout=account("payout 1"))
    assert world.registry.member_count() == world.admitted
    assert world.registry.member(world.admitted + 1) is None
    assert world.registry.member(0) is None


@pytest.mark.parametrize("scheme", [44, 65])
def test_address_of_an_ml_dsa_key_is_computed_on_chain(world: World, scheme: int) -> None:
    key = public_key("a key", scheme)
    outcome = world.govern(Registry.encode_admit(Role.CLIENT, scheme, key, account("payout")))
    member = world.registry.member_count()
    assert int.from_bytes(outcome.output) == member
    assert outcome.only(MemberAdmitted).member == member
    added = outcome.only(KeyAdded)
    assert added.account == keccak(bytes([scheme]) + key)[12:] == address_of(scheme, key)
    assert (added.key, added.scheme, added.valid_from) == (key, scheme, world.height)
    assert world.registry.member_of(added.account) == member
    assert world.registry.keys(member) == (Key(added.account, scheme, world.height, FOREVER),)


def test_key_is_valid_from_the_block_of_its_admission_to_the_block_that_ends_it(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    second = account("a second key")
    world.govern(Registry.encode_add_key(client.member, 0, second))
    born = world.height
    world.tick_blocks(3)
    outcome = world.send(second, world.registry_at, Registry.encode_end_key(second))
    assert outcome.only(KeyEnded).valid_to == world.height + 1
    ended = world.height
    valid = [world.registry.key_valid_at(second, height) for height in range(born - 1, ended + 3)]
    assert valid == [False, *[True] * (ended - born + 1), False, False]
    assert world.registry.member_of(second) == client.member  # for ever: old records keep their author
    assert [key.account for key in world.registry.keys(client.member)] == [client.account, second]


def test_standing_is_nobody_once_the_key_has_ended(world: World, cast: Cast) -> None:
    edge = cast.edges[0]
    assert world.registry.standing(edge.account) == Standing(edge.member, Role.EDGE_SERVER, suspended=False, scheme=0)
    world.govern(Registry.encode_suspend(edge.member))
    assert world.registry.standing(edge.account).suspended
    world.govern(Registry.encode_end_key(edge.account))
    world.tick_blocks(1)
    assert world.registry.standing(edge.account) == Standing(0, 0, suspended=False, scheme=0)
    assert world.registry.standing(account("stranger")).member == 0


def test_active_clients_counts_clients_that_are_not_suspended(world: World, cast: Cast) -> None:
    assert world.registry.active_clients() == len(cast.clients)
    assert world.govern(Registry.encode_suspend(cast.clients[0].member)).only(Suspended)
    world.govern(Registry.encode_suspend(cast.edges[0].member))
    assert world.registry.active_clients() == len(cast.clients) - 1
    assert world.govern(Registry.encode_reinstate(cast.clients[0].member)).only(Reinstated)
    world.admit(Role.CLIENT)
    world.admit(Role.AUDITOR)
    assert world.registry.active_clients() == len(cast.clients) + 1


def test_payout_is_set_by_the_governor_or_the_member_itself(world: World, cast: Cast) -> None:
    client = cast.clients[0]
    for sender, payout in ((world.governor, account("one")), (client.account, account("two"))):
        outcome = world.send(sender, world.registry_at, Registry.encode_set_payout(client.member, payout))
        assert outcome.only(PayoutSet).payout == payout == world.payout(client)


def test_edge_sets_are_numbered_and_never_change(world: World, cast: Cast) -> None:
    first = tuple(edge.member for edge in cast.edges)
    outcome = world.govern(Registry.encode_set_edge_set([3, 1]))
    assert outcome.only(EdgeSetDefined).members == (3, 1)
    assert int.from_bytes(outcome.output) == outcome.only(EdgeSetDefined).number == 2
    world.govern(Registry.encode_suspend(1))
    assert world.registry.edge_set_count() == 2
    assert (world.registry.edge_set(1), world.registry.edge_set(2), world.registry.edge_set(3)) == (first, (3, 1), ())


def test_edge_set_holds_up_to_128_servers(world: World) -> None:
    members = [world.admit(Role.EDGE_SERVER).member for _ in range(128)]
    world.govern(Registry.encode_set_edge_set(members))
    assert world.registry.edge_set(2) == tuple(members)
    with pytest.raises(Reverted) as refused:
        world.govern(Registry.encode_set_edge_set([*members, 1]))
    assert refused.value.reason is None  # the ABI decoder refuses a longer list before the contract's own code runs


PRIVILEGED = [
    Registry.encode_admit(Role.CLIENT, 0, account("new"), account("payout")),
    Registry.encode_add_key(5, 0, account("new")),
    Registry.encode_suspend(5),
    Registry.encode_reinstate(5),
    Registry.encode_set_edge_set([1]),
    Registry.encode_set_governor(account("x")),
]


@pytest.mark.parametrize("data", PRIVILEGED, ids=lambda data: data[:4].hex())
def test_privileged_calls_are_the_governors_alone(world: World, cast: Cast, data: bytes) -> None:
    for sender in (account("stranger"), cast.edges[0].account, cast.clients[0].account, cast.sponsor.account):
        with pytest.raises(Reverted, match="Registry: caller is not the governor"):
            world.send(sender, world.registry_at, data)


def test_a_new_governor_governs_every_contract_and_the_old_one_none(world: World) -> None:
    old, world.governor = world.governor, account("a voting contract")
    outcome = world.send(old, world.registry_at, Registry.encode_set_governor(world.governor))
    assert outcome.only(GovernorSet).governor == world.governor == world.registry.governor()
    world.admit(Role.CLIENT)
    world.govern(Token.encode_mint(account("x"), 5), to=world.token_at)
    for to, data in ((world.registry_at, Registry.encode_suspend(1)), (world.token_at, Token.encode_mint(old, 1))):
        with pytest.raises(Reverted, match="not the governor"):
            world.send(old, to, data)


# With a precompile that keeps keys in state


@pytest.fixture
def kept() -> Generator[list[bytes]]:
    """Stand in for the key precompile: keep what it is given, answer as `answers` says."""
    keys: list[bytes] = []

    def keep(computation: Any) -> Any:
        named = bytes(computation.msg.data)
        assert not computation.msg.is_static
        keys.append(named)
        address = keccak(named)[12:]
        if named[-1] == 0xBD:
            address = bytes(20)
        computation.output = address.rjust(32, b"\0")
        return computation

    register_raw_precompile("0x" + KEYS.hex(), keep)
    yield keys
    deregister_raw_precompile("0x" + KEYS.hex())


def test_key_precompile_gets_scheme_and_key_and_must_agree_on_the_address(world: World, kept: list[bytes]) -> None:
    registry = world.deploy("Registry", world.governor, KEYS)
    other = World(world.env, registry, world.token_at, world.ledger_at, height=world.height, time=world.time)
    other.admit(Role.CLIENT, scheme=44)
    other.admit(Role.CLIENT, scheme=65)
    other.admit(Role.CLIENT)  # a plain account has no key to keep
    assert kept == [bytes([scheme]) + public_key(f"member {at}", scheme) for at, scheme in ((1, 44), (2, 65))]
    assert other.registry.keys(1)[0].account == address_of(44, public_key("member 1", 44))
    damaged = public_key("x", 44)[:-1] + b"\xbd"
    with pytest.raises(Reverted, match="Registry: key precompile disagrees"):
        other.govern(Registry.encode_add_key(1, 44, damaged))


def test_without_a_key_precompile_the_event_carries_the_key(world: World) -> None:
    (address,) = world.registry._call("keysPrecompile")  # noqa: SLF001 - nothing else asks for it
    assert bytes.fromhex(address[2:]) == ZERO
    outcome = world.govern(Registry.encode_admit(Role.CLIENT, 65, public_key("k", 65), account("payout")))
    assert outcome.only(KeyAdded).key == public_key("k", 65)
