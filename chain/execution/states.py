"""Accounts that a transaction reaches, as it finds and as it leaves them (what geth's prestateTracer tells).

A transaction runs twice: `ReachTracer` learns which accounts and slots it reaches, then `StateTracer` reads them in the
state before it begins and in the one after it has ended.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from eth.abc import MessageAPI, StateAPI

from chain.crypto.addresses import Address
from chain.execution.tracing import AccessTracer, Tracer


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account at one moment: balance in wei, `storage` of the slots that were asked for, zeros included."""

    balance: int
    nonce: int
    code: bytes
    storage: Mapping[int, int]

    @property
    def empty(self) -> bool:
        """Whether there is no such account (EIP-161)."""
        return not (self.balance or self.nonce or self.code)


class ReachTracer(AccessTracer):
    """Keeps what instructions reach, and the accounts between which messages go."""

    def enter(self, message: MessageAPI) -> None:
        """Note who sends, whose storage and whose code it is."""
        super().enter(message)
        for address in (message.sender, message.storage_address, message.code_address):
            if address:
                self.touched.setdefault(Address(address), set())


class StateTracer(Tracer):
    """Reads accounts with their slots, and the account that gets the fees, before and after a transaction."""

    def __init__(self, reached: Mapping[Address, Collection[int]]) -> None:
        """Remember what to read."""
        super().__init__()
        self._reached = reached
        self.found: dict[Address, AccountState] = {}
        self.left: dict[Address, AccountState] = {}

    def begin(self, state: StateAPI) -> None:
        """Read what the transaction finds."""
        self.found = self._read(state)

    def end(self, state: StateAPI) -> None:
        """Read what it leaves."""
        self.left = self._read(state)

    def _read(self, state: StateAPI) -> dict[Address, AccountState]:
        fees = Address(state.coinbase)
        return {
            address: AccountState(
                state.get_balance(address),
                state.get_nonce(address),
                state.get_code(address),
                {slot: state.get_storage(address, slot) for slot in sorted(slots)},
            )
            for address, slots in sorted(({fees: ()} | dict(self._reached)).items())
        }
