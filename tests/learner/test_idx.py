"""A file that is not what its header says is refused in one line."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from learner.data import mnist
from learner.data.idx import read, read_images, read_labels
from learner.errors import InvalidDataFile, MissingDataFile

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([7, 0], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def written(directory: Path, content: bytes, name: str = "file") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InvalidDataFile) as caught:
        read(path, dimensions=3)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return caught.value.reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(array=arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)), packed=st.booleans())
def test_what_was_written_is_read(tmp_path: Path, array: np.ndarray, packed: bool) -> None:  # noqa: FBT001 - hypothesis draws it
    content = gzip.compress(idx(array)) if packed else idx(array)
    assert (read(written(tmp_path, content), dimensions=array.ndim) == array).all()


def test_an_array_that_was_read_can_be_written_to(tmp_path: Path) -> None:
    assert read_images(written(tmp_path, idx(IMAGES))).flags.writeable


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = idx(IMAGES)
    for length in range(len(content)):
        reason = refusal(written(tmp_path, content[:length]))
        assert "truncated" in reason or "shorter than the header" in reason


def test_every_truncation_of_a_gzip_file_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(idx(IMAGES))
    for length in range(len(content)):
        refusal(written(tmp_path, content[:length]))


def test_damage_in_a_gzip_stream_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx(IMAGES)))
    content[-5] ^= 0xFF
    assert "damaged" in refusal(written(tmp_path, bytes(content)))
    content = bytearray(gzip.compress(idx(IMAGES)))
    content[12] ^= 0xFF
    refusal(written(tmp_path, bytes(content)))


def test_a_byte_too_many_is_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, idx(IMAGES) + b"\0")) == "too long: 25 bytes of data, the header says 24"


def test_another_type_or_number_of_dimensions_is_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, idx(LABELS))) == "magic number is 00000801, not 00000803"
    wrong_type = bytearray(idx(IMAGES))
    wrong_type[2] = 0x0D
    assert refusal(written(tmp_path, bytes(wrong_type))) == "magic number is 00000d03, not 00000803"


def test_a_header_that_claims_terabytes_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    content = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    assert "header claims" in refusal(written(tmp_path, content))


def test_a_label_out_of_range_is_named_with_its_position(tmp_path: Path) -> None:
    path = written(tmp_path, idx(np.array([1, 9, 10], dtype=np.uint8)))
    with pytest.raises(InvalidDataFile, match="label 10 at position 2; labels are 0 to 9"):
        read_labels(path, classes=10)


def test_a_directory_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith("cannot be read")


def four_files(directory: Path) -> None:
    written(directory, idx(IMAGES), "train-images-idx3-ubyte")
    written(directory, gzip.compress(idx(LABELS)), "train-labels-idx1-ubyte.gz")
    written(directory, idx(IMAGES[:1]), "t10k-images-idx3-ubyte")
    written(directory, idx(LABELS[:1]), "t10k-labels-idx1-ubyte")


def test_four_files_plain_or_packed_make_a_data_set(tmp_path: Path) -> None:
    four_files(tmp_path)
    split = mnist.load(tmp_path)
    assert (len(split.train), len(split.test), split.train.features) == (2, 1, 12)
    assert split.train.labels.tolist() == [7, 0]
    assert split.train.images[1, 11] == np.float32(23) / np.float32(255)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    four_files(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(MissingDataFile, match=r"neither t10k-labels-idx1-ubyte nor .*\.gz is there"):
        mnist.load(tmp_path)


def test_images_and_labels_that_differ_in_number_are_refused(tmp_path: Path) -> None:
    four_files(tmp_path)
    written(tmp_path, idx(LABELS), "t10k-labels-idx1-ubyte")
    with pytest.raises(InvalidDataFile, match="2 labels for 1 images"):
        mnist.load(tmp_path)


def test_test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    four_files(tmp_path)
    written(tmp_path, idx(IMAGES[:1, :2]), "t10k-images-idx3-ubyte")
    with pytest.raises(InvalidDataFile, match="8 pixels an image, the training images have 12"):
        mnist.load(tmp_path)


def test_the_real_mnist_is_read(mnist_directory: Path) -> None:
    split = mnist.load(mnist_directory)
    assert (len(split.train), len(split.test), split.train.features) == (60_000, 10_000, 784)
    assert split.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(split.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (split.train.images.min(), split.train.images.max()) == (0.0, 1.0)
