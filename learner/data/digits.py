"""scikit-learn's digits: 1,797 real handwritten digits of 8 x 8 pixels that ship in a package."""

import numpy as np

from learner.data.dataset import Dataset, Split
from learner.errors import MissingExtra, UnusableData
from merit.chance import seeded

CLASSES = 10
BRIGHTEST = np.float32(16)


def load(seed: int, *, test_share: float = 0.2) -> Split:
    """Split the digits at random by `seed`; `test_share`, between 0 and 1, of them (rounded) are kept for testing.

    Raises `MissingExtra` if scikit-learn is not installed and `UnusableData` for a share that leaves a part empty.
    """
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second; only those who train need it
    except ImportError as error:
        raise MissingExtra(package="scikit-learn") from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels, dtype=np.float32) / BRIGHTEST
    digits = Dataset(images, np.asarray(labels, dtype=np.int64), CLASSES)
    kept = round(test_share * len(digits))
    if not 0 < kept < len(digits):
        raise UnusableData(reason=f"test_share = {test_share}: choose more than 0 and less than 1")
    order = list(range(len(digits)))
    seeded(seed, "digits", "split").shuffle(order)
    indices = np.array(order, dtype=np.int64)
    return Split(digits.subset(np.sort(indices[kept:])), digits.subset(np.sort(indices[:kept])))
