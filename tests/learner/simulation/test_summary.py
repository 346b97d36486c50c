"""The figures of a run are what their names say, on runs made by hand."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.rounds import Outcome, RoundInputs, RoundResult
from learner.simulation.ledger import Record, Round
from learner.simulation.population import Role
from learner.simulation.run import Evaluated, Finished, Started
from learner.simulation.scenario import Scenario
from learner.simulation.summary import Tally, auc
from learner.training import Quality

NUMBERS = np.zeros(1, dtype=np.int32)
ROLES = (Role.PLAIN, Role.RARE, Role.ATTACKER, Role.PLAIN)


def decided(*paid: tuple[int, int, int]) -> Round:
    """A round in which (client, theta, reward)."""
    records = tuple(Record(client, 0, np.zeros(1, dtype=np.int16), 1, 0) for client, _, _ in paid)
    thetas = tuple(theta for _, theta, _ in paid)
    inputs = RoundInputs(Scenario().terms(1), 1, NUMBERS, (), {})
    outcome = Outcome.PAID if any(thetas) else Outcome.ALL_ZERO
    result = RoundResult(
        outcome, NUMBERS.astype(np.int64), thetas, (0,) * len(paid), sum(thetas), NUMBERS.astype(np.int64), NUMBERS
    )
    return Round(1, 0, records, inputs, result, tuple(pay for _, _, pay in paid))


def tally(rounds: Sequence[Round], accuracies: Sequence[float] = (0.5,)) -> Tally:
    counted = Tally(Started(1, ROLES))
    for one in rounds:
        counted.decided(one)
    for at, accuracy in enumerate(accuracies):
        counted.evaluated(Evaluated(at, at * 1_000_000, accuracy, 1.0, triggered=accuracy / 2))
    return counted


END = Finished(9_000_000, 12, {"copy": 2})


def test_wages_are_for_an_update_and_shares_of_the_whole_pay() -> None:
    rounds = [decided((0, 10, 100), (2, 30, 300)), decided((0, 10, 200), (1, 5, 50)), decided((3, 1, 10), (2, 0, 0))]
    found = tally(rounds).summary(END)
    honest = (150 + 50 + 10) / 3
    assert found.attackers_share == pytest.approx(300 / 660, abs=1e-6)
    assert found.wages == {
        "attacker": pytest.approx(150 / honest),
        "plain": pytest.approx(80 / honest),
        "rare-label": pytest.approx(50 / honest, abs=1e-6),
    }
    assert found.starved == 0.0
    assert tally(rounds).attackers_share(rounds[0]) == 0.75
    assert (found.rounds, found.unpaid_rounds, found.updates, found.refused) == (3, 0, 12, {"copy": 2})
    assert found.virtual_seconds == 9.0


def test_watched_classes_and_their_holders_are_told_apart() -> None:
    counted = Tally(Started(1, ROLES, watched=(1,), holders=frozenset({1, 2})))
    counted.decided(decided((0, 10, 100), (1, 30, 300), (2, 9, 900), (3, 10, 200)))
    for brier in (0.9, 0.4, 0.3, 0.2):
        counted.evaluated(Evaluated(1, 1, 0.5, 1.0, None, Quality((0.5, brier, None), brier, brier / 2)))
    found = counted.summary(END)
    assert found.watched == {
        "accuracy": 0.3,
        "accuracy_others": 0.5,
        "brier": 0.3,
        "calibration_error": 0.15,
        "wage": 1.5,
        "wage_others": 0.75,
    }
    assert found.class_accuracy == {"0": 0.5, "1": 0.3}
    assert tally([decided((0, 10, 100))]).summary(END).watched == {}


def test_an_honest_client_below_a_tenth_of_the_mean_wage_is_starved() -> None:
    found = tally([decided((0, 9, 900), (1, 9, 80), (3, 9, 900))]).summary(END)
    assert found.starved == 0.0  # 80 of a mean of 626.7
    found = tally([decided((0, 9, 900), (1, 9, 50), (3, 9, 900))]).summary(END)
    assert found.starved == pytest.approx(1 / 3, abs=1e-6)


def test_the_auc_tells_thetas_of_updates_and_means_of_clients() -> None:
    rounds = [decided((0, 10, 1), (2, 2, 1)), decided((0, 1, 1), (2, 3, 1))]
    found = tally(rounds).summary(END)
    assert found.auc_update == 0.5  # 10 is above both, 1 above none
    assert found.auc_client == 1.0  # 5.5 is above 2.5
    alone = tally([decided((0, 10, 1))]).summary(END)
    assert (alone.auc_update, alone.auc_client, alone.attackers_share) == (None, None, 0.0)


def test_a_round_that_pays_nobody_is_counted_and_starves_nobody() -> None:
    found = tally([decided((0, 0, 0), (2, 0, 0))]).summary(END)
    assert (found.unpaid_rounds, found.attackers_share, found.starved, found.wages) == (1, None, 0.0, {})


def test_accuracy_is_the_mean_of_the_last_three_and_targets_count_from_the_first_time() -> None:
    found = tally([], [0.1, 0.96, 0.8, 0.9, 0.91]).summary(END)
    assert found.accuracy == pytest.approx(0.87)
    assert found.best == 0.96
    assert found.seconds_to == {"0.8": 1.0, "0.9": 1.0, "0.95": 1.0, "0.97": None}
    assert found.triggered == pytest.approx(0.435)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_the_auc_is_the_share_of_ordered_pairs(higher: list[int], lower: list[int]) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(higher, lower)]
    assert auc(higher, lower) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
