"""Keeps Vesting's books a second time, from events alone: what is held, settled and paid out.

Whether a client's record stood is judged by `node.audit.vesting`; here every wei that the Ledger sent must be found
again.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from chain.crypto.addresses import Address
from chain.execution.evm import MeritState
from contracts import events as kinds
from contracts.addresses import TOKEN, VESTING
from contracts.events import Event
from contracts.layout import slot

_ALL_JOBS = 0


@dataclass(slots=True)
class HeldAccounts:
    """A job's pay that vests, in wei: received = held + vested + forfeited."""

    received: int = 0
    held: int = 0
    vested: int = 0
    forfeited: int = 0

    def words(self) -> tuple[int, ...]:
        """Return the row as `contracts/v4/Vesting.vy` stores it."""
        return self.received, self.held, self.vested, self.forfeited


@dataclass(slots=True)
class HeldBook:
    """What Vesting knows of everybody's money: `held` by (job, round, client), `releasable` by member."""

    sponsors: dict[int, int] = field(default_factory=dict)
    vests: set[int] = field(default_factory=set)
    accounts: dict[int, HeldAccounts] = field(default_factory=dict)
    total: HeldAccounts = field(default_factory=HeldAccounts)
    held: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    releasable: Counter[int] = field(default_factory=Counter)
    withdrawn: int = 0

    def apply(self, event: Event) -> tuple[str, str] | None:
        """Apply an event; return what it should have said and what it says, None if there is nothing to compare."""
        match event:
            case kinds.JobCreated():
                self.sponsors[event.job] = event.sponsor
            case kinds.PayVests():  # the last one before the job opens counts
                (self.vests.add if event.holder == VESTING else self.vests.discard)(event.job)
            case kinds.Credited() if event.job in self.vests:
                self.held[event.job, event.round, event.client] += event.reward
                for row in self._rows(event.job):
                    row.received += event.reward
                    row.held += event.reward
            case kinds.Vested() | kinds.Forfeited():
                return self._settle(event)
            case kinds.Withdrawn():
                due = self.releasable.pop(event.member, 0)
                self.withdrawn += event.amount
                return f"{due} wei to member {event.member}", f"{event.amount} wei to member {event.member}"
            case _:
                pass  # moves no held pay
        return None

    def _settle(self, event: kinds.Vested | kinds.Forfeited) -> tuple[str, str]:
        held = self.held.pop((event.job, event.round, event.client), 0)
        stands = isinstance(event, kinds.Vested)
        self.releasable[event.client if stands else self.sponsors[event.job]] += event.amount
        for row in self._rows(event.job):
            row.held -= event.amount
            if stands:
                row.vested += event.amount
            else:
                row.forfeited += event.amount
        return f"{held} wei settled", f"{event.amount} wei settled"

    def _rows(self, job: int) -> tuple[HeldAccounts, HeldAccounts]:
        return self.accounts.setdefault(job, HeldAccounts()), self.total

    def compare(self, state: MeritState) -> Iterator[tuple[str, str]]:
        """Give what the books say and what the contract's storage says, wherever the two differ."""
        if not self.vests:
            return
        for job, row in ((_ALL_JOBS, self.total), *sorted(self.accounts.items())):
            first = slot("Vesting", "_accounts", job)
            stored = HeldAccounts(*(state.get_storage(Address(VESTING), first + at) for at in range(len(row.words()))))
            if stored != row:
                yield f"job {job}: {row}", str(stored)
        for (job, number, client), amount in self.held.items():
            found = state.get_storage(Address(VESTING), slot("Vesting", "_held", job, number, client))
            if found != amount:
                yield f"{amount} wei held of job {job} round {number} client {client}", f"{found} wei"
        for member, amount in self.releasable.items():
            found = state.get_storage(Address(VESTING), slot("Vesting", "_releasable", member))
            if found != amount:
                yield f"{amount} wei that member {member} can draw", f"{found} wei"
        here = self.total.received - self.withdrawn
        tokens = state.get_storage(Address(TOKEN), slot("Token", "balanceOf", VESTING))
        if tokens < here:
            yield f"at least {here} wei of the Token held by Vesting", f"{tokens} wei"
