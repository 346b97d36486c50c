"""What the ledger's events say about one job: which records are available, and which of them make the next round.

Everything here is a pure function of the event log (and of the payload digests of available blobs), so that every
edge server and every auditor
derives the same rounds. The rules:

- A record is *available* at the first block at whose end more than 2/3 of the edge set in force hold it; it is *void*
  at the first block later than
  its deadline without that, or when so many servers call it invalid that it cannot be reached. Both are final.
- The candidates of a round are the available records in the order in which they became available (block, then
  sequence number), from the block
  on at which the previous round ended.
- Of these a copy (a payload that an earlier available record has), a record that is too stale, and one beyond the
  job's records per client and base
  are spent without a place; the first phi others make the round. H is the block at which the phi-th is there, or the
  first block
  at which `max_wait` has passed since the round before ended and at least one is there.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from contracts import events
from contracts.addresses import ZERO
from contracts.digests import Part, name32, text_of
from contracts.terms import JobTerms
from learner import contribution
from learner.contribution import Needs
from learner.errors import UnknownRule
from node.errors import PayloadsNeededError, SelectionDivergesError

_ALLOCATION = name32("allocation")
_HISTORY = name32("history")


class RecordStatus(Enum):
    """What has become of a record; all but `PENDING` and `AVAILABLE` are final."""

    PENDING = "pending"
    AVAILABLE = "available"
    VOID = "void"
    CONSUMED = "consumed"
    COPY = "copy"
    STALE = "stale"
    SURPLUS = "surplus"


class JobStatus(Enum):
    """Life of a job."""

    PROPOSED = "proposed"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(slots=True)
class RecordEntry:
    """One recorded update and what has become of it.

    `verified` says whether the ledger itself checked the signature; if not, `transaction` carries it.
    `decided_at` is the block at whose end it became available or void (0: neither yet); `round` is the round that
    took or spent it.
    """

    sequence: int
    client: int
    base: int
    counter: int
    digest: bytes
    length: int
    expiry: int
    signer: bytes
    verified: bool
    transaction: bytes
    height: int
    deadline: int
    status: RecordStatus = RecordStatus.PENDING
    decided_at: int = 0
    round: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The records of one round, in order, with the block H that fixes them.

    `spent` counts the records of the job that are no longer live at H, this round's included; `skipped` are those
    that this selection passed over.
    A selection without records is the closing one: nothing live is left.
    """

    job: int
    round: int
    height: int
    records: tuple[RecordEntry, ...]
    skipped: tuple[tuple[int, RecordStatus], ...]
    spent: int


@dataclass(frozen=True, slots=True)
class BlockEvents:
    """The events of one block of the ledger; `timestamp` in seconds of block time."""

    height: int
    timestamp: int
    events: tuple[events.Event, ...]


@dataclass(slots=True)
class _Acknowledgements:
    """What one edge server has said: everything below `up_to` is held, but what is missing or invalid."""

    up_to: int = 0
    missing: set[int] = field(default_factory=set)
    invalid: set[int] = field(default_factory=set)

    def holds(self, sequence: int) -> bool:
        return sequence < self.up_to and sequence not in self.missing and sequence not in self.invalid


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """A decided round. `selection` is None for a void round of which no selection could be derived."""

    round: int
    height: int
    timestamp: int
    phi: int
    agreed: bool
    selection: Selection | None
    model: bytes
    reward_wei: int
    thetas: bytes
    parts: tuple[Part, ...] = ()


@dataclass(slots=True)
class JobLog:
    """The state of one job, advanced block by block with `observe`.

    Args:
        job: its number.
        terms: its terms as created; afterwards those of the round that is being worked on (see `terms_of`).
        edge_set_of: the member ids of a numbered edge set.
        holder: who holds rewards until they are settled, `vests` rounds later; b"" and 0 where they are paid at once.

    """

    job: int
    terms: JobTerms
    edge_set_of: Callable[[int], tuple[int, ...]]
    status: JobStatus = JobStatus.PROPOSED
    phi: int = 0
    version: int = 0
    model: bytes = b""
    edge_set: tuple[int, ...] = ()
    boundary_height: int = 0
    boundary_time: int = 0
    closing_height: int = 0
    holder: bytes = b""
    vests: int = 0
    records: list[RecordEntry] = field(default_factory=list)
    outcomes: list[RoundOutcome] = field(default_factory=list)
    payments: dict[int, list[events.Credited]] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    marks: dict[int, tuple[int, int]] = field(default_factory=dict)
    _plans: list[bytes] = field(default_factory=list)
    _histories: list[tuple[int, bytes]] = field(default_factory=list)
    _terms_from: list[tuple[int, JobTerms]] = field(default_factory=list)
    _named: dict[bytes, list[RecordEntry]] = field(default_factory=dict)
    _acks: dict[int, _Acknowledgements] = field(default_factory=dict)
    _undecided: dict[int, RecordEntry] = field(default_factory=dict)
    _touched: set[int] = field(default_factory=set)
    _available: list[RecordEntry] = field(default_factory=list)
    _blocks: list[tuple[int, int]] = field(default_factory=list)
    _void_heights: list[int] = field(default_factory=list)
    _spent: int = 0
    _payloads: dict[bytes, int] = field(default_factory=dict)
    _payload_of: dict[int, bytes] = field(default_factory=dict)
    _used: Counter[tuple[int, int]] = field(default_factory=Counter)
    _selection: Selection | None = None
    _parts: dict[bytes, tuple[Part, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start from the terms: model 0 is current, the first edge set counts."""
        self.model = self.terms.model
        self.edge_set = self.edge_set_of(self.terms.edge_set)
        self._terms_from.append((1, self.terms))

    @property
    def next_round(self) -> int:
        """The round that is being worked on; it makes the version of the same number."""
        return self.version + 1

    def naming(self, digest: bytes) -> tuple[RecordEntry, ...]:
        """Return the records that name a blob, oldest first.

        There can be several: anybody may record the digest of another's blob, though only the client in its header
        can have it held.
        """
        return tuple(self._named.get(digest, ()))

    def record_of(self, client: int, digest: bytes) -> RecordEntry | None:
        """Return a client's newest record of a blob."""
        return next((entry for entry in reversed(self.naming(digest)) if entry.client == client), None)

    def original_of(self, sequence: int) -> int:
        """Return the first record that was taken or spent with the payload of a record that was, too."""
        return self._payloads[self._payload_of[sequence]]

    def acknowledged_up_to(self, edge: int) -> int:
        """Return the first sequence number that this edge server has said nothing about."""
        return self._ack(edge).up_to

    def reported_missing(self, edge: int) -> frozenset[int]:
        """Undecided records that this edge server has reported missing."""
        return frozenset(s for s in self._ack(edge).missing if s in self._undecided)

    def undecided(self) -> tuple[RecordEntry, ...]:
        """Return the records that are neither available nor void."""
        return tuple(self._undecided.values())

    def next_deadline(self, after: int) -> int | None:
        """Return the first deadline of an undecided record that lies at `after` or later."""
        return next((entry.deadline for entry in self._undecided.values() if entry.deadline >= after), None)

    @property
    def decided(self) -> int:
        """How many records are available or void."""
        return len(self.records) - len(self._undecided)

    @property
    def has_candidates(self) -> bool:
        """Whether an available record waits for a round."""
        return bool(self._available)

    def voids_between(self, first: int, last: int) -> int:
        """Count the records that became void after block `first`, up to and including block `last`."""
        return sum(first < height <= last for height in self._void_heights)

    def model_at(self, version: int) -> bytes:
        """Digest of the model of a version.

        Raises:
            IndexError: no such version yet.

        """
        return self.terms.model if version == 0 else self.outcomes[version - 1].model

    def plan_at(self, version: int) -> bytes:
        """Digest of the plan by which clients train on a version; b"" if no round has made one yet.

        It is the one of the newest agreed round, up to that version, whose attestation has a part "allocation".

        Raises:
            IndexError: no such version yet.

        """
        return b"" if version == 0 else self._plans[version - 1]

    def history_at(self, version: int) -> bytes:
        """Digest of what the rule of the round after a version remembers of clients; b"" if that is nothing yet.

        It is the part "history" of the newest agreed round up to that version, if the rule is still the same.

        Raises:
            IndexError: no such version yet.

        """
        if version == 0:
            return b""
        round_, digest = self._histories[version - 1]
        if round_ == 0:
            return b""
        before, now = self.terms_of(round_), self.terms_of(version + 1)
        same = (before.scoring, before.rules_version) == (now.scoring, now.rules_version)
        return digest if same else b""

    def needs_of(self, round_: int) -> Needs:
        """Return what the scoring rule of a round needs beyond updates; nothing for a rule that is not known here."""
        terms = self.terms_of(round_)
        try:
            return contribution.rule(text_of(terms.scoring), terms.rules_version).needs
        except UnknownRule:
            return Needs()

    def terms_of(self, round_: int) -> JobTerms:
        """Return the terms with the rules that hold for a round, from 1 up to the one that is being worked on."""
        return next(terms for first, terms in reversed(self._terms_from) if first <= round_)

    def observe(self, block: BlockEvents, payload_digest: Callable[[bytes], bytes | None]) -> None:
        """Apply one block's events and judge every undecided record at its end.

        `payload_digest` gives the digest of a blob's payload by the blob's digest, None if the blob is not here.

        Raises:
            PayloadsNeededError: the block ends a round whose selection needs blobs; nothing was changed, observe the
            block again when they are here.
            SelectionDivergesError: the round that the block agrees on is not the one that the log gives.

        """
        ends_round = any(
            isinstance(event, events.RoundAgreed | events.RoundVoid) and event.job == self.job for event in block.events
        )
        if ends_round:
            self.select(payload_digest)
        for event in block.events:
            if getattr(event, "job", None) == self.job:
                self._apply(event, block)
        self._judge(block)
        if self.status in {JobStatus.OPEN, JobStatus.CLOSING}:
            self._blocks.append((block.height, block.timestamp))

    def select(self, payload_digest: Callable[[bytes], bytes | None]) -> Selection | None:
        """Derive the selection of the next round, None while the log does not give one yet.

        Raises:
            PayloadsNeededError: blobs are missing that must be compared.

        """
        if self._selection is None and self.status in {JobStatus.OPEN, JobStatus.CLOSING}:
            self._selection = self._select(payload_digest)
        return self._selection

    def rounds_at_hand(self) -> int:
        """Return how many full rounds the available records make, one after the other, whatever else is recorded.

        Copies are not looked for, which would need the blobs: with some among them it may be a round less.
        """
        rounds, taken = 0, 0
        used: Counter[tuple[int, int]] = Counter()
        for entry in self._available:
            if self._standing(entry, self.version + rounds, used) is RecordStatus.CONSUMED:
                used[entry.client, entry.base] += 1
                taken += 1
                if taken == self.phi:
                    rounds, taken = rounds + 1, 0
        return rounds

    def _apply(self, event: events.Event, block: BlockEvents) -> None:
        match event:
            case events.PayVests():
                self.holder, self.vests = (b"" if event.holder == ZERO else event.holder), event.rounds
            case events.JobOpened():
                self.status, self.phi = JobStatus.OPEN, event.phi
                self.boundary_height, self.boundary_time = block.height, block.timestamp
            case events.Recorded():
                self._record(event, block)
            case events.Acknowledged():
                self._acknowledge(event, block)
            case events.Attested():
                self._parts[event.digest] = event.parts
            case events.RoundAgreed():
                self._agree(event, block)
            case events.RoundVoid():
                self._void(event, block)
            case events.Credited():
                self.payments.setdefault(event.round, []).append(event)
            case events.RoundSettled() | events.RoundUnpaid():
                self.settled.add(event.round)
            case events.EdgeSetChanged():
                self.edge_set = self.edge_set_of(event.number)
                self._touched.update(self._undecided)
            case events.RulesChanged():
                rules = (event.version, event.scoring, event.aggregation, event.staleness)
                self.terms = self.terms.with_rules(*rules)
                self._terms_from.append((event.round, self.terms))
            case events.JobClosing():
                self.status, self.closing_height = JobStatus.CLOSING, block.height
            case events.JobClosed():
                self.status = JobStatus.CLOSED
            case _:
                pass  # accounts: they change nothing about rounds

    def _record(self, event: events.Recorded, block: BlockEvents) -> None:
        entry = RecordEntry(
            sequence=event.sequence,
            client=event.client,
            base=event.base,
            counter=event.counter,
            digest=event.digest,
            length=event.length,
            expiry=event.expiry,
            signer=event.signer,
            verified=event.verified,
            transaction=event.transaction,
            height=block.height,
            deadline=block.timestamp + self.terms.record_deadline,
        )
        self.records.append(entry)
        self._named.setdefault(entry.digest, []).append(entry)
        self.marks[entry.client] = (entry.base, entry.counter)
        self._undecided[entry.sequence] = entry
        self._touched.add(entry.sequence)

    def _acknowledge(self, event: events.Acknowledged, block: BlockEvents) -> None:
        ack = self._ack(event.edge)
        self._touched.update(range(ack.up_to, event.up_to), event.missing, event.resolved, event.invalid)
        ack.up_to = event.up_to
        ack.missing.update(event.missing)
        for sequence in event.resolved:
            entry = self._undecided.get(sequence)
            if entry is not None and block.timestamp <= entry.deadline:
                ack.missing.discard(sequence)
        for sequence in event.invalid:
            if sequence >= event.first or sequence in ack.missing:  # a hold never goes back
                ack.missing.discard(sequence)
                ack.invalid.add(sequence)

    def _judge(self, block: BlockEvents) -> None:
        """Decide what can be decided at the end of `block`.

        Holds count first, then the deadline and what can no longer be reached. Only what the block's events touched
        and what is late can have changed: thousands of records may wait for their blobs.
        """
        servers = len(self.edge_set)
        for entry in self._to_judge(block.timestamp):
            acks = [self._ack(edge) for edge in self.edge_set]
            in_time = block.timestamp <= entry.deadline
            holds = sum(ack.holds(entry.sequence) for ack in acks)
            invalid = sum(entry.sequence in ack.invalid for ack in acks)
            if in_time and 3 * holds > 2 * servers:
                entry.status, entry.decided_at = RecordStatus.AVAILABLE, block.height
                self._available.append(entry)
            elif not in_time or 3 * (servers - invalid) <= 2 * servers:
                entry.status, entry.decided_at = RecordStatus.VOID, block.height
                self._void_heights.append(block.height)
            else:
                continue
            del self._undecided[entry.sequence]

    def _to_judge(self, timestamp: int) -> list[RecordEntry]:
        """Return the undecided records that were touched or are late, in order.

        Deadlines rise with sequence numbers, since block time never falls, so the late ones stand in front.
        """
        found = {sequence for sequence in self._touched if sequence in self._undecided}
        self._touched.clear()
        for sequence, entry in self._undecided.items():
            if timestamp <= entry.deadline:
                break
            found.add(sequence)
        return [self._undecided[sequence] for sequence in sorted(found)]

    def _select(self, payload_digest: Callable[[bytes], bytes | None]) -> Selection | None:
        """Walk the blocks from the boundary on.

        The first at which the round is complete, or late but not empty, is H.
        """
        if not self._blocks or not (self._available or self.status is JobStatus.CLOSING):
            return None
        order = [entry for entry in self._available if entry.status is RecordStatus.AVAILABLE]
        taken: list[RecordEntry] = []
        skipped: list[tuple[int, RecordStatus]] = []
        payloads: set[bytes] = set()
        used: Counter[tuple[int, int]] = Counter()
        position = 0
        for height, timestamp in self._blocks:
            while position < len(order) and order[position].decided_at <= height and len(taken) < self.phi:
                entry = order[position]
                if entry.sequence not in self._payload_of:
                    self._learn_payloads(order[position:], payload_digest)
                position += 1
                status = self._place(entry, payloads, used)
                payloads.add(self._payload_of[entry.sequence])
                if status is RecordStatus.CONSUMED:
                    used[entry.client, entry.base] += 1
                    taken.append(entry)
                else:
                    skipped.append((entry.sequence, status))
            late = timestamp >= self.boundary_time + self.terms.max_wait
            drained = self._closed_since(height) and not taken and not self._live_after(height)
            if len(taken) == self.phi or (taken and late) or drained:
                voids = sum(void_height <= height for void_height in self._void_heights)
                return Selection(
                    job=self.job,
                    round=self.next_round,
                    height=height,
                    records=tuple(taken),
                    skipped=tuple(skipped),
                    spent=self._spent + len(taken) + len(skipped) + voids,
                )
        return None

    def _place(self, entry: RecordEntry, payloads: set[bytes], used: Counter[tuple[int, int]]) -> RecordStatus:
        payload = self._payload_of[entry.sequence]
        if payload in self._payloads or payload in payloads:
            return RecordStatus.COPY
        return self._standing(entry, self.version, used)

    def _standing(self, entry: RecordEntry, version: int, used: Counter[tuple[int, int]]) -> RecordStatus:
        """Tell what a round that replaces `version` does with a record that is no copy."""
        key = (entry.client, entry.base)
        if version - entry.base > self.terms.max_staleness:
            return RecordStatus.STALE
        if self._used[key] + used[key] >= self.terms.records_per_base:
            return RecordStatus.SURPLUS
        return RecordStatus.CONSUMED

    def _closed_since(self, height: int) -> bool:
        return self.status is JobStatus.CLOSING and height >= self.closing_height

    def _live_after(self, height: int) -> bool:
        """Tell whether a record was still undecided at the end of block `height`.

        There are no new records while the job is closing.
        """
        return (
            bool(self._undecided)
            or any(entry.decided_at > height for entry in self._available)
            or any(void_height > height for void_height in self._void_heights)
        )

    def _learn_payloads(self, order: Iterable[RecordEntry], payload_digest: Callable[[bytes], bytes | None]) -> None:
        needed = []
        for entry in order:
            if entry.sequence not in self._payload_of:
                payload = payload_digest(entry.digest)
                if payload is None:
                    needed.append(entry.digest)
                else:
                    self._payload_of[entry.sequence] = payload
        if needed:
            raise PayloadsNeededError(tuple(needed))

    def _agree(self, event: events.RoundAgreed, block: BlockEvents) -> None:
        selection = self._selection
        derived = None if selection is None else (selection.height, len(selection.records), selection.spent)
        agreed = (event.height, event.k, event.spent)
        if derived != agreed or selection is None:
            raise SelectionDivergesError(self.job, event.round, "(height, records, spent)", agreed, derived)
        self._end_round(event, block, selection, agreed=True)

    def _void(self, event: events.RoundVoid, block: BlockEvents) -> None:
        self._end_round(event, block, self._selection, agreed=False)

    def _end_round(
        self,
        event: events.RoundAgreed | events.RoundVoid,
        block: BlockEvents,
        selection: Selection | None,
        *,
        agreed: bool,
    ) -> None:
        match event:
            case events.RoundAgreed():
                model, reward, thetas, parts = event.model, event.reward, event.thetas, self._parts[event.digest]
            case events.RoundVoid():
                model, reward, thetas, parts = self.model, 0, b"", ()
            case _:
                assert_never(event)
        outcome = RoundOutcome(
            round=event.round,
            height=block.height,
            timestamp=block.timestamp,
            phi=self.phi,
            agreed=agreed,
            selection=selection,
            model=model,
            reward_wei=reward,
            thetas=thetas,
            parts=parts,
        )
        self.outcomes.append(outcome)
        planned = (part.digest for part in parts if part.name == _ALLOCATION)
        self._plans.append(next(planned, self.plan_at(self.version)))
        remembered = ((event.round, part.digest) for part in parts if part.name == _HISTORY)
        self._histories.append(next(remembered, self._histories[-1] if self._histories else (0, b"")))
        self.version, self.model, self.phi = event.round, model, event.phi_next
        self.boundary_height, self.boundary_time = block.height, block.timestamp
        if selection is not None:
            self._spend(selection)
        self._selection = None
        self._parts.clear()
        self._blocks.clear()

    def _spend(self, selection: Selection) -> None:
        for entry in selection.records:
            entry.status, entry.round = RecordStatus.CONSUMED, selection.round
            self._used[entry.client, entry.base] += 1
        for sequence, status in selection.skipped:
            self.records[sequence].status, self.records[sequence].round = status, selection.round
        for sequence in (
            *(entry.sequence for entry in selection.records),
            *(sequence for sequence, _ in selection.skipped),
        ):
            self._payloads.setdefault(self._payload_of[sequence], sequence)
        self._spent += len(selection.records) + len(selection.skipped)
        self._available = [entry for entry in self._available if entry.status is RecordStatus.AVAILABLE]

    def _ack(self, edge: int) -> _Acknowledgements:
        return self._acks.setdefault(edge, _Acknowledgements())
