"""The Gram matrix is exact, whatever computes it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.fixedpoint import INT16
from learner.gram import encode_gram, gram
from merit.chance import seed_of

ROOT = Path(__file__).parents[2]


def spread(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed_of(seed, "gram"))
    return generator.integers(INT16.min, INT16.max, (count, dimension), dtype=np.int16, endpoint=True)


@given(st.lists(st.lists(st.integers(INT16.min, INT16.max), min_size=5, max_size=5), min_size=1, max_size=6))
def test_gram_equals_integer_dot_products(rows: list[list[int]]) -> None:
    expected = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    assert gram([np.array(row, dtype=np.int16) for row in rows]).tolist() == expected


@pytest.mark.parametrize("chunk_columns", [1, 7, 4096, 8192, 1 << 23])
def test_chunk_size_never_changes_a_bit(chunk_columns: int) -> None:
    updates = spread(5, 20_011)
    exact = updates.astype(np.int64) @ updates.astype(np.int64).T
    assert (gram(updates, chunk_columns=chunk_columns) == exact).all()


@pytest.mark.parametrize("chunk_columns", [8192, 1 << 30])
def test_extremes_beyond_two_to_the_53_are_exact(chunk_columns: int) -> None:
    dimension = (1 << 23) + 12_345
    lowest = np.full(dimension, INT16.min, dtype=np.int16)
    odd = np.full(dimension, INT16.max, dtype=np.int16)
    assert gram([lowest, odd], chunk_columns=chunk_columns).tolist() == [
        [dimension << 30, -dimension * 32768 * 32767],
        [-dimension * 32768 * 32767, dimension * 32767**2],
    ]


def test_rows_of_a_matrix_and_a_list_of_updates_give_the_same() -> None:
    updates = spread(4, 999)
    assert (gram(updates) == gram(list(updates))).all()


def test_no_parameters_give_zeros_and_no_updates_give_an_empty_matrix() -> None:
    assert gram([np.empty(0, dtype=np.int16)]).tolist() == [[0]]
    assert gram([]).shape == (0, 0)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_thread_count_of_the_blas_never_changes_a_bit(threads: str) -> None:
    program = (
        "import hashlib; from learner.gram import encode_gram, gram; from tests.learner.test_gram import spread;"
        "print(hashlib.sha256(encode_gram(gram(spread(15, 50_000)))).hexdigest())"
    )
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    answer = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program],
        env={**os.environ, **dict.fromkeys(names, threads)},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    updates = spread(15, 50_000).astype(np.int64)
    assert answer == hashlib.sha256(encode_gram(updates @ updates.T)).hexdigest()


def test_canonical_bytes_are_the_upper_triangle_little_endian() -> None:
    matrix = np.array([[1, -2, 3], [-2, 4, 5], [3, 5, 6]], dtype=np.int64)
    assert encode_gram(matrix) == b"".join(value.to_bytes(8, "little", signed=True) for value in (1, -2, 3, 4, 5, 6))
