"""CometBFT's protobuf encoding of the records, byte for byte, and strict decoding.

Every `decode_*` raises MalformedRecordError unless the bytes are exactly what the matching `encode_*` makes of the
result: unknown fields, fields in another order, explicit zeros and trailing bytes all fail that test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp as TimestampMessage

from chain.crypto.schemes import PUBLIC_KEY_BYTES, Scheme
from chain.light.errors import InvalidValidatorSetError, MalformedRecordError, Record
from chain.light.types import (
    BLOCK_PROTOCOL,
    GO_ZERO_TIME,
    HASH_BYTES,
    VALIDATOR_ADDRESS_BYTES,
    Block,
    BlockId,
    BlockIdFlag,
    CanonicalVote,
    Commit,
    CommitSig,
    DuplicateVote,
    Evidence,
    Header,
    Height,
    LightClientAttack,
    PartSetHeader,
    Proposal,
    RankedValidator,
    Timestamp,
    TxResult,
    Validator,
    ValidatorSet,
    Vote,
)
from chain.proto import comet_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_M = TypeVar("_M", bound=Message)
_T = TypeVar("_T")

_NANOS_MAX: Final = 999_999_999
_LAST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, protobuf's last moment."""
CHAIN_ID_CHARACTERS_MAX: Final = 50
"""CometBFT's bound on a chain's name (types/genesis.go, MaxChainIDLen)."""


def encode_header(header: Header) -> bytes:
    """Encode as CometBFT's `Header`."""
    return _header_message(header).SerializeToString()


def decode_header(raw: bytes) -> Header:
    """Decode CometBFT's `Header`; raises MalformedRecordError."""
    return _strictly(Record.HEADER, raw, pb.Header, _header, encode_header)


def encode_commit(commit: Commit) -> bytes:
    """Encode as CometBFT's `Commit`."""
    return _commit_message(commit).SerializeToString()


def decode_commit(raw: bytes) -> Commit:
    """Decode CometBFT's `Commit` of a height from 1 on; raises MalformedRecordError.

    It checks the encoding and the shape of every slot. Whether the commit proves anything: see `verify_commit`.
    """
    return _strictly(Record.COMMIT, raw, pb.Commit, _decided_commit, encode_commit)


def encode_validators(validators: ValidatorSet) -> bytes:
    """Encode as CometBFT's `ValidatorSet` without proposer, priorities and total."""
    return pb.ValidatorSet(
        validators=[
            pb.Validator(
                address=validator.address,
                pub_key=pb.PublicKey(mldsa65=validator.public_key),
                voting_power=validator.power,
            )
            for validator in validators
        ]
    ).SerializeToString()


def decode_validators(raw: bytes) -> ValidatorSet:
    """Decode what `encode_validators` made; raises MalformedRecordError."""
    return _strictly(Record.VALIDATORS, raw, pb.ValidatorSet, _validators, encode_validators)


def encode_txs(txs: Sequence[bytes]) -> bytes:
    """Encode transactions as CometBFT's `Data`."""
    return pb.Data(txs=txs).SerializeToString()


def decode_txs(raw: bytes) -> tuple[bytes, ...]:
    """Decode CometBFT's `Data`; raises MalformedRecordError."""
    return _strictly(Record.TRANSACTIONS, raw, pb.Data, lambda data: tuple(data.txs), encode_txs)


def encode_block(block: Block) -> bytes:
    """Encode as CometBFT's `Block`: the bytes that are cut into parts."""
    return pb.Block(
        header=_header_message(block.header),
        data=pb.Data(txs=block.txs),
        evidence=pb.EvidenceList(evidence=block.evidence),
        last_commit=_commit_message(block.last_commit),
    ).SerializeToString()


def decode_block(raw: bytes) -> Block:
    """Decode CometBFT's `Block`; raises MalformedRecordError."""
    return _strictly(Record.BLOCK, raw, pb.Block, _block, encode_block)


def encode_result(result: TxResult) -> bytes:
    """Encode the deterministic fields of CometBFT's `ExecTxResult`, a leaf of `last_results_hash`."""
    return pb.ExecTxResult(
        code=result.code, data=result.data, gas_wanted=result.gas_wanted, gas_used=result.gas_used
    ).SerializeToString()


def encode_evidence(evidence: Evidence) -> bytes:
    """Encode as CometBFT's `Evidence`."""
    match evidence:
        case DuplicateVote():
            double = pb.DuplicateVoteEvidence(
                vote_a=_vote_message(evidence.vote_a),
                vote_b=_vote_message(evidence.vote_b),
                total_voting_power=evidence.total_power,
                validator_power=evidence.validator_power,
                timestamp=_timestamp_message(evidence.timestamp),
            )
            return pb.Evidence(duplicate_vote_evidence=double.SerializeToString()).SerializeToString()
        case LightClientAttack():
            attack = pb.LightClientAttackEvidence(
                conflicting_block=pb.LightBlock(
                    signed_header=pb.SignedHeader(
                        header=_header_message(evidence.header), commit=_commit_message(evidence.commit)
                    ),
                    validator_set=pb.ValidatorSet(
                        validators=map(_ranked_message, evidence.validators),
                        proposer=_ranked_message(evidence.proposer),
                    ),
                ),
                common_height=evidence.common_height,
                byzantine_validators=map(_ranked_message, evidence.byzantine),
                total_voting_power=evidence.total_power,
                timestamp=_timestamp_message(evidence.timestamp),
            )
            return pb.Evidence(light_client_attack_evidence=attack.SerializeToString()).SerializeToString()


def decode_evidence(raw: bytes) -> Evidence:
    """Decode CometBFT's `Evidence`; raises MalformedRecordError. Whether it proves anything: see `verify_evidence`."""
    return _strictly(Record.EVIDENCE, raw, pb.Evidence, _evidence, encode_evidence)


def encode_evidence_list(evidence: Sequence[bytes]) -> bytes:
    """Encode what `encode_evidence` made as CometBFT's `EvidenceList`: what a block holds."""
    return pb.EvidenceList(evidence=evidence).SerializeToString()


def decode_evidence_list(raw: bytes) -> tuple[bytes, ...]:
    """Decode CometBFT's `EvidenceList` into encoded `Evidence`; raises MalformedRecordError."""
    return _strictly(Record.EVIDENCE, raw, pb.EvidenceList, lambda found: tuple(found.evidence), encode_evidence_list)


def unwrap_evidence(raw: bytes) -> bytes:
    """Return the message inside an encoded `Evidence`; raises MalformedRecordError."""
    message = pb.Evidence()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise MalformedRecordError(Record.EVIDENCE, "it is not protobuf") from error
    if message.WhichOneof("sum") is None or message.SerializeToString() != raw:
        raise MalformedRecordError(Record.EVIDENCE, "it does not re-encode to itself")
    return message.duplicate_vote_evidence or message.light_client_attack_evidence


def vote_sign_bytes(vote: CanonicalVote, chain_id: str) -> bytes:
    """Return what a validator signs, with an empty ML-DSA context: CometBFT's `CanonicalVote` after its length.

    A nil `block_id` is left out (types/canonical.go).
    """
    canonical = pb.CanonicalVote(
        type=pb.SignedMsgType.ValueType(vote.kind),
        height=vote.height,
        round=vote.round,
        timestamp=_timestamp_message(vote.timestamp),
        chain_id=chain_id,
    )
    if not vote.block_id.is_nil:
        parts = vote.block_id.part_set_header
        canonical.block_id.hash = vote.block_id.hash
        canonical.block_id.part_set_header.CopyFrom(pb.CanonicalPartSetHeader(total=parts.total, hash=parts.hash))
    raw = canonical.SerializeToString()
    return varint(len(raw)) + raw


def proposal_sign_bytes(proposal: Proposal, chain_id: str) -> bytes:
    """Return what a proposer signs: CometBFT's `CanonicalProposal` after its length (types/canonical.go)."""
    parts = proposal.block_id.part_set_header
    raw = pb.CanonicalProposal(
        type=pb.SIGNED_MSG_TYPE_PROPOSAL,
        height=proposal.height,
        round=proposal.round,
        pol_round=proposal.pol_round,
        block_id=pb.CanonicalBlockID(
            hash=proposal.block_id.hash,
            part_set_header=pb.CanonicalPartSetHeader(total=parts.total, hash=parts.hash),
        ),
        timestamp=_timestamp_message(proposal.timestamp),
        chain_id=chain_id,
    ).SerializeToString()
    return varint(len(raw)) + raw


def encode_vote(vote: Vote) -> bytes:
    """Encode as CometBFT's `Vote`."""
    return _vote_message(vote).SerializeToString()


def decode_vote(raw: bytes) -> Vote:
    """Decode CometBFT's `Vote`; raises MalformedRecordError. Whether its signature holds is not asked here."""
    return _strictly(Record.VOTE, raw, pb.Vote, _vote, encode_vote)


def encode_proposal(proposal: Proposal) -> bytes:
    """Encode as CometBFT's `Proposal`."""
    return pb.Proposal(
        type=pb.SIGNED_MSG_TYPE_PROPOSAL,
        height=proposal.height,
        round=proposal.round,
        pol_round=proposal.pol_round,
        block_id=_block_id_message(proposal.block_id),
        timestamp=_timestamp_message(proposal.timestamp),
        signature=proposal.signature,
    ).SerializeToString()


def decode_proposal(raw: bytes) -> Proposal:
    """Decode CometBFT's `Proposal` of a block; raises MalformedRecordError."""
    return _strictly(Record.PROPOSAL, raw, pb.Proposal, _proposal, encode_proposal)


def varint(number: int) -> bytes:
    """Encode a number from 0 on as protobuf's base-128 varint."""
    encoded = bytearray()
    while number >> 7:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_timestamp(timestamp: Timestamp) -> bytes:
    """Encode as protobuf's `Timestamp`."""
    return _timestamp_message(timestamp).SerializeToString()


def encode_block_id(block_id: BlockId) -> bytes:
    """Encode as CometBFT's `BlockID`."""
    return _block_id_message(block_id).SerializeToString()


def encode_part_set_header(parts: PartSetHeader) -> bytes:
    """Encode as CometBFT's `PartSetHeader`."""
    return pb.PartSetHeader(total=parts.total, hash=parts.hash).SerializeToString()


def encode_commit_sig(slot: CommitSig) -> bytes:
    """Encode as CometBFT's `CommitSig`."""
    return _commit_sig_message(slot).SerializeToString()


def encode_simple_validator(validator: Validator) -> bytes:
    """Encode as CometBFT's `SimpleValidator`, a leaf of `validators_hash`."""
    return pb.SimpleValidator(
        pub_key=pb.PublicKey(mldsa65=validator.public_key), voting_power=validator.power
    ).SerializeToString()


def _header_message(header: Header) -> pb.Header:
    return pb.Header(
        version=pb.Consensus(block=header.block_version, app=header.app_version),
        chain_id=header.chain_id,
        height=header.height,
        time=_timestamp_message(header.time),
        last_block_id=_block_id_message(header.last_block_id),
        last_commit_hash=header.last_commit_hash,
        data_hash=header.data_hash,
        validators_hash=header.validators_hash,
        next_validators_hash=header.next_validators_hash,
        consensus_hash=header.consensus_hash,
        app_hash=header.app_hash,
        last_results_hash=header.last_results_hash,
        evidence_hash=header.evidence_hash,
        proposer_address=header.proposer_address,
    )


def _commit_message(commit: Commit) -> pb.Commit:
    return pb.Commit(
        height=commit.height,
        round=commit.round,
        block_id=_block_id_message(commit.block_id),
        signatures=[_commit_sig_message(slot) for slot in commit.signatures],
    )


def _commit_sig_message(slot: CommitSig) -> pb.CommitSig:
    return pb.CommitSig(
        block_id_flag=pb.BlockIDFlag.ValueType(slot.flag),
        validator_address=slot.validator_address,
        timestamp=_timestamp_message(slot.timestamp),
        signature=slot.signature,
    )


def _block_id_message(block_id: BlockId) -> pb.BlockID:
    parts = block_id.part_set_header
    return pb.BlockID(hash=block_id.hash, part_set_header=pb.PartSetHeader(total=parts.total, hash=parts.hash))


def _vote_message(vote: Vote) -> pb.Vote:
    return pb.Vote(
        type=pb.SignedMsgType.ValueType(vote.kind),
        height=vote.height,
        round=vote.round,
        block_id=_block_id_message(vote.block_id),
        timestamp=_timestamp_message(vote.timestamp),
        validator_address=vote.validator_address,
        validator_index=vote.validator_index,
        signature=vote.signature,
        extension=vote.extension,
        extension_signature=vote.extension_signature,
    )


def _ranked_message(validator: RankedValidator) -> pb.Validator:
    return pb.Validator(
        address=validator.address,
        pub_key=pb.PublicKey(mldsa65=validator.public_key),
        voting_power=validator.power,
        proposer_priority=validator.priority,
    )


def _timestamp_message(timestamp: Timestamp) -> TimestampMessage:
    return TimestampMessage(seconds=timestamp.seconds, nanos=timestamp.nanos)


def _strictly(
    record: Record, raw: bytes, kind: type[_M], read: Callable[[_M], _T], encode: Callable[[_T], bytes]
) -> _T:
    value = read(_parsed(record, raw, kind))
    if encode(value) != raw:
        raise MalformedRecordError(record, "it does not re-encode to itself")
    return value


def _parsed(record: Record, raw: bytes, kind: type[_M]) -> _M:
    message = kind()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise MalformedRecordError(record, "it is not protobuf") from error
    return message


def _header(message: pb.Header) -> Header:
    header = Header(
        block_version=message.version.block,
        app_version=message.version.app,
        chain_id=message.chain_id,
        height=Height(message.height),
        time=_timestamp(Record.HEADER, message.time),
        last_block_id=_block_id(Record.HEADER, message.last_block_id),
        last_commit_hash=_hash(Record.HEADER, message.last_commit_hash),
        data_hash=_hash(Record.HEADER, message.data_hash),
        validators_hash=_hash(Record.HEADER, message.validators_hash),
        next_validators_hash=_hash(Record.HEADER, message.next_validators_hash),
        consensus_hash=_hash(Record.HEADER, message.consensus_hash),
        app_hash=message.app_hash,
        last_results_hash=_hash(Record.HEADER, message.last_results_hash),
        evidence_hash=_hash(Record.HEADER, message.evidence_hash),
        proposer_address=message.proposer_address,
    )
    if header.block_version != BLOCK_PROTOCOL:
        raise MalformedRecordError(Record.HEADER, f"block protocol {header.block_version} instead of {BLOCK_PROTOCOL}")
    if not 1 <= len(header.chain_id) <= CHAIN_ID_CHARACTERS_MAX:
        raise MalformedRecordError(Record.HEADER, f"a chain id has 1 to {CHAIN_ID_CHARACTERS_MAX} characters")
    if header.height < 1:
        raise MalformedRecordError(Record.HEADER, f"height {header.height} is below 1")
    if header.last_block_id.is_nil != (header.height == 1):
        raise MalformedRecordError(Record.HEADER, "height 1, and no other, follows no block")
    if len(header.proposer_address) != VALIDATOR_ADDRESS_BYTES:
        raise MalformedRecordError(Record.HEADER, f"an address has {VALIDATOR_ADDRESS_BYTES} bytes")
    return header


def _commit(message: pb.Commit) -> Commit:
    return Commit(
        height=Height(message.height),
        round=message.round,
        block_id=_block_id(Record.COMMIT, message.block_id),
        signatures=tuple(_commit_sig(slot) for slot in message.signatures),
    )


def _decided_commit(message: pb.Commit) -> Commit:
    commit = _commit(message)
    if commit.height < 1:
        raise MalformedRecordError(Record.COMMIT, f"height {commit.height} is below 1")
    if commit.round < 0:
        raise MalformedRecordError(Record.COMMIT, f"round {commit.round} is below 0")
    if commit.block_id.is_nil:
        raise MalformedRecordError(Record.COMMIT, "it is for nil")
    if not commit.signatures:
        raise MalformedRecordError(Record.COMMIT, "it has no signature slots")
    return commit


def _commit_sig(message: pb.CommitSig) -> CommitSig:
    slot = CommitSig(
        flag=message.block_id_flag,
        validator_address=message.validator_address,
        timestamp=_timestamp(Record.COMMIT, message.timestamp),
        signature=message.signature,
    )
    match slot.flag:
        case BlockIdFlag.ABSENT:
            if slot.validator_address or slot.signature or slot.timestamp != GO_ZERO_TIME:
                raise MalformedRecordError(Record.COMMIT, "an absent slot is not empty")
        case BlockIdFlag.COMMIT | BlockIdFlag.NIL:
            if len(slot.validator_address) != VALIDATOR_ADDRESS_BYTES:
                raise MalformedRecordError(Record.COMMIT, f"an address has {VALIDATOR_ADDRESS_BYTES} bytes")
            if not slot.signature:
                raise MalformedRecordError(Record.COMMIT, "a signature is missing")
        case _:
            raise MalformedRecordError(Record.COMMIT, f"a slot has the unknown flag {slot.flag}")
    return slot


def _validators(message: pb.ValidatorSet) -> ValidatorSet:
    for validator in message.validators:
        if len(validator.pub_key.mldsa65) != PUBLIC_KEY_BYTES[Scheme.ML_DSA_65]:
            raise MalformedRecordError(Record.VALIDATORS, "a key is no ML-DSA-65 public key")
    try:
        return ValidatorSet(
            tuple(Validator(validator.pub_key.mldsa65, validator.voting_power) for validator in message.validators)
        )
    except InvalidValidatorSetError as error:
        raise MalformedRecordError(Record.VALIDATORS, error.fault) from error


def _evidence(message: pb.Evidence) -> Evidence:
    match message.WhichOneof("sum"):
        case "duplicate_vote_evidence":
            double = _parsed(Record.EVIDENCE, message.duplicate_vote_evidence, pb.DuplicateVoteEvidence)
            return DuplicateVote(
                _vote(double.vote_a),
                _vote(double.vote_b),
                double.total_voting_power,
                double.validator_power,
                _timestamp(Record.EVIDENCE, double.timestamp),
            )
        case "light_client_attack_evidence":
            attack = _parsed(Record.EVIDENCE, message.light_client_attack_evidence, pb.LightClientAttackEvidence)
            block = attack.conflicting_block
            return LightClientAttack(
                header=_header(block.signed_header.header),
                commit=_decided_commit(block.signed_header.commit),
                validators=tuple(map(_ranked, block.validator_set.validators)),
                proposer=_ranked(block.validator_set.proposer),
                common_height=Height(attack.common_height),
                byzantine=tuple(map(_ranked, attack.byzantine_validators)),
                total_power=attack.total_voting_power,
                timestamp=_timestamp(Record.EVIDENCE, attack.timestamp),
            )
        case _:
            raise MalformedRecordError(Record.EVIDENCE, "it is of no kind")


def _vote(message: pb.Vote) -> Vote:
    return Vote(
        kind=message.type,
        height=Height(message.height),
        round=message.round,
        block_id=_block_id(Record.EVIDENCE, message.block_id),
        timestamp=_timestamp(Record.EVIDENCE, message.timestamp),
        validator_address=message.validator_address,
        validator_index=message.validator_index,
        signature=message.signature,
        extension=message.extension,
        extension_signature=message.extension_signature,
    )


def _proposal(message: pb.Proposal) -> Proposal:
    block_id = _block_id(Record.PROPOSAL, message.block_id)
    if block_id.is_nil:
        raise MalformedRecordError(Record.PROPOSAL, "it is for nil")
    return Proposal(
        Height(message.height),
        message.round,
        message.pol_round,
        block_id,
        _timestamp(Record.PROPOSAL, message.timestamp),
        message.signature,
    )


def _ranked(message: pb.Validator) -> RankedValidator:
    key = message.pub_key.mldsa65
    return RankedValidator(message.address, key, message.voting_power, message.proposer_priority)


def _block(message: pb.Block) -> Block:
    header = _header(message.header)
    return Block(
        header=header,
        txs=tuple(message.data.txs),
        last_commit=_commit(message.last_commit) if header.height == 1 else _decided_commit(message.last_commit),
        evidence=tuple(message.evidence.evidence),
    )


def _block_id(record: Record, message: pb.BlockID) -> BlockId:
    parts = message.part_set_header
    block_id = BlockId(message.hash, PartSetHeader(parts.total, parts.hash))
    complete = len(block_id.hash) == len(parts.hash) == HASH_BYTES and parts.total > 0
    if not (complete or block_id.is_nil):
        raise MalformedRecordError(record, "a block id is neither complete nor nil")
    return block_id


def _timestamp(record: Record, message: TimestampMessage) -> Timestamp:
    if not (GO_ZERO_TIME.seconds <= message.seconds <= _LAST_SECOND and 0 <= message.nanos <= _NANOS_MAX):
        raise MalformedRecordError(record, f"{message.seconds} s and {message.nanos} ns is no time")
    return Timestamp(message.seconds, message.nanos)


def _hash(record: Record, raw: bytes) -> bytes:
    if len(raw) != HASH_BYTES:
        raise MalformedRecordError(record, f"a hash has {HASH_BYTES} bytes, not {len(raw)}")
    return raw
