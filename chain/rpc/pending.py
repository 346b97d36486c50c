"""What this node was sent and no block holds yet: the next nonce of each sender, and the transactions."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chain.application import Code
from chain.execution.transactions import describe
from chain.rpc.limits import SENT_BYTES, SENT_TRANSACTIONS

if TYPE_CHECKING:
    from chain.application import CheckResult
    from chain.crypto.addresses import Address
    from chain.execution.transactions import Description


class PendingNonces:
    """The next nonce of each sender after the transactions that the pool took through this node.

    When the pool drops one of them (a balance that is gone, for example), what follows it leaves a gap; the refusal
    that says so makes this table forget the sender, and the count begins again at the ledger's.
    """

    def __init__(self) -> None:
        """Start with nothing pending."""
        self._next: dict[Address, int] = {}

    def note(self, raw: bytes, verdict: "CheckResult") -> None:
        """Learn from the pool's verdict on a transaction."""
        if verdict.accepted and verdict.sender is not None:
            self._next[verdict.sender] = max(self._next.get(verdict.sender, 0), verdict.nonce + 1)
        elif verdict.code is Code.NONCE_GAP:
            self._next.pop(describe(raw).sender, None)

    def next(self, sender: "Address", committed: int) -> int:
        """Return the nonce for the sender's next transaction; `committed` is the ledger's."""
        following = self._next.get(sender, 0)
        if following <= committed:
            self._next.pop(sender, None)
            return committed
        return following


class SentTransactions:
    """The transactions that the pool took through this node, numbered from 0; the newest are remembered.

    Hashes are, up to `SENT_TRANSACTIONS`; the transactions themselves as far as `SENT_BYTES` go.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._hashes: deque[bytes] = deque(maxlen=SENT_TRANSACTIONS)
        self._listeners: list[Callable[[bytes, bytes], None]] = []
        self._raw: dict[bytes, bytes] = {}  # by hash, the oldest first
        self._bytes = 0
        self.count = 0
        """How many there have been."""

    def note(self, name: bytes, raw: bytes) -> None:
        """Add a transaction and tell whoever listens."""
        if name in self._raw:  # sent again while it waits
            return
        self._hashes.append(name)
        self.count += 1
        self._raw[name] = raw
        self._bytes += len(raw)
        while self._bytes > SENT_BYTES or len(self._raw) > SENT_TRANSACTIONS:
            self._bytes -= len(self._raw.pop(next(iter(self._raw))))
        for listener in self._listeners:
            listener(name, raw)

    def find(self, name: bytes) -> "Description | None":
        """Return a transaction that is remembered."""
        raw = self._raw.get(name)
        return None if raw is None else describe(raw)

    def since(self, number: int) -> Sequence[bytes]:
        """Return the hashes from `number` on that are remembered."""
        first = self.count - len(self._hashes)
        return list(self._hashes)[max(number - first, 0) :]

    def listen(self, listener: Callable[[bytes, bytes], None]) -> None:
        """Tell `listener` hash and bytes of every transaction from now on."""
        self._listeners.append(listener)
