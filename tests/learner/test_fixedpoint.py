"""Fixed point loses nothing silently."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.fixedpoint import (
    INT16,
    INT32,
    Encoded,
    Refusal,
    Rejected,
    check_update,
    decode_model,
    decode_update,
    encode_model,
    encode_update,
    norm_squared,
    overflows,
)

INT16S = st.lists(st.integers(INT16.min, INT16.max), min_size=1, max_size=30)
INT32S = st.lists(st.integers(INT32.min, INT32.max), min_size=1, max_size=30)


def accepted(answer: Encoded | Rejected) -> Encoded:
    assert isinstance(answer, Encoded), answer
    return answer


def refused(answer: Encoded | Rejected | None) -> Refusal:
    assert isinstance(answer, Rejected), answer
    return answer.reason


@given(INT16S, st.integers(0, 30))
def test_an_update_survives_decoding_and_encoding(values: list[int], bits: int) -> None:
    update = np.array(values, dtype=np.int16)
    again = accepted(encode_update(decode_update(update, bits), bits))
    assert (again.update == update).all()
    assert not again.residual.any()


@given(INT32S, st.integers(0, 30))
def test_a_model_survives_decoding_and_encoding(values: list[int], bits: int) -> None:
    model = np.array(values, dtype=np.int32)
    again = encode_model(decode_model(model, bits), bits)
    assert isinstance(again, np.ndarray)
    assert (again == model).all()


@given(st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=50))
def test_error_feedback_carries_every_rounding_error_forward(deltas: list[float]) -> None:
    residual = np.zeros(1)
    sent = 0.0
    for delta in deltas:
        encoded = accepted(encode_update(np.array([delta]), 10, residual))
        residual = encoded.residual
        sent += float(decode_update(encoded.update, 10)[0])
        assert abs(residual[0]) <= 0.5
    assert sent + residual[0] / 1024 == pytest.approx(sum(deltas), abs=1e-9)


def test_without_error_feedback_small_steps_would_be_lost() -> None:
    residual = np.zeros(1)
    total = 0
    for _ in range(100):
        encoded = accepted(encode_update(np.array([0.1]), 0, residual))
        residual = encoded.residual
        total += int(encoded.update[0])
    assert total == 10


def test_halves_round_to_the_even_integer() -> None:
    encoded = accepted(encode_update(np.array([0.5, 1.5, 2.5, -0.5, -1.5]), 0))
    assert encoded.update.tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float) -> None:
    assert refused(encode_update(np.array([0.0, bad]), 8)) is Refusal.NOT_FINITE
    answer = encode_model(np.array([0.0, bad]), 8)
    assert isinstance(answer, Rejected)
    assert answer.reason is Refusal.NOT_FINITE


@pytest.mark.parametrize("wide", [32767.5, -32768.6, 1e300])
def test_a_value_beyond_int16_is_refused_and_never_clipped(wide: float) -> None:
    assert refused(encode_update(np.array([wide]), 0)) is Refusal.OUT_OF_RANGE


def test_a_scale_beyond_float64_is_out_of_range_too() -> None:
    assert refused(encode_update(np.array([1e308]), 30)) is Refusal.OUT_OF_RANGE
    answer = encode_model(np.array([1e308]), 30)
    assert isinstance(answer, Rejected)
    assert answer.reason is Refusal.OUT_OF_RANGE


def test_the_ends_of_int16_are_in_range() -> None:
    assert accepted(encode_update(np.array([32767.4, -32768.5]), 0)).update.tolist() == [32767, -32768]


def test_the_norm_bound_itself_is_allowed_and_one_less_is_not() -> None:
    delta = np.array([3.0, 4.0])
    assert isinstance(encode_update(delta, 0, norm_bound_squared=25), Encoded)
    assert refused(encode_update(delta, 0, norm_bound_squared=24)) is Refusal.BEYOND_NORM


def test_a_residual_of_another_length_is_refused() -> None:
    assert refused(encode_update(np.zeros(3), 0, np.zeros(2))) is Refusal.WRONG_LENGTH


@given(INT16S)
def test_the_squared_norm_is_exact(values: list[int]) -> None:
    assert norm_squared(np.array(values, dtype=np.int16)) == sum(value * value for value in values)


@given(st.integers(INT32.min, INT32.max), st.integers(INT16.min, INT16.max), st.integers(0, 16))
def test_overflow_is_seen_exactly(base: int, update: int, shift: int) -> None:
    expected = not INT32.min <= base + update * 2**shift <= INT32.max
    assert overflows(np.array([base], dtype=np.int32), np.array([update], dtype=np.int16), shift) is expected


def test_a_hold_checks_length_norm_and_overflow() -> None:
    base = np.array([0, INT32.max], dtype=np.int32)
    up = np.array([1, 1], dtype=np.int16)
    assert check_update(base, -up, shift=0, norm_bound_squared=2) is None
    assert refused(check_update(base, up[:1], shift=0, norm_bound_squared=2)) is Refusal.WRONG_LENGTH
    assert refused(check_update(base, up, shift=0, norm_bound_squared=1)) is Refusal.BEYOND_NORM
    assert refused(check_update(base, up, shift=0, norm_bound_squared=2)) is Refusal.OVERFLOWS
