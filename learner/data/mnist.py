"""MNIST from the four standard idx files of a directory."""

from pathlib import Path

import numpy as np

from learner.data.dataset import Dataset, Split
from learner.data.idx import read_images, read_labels
from learner.errors import InvalidDataFile, MissingDataFile

CLASSES = 10
BRIGHTEST = np.float32(255)


def load(directory: Path) -> Split:
    """Read train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte.

    Each may end in .gz. Raises `MissingDataFile` for one that is not there and `InvalidDataFile` for one that is not
    what it should be, or whose images and labels differ in number.
    """
    train, test = _part(directory, "train"), _part(directory, "t10k")
    if train.features != test.features:
        raise InvalidDataFile(
            path=_find(directory, "t10k-images-idx3-ubyte"),
            reason=f"{test.features} pixels an image, the training images have {train.features}",
        )
    return Split(train, test)


def _part(directory: Path, prefix: str) -> Dataset:
    images = read_images(_find(directory, f"{prefix}-images-idx3-ubyte"))
    labels_path = _find(directory, f"{prefix}-labels-idx1-ubyte")
    labels = read_labels(labels_path, classes=CLASSES)
    if len(labels) != len(images):
        raise InvalidDataFile(path=labels_path, reason=f"{len(labels)} labels for {len(images)} images")
    flat = images.reshape(len(images), images.shape[1] * images.shape[2])
    return Dataset(flat.astype(np.float32) / BRIGHTEST, labels.astype(np.int64), CLASSES)


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise MissingDataFile(directory=directory, name=name)
