"""What one client may do otherwise than all others to earn more or work less: candidates for a better response."""

from typing import Annotated, TypeAlias

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]


class Deviation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What the deviating client does; in a file, `kind` says which. It claims all of its samples whatever it does."""

    def samples(self, own: int) -> int:
        """On how many of its own samples it trains."""
        return own

    def epochs(self, told: int) -> int:
        """How often, of what the job tells."""
        return told

    @property
    def delay_seconds(self) -> float:
        """How long it holds a finished update back."""
        return 0.0

    @property
    def identities(self) -> int:
        """As how many clients it takes part."""
        return 1


class Honest(Deviation, frozen=True, tag="honest"):
    """Does as all do: what the others are held against."""


class FewerEpochs(Deviation, frozen=True, tag="fewer-epochs"):
    """Trains at most `most` epochs."""

    most: Count = 1

    def epochs(self, told: int) -> int:
        """Cut them."""
        return min(told, self.most)


class LessData(Deviation, frozen=True, tag="less-data"):
    """Trains on a `share` of its samples, always the same."""

    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.25

    def samples(self, own: int) -> int:
        """Cut them; one is left."""
        return max(1, round(self.share * own))


class Later(Deviation, frozen=True, tag="later"):
    """Holds every update back for `seconds`."""

    seconds: Annotated[float, msgspec.Meta(ge=0)] = 2.0

    @property
    def delay_seconds(self) -> float:
        """As long."""
        return self.seconds


class SplitUp(Deviation, frozen=True, tag="split-up"):
    """Takes part as `parts` clients, each with its part of the samples; one device does all, so each takes longer."""

    parts: Annotated[int, msgspec.Meta(ge=2, le=16)] = 3

    @property
    def identities(self) -> int:
        """The parts."""
        return self.parts


AnyDeviation: TypeAlias = Honest | FewerEpochs | LessData | Later | SplitUp
"""What a file may name; `kind` tells them apart."""
