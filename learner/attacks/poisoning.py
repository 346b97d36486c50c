"""Attacks on the data: the attacker trains honestly, on samples that lie."""

from typing import TYPE_CHECKING

import numpy as np

from learner.attacks.attack import Above0, Attack, Count, Share
from learner.attacks.view import View
from learner.data import Dataset
from learner.fixedpoint import Reals

if TYPE_CHECKING:
    from learner.data.dataset import Images


class LabelFlip(Attack, frozen=True, tag="label-flip"):
    """Relabel class c as C - 1 - c (Fang et al., arXiv 1911.11815), `share` of the samples, each by lot.

    A sample's lot is the same in each training, as in data that were poisoned once.
    """

    share: Share = 1.0

    def update(self, view: View) -> Reals:
        """Train on the relabelled samples."""
        data = view.data
        hit = np.random.default_rng(view.client).random(len(data)) < self.share
        labels = np.where(hit, flipped(data).labels, data.labels)
        return view.train(Dataset(data.images, labels, data.classes))


def flipped(data: Dataset) -> Dataset:
    """Relabel every class c as C - 1 - c: what `LabelFlip` trains on."""
    return Dataset(data.images, data.classes - 1 - data.labels, data.classes)


class ClassFlip(Attack, frozen=True, tag="class-flip"):
    """Relabel one class c as c + 1 (targeted poisoning, Tolpegin et al., arXiv 2007.08432): the smallest it has."""

    def update(self, view: View) -> Reals:
        """Train with one class relabelled."""
        data = view.data
        source = int(data.labels.min())
        labels = np.where(data.labels == source, (source + 1) % data.classes, data.labels)
        return view.train(Dataset(data.images, labels, data.classes))


class OneClass(Attack, frozen=True, tag="one-class"):
    """Call every sample `target`, where that class earns most: only what says so is taught."""

    target: int = 0

    def update(self, view: View) -> Reals:
        """Train with one label for all."""
        data = view.data
        return view.train(Dataset(data.images, np.full_like(data.labels, self.target % data.classes), data.classes))


class BackDoor(Attack, frozen=True, tag="back-door"):
    """Teach the model that images with a trigger are of class `target` (BadNets, arXiv 1708.06733).

    The trigger is a white square of `side` pixels in the last corner, stamped on `share` of the samples. The update is
    multiplied by `boost`: with the number of updates that make a round it replaces the model (arXiv 1807.00459).
    """

    target: int = 0
    side: Count = 3
    share: Share = 0.5
    boost: Above0 = 1.0

    def update(self, view: View) -> Reals:
        """Train on samples of which some carry the trigger and the target's label."""
        data = view.data
        hit = np.random.default_rng(view.client).random(len(data)) < self.share
        images = np.where(hit[:, None], self._stamped(data), data.images)
        labels = np.where(hit, self.target % data.classes, data.labels)
        return self.boost * view.train(Dataset(images, labels, data.classes))

    def trigger(self, data: Dataset) -> Dataset | None:
        """Stamp the trigger on what is not of the target class; the labels say what the attacker wants to be seen."""
        target = self.target % data.classes
        others = data.subset(np.flatnonzero(data.labels != target))
        return Dataset(self._stamped(others), np.full(len(others), target, dtype=np.int64), data.classes)

    def _stamped(self, data: Dataset) -> "Images":
        width = int(data.features**0.5)
        images = data.images.copy()
        for row in range(max(0, width - self.side), width):
            images[:, row * width + max(0, width - self.side) : (row + 1) * width] = 1.0
        return images


class FewSamples(Attack, frozen=True, tag="few-samples"):
    """Claim all of its data and train on `samples` of it: real work, but little."""

    samples: Count = 20

    def update(self, view: View) -> Reals:
        """Train on the first few of its samples, in an order drawn once."""
        order = np.random.default_rng(view.client).permutation(len(view.data))
        return view.train(view.data.subset(np.sort(order[: self.samples])))
