"""What validators say, between two worlds: the core's votes and proposals, and CometBFT's records of them.

A statement of the core names a block by 68 bytes (`value_id`), its validator by the address, and carries as `proof` the
time and the signature that CometBFT's records hold beside it.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from chain import light
from chain.consensus import types as core
from chain.light.errors import MalformedRecordError, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.consensus.types import Certificate

_VALUE_ID: Final = struct.Struct(">32sI32s")
_TIME: Final = struct.Struct(">qI")
_KEPT: Final = 1_024
"""Votes decoded, and sign bytes made, that are remembered: the validators of a process all read the same ones."""


def value_id(block_id: light.BlockId) -> core.ValueId:
    """Return the core's name of a block: header hash, number of parts, root over the parts."""
    parts = block_id.part_set_header
    return core.ValueId(_VALUE_ID.pack(block_id.hash, parts.total, parts.hash))


def block_id(name: core.ValueId | None) -> light.BlockId:
    """Return CometBFT's name of what a statement is for."""
    if name is None:
        return light.NIL_BLOCK_ID
    header_hash, total, parts_hash = _VALUE_ID.unpack(name)
    return light.BlockId(header_hash, light.PartSetHeader(total, parts_hash))


def encode_proof(time: light.Timestamp, signature: bytes) -> bytes:
    """Pack what CometBFT's record holds beside what is said."""
    return _TIME.pack(time.seconds, time.nanos) + signature


def decode_proof(proof: bytes) -> tuple[light.Timestamp, bytes]:
    """Return time and signature."""
    seconds, nanos = _TIME.unpack_from(proof)
    return light.Timestamp(seconds, nanos), proof[_TIME.size :]


@lru_cache(maxsize=_KEPT)
def sign_bytes(statement: core.Vote | core.Proposal, time: light.Timestamp, chain_id: str) -> bytes:
    """Return what the validator signs: CometBFT's canonical vote or proposal."""
    if isinstance(statement, core.Vote):
        kind, named = light.VoteType(statement.kind), block_id(statement.value_id)
        vote = light.CanonicalVote(kind, light.Height(statement.height), statement.round, named, time)
        return light.vote_sign_bytes(vote, chain_id)
    return light.proposal_sign_bytes(_proposal(statement, time, b""), chain_id)


def encode_vote(vote: core.Vote, index: int) -> bytes:
    """Encode a signed vote as CometBFT's `Vote`; `index` is its validator's place in the set."""
    return light.encode_vote(whole_vote(vote, index))


def whole_vote(vote: core.Vote, index: int) -> light.Vote:
    """Return a signed vote as CometBFT has it; `index` is its validator's place in the set."""
    time, signature = decode_proof(vote.proof)
    return light.Vote(
        kind=int(vote.kind),
        height=light.Height(vote.height),
        round=vote.round,
        block_id=block_id(vote.value_id),
        timestamp=time,
        validator_address=vote.validator,
        validator_index=index,
        signature=signature,
    )


def vote_height(raw: bytes) -> core.Height:
    """Return the height of an encoded vote; raises MalformedRecordError."""
    return _decoded(raw)[0].height


def decode_vote(raw: bytes, addresses: tuple[bytes, ...]) -> core.Vote:
    """Decode a vote of one of `addresses`; raises MalformedRecordError. Its signature is not checked here."""
    vote, place = _decoded(raw)
    if not 0 <= place < len(addresses) or addresses[place] != vote.validator:
        raise MalformedRecordError(Record.VOTE, "its validator does not stand where it says")
    return vote


@lru_cache(maxsize=_KEPT)
def _decoded(raw: bytes) -> tuple[core.Vote, int]:
    """Return a vote, and where its validator says that it stands."""
    vote = light.decode_vote(raw)
    if vote.kind not in set(core.VoteKind):
        raise MalformedRecordError(Record.VOTE, f"it is of the unknown kind {vote.kind}")
    if vote.extension or vote.extension_signature:
        raise MalformedRecordError(Record.VOTE, "this ledger's votes have no extension")
    said = core.Vote(
        core.Height(vote.height),
        core.Round(vote.round),
        core.VoteKind(vote.kind),
        None if vote.block_id.is_nil else value_id(vote.block_id),
        core.Address(vote.validator_address),
        encode_proof(vote.timestamp, vote.signature),
    )
    return said, vote.validator_index


def encode_proposal(proposal: core.Proposal) -> bytes:
    """Encode a signed proposal as CometBFT's `Proposal`, which does not name its proposer."""
    return light.encode_proposal(_proposal(proposal, *decode_proof(proposal.proof)))


def decode_proposal(raw: bytes) -> light.Proposal:
    """Decode a proposal; raises MalformedRecordError. Its signature is not checked here."""
    proposal = light.decode_proposal(raw)
    if proposal.round < 0:
        raise MalformedRecordError(Record.PROPOSAL, f"round {proposal.round} is below 0")
    return proposal


def by(proposal: light.Proposal, proposer: core.Address) -> core.Proposal:
    """Return a proposal as the core has it: said by whose turn it is in that round."""
    return core.Proposal(
        core.Height(proposal.height),
        core.Round(proposal.round),
        value_id(proposal.block_id),
        core.Round(proposal.pol_round),
        proposer,
        encode_proof(proposal.timestamp, proposal.signature),
    )


def commit(certificate: Certificate, addresses: Sequence[bytes]) -> light.Commit:
    """Return the precommits of a certificate as CometBFT's commit."""
    said = {vote.validator: decode_proof(vote.proof) for vote in certificate.votes}
    slots = tuple(
        light.CommitSig(light.BlockIdFlag.COMMIT, address, *said[core.Address(address)])
        if address in said
        else light.ABSENT
        for address in addresses
    )
    return light.Commit(light.Height(certificate.height), certificate.round, block_id(certificate.value_id), slots)


def _proposal(proposal: core.Proposal, time: light.Timestamp, signature: bytes) -> light.Proposal:
    return light.Proposal(
        light.Height(proposal.height),
        proposal.round,
        proposal.valid_round,
        block_id(proposal.value_id),
        time,
        signature,
    )
