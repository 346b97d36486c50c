"""Quotas: how much one sender, and one job, may put into a window of block time. ADR-quotas.md says why.

Limits and use are kept in the storage of the account QUOTAS (0x4d13), so that they are part of the state and every
replica judges alike. A block is judged by the limits, the standings and the use in the state *before* it and by
what the block's own transactions add; what they change of members or limits counts from the next block on. So the pool,
a proposal and execution judge the same, without running anything.

    slot 0: seconds of a window (0 = there are no quotas)       slot 1: records per job
    slots 2 to 6: limits of edge server, council, member, stranger, strangers
    16: member -> use   17: member -> use of `council`   18: address -> use   19: strangers' use   20: job -> records

One word holds a limit or a use: window u64 (0 in limits) | transactions u32 | bytes u64 | gas u96. A use of another
window is none, so nothing is ever reset, and a block writes each word once.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec
from eth.abc import ComputationAPI
from eth.exceptions import VMError, WriteProtection

from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.execution.governance import governor_of
from chain.execution.records import SELECTOR as BATCH
from chain.execution.records import call_data, entries_of
from chain.execution.standings import standing_of
from chain.execution.verdicts import Code, Refusal
from chain.execution.versions import GetStorage
from chain.genesis import Quota, Quotas, votes_fit
from contracts.addresses import COUNCIL, LEDGER, QUOTAS
from contracts.bindings import Role
from contracts.layout import mapped

if TYPE_CHECKING:
    from chain.execution.evm import MeritState
    from chain.execution.transactions import Candidate

_QUOTAS: Final = Address(QUOTAS)
_WORD: Final = 32
_WINDOW_SHIFT: Final = 192
_WINDOW, _RECORDS, _LIMITS = 0, 1, 2
_MEMBERS, _COUNCIL, _ADDRESSES, _STRANGERS, _JOBS = 16, 17, 18, 19, 20
_CLASSES: Final = ("edge_server", "council", "member", "stranger", "strangers")

_EDGE_SERVER, _COUNCIL_RESERVE, _MEMBER, _STRANGER, _ALL_STRANGERS = range(len(_CLASSES))

_STOP: Final = b"\x00"  # code, so that an account without coins is never taken for an empty one and removed (EIP-161)

RECORD: Final = keccak256(b"record(uint256,uint256,uint64,uint32,bytes32,uint64,uint64)")[:4]
SET_QUOTAS: Final = keccak256(b"setQuotas(uint256[17])")[:4]
SET_GAS: Final = 50_000  # seven words that change, EIP-2200


class Amounts(NamedTuple):
    """What is counted; also a limit."""

    transactions: int = 0
    bytes: int = 0
    gas: int = 0

    @classmethod
    def unpack(cls, word: int) -> Self:
        """Read a word without its window."""
        return cls(word >> 160 & (1 << 32) - 1, word >> 96 & (1 << 64) - 1, word & (1 << 96) - 1)

    def pack(self, window: int = 0) -> int:
        """Write a word."""
        return window << _WINDOW_SHIFT | self.transactions << 160 | self.bytes << 96 | self.gas

    def plus(self, other: "Amounts") -> "Amounts":
        """Add each."""
        return Amounts(self.transactions + other.transactions, self.bytes + other.bytes, self.gas + other.gas)


@dataclass(frozen=True, slots=True)
class Account:
    """Where a use is kept and what bounds it; `who` names it to the sender."""

    who: str
    place: int
    limit: Amounts


class Kind(StrEnum):
    """What a sender is to the quotas."""

    GOVERNOR = "governor"
    EDGE_SERVER = "edge server"
    MEMBER = "member"
    SUSPENDED = "suspended member"
    DEPLOYER = "deployer"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Sender:
    """What bounds a sender: each of `accounts`; `reserve` is for calls to the Council when those are used up."""

    kind: Kind
    member: int = 0
    role: int = 0
    accounts: tuple[Account, ...] = ()
    reserve: Account | None = None


def window_seconds(storage: GetStorage) -> int:
    """Return how long a window is in a state; 0 where there are no quotas."""
    return storage(_QUOTAS, _WINDOW)


def install_quotas(state: "MeritState", quotas: Quotas | None = None) -> None:
    """Make the account that keeps quotas, if it is not there; with limits if there are to be some."""
    if not state.get_code(_QUOTAS):
        state.set_code(_QUOTAS, _STOP)
    if quotas is not None:
        _write(state, quotas)
    state.lock_changes()


def _write(state: "MeritState", quotas: Quotas) -> None:
    state.set_storage(_QUOTAS, _WINDOW, quotas.window_s)
    state.set_storage(_QUOTAS, _RECORDS, quotas.records_per_job)
    for index, limit in enumerate(_limits(quotas)):
        state.set_storage(_QUOTAS, _LIMITS + index, Amounts(limit.transactions, limit.bytes, limit.gas).pack())


def _limits(quotas: Quotas) -> tuple[Quota, ...]:
    return quotas.edge_server, quotas.council, quotas.member, quotas.stranger, quotas.strangers


def encode_set_quotas(quotas: Quotas) -> bytes:
    """Return the call data with which the governor changes all limits, from the next block on.

    `setQuotas(uint256[17])`: seconds of a window, records per job, and transactions, bytes and gas of edge server,
    council, member, stranger and strangers.
    """
    words = [quotas.window_s, quotas.records_per_job]
    for limit in _limits(quotas):
        words += limit.transactions, limit.bytes, limit.gas
    return SET_QUOTAS + b"".join(word.to_bytes(_WORD, "big") for word in words)


def quotas_precompile(computation: ComputationAPI) -> ComputationAPI:
    """Change the limits; see `encode_set_quotas`. Only the governor, and never so that edge servers cannot vote."""
    message = computation.msg
    computation.consume_gas(SET_GAS, reason="quotas")
    quotas = _decode(message.data_as_bytes)
    if quotas is None:
        refusal = "not setQuotas(uint256[17]) with limits that a genesis document could name"
        raise VMError(refusal)
    if message.is_static or message.storage_address != QUOTAS:
        refusal = "quotas are changed by a plain call"
        raise WriteProtection(refusal)
    state: MeritState = computation.state  # type: ignore[assignment] # ours, always
    if message.sender != governor_of(state.get_storage):
        refusal = "only the governor changes quotas"
        raise VMError(refusal)
    _write(state, quotas)
    return computation


def _decode(data: bytes) -> Quotas | None:
    if data[:4] != SET_QUOTAS or len(data) != 4 + _WORD * (2 + 3 * len(_CLASSES)):
        return None
    window_s, records, *rest = (int.from_bytes(data[at : at + _WORD], "big") for at in range(4, len(data), _WORD))
    limits = [dict(zip(Amounts._fields, rest[at : at + 3], strict=True)) for at in range(0, len(rest), 3)]
    document = {"window_s": window_s, "records_per_job": records} | dict(zip(_CLASSES, limits, strict=True))
    try:
        quotas = msgspec.convert(document, Quotas)
    except msgspec.ValidationError:
        return None
    return quotas if votes_fit(quotas) else None


class Meter:
    """Counts what is to stand in one block, or in the pool, on top of a committed state."""

    def __init__(self, storage: GetStorage, *, number: int, time: int, deployers: AbstractSet[Address]) -> None:
        """Count for block `number` at block time `time` (seconds); `storage` reads the state before it, with quotas."""
        self._storage = storage
        self._number, self._deployers = number, deployers
        self.window_s = window_seconds(storage)
        self.window = time // self.window_s
        self._limits: dict[int, Amounts] = {}
        self._senders: dict[Address, Sender] = {}
        self._used: dict[int, Amounts] = {}  # by place: what the state says and what was counted since
        self._records: dict[int, int] = {}  # by job, likewise
        self._counted: dict[int, None] = {}  # places in the order in which they were first counted
        self._jobs_counted: dict[int, None] = {}
        self._passed: tuple[Candidate, tuple[Account, ...], int, int] | None = None  # the last one, job and records

    @property
    def next_window(self) -> int:
        """The block time (seconds) at which the next window begins."""
        return (self.window + 1) * self.window_s

    @property
    def records_per_job(self) -> int:
        """How many records a job takes in a window."""
        return self._storage(_QUOTAS, _RECORDS)

    def refusal(self, candidate: "Candidate") -> Refusal | None:
        """Say which quota a transaction would exceed; None if it is within all of them."""
        accounts = self._accounts(candidate)
        if isinstance(accounts, Refusal):
            return accounts
        job, records = self._records_of(candidate)
        if records:
            used, limit = self.records(job), self.records_per_job
            if used + records > limit:
                return self._over(f"job {job}", "records", used, records, limit)
        self._passed = candidate, accounts, job, records
        return None

    def count(self, candidate: "Candidate") -> None:
        """Count the transaction that `refusal` has let pass last."""
        if self._passed is None or self._passed[0] is not candidate:
            message = "a transaction is counted that was not judged just before"
            raise RuntimeError(message)
        _, accounts, job, records = self._passed
        self._passed = None
        for account in accounts:
            self._used[account.place] = self.used(account).plus(_amounts(candidate))
            self._counted[account.place] = None
        if records:
            self._records[job] = self.records(job) + records
            self._jobs_counted[job] = None

    def write(self, state: "MeritState") -> None:
        """Put what was counted into the state, each word once."""
        for place in self._counted:
            state.set_storage(_QUOTAS, place, self._used[place].pack(self.window))
        for job in self._jobs_counted:
            state.set_storage(_QUOTAS, mapped(_JOBS, job), Amounts(bytes=self._records[job]).pack(self.window))

    def sender(self, address: Address) -> Sender:
        """Tell what bounds a sender, by the state before the block."""
        known = self._senders.get(address)
        if known is None:
            known = self._senders[address] = self._sender(address)
        return known

    def used(self, account: Account) -> Amounts:
        """Return what of a limit is used in this window."""
        known = self._used.get(account.place)
        if known is None:
            known = self._used[account.place] = self._read(account.place)
        return known

    def records(self, job: int) -> int:
        """Return how many records were offered to a job in this window."""
        known = self._records.get(job)
        if known is None:
            known = self._records[job] = self._read(mapped(_JOBS, job)).bytes
        return known

    def _read(self, place: int) -> Amounts:
        word = self._storage(_QUOTAS, place)
        return Amounts.unpack(word) if word >> _WINDOW_SHIFT == self.window else Amounts()

    def _limit(self, index: int) -> Amounts:
        known = self._limits.get(index)
        if known is None:
            known = self._limits[index] = Amounts.unpack(self._storage(_QUOTAS, _LIMITS + index))
        return known

    def _sender(self, address: Address) -> Sender:
        standing = standing_of(self._storage, address, self._number)
        member, role = standing.member, standing.role
        name = f"0x{address.hex()}"
        if address == governor_of(self._storage):
            return Sender(Kind.GOVERNOR, member, role)
        if member and not standing.suspended:
            place = mapped(_MEMBERS, member)
            if role == Role.EDGE_SERVER:
                own = Account(f"edge server {member}", place, self._limit(_EDGE_SERVER))
                reserve = Account(
                    f"edge server {member}, Council", mapped(_COUNCIL, member), self._limit(_COUNCIL_RESERVE)
                )
                return Sender(Kind.EDGE_SERVER, member, role, (own,), reserve)
            return Sender(Kind.MEMBER, member, role, (Account(f"member {member}", place, self._limit(_MEMBER)),))
        own_place = mapped(_MEMBERS, member) if member else mapped(_ADDRESSES, int.from_bytes(address, "big"))
        if not member and address in self._deployers:
            return Sender(Kind.DEPLOYER, accounts=(Account(f"deployer {name}", own_place, self._limit(_MEMBER)),))
        kind = Kind.SUSPENDED if member else Kind.STRANGER
        own = Account(f"{kind} {member or name}", own_place, self._limit(_STRANGER))
        return Sender(
            kind, member, role, (own, Account("all strangers together", _STRANGERS, self._limit(_ALL_STRANGERS)))
        )

    def _accounts(self, candidate: "Candidate") -> tuple[Account, ...] | Refusal:
        """Return what a transaction counts against, or which of it it would exceed."""
        sender = self.sender(candidate.sender)
        amounts = _amounts(candidate)
        exceeded = next((one for one in sender.accounts if not _fits(self.used(one).plus(amounts), one.limit)), None)
        if exceeded is None:
            return sender.accounts
        reserve = sender.reserve
        if candidate.to == COUNCIL and reserve is not None and _fits(self.used(reserve).plus(amounts), reserve.limit):
            return (reserve,)
        used = self.used(exceeded)
        what, before, more, limit = next(
            one for one in zip(Amounts._fields, used, amounts, exceeded.limit, strict=True) if one[1] + one[2] > one[3]
        )
        return self._over(exceeded.who, what, before, more, limit)

    def _records_of(self, candidate: "Candidate") -> tuple[int, int]:
        """Return a job and how many records a transaction offers to it; only of those whose records the Ledger takes.

        Others' calls revert. If they were counted, anybody could use a job's quota up.
        """
        if candidate.to != LEDGER:
            return 0, 0
        kind = candidate.data[:4]
        if kind not in {BATCH, RECORD}:
            return 0, 0
        sender = self.sender(candidate.sender)
        if kind == RECORD:
            return int.from_bytes(candidate.data[4 : 4 + _WORD], "big"), int(sender.role == Role.CLIENT)
        if sender.role != Role.EDGE_SERVER:
            return 0, 0
        try:
            job, batch = call_data(candidate.data)
        except VMError:
            return 0, 0
        return job, sum(entry is not None for entry in entries_of(batch, job))

    def _over(self, who: str, what: str, used: int, more: int, limit: int) -> Refusal:
        if more > limit:
            return Refusal(Code.QUOTA, f"quota of {who}: {more} {what} are more than the {limit} of a whole window")
        return Refusal(
            Code.QUOTA,
            f"quota of {who}: {used} of {limit} {what} of this window of {self.window_s} s are used,"
            f" this asks for {more}; the next window begins at block time {self.next_window}",
        )


def _amounts(candidate: "Candidate") -> Amounts:
    return Amounts(1, len(candidate.raw), candidate.gas)


def _fits(asked: Amounts, limit: Amounts) -> bool:
    return asked.transactions <= limit.transactions and asked.bytes <= limit.bytes and asked.gas <= limit.gas
