"""What a signer must remember, and what it may sign: its record, as bytes and as a rule.

A signer records a signature before it releases it. Asked again for the same statement, it gives the recorded signature;
asked for anything else that does not come after it, it refuses. So no crash and no replay makes a validator
contradict itself, whatever became of its journal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from chain.consensus.errors import ContradictionError, SignerRecordError
from chain.consensus.journal import Mark  # noqa: TC001 - msgspec reads the types of fields
from chain.consensus.types import Vote

if TYPE_CHECKING:
    from chain.consensus.types import Proposal

Position = tuple[int, int, int]
"""Height, round and step (0 to propose, 1 to prevote, 2 to precommit): what is signed must rise."""

_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class LastSignature:
    """The signer's record: what it signed last, and the journal that it was signed by."""

    height: int
    round: int
    step: int
    sign_bytes: bytes
    signature: bytes
    mark: Mark

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self.height, self.round, self.step


def position_of(message: Vote | Proposal) -> Position:
    """Return where a statement stands."""
    return message.height, message.round, int(message.kind) if isinstance(message, Vote) else 0


def recorded(last: LastSignature | None, position: Position, sign_bytes: bytes) -> bytes | None:
    """Return the recorded signature of this very statement, or None if it is to be signed and recorded now.

    Raises ContradictionError.
    """
    if last is None or position > last.position:
        return None
    if position == last.position and sign_bytes == last.sign_bytes:
        return last.signature
    raise ContradictionError(position, last.position)


def encode_last_signature(last: LastSignature) -> bytes:
    """Encode the record, with its SHA-256."""
    body = msgspec.msgpack.encode(last)
    return body + hashlib.sha256(body).digest()


def decode_last_signature(raw: bytes) -> LastSignature:
    """Decode the record; raises SignerRecordError."""
    body, digest = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        message = "its digest differs"
        raise SignerRecordError(message)
    try:
        return msgspec.msgpack.decode(body, type=LastSignature)
    except msgspec.DecodeError as error:
        raise SignerRecordError(str(error)) from error
