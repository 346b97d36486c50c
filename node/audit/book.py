"""Keeps the Ledger's books a second time, from events alone, and judges every record by them.

The contract and its native verifier decide which records are taken and what is paid. Here the same rules, written
from the contract's text, run over the events: whatever the EVM executed must have come to the same end.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme, verify
from chain.errors import TransactionError
from chain.transaction import decode
from contracts import events as kinds
from contracts.abi import functions
from contracts.addresses import LEDGER
from contracts.bindings import Role
from contracts.digests import Attestation, next_head
from contracts.events import Event
from contracts.records import (
    MAX_ENTRIES,
    REASONS,
    UPDATE_HEADER_BYTES,
    UPDATE_ITEM_BYTES,
    Record,
    SignedRecord,
    split_batch,
)
from contracts.terms import JobTerms
from learner.rewards import round_reward
from node.audit.findings import Findings
from node.audit.history import HistoryBlock, Transaction
from node.audit.members import Members
from node.audit.report import Divergence, Part

_RECORDED: Final = 0
_BAD_SIGNATURE, _UNKNOWN_KEY, _NOT_A_CLIENT, _EXPIRED, _FUTURE_BASE = 1, 2, 3, 4, 5
_STALE_BASE, _NOT_RISING, _WRONG_LENGTH, _NO_BUDGET, _MALFORMED = 6, 7, 8, 9, 10
_WORD: Final = 32
_SELECTOR_BYTES: Final = 4
_MAX_PHI: Final = 1_024
_ALL_JOBS: Final = 0
_NO_HEAD: Final = bytes(32)


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
    """What the Ledger knows of a job; `rewards` holds each agreed round's reserve in wei."""

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

    def limit(self) -> int:
        """Return how many records may be live at once: what the free escrow can pay."""
        return self.phi_now * (self.accounts.free // self.terms.base_reward)


class Book:
    """The Ledger's books, kept by `read` block by block."""

    def __init__(self, members: Members, genesis_hash: bytes, findings: Findings, store: str) -> None:
        """Start with no jobs; what is wrong is noted under the name `store`."""
        self.jobs: dict[int, JobBook] = {}
        self.total = Accounts()
        self.members = members
        self._context = record_context(genesis_hash)
        self._findings, self._store = findings, store
        self._tally = findings.tallies["records"]
        self._block: HistoryBlock | None = None

    def read(self, block: HistoryBlock) -> None:
        """Judge and apply every event of a block."""
        self._block = block
        for transaction in block.transactions:
            judged = self._judged(transaction)
            for event in transaction.events:
                self.members.apply(event)
                if isinstance(event, kinds.Recorded | kinds.Refused):
                    self._record(event, next(judged, None))
                else:
                    self._apply(event)
            if next(judged, None) is not None and any(map(_is_entry, transaction.events)):
                self._diverges(Part.RECORD, "an event for each entry of a batch", "fewer", None)
        if not self.total.balanced:
            self._diverges(Part.ESCROW, "escrow + pending + released = funded - refunded", str(self.total), None)

    # -- records ----------------------------------------------------------------------------------------------------

    def _judged(self, transaction: Transaction) -> Iterator[SignedRecord | None]:
        """Yield the entries of a transaction's batch as the Ledger reads them; None for a malformed rest.

        Nothing for a transaction that is no direct call of `recordBatch`: of a record that comes another way there is
        only the event (the client's own transaction is its signature).
        """
        if not any(map(_is_entry, transaction.events)):
            return
        try:
            call = decode(transaction.raw)
        except TransactionError:  # a classical transaction; of these the ledger's execution checked the signature
            return
        if call.to != LEDGER or call.data[:_SELECTOR_BYTES] != functions("Ledger")["recordBatch"].selector:
            return
        job, offset = (
            int.from_bytes(call.data[_SELECTOR_BYTES + _WORD * n :][:_WORD], "big") for n in range(2)
        )
        start = _SELECTOR_BYTES + offset + _WORD
        length = int.from_bytes(call.data[start - _WORD : start], "big")
        entries, malformed = split_batch(call.data[start : start + length])
        for entry in entries:
            if entry.record.job != job:
                malformed = None
                yield None
                return
            yield entry
        if malformed is not None and len(entries) <= MAX_ENTRIES:
            yield None

    def _record(self, event: kinds.Recorded | kinds.Refused, entry: SignedRecord | None) -> None:
        """Judge an entry again and compare with what the Ledger said of it."""
        said = event.reason if isinstance(event, kinds.Refused) else _RECORDED
        if entry is None:
            self._without_entry(event, said)
        else:
            names = (event.client, event.digest)
            if names != (entry.record.client, entry.record.digest):
                self._diverges(Part.RECORD, f"client {entry.record.client}, {entry.record.digest.hex()}", str(names), event)
            judged = self._reason(entry)
            self._tally.add("signatures of records")
            if judged != said:
                part = Part.RECORD if said == _RECORDED else Part.REFUSAL
                self._diverges(part, _reason_text(judged), _reason_text(said), event)
        if isinstance(event, kinds.Recorded):
            self._take(event)
        else:
            self._tally.add("refused records judged again")

    def _without_entry(self, event: kinds.Recorded | kinds.Refused, said: int) -> None:
        """Judge what came without a batch entry of its own: a client's own transaction, or a malformed rest."""
        if said == _MALFORMED:
            return
        if isinstance(event, kinds.Recorded) and event.submitter == event.signer:
            self._tally.add("records by their clients' own transactions")
            judged = self._reason_of(_record_of(event), event.signer, None)
            if judged != _RECORDED:
                self._diverges(Part.RECORD, _reason_text(judged), _reason_text(said), event)
            return
        self._tally.add("records without calldata of their own")
        self._findings.remark(
            f"block {event.block}: a record of client {event.client} came through another contract: its signature is not"
            " in the transaction, only the ledger's own verifier has seen it"
        )

    def _reason(self, entry: SignedRecord) -> int:
        reason = self._reason_of(entry.record, entry.signer, entry.scheme)
        if reason == _RECORDED and not self._signed(entry):
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

    def _signed(self, entry: SignedRecord) -> bool:
        """Verify the client's signature from the transaction's own bytes."""
        key = self.members.public_key(entry.signer)
        return (
            key is not None
            and key[0] == entry.scheme
            and verify(Scheme(entry.scheme), key[1], entry.signature, entry.record.message(LEDGER), self._context)
        )

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
        match event:
            case kinds.JobCreated():
                self.jobs[event.job] = JobBook(event.terms, event.terms.edge_set)
                self._fund(event.job, event.budget)
            case kinds.ToppedUp():
                self._fund(event.job, event.amount)
            case kinds.JobOpened():
                job = self.jobs[event.job]
                job.phi_now = event.phi
                self._phi(event, job, event.phi)
            case kinds.EdgeSetPending():
                self.jobs[event.job].edge_set_pending = event.number
            case kinds.EdgeSetChanged():
                job = self.jobs[event.job]
                job.edge_set, job.edge_set_pending = event.number, 0
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
        """An attestation's digest and support are what its parts and the servers before it make them."""
        job = self.jobs[event.job]
        attestation = Attestation(event.job, event.round, event.height, event.k, event.spent, event.parts)
        digest = attestation.digest(job.terms.rules_version)
        if digest != event.digest:
            self._diverges(Part.ATTESTATION, f"digest 0x{digest.hex()}", f"0x{event.digest.hex()}", event)
        seats = self.members.edge_sets.get(job.edge_set, ())
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
        seats = self.members.edge_sets.get(job.edge_set, ())
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


def _is_entry(event: Event) -> bool:
    return isinstance(event, kinds.Recorded | kinds.Refused)


def _record_of(event: kinds.Recorded) -> Record:
    return Record(event.job, event.client, event.base, event.counter, event.digest, event.length, event.expiry)


def _reason_text(reason: int) -> str:
    return REASONS.get(reason, "recorded") if reason else "recorded"
