"""Which validators decide which height, and whose turn it is there: genesis's, and what executing heights changed.

What executing height h says of validators counts from height h + 2 on, as with CometBFT: header h + 1 announces it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from chain import light
from chain.consensus import types as core
from chain.consensus.validators import Schedule, ValidatorSet
from chain.engines import errors
from chain.light import Height
from chain.validators import UPDATE_DELAY, genesis_validators

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chain.application import ValidatorUpdate
    from chain.genesis import Genesis


class ValidatorSets:
    """The validators of every height up to two after the last decided one."""

    def __init__(self, genesis: Genesis) -> None:
        """Know those of genesis: nothing is decided."""
        self._first = genesis_validators(genesis)
        self.recover(Height(0), ())

    def recover(self, decided: Height, changes: Iterable[tuple[Height, Sequence[ValidatorUpdate]]]) -> None:
        """Begin again where height `decided` is the last; `changes` are those of heights up to it, in their order.

        Raises InvalidValidatorSetError, ValidatorPowersError for changes that no set of validators can take.
        """
        self.schedule = Schedule.genesis({core.Address(one.address): one.power for one in self._first})
        """Whose turn it is at the height after the last decided one, and at the one after that."""
        self._since: list[tuple[int, light.ValidatorSet]] = [(1, self._first)]
        for height, updates in changes:
            self.schedule = _skipped(self.schedule, height)
            self.decided(updates)
        self.schedule = _skipped(self.schedule, decided + 1)

    def at(self, height: int) -> light.ValidatorSet:
        """Return the validators of a height; raises UnknownHeightError beyond two after the last decided one."""
        newest = self.schedule.height - 1 + UPDATE_DELAY
        if height > newest:
            raise errors.UnknownHeightError(Height(height), Height(newest))
        return self._since[max(self._place(height), 0)][1]

    def stays(self, address: bytes, first: int, last: int) -> bool:
        """Tell whether a validator is one at all heights from `first` to `last`."""
        held = self._since[self._place(first) : self._place(last) + 1]
        return all(address in validators.addresses for _, validators in held)

    def check(self, updates: Sequence[ValidatorUpdate]) -> None:
        """Raise InvalidValidatorSetError, ValidatorPowersError if the newest set cannot take these changes."""
        self._since[-1][1].updated(updates)
        self.schedule.decided(_powers(updates))

    def decided(self, updates: Sequence[ValidatorUpdate]) -> None:
        """Go on by one height, which has changed this."""
        if updates:
            self._since.append((self.schedule.height + UPDATE_DELAY, self._since[-1][1].updated(updates)))
        self.schedule = self.schedule.decided(_powers(updates))

    def _place(self, height: int) -> int:
        return bisect_right(self._since, height, key=lambda entry: entry[0]) - 1


def _powers(updates: Sequence[ValidatorUpdate]) -> dict[core.Address, int]:
    return {core.Address(light.validator_address(key)): power for key, power in updates}


def _skipped(schedule: Schedule, height: int) -> Schedule:
    """Return the schedule at a later height before which nothing changes."""
    heights = height - schedule.height
    if heights == 0:
        return schedule
    current = _turned(schedule.next, heights - 1)
    return Schedule(core.Height(height), current, current.after(1))


def _turned(validators: ValidatorSet, turns: int) -> ValidatorSet:
    """Return the set so many turns later.

    Once nothing is left of who came late, turns repeat after as many as the total power.
    """
    while turns >= validators.total_power:
        later = _one_by_one(validators, validators.total_power)
        turns -= validators.total_power
        if later == validators:
            turns %= validators.total_power
        validators = later
    return _one_by_one(validators, turns)


def _one_by_one(validators: ValidatorSet, turns: int) -> ValidatorSet:
    for _ in range(turns):  # not `after(turns)`: each turn scales and centres the priorities again
        validators = validators.after(1)
    return validators
