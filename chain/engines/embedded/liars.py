"""What becomes of a validator's words when it lies. The validator itself is honest: who lies stands on its links.

    silent        says nothing
    withholding   says each thing to some only
    equivocating  proposes two blocks and votes for two things at once: each peer hears one of them, or both
    unsound       proposes blocks that nobody can accept

A liar signs with the validator's key and keeps no record of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from chain import light
from chain.consensus import types as core
from chain.engines.embedded import messages, statements
from chain.light.types import HASH_BYTES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence
    from random import Random  # noqa: TID251 - the type only

    from chain.crypto.schemes import SigningKey
    from chain.engines.embedded.node import Node

_HALF: Final = 0.5
_Statement = TypeVar("_Statement", core.Vote, core.Proposal)


class Habit(StrEnum):
    """How a validator lies."""

    SILENT = "silent"
    WITHHOLDING = "withholding"
    EQUIVOCATING = "equivocating"
    UNSOUND = "unsound"


@dataclass(frozen=True, slots=True)
class Lie:
    """A habit, and the first and the last height at which it is followed; None: at all."""

    habit: Habit
    heights: tuple[int, int] | None = None

    def covers(self, height: int) -> bool:
        """Tell whether it is followed at a height."""
        return self.heights is None or self.heights[0] <= height <= self.heights[1]


class Liar:
    """Changes what a validator says."""

    def __init__(self, node: Node, keys: Iterable[SigningKey], chance: Random, counts: Counter[str]) -> None:
        """Speak for `node` with its keys; what is done is counted in `counts`."""
        self.lie: Lie | None = None
        """None: it says what the validator says."""
        self._node, self._chance, self._counts = node, chance, counts
        self._keys: dict[bytes, SigningKey] = {}
        for key in keys:
            self.take_key(key)
        self._chain_id = node.replica.chain_id

    def take_key(self, key: SigningKey) -> None:
        """Know one more key."""
        self._keys[light.validator_address(key.public_key)] = key

    def says(self, raw: bytes, receivers: Sequence[int]) -> list[tuple[int, bytes]]:
        """Return what goes to whom instead of `raw` to all of `receivers`."""
        lie = self.lie
        if lie is None or not lie.covers(self._node.height):
            return [(receiver, raw) for receiver in receivers]
        match lie.habit:
            case Habit.SILENT:
                self._counts["byzantine: messages kept silent"] += len(receivers)
                return []
            case Habit.WITHHOLDING:
                heard = [(receiver, raw) for receiver in receivers if self._chance.random() < _HALF]
                self._counts["byzantine: messages withheld"] += len(receivers) - len(heard)
                return heard
            case Habit.EQUIVOCATING:
                other = self._contradicted(raw)
                if other is None:
                    return [(receiver, raw) for receiver in receivers]
                self._counts["byzantine: equivocations"] += 1
                either = [(raw,), (other,), (raw, other)]
                return [(receiver, said) for receiver in receivers for said in self._chance.choice(either)]
            case Habit.UNSOUND:
                spoilt = self._spoilt(raw)
                return [(receiver, spoilt) for receiver in receivers]

    def _contradicted(self, raw: bytes) -> bytes | None:
        """Return another statement in the place of an own one; None where there is nothing else to say."""
        match messages.decode(raw):
            case messages.Voted(vote=said):
                return self._other_vote(said)
            case messages.Proposed(proposal=said, block=block) if self._is_own(said) and light.decode_block(block).txs:
                return self._proposes(said, self._node.replica.propose(()))
            case _:
                return None

    def _other_vote(self, said: bytes) -> bytes | None:
        addresses, driver = self._node.replica.validators.addresses, self._node.driver
        vote = statements.decode_vote(said, addresses)
        if vote.validator != self._node.voter or driver is None:
            return None
        proposed = next((proposal.value_id for proposal in driver.proposals(vote.round)), None)
        value_id = None if vote.value_id is not None else proposed
        if value_id == vote.value_id:
            return None
        signed = self._signed(replace(vote, value_id=value_id), statements.decode_proof(vote.proof)[0])
        encoded = statements.encode_vote(signed, addresses.index(vote.validator))
        return messages.encode(messages.Voted(self._chain_id, encoded))

    def _spoilt(self, raw: bytes) -> bytes:
        message = messages.decode(raw)
        if not isinstance(message, messages.Proposed) or not self._is_own(message.proposal):
            return raw
        self._counts["byzantine: blocks that nobody can accept"] += 1
        block = light.decode_block(message.block)
        return self._proposes(
            message.proposal, replace(block, header=replace(block.header, app_hash=bytes(HASH_BYTES)))
        )

    def _is_own(self, said: bytes) -> bool:
        """Tell whether a proposal is of a round in which this validator proposes."""
        driver, round_ = self._node.driver, statements.decode_proposal(said).round
        return driver is not None and driver.proposer(core.Round(round_)) == self._node.voter

    def _proposes(self, said: bytes, block: light.Block) -> bytes:
        encoded = light.encode_block(block)
        proposal = statements.by(statements.decode_proposal(said), self._node.voter)
        named = replace(proposal, value_id=messages.open_block(encoded)[1])
        signed = self._signed(named, statements.decode_proof(proposal.proof)[0])
        return messages.encode(messages.Proposed(self._chain_id, statements.encode_proposal(signed), encoded))

    def _signed(self, statement: _Statement, time: light.Timestamp) -> _Statement:
        said = statements.sign_bytes(statement, time, self._chain_id)
        signature = self._keys[statement.validator].sign(said, light.VOTE_CONTEXT)
        return replace(statement, proof=statements.encode_proof(time, signature))
