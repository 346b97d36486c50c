"""Attackers who know the rule: what has been published of references, what their own edge server knows, what pays."""

import numpy as np

from learner.attacks.attack import Above0, AtLeast0, Attack, Count, Share, mean
from learner.attacks.lying import lesson
from learner.attacks.manipulation import PEERS
from learner.attacks.view import View
from learner.fixedpoint import Reals


class PublishedReferences(Attack, frozen=True, tag="published-references"):
    """Send the sum of the references that are open already, untrained, from a version `age` ago.

    Why a record may not count against references that were open before it. `noise`, as a share of an update's usual
    norm, tells accomplices' updates apart. Before anything is open it sends noise alone.
    """

    age: Count = 1
    noise: AtLeast0 = 0.1

    @property
    def reads_references(self) -> bool:
        """Yes, those that are open."""
        return True

    def base(self, newest: int, oldest: int) -> int:
        """Claim a version whose references are open."""
        return max(oldest, newest - self.age)

    def update(self, view: View) -> Reals:
        """Take the base's references if they are open, else the newest that are."""
        newest = max(view.opened, default=None)
        known = view.opened.get(view.base) or (() if newest is None else view.opened[newest])
        return _disguised(view, [one for told in known if (one := lesson(told)) is not None], self.noise)


class Insider(Attack, frozen=True, tag="insider"):
    """The client of edge server `server`, 0 the first: it is told that server's sealed references, and sends their sum.

    With an honest server that is a gradient of its root samples; with one that commits to a planted direction, that.
    """

    server: AtLeast0 = 0
    noise: AtLeast0 = 0.1

    @property
    def reads_references(self) -> bool:
        """Yes, its server's, sealed or not."""
        return True

    def update(self, view: View) -> Reals:
        """Nothing is trained."""
        told = view.sealed(int(self.server))
        found = None if told is None else lesson(told)
        return _disguised(view, [] if found is None else [found], self.noise)


class GatePassing(Attack, frozen=True, tag="gate-passing"):
    """As much harm as the rule still pays: the blend of an honest update with the peers' mean direction turned round.

    It scores what it is about to send by the job's own rule, beside the newest peers and the newest open references,
    and takes by bisection, `steps` times, the greatest strength up to `most` that keeps a share `keep` of the theta of
    the honest update. Where an honest update would earn nothing it sends that, for its reputation. After the adaptive
    attacks of Fang et al. (arXiv 1911.11815) and Shejwalkar and Houmansadr (NDSS 2021), with the score as the oracle.
    """

    keep: Share = 0.5
    most: Above0 = 4.0
    steps: Count = 6

    @property
    def reads_references(self) -> bool:
        """Yes, those that are open."""
        return True

    def update(self, view: View) -> Reals:
        """Train, and lean against the peers as far as that pays."""
        own, peers = view.honest(), view.peers(PEERS)
        wanted = self.keep * view.foreseen(own)
        against = mean([one.delta for one in peers]) if peers else own
        length = float(np.linalg.norm(against))
        if not wanted or not length:
            return own
        against = float(np.linalg.norm(own)) / length * against
        if view.foreseen(own - self.most * against) >= wanted:
            return own - self.most * against
        least, most = 0.0, self.most
        for _ in range(self.steps):
            strength = (least + most) / 2
            least, most = (strength, most) if view.foreseen(own - strength * against) >= wanted else (least, strength)
        return own - least * against


def _disguised(view: View, lessons: list[Reals], noise: float) -> Reals:
    """Give the mean of the lessons at an update's usual norm, with noise; noise alone without lessons."""
    norm, stray = view.usual_norm(), view.direction()
    taught = mean(lessons) if lessons else 0 * stray
    length = float(np.linalg.norm(taught))
    return norm * taught / length + noise * norm * stray if length else norm * stray
