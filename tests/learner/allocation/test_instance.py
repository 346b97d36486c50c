"""Instances are read strictly: what is wrong is named with the learner and the bound."""

import json

import pytest

from learner.allocation.exact import allocate
from learner.allocation.instance import Instance, Status
from learner.errors import InvalidInstance
from merit.chance import seeded
from tests.learner.allocation import cases
from tests.learner.allocation.test_exact import EXAMPLE

FREE = {"G2": [0, 0, 0, 0], "G1": [0, 0, 0, 0], "G0": [0, 0, 0, 0], "Emax": [0, 0, 0, 0]}


def changed(where: str, value: object) -> dict[str, object]:
    """The example with one value replaced; `where` is a path such as time.C2.1."""
    case = json.loads(json.dumps(EXAMPLE | {"energy": FREE}))
    *path, last = where.split(".")
    place = case
    for step in path:
        place = place[step]
    place[int(last) if isinstance(place, list) else last] = value
    return case


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        ("time.C2.1", 0, "time.C2 of learner 2 of 4 is 0: choose 1 to"),
        ("time.C2.1", -3, "time.C2 of learner 2 of 4 is -3: choose 1 to"),
        ("time.C1.0", -1, "time.C1 of learner 1 of 4 is -1: choose 0 to"),
        ("time.C0.3", -1, "time.C0 of learner 4 of 4 is -1: choose 0 to"),
        ("energy.G2.2", -1, "energy.G2 of learner 3 of 4 is -1"),
        ("energy.Emax.2", -1, "energy.Emax of learner 3 of 4 is -1"),
        (
            "time.C2.2",
            10**30,
            "time.C2 of learner 3 of 4 is 1000000000000000000000000000000: choose an integer below 2^61",
        ),
        ("time.C2.2", 1.5, "time.C2 of learner 3 of 4 is 1.5"),
        ("time.C2.2", True, "time.C2 of learner 3 of 4 is True"),
        ("time.C2", 7, "time.C2 must be a list"),
        ("time.C1", [1, 2, 3], "time.C1 has 3 numbers for 4 learners"),
        ("time.T", 1 << 61, "choose a unit in which it stays below 2^61"),
        ("time.T", "15", "time.T must be an integer, not '15'"),
        ("d", None, "d must be an integer, not None"),
        ("d_l", 0, "d_l of learner 1 of 4 is 0: choose 1 to"),
        ("d_u", [9, 9, -1, 9], "d_u of learner 3 of 4 is -1"),
        ("tau_min", 2, "tau_min is 2: choose 0 or 1"),
        ("time", [], "time must be a table"),
        ("energy", 3, "energy must be a table"),
        ("speed", 3, "unknown key speed: there are time, energy, d, d_l, d_u, tau_min"),
        ("time.C3", [], "unknown key time.C3"),
    ],
)
def test_wrong_number_is_refused_by_name(where: str, value: object, told: str) -> None:
    with pytest.raises(InvalidInstance, match=r"^allocation refused: ") as refused:
        Instance.from_json(changed(where, value))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["time", "d", "d_l", "d_u", "tau_min"])
def test_missing_key_is_named(key: str) -> None:
    with pytest.raises(InvalidInstance, match=f"{key} is missing"):
        Instance.from_json({name: value for name, value in EXAMPLE.items() if name != key})


def test_no_learners_are_refused() -> None:
    with pytest.raises(InvalidInstance, match="there are no learners"):
        Instance.from_json(EXAMPLE | {"time": {"C2": [], "C1": [], "C0": [], "T": 1}})


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        ("d", 3, "d = 3 cannot be reached: the lower bounds d_l sum to 4"),
        ("d", -1, "d = -1 cannot be reached"),
        ("d", 10**40, "all learners together take"),
        ("d", 161, "d = 161 cannot be reached: all learners together take"),
        ("d_l", [1, 41, 1, 1], "learner 2 of 4: d_l = 41 exceeds d_u = 40"),
        ("time.T", 1500, "learner 3 of 4: its fixed time C0 = 1500 leaves nothing of T = 1500"),
        ("time.T", -5, "learner 1 of 4: its fixed time C0 = 900 leaves nothing of T = -5"),
        ("time.C1.1", 80_000, "learner 2 of 4: with 1 updates only 0 samples fit into T = 75000, fewer than d_l = 1"),
        ("energy.G0.3", 1, "learner 4 of 4: its fixed energy G0 = 1 exceeds Emax = 0"),
        ("energy.G2.0", 1, "learner 1 of 4: with 1 updates only 0 samples fit into Emax = 0, fewer than d_l = 1"),
    ],
)
def test_what_cannot_be_done_names_the_learner_and_the_bound(where: str, value: object, told: str) -> None:
    found = allocate(Instance.from_json(changed(where, value)))
    assert found.status is Status.INFEASIBLE
    assert told in found.reason
    assert (found.d, found.tau, found.max_staleness, found.pair_sum, found.average_staleness) == (None,) * 5


def test_energy_that_costs_nothing_bounds_nothing() -> None:
    free = allocate(Instance.from_json(EXAMPLE | {"energy": FREE}))
    assert free.tau is not None
    assert free.tau.tolist() == allocate(Instance.from_json(EXAMPLE)).tau.tolist()  # type: ignore[union-attr]


def test_json_form_comes_back_as_it_was_read() -> None:
    chance = seeded(4, "allocation")
    for _ in range(50):
        case = cases.instance(chance)
        assert Instance.from_json(case).to_json() == case
