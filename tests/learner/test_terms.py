"""Terms outside the bounds never make a job."""

from dataclasses import replace

import pytest

from learner.errors import InvalidTerms
from learner.terms import Terms, check_terms

GOOD = Terms(dimension=280_440, fraction_bits=14, shift=8, norm_bound_squared=2**50, phi=15, max_staleness=8)


def test_ordinary_terms_pass_and_tell_the_models_bits() -> None:
    check_terms(GOOD)
    assert GOOD.model_fraction_bits == 22


@pytest.mark.parametrize("phi", [0, 1, 1024])
def test_every_allowed_phi_passes(phi: int) -> None:
    check_terms(replace(GOOD, phi=phi))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dimension", 0),
        ("dimension", 2**26 + 1),
        ("fraction_bits", -1),
        ("fraction_bits", 31),
        ("shift", 17),
        ("shift", -1),
        ("phi", 1025),
        ("phi", -1),
        ("max_staleness", 65_536),
        ("norm_bound_squared", 0),
        ("norm_bound_squared", 2**256),
        ("rules_version", 2),
        ("scoring", "cosin"),
        ("staleness", "exponential"),
        ("aggregation", "mean"),
    ],
)
def test_a_term_out_of_bounds_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidTerms, match=f"job term {field} = .*: choose ") as caught:
        check_terms(replace(GOOD, **{field: value}))
    assert caught.value.field == field


def test_the_models_bits_leave_room_for_the_models_range() -> None:
    check_terms(replace(GOOD, fraction_bits=15, shift=15))
    with pytest.raises(InvalidTerms, match="shift = 16: choose 0 to 15"):
        check_terms(replace(GOOD, fraction_bits=15, shift=16))
