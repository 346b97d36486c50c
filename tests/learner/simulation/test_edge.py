"""Simulated edge servers keep their root samples to themselves, and publish what the rule needs."""

import numpy as np
import pytest

from learner.attacks import Negated, TargetClass
from learner.contribution import REST, ROOT, Needs
from learner.data import Split
from learner.data.digits import load
from learner.errors import InvalidScenario
from learner.fixedpoint import Model
from learner.objective import Objective
from learner.simulation.edge import EdgeServers, hold_out
from learner.simulation.scenario import Edge
from learner.training import one_thread
from tests.learner.simulation.small import SMALL, small

MODEL: Model = np.random.default_rng(1).integers(-1_000_000, 1_000_000, 650).astype(np.int32)


@pytest.fixture(scope="module")
def split() -> Split:
    return load(3)


def test_root_samples_are_nobody_elses(split: Split) -> None:
    left, roots = hold_out(SMALL, split.train)
    assert [len(root) for root in roots] == [40, 40, 40]
    assert len(left) == len(split.train) - 120
    whole = np.concatenate([left.images, *(root.images for root in roots)])
    assert (np.sort(whole.sum(axis=1)) == np.sort(split.train.images.sum(axis=1))).all()


def test_more_root_samples_than_there_are_samples_are_refused(split: Split) -> None:
    with pytest.raises(InvalidScenario, match="root samples of"):
        hold_out(small(edge=Edge(servers=64, root_samples=23)), split.train)


@pytest.mark.parametrize(
    ("needs", "rows", "roots"),
    [
        (Needs(labels=True), 100, 0),
        (Needs(root=True), 1, 1),
        (Needs(newest_root=True), 1, 1),
        (Needs(labels=True, newest_root=True), 101, 1),
    ],
)
@pytest.mark.parametrize("buckets", [0, 64])
def test_each_server_publishes_what_the_rule_needs(
    split: Split, needs: Needs, rows: int, roots: int, buckets: int
) -> None:
    scenario = small(edge=Edge(servers=2, root_samples=100, sketch_buckets=buckets))
    _, own = hold_out(scenario, split.train)
    with one_thread():
        first, second = EdgeServers(scenario, needs, own, 100.0)(4, MODEL)
        again, _ = EdgeServers(scenario, needs, own, 100.0)(4, MODEL)
    assert len(first.labels) == rows
    assert first.labels.count(ROOT) == roots
    assert first.vectors.shape == (rows, buckets or 650)
    assert (first.vectors == again.vectors).all()
    assert (first.vectors != second.vectors).any()
    assert first.sketch == second.sketch  # one seed for all servers of a version


def test_the_first_servers_lie_and_the_others_do_not(split: Split) -> None:
    needs = Needs(labels=True, root=True)
    edge = Edge(servers=3, root_samples=60, lying=1)
    _, own = hold_out(small(edge=edge), split.train)
    with one_thread():
        truth = EdgeServers(small(edge=Edge(servers=3, root_samples=60)), needs, own, 60.0)(2, MODEL)
        told = EdgeServers(small(edge=edge), needs, own, 60.0)(2, MODEL)
        flipped = EdgeServers(
            small(edge=Edge(servers=3, root_samples=60, lying=2, lie=TargetClass(target=4))), needs, own, 60.0
        )(2, MODEL)
    assert (told[0].vectors == Negated().told(truth[0], np.random.default_rng(0)).vectors).all()
    assert all((told[at].vectors == truth[at].vectors).all() for at in (1, 2))
    assert {of for of, _ in flipped[1].labels} == {4, ROOT[0]}
    assert (flipped[2].vectors == truth[2].vectors).all()


def test_a_server_that_the_objective_leaves_out_publishes_no_row(split: Split) -> None:
    scenario = small(edge=Edge(servers=2, root_samples=100, objective=Objective(classes=(3,), edge_servers=(2,))))
    _, own = hold_out(scenario, split.train)
    with one_thread():
        first, second = EdgeServers(scenario, Needs(contrasts=True, newest_root=True), own, 100.0)(4, MODEL)
    assert first.labels == ()
    assert second.labels == ((3, 3), (REST, 3), ROOT)
