"""The exact count-sketch, and references as an edge server sends them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.contribution import ROOT
from learner.errors import InvalidReferences
from learner.products import inner
from learner.references import References
from learner.sketch import Sketch

VECTORS = st.lists(st.integers(-(2**15), 2**15 - 1), min_size=5, max_size=5)


def int16(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int16)


@given(VECTORS, st.binary(max_size=40), st.sampled_from((1, 2, 8, 1 << 20)))
def test_a_sketch_is_what_its_hash_words_say(vector: list[int], seed: bytes, buckets: int) -> None:
    words = hashlib.shake_256(b"merit/sketch/1" + bytes(4) + seed).digest(20)
    expected = dict.fromkeys(range(buckets) if buckets < 9 else (), 0)
    for at, value in enumerate(vector):
        word = int.from_bytes(words[4 * at : 4 * at + 4], "little")
        expected[word % buckets] = expected.get(word % buckets, 0) + (-value if word >> 31 else value)
    found = Sketch(seed, buckets).of(int16(vector))[0]
    assert {at: int(found[at]) for at in expected} == expected
    assert abs(int(found.sum())) <= 5 * 2**15


def test_coordinates_beyond_the_first_65536_have_words_of_their_own() -> None:
    vector = np.zeros(65_538, dtype=np.int16)
    vector[65_537] = 5
    word = int.from_bytes(hashlib.shake_256(b"merit/sketch/1" + bytes([0, 0, 0, 1]) + b"seed").digest(8)[4:], "little")
    found = Sketch(b"seed", 1 << 12).of(vector[None])[0]
    assert found[word % (1 << 12)] == (-5 if word >> 31 else 5)
    assert np.count_nonzero(found) == 1


@given(VECTORS, VECTORS)
def test_a_sketch_of_a_sum_is_the_sum_of_sketches(a: list[int], b: list[int]) -> None:
    half = [[x // 2 for x in row] for row in (a, b)]
    sketch = Sketch(b"seed", 4)
    parts = sketch.of(int16(*half))
    whole = sketch.of(int16([x + y for x, y in zip(*half, strict=True)]))
    assert (parts.sum(axis=0) == whole[0]).all()


def test_inner_products_survive_on_average_and_within_their_variance() -> None:
    """4,096 seeds: the mean is within five standard errors, the variance is what the docstring states, or less."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(-100, 100, (2, 60)).astype(np.int16)
    exact, squares = inner(a[None], b[None])[0][0], inner(a[None], a[None])[0][0] * inner(b[None], b[None])[0][0]
    found = []
    for seed in range(4096):
        sketched = Sketch(seed.to_bytes(4, "big"), 16).of(np.stack([a, b]))
        found.append(inner(sketched[:1], sketched[1:])[0][0])
    allowed = (squares + exact**2) / 16
    assert abs(np.mean(found) - exact) < 5 * (allowed / 4096) ** 0.5
    assert np.var(found) < 1.15 * allowed


@pytest.mark.parametrize("buckets", [0, -4, 3, 1 << 25])
def test_buckets_are_a_power_of_two(buckets: int) -> None:
    with pytest.raises(InvalidReferences, match="choose a power of two"):
        Sketch(b"", buckets)


@pytest.mark.parametrize(
    ("labels", "vectors", "sketch", "reason"),
    [
        ([(0, 0)], np.zeros((1, 3), dtype=np.int32), None, r"int32\[1, 3\], not int16"),
        ([(0, 0)], np.zeros((1, 3), dtype=np.int16), Sketch(b"", 4), r"int16\[1, 3\], not int64"),
        ([(0, 0)], np.zeros(3, dtype=np.int16), None, r"int16\[3\]"),
        ([(0, 0), (1, 1)], np.zeros((1, 3), dtype=np.int16), None, "1 references for 2 labels"),
        ([(0, 0), (0, 0)], np.zeros((2, 3), dtype=np.int16), None, "2 references for 1 labels"),
        ([(0, -2)], np.zeros((1, 3), dtype=np.int16), None, "below 0"),
        ([(0, 0)], np.zeros((1, 3), dtype=np.int64), Sketch(b"", 4), "3 columns of 4 buckets"),
    ],
)
def test_references_that_are_none_are_refused(
    labels: list[tuple[int, int]], vectors: np.ndarray, sketch: Sketch | None, reason: str
) -> None:
    with pytest.raises(InvalidReferences, match=reason):
        References(tuple(labels), vectors, sketch)


def test_references_know_their_lengths_and_join_within_one_server() -> None:
    right = References(((0, 0),), int16([3, 4, 0]))
    both = right.joined(References((ROOT,), int16([1, 2, 2])))
    assert both.labels == ((0, 0), ROOT)
    assert both.squared == (25, 9)
    sketched = both.sketched(Sketch(b"", 2))
    with pytest.raises(InvalidReferences, match="not one server's"):
        right.joined(sketched)
    with pytest.raises(InvalidReferences, match="cannot be sketched again"):
        sketched.sketched(Sketch(b"", 2))
