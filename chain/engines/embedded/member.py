"""One validator's view of the embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain.engines.base import EngineName, StoredHistory
from chain.engines.heights import Heights

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chain import light
    from chain.application import CheckResult
    from chain.engines.base import ReplicatedApplication
    from chain.engines.embedded.replica import Replica
    from chain.engines.embedded.roster import Roster
    from chain.light import Height


class Member:
    """An `Engine` (chain/engines/base.py) as one validator of an embedded engine sees it."""

    def __init__(self, engine: Roster, replica: Replica, number: int) -> None:
        """Use `Roster.member`."""
        self._engine, self._replica, self._number = engine, replica, number

    @property
    def name(self) -> EngineName:
        """Which engine this is."""
        return EngineName.EMBEDDED

    @property
    def chain_id(self) -> str:
        """The chain's name, which headers and votes carry."""
        return self._engine.chain_id

    @property
    def address(self) -> bytes:
        """The address (20 bytes) by which it votes at the next height, and which commits then name."""
        return self._replica.address

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Those of all keys that the validator has here, the newest last."""
        return self._replica.addresses

    @property
    def application(self) -> ReplicatedApplication:
        """The validator's own replica of the ledger."""
        return self._replica.application

    @property
    def running(self) -> bool:
        """Whether the validator takes part."""
        return self._replica.running

    @property
    def height(self) -> Height:
        """The last height that this validator has made durable."""
        return self._replica.height

    async def start(self) -> None:
        """Let the validator recover, catch up and take part; the engine must be running."""
        await self._engine.start_validator(self._number)

    async def stop(self) -> None:
        """Let the validator take no more part; the others go on if they hold more than two thirds of the power."""
        await self._engine.stop_validator(self._number)

    def submit(self, raw: bytes) -> CheckResult:
        """Check a transaction at this validator, and pool it if that accepts; raises NotRunningError, PoolFullError."""
        return self._engine.submit_at(self._replica, raw)

    def waiting(self) -> list[tuple[bytes, CheckResult]]:
        """Return what waits in the pool, which the validators of a process share."""
        return self._engine.waiting()

    def subscribe(self, after: Height | None = None) -> AsyncIterator[Height]:
        """Yield every height after `after` (by default: after now), in order, once it is durable here."""
        return Heights(self._engine, lambda: self._replica.height, after)

    async def peers(self) -> int:
        """Return how many other validators take part."""
        return self._engine.peers_of(self._replica)

    @property
    def history(self) -> StoredHistory:
        """What this validator's store holds."""
        return StoredHistory(self)

    def validators(self, height: Height) -> light.ValidatorSet:
        """Return the validators of a height; raises UnknownHeightError."""
        return self._replica.sets.at(height)

    def header(self, height: Height) -> light.Header:
        """Return a header from this validator's store; raises UnknownHeightError."""
        return self._replica.store.header(height)

    def commit(self, height: Height) -> light.Commit:
        """Return a commit from this validator's store; raises UnknownHeightError."""
        return self._replica.store.commit(height)

    def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return a height's transactions from this validator's store; raises UnknownHeightError."""
        return self._replica.store.transactions(height)

    def evidence(self, height: Height) -> tuple[bytes, ...]:
        """Return what a height holds against validators, from this validator's store; raises UnknownHeightError."""
        return self._replica.store.evidence(height)
