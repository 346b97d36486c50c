"""Builds validators, headers and commits for the tests of the light client."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from chain import light
from chain.crypto.schemes import Scheme, SigningKey

CHAIN_ID = "merit-test"
GENESIS_TIME = light.Timestamp(1_700_000_000)
EMPTY = light.data_hash(())


@cache
def key(number: int) -> SigningKey:
    return SigningKey.from_seed(Scheme.ML_DSA_65, bytes([number]) * 32)


@cache
def validator_set(powers: tuple[int, ...] = (1, 1, 1, 1)) -> light.ValidatorSet:
    return light.ValidatorSet.of(
        light.Validator(key(number).public_key, power) for number, power in enumerate(powers, start=1)
    )


@cache
def key_of(address: bytes) -> SigningKey:
    return next(key(n) for n in range(1, 32) if light.validator_address(key(n).public_key) == address)


def make_header(validators: light.ValidatorSet, height: int = 1, **changes: object) -> light.Header:
    fields: dict[str, object] = {
        "app_version": 1,
        "chain_id": CHAIN_ID,
        "height": light.Height(height),
        "time": GENESIS_TIME,
        "last_block_id": light.NIL_BLOCK_ID,
        "last_commit_hash": light.commit_hash(light.EMPTY_COMMIT),
        "data_hash": EMPTY,
        "validators_hash": light.validators_hash(validators),
        "next_validators_hash": light.validators_hash(validators),
        "consensus_hash": light.consensus_hash(light.ConsensusParams(1 << 20)),
        "app_hash": b"\x01" * 32,
        "last_results_hash": EMPTY,
        "evidence_hash": EMPTY,
        "proposer_address": validators.addresses[0],
    }
    return light.Header(**(fields | changes))  # type: ignore[arg-type]


def make_commit(
    header: light.Header,
    validators: light.ValidatorSet,
    flags: Sequence[light.BlockIdFlag] | None = None,
    *,
    chain_id: str = CHAIN_ID,
    round_: int = 0,
) -> light.Commit:
    """Sign `header`; the vote of slot i is i + 1 seconds later than the header."""
    slots = []
    for index, address in enumerate(validators.addresses):
        flag = flags[index] if flags else light.BlockIdFlag.COMMIT
        when = light.Timestamp(header.time.seconds + index + 1)
        slots.append(light.ABSENT if flag == light.BlockIdFlag.ABSENT else light.CommitSig(flag, address, when, b""))
    block_id = light.BlockId(light.header_hash(header), light.PartSetHeader(1, b"\x07" * 32))
    return sign(light.Commit(header.height, round_, block_id, tuple(slots)), chain_id=chain_id)


def sign(commit: light.Commit, *, chain_id: str = CHAIN_ID) -> light.Commit:
    """Let each slot's validator sign what the commit now says."""
    return replace(
        commit,
        signatures=tuple(
            slot
            if slot.flag == light.BlockIdFlag.ABSENT
            else replace(
                slot,
                signature=key_of(slot.validator_address).sign(
                    light.commit_sign_bytes(commit, index, chain_id), light.VOTE_CONTEXT
                ),
            )
            for index, slot in enumerate(commit.signatures)
        ),
    )


def with_slot(commit: light.Commit, index: int, slot: light.CommitSig) -> light.Commit:
    slots = list(commit.signatures)
    slots[index] = slot
    return replace(commit, signatures=tuple(slots))
