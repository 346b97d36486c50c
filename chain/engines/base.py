"""The seam: what an engine asks of an application, and what the rest of Merit may ask of an engine.

All of it happens in one thread, the event loop's: an application is never entered twice at once, and readers see
committed state only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from chain.light import Height, TxResult, results_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from chain import application
    from chain.genesis import Genesis
    from chain.light import Commit, Header, ValidatorSet


class EngineName(StrEnum):
    """An engine, as a node names it. What executing height h says of validators holds from h + 2 on with each."""

    EMBEDDED = "embedded"
    """All validators in one process."""
    COMETBFT = "cometbft"
    """A process beside each node."""


class ReplicatedApplication(Protocol):
    """The part of `chain.application.Application` that an engine calls; its docstrings hold."""

    def info(self) -> application.Info:
        """Tell the last durable height and app hash."""
        ...

    def init_chain(self, genesis: Genesis) -> bytes:
        """Start from the genesis document; return the app hash that height 1 carries."""
        ...

    def check_tx(self, raw: bytes, *, recheck: bool = False) -> application.CheckResult:
        """Judge a transaction for the pool; `recheck` after a height, for what still waits."""
        ...

    def prepare_proposal(
        self, transactions: Sequence[bytes], max_bytes: int, time: application.Timestamp
    ) -> list[bytes]:
        """Choose and order transactions for a block of this time."""
        ...

    def process_proposal(self, transactions: Sequence[bytes], time: application.Timestamp) -> bool:
        """Tell whether `finalize_block` can execute these transactions at this time."""
        ...

    def finalize_block(
        self,
        height: int,
        time: application.Timestamp,
        transactions: Sequence[bytes],
        misbehavior: Sequence[application.Misbehavior] = (),
    ) -> application.Finalized:
        """Execute a decided height in memory; `misbehavior` is what its evidence proves."""
        ...

    def commit(self) -> None:
        """Make the finalized height durable."""
        ...


class Engine(Protocol):
    """A ledger that moves, as one member sees it."""

    @property
    def chain_id(self) -> str:
        """The chain's name, which headers and votes carry."""
        ...

    @property
    def name(self) -> EngineName:
        """Which engine this is."""
        ...

    @property
    def height(self) -> Height:
        """The last height that this member has decided, executed and made durable; 0 before the first."""
        ...

    async def start(self) -> None:
        """Recover, then take part. Raises a ChainError in one line when that is not possible."""
        ...

    async def stop(self) -> None:
        """Finish the height under way and take no more part. Raises what had stopped the engine before, if anything."""
        ...

    def submit(self, raw: bytes) -> application.CheckResult:
        """Check a transaction and, when it is accepted, pool it; acceptance is no promise that a block will hold it.

        Raises NotRunningError while the member is stopped, PoolFullError while too much waits.
        """
        ...

    def waiting(self) -> Sequence[tuple[bytes, application.CheckResult]]:
        """Return what waits in this member's pool for a block, the oldest first, each with the verdict on it."""
        ...

    @property
    def history(self) -> History:
        """What was decided."""
        ...

    async def peers(self) -> int:
        """Return how many other members this one hears at present."""
        ...

    def subscribe(self, after: Height | None = None) -> AsyncIterator[Height]:
        """Yield every height after `after` (by default: after now) once it is durable here, in order, each once.

        Ends when the engine stops; raises what stopped it, if that was a failure.
        """
        ...


class History(Protocol):
    """What an engine decided, for whoever verifies it; some engines ask another process for it."""

    async def first(self) -> Height:
        """Return the earliest height that is here: 1 unless this node started from a snapshot."""
        ...

    async def validators(self, height: Height) -> ValidatorSet:
        """Return the validators of a height, from 1 on; raises UnknownHeightError."""
        ...

    async def signed_header(self, height: Height) -> tuple[Header, Commit]:
        """Return the header of a decided height and the commit that decided it; raises UnknownHeightError."""
        ...

    async def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return the transactions of a decided height, as decided; raises UnknownHeightError."""
        ...

    async def evidence(self, height: Height) -> tuple[bytes, ...]:
        """Return what a decided height holds against validators, each an encoded `light.Evidence`.

        Raises UnknownHeightError.
        """
        ...


class _Stored(Protocol):
    """Answers about decided heights at once."""

    def validators(self, height: Height) -> ValidatorSet: ...

    def header(self, height: Height) -> Header: ...

    def commit(self, height: Height) -> Commit: ...

    def transactions(self, height: Height) -> tuple[bytes, ...]: ...

    def evidence(self, height: Height) -> tuple[bytes, ...]: ...


class StoredHistory:
    """A `History` that an engine of this process has in its own store: its coroutines never wait."""

    def __init__(self, source: _Stored) -> None:
        """Ask `source`."""
        self._source = source

    async def first(self) -> Height:
        """Return 1: such a store begins with genesis."""
        return Height(1)

    async def validators(self, height: Height) -> ValidatorSet:
        """Return the validators of a height."""
        return self._source.validators(height)

    async def signed_header(self, height: Height) -> tuple[Header, Commit]:
        """Return the header of a decided height and its commit; raises UnknownHeightError."""
        return self._source.header(height), self._source.commit(height)

    async def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return the transactions of a decided height; raises UnknownHeightError."""
        return self._source.transactions(height)

    async def evidence(self, height: Height) -> tuple[bytes, ...]:
        """Return what a decided height holds against validators."""
        return self._source.evidence(height)


def last_results_hash(results: Sequence[application.TxResult]) -> bytes:
    """Return what the next header says about a height's results.

    Every engine answers CometBFT with these fields only: the code and the gas used; no data, no gas wanted.
    """
    return results_hash([TxResult(code=int(result.code), gas_used=result.gas_used) for result in results])
