"""Which versions hold in which block: what the Council has scheduled, read from state.

Execution, contracts and rules carry versions. Block 0 writes what genesis names as the first entry of each schedule,
so state alone tells what holds, also to a replica that has executed nothing of the history. Old blocks are executed
again under the version of their own number. Nothing here needs an EVM.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from chain.crypto.addresses import Address
from contracts import artifacts
from contracts.addresses import COUNCIL
from contracts.layout import slot
from contracts.upgrades import Upgrade, UpgradeKind

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
_ENTRIES: Final = 1_024  # one for each of the Council's transactions that readers still ask about; 0.5 MB


class Held(NamedTuple):
    """The versions that hold in a block."""

    execution: int
    contracts: int
    rules: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the Council's storage says at one point of the ledger: each kind's upgrades, versions and blocks rising.

    It tells for the block after that point; for older ones as well, since an upgrade that holds is never taken back.
    """

    upgrades: Mapping[UpgradeKind, tuple[Upgrade, ...]]

    def version(self, kind: UpgradeKind, number: int) -> int:
        """Return the version of a kind that holds in block `number`."""
        return next((up.version for up in reversed(self.upgrades[kind]) if up.height <= number), FIRST)

    def held(self, number: int) -> Held:
        """Return all versions that hold in block `number`."""
        return Held(*(self.version(kind, number) for kind in UpgradeKind))


def read_schedule(storage: GetStorage) -> Schedule:
    """Read the Council's schedule in a state."""

    def upgrades(kind: UpgradeKind) -> Iterator[Upgrade]:
        for index in range(storage(_COUNCIL, slot("Council", "_upgrade_count", kind))):
            place = ("Council", "_upgrades", kind, index)
            yield Upgrade(*(storage(_COUNCIL, slot(*place, name)) for name in ("version", "height")))

    return Schedule({kind: tuple(upgrades(kind)) for kind in UpgradeKind})


class Schedules:
    """Root of the Council's storage (32 bytes) -> schedule: the same storage says the same, so nothing goes stale."""

    def __init__(self, entries: int = _ENTRIES) -> None:
        """Keep at most `entries` schedules, the least recently used one goes first."""
        self._entries = entries
        self._known: OrderedDict[bytes, Schedule] = OrderedDict()

    def of(self, root: bytes, storage: GetStorage) -> Schedule:
        """Return the schedule under a storage root, reading it the first time; `storage` reads under that root."""
        known = self._known.get(root)
        if known is not None:
            self._known.move_to_end(root)
            return known
        schedule = self._known[root] = read_schedule(storage)
        if len(self._known) > self._entries:
            self._known.popitem(last=False)
        return schedule
