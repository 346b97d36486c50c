"""The token is an ERC-20 token like any other."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.abi import functions
from contracts.addresses import ZERO
from contracts.bindings import Token
from contracts.events import Approval, Transfer
from tests.contracts.world import Reverted, World, account

A, B, C = account("a"), account("b"), account("c")


def test_minting_is_a_transfer_from_zero(world: World) -> None:
    before = world.token.total_supply()
    minted = world.govern(Token.encode_mint(A, 5), to=world.token_at).only(Transfer)
    assert (minted.sender, minted.receiver, minted.value) == (ZERO, A, 5)
    assert world.token.total_supply() == before + 5
    assert world.token.balance_of(A) == 5


def test_wallets_read_name_symbol_and_decimals(world: World) -> None:
    assert [world.token._call(name)[0] for name in ("name", "symbol", "decimals")] == ["Merit", "MERIT", 18]  # noqa: SLF001 - wallets ask, we do not


def test_approval_is_replaced_and_used_up(world: World) -> None:
    world.govern(Token.encode_mint(A, 10), to=world.token_at)
    approved = world.send(A, world.token_at, Token.encode_approve(B, 7)).only(Approval)
    assert (approved.owner, approved.spender, approved.value) == (A, B, 7)
    world.send(B, world.token_at, Token.encode_transfer_from(A, C, 3))
    assert world.token.allowance(A, B) == 4
    with pytest.raises(Reverted, match="allowance is too low"):
        world.send(B, world.token_at, Token.encode_transfer_from(A, C, 5))
    world.send(A, world.token_at, Token.encode_approve(B, 0))
    assert world.token.allowance(A, B) == 0


def test_unlimited_allowance_is_not_used_up(world: World) -> None:
    world.govern(Token.encode_mint(A, 10), to=world.token_at)
    world.send(A, world.token_at, Token.encode_approve(B, 2**256 - 1))
    world.send(B, world.token_at, Token.encode_transfer_from(A, C, 10))
    assert world.token.allowance(A, B) == 2**256 - 1


def test_transfers_answer_true(world: World) -> None:
    world.govern(Token.encode_mint(A, 1), to=world.token_at)
    assert int.from_bytes(world.send(A, world.token_at, Token.encode_transfer(A, 1)).output) == 1
    assert {"transfer", "transferFrom", "approve"} <= functions("Token").keys()
    assert "permit" not in functions("Token")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from([A, B, C]), st.integers(0, 40)), max_size=8)
)
def test_transfers_keep_the_supply_and_match_a_plain_model(world: World, moves: list[tuple[bytes, bytes, int]]) -> None:
    with world.fork() as fork:
        model = {A: 30, B: 10, C: 0}
        for owner, amount in model.items():
            fork.govern(Token.encode_mint(owner, amount), to=fork.token_at)
        for sender, to, amount in moves:
            try:
                fork.send(sender, fork.token_at, Token.encode_transfer(to, amount))
            except Reverted as refused:
                assert model[sender] < amount, refused  # noqa: PT017 - whether it reverts is the property
            else:
                model[sender] -= amount
                model[to] += amount
        assert {owner: fork.token.balance_of(owner) for owner in model} == model
