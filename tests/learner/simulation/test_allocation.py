"""Simulated clients do what the plan tells them, and the plan is the ledger's."""

from typing import Any

import pytest

from learner.allocation.plan import Plan
from learner.allocation.planning import next_plan
from learner.data import Split
from learner.data.digits import load
from learner.errors import InvalidPlan
from learner.simulation.ledger import Round
from learner.simulation.run import simulate
from learner.simulation.scenario import Allocation, Asynchronous, LogNormal, Outliers, Scenario, Synchronous
from learner.training import one_thread
from tests.learner.simulation.small import small


@pytest.fixture(scope="module")
def split() -> Split:
    return load(3)


def scenario(rule: Any = "exact", **changed: Any) -> Scenario:
    parts: dict[str, Any] = {
        "rounds": 12,
        "server": Asynchronous(phi=4, concurrency=0),
        "speed": LogNormal(seconds=2.0, clients=0.5, updates=0.0),
        "outliers": Outliers(slow=2, slow_factor=5.0),
        "allocation": Allocation(rule=rule, cycle_seconds=2.0, samples=20, most_samples=80),
    }
    return small(**parts | changed)


def rounds(asked: Scenario, split: Split) -> list[Round]:
    with one_thread():
        return [event for event in simulate(asked, split) if isinstance(event, Round)]


@pytest.mark.parametrize("rule", ["equal", "exact"])
@pytest.mark.parametrize("server", [Asynchronous(phi=4, concurrency=0), Synchronous(phi=4)], ids=str)
def test_each_plan_follows_from_the_one_before_and_the_reports(rule: str, server: Any, split: Split) -> None:
    asked = scenario(rule, server=server)
    terms, before = asked.plan_terms(), Plan(0)
    assert terms is not None
    for decided in rounds(asked, split):
        reports = [record.work for record in decided.records if record.work is not None]
        assert len(reports) == len(decided.records)
        assert decided.plan == next_plan(before, decided.number, reports, terms)
        before = decided.plan


@pytest.mark.parametrize("rule", ["equal", "exact"])
def test_clients_do_what_they_were_told_and_an_unknown_one_little(rule: str, split: Split) -> None:
    decided = rounds(scenario(rule), split)
    plans = {0: Plan(0)} | {one.number: one.plan for one in decided if one.plan is not None}
    told = 0
    for one in decided:
        for record in one.records:
            share, work = plans[record.base].share_of(record.client), record.work
            assert work is not None
            assert (work.samples, work.epochs) == ((2, 1) if share is None else (share.samples, share.epochs))
            told += share is not None
    assert told > len(plans), "most work is told by a plan"


def test_the_slow_are_planned_for_and_everybody_ends_within_the_cycle(split: Split) -> None:
    last = rounds(scenario(rounds=30), split)[-1].plan
    assert last is not None
    assert len(last.shares) == 12
    assert max(share.cycle_ns for share in last.shares) <= 2 * 10**9
    assert len({share.epochs for share in last.shares}) <= 2
    assert len({share.samples for share in last.shares}) > 2


def test_without_a_plan_all_do_the_same_however_long_it_takes_them(split: Split) -> None:
    decided = rounds(scenario("same"), split)
    done = {(record.work.samples, record.work.epochs) for one in decided for record in one.records if record.work}
    assert done == {(20, 1)}
    assert all(one.plan is None for one in decided)


def test_an_allocation_that_cannot_be_is_refused_by_name(split: Split) -> None:
    with pytest.raises(InvalidPlan, match="samples is 20: choose 1 to 10"):
        rounds(scenario(allocation=Allocation(samples=20, most_samples=10)), split)
