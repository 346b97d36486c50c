"""The numbers of the rule `anchored`, in ppb but for what is said otherwise.

They were chosen on one seed of one data set: a starting point.
"""

from dataclasses import dataclass

PPB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Accepted is an update with q > `least_authenticity`, m > `least_honesty`, of a client with Q and M above theirs.

    `prior`: the one observation of q that every client starts with. `most_authenticity`, `most_honesty`: where q and m
    end that count. `honesty_ramp`: m = -ramp takes all of theta. `novelty_ramp`: the novelty from which on an update is
    wholly new. `stale_novelty`: below this share of new, q counts as at most 0. `refused_authenticity` and
    `refused_honesty` are what a refused update counts as. An update is refused that is over `longest` or under
    1 / `shortest` of the round's lower median norm (plain numbers), or whose cosine with an earlier entry is above
    `copy`. `floor`: the least sum of step weights, in whole updates of the round.
    """

    least_authenticity: int = 0
    least_honesty: int = -300_000_000
    least_mean_authenticity: int = 100_000_000
    least_mean_honesty: int = -60_000_000
    prior: int = 200_000_000
    most_authenticity: int = 500_000_000
    most_honesty: int = 100_000_000
    honesty_ramp: int = 120_000_000
    novelty_ramp: int = 50_000_000
    stale_novelty: int = 300_000_000
    refused_authenticity: int = -500_000_000
    refused_honesty: int = -300_000_000
    longest: int = 4
    shortest: int = 20
    copy: int = 980_000_000
    floor: int = 500_000_000
