"""The published rules beside plain oracles, through a whole round."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from learner.contribution import ROOT
from learner.contribution.foolsgold import logit
from learner.rewards import STEP_TOTAL
from tests.learner.contribution import oracles
from tests.learner.contribution.worlds import NUMBER, World, drawn

PPB = 10**9
SEEDS = st.integers(0, 10_000)
SMALL = st.lists(st.lists(st.integers(-4, 4), min_size=3, max_size=3), min_size=1, max_size=7)
"""Small numbers: ties, copies, zeros and right angles are common."""


def of(updates: list[list[int]]) -> World:
    return World(updates=updates, bases=[NUMBER - 1] * len(updates), clients=list(range(len(updates))))


def thetas(world: World, rule: str) -> tuple[int, ...]:
    """The rule's thetas, those of a round that is not paid included."""
    result = world.scored(rule)
    return result.thetas


@given(SEEDS)
def test_leave_one_out_is_the_cosine_to_the_bounded_others(seed: int) -> None:
    world = drawn(seed)
    assert thetas(world, "leave-one-out") == pytest.approx(
        [PPB * value for value in oracles.leave_one_out(world.updates)], abs=20
    )


@given(SMALL)
def test_multi_krum_accepts_whom_the_distances_say(updates: list[list[int]]) -> None:
    expected = tuple(PPB * taken for taken in oracles.multi_krum(updates))
    assert thetas(of(updates), "multi-krum") == expected


@given(SMALL)
def test_trimmed_mean_weighs_by_the_coordinates_that_stay(updates: list[list[int]]) -> None:
    expected = [int(PPB * share) for share in oracles.trimmed_mean(updates)]
    assert list(thetas(of(updates), "trimmed-mean")) == expected


@given(SEEDS)
def test_geometric_median_weighs_as_weiszfeld_does(seed: int) -> None:
    world = drawn(seed)
    expected = [PPB * value for value in oracles.geometric_median(world.updates)]
    assert thetas(world, "geometric-median") == pytest.approx(expected, rel=1e-5)


@given(SMALL)
def test_dbscan_takes_who_is_connected_with_the_sum(updates: list[list[int]]) -> None:
    connected = oracles.dbscan(updates)
    whole = np.sum(np.array(updates, dtype=float), axis=0)
    for theta, row, taken in zip(thetas(of(updates), "dbscan"), updates, connected, strict=True):
        cosine = oracles.cosine(np.array(row, dtype=float), whole)
        assert theta == pytest.approx(PPB * cosine if taken and cosine > 0 else 0, abs=20)


@given(SEEDS)
def test_dbscan_finds_scikit_learns_cluster_of_the_sum(seed: int) -> None:
    world = drawn(seed, count=8)
    points = np.array([*world.updates, np.sum(world.updates, axis=0)], dtype=float)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    found = DBSCAN(eps=0.5, min_samples=3, metric="precomputed").fit(np.clip(1 - unit @ unit.T, 0, 2))
    if len(points) - 1 not in found.core_sample_indices_:
        return  # a border point of two clusters belongs to both here, to the first there
    core = set(found.core_sample_indices_.tolist())
    for at, theta in enumerate(thetas(world, "dbscan")):
        if at in core:
            assert (theta > 0) == (found.labels_[at] == found.labels_[-1])


@given(SEEDS)
def test_fltrust_is_the_median_cosine_to_the_root_updates(seed: int) -> None:
    world = drawn(seed)
    roots = [[table[ROOT] for table in world.tables[base]] for base in world.bases]
    assert thetas(world, "fltrust") == pytest.approx([PPB * v for v in oracles.fltrust(world.updates, roots)], abs=20)


def test_fltrust_cuts_the_step_to_the_root_updates_length() -> None:
    tables = {NUMBER - 1: [{ROOT: [30, 40]}, {ROOT: [60, 80]}, {ROOT: [3, 4]}]}
    world = World(updates=[[600, 800], [6, 8]], bases=[NUMBER - 1] * 2, clients=[1, 2], tables=tables)
    result = world.scored("fltrust")
    assert result.thetas == (PPB, PPB)
    # of lengths 5, 50 and 100 the median cuts the first, of length 1,000, to a twentieth
    assert result.weights == (STEP_TOTAL // 2 // 20, STEP_TOTAL // 2)


def test_a_lying_minority_of_edge_servers_moves_fltrust_no_further_than_an_honest_one() -> None:
    honest = [{ROOT: [10, 1]}, {ROOT: [10, -1]}]
    world = World(updates=[[10, 0], [-10, 0]], bases=[NUMBER - 1] * 2, clients=[1, 2])
    for lie in ([-10, 0], [0, 10], [30_000, 0]):
        tables = {NUMBER - 1: [*honest, {ROOT: lie}]}
        first, second = thetas(
            World(updates=world.updates, bases=world.bases, clients=world.clients, tables=tables), "fltrust"
        )
        assert first == pytest.approx(PPB * 10 / 101**0.5, abs=2)
        assert second == 0


@given(st.lists(SEEDS, min_size=1, max_size=5, unique=True))
def test_cgsv_remembers_cosines_to_the_normalised_sum(seeds: list[int]) -> None:
    history: dict[int, tuple[int, ...]] = {}
    told = []
    found: tuple[int, ...] = ()
    for seed in seeds:
        world = drawn(seed)
        result = World(updates=world.updates, bases=world.bases, clients=world.clients, history=history).scored("cgsv")
        history, found = dict(result.history), result.thetas
        told.append((world.clients, world.updates))
    assert found == pytest.approx([PPB * value for value in oracles.cgsv(told)], abs=200)


@given(st.lists(SEEDS, min_size=1, max_size=4, unique=True))
def test_foolsgold_weighs_by_the_likeness_of_summed_updates(seeds: list[int]) -> None:
    sums: dict[int, list[int]] = {}
    plain: dict[int, list[int]] = {}
    for seed in seeds:
        world = drawn(seed)
        result = World(updates=world.updates, bases=world.bases, clients=world.clients, sums=sums).scored("foolsgold")
        sums = {client: vector.tolist() for client, vector in result.sums.items()}
        for client, update in zip(world.clients, world.updates, strict=True):
            before = plain.get(client, [0] * len(update))
            plain[client] = [a + b for a, b in zip(before, update, strict=True)]
        assert sums == plain
        expected = [PPB * value for value in oracles.foolsgold(world.clients, plain)]
        # the logarithm is steep where weights are few ppb apart from a limit
        assert result.thetas == pytest.approx(expected, abs=100)


@given(st.fractions(Fraction(5, 16), Fraction(11, 16)))
def test_foolsgolds_logarithm_is_within_ten_parts_per_billion(share: Fraction) -> None:
    weight = int(PPB * share)
    expected = np.clip(np.log(weight / (PPB - weight)) + 0.5, 0, 1)
    assert logit(weight) == pytest.approx(PPB * expected, abs=12)
