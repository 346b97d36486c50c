"""The paper's Table I as instances."""

from dataclasses import replace

import numpy as np
import pytest

from learner.allocation.baselines import equal, synchronous
from learner.allocation.scenario import NANOSECONDS, Scenario, generate

TABLE = Scenario()
IN_BELS = replace(TABLE, loss_db=70.0, loss_db_per_decade=21.0)


def test_coefficients_are_those_of_the_paper_in_whole_nanoseconds() -> None:
    time = generate(TABLE, learners=4, seed=1).time
    # C_m / f = 1,123,736 / 2.4 GHz and / 700 MHz, rounded up
    assert time.c2.tolist() == [468_224, 1_605_338, 468_224, 1_605_338]
    assert time.c1.tolist() == [0, 0, 0, 0]
    assert time.t == 15 * NANOSECONDS
    # 2 * 8,974,080 bits at 5 MHz and 119 to 122 dB of signal over noise, about 200 Mbit/s
    assert all(0.08e9 < fixed < 0.10e9 for fixed in time.c0.tolist())


def test_only_parallelised_learners_are_sent_their_samples() -> None:
    federated, parallelised = (
        generate(replace(TABLE, learning=learning), learners=6, seed=2).time
        for learning in ("federated", "parallelised")
    )
    assert federated.c1.tolist() == [0] * 6
    # F P_d = 784 * 8 bit a sample, 2 P_m S_m = 17,948,160 bit the model both ways, over the same link
    ratio = parallelised.c1 / parallelised.c0
    assert ratio == pytest.approx(6_272 / 17_948_160, rel=1e-4)
    assert (parallelised.c0 == federated.c0).all()


def test_equal_seeds_place_learners_alike_and_others_do_not() -> None:
    first, again, other = (generate(TABLE, learners=5, seed=seed).time.c0.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_more_learners_leave_the_first_ones_where_they_are() -> None:
    few, many = (generate(TABLE, learners=count, seed=3).time for count in (4, 20))
    assert few.c0.tolist() == many.c0[:4].tolist()


def test_half_the_learners_are_fast_and_of_an_odd_number_one_more() -> None:
    c2 = generate(TABLE, learners=15, seed=1).time.c2
    assert sorted(np.unique(c2, return_counts=True)[1].tolist()) == [7, 8]


@pytest.mark.parametrize("seconds", [7.5, 15.0])
@pytest.mark.parametrize("learners", [10, 20])
def test_the_reading_of_the_path_loss_changes_nobody_s_synchronous_updates(learners: int, seconds: float) -> None:
    literal, bels = (
        synchronous(generate(replace(reading, seconds=seconds), learners=learners, seed=1)).tau
        for reading in (TABLE, IN_BELS)
    )
    assert literal is not None
    assert bels is not None
    assert literal.tolist() == bels.tolist()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_shrunk_scenario_allows_the_same_updates(share: float) -> None:
    whole, small = (equal(generate(scenario, learners=20, seed=1)).tau for scenario in (TABLE, TABLE.shrunk(share)))
    assert whole is not None
    assert small is not None
    assert whole.tolist() == small.tolist()


def test_a_bound_of_energy_holds_fast_learners_back_first() -> None:
    bounded = generate(replace(TABLE, energy_joules=10.0), learners=20, seed=1)
    assert bounded.energy is not None
    # an operation costs kappa f^2: (2.4 / 0.7)^2 times as much on a fast learner
    assert bounded.energy.g2[0] / bounded.energy.g2[1] == pytest.approx((2.4 / 0.7) ** 2, rel=1e-4)
    free, held = (equal(generate(one, learners=20, seed=1)).tau for one in (TABLE, replace(TABLE, energy_joules=10.0)))
    assert free is not None
    assert held is not None
    assert (free[::2].tolist(), free[1::2].tolist()) == ([10] * 10, [3] * 10)
    assert (held[::2].tolist(), held[1::2].tolist()) == ([5] * 10, [3] * 10)
