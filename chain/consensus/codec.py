"""Inputs of the driver as bytes, for the journal: a kind, then MessagePack. Decoding accepts what encoding writes."""

from __future__ import annotations

from typing import Final

import msgspec

from chain.consensus.driver import CertificateReceived, Input, ProposalReceived, Start, VoteReceived
from chain.consensus.round import TimeoutElapsed, ValueChosen

_KINDS: Final[tuple[type[Input], ...]] = (
    Start,
    VoteReceived,
    ProposalReceived,
    CertificateReceived,
    TimeoutElapsed,
    ValueChosen,
)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_DECODERS: Final = tuple(msgspec.msgpack.Decoder(kind) for kind in _KINDS)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_input(input_: Input) -> bytes:
    """Encode an input."""
    return bytes([_NUMBERS[type(input_)]]) + _ENCODER.encode(input_)


def decode_input(raw: bytes) -> Input:
    """Decode an input; raises ValueError for anything that `encode_input` does not write."""
    if not raw or raw[0] >= len(_KINDS):
        message = "no such kind of input"
        raise ValueError(message)
    input_: Input = _DECODERS[raw[0]].decode(raw[1:])
    if encode_input(input_) != raw:
        message = "not the one encoding of its input"
        raise ValueError(message)
    return input_
