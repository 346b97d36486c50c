"""Cosines of whole arrays, by float64 where that is sure, beside plain integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learner.contribution.geometry import PPB, cosine, cosines

VALUES = st.one_of(st.sampled_from((0, 1, -1, PPB, 2**15 - 1, -(2**30), 2**45 + 1)), st.integers(-(2**45), 2**45))
VECTORS = st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=5)


def products(vectors: list[list[int]]) -> list[list[int]]:
    return [[sum(a * b for a, b in zip(one, other, strict=True)) for other in vectors] for one in vectors]


@given(VECTORS)
def test_an_array_of_cosines_is_each_cosine(vectors: list[list[int]]) -> None:
    gram = products([*vectors, vectors[0], [-x for x in vectors[0]], [2 * x for x in vectors[0]]])
    squared = [row[at] for at, row in enumerate(gram)]
    found = cosines(gram, np.array(squared, dtype=object)[:, None], squared)
    expected = [
        [cosine(dot, own, other) for dot, other in zip(row, squared, strict=True)]
        for row, own in zip(gram, squared, strict=True)
    ]
    assert found.dtype == np.int64
    assert found.tolist() == expected


@given(st.integers(0, PPB), st.integers(-1, 1), st.integers(1, 2**20))
def test_a_cosine_next_to_a_whole_number_is_rounded_as_integers_say(ppb: int, off: int, scale: int) -> None:
    """With norms of 10^18 * scale a dot product of k * 10^9 * scale is k ppb, and one less falls short of it."""
    dot, squared = min(ppb * PPB * scale + off, PPB * PPB * scale), PPB * PPB * scale
    assert cosines([dot, -dot], squared, [squared] * 2).tolist() == [
        cosine(dot, squared, squared),
        cosine(-dot, squared, squared),
    ]


def test_no_products_have_no_cosines() -> None:
    assert cosines([], [], []).tolist() == []
