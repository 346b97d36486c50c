"""What may stand next to what: transactions judged one after another on top of committed state, without running them.

One instance follows the pool since the last commit (`check_tx`), others walk through a proposal. Since nothing is run,
the rules lean to the safe side: what a sender may have to pay is counted as spent, and what it may receive is not
counted. A proposal made with these rules passes them on every replica with the same committed state.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from chain.crypto.addresses import Address
from chain.execution.evm import Environment, MeritState
from chain.execution.keys import PublicKey, find_key
from chain.execution.records import remember_batch
from chain.execution.transactions import Candidate, Opener, greatest_cost, judge
from chain.execution.verdicts import Code, Refusal
from chain.limits import PENDING_PER_SENDER
from contracts.addresses import LEDGER


@dataclass(slots=True)
class _Sender:
    """A sender's account as it will stand when what is pending has run."""

    nonce: int
    balance: int
    pending: int = 0


class Queue:
    """A sequence of transactions that could follow each other from a committed state."""

    def __init__(self, state: MeritState, opener: Opener, environment: Environment, *, gas: int | None) -> None:
        """Start empty; `gas` bounds the sum of gas limits (a block's), None does not."""
        self._state = state
        self._opener = opener
        self._environment = environment
        self._gas_left = gas
        self._senders: dict[Address, _Sender] = {}
        self._keys: dict[Address, PublicKey] = {}  # keys that pending transactions bring

    def key_of(self, address: Address) -> PublicKey | None:
        """Find a key in state or among those that pending transactions bring along."""
        return self._keys.get(address) or find_key(self._state, address)

    def open(self, raw: bytes) -> Candidate | Refusal:
        """Decode and check the signature; nothing is added."""
        return self._opener.open(raw, self.key_of)

    def add(self, raw: bytes) -> Candidate | Refusal:
        """Append a transaction if it could run after those that are here; otherwise say why not."""
        opened = self.open(raw)
        if isinstance(opened, Refusal):
            return opened
        return self._admit(opened)

    def _admit(self, candidate: Candidate) -> Candidate | Refusal:
        sender = self._senders.get(candidate.sender)
        if sender is None:
            sender = _Sender(self._state.get_nonce(candidate.sender), self._state.get_balance(candidate.sender))
            self._senders[candidate.sender] = sender
        gas_left = self._environment.gas_limit if self._gas_left is None else self._gas_left
        refusal = judge(
            candidate,
            nonce=sender.nonce,
            balance=sender.balance,
            gas_left=gas_left,
            base_fee=self._state.execution_context.base_fee_per_gas or 0,
            environment=self._environment,
        )
        if refusal is not None:
            return refusal
        if sender.pending >= PENDING_PER_SENDER:
            return Refusal(
                Code.POOL_FULL, f"{sender.pending} transactions of this sender wait already; try again later"
            )
        sender.nonce += 1
        sender.balance -= greatest_cost(candidate)
        sender.pending += 1
        if self._gas_left is not None:
            self._gas_left -= candidate.gas
        if candidate.new_key is not None:
            self._keys[candidate.sender] = candidate.new_key
        return candidate

    def prepare(self, candidate: Candidate) -> None:
        """Do ahead of the block what can be done ahead: the signatures of a batch of records."""
        if candidate.to == LEDGER:
            remember_batch(self._state, candidate.data)

    def ordered(self, transactions: Iterable[bytes]) -> list[Candidate]:
        """Return those that open, sorted by sender and nonce; the senders keep the order in which they first came.

        A transaction that refers to a key which a later one brings along opens in a second pass.
        """
        by_sender: dict[Address, dict[int, Candidate]] = {}
        waiting = list(transactions)
        for last in (False, True):
            unopened: list[bytes] = []
            for raw in waiting:
                opened = self.open(raw)
                if isinstance(opened, Refusal):
                    if opened.code is Code.UNKNOWN_KEY and not last:
                        unopened.append(raw)
                    continue
                if opened.new_key is not None:
                    self._keys.setdefault(opened.sender, opened.new_key)
                by_sender.setdefault(opened.sender, {}).setdefault(opened.nonce, opened)
            waiting = unopened
        return [nonces[nonce] for nonces in by_sender.values() for nonce in sorted(nonces)]
