"""Keeps the Ledger's books a second time, from events alone, and judges every record by them.

The contract and its native verifier decide which records are taken and what is paid. Here the same rules, written
from the contract's text, run over the events: whatever the EVM executed must have come to the same end.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from chain.crypto.addresses import Address
from chain.execution.evm import MeritState
from chain.execution.transactions import describe
from contracts import events as kinds
from contracts.abi import functions
from contracts.addresses import LEDGER, TOKEN, ZERO
from contracts.bindings import Role
from contracts.digests import Attestation, next_head
from contracts.events import Event
from contracts.layout import slot
from contracts.records import (
    REASONS,
    UPDATE_HEADER_BYTES,
    UPDATE_ITEM_BYTES,
    Record,
    SignedRecord,
    split_batch,
)
from contracts.terms import JobTerms
from learner.rewards import round_reward
from node.audit import checks
from node.audit.findings import Findings
from node.audit.held import HeldBook
from node.audit.history import HistoryBlock, Transaction
from node.audit.members import Members
from node.audit.report import Divergence, Part

_RECORDED: Final = 0
_BAD_SIGNATURE, _UNKNOWN_KEY, _NOT_A_CLIENT, _EXPIRED, _FUTURE_BASE = 1, 2, 3, 4, 5
_STALE_BASE, _NOT_RISING, _WRONG_LENGTH, _NO_BUDGET, _MALFORMED = 6, 7, 8, 9, 10
_WORD: Final = 32
_MAX_PHI: Final = 1_024
_ALL_JOBS: Final = 0
_NO_HEAD: Final = bytes(32)


class Rest(Enum):
    """What stands where a batch has no further entry."""

    MALFORMED = "a malformed rest"
    NONE = "nothing"


@dataclass(slots=True)
class Accounts:
    """A job's money in wei: free + reserved + pending + released = funded - refunded."""

    funded: int = 0
    refunded: int = 0
    free: int = 0
    reserved: int = 0
    pending: int = 0
    released: int = 0

    @property
    def balanced(self) -> bool:
        """Tell whether nothing appeared or vanished."""
        held = self.free + self.reserved + self.pending
        return held + self.released == self.funded - self.refunded and min(self.words()) >= 0

    def words(self) -> tuple[int, ...]:
        """Return the row as `contracts/Ledger.vy` stores it."""
        return self.funded, self.refunded, self.free, self.reserved, self.pending, self.released


@dataclass(slots=True)
class JobBook:
    """What the Ledger knows of a job.

    `rewards` holds each agreed round's reserve in wei, `owed` what each member can release, `attested` the attestation
    that counts for each edge server by round, `seats` the edge set that the newest of them was made under. `vests`:
    what is credited goes to a holder at once.
    """

    terms: JobTerms
    edge_set: int
    edge_set_pending: int = 0
    version: int = 0
    phi_now: int = 0
    next_sequence: int = 0
    spent: int = 0
    head: bytes = _NO_HEAD
    marks: dict[int, int] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)
    rewards: dict[int, int] = field(default_factory=dict)
    owed: Counter[int] = field(default_factory=Counter)
    attested: dict[int, dict[int, kinds.Attested]] = field(default_factory=dict)
    seats: tuple[int, ...] = ()
    vests: bool = False

    def limit(self) -> int:
        """Return how many records may be live at once: what the free escrow can pay."""
        return self.phi_now * (self.accounts.free // self.terms.base_reward)


class Book:
    """The Ledger's books, kept by `read` block by block."""

    def __init__(self, members: Members, genesis_hash: bytes, findings: Findings, *, store: str) -> None:
        """Start with no jobs; what is wrong is noted under the name `store`."""
        self.jobs: dict[int, JobBook] = {}
        self.total = Accounts()
        self.held = HeldBook()
        self.members = members
        self._genesis_hash = genesis_hash
        self._findings, self._store = findings, store
        self._tally = findings.tallies["records"]
        self._block: HistoryBlock | None = None

    def read(self, block: HistoryBlock) -> None:
        """Judge and apply every event of a block."""
        self._block = block
        for transaction in block.transactions:
            self._read(transaction)
        if not self.total.balanced:
            self._diverges(Part.ESCROW, "escrow + pending + released = funded - refunded", str(self.total), None)

    def _read(self, transaction: Transaction) -> None:
        batch = batch_of(transaction)
        entries = iter(batch or ())
        for event in transaction.events:
            self.members.apply(event)
            if not isinstance(event, kinds.Recorded | kinds.Refused):
                self._apply(event)
                continue
            if batch is None:
                self._judge_alone(event)
            else:
                self._judge(event, next(entries, Rest.NONE))
            if isinstance(event, kinds.Recorded):
                self._take(event)
        if left := len(list(entries)):
            self._diverges(Part.RECORD, f"{len(batch or ())} entries judged", f"{left} of them without an event", None)

    # -- records ----------------------------------------------------------------------------------------------------

    def _judge(self, event: kinds.Recorded | kinds.Refused, entry: "SignedRecord | Rest") -> None:
        """Judge an entry of a batch again, its signature included, and compare with what the Ledger said of it."""
        said = event.reason if isinstance(event, kinds.Refused) else _RECORDED
        if isinstance(entry, SignedRecord):
            names, judged = (entry.record.client, entry.record.digest), self._reason(entry)
        else:
            names, judged = (0, bytes(_WORD)), _MALFORMED
        self._tally.add("batch entries judged again")
        if entry is Rest.NONE or (event.client, event.digest) != names:
            found = f"client {event.client}, digest {event.digest.hex()}"
            self._diverges(Part.RECORD, f"client {names[0]}, digest {names[1].hex()}", found, event)
        elif judged != said:
            part = Part.RECORD if said == _RECORDED else Part.REFUSAL
            self._diverges(part, _reason_text(judged), _reason_text(said), event)

    def _judge_alone(self, event: kinds.Recorded | kinds.Refused) -> None:
        """Judge a record that has no batch entry of its own: the transaction is its client's, or calls a contract."""
        if isinstance(event, kinds.Recorded) and event.submitter == event.signer:
            self._tally.add("records by their clients' own transactions")
            judged = self._reason_of(_record_of(event), event.signer, None)
            if judged != _RECORDED:
                self._diverges(Part.RECORD, _reason_text(judged), _reason_text(_RECORDED), event)
            return
        self._tally.add("records without calldata of their own")
        self._findings.remark(
            f"block {event.block}: a record of client {event.client} came through another contract: its signature is"
            " not in the transaction, only the ledger's own verifier has seen it"
        )

    def _reason(self, entry: SignedRecord) -> int:
        reason = self._reason_of(entry.record, entry.signer, entry.scheme)
        if reason == _RECORDED and not checks.is_signed(entry, self.members.public_key, self._genesis_hash):
            return _BAD_SIGNATURE
        return reason

    def _reason_of(self, record: Record, signer: bytes, scheme: int | None) -> int:
        """Say why a record is left out, 0 if it is not: contracts/Ledger.vy, `_refusal`, in its order."""
        block, job = self._now, self.jobs[record.job]
        key = self.members.in_force(signer, block.number)
        if key is None or key.member != record.client or scheme not in {None, key.scheme}:
            return _UNKNOWN_KEY
        member = self.members.members[key.member]
        if member.role != Role.CLIENT or member.suspended:
            return _NOT_A_CLIENT
        if record.expiry < block.timestamp:
            return _EXPIRED
        if record.base > job.version:
            return _FUTURE_BASE
        if job.version - record.base > job.terms.max_staleness:
            return _STALE_BASE
        if record.mark <= job.marks.get(record.client, 0):
            return _NOT_RISING
        if record.length != UPDATE_HEADER_BYTES + UPDATE_ITEM_BYTES * job.terms.dimension:
            return _WRONG_LENGTH
        if job.next_sequence - job.spent >= job.limit():
            return _NO_BUDGET
        return _RECORDED

    def _take(self, event: kinds.Recorded) -> None:
        job, record = self.jobs[event.job], _record_of(event)
        if event.sequence != job.next_sequence:
            self._diverges(Part.RECORD, f"sequence {job.next_sequence}", f"sequence {event.sequence}", event)
        job.next_sequence += 1
        job.marks[event.client] = record.mark
        job.head = next_head(job.head, record, event.signer)
        self._tally.add("records")

    # -- rounds and money -------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        if (told := self.held.apply(event)) is not None:
            self._tally.add("steps of held pay")
            if told[0] != told[1]:
                self._diverges(Part.VESTING, *told, event)
        match event:
            case kinds.JobCreated():
                self.jobs[event.job] = JobBook(event.terms, event.terms.edge_set)
                self._fund(event.job, event.budget)
            case kinds.ToppedUp():
                self._fund(event.job, event.amount)
            case kinds.PayVests():
                self.jobs[event.job].vests = event.holder != ZERO
            case kinds.JobOpened():
                job = self.jobs[event.job]
                job.phi_now = event.phi
                self._phi(event, job, event.phi)
            case kinds.EdgeSetPending():
                self.jobs[event.job].edge_set_pending = event.number
            case kinds.EdgeSetChanged():
                job = self.jobs[event.job]
                job.edge_set, job.edge_set_pending = event.number, 0
            case kinds.RulesChanged():
                job = self.jobs[event.job]
                job.terms = job.terms.with_rules(event.version, event.scoring, event.aggregation, event.staleness)
            case kinds.Attested():
                self.jobs[event.job].attested.setdefault(event.round, {})[event.edge] = event
                self._attested(event)
            case kinds.RoundAgreed():
                self._agreed(event)
            case kinds.RoundVoid():
                job = self.jobs[event.job]
                self._boundary(job, event.round, event.spent, event.phi_next, event)
            case kinds.RoundUnpaid():
                self._move(event.job, "reserved", "free", self.jobs[event.job].rewards[event.round])
            case kinds.Credited():
                if self.jobs[event.job].vests:  # it leaves for the holder, who owes it from now on
                    self._move(event.job, "reserved", "released", event.reward)
                else:
                    self._move(event.job, "reserved", "pending", event.reward)
                    self.jobs[event.job].owed[event.client] += event.reward
            case kinds.Released():
                self._released(event)
            case kinds.Refunded():
                self._refunded(event)
            case _:
                pass  # moves neither money nor a round

    def _fund(self, number: int, amount: int) -> None:
        for row in (self.jobs[number].accounts, self.total):
            row.funded += amount
            row.free += amount

    def _move(self, number: int, source: str, target: str, amount: int) -> None:
        for row in (self.jobs[number].accounts, self.total):
            setattr(row, source, getattr(row, source) - amount)
            setattr(row, target, getattr(row, target) + amount)

    def _attested(self, event: kinds.Attested) -> None:
        """Check that an attestation's digest and support are what its parts and the servers before it make them."""
        job = self.jobs[event.job]
        attestation = Attestation(event.job, event.round, event.height, event.k, event.spent, event.parts)
        digest = attestation.digest(job.terms.rules_version)
        if digest != event.digest:
            self._diverges(Part.ATTESTATION, f"digest 0x{digest.hex()}", f"0x{event.digest.hex()}", event)
        job.seats = seats = self.members.edge_sets.get(job.edge_set, ())
        if event.edge not in seats:
            self._diverges(Part.ATTESTATION, f"one of edge servers {seats}", f"edge server {event.edge}", event)
        support = self._support(job, event.round, event.digest)
        if support != event.support:
            self._diverges(Part.ATTESTATION, f"support {support}", f"support {event.support}", event)
        self._tally.add("attestations")

    @staticmethod
    def _support(job: JobBook, number: int, digest: bytes) -> int:
        return sum(attested.digest == digest for attested in job.attested.get(number, {}).values())

    def _agreed(self, event: kinds.RoundAgreed) -> None:
        job = self.jobs[event.job]
        seats = job.seats  # of the attestation just before: the next set may be in force already
        support = self._support(job, event.round, event.digest)
        if 3 * support <= 2 * len(seats):
            self._diverges(Part.ATTESTATION, f"more than 2/3 of {len(seats)} edge servers", f"{support}", event)
        # a shrinking phi (all clients) can leave records that the free escrow does not cover: they share what is there
        reward = min(round_reward(job.terms.base_reward, event.k, job.phi_now), job.accounts.free)
        if reward != event.reward:
            self._diverges(Part.REWARD, f"{reward} wei for the round", f"{event.reward} wei", event)
        self._move(event.job, "free", "reserved", event.reward)
        job.rewards[event.round] = event.reward
        self._boundary(job, event.round, event.spent, event.phi_next, event)

    def _boundary(
        self, job: JobBook, number: int, spent: int, phi_next: int, event: kinds.RoundAgreed | kinds.RoundVoid
    ) -> None:
        if number != job.version + 1:
            self._diverges(Part.ATTESTATION, f"round {job.version + 1}", f"round {number}", event)
        job.version, job.spent, job.phi_now = number, spent, phi_next
        self._phi(event, job, phi_next)

    def _phi(self, event: Event, job: JobBook, said: int) -> None:
        phi = job.terms.phi or max(1, min(self.members.active_clients, _MAX_PHI))
        if phi != said:
            self._diverges(Part.SELECTION, f"phi {phi}", f"phi {said}", event)

    def _released(self, event: kinds.Released) -> None:
        job = self.jobs[event.job]
        if job.owed[event.member] != event.amount:
            self._diverges(Part.REWARD, f"{job.owed[event.member]} wei owed", f"{event.amount} wei released", event)
        job.owed[event.member] = 0
        self._move(event.job, "pending", "released", event.amount)

    def _refunded(self, event: kinds.Refunded) -> None:
        job = self.jobs[event.job]
        if job.accounts.free != event.amount:
            self._diverges(Part.ESCROW, f"{job.accounts.free} wei to refund", f"{event.amount} wei", event)
        for row in (job.accounts, self.total):
            row.free -= event.amount
            row.refunded += event.amount

    # -- against the state ------------------------------------------------------------------------------------------

    def compare_totals(self, state: MeritState) -> None:
        """Compare the sums over all jobs with the Ledger's storage after the block that was read last."""
        self._compare_row(state, _ALL_JOBS, self.total)
        self._tally.add("states of the escrow compared")

    def compare_everything(self, state: MeritState) -> None:
        """Compare every job, and the tokens that the Ledger holds, with the state after the block read last."""
        for number, job in self.jobs.items():
            self._compare_row(state, number, job.accounts)
            for name, kept in (
                ("version", job.version),
                ("next_sequence", job.next_sequence),
                ("head", int.from_bytes(job.head, "big")),
                ("phi_now", job.phi_now),
            ):
                stored = state.get_storage(Address(LEDGER), slot("Ledger", "_jobs", number, name))
                if stored != kept:
                    self._diverges(Part.STATE, f"job {number} {name} {kept}", f"{stored}", None)
            for client, mark in job.marks.items():
                stored = state.get_storage(Address(LEDGER), slot("Ledger", "_marks", number, client))
                if stored != mark:
                    self._diverges(Part.STATE, f"job {number} client {client} replay mark {mark}", f"{stored}", None)
        held = self.total.free + self.total.reserved + self.total.pending
        tokens = state.get_storage(Address(TOKEN), slot("Token", "balanceOf", LEDGER))
        if tokens < held:
            self._diverges(Part.ESCROW, f"at least {held} wei of the Token held by the Ledger", f"{tokens} wei", None)
        elif tokens > held:
            self._findings.remark(f"the Ledger holds {tokens - held} wei of the Token that belong to no job")
        for expected, found in self.held.compare(state):
            self._diverges(Part.VESTING, expected, found, None)

    def _compare_row(self, state: MeritState, number: int, row: Accounts) -> None:
        first = slot("Ledger", "_accounts", number)
        stored = Accounts(*(state.get_storage(Address(LEDGER), first + at) for at in range(len(row.words()))))
        if stored != row:
            self._diverges(Part.ESCROW, f"job {number}: {row}", str(stored), None)

    # -- the rest ---------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> HistoryBlock:
        if self._block is None:
            message = "the books were asked before the first block"
            raise RuntimeError(message)
        return self._block

    def _diverges(self, part: Part, expected: str, found: str, event: Event | None) -> None:
        place = self._now.place(event)
        self._findings.diverges(
            Divergence(
                store=self._store,
                part=part,
                expected=expected,
                found=found,
                height=place.height,
                block=place.block,
                job=place.job,
                round=place.round,
                client=place.client,
            )
        )


def batch_of(transaction: Transaction) -> "list[SignedRecord | Rest] | None":
    """Return the entries of a direct call of `recordBatch` as the Ledger reads them; None for any other transaction."""
    call = describe(transaction.raw)
    passed = functions("Ledger")["recordBatch"].arguments(call.data) if call.to == LEDGER else None
    if passed is None or not transaction.succeeded:
        return None
    job, batch = passed
    whole, malformed = split_batch(bytes(batch))
    entries: list[SignedRecord | Rest] = []
    for entry in whole:
        if entry.record.job != job:  # ends the batch, as a malformed entry does
            return [*entries, Rest.MALFORMED]
        entries.append(entry)
    return entries if malformed is None else [*entries, Rest.MALFORMED]


def _record_of(event: kinds.Recorded) -> Record:
    return Record(event.job, event.client, event.base, event.counter, event.digest, event.length, event.expiry)


def _reason_text(reason: int) -> str:
    return REASONS.get(reason, "recorded") if reason else "recorded"
