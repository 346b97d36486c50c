"""A round as a whole."""

from dataclasses import replace

import numpy as np
import pytest

from learner.errors import InvalidRound, UnknownRule
from learner.fixedpoint import INT32
from learner.rewards import STEP_TOTAL
from learner.rounds import Entry, Outcome, RoundInputs, compute
from learner.terms import Terms

TERMS = Terms(dimension=2, fraction_bits=14, shift=1, norm_bound_squared=2**31, phi=3, max_staleness=4)


def update(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int16)


def model(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def a_round(*entries: Entry, terms: Terms = TERMS, number: int = 1) -> RoundInputs:
    models = {version: model(100 * version, -100 * version) for version in range(number)}
    return RoundInputs(terms, number, models[number - 1], entries, models)


def test_a_round_worked_by_hand() -> None:
    result = compute(a_round(Entry(1, update(3, 4)), Entry(0, update(3, 4)), number=2))
    assert result.outcome is Outcome.PAID
    assert result.gram.tolist() == [[25, 25], [25, 25]]
    assert result.thetas == (10**9, 10**9)
    assert result.weights == (STEP_TOTAL // 2, STEP_TOTAL // 2)
    # w^1 = (100, -100) + 2 (3, 4) and w^0 = (0, 0) + 2 (3, 4)
    assert result.model.tolist() == [(106 + 6) // 2, (-92 + 8) // 2]
    assert result.aggregate.tolist() == [56 * STEP_TOTAL, -42 * STEP_TOTAL]


def test_a_polynomial_discount_enters_theta_once() -> None:
    terms = replace(TERMS, staleness="polynomial")
    entries = [Entry(4, update(3, 4)), Entry(1, update(3, 4))]
    result = compute(a_round(*entries, terms=terms, number=5))
    assert result.thetas == (10**9, 500_000_000)
    assert result.weights == (715_827_883, 357_913_941)


def test_the_weight_that_a_step_leaves_stays_with_the_current_model() -> None:
    # the long one is cut to a third, so that it weighs a sixth of the step and 1/3 stays with version 1
    terms = replace(TERMS, scoring="leave-one-out")
    entries = [Entry(1, update(3, 4)), Entry(0, update(9, 12))]
    result = compute(a_round(*entries, terms=terms, number=2))
    half, sixth = STEP_TOTAL // 2, STEP_TOTAL // 2 // 3
    assert result.thetas == (10**9, 10**9)
    assert result.weights == (half, sixth)
    kept = STEP_TOTAL - half - sixth
    assert result.aggregate.tolist() == [
        half * (100 + 6) + sixth * (0 + 18) + kept * 100,
        half * (-100 + 8) + sixth * (0 + 24) + kept * -100,
    ]


def test_one_update_becomes_the_model() -> None:
    result = compute(a_round(Entry(0, update(-3, 9))))
    assert result.paid
    assert result.model.tolist() == [-6, 18]


@pytest.mark.parametrize("entries", [[Entry(0, update(0, 0))], [Entry(0, update(5, 1)), Entry(0, update(-5, -1))]])
def test_all_thetas_zero_leave_the_model_and_pay_nobody(entries: list[Entry]) -> None:
    result = compute(a_round(*entries, number=3))
    assert result.outcome is Outcome.ALL_ZERO
    assert not result.paid
    assert result.total == 0
    assert result.weights == (0,) * len(entries)
    assert result.model.tolist() == [200, -200]
    assert result.aggregate.tolist() == [200 * STEP_TOTAL, -200 * STEP_TOTAL]


def test_a_delta_step_beyond_int32_leaves_the_model_and_pays_nobody() -> None:
    current = model(INT32.max, 0)
    terms = replace(TERMS, aggregation="delta")
    result = compute(RoundInputs(terms, 2, current, [Entry(0, update(1, 1))], {}))
    assert result.outcome is Outcome.MODEL_OVERFLOW
    assert result.thetas == (0,)
    assert result.model.tolist() == current.tolist()


def test_a_result_never_shares_memory_with_its_inputs() -> None:
    inputs = a_round(Entry(0, update(0, 0)))
    assert not np.shares_memory(compute(inputs).model, inputs.current)


def test_the_delta_form_needs_no_base_models() -> None:
    terms = replace(TERMS, aggregation="delta")
    inputs = RoundInputs(terms, 3, model(10, 10), [Entry(0, update(1, 2)), Entry(1, update(1, 2))], {})
    assert compute(inputs).model.tolist() == [12, 14]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (a_round(), "0 entries"),
        (a_round(*[Entry(0, update(1, 1))] * 1025), "1025 entries"),
        (a_round(Entry(0, update(1, 1, 1))), r"update 0 is int16\[3\]"),
        (a_round(Entry(0, np.array([1, 1]))), r"update 0 is int64\[2\]"),
        (a_round(Entry(1, update(1, 1))), "entry 0 has base 1"),
        (a_round(Entry(-1, update(1, 1))), "entry 0 has base -1"),
        (RoundInputs(TERMS, 3, model(0, 0), [Entry(0, update(1, 1))], {}), "needs model 0"),
        (RoundInputs(TERMS, 1, model(0), [Entry(0, update(1, 1))], {}), r"model 0 is int32\[1\]"),
    ],
)
def test_contradicting_inputs_are_refused(inputs: RoundInputs, reason: str) -> None:
    with pytest.raises(InvalidRound, match=reason):
        compute(inputs)


@pytest.mark.parametrize("field", ["scoring", "staleness", "aggregation"])
def test_an_unknown_rule_is_refused(field: str) -> None:
    with pytest.raises(UnknownRule, match="'none-such'"):
        compute(a_round(Entry(0, update(1, 1)), terms=replace(TERMS, **{field: "none-such"})))
