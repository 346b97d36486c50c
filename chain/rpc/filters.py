"""Installed filters: what a client has asked to be told of, and how far it was told."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from chain.rpc.errors import LimitError, NotFoundError
from chain.rpc.limits import FILTER_AGE_S, FILTERS
from chain.rpc.parameters import LogQuery
from merit.chance import entropy

if TYPE_CHECKING:
    from merit.clock import Clock

_NAME_BYTES = 16  # a name that nobody guesses: filters of all clients live in one table


class Of(Enum):
    """What a filter without a query is for."""

    BLOCKS = "blocks"
    TRANSACTIONS = "transactions"


Subject: TypeAlias = LogQuery | Of


@dataclass(slots=True)
class Filter:
    """A filter for logs (a query), blocks or sent transactions. `next`: number of the first one not told yet."""

    subject: Subject
    next: int
    asked_at: float


class Filters:
    """The table of installed filters; one that nobody asks for `FILTER_AGE_S` seconds is forgotten."""

    def __init__(self, clock: "Clock") -> None:
        """Start empty."""
        self._clock = clock
        self._filters: dict[int, Filter] = {}

    def install(self, subject: Subject, following: int) -> int:
        """Add a filter that begins with number `following`; return its name. `LimitError` when there are too many."""
        now = self._clock.monotonic()
        self._filters = {name: old for name, old in self._filters.items() if now - old.asked_at < FILTER_AGE_S}
        if len(self._filters) >= FILTERS:
            message = f"{FILTERS} filters are installed; uninstall those that are not needed"
            raise LimitError(message)
        name = int.from_bytes(entropy(_NAME_BYTES), "big")
        self._filters[name] = Filter(subject, following, now)
        return name

    def get(self, name: int) -> Filter:
        """Return a filter and note that it was asked for; `NotFoundError` when it is unknown or forgotten."""
        found = self._filters.get(name)
        now = self._clock.monotonic()
        if found is None or now - found.asked_at >= FILTER_AGE_S:
            message = "filter not found"
            raise NotFoundError(message)
        found.asked_at = now
        return found

    def remove(self, name: int) -> bool:
        """Forget a filter; tell whether there was one."""
        return self._filters.pop(name, None) is not None
