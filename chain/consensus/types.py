"""The values that validators agree by: votes, proposals and certificates.

Who stands behind a message is settled before it gets here: the shell checks signatures. `proof` is what the shell wants
kept with a message so that it can prove it to others (its signature, for CometBFT's votes also their time). Messages
are equal if they say the same, whatever their proofs: hedged signatures of one message differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NewType

Height = NewType("Height", int)
"""From 1."""

Round = NewType("Round", int)
"""From 0; `NO_ROUND` where the paper has -1."""

Address = NewType("Address", bytes)
"""Names a validator."""

ValueId = NewType("ValueId", bytes)
"""id(v) of the paper, 1 to 128 bytes that only the shell understands; nil is None."""

NO_ROUND: Final = Round(-1)


class VoteKind(IntEnum):
    """What a vote is; numbered as in CometBFT."""

    PREVOTE = 1
    PRECOMMIT = 2


class Step(IntEnum):
    """step_p of the paper, in its order; COMMIT is a height that is decided."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    COMMIT = 4


@dataclass(frozen=True, slots=True)
class Vote:
    """The paper's PREVOTE or PRECOMMIT of (height, round, id(v) or nil), by `validator`."""

    height: Height
    round: Round
    kind: VoteKind
    value_id: ValueId | None
    validator: Address
    proof: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Proposal:
    """The paper's PROPOSAL of (height, round, v, validRound), by `validator`; it names v by its id."""

    height: Height
    round: Round
    value_id: ValueId
    valid_round: Round
    validator: Address
    proof: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Votes of one kind for one value in one round: prevotes are a *polka*, precommits decide the height."""

    height: Height
    round: Round
    kind: VoteKind
    value_id: ValueId
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two statements of one validator in one slot that say different things; `first` came first."""

    first: Vote | Proposal
    second: Vote | Proposal
