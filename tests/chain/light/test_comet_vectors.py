"""Every byte and hash equals what CometBFT 0.40.0 makes of the same input (vectors/README.md)."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chain import light
from chain.crypto.schemes import Scheme, SigningKey
from chain.light import errors as light_errors
from chain.light.types import GO_ZERO_TIME, TOTAL_POWER_MAX

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "comet.json").read_text())
CHAIN_ID: str = VECTORS["chain_id"]


def timestamp(item: dict[str, int]) -> light.Timestamp:
    return light.Timestamp(item["seconds"], item["nanos"])


def block_id(item: dict[str, Any]) -> light.BlockId:
    return light.BlockId(
        bytes.fromhex(item["hash"]), light.PartSetHeader(item["parts_total"], bytes.fromhex(item["parts_hash"]))
    )


def header(item: dict[str, Any]) -> light.Header:
    hashes: dict[str, Any] = {
        name: bytes.fromhex(item[name]) for name in item if name.endswith(("_hash", "_address")) and name != "hash"
    }
    return light.Header(
        app_version=item["app_version"],
        chain_id=item["chain_id"],
        height=light.Height(item["height"]),
        time=timestamp(item["time"]),
        last_block_id=block_id(item["last_block_id"]),
        **hashes,
    )


def commit(item: dict[str, Any]) -> light.Commit:
    slots = tuple(
        light.CommitSig(
            slot["flag"],
            bytes.fromhex(slot["validator_address"]),
            timestamp(slot["timestamp"]),
            bytes.fromhex(slot["signature"]),
        )
        for slot in item["signatures"]
    )
    return light.Commit(light.Height(item["height"]), item["round"], block_id(item["block_id"]), slots)


@cache
def validators() -> light.ValidatorSet:
    return light.ValidatorSet.of(
        light.Validator(SigningKey.from_seed(Scheme.ML_DSA_65, bytes.fromhex(item["seed"])).public_key, item["power"])
        for item in VECTORS["validators"]
    )


def long_transaction() -> bytes:
    return bytes(i * 7 % 256 for i in range(150_000))


def transactions(height: int) -> tuple[bytes, ...]:
    if height < 3:
        return tuple(bytes.fromhex(tx) for tx in VECTORS["blocks"][height - 1]["txs"])
    digest = hashlib.sha256(b"tx").digest()
    return digest[:8], digest[:16], long_transaction()


def blocks() -> list[light.Block]:
    headers = [header(item) for item in VECTORS["headers"][:3]]
    last_commits = [light.EMPTY_COMMIT, *(commit(item) for item in VECTORS["commits"][:2])]
    return [light.Block(h, transactions(h.height), last) for h, last in zip(headers, last_commits, strict=True)]


@pytest.mark.parametrize("item", VECTORS["validators"], ids=lambda item: item["seed"][:2])
def test_keys_and_addresses_of_a_seed_are_comets(item: dict[str, Any]) -> None:
    key = SigningKey.from_seed(Scheme.ML_DSA_65, bytes.fromhex(item["seed"])).public_key
    assert hashlib.sha256(key).hexdigest() == item["public_key_sha256"]
    assert light.validator_address(key).hex() == item["address"]


def test_validators_are_ordered_and_hashed_as_comet_does() -> None:
    assert [address.hex() for address in validators().addresses] == VECTORS["validator_order"]
    assert light.validators_hash(validators()).hex() == VECTORS["validators_hash"]


@pytest.mark.parametrize("item", VECTORS["headers"], ids=range(len(VECTORS["headers"])))
def test_header_bytes_and_hash_are_comets(item: dict[str, Any]) -> None:
    assert light.encode_header(header(item)).hex() == item["encoded"]
    assert light.decode_header(bytes.fromhex(item["encoded"])) == header(item)
    assert light.header_hash(header(item)).hex() == item["hash"]


@pytest.mark.parametrize("item", VECTORS["commits"], ids=("all", "absent", "nil"))
def test_commit_bytes_hash_and_sign_bytes_are_comets(item: dict[str, Any]) -> None:
    decoded = commit(item)
    assert light.encode_commit(decoded).hex() == item["encoded"]
    assert light.decode_commit(bytes.fromhex(item["encoded"])) == decoded
    assert light.commit_hash(decoded).hex() == item["hash"]
    for index, slot in enumerate(item["signatures"]):
        if "sign_bytes" in slot:
            assert light.commit_sign_bytes(decoded, index, CHAIN_ID).hex() == slot["sign_bytes"]


def test_an_absent_slot_has_comets_zero_time() -> None:
    assert light.ABSENT in commit(VECTORS["commits"][1]).signatures
    assert light.ABSENT.timestamp == GO_ZERO_TIME


@pytest.mark.parametrize("item", VECTORS["votes"], ids=range(len(VECTORS["votes"])))
def test_vote_sign_bytes_are_comets(item: dict[str, Any]) -> None:
    vote = light.CanonicalVote(
        light.VoteType(item["type"]),
        light.Height(item["height"]),
        item["round"],
        block_id(item["block_id"]),
        timestamp(item["timestamp"]),
    )
    assert light.vote_sign_bytes(vote, CHAIN_ID).hex() == item["sign_bytes"]


@pytest.mark.parametrize("item", VECTORS["data"], ids=lambda item: str(len(item["txs"])))
def test_data_hash_is_comets(item: dict[str, Any]) -> None:
    assert light.data_hash([bytes.fromhex(tx) for tx in item["txs"]]).hex() == item["hash"]


@pytest.mark.parametrize("item", VECTORS["results"], ids=lambda item: str(len(item["results"])))
def test_results_hash_is_comets(item: dict[str, Any]) -> None:
    results = [light.TxResult(**(result | {"data": bytes.fromhex(result["data"])})) for result in item["results"]]
    assert light.results_hash(results).hex() == item["hash"]


@pytest.mark.parametrize("item", VECTORS["consensus"], ids=lambda item: str(item["block_max_bytes"]))
def test_consensus_hash_is_comets(item: dict[str, Any]) -> None:
    params = light.ConsensusParams(item["block_max_bytes"], item["block_max_gas"])
    assert light.consensus_hash(params).hex() == item["hash"]


def test_evidence_hash_is_comets() -> None:
    evidence = [bytes.fromhex(raw) for raw in VECTORS["evidence"]["evidence"]]
    assert light.evidence_hash(evidence).hex() == VECTORS["evidence"]["hash"]
    assert light.evidence_hash([]) == hashlib.sha256(b"").digest()


def test_what_the_application_hears_of_evidence_is_comets() -> None:
    told = [
        (one.kind, one.validator.hex(), one.power, one.height, one.time, one.total_power)
        for raw in VECTORS["evidence"]["evidence"]
        for one in light.accusations(light.decode_evidence(bytes.fromhex(raw)))
    ]
    assert told == [
        (one["type"], one["validator"], one["power"], one["height"], timestamp(one["time"]), one["total_power"])
        for one in VECTORS["evidence"]["misbehavior"]
    ]


@pytest.mark.parametrize("raw", VECTORS["evidence"]["evidence"], ids=["two blocks", "nil and a block", "attack"])
def test_no_byte_of_evidence_can_be_changed_without_another_hash_or_a_refusal(raw: str) -> None:
    good = bytes.fromhex(raw)
    assert light.encode_evidence(light.decode_evidence(good)) == good
    assert light.decode_evidence_list(light.encode_evidence_list([good, good])) == (good, good)
    name = light.evidence_hash([good])
    for at in range(0, len(good), 97):
        bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        try:
            assert light.evidence_hash([bad]) != name
        except light_errors.MalformedRecordError:
            continue


@pytest.mark.parametrize("height", [1, 2, 3])
def test_block_bytes_and_id_are_comets(height: int) -> None:
    block = blocks()[height - 1]
    encoded = light.encode_block(block)
    assert hashlib.sha256(encoded).hexdigest() == VECTORS["blocks"][height - 1]["block_sha256"]
    assert light.decode_block(encoded) == block
    decided = block_id(VECTORS["commits"][height - 1]["block_id"])
    assert light.block_id(block) == decided
    light.verify_block(block, decided)


@pytest.mark.parametrize("height", [1, 2, 3])
def test_median_time_is_comets(height: int) -> None:
    median = light.median_time(commit(VECTORS["commits"][height - 1]), validators())
    assert median == timestamp(VECTORS["blocks"][height - 1]["median_of_commit"])


def test_a_chain_made_by_comet_verifies() -> None:
    first, *rest = zip(
        (header(item) for item in VECTORS["headers"][:3]),
        (commit(item) for item in VECTORS["commits"]),
        strict=True,
    )
    app_hash = hashlib.sha256(b"app1").digest()
    trusted = light.verify_first(
        *first, validators(), CHAIN_ID, genesis_time=timestamp(VECTORS["genesis_time"]), app_hash=app_hash
    )
    assert light.verify_chain(trusted, rest).header.height == 3


def test_powers_are_bounded_as_in_comet() -> None:
    keys = [validator.public_key for validator in validators()]
    light.ValidatorSet.of([light.Validator(keys[0], TOTAL_POWER_MAX)])
    assert TOTAL_POWER_MAX == (1 << 60) - 1
