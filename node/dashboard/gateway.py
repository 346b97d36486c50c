"""The ledger as the dashboard sees it: a connection that comes and goes while the pages stay.

A run's network ends before its audit begins, and comes back afterwards. Who takes it away waits until nobody uses it.
A node that is busy, or whose engine does not answer, keeps a page waiting for `ANSWER_S` only.
"""

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from chain.rpc.provider import connect
from node.errors import LedgerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web3 import Web3

    from chain.rpc.dispatcher import Dispatcher

ANSWER_S: Final = 5.0
"""How long the ledger has for an answer; JSON-RPC's own clients wait far longer (`chain.rpc.limits.WAIT_S`)."""


class Gateway:
    """Lends a web3.py connection, which any thread may use; nothing to lend before `attach` and after `detach`."""

    def __init__(self) -> None:
        """Begin without a ledger."""
        self._changed = threading.Condition()
        self._w3: Web3 | None = None
        self._users = 0

    @property
    def attached(self) -> bool:
        """Whether there is a ledger to ask."""
        return self._w3 is not None

    def attach(self, dispatcher: "Dispatcher") -> None:
        """Lend from now on a connection to the node that answers by this dispatcher."""
        with self._changed:
            self._w3 = connect(dispatcher, wait_s=ANSWER_S)

    def detach(self) -> None:
        """Lend no more, and return when what was lent is back; not in the thread that answers the ledger's requests."""
        with self._changed:
            self._w3 = None
            self._changed.wait_for(lambda: self._users == 0)

    @contextmanager
    def borrow(self) -> "Iterator[Web3]":
        """Lend the connection.

        Raises:
            LedgerUnreachableError: there is no ledger at the moment.

        """
        with self._changed:
            w3 = self._w3
            if w3 is None:
                message = "the ledger is not running at the moment; what it recorded until now is here"
                raise LedgerUnreachableError(message)
            self._users += 1
        try:
            yield w3
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()
