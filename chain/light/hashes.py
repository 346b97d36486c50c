"""CometBFT's hashes: RFC 6962 Merkle trees over encoded records."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue

from chain.light import encoding
from chain.light.types import PART_BYTES, Block, BlockId, PartSetHeader
from chain.proto import comet_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.light.types import Commit, ConsensusParams, Header, TxResult, ValidatorSet


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of RFC 6962, section 2.1: leaves and inner nodes are hashed under different prefixes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below the number of leaves
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


def header_hash(header: Header) -> bytes:
    """Return the root over the header's 14 fields, each encoded by itself (types/block.go, `Header.Hash`)."""
    return merkle_root(
        (
            pb.Consensus(block=header.block_version, app=header.app_version).SerializeToString(),
            StringValue(value=header.chain_id).SerializeToString(),
            Int64Value(value=header.height).SerializeToString(),
            encoding.encode_timestamp(header.time),
            encoding.encode_block_id(header.last_block_id),
            _wrap(header.last_commit_hash),
            _wrap(header.data_hash),
            _wrap(header.validators_hash),
            _wrap(header.next_validators_hash),
            _wrap(header.consensus_hash),
            _wrap(header.app_hash),
            _wrap(header.last_results_hash),
            _wrap(header.evidence_hash),
            _wrap(header.proposer_address),
        )
    )


def validators_hash(validators: ValidatorSet) -> bytes:
    """Return the root over keys and powers (types/validator_set.go, `ValidatorSet.Hash`)."""
    return merkle_root([encoding.encode_simple_validator(validator) for validator in validators])


def commit_hash(commit: Commit) -> bytes:
    """Return the root over the slots; height, round and block id are not in it (types/block.go, `Commit.Hash`)."""
    return merkle_root([encoding.encode_commit_sig(slot) for slot in commit.signatures])


def data_hash(txs: Sequence[bytes]) -> bytes:
    """Return the root over the SHA-256 of each transaction (types/tx.go, `Txs.Hash`)."""
    return merkle_root([hashlib.sha256(tx).digest() for tx in txs])


def results_hash(results: Sequence[TxResult]) -> bytes:
    """Return what the next header holds as `last_results_hash` (types/results.go, `ABCIResults.Hash`)."""
    return merkle_root([encoding.encode_result(result) for result in results])


def evidence_hash(evidence: Sequence[bytes]) -> bytes:
    """Return the root over what the encoded `Evidence` messages wrap (types/evidence.go, `EvidenceList.Hash`).

    Raises MalformedRecordError.
    """
    return merkle_root([encoding.unwrap_evidence(raw) for raw in evidence])


def consensus_hash(params: ConsensusParams) -> bytes:
    """Return the SHA-256 of the encoded `HashedParams` (types/params.go, `ConsensusParams.Hash`)."""
    return hashlib.sha256(
        pb.HashedParams(block_max_bytes=params.block_max_bytes, block_max_gas=params.block_max_gas).SerializeToString()
    ).digest()


def part_set_header(encoded_block: bytes) -> PartSetHeader:
    """Cut an encoded block into parts of 65,536 bytes and return their number and root (types/part_set.go)."""
    parts = [encoded_block[start : start + PART_BYTES] for start in range(0, len(encoded_block), PART_BYTES)]
    return PartSetHeader(len(parts), merkle_root(parts))


def block_id(block: Block) -> BlockId:
    """Return the block's name: the hash of its header, and the root over its parts."""
    return BlockId(header_hash(block.header), part_set_header(encoding.encode_block(block)))


def _wrap(raw: bytes) -> bytes:
    return BytesValue(value=raw).SerializeToString()  # an empty value is an empty leaf, as in CometBFT's cdcEncode
