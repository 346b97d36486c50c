"""Which versions hold in which block: what the Council has scheduled, read from state.

Execution, contracts and rules carry versions. Block 0 writes what genesis names as the first entry of each schedule,
so state alone tells what holds, also to a replica that has executed nothing of the history. Old blocks are executed
again under the version of their own number. Nothing here needs an EVM.
"""

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

from chain.crypto.addresses import Address
from contracts import artifacts
from contracts.addresses import COUNCIL
from contracts.layout import slot
from contracts.upgrades import UpgradeKind

EXECUTION_VERSIONS: Final = (1, 2, 3)
"""The versions of execution that this program has; `chain.execution.evm` names what runs each."""

QUOTAS_FROM: Final = 3
"""The first version of execution in which the governor can change quotas."""

CONTRACT_VERSIONS: Final = tuple(artifacts.VERSIONS)
"""The versions of the contracts that this program has; `chain.execution.upgrades` installs them."""

FIRST: Final = 1
"""What holds in a state without schedules: while block 0 is made."""

GetStorage = Callable[[Address, int], int]
"""Reads a word of a contract's storage in one state: address, slot."""

_COUNCIL: Final = Address(COUNCIL)


class Held(NamedTuple):
    """The versions that hold in a block."""

    execution: int
    contracts: int
    rules: int


def version_at(storage: GetStorage, kind: UpgradeKind, number: int) -> int:
    """Return the version of a kind that holds in block `number`, by the state before that block (or a later one)."""
    for index in reversed(range(storage(_COUNCIL, _count(kind)))):
        version, height = _entry(kind, index)
        if storage(_COUNCIL, height) <= number:
            return storage(_COUNCIL, version)
    return FIRST


def versions_at(storage: GetStorage, number: int) -> Held:
    """Return all versions that hold in block `number`; see `version_at`."""
    return Held(*(version_at(storage, kind, number) for kind in UpgradeKind))


@cache
def _count(kind: UpgradeKind) -> int:
    return slot("Council", "_upgrade_count", kind)


@cache
def _entry(kind: UpgradeKind, index: int) -> tuple[int, int]:
    place = ("Council", "_upgrades", kind, index)
    return slot(*place, "version"), slot(*place, "height")
