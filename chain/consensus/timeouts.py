"""How long each step of a round may take: linear in the round, so that no run of lost rounds strands the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from chain.consensus.types import Round, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """timeoutPropose, timeoutPrevote and timeoutPrecommit of the paper: `base + round * delta`, in milliseconds."""

    propose_ms: int = 3000
    prevote_ms: int = 1000
    precommit_ms: int = 1000
    propose_delta_ms: int = 500
    prevote_delta_ms: int = 500
    precommit_delta_ms: int = 500

    def duration_ms(self, step: Step, round_: Round) -> int:
        """Return how long to wait in this step of this round."""
        match step:
            case Step.PROPOSE:
                return self.propose_ms + round_ * self.propose_delta_ms
            case Step.PREVOTE:
                return self.prevote_ms + round_ * self.prevote_delta_ms
            case Step.PRECOMMIT:
                return self.precommit_ms + round_ * self.precommit_delta_ms
            case Step.COMMIT:
                return 0
            case _:
                assert_never(step)
