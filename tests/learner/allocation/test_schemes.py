"""The paper's own routes and what it compares with: what they promise, on its learners and on random instances."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.allocation import nonlinear
from learner.allocation.baselines import equal, synchronous
from learner.allocation.instance import Allocation, EnergyModel, Instance, Status, TimeModel
from learner.allocation.nonlinear import ipopt
from learner.allocation.relaxed import relax, suggest_and_improve
from learner.allocation.scenario import Scenario, generate
from learner.allocation.schemes import FILLING, SCHEMES
from learner.errors import InvalidInstance, MissingPackage

PLACES = [(learners, seconds) for learners in (5, 6, 10, 15, 20) for seconds in (7.5, 15.0)]
QUICK = sorted(set(SCHEMES) - {"ipopt"})


def paper(learners: int, seconds: float, seed: int = 1) -> Instance:
    return generate(Scenario(seconds=seconds), learners=learners, seed=seed)


def slack(instance: Instance, found: Allocation, more: int = 0) -> list[int]:
    """What is left of time, or of energy if that is less, when everyone makes `more` updates beyond its own."""
    assert found.d is not None
    assert found.tau is not None
    time, energy = instance.time, instance.energy
    left = []
    for k, (d, tau) in enumerate(zip(found.d.tolist(), found.tau.tolist(), strict=True)):
        spare = time.t - (int(time.c2[k]) * (tau + more) * d + int(time.c1[k]) * d + int(time.c0[k]))
        if energy is not None:
            spent = int(energy.g2[k]) * (tau + more) * d + int(energy.g1[k]) * d + int(energy.g0[k])
            spare = min(spare, int(energy.emax[k]) - spent)
        left.append(spare)
    return left


def check(instance: Instance, found: Allocation, name: str) -> None:
    """Whoever allocates keeps every bound; who fills the cycle leaves no time for another update."""
    assert found.d is not None
    assert found.tau is not None
    assert sum(found.d.tolist()) == instance.d
    assert (found.d >= instance.d_l).all()
    assert (found.d <= instance.d_u).all()
    assert (found.tau >= instance.tau_min).all()
    assert min(slack(instance, found)) >= 0
    if name in FILLING:
        assert max(slack(instance, found, more=1)) < 0


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    """Up to six learners with any speeds, bounds and energy, feasible or not."""
    count = draw(st.integers(1, 6))

    def numbers(low: int, high: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)), dtype=np.int64)

    d_l = numbers(1, 4)
    energy = EnergyModel(numbers(0, 9), numbers(0, 5), numbers(0, 5), numbers(20, 400)) if draw(st.booleans()) else None
    return Instance(
        time=TimeModel(numbers(1, 9), numbers(0, 5), numbers(0, 20), t=draw(st.integers(20, 400))),
        energy=energy,
        d=draw(st.integers(count, 12 * count)),
        d_l=d_l,
        d_u=d_l + numbers(0, 20),
        tau_min=draw(st.integers(0, 1)),
    )


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(("learners", "seconds"), PLACES)
def test_every_scheme_keeps_the_bounds_of_the_paper_s_learners_or_says_who_breaks_them(
    name: str, learners: int, seconds: float
) -> None:
    instance = paper(learners, seconds)
    found = SCHEMES[name](instance)
    if found.status is Status.INFEASIBLE:
        assert "learner" in found.reason
        assert name == "equal" or (learners, seconds) == (5, 7.5)
        return
    check(instance, found, name)


@pytest.mark.parametrize("name", QUICK)
@given(instance=instances())
def test_every_scheme_keeps_the_bounds_of_any_instance_or_says_why_it_cannot(name: str, instance: Instance) -> None:
    found = SCHEMES[name](instance)
    if found.status is Status.INFEASIBLE:
        assert found.reason
        return
    check(instance, found, name)


@given(instance=instances())
def test_nobody_who_fills_the_cycle_is_less_stale_than_the_exact_solver(instance: Instance) -> None:
    exact = SCHEMES["least"](instance)
    for name in ("sai", "equal"):
        found = SCHEMES[name](instance)
        if found.status is Status.INFEASIBLE:
            continue
        assert exact.status is Status.OPTIMAL
        assert exact.max_staleness is not None
        assert found.max_staleness is not None
        assert exact.max_staleness <= found.max_staleness


@given(instance=instances())
def test_suggest_and_improve_and_the_synchronous_scheme_find_something_whenever_there_is_something(
    instance: Instance,
) -> None:
    statuses = {name: SCHEMES[name](instance).status is Status.INFEASIBLE for name in ("least", "sai", "synchronous")}
    assert len(set(statuses.values())) == 1, statuses


@given(instance=instances())
def test_nobody_could_make_one_more_update_together_than_the_synchronous_scheme_finds(instance: Instance) -> None:
    found = synchronous(instance)
    if found.tau is None:
        return
    assert found.max_staleness == 0
    common = int(found.tau[0])
    most = 0
    for k in range(instance.learners):
        fitting = [
            x
            for x in range(int(instance.d_l[k]), int(instance.d_u[k]) + 1)
            if int(instance.time.c2[k]) * (common + 1) * x + int(instance.time.c1[k]) * x + int(instance.time.c0[k])
            <= instance.time.t
            and (
                instance.energy is None
                or int(instance.energy.g2[k]) * (common + 1) * x
                + int(instance.energy.g1[k]) * x
                + int(instance.energy.g0[k])
                <= instance.energy.emax[k]
            )
        ]
        if not fitting:
            return
        most += max(fitting)
    assert most < instance.d


def test_equal_shares_are_as_stale_as_the_paper_says() -> None:
    assert equal(paper(20, 7.5)).max_staleness == 4


def test_equal_shares_differ_by_one_at_most() -> None:
    d = equal(paper(17, 15.0)).d
    assert d is not None
    assert (int(d.min()), int(d.max()), int(d.sum())) == (3_529, 3_530, 60_000)


def test_without_bounds_in_the_way_the_relaxed_learners_all_make_the_same_updates() -> None:
    relaxed = relax(paper(20, 7.5))
    assert relaxed.staleness == pytest.approx(0, abs=1e-9)
    assert relaxed.updates == pytest.approx([relaxed.tau] * 20)
    assert relaxed.d.sum() == pytest.approx(60_000)
    assert relaxed.tau == pytest.approx(3.407, abs=0.001)


def test_a_learner_held_at_its_most_samples_makes_more_updates_than_the_others() -> None:
    instance = paper(4, 15.0)
    held = Instance(
        instance.time, None, instance.d, instance.d_l, np.array([9_000, 60_000, 60_000, 60_000]), instance.tau_min
    )
    relaxed = relax(held)
    assert relaxed.d[0] == 9_000
    assert relaxed.updates[0] > relaxed.tau
    assert relaxed.updates[1:] == pytest.approx([relaxed.tau] * 3)
    assert relaxed.staleness == pytest.approx(relaxed.updates[0] - relaxed.tau)


def test_faster_learners_get_more_samples() -> None:
    for scheme in (synchronous, suggest_and_improve):
        d = scheme(paper(10, 15.0)).d
        assert d is not None
        assert all(fast > slow for fast, slow in pairwise(d.tolist()[:2]))


def test_ipopt_keeps_the_bounds_and_is_never_less_stale_than_the_exact_solver() -> None:
    pytest.importorskip("casadi")
    for learners, seconds in PLACES[1:]:
        instance = paper(learners, seconds)
        found, exact = ipopt(instance), SCHEMES["least"](instance)
        check(instance, found, "ipopt")
        assert found.max_staleness is not None
        assert exact.max_staleness is not None
        assert exact.max_staleness <= found.max_staleness


def test_without_casadi_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(nonlinear.importlib, "import_module", missing)
    with pytest.raises(MissingPackage, match="needs casadi: run scripts/setup --dev, or pip install casadi"):
        ipopt(paper(10, 15.0))


def test_ipopt_refuses_bounded_energy() -> None:
    pytest.importorskip("casadi")
    with pytest.raises(InvalidInstance, match="no bound of energy"):
        ipopt(generate(Scenario(energy_joules=10.0), learners=10, seed=1))
