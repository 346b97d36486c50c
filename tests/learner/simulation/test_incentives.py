"""Costs, deviations, leaving and vesting: what taking part brings a client, and whether doing otherwise pays."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.attacks import SignFlip
from learner.data import Split
from learner.data.digits import load
from learner.errors import InvalidScenario
from learner.rounds import Outcome, RoundInputs, RoundResult
from learner.simulation.costs import Work, cost, gini, jain
from learner.simulation.deviation import FewerEpochs, Honest, Later, LessData, SplitUp
from learner.simulation.ledger import Record, Round
from learner.simulation.population import Role, population
from learner.simulation.run import Finished, Started, simulate
from learner.simulation.scenario import (
    Costs,
    DeviceClass,
    DeviceClasses,
    Leaving,
    Scenario,
    Training,
)
from learner.simulation.summary import Summary, summarise
from learner.simulation.vesting import Vesting
from learner.training import one_thread
from tests.learner.simulation.small import small

BOARD = DeviceClass(weight=1.0, milliseconds_per_sample=10.0, transfer_seconds=0.5, watts=6.0)
SPEED = DeviceClasses(classes=(BOARD,))
FREE = Costs(euro_per_kwh=0.0, euro_per_gigabyte=0.0, euro_per_device_hour=0.0)


@pytest.fixture(scope="module")
def split() -> Split:
    return load(3)


def with_costs(**changed: Any) -> Scenario:
    parts = {"speed": SPEED, "costs": Costs(), "training": Training(epochs=2, batch_size=10)}
    return small(**parts | changed)


def found(scenario: Scenario, split: Split) -> Summary:
    with one_thread():
        return summarise(simulate(scenario, split))


def finished(scenario: Scenario, split: Split) -> Finished:
    with one_thread():
        *_, end = simulate(scenario, split)
    assert isinstance(end, Finished)
    return end


def test_energy_bytes_and_wear_add_up() -> None:
    work = Work(updates=10, passes=3_600)  # 36 s of training
    joules = 6.0 * 36 + 1.288 * 0.5 * 10 + 3.507 * 10 * (2_000 + 2_932) / 1e6 + 0.416 * 10 * 4_000 / 1e6
    dear = Costs(euro_per_kwh=3.6, euro_per_gigabyte=0.0, euro_per_device_hour=0.0)
    assert cost(dear, BOARD, 1_000, work) == pytest.approx(joules * 1e-6)
    metered = Costs(euro_per_kwh=0.0, euro_per_gigabyte=2.0, euro_per_device_hour=0.0)
    assert cost(metered, BOARD, 1_000, work) == pytest.approx(2.0 * 10 * 8_932 / 1e9)
    worn = Costs(euro_per_kwh=0.0, euro_per_gigabyte=0.0, euro_per_device_hour=1.0)
    assert cost(worn, BOARD, 1_000, work) == pytest.approx(0.01)
    assert cost(worn, BOARD, 1_000, work, slowness=5.0) == pytest.approx(0.05)
    assert cost(FREE, BOARD, 1_000, work) == 0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_gini_and_jain_are_those_of_their_definitions(values: list[float]) -> None:
    if not sum(values) or not sum(value * value for value in values):
        return
    apart = sum(abs(a - b) for a in values for b in values)
    assert gini(values) == pytest.approx(apart / (2 * len(values) * sum(values)), abs=1e-9)
    assert jain(values) == pytest.approx(np.mean(values) ** 2 / np.mean(np.square(values)))


def test_equal_pay_is_equal_and_no_pay_is_nothing() -> None:
    assert (gini([2.0, 2.0]), jain([2.0, 2.0])) == (0, 1)
    assert (gini([0.0, 3.0]), jain([0.0, 3.0])) == (0.5, 0.5)
    assert (gini([0.0]), jain([0.0])) == (None, None)


def test_an_honest_update_costs_one_and_earns_what_it_is_worth(split: Split) -> None:
    scenario = with_costs(costs=Costs(worth=3.0), rounds=8)
    end = finished(scenario, split)
    assert sum(end.costs) / sum(end.sent) == pytest.approx(1, rel=0.02)
    told = found(scenario, split)
    paid = 8 * 4 * 3.0
    assert told.profit["plain"] * 12 == pytest.approx(paid - sum(end.costs), rel=1e-4)
    assert told.utility["plain"] == pytest.approx(2, abs=0.4)


def test_who_trains_nothing_spares_the_energy_of_training(split: Split) -> None:
    lazy = with_costs(deviation=FewerEpochs(most=1))
    everybody = population(lazy, split.train)
    one = next(client.number for client in everybody if client.role is Role.DEVIANT)
    cut, full = finished(lazy, split), finished(with_costs(deviation=Honest()), split)
    assert cut.costs[one] / cut.sent[one] < full.costs[one] / full.sent[one]


def test_a_deviation_changes_one_plain_client_and_nobodys_data(split: Split) -> None:
    plain = population(small(), split.train)
    for deviation in (Honest(), LessData(), Later(), FewerEpochs()):
        told = population(small(deviation=deviation), split.train)
        assert [one.role for one in told].count(Role.DEVIANT) == 1
        assert all((a.data.labels == b.data.labels).all() for a, b in zip(told, plain, strict=True))


def test_one_client_in_parts_has_the_same_samples_and_one_device(split: Split) -> None:
    whole = population(small(deviation=Honest()), split.train)
    parts = population(small(deviation=SplitUp(parts=3)), split.train)
    own = next(one for one in whole if one.role is Role.DEVIANT)
    identities = [one for one in parts if one.role is Role.DEVIANT]
    assert [one.number for one in identities] == [own.number, 12, 13]
    assert {one.device for one in identities} == {own.number}
    assert sum(len(one.data) for one in identities) == len(own.data)
    assert sorted(np.concatenate([one.data.labels for one in identities])) == sorted(own.data.labels)


def test_who_sends_later_is_later(split: Split) -> None:
    def sent(seconds: float) -> int:
        scenario = with_costs(deviation=Later(seconds=seconds), rounds=12)
        one = next(client.number for client in population(scenario, split.train) if client.role is Role.DEVIANT)
        return finished(scenario, split).sent[one]

    assert sent(1_000.0) < sent(0.0)


def test_clients_leave_where_taking_part_does_not_pay(split: Split) -> None:
    poor = with_costs(costs=Costs(worth=0.01), leaving=Leaving(after=2), rounds=200)
    told = found(poor, split)
    assert told.stayed["plain"] < 0.2
    assert told.rounds < 200  # nobody is left to fill them
    rich = with_costs(costs=Costs(worth=1_000.0), leaving=Leaving(after=2))
    assert found(rich, split).stayed == {"plain": 1.0}


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "choose speed.kind = device-classes": {"costs": Costs()},
    "nobody leaves who has no costs": {"leaving": Leaving()},
}


@pytest.mark.parametrize("reason", IMPOSSIBLE)
def test_incentives_that_contradict_the_scenario_are_refused(split: Split, reason: str) -> None:
    with pytest.raises(InvalidScenario, match=reason):
        found(small(**IMPOSSIBLE[reason]), split)


def paid(number: int, history: dict[int, tuple[int, ...]], **rewards: int) -> Round:
    clients = [int(name[1:]) for name in rewards]
    records = tuple(Record(client, 0, np.zeros(1, dtype=np.int16), 1, 0) for client in clients)
    model = np.zeros(1, dtype=np.int32)
    zeros = (0,) * len(records)
    result = RoundResult(
        Outcome.PAID, model.astype(np.int64), zeros, zeros, 1, model.astype(np.int64), model, {}, history
    )
    return Round(
        number, 0, records, RoundInputs(Scenario().terms(1), number, model, (), {}), result, (*rewards.values(),)
    )


GOOD, BAD = (3, 900_000_000, 0), (3, -900_000_000, 0)


def test_pay_is_released_after_so_many_rounds_to_those_whose_record_stands_then() -> None:
    vesting = Vesting("anchored", 2)
    vesting.decided(paid(1, {1: GOOD, 2: GOOD}, c1=10, c2=20))
    vesting.decided(paid(2, {1: GOOD, 2: BAD}, c1=30))
    assert vesting.released == {}
    vesting.decided(paid(3, {1: GOOD, 2: BAD}, c2=40))
    assert vesting.released == {1: 10}  # what client 2 earned in round 1 is kept back
    vesting.decided(paid(4, {1: GOOD, 2: GOOD}))
    assert vesting.end() == {1: 40, 2: 40}


def test_under_calibrated_a_record_stands_beside_the_median_clients() -> None:
    middle, low = (8, 400_000_000, 500_000_000), (8, 100_000_000, 500_000_000)
    vesting = Vesting("calibrated", 0)
    vesting.decided(paid(1, {1: middle, 2: low, 3: middle}, c1=10, c2=20, c3=30))
    assert vesting.end() == {1: 10, 3: 30}


def test_without_a_record_to_stand_on_all_pay_is_released() -> None:
    vesting = Vesting("cosine", 0)
    vesting.decided(paid(1, {}, c1=10))
    assert vesting.end() == {1: 10}


def test_vesting_takes_from_attackers_what_they_earned_before_they_were_known(split: Split) -> None:
    told = found(small("anchored", attack=SignFlip(), rounds=8), split)
    assert told.attackers_share is not None
    assert told.vested_share["end"] is not None
    assert told.vested_share["end"] <= told.attackers_share


def test_a_run_begins_with_the_rule_that_vesting_goes_by(split: Split) -> None:
    with one_thread():
        first = next(iter(simulate(small("fltrust"), split)))
    assert isinstance(first, Started)
    assert first.scoring == "fltrust"
