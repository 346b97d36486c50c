"""The rule `calibrated`: its parts beside an oracle in floats, and who is paid beside the median client."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.contribution import History
from learner.contribution.calibrated import Record, median_client, worth
from learner.rounds import Outcome
from tests.learner.contribution import oracles
from tests.learner.contribution.test_anchored import DIMENSION, simple, vector
from tests.learner.contribution.worlds import CLASSES, NUMBER, World, drawn, with_others

PPB = 10**9
SEEDS = st.integers(0, 10_000)


def world(*updates: list[int], history: History | None = None, clients: list[int] | None = None) -> World:
    plain = simple(*updates, clients=clients)
    table = with_others(plain.tables[NUMBER - 1][0])
    return replace(plain, tables={NUMBER - 1: [table] * 3}, history=history or {})


def honest(at: int, other: int = 9) -> list[int]:
    return vector(**{f"c{at}": 300, f"c{other}": 100})


FLIPPED = vector(c3=300, c9=100)  # g[0,1] is axis 3


@given(SEEDS)
def test_the_parts_are_what_their_formulas_say(seed: int) -> None:
    around = drawn(seed)
    parts = around.scored("calibrated").parts
    for at, (update, base) in enumerate(zip(around.updates, around.bases, strict=True)):
        if parts["refused"][at]:
            continue
        own = np.array(update, dtype=float)
        q, _, _ = oracles.judged(own, around.tables[base], np.zeros((0, len(update))))
        expected = min(q, 0) if parts["new"][at] < 0.3 * PPB else q
        assert parts["authenticity"][at] == pytest.approx(PPB * expected, abs=50)
        share = oracles.right_share(own, around.tables[base])
        assert parts["honesty"][at] == pytest.approx(PPB * share, abs=10_000)


@given(SEEDS)
def test_acceptance_and_pay_follow_from_the_parts(seed: int) -> None:
    around = drawn(seed, count=8)
    result = around.scored("calibrated")
    parts = result.parts
    assert set(result.history) == set(around.clients)
    worths = []
    for place, name in ((1, "authenticity"), (2, "honesty")):
        seen = {
            client: [parts[name][at] for at, of in enumerate(around.clients) if of == client]
            for client in around.clients
        }
        for client, values in seen.items():
            assert result.history[client][place] == pytest.approx(np.mean(values), abs=10)
        middle = oracles.lower_middle([float(np.mean(values)) for values in seen.values()])
        assert parts[f"typical_{name}"] == pytest.approx((middle,) * 8, abs=10)
        means = [(middle + sum(seen[client])) / (len(seen[client]) + 1) for client in around.clients]
        assert parts[f"mean_{name}"] == pytest.approx(means, abs=20)
        joined = [(parts[name][at] + means[at]) / 2 for at in range(8)]
        worths.append([min(max(2 * v / middle - 1, 0), 1) if middle > 0 else float(v > 0) for v in joined])
    for at in range(8):
        theta = min(line[at] for line in worths) * parts["new"][at] * (parts["accepted"][at] == PPB)
        assert result.thetas[at] == pytest.approx(theta, abs=1_000)


def test_the_scale_of_authenticity_is_that_of_the_clients_and_no_constant() -> None:
    """Whatever else the updates hold, all alike: they are worth as much."""
    for noise in (100, 1_000, 5_000):
        updates = [vector(**{f"c{at}": 300, f"c{9 + at}": noise}) for at in range(CLASSES)]
        result = world(*updates).scored("calibrated")
        assert result.thetas == pytest.approx((PPB,) * 3, abs=PPB // 100)


def test_a_flipped_sign_and_flipped_labels_are_paid_nothing() -> None:
    updates = [honest(0), honest(1, 10), honest(2, 11), [-x for x in honest(0)], FLIPPED]
    result = world(*updates).scored("calibrated")
    assert result.thetas[:3] == (PPB,) * 3
    assert result.thetas[3:] == (0, 0)
    assert result.weights[3:] == (0, 0)
    assert result.parts["honesty"][4] == 0


def test_one_good_update_does_not_lift_a_client_that_has_cheated() -> None:
    around = dict.fromkeys(range(1, 6), (8, 700_000_000, 900_000_000))
    cheated = {**around, 4: (8, 100_000_000, 900_000_000), 5: (8, 700_000_000, 200_000_000)}
    updates = [honest(0), honest(1, 10), honest(2, 11), vector(c0=310, c1=40, c10=90), vector(c1=310, c2=40, c11=90)]
    assert all(world(*updates, history=around).scored("calibrated").thetas)
    result = world(*updates, history=cheated).scored("calibrated")
    assert result.parts["accepted"] == (PPB, PPB, PPB, 0, 0)
    assert result.thetas[3:] == (0, 0)


def test_a_near_copy_earns_nothing_and_is_not_held_against_its_sender() -> None:
    """Honest clients with the same labels send some; who copied whom is not known."""
    copy = vector(c0=301, c9=100)
    result = world(honest(0), honest(1, 10), copy, clients=[1, 2, 3]).scored("calibrated")
    assert result.parts["refused"] == (0, 0, PPB)
    assert result.thetas == (PPB, PPB, 0)
    assert result.weights[2] == 0
    assert result.history[3] == (1, result.parts["authenticity"][2], PPB)
    assert result.parts["authenticity"][2] > PPB // 2
    following = world(honest(0, 11), honest(1, 10), clients=[3, 2], history=result.history).scored("calibrated")
    assert following.thetas[0] > PPB * 99 // 100


def test_an_odd_length_is_held_against_its_sender() -> None:
    long = [100 * x for x in honest(2, 11)]
    result = world(honest(0), honest(1, 10), long).scored("calibrated")
    assert result.parts["refused"] == (0, 0, PPB)
    assert result.history[3] == (1, -PPB // 2, 0)
    assert result.thetas == (PPB, PPB, 0)


def test_many_updates_of_one_client_are_one_vote() -> None:
    """Five flipped updates of one client beside one each of two honest ones: the median client is honest."""
    noisy = [[x + 7 * (-1) ** at * (c == at) for c, x in enumerate(FLIPPED)] for at in range(4, 9)]
    result = world(honest(0), honest(1, 10), *noisy, clients=[1, 2, 3, 3, 3, 3, 3]).scored("calibrated")
    assert result.thetas[:2] == (PPB, PPB)
    assert result.thetas[2:] == (0,) * 5


def test_a_majority_that_shows_nothing_lets_the_others_be_paid() -> None:
    """Lower medians of nothing: every positive value is worth all, so honest work is never held against it."""
    nothing = [vector(c9=300), vector(c10=300), vector(c11=300)]
    assert world(*nothing).scored("calibrated").outcome is Outcome.ALL_ZERO
    assert world(*nothing, honest(0, 8)).scored("calibrated").thetas == (0, 0, 0, PPB)


@given(st.integers(-PPB, PPB), st.integers(1, PPB))
def test_half_of_the_typical_is_worth_nothing_and_the_typical_all(value: int, typical: int) -> None:
    found = worth(value, typical)
    assert found == min(max((2 * value - typical) * PPB // typical, 0), PPB)
    assert worth(value, 0) == worth(value, -typical) == PPB * (value > 0)


@given(st.lists(st.tuples(st.integers(-PPB, PPB), st.integers(0, PPB)), min_size=1, max_size=30))
def test_a_record_is_a_mean_that_forgets(seen: list[tuple[int, int]]) -> None:
    record, expected = Record(), np.zeros(2)
    for count, pair in enumerate(seen, start=1):
        record = record.after(*pair)
        expected += (np.array(pair) - expected) / min(count, 8)
    assert record.judged == min(len(seen), 8)
    assert record[1:] == pytest.approx(expected.tolist(), abs=9)


def test_a_newcomer_is_as_good_as_the_median_client() -> None:
    typical = Record(9, 700, 500)
    assert Record().beside(typical) == (700, 500)
    assert Record(1, 100, 0).beside(typical) == (400, 250)
    assert Record(8, -700, 1_000).beside(typical) == (-545, 944)


def test_the_median_client_is_one_who_was_judged() -> None:
    assert median_client({}) == Record()
    assert median_client({1: (0, 0, 0), 2: (1, 5, 30), 3: (4, 9, 20), 4: (8, 1, 10)}) == Record(3, 5, 20)
    assert median_client({1: (1, 5, 30), 2: (1, 9, 20)}) == Record(2, 5, 20)


def test_a_server_without_contrasts_does_not_count() -> None:
    around = world(honest(0), FLIPPED)
    right = {label: row for label, row in around.tables[NUMBER - 1][0].items() if label[0] >= 0}
    some = replace(around, tables={NUMBER - 1: [right, around.tables[NUMBER - 1][0]]})
    assert some.scored("calibrated").thetas == around.scored("calibrated").thetas
    assert replace(around, tables={NUMBER - 1: [right]}).scored("calibrated").outcome is Outcome.ALL_ZERO
    assert len(around.updates[0]) == DIMENSION
