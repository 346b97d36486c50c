"""Jobs that allocate work: the plan is a part of what is attested, and follows from what clients report."""

import itertools
from typing import Any

import pytest

from contracts import bindings, digests, events
from contracts.digests import Attestation
from contracts.records import WorkReport, blob_digest
from learner.allocation.plan import Plan
from node.edge.retention import PayloadBook, Retention
from node.jobs import AllocationSpec
from tests.node.edge.conftest import Worlds
from tests.node.edge.test_rounds import falsified
from tests.node.edge.world import SERVERS, World, job_file

SPEED_US = {1: 20_000, 2: 40_000, 3: 40_000, 4: 200_000, 5: 40_000, 6: 40_000}
"""Microseconds in which the n-th client trains one epoch on one sample."""


def allocation(rule: str = "exact", **changes: Any) -> AllocationSpec:
    return AllocationSpec(**{"rule": rule, "cycle_us": 4_000_000, "most_samples": 160} | changes)


def report(client: int, samples: int = 20, epochs: int = 5) -> WorkReport:
    return WorkReport(samples, epochs, SPEED_US[client] * samples * epochs, 0, 0)


def opened(worlds: Worlds, rule: str = "exact", **terms: Any) -> World:
    world = worlds()
    world.open(allocation=allocation(rule), **terms)
    return world


def reporting(world: World, *clients: int) -> None:
    """Let clients record and deliver a reported update each."""
    world.deliver(*(world.update(client, report=report(client)) for client in clients))


def plan(world: World, member: int = 1) -> Plan:
    """The newest plan, from a server's own store."""
    log = world.log(member)
    return Plan.decode(world.stores[member].get(log.plan_at(log.version)))


def first_word(world: World, number: int) -> Attestation:
    """Step until server 1, alone so far, attests the round; return what it says."""
    for member in itertools.islice(itertools.cycle((1, 2, 3)), 40):
        world.step(member)
        if (scored := world.desk().scored) is not None and scored.selection.round == number:
            return scored.attestation
    raise AssertionError("server 1 computed no round")  # noqa: TRY003, EM101


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("exact", [(5, 38, 5), (6, 19, 5), (7, 19, 5), (8, 4, 5)]),
        ("equal", [(5, 20, 10), (6, 20, 5), (7, 20, 5), (8, 20, 1)]),
    ],
)
def test_the_plan_follows_from_what_clients_report_and_is_the_last_part(
    worlds: Worlds, rule: str, expected: list[tuple[int, int, int]]
) -> None:
    world = opened(worlds, rule, phi=4)
    reporting(world, 1, 2, 3, 4)
    world.run()
    (outcome,) = world.outcomes
    assert outcome.agreed
    names = [digests.text_of(part.name) for part in outcome.parts]
    assert names == ["inputs", "gram", "thetas", "aggregate", "model", "allocation"]
    assert [(share.client, share.samples, share.epochs) for share in plan(world).shares] == expected
    assert outcome.parts[-1].digest == world.log().plan_at(1)
    assert len({world.log(member).plan_at(1) for member in world.servers}) == 1


def test_each_plan_builds_on_the_one_before_also_after_a_void_round(worlds: Worlds) -> None:
    world = opened(worlds, phi=2)
    reporting(world, 1, 2)
    world.run()
    first = plan(world)
    assert [share.seen for share in first.shares] == [1, 1]
    reporting(world, 3, 4)
    wrong = falsified(first_word(world, 2), "allocation")
    world.dead |= {3, 4}
    for edge in world.cast.edges[2:]:
        world.to_ledger(edge, bindings.Ledger.encode_attest(wrong))
    world.run()
    world.wait(120)
    world.run()
    assert [event.round for event in world.events(events.RoundVoid)] == [2]
    assert world.log().plan_at(2) == world.log().plan_at(1), "a void round leaves the plan"
    world.dead.clear()
    reporting(world, 5, 6)
    world.run()
    assert [(share.client, share.seen) for share in plan(world).shares] == [(5, 1), (6, 1), (9, 3), (10, 3)]


def test_a_server_that_lies_about_the_plan_is_alone_and_its_part_stands_on_the_ledger(worlds: Worlds) -> None:
    world = opened(worlds, phi=2)
    reporting(world, 1, 2)
    honest = first_word(world, 1)
    world.dead.add(4)
    world.to_ledger(world.cast.edges[3], bindings.Ledger.encode_attest(falsified(honest, "allocation")))
    world.run()
    assert world.outcomes[0].agreed
    said = {event.edge: event.parts for event in world.events(events.Attested)}
    differing = [a.name for a, b in zip(said[SERVERS], said[1], strict=True) if a != b]
    assert [digests.text_of(name) for name in differing] == ["allocation"]


def test_a_server_that_comes_back_takes_part_with_a_plan_that_it_fetches(worlds: Worlds) -> None:
    world = opened(worlds, phi=2)
    world.dead.add(3)
    reporting(world, 1, 2)
    world.run()
    assert world.log().plan_at(1) not in world.stores[3]
    world.dead.clear()
    world.restart(3)
    world.run()
    before = len(world.events(events.Attested))
    reporting(world, 3, 4)
    world.run()
    assert 3 in {event.edge for event in world.events(events.Attested)[before:]}
    assert plan(world, 3) == plan(world, 1)


def test_an_update_without_a_report_is_invalid_where_one_is_asked_for_and_the_other_way_round(worlds: Worlds) -> None:
    world = opened(worlds)
    world.record(bare := world.update(1))
    assert world.put(bare).reason == "its header differs from its record"
    world = worlds()
    world.open()
    world.record(told := world.update(1, report=report(1)))
    assert world.put(told).reason == "its header differs from its record"


def test_a_reported_update_is_bound_to_its_ledger_client_and_counter(worlds: Worlds) -> None:
    for falsified_field in ({"ledger": bytes(20)}, {"genesis_hash": bytes(32)}, {"client": 9}, {"counter": 3}):
        world = opened(worlds)
        world.record(update := world.update(1, report=report(1), header=falsified_field))
        assert world.put(update).reason == "its header differs from its record"


def test_a_copied_payload_with_another_report_is_still_a_copy(worlds: Worlds) -> None:
    world = opened(worlds, phi=2)
    values = [1, 2, 3, 4, 5, 6]
    first = world.update(1, values, report=report(1))
    copy = world.update(2, values, report=report(2, samples=7))
    assert first.digest != copy.digest
    world.deliver(first)
    world.deliver(copy)
    reporting(world, 3)
    world.run()
    assert world.statuses() == ["consumed", "copy", "consumed"]


def test_a_job_that_names_an_unknown_allocation_rule_is_refused(worlds: Worlds) -> None:
    world = worlds()
    file = job_file()
    model = world.propose(file).model
    unknown = job_file(allocation=allocation("fastest"))
    terms = file.ledger_terms(model=model, edge_set=1)
    world.propose(file, job_file=blob_digest(unknown.encode()))
    world.stores[1].put(unknown.encode())
    world.run()
    assert terms.job_file != unknown.digest()
    assert "allocation rule" in world.desk().refusal


def test_a_frugal_server_drops_plans_that_no_kept_round_needs(worlds: Worlds) -> None:
    world = opened(worlds)
    frugal = 2
    book = PayloadBook(world.directory / "payloads")
    server = world.restart(frugal)
    server._retention = Retention(1, book)  # noqa: SLF001 - what a node's settings do
    for number in range(4):
        reporting(world, 1 + number % 3, 4 + number % 3)
        world.run()
    log = world.log(frugal)
    assert log.version == 4
    held = [version for version in range(1, 5) if log.plan_at(version) in world.stores[frugal]]
    assert held == [3, 4], "the newest, and the one before it, from which the newest round is computed again"
    assert all(log.plan_at(version) in world.stores[1] for version in range(1, 5))


def test_a_job_without_allocation_is_byte_for_byte_what_it_was() -> None:
    plain = job_file()
    assert b"allocation" not in plain.encode()
    assert b"[allocation]" in job_file(allocation=allocation()).encode()
