"""RLP: equal to the reference package on whatever it encodes, strict where that is lenient."""

import pytest
import rlp as reference
from hypothesis import given
from hypothesis import strategies as st

from chain import rlp
from chain.errors import RlpError

ITEMS = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=5), max_leaves=20)


@given(ITEMS)
def test_encoding_is_that_of_the_reference_package(item: rlp.Item) -> None:
    assert rlp.encode(item) == reference.encode(item)


@given(ITEMS)
def test_decoding_gives_back_what_was_encoded(item: rlp.Item) -> None:
    assert rlp.decode(rlp.encode(item)) == item


@given(st.binary(max_size=120))
def test_whatever_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        item = rlp.decode(data)
    except RlpError:
        return
    assert rlp.encode(item) == data


@given(st.binary(max_size=60))
def test_strictness_is_at_least_that_of_the_reference_package(data: bytes) -> None:
    try:
        rlp.decode(data)
    except RlpError:
        return
    assert reference.decode(data) is not None


@pytest.mark.parametrize("length", [0, 1, 55, 56, 255, 256, 65_536])
def test_lengths_around_the_borders_of_the_prefix(length: int) -> None:
    for item in (bytes([200]) * length, [b"\1"] * length):
        assert rlp.encode(item) == reference.encode(item)
        assert rlp.decode(rlp.encode(item)) == item


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "missing"),
        ("8100", "shortest form"),
        ("817f", "shortest form"),
        ("b801aa", "shortest form"),
        ("b90001aa", "shortest form"),
        ("b9", "past the end"),
        ("82aa", "past the end"),
        ("c28201", "past the end"),
        ("c1c2", "past the end"),
        ("c0c0", "follow"),
        ("f800", "shortest form"),
        ("bfffffffffffffffff", "past the end"),
    ],
)
def test_other_encodings_of_a_value_are_refused(data: str, reason: str) -> None:
    with pytest.raises(RlpError, match=reason):
        rlp.decode(bytes.fromhex(data))


def test_deep_nesting_is_refused_before_it_exhausts_the_stack() -> None:
    item: rlp.Item = []
    for _ in range(100):
        item = [item]
    with pytest.raises(RlpError, match="too deep"):
        rlp.decode(rlp.encode(item))


@given(st.integers(0, 2**256 - 1))
def test_numbers_come_back(value: int) -> None:
    assert rlp.to_integer(rlp.integer(value), 32) == value


@pytest.mark.parametrize(("item", "reason"), [(b"\0", "leading zero"), (b"\1" * 9, "at most 8"), ([], "list")])
def test_numbers_are_read_strictly(item: rlp.Decoded, reason: str) -> None:
    with pytest.raises(RlpError, match=reason):
        rlp.to_integer(item, 8)
