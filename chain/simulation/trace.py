"""What happened, for people and for comparison: a line per block, and a digest over every event."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from chain.consensus.types import Round
from chain.simulation.messages import digest_of

if TYPE_CHECKING:
    from chain.consensus.driver import Decided
    from chain.simulation.messages import Message
    from chain.simulation.node import Node
    from chain.simulation.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Block:
    """A height when the first honest node decided it, and why its earlier rounds were lost."""

    height: int
    round: int
    at_ms: int
    proposer: str
    lost: tuple[str, ...]


class Trace:
    """Of one run; equal seeds give equal digests."""

    def __init__(self, scheduler: Scheduler) -> None:
        """Begin empty."""
        self.lines: list[str] = []
        self.blocks: list[Block] = []
        self.rounds_lost = 0
        self._scheduler = scheduler
        self._digest = sha256()
        self._decided = 0

    def digest(self) -> str:
        """Return the SHA-256 over all that happened so far, in hexadecimal."""
        return self._digest.hexdigest()

    def delivered(self, sender: int, receiver: int, message: Message) -> None:
        """Note a delivery."""
        self._digest.update(b"%d %d>%d " % (self._scheduler.now_ms, sender, receiver) + digest_of(message))

    def happened(self, what: str) -> None:
        """Note a fault or its end, as a line of its own."""
        line = f"{self._scheduler.now_ms:>6} ms  {what}"
        self.lines.append(line)
        self._digest.update(line.encode())

    def decided(self, node: Node, decided: Decided) -> None:
        """Note a decision; the first one of a height becomes the line of its block."""
        height, round_ = decided.proposal.height, decided.certificate.round
        self._digest.update(b"%d %d decides " % (self._scheduler.now_ms, node.number) + decided.proposal.value_id)
        if height <= self._decided:
            return
        self._decided = height
        self.rounds_lost += round_
        lost = [f"round {earlier} lost: {node.driver.why_lost(Round(earlier))}" for earlier in range(round_)]
        proposer = decided.proposal.validator.decode()
        self.blocks.append(Block(height, round_, self._scheduler.now_ms, proposer, tuple(lost)))
        value = decided.proposal.value_id.hex()[:8]
        head = f"height {height} decided in round {round_}: value {value} of {proposer}, first by node {node.number}"
        self.happened("; ".join([head, *lost]))
