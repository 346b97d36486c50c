"""What travels between validators: CometBFT's records in a thin MessagePack envelope that names the chain.

Everything that a signature covers is in CometBFT's own encoding. Who opens a message believes nothing of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from chain import light
from chain.consensus.types import ValueId  # noqa: TC001 - a return type beside runtime ones
from chain.crypto.schemes import SIGNATURE_BYTES, Scheme
from chain.engines.embedded import statements
from chain.limits import BLOCK_BYTES

_VOTE_BYTES: Final = SIGNATURE_BYTES[Scheme.ML_DSA_65] + 256
"""A vote with its signature, its block id, its address and all tags, rounded up."""


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What every message says first."""

    chain_id: str


class Voted(_Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag="vote"):
    """A signed vote (CometBFT's `Vote`)."""

    vote: bytes


class Proposed(_Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag="proposal"):
    """A signed proposal (CometBFT's `Proposal`) and the whole block that it names (CometBFT's `Block`)."""

    proposal: bytes
    block: bytes


class Polka(_Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag="polka"):
    """The prevotes of more than two thirds for one block: what opens a lock."""

    votes: tuple[bytes, ...]


class Standing(_Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag="standing"):
    """The sender has decided this height and no later one; who has decided the next answers with it."""

    height: int


class Decision(_Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag="decision"):
    """A decided block and the commit that proves it."""

    block: bytes
    commit: bytes


Message: TypeAlias = Voted | Proposed | Polka | Standing | Decision

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Message)


def bytes_max(validators: int) -> int:
    """Return what no message of this many validators exceeds: a block, a vote of each, and as much for the envelope."""
    return BLOCK_BYTES + (validators + 2) * _VOTE_BYTES


def encode(message: Message) -> bytes:
    """Encode a message."""
    return _ENCODER.encode(message)


def decode(raw: bytes) -> Message | None:
    """Decode a message; None if it is none."""
    try:
        message: Message = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):  # the latter for a kind or chain id that is no text
        return None
    return message


@lru_cache(maxsize=4)  # the validators of a process open the same few bytes
def open_block(raw: bytes) -> tuple[light.Block, ValueId]:
    """Decode a block and compute its name; raises LightError."""
    block = light.decode_block(raw)
    return block, statements.value_id(light.BlockId(light.header_hash(block.header), light.part_set_header(raw)))
