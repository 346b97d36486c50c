"""What the calls of a round cost: figures for contracts/README.md, held within a few percent."""

import pytest

from contracts.bindings import Council, Ledger, Registry, Role
from contracts.calls import Call
from contracts.digests import CHUNK, settlement
from contracts.records import Record, SignedRecord, encode_batch
from tests.contracts.conftest import build
from tests.contracts.world import LENGTH, address_of, attestation, post_thetas, public_key

# measured with cold storage, whole transactions (call data by EIP-2028 and EIP-7623 included)
MEASURED = {
    "record, a client's first": 91_000,
    "record, a later one": 71_200,
    "recordBatch of 64, without verifier": 6_390_000,
    "acknowledge": 81_100,
    "attest, the first of a round": 182_500,
    "attest, one that joins": 100_200,
    "attest, the one that decides": 383_300,
    "postThetas, one chunk": 122_600,
    "settleChunk of 64, clients without credit": 6_086_000,
    "settleChunk of 64, clients with credit": 694_000,
    "release, one job": 142_200,
    "propose, one short call": 155_500,
    "vote, an approval": 113_600,
    "execute, a validator with its key added": 1_710_000,
}


@pytest.fixture(scope="module")
def measured() -> dict[str, int]:
    world, cast = build(cold=True)
    gas = {}
    job = world.open(cast.sponsor, cast.edges[:3], phi=CHUNK)
    clients = [world.admit(Role.CLIENT, scheme=44) for _ in range(CHUNK)]
    world.record(job, cast.clients[1])
    gas["record, a client's first"] = world.record(job, cast.clients[0]).gas
    gas["record, a later one"] = world.record(job, cast.clients[0], counter=1).gas
    batch = [
        SignedRecord(
            Record(job, client.member, 0, 0, bytes([at]) * 32, LENGTH, 2**40),
            44,
            address_of(44, public_key(f"member {client.member}", 44)),
            bytes([at + 1]) * 2420,
        )
        for at, client in enumerate(clients)
    ]
    outcome = world.to_ledger(cast.edges[0], Ledger.encode_record_batch(job, encode_batch(batch)))
    assert Ledger.decode_record_batch(outcome.output) == bytes(CHUNK)
    gas["recordBatch of 64, without verifier"] = outcome.gas
    gas["acknowledge"] = world.to_ledger(cast.edges[0], Ledger.encode_acknowledge(job, 67)).gas
    scores = settlement([client.member for client in clients], [10**8 + at for at in range(CHUNK)])
    vote = attestation(job, 1, world.height, scores, CHUNK)
    costs = [world.attest(edge, vote).gas for edge in cast.edges[:3]]
    names = ("attest, the first of a round", "attest, one that joins", "attest, the one that decides")
    gas |= dict(zip(names, costs, strict=True))
    gas["postThetas, one chunk"] = world.to_ledger(cast.edges[0], post_thetas(job, 1, scores)).gas
    chunk = Ledger.encode_settle_chunk(job, 1, 0, *scores.chunks[0])
    gas["settleChunk of 64, clients without credit"] = world.to_ledger(cast.edges[0], chunk).gas
    gas["release, one job"] = world.to_ledger(cast.edges[0], Ledger.encode_release(clients[0].member)).gas
    world.poke("Ledger", "_jobs", job, "next_sequence", value=2 * CHUNK)
    vote = attestation(job, 2, world.height, scores, 2 * CHUNK)
    for edge in cast.edges[:3]:
        world.attest(edge, vote)
    world.to_ledger(cast.edges[0], post_thetas(job, 2, scores))
    chunk = Ledger.encode_settle_chunk(job, 2, 0, *scores.chunks[0])
    gas["settleChunk of 64, clients with credit"] = world.to_ledger(cast.edges[0], chunk).gas
    world.govern(Registry.encode_set_governor(world.council_at))
    short = [Call(world.registry_at, Registry.encode_suspend(1))]
    gas["propose, one short call"] = world.to_council(
        cast.edges[0], Council.encode_propose(world.time + 99, "suspend member 1", short)
    ).gas
    gas["vote, an approval"] = world.to_council(cast.edges[0], Council.encode_vote(1, approves=True)).gas
    validator = Call(world.council_at, Council.encode_add_validator(1, public_key("validator", 65), 1))
    gas["execute, a validator with its key added"] = world.decide(cast.edges[:3], validator).gas
    return gas


@pytest.mark.parametrize("call", MEASURED)
def test_call_costs_what_the_guide_says(measured: dict[str, int], call: str) -> None:
    assert measured[call] == pytest.approx(MEASURED[call], rel=0.03)
