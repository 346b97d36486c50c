"""Records that nobody may relay: refused at the intake with a reason, counted, and left out by the Ledger all the same.

After each of them an honest round is paid in full.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme
from contracts import bindings, events
from contracts.addresses import ADDRESS_BYTES
from contracts.records import SIGNATURE_BYTES
from tests.node.edge.conftest import Worlds
from tests.node.edge.world import GENESIS_HASH, SERVERS, TOKEN, Update, World, client_key

UNKNOWN_KEY, NOT_A_CLIENT, EXPIRED, FUTURE, STALE, NOT_RISING, WRONG_LENGTH, NO_BUDGET, MALFORMED = range(2, 11)


@dataclass(frozen=True)
class Bad:
    """A bad record: how to make it, the check that refuses it, words of the reason, the Ledger's own reason."""

    make: Callable[[World], Update]
    kind: str
    words: str
    reason: int


def end_key(world: World) -> Update:
    world.govern(bindings.Registry.encode_end_key(world.cast.clients[2].address))
    world.step()
    return world.update(3)


def suspend(world: World) -> Update:
    world.govern(bindings.Registry.encode_suspend(SERVERS + 3))
    world.step()
    return world.update(3)


BAD = {
    "expired": Bad(lambda w: w.update(3, expiry=int(w.clock.now()) - 1), "expired", "expired at", EXPIRED),
    "base to come": Bad(lambda w: w.update(3, base=2), "future", "base 2 is not decided yet", FUTURE),
    "base that never was": Bad(lambda w: w.update(3, [1] * 6, base=2**63), "future", "is not decided yet", FUTURE),
    "base too old": Bad(lambda w: w.update(3, base=0), "stale", "base 0 is 1 versions old, the job allows 0", STALE),
    "another client's key": Bad(
        lambda w: w.update(3, key=w.cast.clients[3]), "signer", f"no key of client {SERVERS + 3}", UNKNOWN_KEY
    ),
    "a stranger's key": Bad(lambda w: w.update(3, key=client_key(99)), "signer", "no key of client", UNKNOWN_KEY),
    "a client not admitted": Bad(
        lambda w: w.update(95, key=client_key(95)), "signer", f"no key of client {SERVERS + 95}", UNKNOWN_KEY
    ),
    "a suspended client": Bad(suspend, "suspended", f"client {SERVERS + 3} is suspended", NOT_A_CLIENT),
    "an ended key": Bad(end_key, "key", "is not in force", UNKNOWN_KEY),
    "too long": Bad(lambda w: w.update(3, length=110), "length", "110 bytes announced", WRONG_LENGTH),
    "too short": Bad(lambda w: w.update(3, length=0), "length", "0 bytes announced", WRONG_LENGTH),
    "another job": Bad(lambda w: w.update(3, job=2), "job", "job 2 is not open", MALFORMED),
}


@pytest.fixture
def world(worlds: Worlds) -> World:
    """Give a world whose job is at version 1 and takes updates of the newest version only."""
    made = worlds()
    made.open(max_staleness=0, records_per_base=2)
    made.round(1, 2)
    return made


def paid(world: World) -> list[int]:
    """Return whom the newest round paid a whole reward, counted from the first client; [] if it paid another sum."""
    credited = [event for event in world.events(events.Credited) if event.round == world.version]
    whole = sum(event.reward for event in credited) == 10 * TOKEN
    return [event.client - SERVERS for event in credited] if whole else []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_refused_and_counted_and_left_out_by_the_ledger_if_a_server_relays_it(
    world: World, name: str
) -> None:
    bad = BAD[name]
    update, honest = bad.make(world), world.update(4)
    recorded = len(world.events(events.Recorded))
    answer = world.offer(update)
    assert (answer.status, answer.kind) == ("refused", bad.kind)
    assert bad.words in answer.reason
    assert world.servers[1].refusals == {bad.kind: 1}
    assert world.servers[2].refusals == {}
    world.run()
    assert len(world.events(events.Recorded)) == recorded, "nobody relays it"

    world.record(honest, update)
    assert [event.reason for event in world.events(events.Refused)] == [bad.reason]
    assert [event.digest for event in world.events(events.Recorded)[recorded:]] == [honest.digest]
    assert world.put(honest).status == "held"
    world.round(5)
    assert paid(world) == [4, 5]


def test_a_suspended_client_is_heard_again_once_it_is_reinstated(world: World) -> None:
    update = suspend(world)
    assert world.offer(update).kind == "suspended"
    world.govern(bindings.Registry.encode_reinstate(SERVERS + 3))
    world.step()
    assert world.offer(update).status == "queued"


@pytest.mark.parametrize("counter", [0, 3])
def test_a_counter_that_does_not_rise_is_refused_as_a_replay(world: World, counter: int) -> None:
    world.contribute(3, counter=3)
    again = world.update(3, [9, 9, 9, 9, 9, 9], counter=counter)
    answer = world.offer(again)
    assert (answer.status, answer.kind) == ("refused", "replay")
    assert "does not rise above (1, 3)" in answer.reason
    assert world.servers[1].refusals == {"replay": 1}
    world.record(again)
    assert [event.reason for event in world.events(events.Refused)] == [NOT_RISING]
    world.round(4)
    assert paid(world) == [3, 4]


def test_a_counter_taken_by_a_record_that_still_waits_for_a_batch_is_refused_too(world: World) -> None:
    assert world.offer(world.update(3)).status == "queued"
    assert world.offer(world.update(3, [9, 9, 9, 9, 9, 9])).kind == "replay"
    assert world.servers[1].refusals == {"replay": 1}


def test_a_record_that_is_brought_again_is_neither_recorded_nor_paid_twice(world: World) -> None:
    first, _ = world.contribute(3, 4)
    assert world.offer(first).status == "held"
    world.run()
    for member in world.servers:
        answer = world.offer(first, member)
        assert (answer.status, answer.sequence) == ("consumed", 2)
    world.record(first)
    assert [event.reason for event in world.events(events.Refused)] == [STALE]
    assert len(world.events(events.Recorded)) == 4
    assert sum(event.client == SERVERS + 3 for event in world.events(events.Credited)) == 1
    assert world.servers[1].refusals == {}, "a repeated delivery is no fault"


def flipped_signature(world: World) -> Update:
    update = world.update(3)
    signature = update.signed.signature
    wrong = bytes([signature[0] ^ 1]) + signature[1:]
    return dataclasses.replace(update, signed=dataclasses.replace(update.signed, signature=wrong))


def another_record(world: World) -> Update:
    """Sign one record and show the signature with another."""
    update, other = world.update(3), world.update(3, [7, 7, 7, 7, 7, 7])
    return dataclasses.replace(other, signed=dataclasses.replace(other.signed, signature=update.signed.signature))


def another_network(world: World) -> Update:
    update, key = world.update(3), world.cast.clients[2]
    message = update.record.message(world.cast.ledger)
    signature = key.sign(message, record_context(GENESIS_HASH[::-1]))
    return dataclasses.replace(update, signed=dataclasses.replace(update.signed, signature=signature))


def another_ledger(world: World) -> Update:
    update, key = world.update(3), world.cast.clients[2]
    signature = key.sign(update.record.message(bytes(ADDRESS_BYTES)), record_context(GENESIS_HASH))
    return dataclasses.replace(update, signed=dataclasses.replace(update.signed, signature=signature))


@pytest.mark.parametrize("forge", [flipped_signature, another_record, another_network, another_ledger])
def test_a_signature_that_does_not_verify_is_refused_and_void_where_the_ledger_cannot_verify(
    world: World, forge: Callable[[World], Update]
) -> None:
    forged = forge(world)
    answer = world.offer(forged)
    assert (answer.kind, answer.reason) == ("signature", "the signature does not verify")
    assert world.servers[1].refusals == {"signature": 1}
    world.record(forged)
    answer = world.put(forged)
    assert (answer.kind, answer.reason) == ("invalid", "its signature does not verify")
    world.run()
    assert [world.statuses(member)[2] for member in world.servers] == ["void"] * SERVERS
    world.round(5, 6)
    assert paid(world) == [5, 6]


def test_bytes_that_are_no_record_are_refused(world: World) -> None:
    whole = world.update(3).signed.encode()
    other_scheme = bytearray(whole)
    other_scheme[76] = 87
    for data in (b"", whole[:-1], whole + b"\0", bytes(other_scheme), b"[" * 5000):
        answer = world.servers[1].offer_record(data)
        assert (answer.status, answer.kind) == ("refused", "malformed")
        assert answer.reason
    assert world.servers[1].refusals == {"malformed": 5}
    world.round(5, 6)
    assert paid(world) == [5, 6]


def test_a_record_with_another_scheme_than_its_key_is_refused(world: World) -> None:
    signed = world.update(3).signed
    padded = signed.signature + bytes(SIGNATURE_BYTES[65] - SIGNATURE_BYTES[44])
    other = dataclasses.replace(signed, scheme=Scheme.ML_DSA_65, signature=padded)
    answer = world.offer(other)
    assert answer.status == "refused"
    assert answer.reason
    assert world.servers[1].refusals == {answer.kind: 1}
    world.round(5, 6)
    assert paid(world) == [5, 6]


def test_records_beyond_the_queue_are_sent_to_another_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.edge.server.MAX_QUEUED", 1)
    first, second = world.update(3), world.update(4)
    assert world.offer(first).status == "queued"
    assert world.offer(second).kind == "busy"
    assert world.servers[1].refusals == {"busy": 1}
    assert world.offer(second, 2).status == "queued"
    world.step()
    world.step()
    assert [world.put(update).status for update in (first, second)] == ["held", "held"]
    world.run()
    assert world.outcomes[-1].round == 2


def test_a_job_without_budget_refuses_records_until_it_is_topped_up(worlds: Worlds) -> None:
    world = worlds()
    world.open(budget=10, phi=1)
    world.round(1)
    assert world.ledger.free_escrow(world.job) == 0
    update = world.update(2)
    assert world.offer(update).status == "queued"
    world.run()
    answer = world.servers[1].record_status(world.job, SERVERS + 2, update.digest)
    assert (answer.status, answer.kind) == ("refused", "ledger")
    assert answer.reason == "budget cannot pay another record"
    assert world.servers[1].refusals == {"ledger": 1}
    assert [event.reason for event in world.events(events.Refused)] == [NO_BUDGET]

    world.to_ledger(world.cast.sponsor, bindings.Ledger.encode_top_up(world.job, 10 * TOKEN))
    world.deliver(update)
    world.run()
    assert [event.client for event in world.events(events.Credited)] == [SERVERS + 1, SERVERS + 2]
