"""The canonical blobs of references and of what rules remember: one form each, and every other is refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from learner.contribution import ROOT, Slope
from learner.errors import InvalidReferences
from learner.references import References
from learner.sketch import Sketch
from node.errors import HistoryError
from node.rounds.history import decode_history, encode_history
from node.rounds.reference_blobs import ReferencesHeader

HEADER = ReferencesHeader(bytes(range(32)), bytes(20), job=3, edge=2, version=7, model=b"m" * 32)
DIMENSION, CLASSES = 5, 3
TABLE = References(((0, 0), (0, 2), ROOT), np.arange(-7, 8, dtype=np.int16).reshape(3, 5))

labels = some.lists(
    some.one_of(some.just(ROOT), some.tuples(some.integers(0, CLASSES - 1), some.integers(0, CLASSES - 1))), unique=True
)


def decoded(blob: bytes, header: ReferencesHeader = HEADER) -> References:
    return header.decode(blob, dimension=DIMENSION, classes=CLASSES)


@given(labels=labels, seed=some.integers(0, 2**32 - 1))
def test_references_come_back_as_they_were(labels: list[tuple[int, int]], seed: int) -> None:
    vectors = np.random.default_rng(seed).integers(-(2**15), 2**15, (len(labels), DIMENSION)).astype(np.int16)
    blob = HEADER.blob(References(tuple(labels), vectors))
    found = decoded(blob)
    assert found.labels == tuple(labels)
    assert found.vectors.dtype == np.int16
    assert np.array_equal(found.vectors, vectors)
    assert len(blob) == 140 + len(labels) * (4 + 2 * DIMENSION)


slopes = some.builds(Slope, some.integers(-256, 256), some.integers(0, 10**9))


@given(some.lists(slopes, min_size=3, max_size=3))
def test_slopes_come_back_and_make_another_format(of: list[Slope]) -> None:
    blob = HEADER.blob(dataclasses.replace(TABLE, slopes=tuple(of)))
    found = decoded(blob)
    assert (found.labels, found.slopes) == (TABLE.labels, tuple(of))
    assert np.array_equal(found.vectors, TABLE.vectors)
    assert len(blob) == len(HEADER.blob(TABLE)) + 3 * 6
    assert HEADER.is_of(blob)
    with pytest.raises(InvalidReferences, match="make another length"):
        decoded(HEADER.blob(TABLE)[:140].replace(b"MRTR\0\1", b"MRTR\0\2") + HEADER.blob(TABLE)[140:])


def test_a_slope_beyond_its_bounds_is_refused() -> None:
    for of in (Slope(257, 0), Slope(0, 10**9 + 1)):
        with pytest.raises(InvalidReferences, match="a slope is not within"):
            dataclasses.replace(TABLE, slopes=(of,) * 3)
    with pytest.raises(InvalidReferences, match="2 slopes for 3 references"):
        dataclasses.replace(TABLE, slopes=(Slope(0, 0),) * 2)


@pytest.mark.parametrize(
    "other",
    [
        {"genesis_hash": bytes(32)},
        {"ledger": b"l" * 20},
        {"job": 4},
        {"edge": 1},
        {"version": 6},
        {"model": bytes(32)},
    ],
)
def test_references_of_anything_else_are_refused(other: dict[str, object]) -> None:
    blob = dataclasses.replace(HEADER, **other).blob(TABLE)  # type: ignore[arg-type] - one field of its own type
    with pytest.raises(InvalidReferences, match="its header is not that of its commitment"):
        decoded(blob)
    assert HEADER.is_of(blob) == (other == {"model": bytes(32)})


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (b"", "0 bytes are no header of 140"),
        (HEADER.blob(TABLE)[:-1], "make another length"),
        (HEADER.blob(TABLE) + b"\0", "make another length"),
        (HEADER.blob(References(((0, 0),), np.ones((1, 6), dtype=np.int16))), "1 rows of 6, not of 5 for 3 classes"),
        (HEADER.blob(References(((0, 3),), np.ones((1, 5), dtype=np.int16))), "a label is not below 3"),
        (HEADER.blob(TABLE).replace(bytes([0, 0, 0, 2]), bytes(4), 1), "header|labels"),
        (
            HEADER.blob(References(tuple((0, k) for k in range(11)), np.ones((11, 5), dtype=np.int16))),
            "11 rows of 5, not of 5 for 3 classes",
        ),
    ],
)
def test_what_is_not_canonical_is_refused_with_a_reason(blob: bytes, why: str) -> None:
    with pytest.raises(InvalidReferences, match=why):
        decoded(blob)


def test_every_changed_byte_of_a_header_is_seen() -> None:
    blob = bytearray(HEADER.blob(TABLE))
    for at in range(140):
        blob[at] ^= 1
        with pytest.raises(InvalidReferences):
            decoded(bytes(blob))
        blob[at] ^= 1


def test_a_label_that_stands_twice_is_refused() -> None:
    blob = bytearray(HEADER.blob(TABLE))
    blob[144:148] = blob[140:144]
    with pytest.raises(InvalidReferences, match="3 references for 2 labels"):
        decoded(bytes(blob))


def test_a_sketch_is_nothing_to_commit_to() -> None:
    with pytest.raises(InvalidReferences, match="not to a sketch"):
        HEADER.blob(TABLE.sketched(Sketch(b"seed", 8)))


histories = some.dictionaries(
    some.integers(1, 2**63), some.lists(some.integers(-(2**127), 2**127 - 1), max_size=4).map(tuple), max_size=5
)


@given(histories)
def test_a_history_comes_back_as_it_was_and_has_one_form(history: dict[int, tuple[int, ...]]) -> None:
    blob = encode_history(history)
    assert decode_history(blob) == history
    assert encode_history(dict(reversed(history.items()))) == blob


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        encode_history({1: (2,)})[:-1],
        encode_history({1: (2,)}) + b"\0",
        b"X" + encode_history({})[1:],
        encode_history({1: (2,)})[:10] + encode_history({2: (2,)})[10:] + encode_history({1: ()})[10:],
        encode_history({})[:-1] + b"\2" + encode_history({2: (5,)})[10:] + encode_history({1: (5,)})[10:],
    ],
)
def test_what_is_no_history_in_its_one_form_is_refused(blob: bytes) -> None:
    with pytest.raises(HistoryError, match="no canonical history of clients"):
        decode_history(blob)
