"""The plan after a round: against a slow second implementation, and what a client's false report can and cannot do."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.allocation.plan import HEAD_BYTES, SHARE_BYTES, Plan, Share
from learner.allocation.planning import PlanTerms, Work, check_plan_terms, next_plan
from learner.errors import InvalidPlan, UnknownRule
from tests.learner.allocation import planning_oracle as oracle

TERMS = PlanTerms(
    rule="exact",
    rules_version=1,
    cycle_us=4_000_000,
    samples=20,
    least_samples=1,
    most_samples=160,
    most_epochs=64,
    forget_after=36,
)
UINT32 = st.integers(0, 2**32 - 1)
MEMBERS = st.integers(1, 2**64 - 1)
SHARES = st.builds(
    Share,
    client=MEMBERS,
    seen=MEMBERS,
    samples=UINT32,
    epochs=UINT32,
    c2=MEMBERS,
    c1=MEMBERS,
    c0=MEMBERS,
)
PLANS = st.builds(
    lambda number, shares: Plan(number, tuple(sorted(shares, key=lambda one: one.client))),
    MEMBERS,
    st.lists(SHARES, max_size=6, unique_by=lambda one: one.client),
)
REPORTS = st.builds(
    Work,
    client=st.integers(1, 5),
    samples=st.one_of(st.integers(0, 40), UINT32),
    epochs=st.one_of(st.integers(0, 8), UINT32),
    training_us=UINT32,
    gathering_us=st.one_of(st.just(0), UINT32),
    transfer_us=st.one_of(st.integers(0, 10**6), UINT32),
)


def work(client: int, us_per_sample_and_epoch: int, samples: int = 20, epochs: int = 5, **other: int) -> Work:
    fields = {"gathering_us": 0, "transfer_us": 0} | other
    return Work(client, samples, epochs, us_per_sample_and_epoch * samples * epochs, **fields)


def tau(plan: Plan) -> list[int]:
    return [share.epochs for share in plan.shares]


# -- the rule -----------------------------------------------------------------------------------------------------


@st.composite
def small_terms(draw: st.DrawFn) -> PlanTerms:
    least = draw(st.integers(1, 3))
    samples = draw(st.integers(least, 6))
    return replace(
        TERMS,
        rule=draw(st.sampled_from(["equal", "exact"])),
        cycle_us=draw(st.integers(1, 60)),
        samples=samples,
        least_samples=least,
        most_samples=draw(st.integers(samples, 12)),
        most_epochs=draw(st.integers(1, 40)),
    )


SMALL_REPORTS = st.builds(
    Work,
    client=st.integers(1, 5),
    samples=st.integers(1, 3),
    epochs=st.integers(1, 3),
    training_us=st.integers(1, 70),
    gathering_us=st.integers(0, 5),
    transfer_us=st.integers(0, 20),
)


@settings(max_examples=300)
@given(small_terms(), st.lists(SMALL_REPORTS, min_size=1, max_size=6))
def test_every_plan_is_the_one_that_trying_everything_finds(terms: PlanTerms, reports: list[Work]) -> None:
    plan = next_plan(Plan(0), 1, reports, terms)
    speeds = [oracle.Speed(share.c2, share.c1, share.c0) for share in plan.shares]
    expected = oracle.exact(speeds, terms) if terms.rule == "exact" else oracle.equal(speeds, terms)
    assert [(share.samples, share.epochs) for share in plan.shares] == expected


def test_exact_gives_slow_clients_fewer_samples_and_everybody_about_the_same_epochs() -> None:
    reports = [work(1, 20_000), work(2, 40_000), work(3, 40_000), work(4, 200_000)]
    plan = next_plan(Plan(0), 1, reports, TERMS)
    assert sum(share.samples for share in plan.shares) == 4 * TERMS.samples
    assert ([share.samples for share in plan.shares], tau(plan)) == ([38, 19, 19, 4], [5] * 4)
    spread = next_plan(Plan(0), 1, reports, replace(TERMS, rule="equal"))
    assert ([share.samples for share in spread.shares], tau(spread)) == ([20] * 4, [10, 5, 5, 1])


# -- estimates ----------------------------------------------------------------------------------------------------


def test_the_first_report_is_believed_and_each_later_one_counts_for_a_quarter() -> None:
    first = next_plan(Plan(0), 1, [work(1, 40_000, transfer_us=1_000, gathering_us=2_000)], TERMS)
    assert [(one.c2, one.c1, one.c0) for one in first.shares] == [(40_000_000, 100_000, 1_000_000)]
    second = next_plan(first, 2, [work(1, 80_000)], TERMS)
    assert [(one.c2, one.c1, one.c0) for one in second.shares] == [(50_000_000, 75_000, 750_000)]


def test_several_reports_of_a_client_count_in_the_order_of_selection() -> None:
    reports = [work(1, 40_000), work(1, 80_000)]
    once = next_plan(Plan(0), 1, reports, TERMS)
    assert once == next_plan(Plan(0), 1, [work(1, 50_000)], TERMS)
    assert next_plan(Plan(0), 1, reports[::-1], TERMS).shares != once.shares


def test_a_report_of_no_work_says_nothing() -> None:
    assert next_plan(Plan(0), 1, [Work(1, 0, 5, 9, 9, 9), Work(2, 5, 0, 9, 9, 9)], TERMS) == Plan(1)


def test_a_client_of_which_nothing_was_consumed_for_long_is_forgotten() -> None:
    plan = next_plan(Plan(0), 1, [work(1, 40_000)], TERMS)
    assert next_plan(plan, TERMS.forget_after, [work(2, 40_000)], TERMS).share_of(1) is not None
    assert next_plan(plan, TERMS.forget_after + 1, [work(2, 40_000)], TERMS).share_of(1) is None


# -- false reports ------------------------------------------------------------------------------------------------


@given(st.sampled_from(["equal", "exact"]), st.lists(REPORTS, max_size=12), st.integers(1, 50))
def test_no_report_whatever_it_says_breaks_a_plan_or_leaves_its_bounds(
    rule: str, reports: list[Work], number: int
) -> None:
    plan = Plan(0)
    for one in reports:
        plan = next_plan(plan, number, [one], replace(TERMS, rule=rule))
        for share in plan.shares:
            assert TERMS.least_samples <= share.samples <= TERMS.most_samples
            assert 1 <= share.epochs <= TERMS.most_epochs
            assert 1 <= share.c2 <= TERMS.cycle_us * 1000
            assert 0 <= min(share.c1, share.c0) <= max(share.c1, share.c0) <= TERMS.cycle_us * 1000
        assert sum(share.samples for share in plan.shares) <= TERMS.samples * len(plan.shares)
    assert Plan.decode(plan.encode()) == plan


def test_a_client_that_claims_to_be_too_slow_for_anything_gets_the_least_work_and_leaves_the_others_alone() -> None:
    honest = [work(client, 40_000) for client in (1, 2, 3)]
    liar = Work(4, 1, 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    plan = next_plan(Plan(0), 1, [*honest, liar], TERMS)
    assert (plan.shares[3].samples, plan.shares[3].epochs) == (1, 1)
    assert plan.shares[:3] == next_plan(Plan(0), 1, honest, TERMS).shares


def test_a_client_that_claims_to_be_endlessly_fast_gets_no_more_than_the_most_samples_and_epochs() -> None:
    honest = [work(client, 40_000) for client in range(1, 20)]
    plan = next_plan(Plan(0), 1, [*honest, Work(20, 2**32 - 1, 2**32 - 1, 0, 0, 0)], TERMS)
    assert plan.shares[-1].samples <= TERMS.most_samples
    assert plan.shares[-1].epochs == TERMS.most_epochs
    assert sum(share.samples for share in plan.shares) == 20 * TERMS.samples


# -- terms and bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cycle_us": 0}, "cycle_us is 0: choose 1 to 4294967295"),
        ({"least_samples": 21}, "least_samples is 21: choose 1 to 20"),
        ({"samples": 161}, "samples is 161: choose 1 to 160"),
        ({"most_epochs": 1 << 16}, "most_epochs is 65536: choose 1 to 65535"),
        ({"forget_after": 0}, "forget_after is 0"),
    ],
)
def test_terms_out_of_their_bounds_are_named(change: dict[str, Any], told: str) -> None:
    check_plan_terms(TERMS)
    with pytest.raises(InvalidPlan, match=told):
        check_plan_terms(replace(TERMS, **change))


def test_a_rule_of_another_version_is_unknown_and_not_guessed() -> None:
    with pytest.raises(UnknownRule, match="allocation rule"):
        next_plan(Plan(0), 1, [], replace(TERMS, rules_version=2))


@given(PLANS)
def test_a_plan_reads_back_as_it_was_written(plan: Plan) -> None:
    raw = plan.encode()
    assert len(raw) == HEAD_BYTES + SHARE_BYTES * len(plan.shares)
    assert Plan.decode(raw) == plan


@given(PLANS, st.data())
def test_bytes_that_are_read_at_all_are_written_again_as_they_were(plan: Plan, data: st.DataObject) -> None:
    raw = bytearray(plan.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = Plan.decode(bytes(raw))
    except InvalidPlan:
        return
    assert found.encode() == bytes(raw)


def test_bytes_that_are_no_plan_are_refused() -> None:
    raw = Plan(3, (Share(1, 3, 4, 5, 6, 7, 8),)).encode()
    assert raw.hex() == (
        "4d52544100010000" + "0000000000000003" + "0000000100000000"
        "0000000000000001" + "0000000000000003" + "0000000400000005"
        "0000000000000006" + "0000000000000007" + "0000000000000008"
    )
    for wrong in (b"", raw[:20], raw[:-1], raw + b"\0", b"X" + raw[1:], raw[:HEAD_BYTES] + raw[HEAD_BYTES:] * 2):
        with pytest.raises(InvalidPlan):
            Plan.decode(wrong)


def test_clients_that_do_not_rise_or_numbers_that_do_not_fit_are_not_written() -> None:
    share = Share(1, 3, 4, 5, 6, 7, 8)
    for wrong in (Plan(1, (share, share)), Plan(1, (replace(share, samples=2**32),)), Plan(-1)):
        with pytest.raises(InvalidPlan):
            wrong.encode()
