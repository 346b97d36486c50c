"""All edge servers' references as one table, beside the oracle's, and what one server can do to it."""

from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.contribution import REST, ROOT, Label
from learner.pool import UNIT_BITS, agreeing, pooled
from learner.references import References
from tests.learner.contribution import oracles
from tests.learner.contribution.worlds import published

LEAST, MOST = -(2**15), 2**15 - 1
PAIRS: tuple[Label, ...] = ((0, 0), (REST, 0), (1, 1), (REST, 1))
Table = dict[Label, list[int]]

VALUES = st.one_of(st.sampled_from((0, 0, 1, -1, LEAST, MOST)), st.integers(LEAST, MOST))


@st.composite
def servers(draw: st.DrawFn) -> list[Table]:
    """Tables with and without each row, some rows zero or another server's own, some of those turned round."""
    columns, count = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    rows = st.lists(VALUES, min_size=columns, max_size=columns)
    tables: list[Table] = []
    for _ in range(count):
        table = {label: draw(rows) for label in (*PAIRS, (0, 1), ROOT) if draw(st.integers(0, 5))}
        if tables and not draw(st.integers(0, 2)):
            sign = draw(st.sampled_from((1, -1)))
            same = draw(st.sampled_from(tables))
            table = {label: [min(sign * x, MOST) for x in row] for label, row in same.items()}
        tables.append(table)
    return tables


def found(tables: list[Table], sketches: list[tuple[bytes, int] | None] | None = None) -> References | None:
    columns = max((len(row) for table in tables for row in table.values()), default=1)
    kinds = sketches or [None] * len(tables)
    return pooled([published(table, columns, kind) for table, kind in zip(tables, kinds, strict=True)])


def rows_of(references: References | None) -> dict[Label, list[int]]:
    return {} if references is None else dict(zip(references.labels, references.vectors.tolist(), strict=True))


def rows_of_plain(
    tables: list[Table], sketches: list[tuple[bytes, int] | None] | None = None
) -> dict[Label, list[int]]:
    kinds = sketches or [None] * len(tables)
    return oracles.pooled([oracles.published(*one) for one in zip(tables, kinds, strict=True)])[1]


@given(servers())
def test_the_pool_is_what_plain_integers_say(tables: list[Table]) -> None:
    assert rows_of(found(tables)) == rows_of_plain(tables)


@given(servers(), st.lists(st.sampled_from((None, (b"a", 2), (b"a", 4), (b"b", 2))), min_size=7, max_size=7))
def test_of_sketches_those_count_that_most_servers_have(
    tables: list[Table], kinds: list[tuple[bytes, int] | None]
) -> None:
    kinds = kinds[: len(tables)]
    ours = found(tables, kinds)
    assert rows_of(ours) == rows_of_plain(tables, kinds)
    if ours is not None:
        assert ours.sketch is None or kinds.count((ours.sketch.seed, ours.sketch.buckets)) == max(
            map(kinds.count, kinds)
        )


@given(servers(), st.permutations(range(7)))
def test_the_order_of_the_servers_changes_nothing(tables: list[Table], order: list[int]) -> None:
    moved = [tables[at] for at in order if at < len(tables)]
    assert rows_of(found(moved)) == rows_of(found(tables))


@given(servers())
def test_rows_are_int16_and_of_a_class_there_are_both(tables: list[Table]) -> None:
    ours = found(tables)
    if ours is not None:
        assert ours.vectors.dtype == np.int16
        assert np.abs(ours.vectors.astype(int)).max() <= 2**14
        assert ours.vectors.any(axis=1).all()
        assert [*ours.labels[::2]] == sorted(ours.labels[::2])
        assert ours.labels[1::2] == tuple((REST, k) for _, k in ours.labels[::2])


@pytest.mark.parametrize("count", [2, 64, 128])
def test_the_worst_rows_of_as_many_servers_as_there_can_be_are_added_exactly(count: int) -> None:
    """All the weight on one coordinate; all coordinates extreme; lengths from 1 to the longest: no bit is lost."""
    rng = np.random.default_rng(count)
    rows = [[LEAST, 0, 0, 0], [LEAST] * 4, [1, 0, 0, 0], [1, 1, 1, 0], [MOST, LEAST, 1, -1], [-1, 1, 0, 0]]
    picked = [rows[at] for at in rng.integers(0, len(rows), count)]
    odd = [[x - int(bit) for x, bit in zip(row, rng.integers(0, 2, 4), strict=True)] for row in picked]
    tables = [{(0, 0): row, (REST, 0): [max(x, LEAST) for x in other]} for row, other in zip(picked, odd, strict=True)]
    assert rows_of(found(tables)) == rows_of_plain(tables)


@given(st.integers(0, 10_000))
def test_every_sum_on_the_way_stays_within_what_float64_counts_exactly(seed: int) -> None:
    """What the module says: of 512 servers each weighed coordinate is at most 2^44."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(1, 42)
    row = rng.integers(-(2**bits), 2**bits, rng.integers(1, 4)).tolist()
    assert 512 * max(map(abs, row)) * (2**UNIT_BITS // max(1, isqrt(oracles.dot(row, row)))) <= 2**53


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 6))
def test_a_liar_among_three_and_more_is_left_out_bit_for_bit(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(-9000, 9000, (4, 400))
    honest = [
        dict(zip(PAIRS, (truth + rng.integers(-4000, 4000, truth.shape)).tolist(), strict=True))
        for _ in range(count - 1)
    ]
    for liar in (
        {label: [-x for x in row] for label, row in honest[0].items()},
        {label: [-x for x in row] for label, row in zip(PAIRS, truth.tolist(), strict=True)},
        {label: (8 * rng.integers(-4000, 4000, 400)).tolist() for label in PAIRS},
    ):
        at = int(rng.integers(0, count))
        assert rows_of(found([*honest[:at], liar, *honest[at:]])) == rows_of(found(honest))


def test_of_two_servers_both_count_and_opposite_rows_leave_no_class() -> None:
    one: Table = {(0, 0): [300, 0, 4], (REST, 0): [0, 300, 0], (1, 1): [0, 0, 9], (REST, 1): [9, 0, 0]}
    other = {label: [-x for x in row] for label, row in one.items()}
    assert found([one, other]) is None
    ours = found([one, {**other, (0, 0): [0, 5, 0], (REST, 0): [0, 0, 7]}])
    assert ours is not None
    assert ours.labels == ((0, 0), (REST, 0))


def test_the_length_of_a_row_says_nothing() -> None:
    rng = np.random.default_rng(5)
    rows = rng.integers(-900, 900, (3, 200))
    plain = pooled([References(((0, 0), (REST, 0)), np.stack([row, row]).astype(np.int16)) for row in rows])
    scaled = [
        References(((0, 0), (REST, 0)), np.stack([f * row] * 2).astype(np.int16)) for f, row in enumerate(rows, 1)
    ]
    longer = pooled(scaled)
    assert plain is not None
    assert longer is not None
    assert np.abs(longer.vectors - plain.vectors).max() <= 2


def test_who_agrees_with_half_of_the_others_counts() -> None:
    rows = [np.array(row, dtype=np.int16) for row in ([9, 0], [9, 1], [9, 4], [0, 9], [-9, 0])]
    assert agreeing([rows[:2], [], rows[:4], rows]) == [[0, 1], [], [0, 1, 2], [0, 1, 2]]


def test_without_servers_rows_or_a_whole_class_there_is_no_pool() -> None:
    assert pooled([]) is None
    assert found([{}, {}]) is None
    assert found([{ROOT: [1], (0, 0): [4], (0, 1): [2]}]) is None
    assert found([{(0, 0): [4]}, {(REST, 0): [2]}]) is not None
    assert found([{(0, 0): [4], (REST, 0): [0]}]) is None
