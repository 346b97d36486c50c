"""What was said at one height: votes by round, kind and validator, with the power behind each value.

A validator's power counts once for each value that it voted for, and once for "anything": as the paper's sets of
messages have it. Whoever says two things in one slot thereby counts for both, which quorums of more than two thirds
withstand. Two statements of a validator in a slot are kept and no more, but for those that a certificate brings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from chain.consensus.limits import STATEMENTS_KEPT
from chain.consensus.types import VoteKind

if TYPE_CHECKING:
    from chain.consensus.types import Address, Round, ValueId, Vote
    from chain.consensus.validators import ValidatorSet


class Added(Enum):
    """What became of a vote."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"  # the second thing that its validator says in this slot
    SURPLUS = "surplus"  # the third: not kept


@dataclass(slots=True)
class Tally:
    """The votes of one round and kind."""

    votes: dict[Address, list[Vote]] = field(default_factory=dict)
    power_any: int = 0
    power: dict[ValueId | None, int] = field(default_factory=dict)
    quorums: list[ValueId | None] = field(default_factory=list)
    """What has more than two thirds of the power; more than one only if a third of it is faulty."""

    def add(self, vote: Vote, validators: ValidatorSet, *, certified: bool) -> Added:
        """Count a vote of one of `validators`."""
        said = self.votes.get(vote.validator)
        power = validators.powers[vote.validator]
        if said is None:
            self.votes[vote.validator] = [vote]
            self.power_any += power
        else:
            if vote in said:
                return Added.DUPLICATE
            if len(said) >= STATEMENTS_KEPT and not certified:
                return Added.SURPLUS
            said.append(vote)
        total = self.power.get(vote.value_id, 0) + power
        self.power[vote.value_id] = total
        if validators.has_quorum(total) and vote.value_id not in self.quorums:
            self.quorums.append(vote.value_id)
        return Added.NEW if said is None else Added.CONFLICT

    def votes_for(self, value_id: ValueId | None) -> tuple[Vote, ...]:
        """Return the votes for a value, in the order of their validators' addresses."""
        found = (vote for said in self.votes.values() for vote in said if vote.value_id == value_id)
        return tuple(sorted(found, key=lambda vote: vote.validator))

    def all_votes(self) -> list[Vote]:
        """Return every vote that is kept."""
        return [vote for said in self.votes.values() for vote in said]

    def copy(self) -> Tally:
        """Return a tally that grows apart from this one."""
        said = {address: list(votes) for address, votes in self.votes.items()}
        return Tally(said, self.power_any, dict(self.power), list(self.quorums))


@dataclass(slots=True)
class RoundVotes:
    """One round: both tallies, and who has said anything in it."""

    prevotes: Tally = field(default_factory=Tally)
    precommits: Tally = field(default_factory=Tally)
    present: set[Address] = field(default_factory=set)

    def tally(self, kind: VoteKind) -> Tally:
        """Return the tally of one kind."""
        return self.prevotes if kind == VoteKind.PREVOTE else self.precommits

    def copy(self) -> RoundVotes:
        """Return a round that grows apart from this one."""
        return RoundVotes(self.prevotes.copy(), self.precommits.copy(), set(self.present))


class VoteKeeper:
    """All rounds of one height; `driver.py` decides which rounds it may have."""

    def __init__(self, validators: ValidatorSet) -> None:
        """Count by the powers of `validators`."""
        self._validators = validators
        self.rounds: dict[Round, RoundVotes] = {}
        self._latest: dict[Address, Round] = {}  # the latest round that each validator claimed beyond those kept

    def add(self, vote: Vote, *, certified: bool = False) -> Added:
        """Count a vote; `certified` ones come with a quorum, so they are kept whatever their validators said before."""
        round_votes = self.round(vote.round)
        round_votes.present.add(vote.validator)
        return round_votes.tally(vote.kind).add(vote, self._validators, certified=certified)

    def round(self, round_: Round) -> RoundVotes:
        """Return a round's votes, to be added to."""
        found = self.rounds.get(round_)
        if found is None:
            found = self.rounds[round_] = RoundVotes()
        return found

    def claim(self, validator: Address, round_: Round) -> bool:
        """Remember that a validator is in a round whose votes are not kept yet; tell whether it claims a new round.

        Only its latest claim counts.
        """
        new = round_ > self._latest.get(validator, -1)
        if new:
            self._latest[validator] = round_
        return new

    def has_honest(self, round_: Round) -> bool:
        """Tell whether f + 1 of the power is in this round (L55)."""
        found = self.rounds.get(round_)
        present = {validator for validator, latest in self._latest.items() if latest == round_}
        if found is not None:
            present |= found.present
        return self._validators.has_honest(sum(self._validators.powers[validator] for validator in present))

    def first(self, vote: Vote) -> Vote:
        """Return what the validator of `vote` said first in its slot."""
        return self.rounds[vote.round].tally(vote.kind).votes[vote.validator][0]

    def knows(self, vote: Vote) -> bool:
        """Tell whether this very statement is kept."""
        found = self.rounds.get(vote.round)
        return found is not None and vote in found.tally(vote.kind).votes.get(vote.validator, ())

    def forget_before(self, round_: Round, keep: Round) -> None:
        """Drop the rounds before `round_`, all but `keep`."""
        for old in [known for known in self.rounds if known < round_ and known != keep]:
            del self.rounds[old]

    def copy(self) -> VoteKeeper:
        """Return a keeper that grows apart from this one."""
        other = VoteKeeper(self._validators)
        other.rounds = {round_: votes.copy() for round_, votes in self.rounds.items()}
        other._latest = dict(self._latest)
        return other
