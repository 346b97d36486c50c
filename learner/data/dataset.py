"""What training and evaluation work on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.errors import UnusableData

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled images: `images` float32[n, pixels] in 0..1, row-major; `labels` int64[n] in 0..classes-1."""

    images: Images
    labels: Labels
    classes: int

    def __post_init__(self) -> None:
        """Raise `UnusableData` unless the arrays fit each other."""
        matrix = 2
        if self.images.ndim != matrix or self.images.dtype != np.float32:
            raise UnusableData(
                reason=f"images are {self.images.dtype}{list(self.images.shape)}, not float32[n, pixels]"
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            found = f"{self.labels.dtype}{list(self.labels.shape)}"
            raise UnusableData(reason=f"labels are {found}, not int64[{len(self.images)}]")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.classes:
            raise UnusableData(
                reason=f"labels run from {self.labels.min()} to {self.labels.max()}, not 0 to {self.classes - 1}"
            )

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.labels)

    @property
    def features(self) -> int:
        """Pixels of one image."""
        return int(self.images.shape[1])

    def subset(self, indices: Indices) -> "Dataset":
        """Copy the samples at `indices`, in their order."""
        return Dataset(self.images[indices], self.labels[indices], self.classes)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What clients train on, and what nobody trains on."""

    train: Dataset
    test: Dataset
