"""Blobs that are not what was recorded: refused with a reason, called invalid by everybody, void at once."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from contracts import events
from contracts.addresses import ADDRESS_BYTES
from contracts.records import HASH_BYTES, UPDATE_HEADER_BYTES, blob_digest
from node.edge.peers import DirectoryPeer
from node.errors import BlobMissingError
from node.rounds.attestation import encode_model
from tests.node.edge.conftest import Worlds
from tests.node.edge.world import DIMENSION, FRACTION_BITS, NORM_BOUND, SERVERS, SHIFT, TOKEN, Update, World, job_file

BOUND = int(NORM_BOUND * 2**FRACTION_BITS)
LENGTH = UPDATE_HEADER_BYTES + 2 * DIMENSION

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too short": ({"payload": bytes(2 * DIMENSION - 2), "length": LENGTH}, f"{LENGTH - 2} bytes, the record says"),
    "too long": ({"payload": bytes(2 * DIMENSION + 2), "length": LENGTH}, f"{LENGTH + 2} bytes, the record says"),
    "beyond the norm bound": ({"values": [BOUND, 1, 0, 0, 0, 0]}, f"squared norm {BOUND**2 + 1} is beyond"),
    "widest": ({"values": [-32768, 32767, -32768, 32767, -32768, 32767]}, "is beyond the job's bound"),
    "fraction bits": ({"header": {"fraction_bits": FRACTION_BITS + 1}}, "its header differs from its record"),
    "another network": ({"header": {"genesis_hash": bytes(HASH_BYTES)}}, "its header differs from its record"),
    "another ledger": ({"header": {"ledger": bytes(ADDRESS_BYTES)}}, "its header differs from its record"),
    "another job": ({"header": {"job": 2}}, "its header differs from its record"),
    "another client": ({"header": {"client": SERVERS + 2}}, "its header differs from its record"),
    "another base": ({"header": {"base": 1}}, "its header differs from its record"),
    "another counter": ({"header": {"counter": 1}}, "its header differs from its record"),
    "another dimension": ({"header": {"dimension": DIMENSION + 1}}, f"update of dimension {DIMENSION + 1} has"),
}


def garbled(update: Update, world: World, client: int = 1) -> Update:
    """Return an honestly recorded blob that is no update at all."""
    blob = bytes(len(update.blob))
    record = dataclasses.replace(update.record, digest=blob_digest(blob))
    return Update(world.sign(record, world.cast.clients[client - 1]), blob)


def refuses_and_voids(world: World, update: Update, words: str) -> None:
    """Let the update meet the servers; then an honest round takes place, the client's next update in it."""
    assert world.offer(update).status == "queued"
    world.step()
    world.step()
    answer = world.put(update)
    assert (answer.status, answer.kind) == ("refused", "invalid")
    assert words in answer.reason
    assert world.servers[1].refusals == {"invalid": 1}
    world.run()
    assert [world.statuses(member) for member in world.servers] == [["void"]] * SERVERS
    said = [event.edge for event in world.events(events.Acknowledged) if event.invalid == (0,)]
    assert said == [1, 2], "two of four are enough: it can be held by more than 2/3 no more"
    told = world.servers[2].record_status(world.job, SERVERS + 1, update.digest)
    assert told.status == "void"
    assert words in told.reason

    world.deliver(world.update(1, [1, 2, 1, 1, 1, 1], counter=1), world.update(2))
    world.run()
    assert world.statuses()[1:] == ["consumed", "consumed"]
    assert sum(event.reward for event in world.events(events.Credited)) == 10 * TOKEN


@pytest.mark.parametrize("name", BAD)
def test_a_blob_that_is_not_what_its_record_promises_is_refused_and_its_record_void(world: World, name: str) -> None:
    how, words = BAD[name]
    refuses_and_voids(world, world.update(1, **how), words)


def test_a_blob_without_a_header_is_refused_and_its_record_void(world: World) -> None:
    refuses_and_voids(world, garbled(world.update(1), world), "header")


def test_an_update_that_leaves_int32_on_its_base_is_refused_and_its_record_void(worlds: Worlds) -> None:
    world = worlds()
    edge = np.array([2**31 - 1, 0, 0, 0, 0, 0], dtype=np.int32)
    world.propose(job_file(), model=encode_model(edge, FRACTION_BITS + SHIFT))
    world.run()
    update = world.update(1, [1, 0, 0, 0, 0, 0])
    assert world.offer(update).status == "queued"
    world.step()
    world.step()
    answer = world.put(update)
    assert (answer.kind, answer.reason) == ("invalid", "base + (update << shift) leaves int32")
    world.run()
    assert world.statuses() == ["void"]
    world.deliver(world.update(2, [-1, 2, 0, 0, 0, 0]), world.update(3, [0, 3, 0, 0, 0, 0]))
    world.run()
    assert world.outcomes[0].agreed


def test_an_update_of_exactly_the_norm_bound_is_held(world: World) -> None:
    world.deliver(world.update(1, [0, -BOUND, 0, 0, 0, 0]), world.update(2))
    world.run()
    assert world.statuses() == ["consumed", "consumed"]


def test_bytes_under_another_name_are_refused_and_nothing_is_stored(world: World) -> None:
    update = world.update(1)
    world.offer(update)
    world.step()
    world.step()
    answer = world.servers[1].offer_blob(update.digest, update.blob[:-1] + b"\1")
    assert (answer.status, answer.kind) == ("refused", "digest")
    assert update.digest not in world.stores[1]
    assert world.servers[1].refusals == {"digest": 1}
    assert world.put(update).status == "held"


def test_a_blob_that_no_final_record_names_is_refused_and_nothing_is_stored(world: World) -> None:
    update = world.update(1)
    answer = world.put(update)
    assert (answer.status, answer.kind) == ("refused", "unrecorded")
    assert world.servers[1].refusals == {"unrecorded": 1}
    assert update.digest not in world.stores[1]
    world.offer(update)
    assert world.put(update).kind == "unrecorded", "queued is not final"
    world.step()
    world.step()
    assert world.put(update).status == "held"


def test_a_full_store_refuses_a_blob_and_the_update_goes_through_another_server(world: World) -> None:
    world.stores[1].quota_bytes = world.stores[1].used_bytes
    first, second = world.update(1), world.update(2)
    for update in (first, second):
        world.offer(update)
    world.step()
    world.step()
    answer = world.put(first)
    assert (answer.status, answer.kind) == ("refused", "quota")
    assert "is full" in answer.reason
    assert first.digest not in world.stores[1]
    for update in (first, second):
        assert world.put(update, 2).status == "held"
    world.run()
    assert world.log(2).outcomes[0].agreed
    assert world.servers[1].refusals["quota"] >= 1


def test_another_clients_record_of_a_blob_takes_nothing_from_its_author(world: World) -> None:
    """Whoever sees a digest may record it first; the header names the author, so only the author's record is held."""
    authored = world.update(1)
    thief = dataclasses.replace(authored.record, client=SERVERS + 2)
    stolen = Update(world.sign(thief, world.cast.clients[1]), authored.blob)
    assert world.offer(stolen).status == "queued"
    world.step()
    assert world.offer(authored).status == "queued"
    world.step()
    world.step()
    assert world.put(authored).status == "held"
    world.run()
    assert world.statuses() == ["void", "available"]
    assert world.servers[1].record_status(world.job, SERVERS + 2, stolen.digest).reason.startswith("its header differs")
    world.round(3)
    assert [event.client for event in world.events(events.Credited)] == [SERVERS + 1, SERVERS + 3]


def test_a_blob_damaged_on_disk_is_set_aside_and_fetched_again(world: World) -> None:
    first, _ = world.contribute(1, 2, member=3)
    world.step(3)
    world.stores[1].put(first.blob)
    world.stores[1].path(first.digest).write_bytes(b"\0" * len(first.blob))
    world.run()
    assert world.outcomes[0].agreed
    assert world.stores[1].get(first.digest) == first.blob
    assert world.stores[1].path(first.digest).with_name(first.digest.hex() + ".damaged").exists()


def test_a_peer_gives_no_damaged_blob(world: World) -> None:
    update = world.update(1)
    world.stores[2].put(update.blob)
    world.stores[2].path(update.digest).write_bytes(update.blob[:-1] + b"\1")
    assert not DirectoryPeer(2, world.stores[2]).fetch(update.digest, world.stores[1])
    with pytest.raises(BlobMissingError):
        world.stores[1].get(update.digest)
