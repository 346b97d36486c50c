"""Reputation: running means of a client's authenticity and label honesty."""

from typing import NamedTuple

from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.geometry import clip

LEAST_AUTHENTICITY = -(10**9)
LEAST_HONESTY = -(10**9) // 2


class Record(NamedTuple):
    """What is remembered of a client: the number of its judged updates, the sums of their q and m in ppb."""

    judged: int = 0
    authenticity: int = 0
    honesty: int = 0

    def after(self, q: int, m: int, limits: Thresholds) -> "Record":
        """Add an update; q counts within [-1, `most_authenticity`], m within [-0.5, `most_honesty`]."""
        return Record(
            self.judged + 1,
            self.authenticity + clip(q, LEAST_AUTHENTICITY, limits.most_authenticity),
            self.honesty + clip(m, LEAST_HONESTY, limits.most_honesty),
        )

    def mean_authenticity(self, limits: Thresholds) -> int:
        """Q = (prior + sum of q) // (judged + 1), in ppb."""
        return (limits.prior + self.authenticity) // (self.judged + 1)

    def mean_honesty(self) -> int:
        """M = (sum of m) // (judged + 1), in ppb."""
        return self.honesty // (self.judged + 1)

    def stands(self, limits: Thresholds) -> bool:
        """Whether the client may be paid: both means are above their thresholds."""
        return (
            self.mean_authenticity(limits) > limits.least_mean_authenticity
            and self.mean_honesty() > limits.least_mean_honesty
        )
