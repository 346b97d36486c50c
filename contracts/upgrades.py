"""What of the program carries a version of its own, and from which block on a version holds."""

from dataclasses import dataclass
from enum import IntEnum


class UpgradeKind(IntEnum):
    """What carries a version, as the Council numbers it."""

    EXECUTION = 1
    CONTRACTS = 2
    RULES = 3


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A version and the first block in which it holds."""

    version: int
    height: int
