"""Who has fallen: by the scoring rule's own measure, and nobody where it has none."""

import pytest

from learner.contribution.calibrated import MEMORY, STANDING
from learner.contribution.decomposed import MEASURES, Record, Share
from learner.contribution.decomposed import STANDING as STANDINGS
from learner.vesting import RULES, fallen

PPB = 10**9
GOOD, BAD = (4, PPB, PPB), (4, -PPB, -PPB)


def shares(part: int, count: int = 4, **others: int) -> tuple[int, ...]:
    """A record of `decomposed` whose every measure is `part` of a whole of 10^9, but for those that are named."""
    return Record(count, tuple(Share(others.get(name, part), PPB) for name in MEASURES)).values


@pytest.mark.parametrize("scoring", sorted(RULES))
def test_a_client_with_a_bad_record_has_fallen_among_good_ones(scoring: str) -> None:
    good, bad = (shares(PPB), shares(-PPB)) if scoring.startswith("decomposed") else (GOOD, BAD)
    assert fallen(scoring, {5: good, 6: bad, 7: good}) == {6}


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


@pytest.mark.parametrize(("measure", "standing"), list(zip(MEASURES, STANDINGS, strict=True)))
def test_under_decomposed_a_client_falls_by_any_one_measure(measure: str, standing: int) -> None:
    middle = 500_000_000
    typical = shares(middle, count=MEMORY)
    edge = (9 * standing * middle // 1_000 - middle) // MEMORY
    for own, found in ((edge, {2}), (edge + 2, set())):
        history = {1: typical, 2: shares(middle, count=MEMORY, **{measure: own}), 3: typical}
        assert fallen("decomposed", history) == fallen("decomposed-loss-shapley", history) == found
