"""Who decides which height, and whose turn it is: held against plain loops over all heights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import light
from chain.consensus import types as core
from chain.consensus.validators import Schedule
from chain.engines import errors
from chain.engines.embedded.sets import ValidatorSets
from chain.light import Height
from chain.light.errors import InvalidValidatorSetError
from chain.validators import genesis_validators
from tests.chain.engines.network import KEYS, make_genesis

PUBLIC = [key.public_key for key in KEYS]
Powers = dict[int, int]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[Powers]]:
    """Powers at genesis, and what each height changes; validator 0 never leaves."""
    first = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    present, changes = set(range(len(first))), []
    for _ in range(draw(st.integers(0, 40))):
        change: Powers = {}
        if draw(st.integers(0, 4)) == 0:
            for who in draw(st.sets(st.integers(0, 7), min_size=1, max_size=3)):
                leaves = who in present and who > 0 and draw(st.booleans())
                change[who] = 0 if leaves else draw(st.integers(1, 5))
                (present.discard if leaves else present.add)(who)
        changes.append(change)
    return first, changes


def updates(change: Powers) -> tuple[tuple[bytes, int], ...]:
    return tuple((PUBLIC[who], power) for who, power in change.items())


@given(histories())
def test_sets_and_turns_are_those_of_going_height_by_height_also_after_a_restart(
    history: tuple[list[int], list[Powers]],
) -> None:
    first, changes = history
    genesis = make_genesis(first)
    sets, plain = ValidatorSets(genesis), [genesis_validators(genesis)] * 3  # plain[h] is of height h
    schedule = Schedule.genesis({core.Address(one.address): one.power for one in plain[1]})
    for height, change in enumerate(changes, 1):
        assert sets.schedule == schedule
        sets.decided(updates(change))
        plain.append(plain[-1].updated(updates(change)))
        schedule = schedule.decided({core.Address(light.validator_address(PUBLIC[w])): p for w, p in change.items()})
        assert [sets.at(known) for known in range(1, height + 3)] == plain[1:]
        assert schedule.current.powers == {one.address: one.power for one in plain[height + 1]}
    again = ValidatorSets(genesis)
    again.recover(Height(len(changes)), [(Height(h), updates(one)) for h, one in enumerate(changes, 1) if one])
    assert again.schedule == schedule
    assert [again.at(known) for known in range(1, len(changes) + 3)] == plain[1:]


def test_nobody_knows_who_decides_a_height_that_executing_may_still_change() -> None:
    sets = ValidatorSets(make_genesis())
    assert sets.at(2) == sets.at(1)
    with pytest.raises(errors.UnknownHeightError):
        sets.at(3)


def test_who_leaves_and_comes_back_has_not_stayed() -> None:
    sets = ValidatorSets(make_genesis())
    for change in ({3: 0}, {}, {3: 1}, {}):
        sets.decided(updates(change))  # gone at heights 3 and 4
    gone = light.validator_address(PUBLIC[3])
    assert sets.stays(gone, 1, 2)
    assert sets.stays(gone, 5, 6)
    assert not any(sets.stays(gone, first, last) for first, last in ((1, 3), (2, 5), (3, 3), (4, 6), (1, 6)))
    assert sets.stays(light.validator_address(PUBLIC[0]), 1, 6)


@pytest.mark.parametrize("change", [{5: 0}, {0: 0, 1: 0, 2: 0, 3: 0}, {4: 2**62}])
def test_changes_that_leave_no_set_are_refused_and_change_nothing(change: Powers) -> None:
    sets = ValidatorSets(make_genesis())
    with pytest.raises(InvalidValidatorSetError):
        sets.check(updates(change))
    sets.decided(())
    assert sets.at(3) == sets.at(1)
