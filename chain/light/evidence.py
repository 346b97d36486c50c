"""What evidence in a block proves against validators, and what an application hears of it.

CometBFT's own nodes have checked all of it before they voted for the block (evidence/verify.go). Whoever replays a
chain checks it again: otherwise a quorum could have a validator punished for what it never did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn, Protocol

from chain.crypto.schemes import Scheme, verify
from chain.light.encoding import encode_part_set_header, vote_sign_bytes
from chain.light.errors import EvidenceError
from chain.light.hashes import header_hash, validators_hash
from chain.light.types import (
    BlockIdFlag,
    CanonicalVote,
    DuplicateVote,
    LightClientAttack,
    Validator,
    ValidatorSet,
    VoteType,
    validator_address,
)
from chain.light.verify import VOTE_CONTEXT, commit_sign_bytes, has_quorum

if TYPE_CHECKING:
    from chain.light.types import BlockId, Evidence, Header, Height, Timestamp


class AccusationKind(IntEnum):
    """ABCI 2.0, MisbehaviorType."""

    DUPLICATE_VOTE = 1
    LIGHT_CLIENT_ATTACK = 2


@dataclass(frozen=True, slots=True)
class Accusation:
    """What an application hears about one validator (ABCI 2.0, Misbehavior); `validator` is its address."""

    kind: AccusationKind
    validator: bytes
    power: int
    height: Height
    time: Timestamp
    total_power: int


@dataclass(frozen=True, slots=True)
class EvidenceAge:
    """How long after a fault its evidence may come: it is too old when both bounds are passed."""

    heights: int
    nanoseconds: int


class Past(Protocol):
    """What a verifier knows of the heights before the block that holds evidence."""

    def validators(self, height: Height) -> ValidatorSet:
        """Return the validators of a decided height."""
        ...

    def time(self, height: Height) -> Timestamp:
        """Return the time in its header."""
        ...

    def header_hash(self, height: Height) -> bytes:
        """Return its header's hash."""
        ...


def accusations(evidence: Evidence) -> tuple[Accusation, ...]:
    """Return what CometBFT tells the application (types/evidence.go, `ABCI`), in its order."""
    accused: list[tuple[bytes, int]]
    match evidence:
        case DuplicateVote(vote_a=vote):
            kind, height = AccusationKind.DUPLICATE_VOTE, vote.height
            accused = [(vote.validator_address, evidence.validator_power)]
        case LightClientAttack():
            kind, height = AccusationKind.LIGHT_CLIENT_ATTACK, evidence.common_height
            accused = [(validator_address(one.public_key), one.power) for one in evidence.byzantine]
    return tuple(
        Accusation(kind, address, power, height, evidence.timestamp, evidence.total_power) for address, power in accused
    )


def fault_of(evidence: Evidence) -> tuple[object, ...]:
    """Return what tells one fault from another: a chain accepts evidence of each once (`LightClientAttack.Hash`)."""
    match evidence:
        case DuplicateVote():
            return (evidence,)
        case LightClientAttack():
            return evidence.common_height, header_hash(evidence.header)


def verify_evidence(evidence: Evidence, last: Header, past: Past, chain_id: str, age: EvidenceAge) -> None:
    """Check evidence in the block after `last` against the chain before it; raises LightError, mostly EvidenceError.

    Of a light client attack it is checked that the false header is certified and none of this chain, and that each
    accused validator had its power then and signed it; not that nobody else should have been accused.
    """
    check = _Check(last.height + 1)
    height = evidence.vote_a.height if isinstance(evidence, DuplicateVote) else evidence.common_height
    if not 1 <= height <= last.height:
        check.fails("height of the fault", f"1 to {last.height}", str(height))
    check.same("time", str(past.time(height)), str(evidence.timestamp))
    validators = past.validators(height)
    check.same("total power", str(validators.total_power), str(evidence.total_power))
    elapsed = last.time.to_ns() - evidence.timestamp.to_ns()
    if last.height - height > age.heights and elapsed > age.nanoseconds:
        check.fails("age", f"at most {age.heights} heights or {age.nanoseconds} ns", f"{last.height - height} heights")
    if isinstance(evidence, DuplicateVote):
        _verify_duplicate(evidence, validators, chain_id, check)
    else:
        _verify_attack(evidence, validators, chain_id, check)
        if evidence.header.height <= last.height:
            decided = past.header_hash(evidence.header.height)
            if decided == evidence.commit.block_id.hash:
                check.fails("false header", "one that is not this chain's", f"0x{decided.hex()}")


class _Check:
    """Names what is wrong in the block that holds the evidence."""

    def __init__(self, height: int) -> None:
        self._height = height

    def same(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.fails(what, str(expected), str(found))

    def fails(self, what: str, expected: str, found: str) -> NoReturn:
        raise EvidenceError(self._height, what, expected, found)


def _verify_duplicate(evidence: DuplicateVote, validators: ValidatorSet, chain_id: str, check: _Check) -> None:
    """CometBFT's `VerifyDuplicateVote` and `ValidateBasic`."""
    first, second = evidence.vote_a, evidence.vote_b
    if first.kind not in {VoteType.PREVOTE, VoteType.PRECOMMIT} or first.round < 0:
        check.fails("votes", "prevotes or precommits of a round from 0 on", f"kind {first.kind}, round {first.round}")
    for what in ("height", "round", "kind", "validator_address"):
        check.same(f"{what} of both votes", getattr(first, what), getattr(second, what))
    if not _rank(first.block_id) < _rank(second.block_id):
        check.fails("blocks", "two, the lesser one first", "one block, or the other order")
    accused = next((one for one in validators if one.address == first.validator_address), None)
    if accused is None:
        check.fails("validator", f"one of height {first.height}", first.validator_address.hex())
    check.same("power", accused.power, evidence.validator_power)
    for name, vote in (("first", first), ("second", second)):
        signed = vote_sign_bytes(
            CanonicalVote(VoteType(vote.kind), vote.height, vote.round, vote.block_id, vote.timestamp), chain_id
        )
        if not verify(Scheme.ML_DSA_65, accused.public_key, vote.signature, signed, VOTE_CONTEXT):
            check.fails(f"{name} vote", f"a signature of {accused.address.hex()}", "one that does not hold")


def _rank(block_id: BlockId) -> bytes:
    """CometBFT's `BlockID.Key`."""
    return block_id.hash + encode_part_set_header(block_id.part_set_header)


def _verify_attack(evidence: LightClientAttack, common: ValidatorSet, chain_id: str, check: _Check) -> None:
    """Check the parts of CometBFT's `VerifyLightClientAttack` that need no other header and commit."""
    header, commit = evidence.header, evidence.commit
    check.same("chain of the false header", chain_id, header.chain_id)
    check.same("height of its commit", header.height, commit.height)
    check.same("block of its commit", header_hash(header).hex(), commit.block_id.hash.hex())
    if header.height < evidence.common_height:
        check.fails("height of the false header", f"from {evidence.common_height} on", str(header.height))
    named = ValidatorSet(tuple(Validator(one.public_key, one.power) for one in evidence.validators))
    check.same("validators of the false header", validators_hash(named).hex(), header.validators_hash.hex())
    check.same("slots of its commit", len(named), len(commit.signatures))
    signers: dict[bytes, int] = {}
    for index, (slot, validator) in enumerate(zip(commit.signatures, named, strict=True)):
        if slot.flag != BlockIdFlag.COMMIT:
            continue
        check.same(f"signer in slot {index}", validator.address.hex(), slot.validator_address.hex())
        signed = commit_sign_bytes(commit, index, chain_id)
        if not verify(Scheme.ML_DSA_65, validator.public_key, slot.signature, signed, VOTE_CONTEXT):
            check.fails(f"slot {index}", f"a signature of {validator.address.hex()}", "one that does not hold")
        signers[validator.address] = validator.power
    if not has_quorum(sum(signers.values()), named.total_power):
        check.fails("signers", f"more than 2/3 of power {named.total_power}", f"power {sum(signers.values())}")
    powers = {one.address: one.power for one in common}
    for accused in evidence.byzantine:
        address = validator_address(accused.public_key)
        check.same("address of an accused validator", address.hex(), accused.address.hex())
        check.same(f"power of {address.hex()} at height {evidence.common_height}", powers.get(address), accused.power)
        if address not in signers:
            check.fails("accused validators", "who signed the false header", address.hex())
