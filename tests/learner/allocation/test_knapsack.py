"""The knapsack behind "nobody idles" against a dynamic program over every cost."""

from random import Random  # noqa: TID251 - the type only

import numpy as np
import pytest

from learner.allocation import knapsack
from learner.allocation.knapsack import cheapest
from merit.chance import seeded


def table(chance: Random) -> tuple[np.ndarray, np.ndarray]:
    """Costs and gains of up to 30 learners with steps of up to 7, random or convex, some repeated."""
    count, longest = chance.randint(1, 30), chance.randint(1, 7)
    width = chance.randint(1, longest + 1)
    scale = chance.choice([5, 50, 10**6, 10**17])
    convex = chance.random() < 0.4
    costs, gains = [], []
    for _ in range(count):
        own = chance.randint(1, width)
        cost = [0, *sorted(chance.sample(range(1, longest + 1), own - 1))]
        rising = sorted(chance.randint(0, scale) for _ in range(own - 1))
        gain = [0, *(scale // (longest + 1 - one) for one in cost[1:])] if convex else [0, *rising]
        costs.append(cost + cost[-1:] * (width - own))
        gains.append(gain + gain[-1:] * (width - own))
    return np.array(costs, dtype=np.int64), np.array(gains, dtype=np.int64)


def least(cost: np.ndarray, gain: np.ndarray, need: int) -> int:
    most = {0: 0}
    for costs, gains in zip(cost.tolist(), gain.tolist(), strict=True):
        following: dict[int, int] = {}
        for spent, gained in most.items():
            for one, other in zip(costs, gains, strict=True):
                following[spent + one] = max(following.get(spent + one, 0), gained + other)
        most = following
    return min(spent for spent, gained in most.items() if gained >= need)


def test_least_cost_is_that_of_the_dynamic_program() -> None:
    chance = seeded(1, "knapsack")
    searched = 0
    for _ in range(500):
        cost, gain = table(chance)
        need = chance.randint(0, int(gain[:, -1].sum()))
        rows = np.arange(len(cost))
        choice = cheapest(cost, gain, need)
        assert choice.exact
        assert int(gain[rows, choice.column].sum()) >= need
        assert int(cost[rows, choice.column].sum()) == choice.cost == least(cost, gain, need)
        assert choice.bound <= choice.cost
        searched += choice.searched
    assert searched > 50


def test_without_room_for_the_search_the_bound_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knapsack, "WORK_LIMIT", 0)
    chance = seeded(2, "knapsack")
    inexact = 0
    for _ in range(200):
        cost, gain = table(chance)
        need = chance.randint(0, int(gain[:, -1].sum()))
        choice = cheapest(cost, gain, need)
        assert choice.bound <= least(cost, gain, need) <= choice.cost
        inexact += not choice.exact
    assert inexact > 0


def test_gains_near_the_end_of_int64_are_exact() -> None:
    large = (1 << 60) - 1
    cost = np.array([[0, 3, 5], [0, 3, 5], [0, 1, 4]], dtype=np.int64)
    gain = np.array([[0, large // 2, large], [0, large // 2 + 1, large], [0, 1, 2]], dtype=np.int64)
    assert cheapest(cost, gain, large + 1).cost == 6
