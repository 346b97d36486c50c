"""Attacks on the update: what is sent is not what was trained, and is meant to harm."""

import numpy as np

from learner.attacks.attack import Above0, Attack, Count, mean
from learner.attacks.view import View
from learner.fixedpoint import Reals

PEERS = 10
"""How many of the newest published updates stand for what the others are about to send."""


class SignFlip(Attack, frozen=True, tag="sign-flip"):
    """Send the honest update times -`scale` (Li et al., RSA, arXiv 1811.03761)."""

    scale: Above0 = 1.0

    def update(self, view: View) -> Reals:
        """Train, and turn it round."""
        return -self.scale * view.honest()


class Gaussian(Attack, frozen=True, tag="gaussian"):
    """Send noise, `scale` times as long as an update usually is (Blanchard et al., arXiv 1703.02757)."""

    scale: Above0 = 3.0

    def update(self, view: View) -> Reals:
        """Draw it; nothing is trained."""
        return self.scale * view.usual_norm() * view.direction()


class NormInflation(Attack, frozen=True, tag="norm-inflation"):
    """Send the honest update times `factor`, to weigh more (explicit boosting, Bhagoji et al., arXiv 1811.12470)."""

    factor: Above0 = 10.0

    def update(self, view: View) -> Reals:
        """Train, and stretch it."""
        return self.factor * view.honest()


class InnerProduct(Attack, frozen=True, tag="inner-product"):
    """Send -`epsilon` times the mean of the honest updates (inner-product manipulation, Xie et al., arXiv 1903.03936).

    The mean is of the newest published updates of others; before there are any, of the attacker's own training.
    """

    epsilon: Above0 = 1.0

    def update(self, view: View) -> Reals:
        """Turn the others' mean round."""
        peers = view.peers(PEERS)
        return -self.epsilon * (mean([one.delta for one in peers]) if peers else view.honest())


class LittleIsEnough(Attack, frozen=True, tag="little-is-enough"):
    """Send mean - `z` * deviation of honest updates, coordinate by coordinate (Baruch et al., arXiv 1902.06156).

    Mean and deviation are of what the accomplices last trained honestly, as in the paper, the newest `among` of them;
    with fewer than three it sends its own training unchanged.
    """

    z: Above0 = 1.5
    among: Count = 12

    def update(self, view: View) -> Reals:
        """Train, and shift the accomplices' mean where the deviation hides it."""
        own = view.honest()
        trained = list(view.conspiracy.trained.values())[-self.among :]
        if len(trained) < 3:  # noqa: PLR2004 - a deviation of two says nothing
            return own
        deviation: Reals = np.std(np.stack(trained), axis=0)
        return mean(trained) - self.z * deviation


class Blend(Attack, frozen=True, tag="blend"):
    """Hide harm behind real work: the honest update less `strength` times the peers' mean direction at its own norm."""

    strength: Above0 = 1.0
    peers: Count = PEERS

    def update(self, view: View) -> Reals:
        """Train, and lean against the peers."""
        own = view.honest()
        peers = view.peers(self.peers)
        if not peers:
            return own
        against = mean([one.delta for one in peers])
        return own - self.strength * np.linalg.norm(own) / max(float(np.linalg.norm(against)), 1e-300) * against
