"""Where the audit of a chain gets its raw records: a store on disk, or a node that answers over the network.

Neither is believed. What a source says is bytes; `node.audit.certificates` judges them.
"""

from dataclasses import dataclass
from typing import Protocol

from node.audit.replay import Step


@dataclass(frozen=True, slots=True)
class HeightRecords:
    """What a source has for one height, as CometBFT encodes it, and the outcome."""

    height: int
    header: bytes
    commit: bytes
    transactions: bytes
    evidence: bytes
    outcome: bytes

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(map(len, (self.header, self.commit, self.transactions, self.evidence, self.outcome)))


class Source(Protocol):
    """A chain as one member tells it; heights are asked for in order, each once."""

    @property
    def name(self) -> str:
        """What divergences call it."""
        ...

    @property
    def decided(self) -> int:
        """The height at which it says that it stands."""
        ...

    def records(self, height: int) -> HeightRecords:
        """Return what it has for a height; raises FaultError, UnansweredError."""
        ...

    def outcome(self, step: Step) -> bytes:
        """Return what `HeightRecords.outcome` must be when executing the height gave `step`."""
        ...
