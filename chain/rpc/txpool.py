"""The `txpool_*` methods: what waits in this node's pool, in geth's shapes.

The pool takes a transaction only when it can follow those that wait already, so none is ever queued behind a gap.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eth_utils.address import to_checksum_address

from chain.crypto.addresses import ZERO
from chain.execution.transactions import describe
from chain.rpc import shapes
from chain.rpc.errors import LimitError
from chain.rpc.limits import POOL_BYTES, POOL_TRANSACTIONS
from chain.rpc.shapes import Json, number

if TYPE_CHECKING:
    from chain.application import CheckResult
    from chain.crypto.addresses import Address
    from chain.engines.base import Engine


class TxpoolMethods:
    """Answers about the pool of one node."""

    def __init__(self, engine: "Engine") -> None:
        """Ask the engine, whose pool it is."""
        self._engine = engine

    def status(self) -> Json:
        """Count what waits."""
        return {"pending": number(len(self._engine.waiting())), "queued": number(0)}

    def content(self) -> Json:
        """Return all that waits: sender -> nonce -> transaction."""
        return self._by_sender(self.describe)

    def inspect(self) -> Json:
        """Return all that waits, each as a line of text: recipient, value, gas."""
        return self._by_sender(self._line)

    def content_from(self, sender: "Address") -> Json:
        """Return what waits of one sender: nonce -> transaction."""
        found = [(raw, verdict) for raw, verdict in self._engine.waiting() if verdict.sender == sender]
        _bound(found)
        return {"pending": {str(verdict.nonce): self.describe(raw) for raw, verdict in found}, "queued": {}}

    def describe(self, raw: bytes) -> Json:
        """Write a transaction that is in no block."""
        return shapes.waiting_transaction(describe(raw))

    def _line(self, raw: bytes) -> str:
        fields = describe(raw)
        to = to_checksum_address(fields.to) if fields.to else "contract creation"
        return f"{to}: {fields.value} wei + {fields.gas} gas × {fields.max_fee_per_gas} wei"  # noqa: RUF001 - as geth

    def _by_sender(self, write: Callable[[bytes], object]) -> Json:
        waiting = self._engine.waiting()
        _bound(waiting)
        found: defaultdict[str, Json] = defaultdict(dict)
        for raw, verdict in waiting:
            found[to_checksum_address(verdict.sender or ZERO)][str(verdict.nonce)] = write(raw)
        return {"pending": found, "queued": {}}


def _bound(waiting: "Sequence[tuple[bytes, CheckResult]]") -> None:
    size = sum(len(raw) for raw, _ in waiting)
    if len(waiting) > POOL_TRANSACTIONS or size > POOL_BYTES:
        message = (
            f"{len(waiting)} transactions of {size} bytes wait, an answer holds at most {POOL_TRANSACTIONS} of"
            f" {POOL_BYTES}; ask for one sender's, or for their number"
        )
        raise LimitError(message)
