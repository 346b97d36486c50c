"""The exact solvers against brute force, and their certificates against a check that shares nothing with them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from learner.allocation.average import least_average
from learner.allocation.certificates import Certificate, Infeasible, faults
from learner.allocation.exact import allocate, allocate_least_staleness, allocate_most_updates, frontier
from learner.allocation.instance import Allocation, Instance, Status, TimeModel
from learner.allocation.reach import Reach, reach
from learner.allocation.windows import core, least_staleness
from learner.errors import InvalidInstance
from merit.chance import seeded
from tests.learner.allocation import cases

EXAMPLE = {
    "time": {"C2": [468, 468, 1605, 1605], "C1": [60, 75, 80, 66], "C0": [900, 1200, 1500, 2000], "T": 75_000},
    "energy": None,
    "d": 60,
    "d_l": 1,
    "d_u": 40,
    "tau_min": 1,
}


def differences(seed: int, count: int) -> Counter[str]:
    """Hold `count` random instances against brute force; count what was met, fail at the first difference."""
    chance = seeded(seed, "allocation")
    met: Counter[str] = Counter()
    for _ in range(count):
        case = cases.instance(chance)
        instance, known = Instance.from_json(case), cases.best(case)
        found = allocate(instance)
        assert faults(instance, found) == (), case
        if not known:
            assert (found.status, bool(found.reason)) == (Status.INFEASIBLE, True), case
            met["infeasible"] += 1
            continue
        least = min(known)
        plain = allocate_least_staleness(instance)
        assert plain.max_staleness == least, case
        assert faults(instance, plain) == (), case
        assert (found.status, found.max_staleness, found.pair_sum) == (Status.OPTIMAL, least, known[least][1]), case
        met["energy" if case["energy"] else "time only"] += 1
        met["gaps" if least > 1 else "no gaps"] += 1
        for allowed in (least, least + 1, least + 3):
            most = allocate_most_updates(instance, allowed)
            assert most.updates == max(updates for staleness, (updates, _) in known.items() if staleness <= allowed)
            assert faults(instance, most) == (), case
            assert isinstance(most.certificate, Certificate)
            assert most.certificate.exact
    return met


def test_five_hundred_random_instances_are_solved_as_brute_force_does() -> None:
    met = differences(seed=1, count=500)
    assert all(met[kind] > 50 for kind in ("infeasible", "energy", "time only", "gaps", "no gaps"))


@pytest.mark.slow
def test_ten_thousand_random_instances_are_solved_as_brute_force_does() -> None:
    assert differences(seed=2, count=10_000).total() > 10_000


def test_frontier_holds_the_most_updates_and_the_least_average_at_every_staleness() -> None:
    chance = seeded(3, "allocation")
    for _ in range(150):
        case = cases.instance(chance)
        instance, known = Instance.from_json(case), cases.best(case)
        points = frontier(instance, 3)
        if isinstance(points, Allocation):
            assert not known, case
            continue
        assert [point.staleness for point in points] == list(range(min(known), min(known) + len(points)))
        assert len(points) == 4 or points[-1].staleness >= max(known), case
        for point in points:
            within = [best for staleness, best in known.items() if staleness <= point.staleness]
            assert point.most_updates.updates == max(updates for updates, _ in within), case
            assert point.least_average.pair_sum == min(pairs for _, pairs in within), case
            assert faults(instance, point.least_average) == (), case


def test_staleness_under_the_least_is_infeasible_and_certified() -> None:
    case = EXAMPLE | {"d_u": [9, 9, 40, 40]}
    instance = Instance.from_json(case)
    least = allocate(instance).max_staleness
    assert least is not None
    assert least > 0
    refused = allocate_most_updates(instance, least - 1)
    assert refused.status is Status.INFEASIBLE
    assert refused.reason == f"a staleness of {least - 1} cannot be kept: the least is {least}"
    assert faults(instance, refused) == ()


def test_one_learner_has_no_staleness() -> None:
    case = EXAMPLE | {"time": {"C2": [3], "C1": [2], "C0": [1], "T": 100}, "d": 7, "d_u": 10}
    found = allocate(Instance.from_json(case))
    assert found.tau is not None
    assert (found.max_staleness, found.pair_sum, found.average_staleness) == (0, 0, 0.0)
    assert found.tau.tolist() == [(100 - 1 - 2 * 7) // (3 * 7)]


def test_update_that_ends_exactly_at_t_counts() -> None:
    case = EXAMPLE | {"time": {"C2": [5], "C1": [3], "C0": [4], "T": 4 + 3 * 6 + 5 * 6 * 2}, "d": 6}
    exactly = allocate(Instance.from_json(case))
    case["time"]["T"] -= 1
    shortly = allocate(Instance.from_json(case))
    assert exactly.tau is not None
    assert shortly.tau is not None
    assert (exactly.tau.tolist(), shortly.tau.tolist()) == ([2], [1])


@pytest.mark.parametrize(("allowed", "status"), [(0, Status.OPTIMAL), (1, Status.INFEASIBLE)])
def test_learner_without_time_for_an_update_is_infeasible_only_if_it_must_make_one(
    allowed: int, status: Status
) -> None:
    case = EXAMPLE | {"time": {"C2": [90, 1], "C1": [5, 1], "C0": [1, 1], "T": 50}, "d": 4, "tau_min": allowed}
    found = allocate(Instance.from_json(case))
    assert found.status is status
    if status is Status.INFEASIBLE:
        assert found.reason == "learner 1 of 2: with 1 updates only 0 samples fit into T = 50, fewer than d_l = 1"


def test_equal_halves_decide_whether_learners_of_two_choices_meet_the_sum() -> None:
    """PARTITION as an allocation: x = 1 (one update) or 1 + w (none) for the numbers w."""
    for weights, possible in (([3, 1, 1, 2, 2, 1], True), ([3, 3, 1, 1], True), ([5, 1, 1, 1], False)):
        case = {
            "time": {"C2": weights, "C1": [1] * len(weights), "C0": [9 - w for w in weights], "T": 10},
            "energy": None,
            "d": len(weights) + sum(weights) // 2,
            "d_l": 1,
            "d_u": [1 + weight for weight in weights],
            "tau_min": 0,
        }
        meets = [[x for x in range(1, 2 + w) if any(w * tau * x + x == 1 + w for tau in (0, 1, 2))] for w in weights]
        assert all(set(own) == {1, 1 + w} for own, w in zip(meets, weights, strict=True))
        sums = {0}
        for own in meets:
            sums = {total + x for total in sums for x in own}
        assert (case["d"] in sums) is possible


def million(samples_each: int, seed: int = 1) -> Instance:
    """A million learners of two speeds on links of their own, T = 15 s in nanoseconds."""
    count = 1_000_000
    generator = np.random.default_rng(seed)
    rate = generator.uniform(5e7, 1.2e8, count)
    return Instance(
        TimeModel(
            (1_123_736e9 / generator.choice([2.4e9, 0.7e9], count)).astype(np.int64),
            (6_272e9 / rate).astype(np.int64) + 1,
            (2 * 8_974_080e9 / rate).astype(np.int64),
            15 * 10**9,
        ),
        None,
        samples_each * count,
        np.ones(count, dtype=np.int64),
        np.full(count, samples_each * count),
        1,
    )


@pytest.mark.parametrize("samples_each", [3000, 60])
def test_a_million_learners_are_allocated_and_the_certificate_holds(samples_each: int) -> None:
    instance = million(samples_each)
    found = allocate(instance)
    assert found.status is Status.OPTIMAL
    assert found.max_staleness == {3000: 0, 60: 5}[samples_each]
    certificate = found.certificate
    assert isinstance(certificate, Certificate)
    assert faults(instance, replace(found, certificate=replace(certificate, average=()))) == ()


def test_sums_beyond_int64_are_exact() -> None:
    count, most = 50, (1 << 61) - 1
    ones = np.ones(count, dtype=np.int64)
    time = TimeModel(ones, ones, ones, most)
    instance = Instance(time, None, count * (1 << 60) + 12_345, ones, np.full(count, most), 0)
    found = allocate(instance)
    assert found.d is not None
    assert sum(found.d.tolist()) == instance.d
    assert faults(instance, found) == ()


def test_staleness_with_too_many_windows_is_refused_in_one_line() -> None:
    case = {"time": {"C2": [1, 2], "C1": [0, 0], "C0": [0, 0], "T": 10**15}, "energy": None, "d": 9, "d_l": 1, "d_u": 8}
    with pytest.raises(InvalidInstance, match="choose among too many updates: take less"):
        allocate_most_updates(Instance.from_json(case | {"tau_min": 0}), 10**15)


def test_without_room_for_a_table_the_staleness_is_the_least_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.allocation.steps.TABLE_LIMIT", 0)
    instance = Instance.from_json(EXAMPLE | {"d_u": [12, 40, 40, 40]})
    found = allocate(instance)
    assert found.max_staleness == 8
    assert faults(instance, found) == ()


def test_extreme_updates_do_not_overflow() -> None:
    t = (1 << 61) - 1
    case = {
        "time": {"C2": [1, t // 3, 7], "C1": [0, 1, t // 5], "C0": [0, 1, 2], "T": t},
        "energy": {"G2": [0, 1, 1], "G1": [0, 0, 1], "G0": [0, 0, 0], "Emax": [0, t, t]},
        "d": 5,
        "d_l": 1,
        "d_u": [3, 2, 2],
        "tau_min": 0,
    }
    instance = Instance.from_json(case)
    found = allocate(instance)
    assert faults(instance, found) == ()


def spoiled(found: Allocation) -> dict[str, Allocation]:
    """An allocation with one thing wrong each time."""
    assert found.d is not None
    assert found.tau is not None
    assert isinstance(found.certificate, Certificate)
    narrowest = found.certificate.narrowest
    more, fewer = found.d.copy(), found.tau.copy()
    more[0] += 1
    fewer[1] -= 1
    return {
        "samples are given out": replace(found, d=more),
        "idles": replace(found, tau=fewer),
        "cannot make": replace(found, tau=fewer + 2),
        "optimal without": replace(found, certificate=None),
        "can make": replace(
            found, certificate=replace(found.certificate, narrowest=replace(narrowest, first=narrowest.first - 1))
        ),
        "nothing stands against": replace(
            found, certificate=replace(found.certificate, narrowest=replace(narrowest, starts=()))
        ),
        "bound": replace(
            found,
            certificate=replace(
                found.certificate,
                average=tuple(replace(one, pair_sum=one.pair_sum + 1) for one in found.certificate.average),
            ),
        ),
    }


@pytest.mark.parametrize(
    "fault",
    ["samples are given out", "idles", "cannot make", "optimal without", "can make", "nothing stands against", "bound"],
)
def test_check_names_what_is_wrong_with_a_spoiled_result(fault: str) -> None:
    instance = Instance.from_json(EXAMPLE)
    assert any(fault in found for found in faults(instance, spoiled(allocate(instance))[fault]))


def test_check_refuses_infeasibility_that_is_none() -> None:
    instance = Instance.from_json(EXAMPLE)
    for learner in (None, 2):
        assert faults(instance, Allocation(Status.INFEASIBLE, certificate=Infeasible(learner)))


def test_narrower_window_than_the_least_is_blocked_by_named_learners() -> None:
    chance = seeded(5, "allocation")
    blocked = 0
    while blocked < 20:
        case = cases.instance(chance)
        instance = Instance.from_json(case)
        found = allocate(instance)
        if not isinstance(found.certificate, Certificate) or not found.certificate.narrowest.narrower:
            continue
        blocked += 1
        narrowest = found.certificate.narrowest
        spoilt = replace(found, certificate=replace(found.certificate, narrowest=replace(narrowest, narrower=())))
        assert any("nothing stands against" in fault for fault in faults(instance, spoilt)), case


def test_certificate_asks_nothing_of_windows_under_tau_min() -> None:
    case = {
        "time": {"C2": [1, 1], "C1": [0, 0], "C0": [0, 0], "T": 40},
        "energy": {"G2": [0, 2], "G1": [0, 2], "G0": [0, 1], "Emax": [0, 7]},
        "d": 31,
        "d_l": 1,
        "d_u": [30, 3],
        "tau_min": 1,
    }
    instance = Instance.from_json(case)
    found = allocate(instance)
    assert found.max_staleness == 1
    assert faults(instance, found) == ()


def test_average_beyond_the_search_is_reported_with_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.allocation.average.WORK_LIMIT", 0)
    chance = seeded(6, "allocation")
    unproved = 0
    for _ in range(400):
        case = cases.instance(chance)
        prepared = reach(Instance.from_json(case))
        if not isinstance(prepared, Reach):
            continue
        found = core(prepared)
        staleness = least_staleness(found)
        result = least_average(prepared, found, staleness)
        least = cases.best(case)[staleness][1]
        assert min(bound.pair_sum for bound in result.bounds) <= least <= result.pair_sum
        assert result.pair_sum == least or not result.exact, case
        unproved += not result.exact
    assert unproved > 0
