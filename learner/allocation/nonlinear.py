"""The paper's other route: its relaxed problem (equations 9 to 12) handed to a general non-linear solver, then rounded.

Over real u, l, d_k, tau_k: least u - l with l <= tau_k <= u, C2_k tau_k d_k + C1_k d_k + C0_k = T, sum of d_k = d, and
the bounds. The products tau_k d_k make it non-convex, so the solver's answer is a local optimum; Ipopt comes with
casadi, a package of the development group. Instances with bounded energy are refused: there a learner need not fill its
time, which equalities cannot say.
"""

import importlib
from typing import Any

import numpy as np

from learner.allocation.instance import Allocation, Instance, Status
from learner.allocation.reach import Shortage, reach
from learner.allocation.rounding import sharing
from learner.errors import InvalidInstance, MissingPackage

_QUIET = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False}


def ipopt(instance: Instance) -> Allocation:
    """Solve the relaxed problem by Ipopt from equal shares, round its samples, and fill everyone's time.

    Where Ipopt gives up, `reason` says why; its last samples are rounded all the same, and may be far from good.

    Raises:
        MissingPackage: casadi is not installed.
        InvalidInstance: the instance bounds energy.

    """
    try:
        casadi: Any = importlib.import_module("casadi")  # not typed: its generated stubs do not pass
    except ImportError as error:
        raise MissingPackage(package="casadi", needed_for="the route through Ipopt") from error
    if instance.energy is not None:
        raise InvalidInstance(reason="the route through Ipopt takes no bound of energy: leave energy out")
    found = reach(instance)
    if isinstance(found, Shortage):
        return Allocation(Status.INFEASIBLE, reason=found.reason)
    count, time = instance.learners, instance.time
    share = instance.d / count
    # samples in units of an equal share and time in units of T, so that all numbers are near 1
    c2 = (time.c2 * (share / time.t)).tolist()
    c1 = (time.c1 * (share / time.t)).tolist()
    c0 = (time.c0 / time.t).tolist()
    samples, updates = casadi.SX.sym("d", count), casadi.SX.sym("tau", count)
    most, least = casadi.SX.sym("u"), casadi.SX.sym("l")
    full_time = casadi.DM(c2) * updates * samples + casadi.DM(c1) * samples + casadi.DM(c0)
    problem = {
        "x": casadi.vertcat(samples, updates, most, least),
        "f": most - least,
        "g": casadi.vertcat(full_time, casadi.sum1(samples), most - updates, updates - least),
    }
    solver = casadi.nlpsol("allocation", "ipopt", problem, _QUIET)
    begin = [
        max((1 - fixed - slope) / product, instance.tau_min) for product, slope, fixed in zip(c2, c1, c0, strict=True)
    ]
    answer = solver(
        x0=[1.0] * count + begin + [max(begin), min(begin)],
        lbx=[*(instance.d_l / share).tolist(), *[float(instance.tau_min)] * count, 0.0, 0.0],
        ubx=[*(instance.d_u / share).tolist(), *[casadi.inf] * (count + 2)],
        lbg=[1.0] * count + [float(count)] + [0.0] * (2 * count),
        ubg=[1.0] * count + [float(count)] + [casadi.inf] * (2 * count),
    )
    stats = solver.stats()
    samples_found = np.nan_to_num(np.asarray(answer["x"], dtype=np.float64).ravel()[:count], nan=1.0) * share
    d = sharing(samples_found, found.least, found.most, found.d)
    reason = "" if stats["success"] else f"Ipopt gave up: {stats['return_status']}"
    return Allocation(Status.FEASIBLE, d, found.updates(d), reason)
