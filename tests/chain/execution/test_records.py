"""The native verifier against the Vyper loop that it replaces: same storage, same events, same reasons."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.application import Code
from chain.crypto.addresses import Address
from chain.crypto.contexts import record_context
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme
from chain.execution import predeploy, records
from chain.execution.blocks import Log
from chain.execution.reader import Call
from contracts.addresses import LEDGER, PROBE, PROBE_ANSWER_PREIMAGE, REGISTRY, VERIFIER, ZERO
from contracts.bindings import Ledger, Registry
from contracts.events import Recorded, Refused, decode_event
from contracts.layout import slot
from contracts.records import SIGNATURE_BYTES, Record, SignedRecord, encode_batch
from tests.chain.ledger import CLIENTS, EDGES, GOVERNOR, STRANGER, TERMS, Replica, client, client_id, edge, key

RECORDED_DATA_VERIFIED = slice(7 * 32, 8 * 32)


def build(*, native: bool) -> Replica:
    """Three void rounds (version 3), one record each, client 4 suspended, client 3 with an ended second key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predeploy, "VERIFIER", VERIFIER if native else ZERO)  # the Ledger's constructor is told so
        replica = Replica()
    replica.open_job()
    for round_ in (1, 2, 3):
        replica.height(replica.batch(replica.record(1, base=round_ - 1, counter=7)))
        replica.void_round(round_, spent=round_)
    replica.send(GOVERNOR, REGISTRY, Registry.encode_suspend(client_id(4)))
    second = key("client 3, second key")
    replica.send(GOVERNOR, REGISTRY, Registry.encode_add_key(client_id(3), 65, second.public_key))
    replica.send(GOVERNOR, REGISTRY, Registry.encode_end_key(second.address))
    return replica


@cache
def pair() -> tuple[Replica, Replica]:
    return build(native=True), build(native=False)


@dataclass(frozen=True)
class Effect:
    """What a batch did: success, reasons, logs without their `verified`, the Ledger's storage root, the gas."""

    succeeded: bool
    output: bytes
    logs: tuple[Log, ...]
    verified: tuple[bool, ...]
    storage_root: bytes


def effect(replica: Replica, batch: bytes, *, job: int = 1) -> Effect:
    """Run a batch in the next block of a replica and forget it."""
    state = replica.reader.state(pending=True, timestamp=replica.time)
    call = Call(to=Address(LEDGER), sender=edge(1).address, data=Ledger.encode_record_batch(job, batch))
    result = replica.reader.run(state, call)
    state.make_state_root()
    account = state.accounts._find(Address(LEDGER))  # noqa: SLF001 - no opcode tells a root
    assert account is not None
    root = account.storage_root
    recorded = [log for log in result.logs if len(log.data) > 32]
    verified = tuple(bool(int.from_bytes(log.data[RECORDED_DATA_VERIFIED], "big")) for log in recorded)
    logs = tuple(replace(log, data=log.data[: 7 * 32]) for log in result.logs)
    return Effect(result.succeeded, result.output, logs, verified, root)


def reasons(effect_: Effect) -> list[int]:
    return list(Ledger.decode_record_batch(effect_.output))


# What can stand in an entry; most draws are valid, so that marks and sequence numbers move.
BODIES = st.fixed_dictionaries(
    {
        "client": st.sampled_from([1, 1, 2, 3, 5, 4, 9]),
        "base": st.sampled_from([3, 3, 3, 2, 1, 0, 4, 2**64 - 1]),
        "counter": st.sampled_from([0, 1, 2, 7, 8, 2**32 - 1]),
        "length": st.sampled_from([116] * 8 + [115, 0, 2**64 - 1]),
        "expiry": st.sampled_from(["now", "later", "past", "never"]),
        "digest": st.integers(0, 3),
        "signer": st.sampled_from(["own"] * 8 + ["other", "stranger", "ended", "edge"]),
        "scheme": st.sampled_from(["own"] * 8 + ["wrong", "unknown"]),
        "job": st.sampled_from([1] * 12 + [2]),
    }
)


def entry(replica: Replica, draw: dict[str, Any]) -> bytes:
    """Encode one drawn entry, signed for this replica (signatures are always good here: only one side checks them)."""
    number = draw["client"]
    signer = {
        "own": client(min(number, CLIENTS)),
        "other": client(2),
        "stranger": STRANGER,
        "ended": key("client 3, second key"),
        "edge": edge(2),
    }[draw["signer"]]
    expiry = {"now": replica.time, "later": replica.time + 1, "past": replica.time - 1, "never": 2**64 - 1}
    record = Record(
        job=draw["job"],
        client=client_id(number),
        base=draw["base"],
        counter=draw["counter"],
        digest=keccak256(bytes([draw["digest"]])),
        length=draw["length"],
        expiry=expiry[draw["expiry"]],
    )
    own = signer.scheme
    wrong = Scheme.ML_DSA_44 if own is Scheme.ML_DSA_65 else Scheme.ML_DSA_65
    signature = signer.sign(record.message(LEDGER), record_context(replica.genesis_hash))
    scheme = {"own": int(own), "wrong": int(wrong), "unknown": 87}[draw["scheme"]]
    padded = signature.ljust(SIGNATURE_BYTES.get(scheme, len(signature)), b"\1")
    return record.encode() + bytes([scheme]) + signer.address + padded[: SIGNATURE_BYTES.get(scheme, len(signature))]


@settings(max_examples=60)
@given(draws=st.lists(BODIES, min_size=1, max_size=6), cut=st.sampled_from([0] * 6 + [1, 500, 3000]))
def test_native_batches_do_what_the_vyper_loop_does(draws: list[dict[str, Any]], cut: int) -> None:
    native, vyper = pair()
    effects = []
    for replica in (native, vyper):
        batch = b"".join(entry(replica, draw) for draw in draws)
        effects.append(effect(replica, batch[: len(batch) - cut]))
    mine, reference = effects
    assert (mine.succeeded, mine.output, mine.logs) == (reference.succeeded, reference.output, reference.logs)
    assert mine.storage_root == reference.storage_root
    assert all(mine.verified)
    assert not any(reference.verified)


def test_base_states_of_both_paths_are_equal_to_begin_with() -> None:
    native, vyper = pair()
    roots = [replica.reader.account(Address(LEDGER)).storage_root for replica in (native, vyper)]
    assert roots[0] == roots[1]
    assert native.ledger_word(slot("Ledger", "_jobs", 1, "next_sequence")) == 3


def test_a_full_batch_and_one_too_many_agree_with_the_vyper_loop() -> None:
    native, vyper = pair()
    for count in (128, 129):
        effects = []
        for replica in (native, vyper):
            first = replica.record(2, base=3)
            batch = b"".join(
                replace(first, record=replace(first.record, counter=counter)).encode() for counter in range(count)
            )
            effects.append(effect(replica, batch))
        # all but the first entry carry the first one's signature, which only the native side looks at
        assert len(reasons(effects[0])) == len(reasons(effects[1])) == count
        assert reasons(effects[0])[:2] == [0, 1]
        assert reasons(effects[0])[128:] == reasons(effects[1])[128:] == [10] * (count - 128)


def test_signature_is_judged_last_and_only_natively() -> None:
    native, _ = pair()
    good = native.record(2, base=3)
    forged = replace(good, signature=bytes(len(good.signature)))
    stale = replace(native.record(3, base=0), signature=bytes(SIGNATURE_BYTES[44]))
    outcome = effect(native, encode_batch([forged, stale, good]))
    assert reasons(outcome) == [1, 6, 0]


@pytest.mark.parametrize("bit", [0, 76 * 8 - 1])
def test_a_flipped_bit_of_the_body_breaks_the_signature(bit: int) -> None:
    native, _ = pair()
    data = bytearray(native.record(2, base=3).encode())
    data[28 + bit // 8 % 32] ^= 1 << bit % 8  # within the digest, which no other rule looks at
    assert reasons(effect(native, bytes(data))) == [1]


def test_signature_of_another_ledger_or_of_another_use_does_not_count() -> None:
    native, _ = pair()
    record = native.record(2, base=3).record
    signing = client(2)
    contexts = (record_context(bytes(32)), b"merit/tx/1" + native.genesis_hash, b"")
    for context in contexts:
        signature = signing.sign(record.message(LEDGER), context)
        entry_ = SignedRecord(record, signing.scheme, signing.address, signature)
        assert reasons(effect(native, entry_.encode())) == [1]
    other_ledger = signing.sign(record.message(REGISTRY), record_context(native.genesis_hash))
    entry_ = SignedRecord(record, signing.scheme, signing.address, other_ledger)
    assert reasons(effect(native, entry_.encode())) == [1]


def test_events_read_back_as_the_contracts_events() -> None:
    native, _ = pair()
    good, late = native.record(2, base=3), native.record(3, base=3, expiry=native.time - 1)
    outcome = effect(native, encode_batch([good, late]))
    place: dict[str, Any] = {"block": 1, "log_index": 0, "transaction": bytes(32)}
    recorded = decode_event(outcome.logs[0].topics, outcome.logs[0].data + (1).to_bytes(32, "big"), **place)
    assert isinstance(recorded, Recorded)
    assert (recorded.client, recorded.sequence, recorded.signer) == (client_id(2), 3, client(2).address)
    assert recorded.submitter == edge(1).address
    refused = decode_event(outcome.logs[1].topics, outcome.logs[1].data, **place)
    assert isinstance(refused, Refused)
    assert (refused.client, refused.reason) == (client_id(3), 4)


@pytest.mark.parametrize(
    ("sender", "job", "reason"),
    [
        (client(1), 1, "Ledger: caller has another role"),
        (STRANGER, 1, "Ledger: caller's key is unknown or not in force"),
        (edge(1), 2, "Ledger: job is not open"),
    ],
)
def test_the_contract_still_says_who_may_and_when(sender: Any, job: int, reason: str) -> None:
    native, _ = pair()
    data = Ledger.encode_record_batch(job, native.record(2, base=3).encode())
    result = native.reader.call(Call(to=Address(LEDGER), sender=sender.address, data=data), pending=True)
    assert result.reason == reason


def test_verifier_answers_its_probe_and_nobody_else_but_the_ledger() -> None:
    native, _ = pair()
    probe = native.reader.call(Call(to=Address(VERIFIER), data=PROBE))
    assert probe.output == keccak256(PROBE_ANSWER_PREIMAGE)
    data = Ledger.encode_record_batch(1, native.record(2, base=3).encode())
    direct = native.reader.call(Call(to=Address(VERIFIER), sender=edge(1).address, data=data))
    assert not direct.succeeded
    assert "Ledger only" in direct.reason


@pytest.mark.parametrize("damage", ["offset", "length", "cut"])
def test_call_data_that_is_not_canonical_fails_as_a_whole(damage: str) -> None:
    native, _ = pair()
    data = bytearray(Ledger.encode_record_batch(1, native.record(2, base=3).encode()))
    if damage == "offset":
        data[67] += 32
        data[68:68] = bytes(32)
    elif damage == "length":
        data[96] = 1
    else:
        del data[-60:]
    result = native.reader.call(Call(to=Address(LEDGER), sender=edge(1).address, data=bytes(data)), pending=True)
    assert not result.succeeded


def test_gas_rises_by_the_same_step_with_every_record() -> None:
    native, _ = pair()
    used = []
    for count in (1, 2, 3):
        batch = encode_batch([native.record(2, base=3, counter=counter) for counter in range(count)])
        data = Ledger.encode_record_batch(1, batch)
        result = native.reader.call(Call(to=Address(LEDGER), sender=edge(1).address, data=data), pending=True)
        assert result.succeeded
        used.append(result.gas_used)
    step = records.ENTRY_GAS + records.ENTRY_SIGNATURE_GAS[44]
    assert step <= used[1] - used[0] < step + 6_000  # the rest is the EVM moving call data
    assert abs((used[2] - used[1]) - (used[1] - used[0])) < 100


def test_batch_without_enough_gas_changes_nothing() -> None:
    replica = Replica()
    replica.open_job()
    before = replica.reader.account(Address(LEDGER)).storage_root
    batch = replica.batch(*(replica.record(number) for number in (1, 2, 3)), gas=400_000)
    (result,) = replica.height(batch).results
    assert result.code is Code.REVERTED
    assert replica.reader.account(Address(LEDGER)).storage_root == before


def test_key_ended_in_a_block_still_counts_in_that_block_and_no_longer() -> None:
    replica = Replica()
    replica.open_job()
    end = replica.sign(GOVERNOR, REGISTRY, Registry.encode_end_key(client(2).address))
    finalized = replica.height(end, replica.batch(replica.record(2)))
    assert [decode_reason(log) for log in finalized.results[1].logs] == [0]
    finalized = replica.height(replica.batch(replica.record(2, counter=1)))
    assert [decode_reason(log) for log in finalized.results[0].logs] == [2]


def decode_reason(log: Log) -> int:
    return 0 if len(log.data) > 32 else int.from_bytes(log.data, "big")


def test_budget_stops_records_one_by_one() -> None:
    replica = Replica()
    replica.open_job(budget=TERMS.base_reward)  # one round of phi = 3 records
    finalized = replica.height(replica.batch(*(replica.record(number) for number in (1, 2, 3, 5))))
    assert [decode_reason(log) for log in finalized.results[0].logs] == [0, 0, 0, 9]


def test_edge_and_client_numbers_of_this_file_hold() -> None:
    assert client_id(1) == EDGES + 1
