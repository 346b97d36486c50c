"""Which nonces this node was sent that no block holds yet."""

from typing import TYPE_CHECKING

from chain.application import Code
from chain.execution.transactions import describe

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
