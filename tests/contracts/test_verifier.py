"""The seam to native code: who is asked, with what, and whose storage it works on. A stand-in plays the verifier."""

from collections.abc import Generator
from typing import Any

import pytest
from boa.vm.py_evm import deregister_raw_precompile, register_raw_precompile
from eth_hash.auto import keccak

from contracts.addresses import PROBE, PROBE_ANSWER_PREIMAGE, VERIFIER, ZERO
from contracts.bindings import Ledger
from contracts.layout import slot
from tests.contracts.conftest import Cast
from tests.contracts.world import Reverted, World

ANSWER = keccak(PROBE_ANSWER_PREIMAGE)


class StandIn:
    """Answers the probe, and batches with what it is told; notes how it was called."""

    def __init__(self) -> None:
        self.probe_answer = ANSWER
        self.reasons = bytes(3)
        self.fails = False
        self.calls: list[Any] = []

    def __call__(self, computation: Any) -> Any:
        message = computation.msg
        if bytes(message.data) == PROBE:
            computation.output = self.probe_answer
            return computation
        self.calls.append(message)
        if self.fails:
            from eth.exceptions import Revert  # noqa: PLC0415 - a second of imports

            raise Revert
        computation.state.set_storage(message.storage_address, slot("Ledger", "_jobs", 1, "next_sequence"), 3)
        computation.output = self.reasons
        return computation


@pytest.fixture
def stand_in() -> Generator[StandIn]:
    verifier = StandIn()
    register_raw_precompile("0x" + VERIFIER.hex(), verifier)
    yield verifier
    deregister_raw_precompile("0x" + VERIFIER.hex())


@pytest.fixture
def verified(world: World, cast: Cast, stand_in: StandIn) -> World:
    """A Ledger with a verifier, and job 1 open in it."""
    ledger = world.deploy("Ledger", world.registry_at, world.token_at, VERIFIER)
    other = World(world.env, world.registry_at, world.token_at, ledger, height=world.height, time=world.time)
    other.fund(cast.sponsor.account, 10**21)
    assert other.open(cast.sponsor, cast.edges[:3]) == 1
    assert not stand_in.calls
    return other


def test_verifier_is_asked_by_delegatecall_with_the_whole_call_and_its_reasons_are_returned(
    verified: World, cast: Cast, stand_in: StandIn
) -> None:
    data = Ledger.encode_record_batch(1, b"whatever native code makes of it")
    outcome = verified.to_ledger(cast.edges[3], data)
    (message,) = stand_in.calls
    assert bytes(message.data) == data
    assert (message.sender, message.storage_address) == (cast.edges[3].account, verified.ledger_at)
    assert message.code_address == VERIFIER
    assert Ledger.decode_record_batch(outcome.output) == bytes(3)
    assert verified.ledger.job(1).next_sequence == 3  # written by the stand-in, in the Ledger's storage
    assert verified.ledger.verifier() == VERIFIER


def test_reasons_of_128_entries_and_a_malformed_rest_fit(verified: World, cast: Cast, stand_in: StandIn) -> None:
    stand_in.reasons = bytes([4]) * 128 + bytes([10])
    outcome = verified.to_ledger(cast.edges[0], Ledger.encode_record_batch(1, b"x"))
    assert Ledger.decode_record_batch(outcome.output) == stand_in.reasons


def test_failure_of_the_verifier_undoes_the_call(verified: World, cast: Cast, stand_in: StandIn) -> None:
    stand_in.fails = True
    with pytest.raises(Reverted):
        verified.to_ledger(cast.edges[0], Ledger.encode_record_batch(1, b"x"))
    assert verified.ledger.job(1).next_sequence == 0


def test_verifier_is_not_asked_by_strangers_for_closed_jobs_or_for_nothing(
    verified: World, cast: Cast, stand_in: StandIn
) -> None:
    for sender, job, batch, reason in (
        (cast.clients[0], 1, b"x", "another role"),
        (cast.edges[0], 2, b"x", "job is not open"),
        (cast.edges[0], 1, b"", "batch is empty"),
    ):
        with pytest.raises(Reverted, match=reason):
            verified.to_ledger(sender, Ledger.encode_record_batch(job, batch))
    assert not stand_in.calls


def test_a_clients_own_record_does_not_need_the_verifier(verified: World, cast: Cast, stand_in: StandIn) -> None:
    verified.record(1, cast.clients[0])
    assert not stand_in.calls


@pytest.mark.parametrize("answer", [b"", bytes(32), ANSWER[:-1], ANSWER + b"\0", ANSWER + bytes(32)])
def test_verifier_with_another_answer_to_the_probe_is_refused(world: World, stand_in: StandIn, answer: bytes) -> None:
    stand_in.probe_answer = answer
    with pytest.raises(Reverted, match="Ledger: verifier fails its known answer"):
        world.deploy("Ledger", world.registry_at, world.token_at, VERIFIER)


def test_without_a_verifier_records_say_so(world: World) -> None:
    assert world.ledger.verifier() == ZERO
    assert (world.ledger.registry(), world.ledger.token()) == (world.registry_at, world.token_at)
