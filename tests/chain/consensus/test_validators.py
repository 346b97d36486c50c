"""Turns and quorums are CometBFT's, and changes count from a fixed later height on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.errors import ValidatorPowersError
from chain.consensus.timeouts import Timeouts
from chain.consensus.types import Address, Round, Step
from chain.consensus.validators import Schedule, ValidatorSet

# CometBFT, types/validator_set_test.go, TestProposerSelection1
TURNS = (
    "foo baz foo bar foo foo baz foo bar foo foo baz foo foo bar foo baz foo foo bar foo foo "
    "baz foo bar foo foo baz foo bar foo foo baz foo foo bar foo baz foo foo bar foo baz foo "
    "foo bar foo baz foo foo bar foo baz foo foo foo baz bar foo foo foo baz foo bar foo foo "
    "baz foo bar foo foo baz foo bar foo foo baz foo bar foo foo baz foo foo bar foo baz foo "
    "foo bar foo baz foo foo bar foo baz foo foo"
)

powers = st.dictionaries(st.binary(min_size=1, max_size=4).map(Address), st.integers(1, 1000), min_size=1, max_size=8)


def test_proposers_take_turns_as_in_cometbft() -> None:
    turn, seen = ValidatorSet.of({Address(b"foo"): 1000, Address(b"bar"): 300, Address(b"baz"): 330}), []
    for _ in range(99):
        seen.append(turn.proposer.decode())
        turn = turn.after(1)
    assert " ".join(seen) == TURNS


def test_equal_powers_take_turns_in_the_order_of_addresses() -> None:
    turn, seen = ValidatorSet.of({Address(bytes([n])): 100 for n in (2, 0, 1)}), []
    for _ in range(6):
        seen.append(turn.proposer[0])
        turn = turn.after(1)
    assert seen == [0, 1, 2, 0, 1, 2]


@given(powers)
def test_within_a_total_of_turns_everybody_proposes_as_often_as_its_power_says(
    given_powers: dict[Address, int],
) -> None:
    small = {address: power % 7 + 1 for address, power in given_powers.items()}
    turn, count = ValidatorSet.of(small), dict.fromkeys(small, 0)
    for _ in range(2 * sum(small.values())):
        count[turn.proposer] += 1
        turn = turn.after(1)
    assert all(abs(count[address] - 2 * power) <= 1 for address, power in small.items())


@given(powers, st.integers(1, 30))
def test_many_turns_at_once_are_as_many_single_ones(given_powers: dict[Address, int], turns: int) -> None:
    one = many = ValidatorSet.of(given_powers)
    for _ in range(turns):
        one = one.after(1)
    assert many.after(turns) == one


@given(powers, st.integers(0, 10**4))
def test_a_quorum_and_a_minority_that_can_be_faulty_exclude_each_other(
    given_powers: dict[Address, int], power: int
) -> None:
    some = ValidatorSet.of(given_powers)
    rest = some.total_power - power
    if 0 <= power <= some.total_power:
        assert some.has_quorum(power) == (not some.has_honest(rest))


def test_a_newcomer_begins_behind_everybody() -> None:
    grown = ValidatorSet.of({Address(b"a"): 10, Address(b"b"): 10}).updated({Address(b"c"): 10})
    assert min(grown.priorities, key=lambda address: grown.priorities[address]) == b"c"


def test_no_change_is_the_same_set() -> None:
    some = ValidatorSet.of({Address(b"a"): 1})
    assert some.updated({}) is some
    assert some.after(0) is some


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({b"b": 0}, "not in the set"),
        ({b"a": 0}, "cannot be empty"),
        ({b"b": 2**61}, "sum to"),
        ({b"b": -1}, "at least 1"),
    ],
)
def test_changes_that_make_no_set_are_refused(changes: dict[bytes, int], why: str) -> None:
    some = ValidatorSet.of({Address(b"a"): 1})
    with pytest.raises(ValidatorPowersError, match=why):
        some.updated({Address(address): power for address, power in changes.items()})


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValidatorPowersError, match="cannot be empty"):
        ValidatorSet.of({})


def test_changes_count_from_two_heights_later_on() -> None:
    schedule = Schedule.genesis({Address(b"a"): 1, Address(b"b"): 1})
    after = schedule.decided({Address(b"c"): 5})
    assert b"c" not in after.current.powers
    assert after.next.powers[Address(b"c")] == 5
    assert after.decided({}).current.powers == after.next.powers
    assert after.height == schedule.height + 1


def test_timeouts_grow_linearly() -> None:
    timeouts = Timeouts(
        propose_ms=100, propose_delta_ms=10, prevote_ms=50, prevote_delta_ms=5, precommit_ms=7, precommit_delta_ms=1
    )
    assert [timeouts.duration_ms(Step.PROPOSE, Round(r)) for r in (0, 1, 10)] == [100, 110, 200]
    assert [timeouts.duration_ms(Step.PREVOTE, Round(r)) for r in (0, 1, 10)] == [50, 55, 100]
    assert [timeouts.duration_ms(Step.PRECOMMIT, Round(r)) for r in (0, 1, 10)] == [7, 8, 17]
