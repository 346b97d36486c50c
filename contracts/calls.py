"""A call that the Council is asked to make."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """What is called (20 bytes) and with what data: selector and arguments, as `encode_*` of the bindings makes it."""

    target: bytes
    data: bytes
