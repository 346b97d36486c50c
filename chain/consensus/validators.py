"""Who votes with what power, who proposes, and from which height on a change counts.

Proposers take turns in proportion to their powers, as CometBFT has it (types/validator_set.go): each turn everybody's
priority grows by its power, the one with the greatest priority proposes and pays the total.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from chain.consensus.errors import ValidatorPowersError
from chain.consensus.limits import POWER_TOTAL
from chain.consensus.types import Address, Height

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_HEIGHT: Final = Height(1)

_WINDOW: Final = 2  # CometBFT's PriorityWindowSizeFactor: priorities lie within so many totals


@dataclass(frozen=True)
class ValidatorSet:
    """Powers and priorities by address; `proposer` is whose turn it is.

    Raises ValidatorPowersError for an empty set, a power below 1 and a total beyond CometBFT's bound.
    """

    powers: Mapping[Address, int]
    priorities: Mapping[Address, int]
    proposer: Address
    total_power: int = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what is no set."""
        object.__setattr__(self, "total_power", _checked_total(self.powers))

    @classmethod
    def of(cls, powers: Mapping[Address, int]) -> ValidatorSet:
        """Make the set of a first height (`NewValidatorSet`)."""
        total = _checked_total(powers)
        priorities = _centred(_rescaled(dict.fromkeys(powers, _newcomer(total)), total))
        return cls(powers, priorities, min(powers)).after(1)

    def after(self, turns: int) -> ValidatorSet:
        """Return the set `turns` turns later (`IncrementProposerPriority`); with none, this one."""
        if turns < 1:
            return self
        priorities = _centred(_rescaled(dict(self.priorities), self.total_power))
        proposer = self.proposer
        for _ in range(turns):
            for address, power in self.powers.items():
                priorities[address] += power
            proposer = min(priorities, key=lambda address: (-priorities[address], address))
            priorities[proposer] -= self.total_power
        return ValidatorSet(self.powers, priorities, proposer)

    def updated(self, changes: Mapping[Address, int]) -> ValidatorSet:
        """Return the set with these powers changed; 0 removes, an unknown address enters (`UpdateWithChangeSet`).

        Raises ValidatorPowersError, also for the removal of somebody who is not in the set.
        """
        if not changes:
            return self
        absent = [address for address, power in changes.items() if power == 0 and address not in self.powers]
        if absent:
            message = f"validator 0x{absent[0].hex()} cannot be removed: it is not in the set"
            raise ValidatorPowersError(message)
        before_removals = {**self.powers, **{a: p for a, p in changes.items() if p != 0}}
        newcomer = _newcomer(_checked_total(before_removals))
        powers = {address: power for address, power in before_removals.items() if changes.get(address) != 0}
        total = _checked_total(powers)
        priorities = {address: self.priorities.get(address, newcomer) for address in powers}
        proposer = self.proposer if self.proposer in powers else min(powers)
        return ValidatorSet(powers, _centred(_rescaled(priorities, total)), proposer)

    def has_quorum(self, power: int) -> bool:
        """Tell whether `power` is more than two thirds: 2f + 1 of the paper's 3f + 1."""
        return 3 * power > 2 * self.total_power

    def has_honest(self, power: int) -> bool:
        """Tell whether `power` is at least a third, so that not all of it can be faulty: f + 1 of the paper's."""
        return 3 * power >= self.total_power


@dataclass(frozen=True, slots=True)
class Schedule:
    """The validators of `height` and of the next one; the header of `height` has to commit to both."""

    height: Height
    current: ValidatorSet
    next: ValidatorSet

    @classmethod
    def genesis(cls, powers: Mapping[Address, int], height: Height = FIRST_HEIGHT) -> Schedule:
        """Start with these powers; raises ValidatorPowersError."""
        first = ValidatorSet.of(powers)
        return cls(height, first, first.after(1))

    def decided(self, changes: Mapping[Address, int]) -> Schedule:
        """Return the schedule after `height` was decided; its `changes` count from `height + 2` on.

        Raises ValidatorPowersError.
        """
        return Schedule(Height(self.height + 1), self.next, self.next.updated(changes).after(1))


def _checked_total(powers: Mapping[Address, int]) -> int:
    if not powers:
        message = "a validator set cannot be empty"
        raise ValidatorPowersError(message)
    if min(powers.values()) < 1:
        message = "a validator's power must be at least 1"
        raise ValidatorPowersError(message)
    total = sum(powers.values())
    if total > POWER_TOTAL:
        message = f"the powers sum to {total}, more than {POWER_TOTAL}"
        raise ValidatorPowersError(message)
    return total


def _newcomer(total: int) -> int:
    """Return a newcomer's priority: 1.125 totals behind, so that nobody gains by leaving and entering again."""
    return -(total + (total >> 3))


def _rescaled(priorities: dict[Address, int], total: int) -> dict[Address, int]:
    spread, most = max(priorities.values()) - min(priorities.values()), _WINDOW * total
    if spread <= most:
        return priorities
    ratio = -(-spread // most)
    return {  # Go's division rounds towards 0
        address: priority // ratio if priority >= 0 else -(-priority // ratio)
        for address, priority in priorities.items()
    }


def _centred(priorities: dict[Address, int]) -> dict[Address, int]:
    average = sum(priorities.values()) // len(priorities)
    return {address: priority - average for address, priority in priorities.items()}
