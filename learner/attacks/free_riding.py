"""Free riders: pay without training (Lin et al., arXiv 1911.12560; Fraboni et al., arXiv 2006.11901)."""

import numpy as np

from learner.attacks.attack import Above0, AtLeast0, Attack, Count
from learner.attacks.view import View
from learner.fixedpoint import Reals


class Zero(Attack, frozen=True, tag="zero"):
    """Return the model as it was received (plain free riding, arXiv 2006.11901).

    `noise`, as a share of an update's usual norm, is to keep it from being all zeros: what the fixed point rounds away
    leaves copies of one another.
    """

    noise: AtLeast0 = 1e-3

    def update(self, view: View) -> Reals:
        """Send next to nothing."""
        return self.noise * view.usual_norm() * view.direction()


class Noise(Attack, frozen=True, tag="noise"):
    """Return the model with noise that fades like the steps of training (disguised free riding, arXiv 2006.11901).

    In version v its standard deviation is `scale` * s * (v + 1)^-`fading`, with s that of the first global step;
    before there is one, s is that of an update of the usual norm.
    """

    scale: Above0 = 1.0
    fading: AtLeast0 = 0.5

    def update(self, view: View) -> Reals:
        """Draw the noise."""
        first = view.conspiracy.notes.get((0,))
        if first is None and view.oldest == 0 and view.newest > 0:
            first = view.conspiracy.notes[0,] = view.model(1) - view.model(0)
        size = len(view.model(view.base))
        deviation = view.usual_norm() / size**0.5 if first is None else float(np.std(first))
        deviation *= self.scale * float((view.base + 1) ** -self.fading)
        return deviation * view.chance.standard_normal(size)


class DeltaReplay(Attack, frozen=True, tag="delta-replay"):
    """Send the last global step again, w_v - w_(v-1) (delta weights, arXiv 1911.12560), as long as updates are.

    `noise` is the norm of what is added, as a share of it. Before there was a step it sends noise alone.
    """

    noise: AtLeast0 = 0.1

    def update(self, view: View) -> Reals:
        """Replay the step from the version before."""
        norm, stray = view.usual_norm(), view.direction()
        if view.base <= view.oldest:
            return norm * stray
        step = view.model(view.base) - view.model(view.base - 1)
        length = float(np.linalg.norm(step))
        return norm * (step / length if length else 0 * step) + self.noise * norm * stray


class StaleModel(Attack, frozen=True, tag="stale-model"):
    """Claim to have started `age` versions ago, and present today's model as what came of it.

    The update w_v - w_(v-age) points where everybody went meanwhile. Until a model has that age it takes the oldest.
    `noise`, as a share of the usual norm, tells accomplices' updates apart: equal ones are copies.
    """

    age: Count = 2
    noise: AtLeast0 = 0.05

    def base(self, newest: int, oldest: int) -> int:
        """Claim an old version."""
        return max(oldest, newest - self.age)

    def update(self, view: View) -> Reals:
        """Take the difference to the newest model."""
        return view.model(view.newest) - view.model(view.base) + self.noise * view.usual_norm() * view.direction()
