"""What a delay costs and how it is averaged."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.errors import UnknownRule
from learner.staleness import PPB, constant, delay, discount, discounted, hinge, next_phi, polynomial, tau_avg


def test_a_record_on_the_newest_version_has_no_delay() -> None:
    assert delay(round_number=7, base=6) == 0
    assert delay(round_number=7, base=2) == 4


def test_the_polynomial_discount_is_an_inverse_square_root() -> None:
    assert [polynomial(tau) for tau in (0, 1, 3, 8)] == [PPB, 707_106_781, 500_000_000, 333_333_333]


@given(st.integers(0, 10**6))
def test_an_older_update_never_counts_more(tau: int) -> None:
    assert 0 < polynomial(tau + 1) <= polynomial(tau) <= constant(tau) == PPB
    assert hinge(tau + 1) <= hinge(tau) <= PPB


def test_a_discount_rounds_theta_down() -> None:
    assert discounted(999_999_999, polynomial(1)) == 707_106_780
    assert discounted(123, PPB) == 123


def test_an_unknown_discount_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownRule, match="constant, hinge, polynomial"):
        discount("exponential", 1)


def test_the_hinge_lets_four_versions_pass_and_then_falls_steeply() -> None:
    assert [hinge(tau) for tau in (0, 4, 5, 6, 14)] == [PPB, PPB, 90_909_090, 47_619_047, 9_900_990]


@given(st.integers(1, 50), st.lists(st.integers(0, 30)), st.integers(0, 10), st.integers(1, 50))
def test_a_round_grows_while_its_records_are_too_old_and_shrinks_while_they_are_fresh(
    phi: int, delays: list[int], target: int, most: int
) -> None:
    found = next_phi(phi, delays, target=target, most=most)
    assert 1 <= found <= most
    if phi <= most:
        mean = sum(delays) / len(delays) if delays else target
        wanted = phi + 1 if mean > target else phi - 1 if mean < target else phi
        assert found == min(max(1, wanted), most)


def test_the_average_delay_counts_what_still_waits() -> None:
    assert tau_avg([0, 3], [], version=9) == Fraction(3, 2)
    assert tau_avg([0, 3], [5, 9], version=9) == Fraction(0 + 3 + 4 + 0, 4)


def test_a_client_without_records_has_no_average() -> None:
    assert tau_avg([], [], version=9) is None
