"""Stand-ins for signatures: keyed BLAKE2b, so that runs are quick and a seed gives the same bytes every time.

Whoever holds the ring can forge; nodes sign with their own address only, unless they are meant to lie.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from chain.consensus.types import Vote

if TYPE_CHECKING:
    from chain.consensus.types import Address, Proposal


def sign_bytes(message: Vote | Proposal) -> bytes:
    """Return what is signed: everything that the message says, unambiguously."""
    value_id = message.value_id
    said = b"-" if value_id is None else value_id.hex().encode()
    step = message.kind if isinstance(message, Vote) else f"proposal {message.valid_round}"
    return f"{message.height} {message.round} {step} ".encode() + said


class KeyRing:
    """Everybody's key."""

    def __init__(self, seed: int) -> None:
        """Derive the keys from a seed."""
        self._secret = seed.to_bytes(8, "big")
        self._keys: dict[Address, bytes] = {}

    def sign(self, message: Vote | Proposal) -> bytes:
        """Return its sender's signature."""
        return blake2b(sign_bytes(message), digest_size=12, key=self._key(message.validator)).digest()

    def holds(self, message: Vote | Proposal) -> bool:
        """Tell whether the message bears its sender's signature."""
        return message.proof == self.sign(message)

    def _key(self, address: Address) -> bytes:
        key = self._keys.get(address)
        if key is None:
            key = self._keys[address] = blake2b(address, digest_size=32, key=self._secret).digest()
        return key
