"""What travels between the nodes of the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from chain.consensus.driver import CatchUp, Decided
    from chain.consensus.types import Height, Proposal, Vote


@dataclass(frozen=True, slots=True)
class Repeated:
    """What a node that stands still at `height` repeats; whoever is further answers with the decision."""

    height: Height
    content: CatchUp


@dataclass(frozen=True, slots=True)
class Decision:
    """How a height was decided, for somebody who missed it."""

    height: Height
    content: Decided


Message: TypeAlias = "Vote | Proposal | Repeated | Decision"


def digest_of(message: Message) -> bytes:
    """Return bytes that tell messages apart, for the run's digest."""
    match message:
        case Repeated(height, content):
            parts = [vote.proof for vote in content.votes] + [proposal.proof for proposal in content.proposals]
            return b"repeated %d " % height + b"".join(parts)
        case Decision(height, content):
            return b"decision %d " % height + content.proposal.proof
        case _:
            return message.proof
