"""A data set as one file of numpy arrays (.npz): `images` float32[n, features], `labels` int64[n], `classes` int64."""

import zipfile
from pathlib import Path

import numpy as np

from learner.data.dataset import Dataset
from learner.errors import InvalidDataFile, UnusableData

_ARRAYS = "images", "labels", "classes"


def save(path: Path, samples: Dataset) -> None:
    """Write a data set; a reader finds the old file or the new one, whole."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, images=samples.images, labels=samples.labels, classes=np.int64(samples.classes))
    partial.replace(path)


def load(path: Path) -> Dataset:
    """Read a data set; `InvalidDataFile`, naming what is wrong, if it is none."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            found = {name: file[name] for name in _ARRAYS if name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidDataFile(path=path, reason=f"no .npz of plain arrays: {error}") from error
    if missing := [name for name in _ARRAYS if name not in found]:
        raise InvalidDataFile(path=path, reason=f"array {missing[0]} is missing")
    classes = found["classes"]
    if classes.ndim or classes.dtype.kind not in "iu":
        raise InvalidDataFile(path=path, reason=f"classes is {classes.dtype}{list(classes.shape)}, not one integer")
    try:
        return Dataset(found["images"], found["labels"], int(classes))
    except UnusableData as error:
        raise InvalidDataFile(path=path, reason=error.reason) from error
