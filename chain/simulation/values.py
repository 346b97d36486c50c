"""What validators of the simulation agree on: small values that are their own ids.

A value names its height and the value before it, as a header does, and commits to the validators of its height and of
the next one. `salt` tells values of one height apart; a value that is not `sound` is what an application refuses.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from chain.consensus.types import Height, ValueId

if TYPE_CHECKING:
    from chain.consensus.validators import Schedule, ValidatorSet

_FORM: Final = struct.Struct(">QQ8s8s8s?")


@dataclass(frozen=True, slots=True)
class Value:
    """A value before it is encoded."""

    salt: int
    height: Height
    parent: bytes
    validators: bytes
    next_validators: bytes
    sound: bool = True

    def encode(self) -> ValueId:
        """Return its id, 41 bytes that say all of it."""
        return ValueId(
            _FORM.pack(self.salt, self.height, self.parent, self.validators, self.next_validators, self.sound)
        )


def make_value(schedule: Schedule, parent: ValueId | None, salt: int, *, sound: bool = True) -> ValueId:
    """Make a value for the schedule's height, to follow `parent`."""
    current, following = set_digest(schedule.current), set_digest(schedule.next)
    return Value(salt, schedule.height, short_digest(parent or b""), current, following, sound).encode()


def is_valid(value_id: ValueId, schedule: Schedule, parent: ValueId | None) -> bool:
    """Judge a value, as every honest validator does: valid(v) of the paper."""
    if len(value_id) != _FORM.size:
        return False
    return bool(value_id[-1]) and value_id == make_value(schedule, parent, int.from_bytes(value_id[:8], "big"))


def set_digest(validators: ValidatorSet) -> bytes:
    """Return what a value commits to a validator set by: everybody's power and turn."""
    said = " ".join(
        f"{address.hex()} {power} {validators.priorities[address]}"
        for address, power in sorted(validators.powers.items())
    )
    return short_digest(said.encode())


def short_digest(data: bytes) -> bytes:
    """Return eight bytes for `data`."""
    return blake2b(data, digest_size=8).digest()
