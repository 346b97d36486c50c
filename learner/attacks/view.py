"""What an attacker sees and can do when it is its turn to send an update."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from learner.data import Dataset
from learner.fixedpoint import Reals, Update, decode_update
from learner.references import References


@dataclass(frozen=True, eq=False)
class Published:
    """An update that anybody can fetch: its client, its base version, and the integers that were sent."""

    client: int
    base: int
    update: Update
    fraction_bits: int

    @cached_property
    def delta(self) -> Reals:
        """The update in real numbers, float64[d]."""
        return decode_update(self.update, self.fraction_bits)


@dataclass(slots=True, eq=False)
class Conspiracy:
    """What the attackers of one run share.

    `trained`: what each of them last trained on its own data, float64[d], by client, the newest last. `notes`: what an
    attack writes down for its accomplices, by a key of its own.
    """

    members: tuple[int, ...]
    trained: dict[int, Reals]
    notes: dict[tuple[int, ...], Reals]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Everything public, and the attacker's own: nothing here is known to the ledger or an honest edge server alone.

    `client` sends its update number `sent` + 1 from version `base`; `newest` and `oldest` are the versions that can
    still be had, `model` gives one, float64[d]. `published` holds the newest available updates of all clients, oldest
    first. `train` trains from `base` as an honest client would, on `data` or on what it is given; the update in real
    numbers, float64[d]. `chance` is the attacker's own stream.

    `opened[v]`: the references of version v, one from each edge server, that a round has opened. `sealed(s)` is what
    server s, an accomplice, committed to for `base`; None if it committed to nothing. `foreseen` gives the theta in
    ppb, before any discount, that the job's rule would give an update beside the newest peers, judged by the newest
    open references; 0 if it would be refused.
    """

    client: int
    sent: int
    base: int
    newest: int
    oldest: int
    data: Dataset
    model: Callable[[int], Reals]
    published: Sequence[Published]
    train: Callable[[Dataset], Reals]
    conspiracy: Conspiracy
    chance: np.random.Generator
    opened: Mapping[int, Sequence[References]]
    sealed: Callable[[int], References | None]
    foreseen: Callable[[Reals], int]

    def honest(self) -> Reals:
        """Train on its own data, as if honest, and tell the accomplices."""
        trained = self.train(self.data)
        self.conspiracy.trained.pop(self.client, None)
        self.conspiracy.trained[self.client] = trained
        return trained

    def peers(self, most: int) -> list[Published]:
        """Return the newest published updates of clients that are no accomplices, oldest first, at most so many."""
        theirs = [one for one in self.published if one.client not in self.conspiracy.members]
        return theirs[-most:]

    def usual_norm(self) -> float:
        """Euclidean norm that an update has: the median of the newest twenty of others, 1 before there are any."""
        norms = [float(np.linalg.norm(one.delta)) for one in self.peers(20)]
        return float(np.median(norms)) if norms else 1.0

    def direction(self) -> Reals:
        """Draw a direction at random, uniform on the unit sphere, float64[d]."""
        drawn = self.chance.standard_normal(len(self.model(self.base)))
        return drawn / np.linalg.norm(drawn)
