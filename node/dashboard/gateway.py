"""The ledger as the dashboard sees it: a connection that comes and goes while the pages stay.

A run's network ends before its audit begins, and comes back afterwards. Who takes it away waits until nobody uses it.
"""

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from node.errors import LedgerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from web3 import Web3


class Gateway:
    """Lends a web3.py connection, which any thread may use; nothing to lend before `attach` and after `detach`."""

    def __init__(self) -> None:
        """Begin without a ledger."""
        self._changed = threading.Condition()
        self._connect: Callable[[], Web3] | None = None
        self._w3: Web3 | None = None
        self._users = 0

    @property
    def attached(self) -> bool:
        """Whether there is a ledger to ask."""
        return self._connect is not None

    def attach(self, connect: "Callable[[], Web3]") -> None:
        """Lend from now on what `connect` makes; it is called once, by the thread that asks first."""
        with self._changed:
            self._connect, self._w3 = connect, None

    def detach(self) -> None:
        """Lend no more, and return when what was lent is back; not in the thread that answers the ledger's requests."""
        with self._changed:
            self._connect = self._w3 = None
            self._changed.wait_for(lambda: self._users == 0)

    @contextmanager
    def borrow(self) -> "Iterator[Web3]":
        """Lend the connection.

        Raises:
            LedgerUnreachableError: there is no ledger at the moment.

        """
        with self._changed:
            if self._connect is None:
                message = "the ledger is not running at the moment; what it recorded until now is here"
                raise LedgerUnreachableError(message)
            self._w3 = w3 = self._w3 or self._connect()
            self._users += 1
        try:
            yield w3
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()
