"""Attackers that act together or change over time: sybils, split identities, on-off."""

from typing import TypeAlias

import numpy as np

from learner.attacks.adaptive import GatePassing, Insider, PublishedReferences
from learner.attacks.attack import AtLeast0, Attack, Count, mean
from learner.attacks.copying import Copy
from learner.attacks.free_riding import DeltaReplay, Noise, StaleModel, Zero
from learner.attacks.manipulation import Blend, Gaussian, InnerProduct, LittleIsEnough, NormInflation, SignFlip
from learner.attacks.poisoning import BackDoor, ClassFlip, FewSamples, LabelFlip, OneClass
from learner.attacks.view import View
from learner.data import Dataset
from learner.fixedpoint import Reals

Lone: TypeAlias = (
    SignFlip
    | LabelFlip
    | ClassFlip
    | OneClass
    | BackDoor
    | FewSamples
    | Gaussian
    | NormInflation
    | InnerProduct
    | LittleIsEnough
    | Blend
    | Zero
    | Noise
    | DeltaReplay
    | StaleModel
    | Copy
    | PublishedReferences
    | Insider
    | GatePassing
)
"""Attacks that one client can make by itself."""


class Sybils(Attack, frozen=True, tag="sybils"):
    """Push one way together (FoolsGold's sybils, arXiv 1808.04866).

    Each sends the mean of what they last made of the attack `inner`, the newest `among` of them, with `noise` (a share
    of its norm) so that no two are copies.
    """

    inner: Lone = LabelFlip()
    noise: AtLeast0 = 0.05
    among: Count = 12

    @property
    def reads_references(self) -> bool:
        """As the inner attack."""
        return self.inner.reads_references

    def base(self, newest: int, oldest: int) -> int:
        """Start where the inner attack starts."""
        return self.inner.base(newest, oldest)

    def update(self, view: View) -> Reals:
        """Add its own to the common direction."""
        notes = view.conspiracy.notes
        notes.pop((1, view.client), None)
        notes[1, view.client] = self.inner.update(view)
        common = mean([note for key, note in notes.items() if key[0] == 1][-self.among :])
        return common + self.noise * float(np.linalg.norm(common)) * view.direction()

    def trigger(self, data: Dataset) -> Dataset | None:
        """As the inner attack."""
        return self.inner.trigger(data)


class Split(Attack, frozen=True, tag="split"):
    """Be paid m times for one client's work: attackers in groups of `identities` share the training of one.

    The first that needs it trains from a version, honestly; each sends that update with `noise`, a share of its norm.
    """

    identities: Count = 4
    noise: AtLeast0 = 0.1

    def update(self, view: View) -> Reals:
        """Send the group's one update, disguised."""
        group = view.conspiracy.members.index(view.client) // self.identities
        notes = view.conspiracy.notes
        key = (2, group, view.base)
        if key not in notes:
            notes[key] = view.honest()
        for old in [one for one in notes if one[:2] == key[:2] and one[2] < view.oldest]:
            del notes[old]
        own = notes[key]
        return own + self.noise * float(np.linalg.norm(own)) * view.direction()


class OnOff(Attack, frozen=True, tag="on-off"):
    """Earn a good name, then spend it: `honest` honest updates, then `harmful` of the attack `inner`, and again.

    On-off attack on trust (Sun, Han and Liu, IEEE Communications Magazine 46(2), 2008).
    """

    inner: Lone = SignFlip()
    honest: Count = 3
    harmful: Count = 3

    @property
    def reads_references(self) -> bool:
        """As the inner attack."""
        return self.inner.reads_references

    def update(self, view: View) -> Reals:
        """Do as its number of updates says."""
        if view.sent % (self.honest + self.harmful) < self.honest:
            return view.honest()
        return self.inner.update(view)

    def trigger(self, data: Dataset) -> Dataset | None:
        """As the inner attack."""
        return self.inner.trigger(data)
