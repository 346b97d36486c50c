"""What an attack is: parameters, and an update made of what an attacker sees."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from learner.attacks.view import View
from learner.data import Dataset
from learner.fixedpoint import Reals

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]
AtLeast0 = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Attack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name"):
    """An attack with its parameters; in a file, `name` says which.

    An attack keeps nothing itself: what it must remember lies in the view, so one value serves all attackers.
    """

    @property
    def reads_references(self) -> bool:
        """Whether the attack is made from whole references of edge servers."""
        return False

    def base(self, newest: int, oldest: int) -> int:
        """Choose the version to start from, of those that can be had; honest clients take the newest."""
        del oldest
        return newest

    def update(self, view: View) -> Reals:
        """Make the update that is sent, in real numbers, float64[d]; every attack has its own."""
        raise NotImplementedError

    def trigger(self, data: Dataset) -> Dataset | None:
        """Return samples that the model gets wrong where the attack works as intended, None if there are no such."""
        del data
        return None


def mean(vectors: Sequence[Reals]) -> Reals:
    """Mean of at least one vector, float64[d]."""
    total: Reals = np.mean(np.stack(vectors), axis=0)
    return total
