"""Fifty instances larger than brute force can do, against optima that SCIP proves."""

from collections import Counter
from itertools import groupby
from random import Random  # noqa: TID251 - the type only

import pytest

from learner.allocation.exact import allocate
from learner.allocation.instance import Instance, Status
from merit.chance import seeded
from tests.learner.allocation import cases

pytest.importorskip("pyscipopt")

from tests.learner.allocation import scip


def larger(chance: Random) -> cases.Document:
    """Five to twelve learners with up to forty samples each, of two speeds as in the paper or of any."""
    count = chance.randint(5, 12)
    t = chance.choice([600, 3_000, 20_000])
    speeds = [chance.choice([3, 10]) if chance.random() < 0.5 else chance.randint(2, 14) for _ in range(count)]
    d_l = [chance.randint(1, 4) for _ in range(count)]
    d_u = [least + chance.randint(3, 36) for least in d_l]
    fewest, most = sum(d_l), sum(d_u)
    return {
        "time": {
            "C2": speeds,
            "C1": [chance.randint(0, 5) for _ in range(count)],
            "C0": [chance.randint(0, t // 8) for _ in range(count)],
            "T": t,
        },
        "energy": None
        if chance.random() < 0.6
        else {
            "G2": [chance.randint(0, 6) for _ in range(count)],
            "G1": [chance.randint(0, 3) for _ in range(count)],
            "G0": [chance.randint(0, 5) for _ in range(count)],
            "Emax": [chance.randint(t // 6, t) for _ in range(count)],
        },
        "d": chance.randint(fewest, (fewest + 2 * most) // 3),
        "d_l": d_l,
        "d_u": d_u,
        "tau_min": chance.randint(0, 1),
    }


def steps(case: cases.Document) -> scip.Staircases:
    found = []
    for own in cases.staircases(case):
        runs = [(tau, list(samples)) for tau, samples in groupby(own, key=lambda one, own=own: own[one])]
        found.append([(tau, samples[0], samples[-1]) for tau, samples in runs])
    return found


@pytest.mark.slow
def test_fifty_larger_instances_have_the_optima_that_scip_proves() -> None:
    chance = seeded(1, "allocation", "scip")
    met: Counter[str] = Counter()
    while met["compared"] < 50:
        case = larger(chance)
        found = allocate(Instance.from_json(case))
        stairs = steps(case)
        if not all(stairs):
            assert found.status is Status.INFEASIBLE, case
            continue
        theirs = scip.over_steps(stairs, case["d"], seconds=20)
        if not theirs.proved:
            met["not proved"] += 1
            continue
        assert (found.status is Status.INFEASIBLE) == theirs.infeasible, case
        assert found.max_staleness == theirs.staleness, case
        met["compared"] += 1
        if theirs.staleness is not None and len(stairs) <= 8:
            average = scip.over_steps(stairs, case["d"], seconds=5, within=theirs.staleness)
            if average.proved:
                assert found.pair_sum == average.pair_sum, case
                met["average"] += 1
    assert met["not proved"] <= 25
    assert met["average"] >= 5
