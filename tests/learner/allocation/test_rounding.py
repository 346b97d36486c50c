"""Whole samples from real ones."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learner.allocation.rounding import sharing

Case = tuple[list[float], list[int], list[int], int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Bounds of up to eight learners, a sum that they allow, and whatever was wanted."""
    count = draw(st.integers(1, 8))
    least = draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))
    room = draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))
    wanted = draw(st.lists(st.floats(0, 200), min_size=count, max_size=count))
    return (
        wanted,
        least,
        [a + b for a, b in zip(least, room, strict=True)],
        sum(least) + draw(st.integers(0, sum(room))),
    )


@given(case=cases())
def test_shares_sum_to_d_within_every_bound(case: Case) -> None:
    wanted, least, most, d = case
    shares = sharing(np.array(wanted), np.array(least, dtype=np.int64), np.array(most, dtype=np.int64), d)
    assert sum(shares.tolist()) == d
    assert all(low <= share <= high for low, share, high in zip(least, shares.tolist(), most, strict=True))


@given(case=cases())
def test_shares_that_already_fit_move_by_less_than_one_sample(case: Case) -> None:
    _, least, most, d = case
    fraction = (d - sum(least)) / max(1, sum(most) - sum(least))
    wanted = np.array([a + fraction * (b - a) for a, b in zip(least, most, strict=True)])
    shares = sharing(wanted, np.array(least, dtype=np.int64), np.array(most, dtype=np.int64), d)
    assert (np.abs(shares - wanted) < 1 + 1e-9).all()


def test_the_largest_remainders_are_served_first() -> None:
    bounds = (np.zeros(3, dtype=np.int64), np.full(3, 9, dtype=np.int64))
    assert sharing(np.array([1.2, 1.7, 1.1]), *bounds, 4).tolist() == [1, 2, 1]
