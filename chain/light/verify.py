"""What a light client believes and why: certificates, and headers that follow from one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.crypto.schemes import SIGNATURE_BYTES, Scheme, verify
from chain.light import errors
from chain.light.encoding import encode_block, vote_sign_bytes
from chain.light.hashes import (
    commit_hash,
    data_hash,
    evidence_hash,
    header_hash,
    part_set_header,
    results_hash,
    validators_hash,
)
from chain.light.types import (
    ABSENT,
    EMPTY_COMMIT,
    NIL_BLOCK_ID,
    BlockIdFlag,
    CanonicalVote,
    VoteType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor

    from chain.light.types import (
        Block,
        BlockId,
        Commit,
        CommitSig,
        Header,
        Height,
        Timestamp,
        ValidatorSet,
    )

VOTE_CONTEXT: Final = b""
"""CometBFT signs votes with the empty ML-DSA context (crypto/mldsa65/key.go)."""


def has_quorum(power: int, total: int) -> bool:
    """Whether `power` is more than two thirds of `total`, in exact integers."""
    return 3 * power > 2 * total


def commit_sign_bytes(commit: Commit, index: int, chain_id: str) -> bytes:
    """Return what the validator of slot `index` signed: for the block or for nil, at its own time."""
    slot = commit.signatures[index]
    voted = commit.block_id if slot.flag == BlockIdFlag.COMMIT else NIL_BLOCK_ID
    vote = CanonicalVote(VoteType.PRECOMMIT, commit.height, commit.round, voted, slot.timestamp)
    return vote_sign_bytes(vote, chain_id)


def verify_commit(
    header: Header, commit: Commit, validators: ValidatorSet, chain_id: str, *, pool: Executor | None = None
) -> int:
    """Return the voting power that signed `header`, always more than two thirds of the total.

    `validators` is the trusted set of this height. Every vote in the commit is verified, also the ones for nil, which
    count nothing, and also those beyond the quorum: a certificate with a single wrong byte is refused. A thread pool
    helps, because verification leaves Python's lock.

    Raises a CertificateError that names the first fault; cheap checks come before signatures.
    """
    _check_target(header, commit, validators, chain_id)
    addresses = validators.addresses
    _check_slots(commit, addresses)
    signed = _power_of(BlockIdFlag.COMMIT, commit, validators)
    if not has_quorum(signed, validators.total_power):
        nil = _power_of(BlockIdFlag.NIL, commit, validators)
        raise errors.NotEnoughPowerError(commit.height, signed, nil, validators.total_power)

    def is_valid(index: int) -> bool:
        return verify(
            Scheme.ML_DSA_65,
            validators.validators[index].public_key,
            commit.signatures[index].signature,
            commit_sign_bytes(commit, index, chain_id),
            VOTE_CONTEXT,
        )

    voted = [index for index, slot in enumerate(commit.signatures) if slot.flag != BlockIdFlag.ABSENT]
    verdicts = pool.map(is_valid, voted) if pool else map(is_valid, voted)
    for index, valid in zip(voted, verdicts, strict=True):
        if not valid:
            raise errors.BadSignatureError(commit.height, index, addresses[index])
    return signed


def _check_target(header: Header, commit: Commit, validators: ValidatorSet, chain_id: str) -> None:
    if header.chain_id != chain_id:
        raise errors.WrongChainError(header.height, chain_id, header.chain_id)
    trusted = validators_hash(validators)
    if header.validators_hash != trusted:
        raise errors.WrongValidatorsError(header.height, trusted, header.validators_hash)
    if commit.height != header.height:
        raise errors.WrongHeightError(header.height, commit.height)
    if commit.block_id.is_nil:
        raise errors.NilCertificateError(header.height)
    named = header_hash(header)
    if commit.block_id.hash != named:
        raise errors.WrongBlockError(header.height, named, commit.block_id.hash)
    if len(commit.signatures) != len(validators):
        raise errors.WrongSignatureCountError(header.height, len(validators), len(commit.signatures))


def _check_slots(commit: Commit, addresses: tuple[bytes, ...]) -> None:
    seen: set[bytes] = set()
    for index, slot in enumerate(commit.signatures):
        match slot.flag:
            case BlockIdFlag.ABSENT:
                if slot != ABSENT:
                    raise errors.AbsentWithContentError(commit.height, index)
            case BlockIdFlag.COMMIT | BlockIdFlag.NIL:
                _check_signer(commit.height, index, slot, addresses, seen)
                seen.add(slot.validator_address)
            case _:
                raise errors.UnknownFlagError(commit.height, index, slot.flag)


def _check_signer(height: Height, index: int, slot: CommitSig, addresses: tuple[bytes, ...], seen: set[bytes]) -> None:
    signer = slot.validator_address
    if signer not in addresses:
        raise errors.UnknownSignerError(height, index, signer)
    if signer in seen:
        raise errors.DuplicateSignerError(height, index, signer)
    if signer != addresses[index]:
        raise errors.MisplacedSignerError(height, index, addresses[index], signer)
    if len(slot.signature) != SIGNATURE_BYTES[Scheme.ML_DSA_65]:
        raise errors.WrongSignatureLengthError(height, index, SIGNATURE_BYTES[Scheme.ML_DSA_65], len(slot.signature))


def _power_of(flag: BlockIdFlag, commit: Commit, validators: ValidatorSet) -> int:
    slots = zip(commit.signatures, validators, strict=True)
    return sum(validator.power for slot, validator in slots if slot.flag == flag)


def median_time(commit: Commit, validators: ValidatorSet) -> Timestamp:
    """Return the block time of the next height: the median of the commit's vote times, weighted by power.

    CometBFT's rule (state/state.go, `MedianTime`): only votes for the block count, so more than half of the counted
    power is honest and the median lies between two honest times. `commit` must have passed `verify_commit`.
    """
    votes = sorted(
        (slot.timestamp, validator.power)
        for slot, validator in zip(commit.signatures, validators, strict=True)
        if slot.flag == BlockIdFlag.COMMIT
    )
    remaining = sum(power for _, power in votes) // 2
    for timestamp, power in votes:
        if remaining <= power:
            return timestamp
        remaining -= power
    raise errors.NotEnoughPowerError(commit.height, 0, 0, validators.total_power)


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a verifier believes after a height: its header and commit, its validators, and the next height's."""

    header: Header
    commit: Commit
    validators: ValidatorSet
    next_validators: ValidatorSet


def verify_first(
    header: Header,
    commit: Commit,
    validators: ValidatorSet,
    chain_id: str,
    *,
    genesis_time: Timestamp,
    app_hash: bytes,
    next_validators: ValidatorSet | None = None,
    pool: Executor | None = None,
) -> Trusted:
    """Return the trust in height 1 that follows from the genesis document: its validators, time and application hash.

    `next_validators` is needed when the header announces others. Raises CertificateError or BrokenChainError.
    """
    if header.height != 1:
        raise errors.HeightGapError(header.height, 1)
    verify_commit(header, commit, validators, chain_id, pool=pool)
    if not header.last_block_id.is_nil:
        raise errors.WrongLastBlockError(header.height, b"", header.last_block_id.hash)
    if header.last_commit_hash != commit_hash(EMPTY_COMMIT):
        raise errors.WrongLastCommitError(header.height, commit_hash(EMPTY_COMMIT), header.last_commit_hash)
    if header.time != genesis_time:
        raise errors.WrongTimeError(header.height, str(genesis_time), str(header.time))
    if header.app_hash != app_hash:
        raise errors.WrongAppHashError(header.height, app_hash, header.app_hash)
    if header.last_results_hash != results_hash(()):
        raise errors.WrongResultsError(header.height, results_hash(()), header.last_results_hash)
    return _trust(header, commit, validators, next_validators)


def verify_next(
    trusted: Trusted,
    header: Header,
    commit: Commit,
    *,
    last_commit: Commit | None = None,
    app_hash: bytes | None = None,
    last_results_hash: bytes | None = None,
    next_validators: ValidatorSet | None = None,
    pool: Executor | None = None,
) -> Trusted:
    """Return the trust in the height after `trusted`.

    The header must commit to the block, the commit and the next validators of the height before, and its time must be
    the median that follows from that commit. `last_commit` is the one that the block carries, where it may hold other
    votes for the same block than `trusted.commit`; it is verified. `app_hash` and `last_results_hash`, where the caller
    has executed the height before, must be what the header says. `next_validators` is needed when the header announces
    others.

    Raises CertificateError or BrokenChainError.
    """
    before = trusted.header
    if header.height != before.height + 1:
        raise errors.HeightGapError(header.height, before.height + 1)
    if header.last_block_id != trusted.commit.block_id:
        raise errors.WrongLastBlockError(header.height, trusted.commit.block_id.hash, header.last_block_id.hash)
    last = trusted.commit if last_commit is None else last_commit
    if header.last_commit_hash != commit_hash(last):
        raise errors.WrongLastCommitError(header.height, commit_hash(last), header.last_commit_hash)
    if last != trusted.commit:
        if last.block_id != trusted.commit.block_id:
            raise errors.WrongLastBlockError(header.height, trusted.commit.block_id.hash, last.block_id.hash)
        verify_commit(before, last, trusted.validators, before.chain_id, pool=pool)
    if header.validators_hash != before.next_validators_hash:
        raise errors.UnexpectedValidatorsError(header.height, before.next_validators_hash, header.validators_hash)
    due = median_time(last, trusted.validators)
    if header.time != due or header.time <= before.time:
        raise errors.WrongTimeError(header.height, f"{due} and after {before.time}", str(header.time))
    verify_commit(header, commit, trusted.next_validators, before.chain_id, pool=pool)
    if app_hash is not None and header.app_hash != app_hash:
        raise errors.WrongAppHashError(header.height, app_hash, header.app_hash)
    if last_results_hash is not None and header.last_results_hash != last_results_hash:
        raise errors.WrongResultsError(header.height, last_results_hash, header.last_results_hash)
    return _trust(header, commit, trusted.next_validators, next_validators)


def verify_chain(
    trusted: Trusted, successors: Iterable[tuple[Header, Commit]], *, pool: Executor | None = None
) -> Trusted:
    """Follow headers and their commits from `trusted` on, height by height, with unchanged validators.

    Raises CertificateError or BrokenChainError at the first fault.
    """
    for header, commit in successors:
        trusted = verify_next(trusted, header, commit, pool=pool)
    return trusted


def verify_block(block: Block, decided: BlockId) -> None:
    """Check that a block's content is what its header and the decided block id commit to; raises WrongDataError."""
    header = block.header
    parts = part_set_header(encode_block(block))
    for part, found, committed in (
        ("transactions", data_hash(block.txs), header.data_hash),
        ("evidence", evidence_hash(block.evidence), header.evidence_hash),
        ("last commit", commit_hash(block.last_commit), header.last_commit_hash),
        ("header", header_hash(header), decided.hash),
        ("parts", parts.hash, decided.part_set_header.hash),
        ("number of parts", _big_endian(parts.total), _big_endian(decided.part_set_header.total)),
    ):
        if found != committed:
            raise errors.WrongDataError(header.height, part, committed, found)


def _big_endian(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _trust(header: Header, commit: Commit, validators: ValidatorSet, announced: ValidatorSet | None) -> Trusted:
    following = announced or validators
    if header.next_validators_hash != validators_hash(following):
        raise errors.UnexpectedValidatorsError(
            header.height + 1, header.next_validators_hash, validators_hash(following)
        )
    if header.proposer_address not in validators.addresses:
        raise errors.UnknownProposerError(header.height, header.proposer_address)
    return Trusted(header, commit, validators, following)
