"""Task allocation handed to SCIP: over the steps of the learners' staircases, and literally, with products."""

from dataclasses import dataclass
from typing import Any

import pyscipopt

Staircases = list[list[tuple[int, int, int]]]
"""For each learner its steps: updates, least and most samples."""


@dataclass(frozen=True)
class Answer:
    """What SCIP found within its time: `proved` if it also closed the gap."""

    proved: bool
    infeasible: bool
    staleness: int | None
    pair_sum: int | None


def over_steps(stairs: Staircases, d: int, *, seconds: float, within: int | None = None) -> Answer:
    """Choose a step for each learner: least staleness, or, `within` a staleness, the least pair sum."""
    model = _quiet(seconds)
    given, updates = [], []
    for own in stairs:
        chosen = [model.addVar(vtype="B") for _ in own]
        model.addCons(pyscipopt.quicksum(chosen) == 1)
        given.append(model.addVar(vtype="I", lb=own[0][1] if len(own) == 1 else 0))
        steps = list(zip(chosen, own, strict=True))
        model.addCons(given[-1] >= pyscipopt.quicksum(one * low for one, (_, low, _) in steps))
        model.addCons(given[-1] <= pyscipopt.quicksum(one * high for one, (_, _, high) in steps))
        updates.append(pyscipopt.quicksum(one * tau for one, (tau, _, _) in steps))
    model.addCons(pyscipopt.quicksum(given) == d)
    most, least = model.addVar(vtype="I"), model.addVar(vtype="I")
    for tau in updates:
        model.addCons(tau <= most)
        model.addCons(tau >= least)
    if within is None:
        model.setObjective(most - least, "minimize")
    else:
        model.addCons(most - least <= within)
        apart = []
        for at, one in enumerate(updates):
            for other in updates[:at]:
                apart.append(model.addVar(lb=0))
                model.addCons(apart[-1] >= one - other)
                model.addCons(apart[-1] >= other - one)
        model.setObjective(pyscipopt.quicksum(apart), "minimize")
    model.optimize()
    return _answer(model, updates)


def literally(case: dict[str, Any], *, seconds: float) -> Answer:
    """Solve the paper's model with integer d and tau and full time: t_k <= T, and T < t_k with one update more."""
    model = _quiet(seconds)
    time = case["time"]
    count = len(time["C2"])
    given = [model.addVar(vtype="I", lb=case["d_l"][k], ub=case["d_u"][k]) for k in range(count)]
    updates = [model.addVar(vtype="I", lb=case["tau_min"]) for _ in range(count)]
    most, least = model.addVar(vtype="I"), model.addVar(vtype="I")
    for k in range(count):
        used = time["C2"][k] * updates[k] * given[k] + time["C1"][k] * given[k] + time["C0"][k]
        model.addCons(used <= time["T"])
        model.addCons(used + time["C2"][k] * given[k] >= time["T"] + 1)
        model.addCons(updates[k] <= most)
        model.addCons(updates[k] >= least)
    model.addCons(pyscipopt.quicksum(given) == case["d"])
    model.setObjective(most - least, "minimize")
    model.optimize()
    return _answer(model, updates)


def _quiet(seconds: float) -> Any:
    model = pyscipopt.Model()
    model.hideOutput()
    model.setParam("limits/time", seconds)
    model.setParam("parallel/maxnthreads", 1)
    return model


def _answer(model: Any, updates: list[Any]) -> Answer:
    status = model.getStatus()
    if model.getNSols() == 0:
        return Answer(status == "infeasible", status == "infeasible", None, None)
    taus = [round(model.getVal(tau)) for tau in updates]
    pairs = sum(abs(one - other) for at, one in enumerate(taus) for other in taus[:at])
    return Answer(status == "optimal", infeasible=False, staleness=max(taus) - min(taus), pair_sum=pairs)
