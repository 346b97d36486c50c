"""Transactions that wait for a block, in the order of their arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chain.engines.errors import PoolFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chain.application import CheckResult

POOL_TRANSACTIONS: Final = 20_000
POOL_BYTES: Final = 256 * 1024 * 1024


class Pool:
    """One pool for the process; each transaction remembers the validator whose application admitted it."""

    def __init__(self, transactions: int = POOL_TRANSACTIONS, size: int = POOL_BYTES) -> None:
        """Bound the pool by number and by bytes."""
        self._transactions_max, self._bytes_max = transactions, size
        self._waiting: dict[bytes, tuple[bytes, CheckResult]] = {}  # transaction -> validator's name, verdict
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of waiting transactions."""
        return len(self._waiting)

    @property
    def size(self) -> int:
        """The bytes of all that wait."""
        return self._bytes

    def known(self, raw: bytes) -> CheckResult | None:
        """Return the verdict on a transaction that waits already: sending again is harmless."""
        entry = self._waiting.get(raw)
        return entry[1] if entry else None

    def require_room(self, raw: bytes) -> None:
        """Raise PoolFullError unless there is room for `raw`."""
        if len(self._waiting) >= self._transactions_max or self._bytes + len(raw) > self._bytes_max:
            raise PoolFullError(len(self._waiting), self._bytes)

    def add(self, raw: bytes, entry: bytes, verdict: CheckResult) -> None:
        """Keep an accepted transaction."""
        self._waiting[raw] = entry, verdict
        self._bytes += len(raw)

    def remove(self, raw: bytes) -> None:
        """Forget a transaction, if it waits."""
        if self._waiting.pop(raw, None) is not None:
            self._bytes -= len(raw)

    def transactions(self) -> list[bytes]:
        """Return all that wait, the oldest first."""
        return list(self._waiting)

    def verdicts(self) -> list[tuple[bytes, CheckResult]]:
        """Return all that wait, the oldest first, each with the verdict that let it in."""
        return [(raw, verdict) for raw, (_, verdict) in self._waiting.items()]

    def entries(self) -> list[tuple[bytes, bytes]]:
        """Return all that wait, the oldest first, each with the name of the validator that admitted it."""
        return [(raw, entry) for raw, (entry, _) in self._waiting.items()]

    def recheck(self, judge: Callable[[bytes, bytes], CheckResult]) -> None:
        """Ask `judge(raw, entry)` again for everything that waits and drop what it refuses."""
        for raw, (entry, _) in list(self._waiting.items()):
            if not judge(raw, entry).accepted:
                self.remove(raw)
