"""Feature skew: the same labels, seen through sensors of different quality."""

import numpy as np

from learner.data.dataset import Dataset
from learner.errors import UnusableData
from merit.chance import seed_of


def noisy(data: Dataset, *, deviation: float, seed: int) -> Dataset:
    """Add Gaussian noise of this standard deviation to the images, cut to 0..1 (arXiv 2102.02079, section on noise).

    Raises `UnusableData` for a deviation below 0.
    """
    if not deviation >= 0:
        raise UnusableData(reason=f"noise with deviation {deviation}: choose at least 0")
    chance = np.random.default_rng(seed_of(seed, "noise"))
    noise = chance.standard_normal(data.images.shape, dtype=np.float32) * np.float32(deviation)
    return Dataset(np.clip(data.images + noise, 0, 1), data.labels, data.classes)
