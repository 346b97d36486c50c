"""Copycats: another's published update, sent as one's own (lazy clients, Li et al., arXiv 2012.02044)."""

import numpy as np

from learner.attacks.attack import Above0, AtLeast0, Attack, Count
from learner.attacks.view import View
from learner.fixedpoint import Reals


class Copy(Attack, frozen=True, tag="copy"):
    """Send the published update of another, drawn from the newest `among`, times `scale`, with noise.

    `noise` is the norm of what is added, as a share of the copied update's. With scale 1 and noise 0 the integers are
    those of the original, which selection refuses as a copy. Before anything is published it sends noise.
    """

    scale: Above0 = 1.0
    noise: AtLeast0 = 0.0
    among: Count = 30

    def update(self, view: View) -> Reals:
        """Copy one."""
        others = view.peers(self.among)
        if not others:
            return view.usual_norm() * view.direction()
        copied = others[int(view.chance.integers(len(others)))].delta
        if not self.noise:
            return self.scale * copied
        return self.scale * copied + self.noise * float(np.linalg.norm(copied)) * view.direction()
