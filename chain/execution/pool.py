"""What may stand next to what: transactions judged one after another on top of committed state, without running them.

One instance follows the pool since the last commit (`check_tx`), others walk through a proposal. Since nothing is run,
the rules lean to the safe side: what a sender may have to pay is counted as spent, and what it may receive is not
counted. A proposal made with these rules passes them on every replica with the same committed state.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from chain.crypto.addresses import Address
from chain.execution.evm import Environment, MeritState
from chain.execution.keys import PublicKey, find_key
from chain.execution.quotas import Meter, window_seconds
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

    def __init__(
        self,
        state: MeritState,
        opener: Opener,
        environment: Environment,
        *,
        number: int,
        time: int,
        gas: int | None,
    ) -> None:
        """Start empty, for block `number` at block time `time` (seconds).

        `gas` bounds the sum of gas limits (a block's), None does not.
        """
        self.meter = None  # what senders have used; None without quotas
        if window_seconds(state.get_storage):
            self.meter = Meter(state.get_storage, number=number, time=time, deployers=environment.deployers)
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
        if self.meter is not None:
            refusal = self.meter.refusal(candidate)
            if refusal is not None:
                return refusal
            self.meter.count(candidate)
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

    def choose(self, transactions: Iterable[bytes], *, most_bytes: int, overhead: int) -> list[bytes]:
        """Choose for a block of at most `most_bytes`, each transaction with `overhead` bytes: senders take turns.

        The next one is always of the sender with the least so far of what it has most of, the block's bytes or its gas
        (dominant resource fairness), so nobody's backlog delays the others; then of the one that has used less of
        this window, then of the one that came first. Each sender's are in the order of their nonces; whoever's next one
        does not fit or could not run is through.
        """
        turns: list[tuple[int, int, int]] = []
        waiting: list[list[Candidate]] = []
        for place, of_sender in enumerate(self._by_sender(transactions)):
            waiting.append(of_sender[::-1])
            turns.append((0, self._used(of_sender[0].sender), place))
        heapify(turns)
        chosen: list[bytes] = []
        size = 0
        shares = [(0, 0)] * len(waiting)  # bytes and gas, by place
        while turns:
            _, used, place = heappop(turns)
            candidate = waiting[place].pop()
            needed = len(candidate.raw) + overhead
            if size + needed > most_bytes:
                continue
            admitted = self._admit(candidate)
            if isinstance(admitted, Candidate):
                size += needed
                chosen.append(candidate.raw)
                shares[place] = shares[place][0] + needed, shares[place][1] + candidate.gas
            elif admitted.code is not Code.NONCE_USED:
                continue
            if waiting[place]:
                of_bytes, of_gas = shares[place]
                share = max(of_bytes * self._environment.gas_limit, of_gas * most_bytes)
                heappush(turns, (share, used, place))
        return chosen

    def _used(self, sender: Address) -> int:
        """Return how many bytes a sender has used of this window."""
        if self.meter is None:
            return 0
        accounts = self.meter.sender(sender).accounts
        return self.meter.used(accounts[0]).bytes if accounts else 0

    def _by_sender(self, transactions: Iterable[bytes]) -> list[list[Candidate]]:
        """Return those that open, by sender in the order in which they first came, each sender's by nonce.

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
        return [[nonces[nonce] for nonce in sorted(nonces)] for nonces in by_sender.values()]
