"""One edge server of four that lies about blobs: it decides nothing, and what it says stands on the ledger."""

import pytest

from contracts import bindings, events
from node.edge.server import EdgeServer
from tests.node.edge.conftest import Worlds
from tests.node.edge.world import SERVERS, TOKEN, DeniesAll, HoldsAll, World


def lying(worlds: Worlds, kind: type[EdgeServer], **terms: int) -> World:
    """Give a world in which server 4 lies."""
    world = worlds({4: kind})
    world.open(**terms)
    return world


def paid(world: World) -> list[int]:
    """Return whom the only paid round paid, counted from the first client, if that was a whole reward."""
    credited = world.events(events.Credited)
    assert sum(event.reward for event in credited) == 10 * TOKEN
    return [event.client - SERVERS for event in credited]


def test_a_hold_of_what_nobody_has_makes_no_record_available(worlds: Worlds) -> None:
    world = lying(worlds, HoldsAll, record_deadline=80)
    withheld = world.update(1)
    world.offer(withheld)
    world.step()
    world.run()
    world.step()
    lie = [event for event in world.events(events.Acknowledged) if event.edge == 4]
    assert [(event.up_to, event.missing, event.invalid) for event in lie] == [(1, (), ())]
    assert world.statuses() == ["pending"]
    world.round(2, 3)
    assert paid(world) == [2, 3]
    world.wait(100)
    world.run()
    assert world.statuses() == ["void", "consumed", "consumed"]


def test_a_lying_hold_beside_that_of_a_withholding_server_makes_no_record_available(worlds: Worlds) -> None:
    world = lying(worlds, HoldsAll)
    world.silent.add(1)
    world.contribute(1)
    world.run()
    holding = {event.edge for event in world.events(events.Acknowledged) if event.up_to and not event.missing}
    assert holding == {1, 4}
    assert world.statuses() == ["pending"]


def test_a_hold_of_an_invalid_blob_makes_no_record_available(worlds: Worlds) -> None:
    world = lying(worlds, HoldsAll)
    bad = world.update(1, header={"base": 7})
    world.offer(bad)
    world.step()
    world.step()
    assert world.put(bad).kind == "invalid"
    world.run()
    assert world.statuses() == ["void"]
    world.round(2, 3)
    assert paid(world) == [2, 3]


def test_a_lying_hold_with_two_honest_ones_leaves_the_update_where_all_can_fetch_it(worlds: Worlds) -> None:
    world = lying(worlds, HoldsAll)
    world.dead.add(3)
    world.silent.add(4)
    world.contribute(1, 2)
    world.run()
    world.dead.clear()
    world.restart(3)
    world.run()
    assert world.log(3).outcomes[0].agreed
    assert paid(world) == [1, 2]


def test_a_server_that_denies_everything_stops_no_record_and_no_payment(worlds: Worlds) -> None:
    world = lying(worlds, DeniesAll)
    for _ in range(2):
        world.round(1, 2)
    denials = [event.invalid for event in world.events(events.Acknowledged) if event.edge == 4]
    assert sorted(sequence for denied in denials for sequence in denied) == [0, 1, 2, 3]
    assert [outcome.agreed for outcome in world.outcomes] == [True, True]
    assert world.statuses() == ["consumed"] * 4


def test_what_a_client_brings_to_a_server_that_denies_it_must_be_brought_to_another(worlds: Worlds) -> None:
    world = lying(worlds, DeniesAll)
    world.silent.add(4)
    first, second = world.update(1), world.update(2)
    for update in (first, second):
        assert world.offer(update, 4).status == "queued"
    world.step(4)
    world.step(4)
    assert [world.put(update, 4).kind for update in (first, second)] == ["invalid", "invalid"]
    assert world.servers[4].refusals == {"invalid": 2}
    world.run()
    assert world.statuses() == ["pending", "pending"], "one of four voids nothing"
    assert [world.put(update, 1).status for update in (first, second)] == ["held", "held"]
    world.run()
    assert paid(world) == [1, 2]


@pytest.mark.parametrize("kind", [HoldsAll, DeniesAll])
def test_a_hold_taken_back_or_a_denial_turned_into_a_hold_changes_nothing(
    worlds: Worlds, kind: type[EdgeServer]
) -> None:
    world = lying(worlds, kind)
    world.silent.add(1)
    world.contribute(1)
    world.step(4)
    other = [0] if kind is HoldsAll else []
    back = [0] if kind is DeniesAll else []
    encode = bindings.Ledger.encode_acknowledge(world.job, 1, [], other, back)
    world.to_ledger(world.cast.edges[3], encode)
    world.dead.add(4)
    world.dead.add(3)
    world.silent.clear()
    world.run()
    available = kind is HoldsAll
    assert world.statuses() == ["available" if available else "pending"]
