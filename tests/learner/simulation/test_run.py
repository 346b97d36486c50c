"""A simulated run repeats itself, agrees with the ledger's own code, and time and attackers do what they should."""

from typing import Any

import numpy as np
import pytest

from learner.attacks import (
    BackDoor,
    Copy,
    GatePassing,
    Gaussian,
    Insider,
    NormInflation,
    Planted,
    PublishedReferences,
    SignFlip,
)
from learner.contribution import names
from learner.data import Split
from learner.data.digits import load
from learner.errors import InvalidScenario, InvalidTerms
from learner.objective import Objective
from learner.rewards import rewards, round_reward
from learner.rounds import compute
from learner.simulation.ledger import Round
from learner.simulation.population import Role, population
from learner.simulation.run import Evaluated, Event, Finished, Started, simulate
from learner.simulation.scenario import (
    IID,
    Asynchronous,
    Edge,
    LogNormal,
    Mobility,
    Outliers,
    Rules,
    Scenario,
    Synchronous,
    Training,
)
from learner.simulation.summary import Summary, summarise
from learner.training import one_thread
from tests.learner.rounds import ask_oracle, in_plain_integers
from tests.learner.simulation.small import small


@pytest.fixture(scope="module")
def split() -> Split:
    return load(3)


def run(scenario: Scenario, split: Split) -> list[Event]:
    with one_thread():
        return list(simulate(scenario, split))


def rounds(events: list[Event]) -> list[Round]:
    return [event for event in events if isinstance(event, Round)]


def roles(events: list[Event]) -> tuple[Role, ...]:
    return next(event.roles for event in events if isinstance(event, Started))


def finished(events: list[Event]) -> Finished:
    return next(event for event in events if isinstance(event, Finished))


def told(events: list[Event]) -> list[Any]:
    """What can be compared of events."""
    return [
        (event.number, event.at_us, event.result.thetas, event.rewards_wei, event.result.model.tobytes())
        if isinstance(event, Round)
        else event
        for event in events
    ]


SERVERS = [Asynchronous(phi=4, concurrency=6), Asynchronous(phi=4, concurrency=0), Synchronous(phi=4)]


@pytest.mark.parametrize("server", SERVERS, ids=str)
def test_the_same_seed_gives_the_same_run_and_another_seed_another(server: Any, split: Split) -> None:
    scenario = small(server=server, attack=Gaussian(), mobility=Mobility(connected_seconds=3.0, away_seconds=1.0))
    first = told(run(scenario, split))
    assert first == told(run(scenario, split))
    assert first != told(run(small(server=server, attack=Gaussian(), seed=4), split))


@pytest.mark.parametrize("scoring", names(1))
def test_every_round_replays_to_the_same_bits_under_every_rule(scoring: str, split: Split) -> None:
    decided = rounds(run(small(scoring, attack=SignFlip(), rounds=3), split))
    assert [one.number for one in decided] == [1, 2, 3]
    for one in decided:
        again = compute(one.inputs)
        assert (again.thetas, again.weights, again.outcome) == (
            one.result.thetas,
            one.result.weights,
            one.result.outcome,
        )
        assert again.model.tobytes() == one.result.model.tobytes()
        pot = round_reward(10**18, len(one.records), 4)
        assert one.rewards_wei == rewards(pot, again.thetas)
        assert sum(one.rewards_wei) == (pot if again.paid else 0)
    assert all((decided[at].inputs.current == decided[at - 1].result.model).all() for at in (1, 2))


def test_a_slow_second_implementation_finds_the_same_rounds(split: Split) -> None:
    for one in rounds(run(small("cosine", rounds=2), split)):
        assert in_plain_integers(one.result) == ask_oracle(one.inputs)


def test_a_federation_learns(split: Split) -> None:
    scenario = small(rounds=25, partition=IID(), training=Training(epochs=4, batch_size=10, learning_rate=0.2))
    accuracies = [event.accuracy for event in run(scenario, split) if isinstance(event, Evaluated)]
    assert accuracies[0] < 0.4
    assert accuracies[-1] > 0.85
    assert len(accuracies) == 1 + 25 // 3 + 1  # before, after every third, and at the end


def test_asynchronous_rounds_take_stale_updates_in_order_of_arrival(split: Split) -> None:
    decided = rounds(run(small(rounds=12), split))
    for one in decided:
        assert len(one.records) == 4
        arrivals = [record.at_us for record in one.records]
        assert arrivals == sorted(arrivals)
        assert one.at_us == arrivals[-1]
        assert all(record.base < one.number for record in one.records)
    assert any(record.base < one.number - 1 for one in decided for record in one.records)


def test_a_synchronous_round_waits_for_its_slowest_and_takes_no_stale_update(split: Split) -> None:
    decided = rounds(run(small(server=Synchronous(phi=4), rounds=12), split))
    assert all(record.base == one.number - 1 for one in decided for record in one.records)
    asynchronous = rounds(run(small(rounds=12), split))
    assert decided[-1].at_us > asynchronous[-1].at_us


def test_no_client_sends_twice_from_one_version(split: Split) -> None:
    events = run(small(server=Asynchronous(phi=4, concurrency=0), rounds=15), split)
    sent = [(record.client, record.base) for one in rounds(events) for record in one.records]
    assert len(set(sent)) == len(sent)
    assert "surplus" not in finished(events).refused


def test_a_round_that_waits_too_long_takes_what_is_there(split: Split) -> None:
    hasty = Asynchronous(phi=4, concurrency=6, max_wait_seconds=0.05)
    decided = rounds(run(small(server=hasty, rounds=10), split))
    assert min(len(one.records) for one in decided) < 4
    before = 0
    for one in decided:
        full = len(one.records) == 4
        assert full or one.at_us - before >= 50_000
        before = one.at_us


def test_updates_of_a_norm_beyond_the_bound_never_reach_a_round(split: Split) -> None:
    events = run(small(attack=NormInflation(factor=1e4), rounds=5), split)
    attackers = {client for client, role in enumerate(roles(events)) if role is Role.ATTACKER}
    refused = finished(events).refused
    assert refused.get("beyond-norm", 0) + refused.get("out-of-range", 0) > 0
    assert not any(record.client in attackers for one in rounds(events) for record in one.records)


def test_exact_copies_have_no_place_and_disguised_ones_have(split: Split) -> None:
    caught = finished(run(small(attack=Copy(), rounds=8), split)).refused
    assert caught.get("copy", 0) > 2
    assert "copy" not in finished(run(small(attack=Copy(noise=0.3), rounds=8), split)).refused


def test_attackers_who_stay_away_leave_the_others_data_and_roles_as_they_are(split: Split) -> None:
    with_them, without = (run(small(**more), split) for more in ({"attack": Gaussian()}, {"attackers_away": True}))
    assert roles(with_them) == roles(without)
    assert roles(without).count(Role.ATTACKER) == 3
    taken = {roles(without)[record.client] for one in rounds(without) for record in one.records}
    assert taken == {Role.PLAIN}
    assert Role.ATTACKER not in roles(run(small(rounds=1), split))


def test_an_attack_changes_nothing_for_honest_clients_data_and_speed(split: Split) -> None:
    clean, attacked = (rounds(run(small(rounds=1, attack=attack), split))[0] for attack in (None, Gaussian()))
    assert [(one.client, one.at_us) for one in clean.records] == [(one.client, one.at_us) for one in attacked.records]


def test_a_back_door_is_measured(split: Split) -> None:
    scenario = small(
        attack=BackDoor(target=0, share=0.8, boost=2.0),
        attackers=0.5,
        rounds=15,
        partition=IID(),
        training=Training(epochs=4, batch_size=10, learning_rate=0.2),
    )
    found = [event for event in run(scenario, split) if isinstance(event, Evaluated)]
    assert found[0].triggered is not None
    assert found[-1].triggered is not None
    assert found[-1].triggered > found[0].triggered + 0.3


def test_mobility_makes_updates_late(split: Split) -> None:
    still = rounds(run(small(rounds=10), split))
    moving = rounds(run(small(rounds=10, mobility=Mobility(connected_seconds=1.0, away_seconds=5.0)), split))
    assert moving[-1].at_us > still[-1].at_us


def test_outliers_are_what_they_are_called(split: Split) -> None:
    outliers = Outliers(rare=2, rare_label=4, small=2, small_share=0.1, slow=2, slow_factor=8.0)
    clients = population(small(outliers=outliers, partition=IID()), split.train)
    of = {role: [one for one in clients if one.role is role] for role in Role}
    assert {role: len(some) for role, some in of.items()} == {
        Role.PLAIN: 6,
        Role.RARE: 2,
        Role.SMALL: 2,
        Role.SLOW: 2,
        Role.ATTACKER: 0,
        Role.DEVIANT: 0,
    }
    assert {one.number for one in clients if (one.data.labels == 4).any()} == {one.number for one in of[Role.RARE]}
    assert max(len(one.data) for one in of[Role.SMALL]) < 0.2 * min(len(one.data) for one in of[Role.PLAIN])
    events = run(small(outliers=outliers, rounds=12, speed=LogNormal(clients=0.1)), split)
    cast = roles(events)
    slow = [record for one in rounds(events) for record in one.records if cast[record.client] is Role.SLOW]
    assert len(slow) < 0.5 * 2 / 12 * sum(len(one.records) for one in rounds(events))


IMPOSSIBLE = {
    "outliers of 9 honest": {"outliers": Outliers(slow=10)},
    "make no attack": {"attack": SignFlip(), "attackers_away": True},
    "are none": {"attack": SignFlip(), "attackers": 0.0},
    "phi = 13 of 12 clients": {"server": Synchronous(phi=13)},
    "phi = 10 of 9 clients": {"server": Synchronous(phi=10), "attackers_away": True},
    "concurrency = 13 of 12": {"server": Asynchronous(phi=2, concurrency=13)},
    "rare_label = 10": {"outliers": Outliers(rare=1, rare_label=10)},
    "root samples of 1438": {"edge": Edge(servers=8, root_samples=200)},
    "edge_servers: choose from 1 to 2": {"edge": Edge(servers=2, objective=Objective(edge_servers=(3,)))},
    r"watched = \[10\]: choose classes from 0 to 9": {"watched": (10,)},
}


@pytest.mark.parametrize("reason", IMPOSSIBLE)
def test_parts_that_contradict_each_other_are_refused(reason: str, split: Split) -> None:
    with pytest.raises(InvalidScenario, match=reason):
        run(small(**IMPOSSIBLE[reason]), split)


def test_an_objective_that_no_job_can_have_is_refused(split: Split) -> None:
    with pytest.raises(InvalidTerms, match=r"job term references\.objective\.classes"):
        run(small(edge=Edge(objective=Objective(classes=(10,)))), split)


def test_holders_of_a_class_that_counts_more_earn_more_and_the_model_learns_it(split: Split) -> None:
    def found(objective: Objective) -> Summary:
        edge = Edge(servers=3, root_samples=100, objective=objective)
        return summarise(run(small("calibrated", edge=edge, rounds=12, watched=(3,)), split))

    plain, heavy = found(Objective()), found(Objective(weights={"3": 20}))
    assert heavy.watched["wage"] > plain.watched["wage"]
    assert heavy.watched["wage"] > heavy.watched["wage_others"]
    assert heavy.watched["accuracy"] == heavy.class_accuracy["3"] > plain.class_accuracy["3"]


def test_a_federation_in_which_nobody_can_send_says_so(split: Split) -> None:
    tight = Rules(norm_bound=1e-3)
    for server in (Asynchronous(phi=4, concurrency=6), Synchronous(phi=4)):
        with pytest.raises(InvalidScenario, match="from version 0 on nobody"):
            run(small(rules=tight, server=server), split)


def test_the_first_model_is_the_seeds_whatever_the_rule(split: Split) -> None:
    first = [rounds(run(small(scoring, rounds=1), split))[0].inputs.current for scoring in ("cosine", "anchored")]
    assert (first[0] == first[1]).all()
    assert np.abs(first[0]).max() > 0


def test_one_lying_server_of_one_pays_its_own_client_and_one_of_four_does_not(split: Split) -> None:
    def share(servers: int) -> float:
        edge = Edge(servers=servers, root_samples=40, lying=1, lie=Planted())
        scenario = small("fltrust", edge=edge, attack=Insider(), attackers=0.25, rounds=6)
        found = summarise(run(scenario, split)).attackers_share
        assert found is not None
        return found

    assert share(1) > 0.3
    assert share(4) < 0.1


def test_open_references_are_worth_less_under_seals(split: Split) -> None:
    def share(*, sealed: bool) -> float:
        edge = Edge(servers=2, root_samples=40, sealed=sealed)
        scenario = small("fltrust", edge=edge, attack=PublishedReferences(), attackers=0.25, rounds=12)
        found = summarise(run(scenario, split)).attackers_share
        assert found is not None
        return found

    assert share(sealed=True) < share(sealed=False)


def test_gate_passing_keeps_its_pay_and_harms_more_than_honest_work(split: Split) -> None:
    attacked = summarise(run(small("cosine", attack=GatePassing(keep=0.4), attackers=0.25, rounds=12), split))
    honest = summarise(run(small("cosine", rounds=12), split))
    assert attacked.attackers_share is not None
    assert attacked.attackers_share > 0.05
    assert attacked.accuracy < honest.accuracy


@pytest.mark.parametrize(
    ("edge", "problem"),
    [
        (Edge(servers=2, lying=3), "edge.lying = 3 of 2 edge servers"),
        (Edge(sketch_buckets=64), "the attack is made from whole references"),
    ],
)
def test_edge_servers_that_cannot_be_are_refused(split: Split, edge: Edge, problem: str) -> None:
    with pytest.raises(InvalidScenario, match=problem):
        run(small(edge=edge, attack=PublishedReferences()), split)


def test_rounds_grow_and_shrink_towards_a_target_staleness(split: Split) -> None:
    def sizes(target: int | None) -> list[int]:
        server = Asynchronous(phi=4, concurrency=10, target_staleness=target)
        return [len(one.records) for one in rounds(run(small("uniform", server=server, rounds=15), split))]

    assert sizes(None) == [4] * 15
    assert sizes(0)[-1] > 4
    assert sizes(9)[-1] == 1
    assert max(sizes(0)) <= 10


def test_a_run_ends_with_the_first_round_after_its_time(split: Split) -> None:
    decided = rounds(run(small("uniform", rounds=1_000, seconds=5.0), split))
    assert [one.at_us >= 5_000_000 for one in decided] == [False] * (len(decided) - 1) + [True]
