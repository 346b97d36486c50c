"""The bindings say everything the ABI says, and decode what nodes get from web3."""

from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from eth_abi.abi import encode
from hexbytes import HexBytes
from web3 import EthereumTesterProvider, Web3

from contracts.abi import revert_reason, topic_of, type_of
from contracts.addresses import ZERO
from contracts.artifacts import NAMES, initcode, load, newest
from contracts.bindings import Council, JobState, Key, Ledger, Registry, Role, RoundState, Token
from contracts.calls import Call
from contracts.digests import Part
from contracts.errors import EventError
from contracts.events import (
    EVENTS,
    Credited,
    Event,
    JobCreated,
    JobOpened,
    MemberAdmitted,
    Proposed,
    Recorded,
    Transfer,
    decode_event,
    decode_events,
    event_topic,
)
from contracts.terms import JobTerms
from tests.contracts.world import TERMS, World, account

PLACE = {"block": 7, "log_index": 3, "transaction": b"t" * 32}


def abi(kind: str) -> list[Mapping[str, Any]]:
    return [entry for name in NAMES for entry in load(name, newest(name)).abi if entry["type"] == kind]


@pytest.mark.parametrize("entry", abi("event"), ids=lambda entry: entry["name"])
def test_event_class_has_the_fields_of_the_abi_indexed_ones_first(entry: Mapping[str, Any]) -> None:
    names = [item["name"] for item in entry["inputs"]]
    assert [field.name for field in fields(EVENTS[entry["name"]])] == ["block", "log_index", "transaction", *names]
    indexed = [item["indexed"] for item in entry["inputs"]]
    assert indexed == sorted(indexed, reverse=True)
    assert event_topic(entry["name"]) == topic_of(entry)


def test_no_event_class_is_without_an_event() -> None:
    assert EVENTS.keys() == {entry["name"] for entry in abi("event")}


def test_structs_of_the_bindings_are_those_of_the_contract() -> None:
    structs = {name: [member for member, _ in members] for name, members in load("Ledger").structs.items()}
    for kind, name in ((JobTerms, "JobTerms"), (JobState, "Job"), (RoundState, "Round"), (Part, "Part")):
        assert [field.name for field in fields(kind)] == structs[name]


@pytest.mark.parametrize("bindings", [Registry, Token, Ledger, Council])
def test_every_function_that_changes_something_has_call_data(bindings: Any) -> None:
    for entry in load(bindings.name, newest(bindings.name)).abi:
        if entry["type"] == "function" and entry["stateMutability"] == "nonpayable":
            words = "".join("_" + letter.lower() if letter.isupper() else letter for letter in entry["name"])
            assert hasattr(bindings, f"encode_{words}"), words


def sample(kind: str, seed: int) -> Any:
    """Return some value of an ABI type, as eth_abi takes it."""
    if kind.endswith("[]"):
        return [sample(kind[:-2], seed + at) for at in range(3)]
    if kind.startswith("("):
        return tuple(sample(part, seed + at) for at, part in enumerate(kind[1:-1].split(",")))
    match kind:
        case "address":
            return "0x" + bytes([seed % 256] * 20).hex()
        case "bool":
            return bool(seed % 2)
        case "bytes32":
            return bytes([seed % 256] * 32)
        case "bytes":
            return bytes([seed % 256] * 41)
        case "string":
            return "why " * seed
        case _:
            return seed % 251


def plain(value: Any) -> Any:
    """Return what a field holds as eth_abi would have it."""
    match value:
        case JobTerms() | Part() | Call():
            return tuple(plain(getattr(value, field.name)) for field in fields(value))
        case tuple():
            return [plain(item) for item in value]
        case bytes() if len(value) == 20:
            return "0x" + value.hex()
        case _:
            return value


@pytest.mark.parametrize("entry", abi("event"), ids=lambda entry: entry["name"])
def test_event_decodes_to_what_a_general_encoder_put_in(entry: Mapping[str, Any]) -> None:
    kinds = [(type_of(item), item["indexed"]) for item in entry["inputs"]]
    values = [sample(kind, seed) for seed, (kind, _) in enumerate(kinds, start=3)]
    topics = [topic_of(entry)]
    topics += [encode([kind], [value]) for value, (kind, indexed) in zip(values, kinds, strict=True) if indexed]
    data_kinds = [kind for kind, indexed in kinds if not indexed]
    data = encode(data_kinds, [value for value, (_, indexed) in zip(values, kinds, strict=True) if not indexed])
    event = decode_event(topics, data, **PLACE)  # type: ignore[arg-type]  # the place of the log
    assert type(event) is EVENTS[entry["name"]]
    assert [plain(getattr(event, field.name)) for field in fields(event)] == [*PLACE.values(), *values]
    with pytest.raises(EventError):
        decode_event(topics[:-1] if len(topics) > 1 else [*topics, bytes(32)], data, **PLACE)  # type: ignore[arg-type]
    if data:
        with pytest.raises(EventError):
            decode_event(topics, data[:-1], **PLACE)  # type: ignore[arg-type]


def test_text_that_is_no_utf_8_is_escaped_and_stops_nobody() -> None:
    topics = [event_topic("Proposed"), bytes(32), bytes(32)]
    data = encode(["uint256", "bytes", "(address,bytes)[]"], [9, b"\xff why", []])
    event = decode_event(topics, data, **PLACE)  # type: ignore[arg-type]  # the place of the log
    assert isinstance(event, Proposed)
    assert event.text == "\\xff why"


def test_foreign_logs_are_left_out() -> None:
    topic, ours, theirs = event_topic("Ticked"), account("ours"), account("theirs")
    log = {
        "address": "0x" + ours.hex(),
        "topics": [HexBytes(topic), HexBytes(account("x").rjust(32, b"\0"))],
        "data": HexBytes(b""),
        "blockNumber": 1,
        "logIndex": 0,
        "transactionHash": HexBytes(bytes(32)),
    }
    logs = [
        log,
        log | {"address": "0x" + theirs.hex()},
        log | {"topics": [HexBytes(bytes(32))]},
        log | {"topics": []},
    ]
    assert len(decode_events(logs)) == 2
    assert len(decode_events(logs, [ours])) == 1
    with pytest.raises(EventError, match="there is no such event"):
        event_topic("Nothing")


def test_reverted_call_without_a_reason_gives_none() -> None:
    assert revert_reason(b"") is None
    assert revert_reason(b"\x4e\x48\x7b\x71" + bytes(32)) is None
    assert revert_reason(b"\x08\xc3\x79\xa0" + encode(["string"], ["because"])) == "because"


def test_views_ask_at_the_height_that_they_are_given() -> None:
    asked = []

    def call(transaction: Mapping[str, Any], at: object) -> bytes:
        asked.append((transaction["to"], at))
        return encode(["uint256"], [9])

    w3: Any = SimpleNamespace(eth=SimpleNamespace(call=call), to_checksum_address=lambda address: address)
    ledger = Ledger(w3, account("ledger"))
    assert (ledger.job_count(), ledger.job_count(at=17)) == (9, 9)
    assert asked == [(account("ledger"), "latest"), (account("ledger"), 17)]


def test_every_view_answers_in_the_types_it_promises(world: World) -> None:
    registry, token, ledger = world.registry, world.token, world.ledger
    assert registry.member_of(account("member 1")) == 1
    assert registry.key_valid_at(account("member 1"), world.height)
    assert registry.keys(1) == (Key(account("member 1"), 0, 6, 2**256 - 1),)
    assert registry.edge_set_count() == 1
    assert token.allowance(account("member 10"), world.ledger_at) == 2**256 - 1
    assert ledger.acknowledged_up_to(1, 1) == ledger.support(1, 1, bytes(32)) == ledger.releasable(1) == 0
    assert ledger.terms(1) == TERMS
    assert not ledger.acknowledged_job(1, 4)


def test_contracts_and_bindings_run_on_another_evm_chain_through_web3() -> None:
    """The whole path that a node takes on eth-tester: deploy, admit, fund, open a job, record, read events."""
    w3 = Web3(EthereumTesterProvider())
    accounts = [bytes.fromhex(address[2:]) for address in w3.eth.accounts]
    governor, edge, client, sponsor = accounts[:4]

    def send(sender: bytes, to: bytes | None, data: bytes) -> tuple[bytes, list[Event]]:
        transaction: Any = {"from": w3.to_checksum_address(sender), "data": data, "gas": 8_000_000}
        if to is not None:
            transaction["to"] = w3.to_checksum_address(to)
        receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_transaction(transaction))
        assert receipt["status"] == 1
        return bytes.fromhex((receipt["contractAddress"] or "0x")[2:]), decode_events(receipt["logs"])

    registry_at, _ = send(governor, None, initcode("Registry", governor, ZERO))
    token_at, _ = send(governor, None, initcode("Token", registry_at))
    ledger_at, _ = send(governor, None, initcode("Ledger", registry_at, token_at, ZERO))
    registry, token, ledger = Registry(w3, registry_at), Token(w3, token_at), Ledger(w3, ledger_at)
    for role, who in ((Role.EDGE_SERVER, edge), (Role.CLIENT, client), (Role.SPONSOR, sponsor)):
        _, events = send(governor, registry_at, Registry.encode_admit(role, 0, who, who))
        assert isinstance(events[0], MemberAdmitted)
    send(governor, registry_at, Registry.encode_set_edge_set([1]))
    _, events = send(governor, token_at, Token.encode_mint(sponsor, 10**20))
    assert isinstance(events[0], Transfer)
    send(sponsor, token_at, Token.encode_approve(ledger_at, 10**20))
    _, events = send(sponsor, ledger_at, Ledger.encode_create_job(TERMS, 10**20))
    assert [type(event) for event in events] == [JobCreated, Transfer]
    _, events = send(edge, ledger_at, Ledger.encode_acknowledge_job(1))
    assert isinstance(events[-1], JobOpened)
    from contracts.records import Record  # noqa: PLC0415 - only this test makes one by hand

    said = Record(1, 2, 0, 0, b"d" * 32, 96 + 2 * TERMS.dimension, 2**40)
    _, events = send(client, ledger_at, Ledger.encode_record(said))
    (recorded,) = events
    assert isinstance(recorded, Recorded)
    assert (recorded.signer, recorded.digest, recorded.block) == (client, b"d" * 32, w3.eth.block_number)
    assert ledger.job(1).next_sequence == 1
    assert token.balance_of(ledger_at) == ledger.accounts(1).escrow == 10**20
    assert registry.edge_set(1) == (1,)
    found = ledger.events(0, w3.eth.block_number)
    assert [type(event).__name__ for event in found] == ["JobCreated", "JobAcknowledged", "JobOpened", "Recorded"]
    assert found[-1] == recorded
    assert ledger.job(1, at=recorded.block - 1).next_sequence == 0
    assert not [event for event in found if isinstance(event, Credited)]
