"""The edge server's own work, one `step` at a time and without I/O but the ledger, the blob store and its peers.

A step reads new blocks, fetches and checks blobs, acknowledges, computes and attests the round that the log gives,
and settles what was agreed. Every
step starts from what the ledger says, so that a server that crashed goes on where the ledger stands.
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from web3 import Web3

from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme, verify
from contracts import addresses, bindings, digests, events, records
from contracts.errors import ContractsError
from contracts.records import ReportingHeader, SignedRecord, UpdateHeader
from learner import rounds
from learner.allocation.plan import Plan
from learner.errors import UnknownRule, UnusableRule
from learner.fixedpoint import check_update
from learner.terms import Terms
from merit.clock import Clock
from merit.errors import MeritError
from node.blobs import BlobStore
from node.edge.follower import BlockSource, Follower, Web3Source
from node.edge.peers import Peer
from node.edge.references import Place, Roots, is_right
from node.edge.retention import Retention
from node.edge.signatures import Signatures
from node.errors import BlobCorruptError, BlobMissingError, BlobQuotaError, PayloadsNeededError
from node.jobs import JobFile, decode_job_file, learner_terms
from node.members import MemberBook, MemberKey
from node.rounds.attestation import (
    Planning,
    ScoredRound,
    closing,
    decode_model,
    decode_update,
    is_header_of,
    score,
)
from node.rounds.context import Sources, beside, context_of, entries_of
from node.rounds.history import decode_history
from node.rounds.log import BlockEvents, JobLog, JobStatus, RecordEntry, RecordStatus, Selection
from node.rounds.references import Commitment, ReferenceLog
from node.rounds.vesting import VestingLog, agreed, decider, fallen_after, history_part
from node.sender import Sender

_log = logging.getLogger(__name__)

FETCH_AGAIN_AFTER_S = 0.25
"""A blob that no peer could give is asked for again after so long."""

RANK_DELAY_S = 3.0
"""Settling, ticking and voiding are done by one server at once, by the next after so long if still undone."""

RELAY_ATTEMPTS = 3
"""A record whose transaction did not go through is relayed so many times."""

MAX_QUEUED = 32 * records.MAX_ENTRIES
"""Records of a job that wait for a batch; one more is refused, and its client goes to another server."""

BATCH_S = 0.1
"""A batch that is not full waits so long for more records, while others are on their way; alone it leaves at once."""

MAX_TRAVELLING = 16 * records.MAX_ENTRIES
"""Records of a job that may be on their way at once; in so many batches as they fill, or `MAX_FLIGHTS`."""

MAX_FLIGHTS = 256

DOUBT_AFTER_S = 5.0
"""What became of a batch is seen in the events of blocks; after so long its receipt is asked for as well."""

LOOK_AROUND_S = 1.0
ASKED_AT_ONCE = 2
"""Blobs that no server has acknowledged are looked for all the same, but only so many at a time, in turn: most are
still with their clients, and thousands of them would be asked for again and again."""

VESTS_OTHERWISE = "its pay vests otherwise on the ledger than in its file"

_GAS_PER_RECORD = 400_000
_GAS_CALL = 4_000_000
_GAS_SETTLE = 12_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What an edge server says to a client.

    When something was refused, `kind` names the check and `reason` says why in one line.
    """

    status: str
    reason: str = ""
    sequence: int | None = None
    kind: str = ""

    @property
    def refused(self) -> bool:
        """Whether the server refuses."""
        return self.status == "refused"


RecordName: TypeAlias = tuple[int, bytes]
"""Client and digest of a record."""


@dataclass(slots=True)
class Flight:
    """A batch on its way: what the ledger has said nothing of yet, in the batch's order, and when it left."""

    purpose: str
    records: dict[RecordName, SignedRecord]
    left_at: float


@dataclass(slots=True)
class JobDesk:
    """One job on this server's desk: the ledger's log of it, and what this server knows beyond it.

    `verdicts` says of each record (by sequence number) whose blob was checked why it is invalid, None for a hold;
    `unknown_rules` are rounds whose rules this program does not have; `unsettled` are agreed rounds that are not paid
    yet, with the time at which this server learned of them. What
    clients offered goes by (client, digest), for anybody may offer a record that names another's blob: `queue` waits
    for a batch, the first of it since `queued_at`; `flights` are batches by their transaction; `refused` tells why;
    `offered` holds what waits or travels by client.
    `unchecked` are records whose blobs have not been judged, `wanted` those of them whose blobs somebody has;
    `silence` is how things stood when there was nothing to acknowledge among the first `silent_up_to` records.
    `references` is the ledger's log of them; `judged` tells of opened ones, by digest, whether they are right.
    `vesting` is the ledger's log of held pay; `due` tells since when this server knows that a round's can be settled.
    """

    log: JobLog
    terms: Terms
    references: ReferenceLog
    vesting: VestingLog
    blocks: deque[BlockEvents] = field(default_factory=deque)
    file: JobFile | None = None
    verdicts: dict[int, str | None] = field(default_factory=dict)
    accepted: bool = False
    refusal: str = ""
    scored: ScoredRound | None = None
    unknown_rules: set[int] = field(default_factory=set)
    attested: int = 0
    first_attested_at: int | None = None
    unsettled: dict[int, float] = field(default_factory=dict)
    queue: dict[RecordName, SignedRecord] = field(default_factory=dict)
    queued_at: float = 0.0
    flights: dict[bytes, Flight] = field(default_factory=dict)
    departures: int = 0
    offered: dict[int, dict[bytes, SignedRecord]] = field(default_factory=dict)
    unchecked: dict[int, RecordEntry] = field(default_factory=dict)
    wanted: dict[int, RecordEntry] = field(default_factory=dict)
    looked_at: float = -LOOK_AROUND_S
    silence: tuple[int, ...] = ()
    silent_up_to: int = 0
    attempts: dict[RecordName, int] = field(default_factory=dict)
    refused: dict[RecordName, str] = field(default_factory=dict)
    judged: dict[bytes, bool] = field(default_factory=dict)
    due: dict[int, float] = field(default_factory=dict)


class EdgeServer:
    """One edge server.

    Args:
        member: its Registry id.
        w3: connection to the ledger, `ledger` and `registry` its contracts.
        sender: its account, also for what its operator does in the Council.
        blobs: its blob store.
        peers: the other edge servers.
        genesis_hash: of the chain that records are signed for.
        clock: real time, for what happens outside the ledger.
        source: where blocks come from; by default they are read over `w3`.
        wake: called when a step is worth while before its time.
        batch: records that one transaction carries at most.
        retention: prunes the blobs of old rounds; None keeps all.
        roots: private samples, for scoring rules that need references; a server without any commits to nothing.
        scored: called with every round that it computes.

    """

    def __init__(
        self,
        *,
        member: int,
        w3: Web3,
        ledger: bindings.Ledger,
        registry: bindings.Registry,
        sender: Sender,
        blobs: BlobStore,
        peers: list[Peer],
        genesis_hash: bytes,
        clock: Clock,
        source: BlockSource | None = None,
        wake: Callable[[], None] = lambda: None,
        batch: int = records.MAX_ENTRIES,
        retention: Retention | None = None,
        roots: Roots | None = None,
        scored: Callable[[ScoredRound], None] | None = None,
    ) -> None:
        """Start at the ledger's first block; the first steps catch up."""
        self.member = member
        self.blobs = blobs
        self.peers = peers
        self.jobs: dict[int, JobDesk] = {}
        self.refusals: dict[str, int] = {}
        self._ledger = ledger
        self._registry = registry
        self.sender = sender
        self._clock = clock
        self._genesis_hash = genesis_hash
        self._follower = Follower(source or Web3Source(w3, (ledger.address, registry.address, addresses.VESTING)))
        self._wake = wake
        self._most, self._flights = batch, min(MAX_FLIGHTS, MAX_TRAVELLING // batch)
        self._watchers: dict[tuple[int, int, bytes], list[Callable[[], None]]] = {}
        self._gas_limit = 0
        self._members = MemberBook(registry)
        self._signatures = Signatures(w3, ledger.address, self._members, genesis_hash)
        self._w3 = w3
        self._retention = retention
        self._roots = roots
        self._scored = scored
        self._payloads: dict[bytes, bytes] = {} if retention is None else dict(retention.book.known)
        self._asked: dict[bytes, float] = {}

    # -- what clients ask -------------------------------------------------------------------------------------------

    def offer_record(self, data: bytes) -> Answer:
        """Take a signed record in, to be relayed to the ledger.

        Every check that the ledger makes is made here first, but that of the budget.
        """
        try:
            signed = SignedRecord.decode(data)
        except ContractsError as error:
            return self._refuse("malformed", str(error))
        record = signed.record
        desk = self.jobs.get(record.job)
        if desk is None or desk.log.status is not JobStatus.OPEN:
            return self._refuse("job", f"job {record.job} is not open")
        known = self.record_status(record.job, record.client, record.digest)
        if known.status not in {"unknown", "refused"}:
            return known
        if (reason := self._why_refused(signed, desk)) is not None:
            return self._refuse(*reason)
        name = (record.client, record.digest)
        desk.refused.pop(name, None)
        if not desk.queue:
            desk.queued_at = self._clock.monotonic()
        desk.queue[name] = signed
        desk.offered.setdefault(record.client, {})[record.digest] = signed
        if not desk.flights or len(desk.queue) >= self._most:
            self._wake()
        return Answer("queued")

    def watch(self, job: int, client: int, digest: bytes, call: Callable[[], None]) -> None:
        """Call once when there is news of a record; what the news is, `record_status` tells."""
        self._watchers.setdefault((job, client, digest), []).append(call)

    def unwatch(self, job: int, client: int, digest: bytes, call: Callable[[], None]) -> None:
        """Call no more."""
        watching = self._watchers.get((job, client, digest), [])
        if call in watching:
            watching.remove(call)
            if not watching:
                del self._watchers[job, client, digest]

    def due_in(self) -> float | None:
        """Return in how many seconds a batch that waits for more records must leave; None when none waits."""
        waiting = [desk.queued_at for desk in self.jobs.values() if desk.queue and len(desk.flights) < self._flights]
        return max(0.0, min(waiting) + BATCH_S - self._clock.monotonic()) if waiting else None

    def record_status(self, job: int, client: int, digest: bytes) -> Answer:
        """Tell what has become of a client's record: unknown, queued, refused, or what the ledger says."""
        desk = self.jobs.get(job)
        if desk is None:
            return Answer("unknown")
        name = (client, digest)
        entry = desk.log.record_of(client, digest)
        if entry is not None:
            held = entry.status is RecordStatus.PENDING and self.verdict(desk, entry) is True
            fault = desk.verdicts.get(entry.sequence) or ""
            return Answer("held" if held else entry.status.value, fault, entry.sequence)
        if name in desk.refused:
            return Answer("refused", desk.refused[name], kind="ledger")
        return Answer("queued" if digest in desk.offered.get(client, {}) else "unknown")

    def offer_blob(self, digest: bytes, data: bytes) -> Answer:
        """Take a blob in: an update whose record is final, or a file that a job names.

        A blob that is stored and found wrong is refused with the reason, and acknowledged as invalid.
        """
        if records.blob_digest(data) != digest:
            return self._refuse("digest", "the bytes do not hash to the name")
        named = any(digest in {desk.log.terms.job_file, desk.log.terms.model} for desk in self.jobs.values())
        entries = [(desk, entry) for desk in self.jobs.values() for entry in desk.log.naming(digest)]
        if not named and not entries:
            return self._refuse("unrecorded", "no final record names this blob: send the record first")
        if self._retention is not None and not named and self._retention.gone((d.log, entry) for d, entry in entries):
            return self._refuse("pruned", "its round is settled and this server keeps it no more")
        try:
            self.blobs.put(data)
        except BlobQuotaError as error:
            return self._refuse("quota", str(error))
        faults = []
        self._wake()
        for desk, entry in entries:
            self._check(desk, entry)
            match self.verdict(desk, entry):
                case True:
                    return Answer("held", sequence=entry.sequence)
                case False:
                    faults.append(desk.verdicts[entry.sequence] or "")
        if faults and len(faults) == len(entries) and not named:
            return self._refuse("invalid", faults[0])
        return Answer("stored")

    @property
    def block(self) -> int:
        """The block up to which this server has read."""
        return self._follower.height

    def status(self) -> dict[str, object]:
        """Who this server is and what it knows, for the intake API."""
        return {
            "member": self.member,
            "genesis_hash": self._genesis_hash.hex(),
            "ledger": self._ledger.address.hex(),
            "height": self._follower.height,
            "jobs": {str(number): desk.log.status.value for number, desk in self.jobs.items()},
            "refusals": dict(self.refusals),
        }

    def member_of(self, address: bytes) -> MemberKey | None:
        """Return the member that an address (20 bytes) speaks for."""
        return self._members.get(address)

    @staticmethod
    def job_status(desk: JobDesk) -> dict[str, object]:
        """Return what a client must know of a job, for the intake API."""
        log, terms = desk.log, desk.log.terms
        return {
            "job": log.job,
            "status": log.status.value,
            "refusal": desk.refusal,
            "version": log.version,
            "model": log.model.hex(),
            "allocation": log.plan_at(log.version).hex(),
            "job_file": terms.job_file.hex(),
            "records_per_base": terms.records_per_base,
            "edge_servers": len(log.edge_set),
        }

    def _refuse(self, kind: str, reason: str) -> Answer:
        self.refusals[kind] = self.refusals.get(kind, 0) + 1
        return Answer("refused", reason, kind=kind)

    def _why_refused(self, signed: SignedRecord, desk: JobDesk) -> tuple[str, str] | None:
        """Return the kind and the reason of a refusal, None if the record may be relayed."""
        record, log = signed.record, desk.log
        client = self._members.get(signed.signer)
        if client is None or client.id != record.client or client.role != bindings.Role.CLIENT:
            return "signer", f"{signed.signer.hex()} is no key of client {record.client}"
        if client.suspended:
            return "suspended", f"client {record.client} is suspended"
        if not client.valid_at(self._follower.height + 1):
            return "key", f"key {signed.signer.hex()} is not in force"
        if record.base > log.version:
            return "future", f"base {record.base} is not decided yet, the newest version is {log.version}"
        if log.version - record.base > log.terms.max_staleness:
            age = log.version - record.base
            return "stale", f"base {record.base} is {age} versions old, the job allows {log.terms.max_staleness}"
        if record.expiry < self._clock.now():
            return "expired", f"the record expired at {record.expiry}"
        expected = records.UPDATE_HEADER_BYTES + records.UPDATE_ITEM_BYTES * log.terms.dimension
        if record.length != expected:
            return "length", f"{record.length} bytes announced, an update of this job has {expected}"
        waiting = desk.offered.get(record.client, {}).values()
        marks = [(other.record.base, other.record.counter) for other in waiting]
        mark = max((*marks, log.marks.get(record.client, (-1, 0))))
        if (record.base, record.counter) <= mark:
            return "replay", f"(base, counter) {record.base, record.counter} does not rise above {mark}"
        if len(desk.queue) >= MAX_QUEUED:
            return "busy", f"{MAX_QUEUED} records wait here already: ask another edge server"
        message = record.message(self._ledger.address)
        if not verify(
            Scheme(signed.scheme), client.public_key, signed.signature, message, record_context(self._genesis_hash)
        ):
            return "signature", "the signature does not verify"
        return None

    # -- one step ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do everything that can be done now."""
        for block in self._follower.poll():
            self._members.observe(block)
            for event in block.events:
                if isinstance(event, events.JobCreated):
                    self._take_on(event)
            for desk in self.jobs.values():
                desk.blocks.append(block)
        for desk in self.jobs.values():
            self._advance(desk)
            if desk.log.status is JobStatus.PROPOSED:
                self._consider(desk)
            elif desk.log.status is not JobStatus.CLOSED or desk.unsettled or desk.vesting.held:
                self._relay(desk)
                self._gather(desk)
                self._acknowledge(desk)
                self._work_round(desk)
                self._work_references(desk)
                self._settle(desk)
                self._vest(desk)
                self._keep_time(desk)
        if self._retention is not None and not any(desk.blocks for desk in self.jobs.values()):
            pruned = self._retention.prune(self.jobs.values(), self.blobs, self._payloads)
            if pruned:
                _log.info("edge server %d prunes %d blobs of old rounds", self.member, pruned)

    def _take_on(self, event: events.JobCreated) -> None:
        log = JobLog(job=event.job, terms=event.terms, edge_set_of=self._registry.edge_set)
        self.jobs[event.job] = JobDesk(
            log=log,
            terms=learner_terms(event.terms),
            references=ReferenceLog(event.job),
            vesting=VestingLog(event.job),
        )

    def _advance(self, desk: JobDesk) -> None:
        """Apply queued blocks; stop at one that needs blobs which nobody could give yet."""
        while desk.blocks:
            block = desk.blocks[0]
            try:
                desk.log.observe(block, self._payload_digest)
            except PayloadsNeededError as needed:
                if not all(self._bring(digest) for digest in needed.digests):
                    return
                continue
            desk.references.observe(block, desk.log)
            desk.vesting.observe(block, desk.log)
            desk.blocks.popleft()
            for event in block.events:
                if getattr(event, "job", None) == desk.log.job:
                    self._note(desk, event, block)

    def _note(self, desk: JobDesk, event: events.Event, block: BlockEvents) -> None:
        match event:
            case events.JobAcknowledged():
                desk.accepted = desk.accepted or event.edge == self.member
            case events.Recorded():
                entry = desk.log.records[event.sequence]
                desk.unchecked[entry.sequence] = entry
                if entry.digest in self.blobs:
                    desk.wanted[entry.sequence] = entry
                self._forget(desk, (event.client, event.digest))
            case events.Refused():
                name = (event.client, event.digest)
                flight = desk.flights.get(event.transaction)
                if flight is not None and name in flight.records:  # anybody may offer it badly signed
                    self._forget(desk, name)
                    self._give_up(desk, name, records.REASONS.get(event.reason, f"reason {event.reason}"))
            case events.Acknowledged():
                told = {*range(event.first, event.up_to), *event.resolved} - {*event.missing, *event.invalid}
                desk.wanted.update((number, desk.unchecked[number]) for number in told if number in desk.unchecked)
            case events.Attested():
                if desk.first_attested_at is None:
                    desk.first_attested_at = block.timestamp
                if event.edge == self.member:
                    desk.attested = event.round
            case events.RoundAgreed():
                desk.unsettled[event.round] = self._clock.monotonic()
                desk.first_attested_at = None
            case events.RoundVoid():
                desk.first_attested_at = None
                desk.scored = None
            case events.RoundSettled() | events.RoundUnpaid():
                desk.unsettled.pop(event.round, None)
            case _:
                pass  # nothing that this server keeps beside the log

    def _forget(self, desk: JobDesk, name: RecordName) -> None:
        """Take a record, whose fate is known, from everything that waits or travels, and tell who asked."""
        client, digest = name
        desk.queue.pop(name, None)
        desk.attempts.pop(name, None)
        for flight in desk.flights.values():
            if flight.records.pop(name, None) is not None:
                break
        waiting = desk.offered.get(client)
        if waiting is not None and waiting.pop(digest, None) is not None and not waiting:
            del desk.offered[client]
        self._tell(desk, client, digest)

    def _give_up(self, desk: JobDesk, name: RecordName, reason: str) -> None:
        desk.refused[name] = self._refuse("ledger", reason).reason
        self._tell(desk, *name)

    def _tell(self, desk: JobDesk, client: int, digest: bytes) -> None:
        for call in self._watchers.pop((desk.log.job, client, digest), ()):
            call()

    # -- jobs -------------------------------------------------------------------------------------------------------

    def _consider(self, desk: JobDesk) -> None:
        """Acknowledge a proposed job once its file and model 0 are here and the terms are those of the file."""
        terms, purpose = desk.log.terms, f"accept {desk.log.job}"
        if desk.accepted or desk.refusal or self.member not in desk.log.edge_set or self.sender.busy(purpose):
            return
        file_blob, model_blob = self._load(terms.job_file), self._load(terms.model)
        if file_blob is None or model_blob is None:
            return
        try:
            job_file = decode_job_file(file_blob)
            header, model = decode_model(model_blob)
            asked = job_file.ledger_terms(model=terms.model, edge_set=terms.edge_set)
        except MeritError as error:
            desk.refusal = str(error)
        else:
            if asked != terms:
                desk.refusal = "its terms on the ledger differ from its file"
            elif job_file.vests and not desk.log.holder:
                return  # the sponsor's next transaction says so on the ledger
            elif _vests_otherwise(desk.log, job_file):
                desk.refusal = VESTS_OTHERWISE
            elif strangers := set(job_file.objective.edge_servers) - {*desk.log.edge_set}:
                desk.refusal = f"its objective names {min(strangers)}, who is no edge server of its edge set"
            elif (len(model), header.fraction_bits) != (desk.terms.dimension, desk.terms.model_fraction_bits):
                desk.refusal = "model 0 has another dimension or other fraction bits than the terms"
        if desk.refusal:
            _log.error("edge server %d refuses job %d: %s", self.member, desk.log.job, desk.refusal)
            return
        self._commit(desk, 0, model_blob)  # before the job can open, so before anybody can send a record
        self._send(purpose, self._ledger.encode_acknowledge_job(desk.log.job), _GAS_CALL)

    def _file(self, desk: JobDesk) -> JobFile | None:
        """Return the job file, None while it is not here.

        Read when needed and not when the job is accepted: a server that was away then, or started again, needs it too.
        """
        if desk.file is None:
            data = self._load(desk.log.terms.job_file)
            if data is not None:
                desk.file = decode_job_file(data)
        return desk.file

    # -- records and blobs ------------------------------------------------------------------------------------------

    def _relay(self, desk: JobDesk) -> None:
        """Send queued records in batches; what a lost transaction carried is queued again, before all others.

        A batch leaves when it is full, when its first record has waited for `BATCH_S`, or at once when none travels:
        so a lone record does not wait, and many share a transaction. Transactions of one account run in the order of
        their nonces, hence a client's records in the order in which it offered them.
        """
        self._land(desk)
        while desk.queue and len(desk.flights) < self._flights:
            most = self._batch_size()
            early = self._clock.monotonic() - desk.queued_at < BATCH_S
            if desk.flights and early and len(desk.queue) < most:
                return
            batch = dict(itertools.islice(desk.queue.items(), most))
            data = self._ledger.encode_record_batch(desk.log.job, records.encode_batch(batch.values()))
            purpose = f"records {desk.log.job}/{desk.departures}"
            carrier = self._send(purpose, data, _GAS_CALL + _GAS_PER_RECORD * len(batch))
            if carrier is None:
                self._gas_limit = 0  # read again: it may have changed
                return
            desk.departures += 1
            now = desk.queued_at = self._clock.monotonic()
            desk.flights[carrier] = Flight(purpose, batch, now)
            for name in batch:
                del desk.queue[name]

    def _land(self, desk: JobDesk) -> None:
        """Forget batches whose every record's fate is known, and queue again what others carried in vain."""
        again: dict[RecordName, SignedRecord] = {}
        now = self._clock.monotonic()
        for carrier, flight in tuple(desk.flights.items()):
            if flight.records:
                if now - flight.left_at < DOUBT_AFTER_S or self.sender.busy(flight.purpose):
                    continue
                if desk.blocks or self._w3.eth.block_number > self._follower.height:
                    continue  # what became of them stands in a block that is not read yet
            else:
                self.sender.landed(flight.purpose)
            del desk.flights[carrier]
            for name, signed in flight.records.items():
                desk.attempts[name] = desk.attempts.get(name, 0) + 1
                if desk.attempts[name] < RELAY_ATTEMPTS and desk.log.status is JobStatus.OPEN:
                    again[name] = signed
                else:
                    attempts = desk.attempts[name]
                    self._forget(desk, name)
                    self._give_up(desk, name, f"the ledger did not take it in {attempts} attempts")
        desk.queue = again | desk.queue

    def _batch_size(self) -> int:
        """Return how many records a transaction takes: other chains' blocks hold less gas than ours."""
        if not self._gas_limit:
            self._gas_limit = int(self._w3.eth.get_block("latest")["gasLimit"])
        return max(1, min(self._most, (self._gas_limit - _GAS_CALL) // _GAS_PER_RECORD))

    def _gather(self, desk: JobDesk) -> None:
        """Bring the job file and the current model, and check the blobs of undecided records."""
        self._bring(desk.log.terms.job_file)
        self._bring(desk.log.model)
        for number, entry in tuple(desk.wanted.items()):
            if entry.status is RecordStatus.PENDING:
                self._check(desk, entry)
            else:
                del desk.wanted[number]
        now = self._clock.monotonic()
        if now - desk.looked_at < LOOK_AROUND_S:
            return
        desk.looked_at = now
        for number in tuple(itertools.islice(desk.unchecked, ASKED_AT_ONCE)):
            entry = desk.unchecked.pop(number)
            if entry.status is RecordStatus.PENDING:
                desk.unchecked[number] = entry  # to the end of the row
                self._check(desk, entry)

    def _check(self, desk: JobDesk, entry: RecordEntry) -> None:
        """Judge a record once, when its blob and its base model are here."""
        if entry.sequence in desk.verdicts:
            return
        data = self._load(entry.digest)
        if data is None:
            return
        base, file = self._load(desk.log.model_at(entry.base)), self._file(desk)
        if base is not None and file is not None:
            reports = file.allocation is not None
            desk.verdicts[entry.sequence] = self._fault(desk, entry, data, base, reports=reports)
            desk.unchecked.pop(entry.sequence, None)
            desk.wanted.pop(entry.sequence, None)
            self._tell(desk, entry.client, entry.digest)

    def _fault(self, desk: JobDesk, entry: RecordEntry, data: bytes, base: bytes, *, reports: bool) -> str | None:
        """Return why a record cannot be held, None if it can: its signature, its header and its numbers are right."""
        if (unsigned := self._signatures.fault(desk.log.job, entry)) is not None:
            return unsigned
        if len(data) != entry.length:
            return f"{len(data)} bytes, the record says {entry.length}"
        try:
            header, update = decode_update(data)
        except ContractsError as error:
            return str(error)
        expected = UpdateHeader(
            fraction_bits=desk.terms.fraction_bits,
            genesis_hash=self._genesis_hash,
            ledger=self._ledger.address,
            job=desk.log.job,
            client=entry.client,
            base=entry.base,
            counter=entry.counter,
            dimension=desk.terms.dimension,
        )
        if not is_header_of(header, expected, reports=reports):
            return "its header differs from its record"
        _, model = decode_model(base)
        rejected = check_update(model, update, shift=desk.terms.shift, norm_bound_squared=desk.terms.norm_bound_squared)
        return None if rejected is None else rejected.detail

    @staticmethod
    def verdict(desk: JobDesk, entry: RecordEntry) -> bool | None:
        """Return what this server says of a record: True for a hold, False for invalid, None while it is unchecked."""
        if entry.sequence not in desk.verdicts:
            return None
        return desk.verdicts[entry.sequence] is None

    def _acknowledge(self, desk: JobDesk) -> None:
        """Say everything that this server can say about records it has not spoken of, or had reported missing.

        It waits with what is missing at the end, for that may come, but says so of what lies before something known
        or is decided already: blobs that never come must not keep it silent about the others. One call says at most
        `MAX_EXCEPTIONS` of each kind, and what it passes over in silence counts as held, so `fresh` shrinks by what
        `earlier` takes of the list of invalid ones.
        """
        log, purpose = desk.log, f"acknowledge {desk.log.job}"
        if desk.blocks or self.member not in log.edge_set or self.sender.busy(purpose):
            return  # (its own last word may stand in a block that is not applied yet)
        first, reported = log.acknowledged_up_to(self.member), sorted(log.reported_missing(self.member))
        silence = (first, len(reported), len(desk.verdicts), log.decided)
        if silence == desk.silence and not any(
            self._is_known(desk, entry) for entry in log.records[desk.silent_up_to :]
        ):
            desk.silent_up_to = len(log.records)
            return
        spoken = [
            (sequence, verdict)
            for sequence in reported
            if (verdict := self.verdict(desk, log.records[sequence])) is not None
        ]
        earlier = spoken[: digests.MAX_EXCEPTIONS]
        invalid = [sequence for sequence, verdict in earlier if not verdict]
        resolved = [sequence for sequence, verdict in earlier if verdict]
        untold = log.records[first:]
        while untold and not self._is_known(desk, untold[-1]):
            untold.pop()
        fresh = untold[: digests.MAX_EXCEPTIONS - len(invalid)]
        missing = [entry.sequence for entry in fresh if self.verdict(desk, entry) is None]
        invalid += [entry.sequence for entry in fresh if self.verdict(desk, entry) is False]
        if fresh or invalid or resolved:
            data = self._ledger.encode_acknowledge(log.job, first + len(fresh), missing, invalid, resolved)
            self._send(purpose, data, _GAS_CALL)
        else:
            desk.silence, desk.silent_up_to = silence, len(log.records)

    def _is_known(self, desk: JobDesk, entry: RecordEntry) -> bool:
        """Tell whether a record is decided, or this server can say whether it holds it."""
        return entry.status is not RecordStatus.PENDING or self.verdict(desk, entry) is not None

    def _bring(self, digest: bytes) -> bool:
        """Tell whether the blob is here, after asking every peer for it (not more often than `FETCH_AGAIN_AFTER_S`)."""
        if digest in self.blobs:
            return True
        now = self._clock.monotonic()
        if now - self._asked.get(digest, -FETCH_AGAIN_AFTER_S) < FETCH_AGAIN_AFTER_S:
            return False
        try:
            found = any(peer.fetch(digest, self.blobs) for peer in self.peers)
        except BlobQuotaError as error:
            found = False
            self._refuse("quota", str(error))
            _log.error("edge server %d: %s", self.member, error)
        if found:
            self._asked.pop(digest, None)
        else:
            self._asked[digest] = now
        return found

    def _load(self, digest: bytes) -> bytes | None:
        """Return a blob's bytes, brought here if need be, or None if nobody can give it now."""
        return self._read(digest) if self._bring(digest) else None

    def _read(self, digest: bytes) -> bytes | None:
        """Return the bytes of a blob that is here, else None; a damaged one is set aside, to be replaced."""
        try:
            return self.blobs.get(digest)
        except BlobMissingError:
            return None
        except BlobCorruptError as error:
            _log.error("edge server %d: %s", self.member, error)
            self.blobs.set_aside(digest)
            return None

    def _payload_digest(self, digest: bytes) -> bytes | None:
        if digest not in self._payloads:
            data = self._read(digest)
            if data is None:
                return None
            self._payloads[digest] = records.payload_digest(data)
        return self._payloads[digest]

    # -- references -------------------------------------------------------------------------------------------------

    def _commit(self, desk: JobDesk, version: int, model_blob: bytes) -> None:
        """Commit to references of a version of the model, if the rule needs them and the commitment could count."""
        place, model = self._place(desk), records.blob_digest(model_blob)
        if self._roots is None or place is None or not self._owes(desk, version, model):
            return
        try:
            digest = self._roots.seal(place, self.member, version, model_blob, desk.log.needs_of(version + 1))
        except BlobQuotaError as error:
            self._refuse("quota", str(error))
            _log.error("edge server %d: %s", self.member, error)
            return
        if digest:
            data = self._ledger.encode_commit_references(desk.log.job, version, model, digest)
            self._send(f"references {desk.log.job}/{version}", data, _GAS_CALL)

    def _owes(self, desk: JobDesk, version: int, model: bytes) -> bool:
        """Tell whether this server has yet to commit to references of a version, and still can."""
        log = desk.log
        if self._roots is None or not log.needs_of(version + 1).references or self.member not in log.edge_set:
            return False
        made = desk.references.commitments.get(version, ())
        if self._roots.cannot(version, model) or not desk.references.may_commit(version):
            return False
        done = any((one.edge, one.model) == (self.member, model) for one in made)
        return not done and not self.sender.busy(f"references {log.job}/{version}")

    def _work_references(self, desk: JobDesk) -> None:
        """Commit to references of the current version, show what is opened, and state what this server holds."""
        log = desk.log
        if desk.blocks or self.member not in log.edge_set:
            return
        if self._owes(desk, log.version, log.model) and (model := self._load(log.model)) is not None:
            self._commit(desk, log.version, model)
        for version, commitments in desk.references.unsettled().items():
            purpose = f"hold references {log.job}/{version}"
            if self.sender.busy(purpose):
                continue
            held = [
                one.edge
                for one in commitments
                if self.member not in desk.references.holders(version, one.edge) and self._holds(desk, one)
            ]
            if held:
                data = self._ledger.encode_acknowledge_references(log.job, version, held)
                self._send(purpose, data, _GAS_CALL)

    def _holds(self, desk: JobDesk, commitment: Commitment) -> bool:
        """Tell whether opened references are here, and are what their edge server committed to."""
        digest = commitment.digest
        if digest not in desk.judged:
            if commitment.edge == self.member and self._roots is not None:
                self._roots.show(digest, self.blobs)
            blob, place = self._load(digest), self._place(desk)
            if blob is None or place is None:
                return False
            desk.judged[digest] = is_right(place, commitment, blob)
        return desk.judged[digest]

    def _place(self, desk: JobDesk) -> Place | None:
        file = self._file(desk)
        return None if file is None else Place(self._genesis_hash, self._ledger.address, desk.log.job, file)

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _work_round(self, desk: JobDesk) -> None:
        """Attest the round that the log gives."""
        log, purpose = desk.log, f"attest {desk.log.job}/{desk.log.next_round}"
        if (
            desk.blocks
            or self.member not in log.edge_set
            or desk.attested >= log.next_round
            or self.sender.busy(purpose)
        ):
            return
        try:
            selection = log.select(self._payload_digest)
        except PayloadsNeededError as needed:
            for digest in needed.digests:
                self._bring(digest)
            return
        if selection is None or self._was_misled(desk):
            return
        desk.references.open(selection, log)
        if desk.scored is None or desk.scored.selection != selection:
            desk.scored = self._score(desk, selection)
        if desk.scored is not None:
            if desk.scored.model_blob:
                self._commit(desk, log.next_round, desk.scored.model_blob)
            self._send(purpose, self._ledger.encode_attest(desk.scored.attestation), _GAS_CALL)

    def _was_misled(self, desk: JobDesk) -> bool:
        """Tell whether the sponsor moved the pay while servers agreed to the job: then nobody attests any round."""
        file = self._file(desk)
        if file is None or not _vests_otherwise(desk.log, file):
            return False
        if not desk.refusal:
            desk.refusal = VESTS_OTHERWISE
            _log.error("edge server %d works on job %d no more: %s", self.member, desk.log.job, desk.refusal)
        return True

    def _score(self, desk: JobDesk, selection: Selection) -> ScoredRound | None:
        """Compute a round by the rules that hold for it, None while a blob or a rule that it needs is not here."""
        if not selection.records:
            return closing(selection, desk.log.model)
        versions = {entry.base for entry in selection.records} | {selection.round - 1}
        bases = {version: desk.log.model_at(version) for version in versions}
        file = self._file(desk)
        plan = desk.log.plan_at(selection.round - 1) if file is not None and file.allocation is not None else b""
        names = beside(selection, desk.log, desk.references)
        if names is None:
            return None
        needed = {
            *bases.values(),
            *(entry.digest for entry in selection.records),
            *names.digests,
            *filter(None, [plan]),
        }
        blobs = {digest: data for digest in needed if (data := self._load(digest)) is not None}
        if len(blobs) < len(needed) or file is None:
            return None
        samples = file.samples_by_member()
        models = {version: decode_model(blobs[digest])[1] for version, digest in bases.items()}
        updates = [decode_update(blobs[entry.digest]) for entry in selection.records]
        entries = entries_of(selection, [update for _, update in updates], samples, names)
        terms = learner_terms(desk.log.terms_of(selection.round))
        planned = file.plan_terms(terms.rules_version)
        planning = None
        if planned is not None:
            reports = [header.report for header, _ in updates if isinstance(header, ReportingHeader)]
            planning = Planning(Plan.decode(blobs[plan]) if plan else Plan(0), reports, planned)
        context = context_of(names, self._sources(desk, file, blobs), terms.shift, file.class_weights)
        inputs = rounds.RoundInputs(terms, selection.round, models[selection.round - 1], entries, models, context)
        try:
            scored = score(selection, inputs, bases, planning, names, vests=desk.log.vests > 0)
        except UnknownRule as error:
            if selection.round not in desk.unknown_rules:
                desk.unknown_rules.add(selection.round)
                _log.error(
                    "edge server %d cannot compute round %d of job %d: %s%s",
                    self.member,
                    selection.round,
                    desk.log.job,
                    error,
                    "" if isinstance(error, UnusableRule) else "; install a newer merit-ledger",
                )
            return None
        try:
            self.blobs.put(scored.model_blob)
            for blob in filter(None, (scored.plan_blob, scored.history_blob)):
                self.blobs.put(blob)
        except BlobQuotaError as error:  # what it computed is right all the same; others serve model and plan
            self._refuse("quota", str(error))
            _log.error("edge server %d: %s", self.member, error)
        if self._scored is not None:
            self._scored(scored)
        return scored

    def _sources(self, desk: JobDesk, file: JobFile, blobs: Mapping[bytes, bytes]) -> Sources:
        """Read a round's context from blobs that are here; what more than 2/3 hold has been judged."""
        place = Place(self._genesis_hash, self._ledger.address, desk.log.job, file)
        return Sources(
            references=lambda one: place.decode(one, blobs[one.digest]),
            update=lambda entry: decode_update(blobs[entry.digest])[1],
            model=lambda digest: decode_model(blobs[digest])[1],
            history=lambda digest: decode_history(blobs[digest]),
        )

    def _settle(self, desk: JobDesk) -> None:
        """Post the thetas of agreed rounds that are not paid yet, when it is this server's turn."""
        for number, since in tuple(desk.unsettled.items()):
            if self._clock.monotonic() - since < RANK_DELAY_S * self._rank(desk, number):
                continue
            outcome = desk.log.outcomes[number - 1]
            if outcome.selection is None:
                continue
            scored = desk.scored
            if scored is None or scored.selection != outcome.selection:
                scored = self._score(desk, outcome.selection)
            if scored is None:
                continue
            if scored.thetas.digest != outcome.thetas:
                _log.error(
                    "edge server %d: round %d of job %d was agreed with other thetas", self.member, number, desk.log.job
                )
                del desk.unsettled[number]
                continue
            self._post(desk.log.job, number, scored)

    def _post(self, job: int, number: int, scored: ScoredRound) -> None:
        view, thetas = self._ledger.round(job, number), scored.thetas
        if view.status is bindings.RoundStatus.AGREED:
            data = self._ledger.encode_post_thetas(job, number, thetas.total, thetas.chunk_digests)
            self._send(f"thetas {job}/{number}", data, _GAS_CALL)
        if thetas.total == 0:
            return
        for index in range(view.settled_chunks, len(thetas.chunks)):
            data = self._ledger.encode_settle_chunk(job, number, index, *thetas.chunks[index])
            self._send(f"settle {job}/{number}/{index}", data, _GAS_SETTLE)

    def _vest(self, desk: JobDesk) -> None:
        """Settle the held pay of rounds that are due, when it is this server's turn."""
        if desk.blocks:
            return
        for number, pay in tuple(desk.vesting.held.items()):
            judge = decider(number, desk.log)
            if judge is None or number in desk.unsettled:
                continue
            since = desk.due.setdefault(number, self._clock.monotonic())
            if self._clock.monotonic() - since < RANK_DELAY_S * self._rank(desk, judge):
                continue
            if judge in desk.vesting.judged:
                data = bindings.Vesting.encode_settle(desk.log.job, number, sorted(pay)[: digests.MOST_SETTLED])
                self._send(f"vest {desk.log.job}/{number}", data, _GAS_SETTLE, to=addresses.VESTING)
            elif (words := self._fallen(desk, judge)) is not None:
                attested, version = agreed(judge, desk.log)
                data = bindings.Vesting.encode_judge(attested, version, words)
                self._send(f"judge {desk.log.job}/{judge}", data, _GAS_SETTLE, to=addresses.VESTING)

    def _fallen(self, desk: JobDesk, number: int) -> tuple[int, ...] | None:
        """Return whose record had fallen after an agreed round; None while what its rule remembered is not here."""
        name, history = history_part(desk.log.outcomes[number - 1].parts), {}
        if name:
            blob = self._load(name)
            if blob is None:
                return None
            history = dict(decode_history(blob))
        return digests.fallen_words(fallen_after(number, desk.log, history))

    def _keep_time(self, desk: JobDesk) -> None:
        """Send `tick` when the ledger must be shown that a time has passed, and void a round that found no quorum.

        A server gives up only rounds that it has attested itself: before that, what is on the ledger may be the word
        of a liar about a round that the log does not give yet.
        """
        log = desk.log
        patience = RANK_DELAY_S * self._rank(desk, log.next_round)
        now = self._clock.now() - patience
        if desk.first_attested_at is not None and desk.attested == log.next_round:
            due = desk.first_attested_at + log.terms.attestation_timeout + 1
            if now >= due:
                data = self._ledger.encode_void_round(log.job, log.next_round)
                self._send(f"void {log.job}/{log.next_round}", data, _GAS_CALL)
        deadline = log.next_deadline(self._follower.timestamp)
        times = [] if deadline is None else [deadline + 1]
        if log.has_candidates:
            times.append(log.boundary_time + log.terms.max_wait)
        if (settling := desk.references.next_deadline()) is not None:
            times.append(settling + 1)
        if any(self._follower.timestamp < due <= now for due in times):
            self._send("tick", self._ledger.encode_tick(), _GAS_CALL)

    def _rank(self, desk: JobDesk, number: int) -> int:
        """Tell how many servers come before this one for a round's common chores; the turn goes round."""
        servers = desk.log.edge_set
        if self.member not in servers:
            return len(servers)
        return (servers.index(self.member) - number) % len(servers)

    def _send(self, purpose: str, data: bytes, gas: int, *, to: bytes = b"") -> bytes | None:
        return self.sender.send(purpose, to=to or self._ledger.address, data=data, gas=gas)


def _vests_otherwise(log: JobLog, file: JobFile) -> bool:
    """Tell whether a job's rewards go elsewhere, or are settled at another time, than its file says."""
    return (log.holder, log.vests) != ((addresses.VESTING, file.vests) if file.vests else (b"", 0))
