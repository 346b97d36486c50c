"""Digits, data sets and arrivals."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.data import Dataset, arrays
from learner.data.digits import load
from learner.data.stream import arrivals
from learner.errors import InvalidDataFile, UnusableData


def test_digits_are_split_without_loss_or_overlap() -> None:
    split = load(7)
    assert (len(split.train), len(split.test)) == (1438, 359)
    assert split.train.features == split.test.features == 64
    everything = np.concatenate([split.train.images, split.test.images])
    whole = load(8)
    other = np.concatenate([whole.train.images, whole.test.images])
    assert (np.sort(everything.sum(axis=1)) == np.sort(other.sum(axis=1))).all()
    assert 0.0 <= everything.min() <= everything.max() <= 1.0


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    assert (load(7).test.labels == load(7).test.labels).all()
    assert (load(7).test.labels != load(8).test.labels).any()


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_leaves_a_part_empty_is_refused(share: float) -> None:
    with pytest.raises(UnusableData, match="test_share"):
        load(7, test_share=share)


def images(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("pixels", "labels", "reason"),
    [
        (images(2, 3, 3), np.array([0, 1]), "images are"),
        (images(2, 3).astype(np.float64), np.array([0, 1]), "images are"),
        (images(2, 3), np.array([0]), "labels are"),
        (images(2, 3), np.array([0, 1], dtype=np.uint8), "labels are"),
        (images(2, 3), np.array([0, 3]), "labels run from 0 to 3, not 0 to 2"),
        (images(2, 3), np.array([-1, 2]), "labels run from -1 to 2"),
    ],
)
def test_arrays_that_do_not_fit_are_no_data_set(pixels: np.ndarray, labels: np.ndarray, reason: str) -> None:
    with pytest.raises(UnusableData, match=reason):
        Dataset(pixels, labels, 3)


def test_a_subset_keeps_the_order_asked_for() -> None:
    data = Dataset(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 2]), 3)
    taken = data.subset(np.array([2, 0]))
    assert taken.labels.tolist() == [2, 0]
    assert taken.images.tolist() == [[4, 5], [0, 1]]


SAMPLES = np.array([3, 5, 8, 13, 21], dtype=np.int64)


@given(st.integers(0, 40), st.integers(1, 30), st.integers(1, 30))
def test_arrivals_go_on_where_they_stopped(first: int, some: int, more: int) -> None:
    together = arrivals(SAMPLES, first=first, count=some + more, seed=1).tolist()
    apart = [
        arrivals(SAMPLES, first=first, count=some, seed=1),
        arrivals(SAMPLES, first=first + some, count=more, seed=1),
    ]
    assert together == np.concatenate(apart).tolist()
    assert len(together) == some + more


def test_every_pass_brings_each_sample_once_in_another_order() -> None:
    passes = arrivals(SAMPLES, first=0, count=20, seed=2).reshape(4, 5)
    assert (np.sort(passes, axis=1) == SAMPLES).all()
    assert len({tuple(order) for order in passes.tolist()}) > 1


def test_a_data_set_comes_back_from_its_file(tmp_path: Path) -> None:
    samples = load(7).test.subset(np.arange(5))
    arrays.save(tmp_path / "samples.npz", samples)
    again = arrays.load(tmp_path / "samples.npz")
    assert np.array_equal(again.images, samples.images)
    assert np.array_equal(again.labels, samples.labels)
    assert again.classes == 10
    assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": None}, "array labels is missing"),
        ({"classes": np.arange(2)}, r"classes is int64\[2\], not one integer"),
        ({"classes": np.int64(1)}, "labels run from 0 to 1, not 0 to 0"),
        ({"images": np.zeros((2, 3))}, r"images are float64\[2, 3\], not float32\[n, pixels\]"),
        ({"images": np.array([{}, {}])}, r"no \.npz of plain arrays"),
    ],
)
def test_a_file_that_holds_no_data_set_is_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    whole = {"images": images(2, 3), "labels": np.arange(2), "classes": np.int64(10)} | changes
    path = tmp_path / "samples.npz"
    np.savez(path, **{name: value for name, value in whole.items() if value is not None})  # type: ignore[arg-type] # objects too
    with pytest.raises(InvalidDataFile, match=f"{path}.*{reason}"):
        arrays.load(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidDataFile, match=r"no \.npz of plain arrays"):
        arrays.load(path)
