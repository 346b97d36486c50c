"""What this node was sent and no block holds yet: the next nonce of each sender, and the transactions' hashes."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chain.application import Code
from chain.execution.transactions import describe
from chain.rpc.limits import SENT_TRANSACTIONS

if TYPE_CHECKING:
    from chain.application import CheckResult
    from chain.crypto.addresses import Address


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
    """Hashes of the transactions that the pool took through this node, numbered from 0; the newest are remembered."""

    def __init__(self) -> None:
        """Start with none."""
        self._hashes: deque[bytes] = deque(maxlen=SENT_TRANSACTIONS)
        self._listeners: list[Callable[[bytes], None]] = []
        self.count = 0
        """How many there have been."""

    def note(self, name: bytes) -> None:
        """Add a hash and tell whoever listens."""
        self._hashes.append(name)
        self.count += 1
        for listener in self._listeners:
            listener(name)

    def since(self, number: int) -> Sequence[bytes]:
        """Return the hashes from `number` on that are remembered."""
        first = self.count - len(self._hashes)
        return list(self._hashes)[max(number - first, 0) :]

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Tell `listener` every hash from now on."""
        self._listeners.append(listener)
