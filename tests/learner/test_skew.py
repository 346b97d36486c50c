"""Feature skew changes what is seen, not what it is called."""

import numpy as np
import pytest

from learner.data import Dataset
from learner.data.skew import noisy
from learner.errors import UnusableData

DATA = Dataset(np.full((50, 100), 0.5, dtype=np.float32), np.zeros(50, dtype=np.int64), 1)


def test_noise_has_the_deviation_asked_for_and_stays_in_range() -> None:
    seen = noisy(DATA, deviation=0.1, seed=1)
    assert np.std(seen.images - DATA.images) == pytest.approx(0.1, rel=0.05)
    assert (seen.labels == DATA.labels).all()
    loud = noisy(DATA, deviation=5.0, seed=1)
    assert (loud.images.min(), loud.images.max()) == (0.0, 1.0)


def test_the_seed_decides_the_noise_and_none_changes_nothing() -> None:
    assert (noisy(DATA, deviation=0.1, seed=1).images == noisy(DATA, deviation=0.1, seed=1).images).all()
    assert (noisy(DATA, deviation=0.1, seed=1).images != noisy(DATA, deviation=0.1, seed=2).images).any()
    assert (noisy(DATA, deviation=0.0, seed=1).images == DATA.images).all()


def test_a_deviation_that_means_nothing_is_refused() -> None:
    with pytest.raises(UnusableData, match="at least 0"):
        noisy(DATA, deviation=-0.1, seed=1)
