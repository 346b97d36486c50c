"""Who has fallen: by the scoring rule's own measure, and nobody where it has none."""

import pytest

from learner.contribution.calibrated import MEMORY, STANDING
from learner.vesting import RULES, fallen

GOOD, BAD = (4, 10**9, 10**9), (4, -(10**9), -(10**9))
PPB = 10**9


@pytest.mark.parametrize("scoring", sorted(RULES))
def test_a_client_with_a_bad_record_has_fallen_among_good_ones(scoring: str) -> None:
    assert fallen(scoring, {5: GOOD, 6: BAD, 7: GOOD}) == {6}


@pytest.mark.parametrize("scoring", sorted(RULES))
def test_nobody_falls_before_anything_is_remembered(scoring: str) -> None:
    assert fallen(scoring, {}) == frozenset()


def test_nobody_falls_under_a_rule_that_says_nothing_of_records() -> None:
    assert fallen("cosine", {5: BAD, 6: BAD}) == frozenset()
    assert fallen("cgsv", {5: (1,)}) == frozenset()


def test_under_calibrated_a_client_falls_where_its_mean_with_one_more_typical_update_is_not_above_the_share() -> None:
    middle = 500_000_000
    typical = (MEMORY, middle, middle)
    # (middle + 8 own) / 9 = share * middle: the greatest mean that has fallen
    edge = (9 * STANDING * middle // PPB - middle) // MEMORY
    assert fallen("calibrated", {1: typical, 2: (MEMORY, middle, edge), 3: typical}) == {2}
    assert fallen("calibrated", {1: typical, 2: (MEMORY, middle, edge + 2), 3: typical}) == frozenset()
