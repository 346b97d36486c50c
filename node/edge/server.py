"""The edge server's own work, one `step` at a time and without I/O but the ledger, the blob store and its peers.

A step reads new blocks, fetches and checks blobs, acknowledges, computes and attests the round that the log gives,
and settles what was agreed. Every
step starts from what the ledger says, so that a server that crashed goes on where the ledger stands.
"""

import logging
from collections import deque
from dataclasses import dataclass, field

from web3 import Web3

from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme, verify
from contracts import bindings, digests, events, records
from contracts.errors import ContractsError
from contracts.records import SignedRecord, UpdateHeader
from learner import rounds
from learner.fixedpoint import check_update
from learner.terms import Terms
from merit.clock import Clock
from merit.errors import MeritError
from node.blobs import BlobStore
from node.edge.follower import Follower
from node.edge.peers import Peer
from node.errors import BlobMissingError, PayloadsNeededError
from node.jobs import decode_job_file, learner_terms
from node.members import MemberBook, MemberKey
from node.rounds.attestation import ScoredRound, closing, decode_model, decode_update, score
from node.rounds.log import BlockEvents, JobLog, JobStatus, RecordEntry, RecordStatus, Selection
from node.sender import Sender

_log = logging.getLogger(__name__)

FETCH_AGAIN_AFTER_S = 0.25
"""A blob that no peer could give is asked for again after so long."""

RANK_DELAY_S = 3.0
"""Settling, ticking and voiding are done by one server at once, by the next after so long if still undone."""

RELAY_ATTEMPTS = 3
"""A record whose transaction did not go through is relayed so many times."""


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


@dataclass(slots=True)
class JobDesk:
    """One job on this server's desk: the ledger's log of it, and what this server knows beyond it.

    `verdicts` says of each blob that was checked why it is invalid, None for a hold; `unsettled` are agreed rounds
    that are not paid yet, with the
    time at which this server learned of them.
    """

    log: JobLog
    terms: Terms
    blocks: deque[BlockEvents] = field(default_factory=deque)
    samples: dict[int, int] = field(default_factory=dict)
    verdicts: dict[bytes, str | None] = field(default_factory=dict)
    accepted: bool = False
    refusal: str = ""
    scored: ScoredRound | None = None
    attested: int = 0
    first_attested_at: int | None = None
    unsettled: dict[int, float] = field(default_factory=dict)
    queue: dict[bytes, SignedRecord] = field(default_factory=dict)
    relayed: dict[bytes, SignedRecord] = field(default_factory=dict)
    attempts: dict[bytes, int] = field(default_factory=dict)
    refused: dict[bytes, str] = field(default_factory=dict)


class EdgeServer:
    """One edge server.

    Args:
        member: its Registry id.
        w3: connection to the ledger, `ledger` and `registry` its contracts.
        sender: its account.
        blobs: its blob store.
        peers: the other edge servers.
        genesis_hash: of the chain that records are signed for.
        clock: real time, for what happens outside the ledger.

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
    ) -> None:
        """Start at the ledger's first block; the first steps catch up."""
        self.member = member
        self.blobs = blobs
        self.peers = peers
        self.jobs: dict[int, JobDesk] = {}
        self.refusals: dict[str, int] = {}
        self._ledger = ledger
        self._registry = registry
        self._sender = sender
        self._clock = clock
        self._genesis_hash = genesis_hash
        self._follower = Follower(w3, (ledger.address, registry.address))
        self._members = MemberBook(registry)
        self._payloads: dict[bytes, bytes] = {}
        self._asked: dict[bytes, float] = {}

    # -- what clients ask -------------------------------------------------------------------------------------------

    def offer_record(self, data: bytes) -> Answer:
        """Take a signed record in, to be relayed to the ledger.

        Every check that the ledger makes is made here first.
        """
        try:
            signed = SignedRecord.decode(data)
        except ContractsError as error:
            return self._refuse("malformed", str(error))
        record = signed.record
        desk = self.jobs.get(record.job)
        if desk is None or desk.log.status is not JobStatus.OPEN:
            return self._refuse("job", f"job {record.job} is not open")
        known = self.record_status(record.job, record.digest)
        if known.status not in {"unknown", "refused"}:
            return known
        if (reason := self._why_refused(signed, desk)) is not None:
            return self._refuse(*reason)
        desk.refused.pop(record.digest, None)
        desk.queue[record.digest] = signed
        return Answer("queued")

    def record_status(self, job: int, digest: bytes) -> Answer:
        """Tell what has become of a record: unknown, queued, refused, or what the ledger says."""
        desk = self.jobs.get(job)
        if desk is None:
            return Answer("unknown")
        entry = desk.log.by_digest.get(digest)
        if entry is not None:
            held = entry.status is RecordStatus.PENDING and digest in desk.verdicts and desk.verdicts[digest] is None
            return Answer("held" if held else entry.status.value, desk.verdicts.get(digest) or "", entry.sequence)
        if digest in desk.refused:
            return Answer("refused", desk.refused[digest], kind="ledger")
        return Answer("queued" if digest in desk.queue or digest in desk.relayed else "unknown")

    def offer_blob(self, digest: bytes, data: bytes) -> Answer:
        """Take a blob in: an update whose record is final, or a file that a job names.

        A blob that is stored and found wrong is refused with the reason, and acknowledged as invalid.
        """
        if records.blob_digest(data) != digest:
            return self._refuse("digest", "the bytes do not hash to the name")
        if any(digest in {desk.log.terms.job_file, desk.log.terms.model} for desk in self.jobs.values()):
            self.blobs.put(data)
            return Answer("stored")
        for desk in self.jobs.values():
            entry = desk.log.by_digest.get(digest)
            if entry is not None:
                self.blobs.put(data)
                reason = self._check(desk, entry)
                return Answer("held", sequence=entry.sequence) if reason is None else self._refuse("invalid", reason)
        return self._refuse("unrecorded", "no final record names this blob: send the record first")

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
        mark = log.marks.get(record.client)
        if mark is not None and (record.base, record.counter) <= mark:
            return "replay", f"(base, counter) {record.base, record.counter} does not rise above {mark}"
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
            elif desk.log.status is not JobStatus.CLOSED or desk.unsettled:
                self._relay(desk)
                self._gather(desk)
                self._acknowledge(desk)
                self._work_round(desk)
                self._settle(desk)
                self._keep_time(desk)

    def _take_on(self, event: events.JobCreated) -> None:
        log = JobLog(job=event.job, terms=event.terms, edge_set_of=self._registry.edge_set)
        self.jobs[event.job] = JobDesk(log=log, terms=learner_terms(event.terms))

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
            desk.blocks.popleft()
            for event in block.events:
                if getattr(event, "job", None) == desk.log.job:
                    self._note(desk, event, block)

    def _note(self, desk: JobDesk, event: events.Event, block: BlockEvents) -> None:
        match event:
            case events.Recorded():
                self._forget(desk, event.digest)
            case events.Refused():
                if event.digest in desk.relayed:
                    desk.refused[event.digest] = records.REASONS.get(event.reason, f"reason {event.reason}")
                self._forget(desk, event.digest)
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

    @staticmethod
    def _forget(desk: JobDesk, digest: bytes) -> None:
        for book in (desk.queue, desk.relayed, desk.attempts):
            book.pop(digest, None)

    # -- jobs -------------------------------------------------------------------------------------------------------

    def _consider(self, desk: JobDesk) -> None:
        """Acknowledge a proposed job once its file and model 0 are here and the terms are those of the file."""
        terms = desk.log.terms
        if desk.accepted or desk.refusal or not all(self._bring(digest) for digest in (terms.job_file, terms.model)):
            return
        if self.member not in desk.log.edge_set:
            return
        try:
            job_file = decode_job_file(self.blobs.get(terms.job_file))
            header, model = decode_model(self.blobs.get(terms.model))
            asked = job_file.ledger_terms(model=terms.model, edge_set=terms.edge_set)
        except MeritError as error:
            desk.refusal = str(error)
        else:
            if asked != terms:
                desk.refusal = "its terms on the ledger differ from its file"
            elif (len(model), header.fraction_bits) != (desk.terms.dimension, desk.terms.model_fraction_bits):
                desk.refusal = "model 0 has another dimension or other fraction bits than the terms"
        if desk.refusal:
            _log.error("edge server %d refuses job %d: %s", self.member, desk.log.job, desk.refusal)
            return
        desk.samples = {int(client): count for client, count in job_file.samples.items()}
        desk.accepted = self._send(
            f"accept {desk.log.job}", self._ledger.encode_acknowledge_job(desk.log.job), _GAS_CALL
        )

    # -- records and blobs ------------------------------------------------------------------------------------------

    def _relay(self, desk: JobDesk) -> None:
        """Send queued records, up to a batch; what a lost transaction carried is queued again."""
        purpose = f"records {desk.log.job}"
        if self._sender.busy(purpose):
            return
        for digest, signed in tuple(desk.relayed.items()):
            del desk.relayed[digest]
            desk.attempts[digest] = desk.attempts.get(digest, 0) + 1
            if desk.attempts[digest] < RELAY_ATTEMPTS and desk.log.status is JobStatus.OPEN:
                desk.queue[digest] = signed
            else:
                desk.refused[digest] = f"the ledger did not take it in {desk.attempts.pop(digest)} attempts"
        batch = dict(tuple(desk.queue.items())[: records.MAX_ENTRIES])
        if not batch:
            return
        data = self._ledger.encode_record_batch(desk.log.job, records.encode_batch(batch.values()))
        if self._send(purpose, data, _GAS_CALL + _GAS_PER_RECORD * len(batch)):
            desk.relayed.update(batch)
            for digest in batch:
                del desk.queue[digest]

    def _gather(self, desk: JobDesk) -> None:
        """Bring and check the blobs of undecided records, and the current model."""
        self._bring(desk.log.model)
        for entry in desk.log.undecided():
            if entry.digest not in desk.verdicts and self._bring(entry.digest):
                self._check(desk, entry)

    def _check(self, desk: JobDesk, entry: RecordEntry) -> str | None:
        """Judge a stored blob once: None if this server can hold it, else why it is invalid."""
        if entry.digest not in desk.verdicts:
            base = desk.log.model_at(entry.base)
            if not self._bring(base):
                return "its base model is not here yet"
            desk.verdicts[entry.digest] = self._fault(desk, entry, base)
        return desk.verdicts[entry.digest]

    def _fault(self, desk: JobDesk, entry: RecordEntry, base: bytes) -> str | None:
        data = self.blobs.get(entry.digest)
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
        if header != expected:
            return "its header differs from its record"
        _, model = decode_model(self.blobs.get(base))
        rejected = check_update(model, update, shift=desk.terms.shift, norm_bound_squared=desk.terms.norm_bound_squared)
        return None if rejected is None else rejected.detail

    def verdict(self, desk: JobDesk, entry: RecordEntry) -> bool | None:
        """Return what this server says of a record.

        True for a hold, False for invalid, None while its blob is missing.
        """
        if entry.digest not in desk.verdicts:
            return None
        return desk.verdicts[entry.digest] is None

    def _acknowledge(self, desk: JobDesk) -> None:
        """Say everything that this server can say about records it has not spoken of, or had reported missing."""
        log, purpose = desk.log, f"acknowledge {desk.log.job}"
        if self.member not in log.edge_set or self._sender.busy(purpose):
            return
        first = log.acknowledged_up_to(self.member)
        fresh = [
            (entry.sequence, self.verdict(desk, entry)) for entry in log.records[first : first + digests.MAX_EXCEPTIONS]
        ]
        while fresh and fresh[-1][1] is None:
            fresh.pop()
        earlier = [
            (sequence, self.verdict(desk, log.records[sequence]))
            for sequence in sorted(log.reported_missing(self.member))[: digests.MAX_EXCEPTIONS]
        ]
        missing = [sequence for sequence, verdict in fresh if verdict is None]
        invalid = [sequence for sequence, verdict in (*earlier, *fresh) if verdict is False][: digests.MAX_EXCEPTIONS]
        resolved = [sequence for sequence, verdict in earlier if verdict is True]
        if fresh or invalid or resolved:
            data = self._ledger.encode_acknowledge(log.job, first + len(fresh), missing, invalid, resolved)
            self._send(purpose, data, _GAS_CALL)

    def _bring(self, digest: bytes) -> bool:
        """Tell whether the blob is here, after asking every peer for it (not more often than `FETCH_AGAIN_AFTER_S`)."""
        if digest in self.blobs:
            return True
        now = self._clock.monotonic()
        if now - self._asked.get(digest, -FETCH_AGAIN_AFTER_S) < FETCH_AGAIN_AFTER_S:
            return False
        if any(peer.fetch(digest, self.blobs) for peer in self.peers):
            self._asked.pop(digest, None)
            return True
        self._asked[digest] = now
        return False

    def _payload_digest(self, digest: bytes) -> bytes | None:
        if digest not in self._payloads:
            try:
                data = self.blobs.get(digest)
            except BlobMissingError:
                return None
            self._payloads[digest] = records.payload_digest(data)
        return self._payloads[digest]

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _work_round(self, desk: JobDesk) -> None:
        """Attest the round that the log gives."""
        log, purpose = desk.log, f"attest {desk.log.job}/{desk.log.next_round}"
        if (
            desk.blocks
            or self.member not in log.edge_set
            or desk.attested >= log.next_round
            or self._sender.busy(purpose)
        ):
            return
        try:
            selection = log.select(self._payload_digest)
        except PayloadsNeededError as needed:
            for digest in needed.digests:
                self._bring(digest)
            return
        if selection is None:
            return
        if desk.scored is None or desk.scored.selection != selection:
            desk.scored = self._score(desk, selection)
        if desk.scored is not None:
            self._send(purpose, self._ledger.encode_attest(desk.scored.attestation), _GAS_CALL)

    def _score(self, desk: JobDesk, selection: Selection) -> ScoredRound | None:
        """Compute a round, None while a blob that it needs is not here."""
        if not selection.records:
            return closing(selection, desk.log.model)
        versions = {entry.base for entry in selection.records} | {selection.round - 1}
        bases = {version: desk.log.model_at(version) for version in versions}
        needed = [*bases.values(), *(entry.digest for entry in selection.records)]
        if not all(self._bring(digest) for digest in needed):
            return None
        models = {version: decode_model(self.blobs.get(digest))[1] for version, digest in bases.items()}
        entries = [
            rounds.Entry(entry.base, decode_update(self.blobs.get(entry.digest))[1], desk.samples.get(entry.client, 0))
            for entry in selection.records
        ]
        inputs = rounds.RoundInputs(desk.terms, selection.round, models[selection.round - 1], entries, models)
        scored = score(selection, inputs, bases)
        self.blobs.put(scored.model_blob)
        return scored

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

    def _keep_time(self, desk: JobDesk) -> None:
        """Send `tick` when the ledger must be shown that a time has passed, and void a round that found no quorum."""
        log = desk.log
        patience = RANK_DELAY_S * self._rank(desk, log.next_round)
        now = self._clock.now() - patience
        if desk.first_attested_at is not None:
            due = desk.first_attested_at + log.terms.attestation_timeout + 1
            if now >= due:
                data = self._ledger.encode_void_round(log.job, log.next_round)
                self._send(f"void {log.job}/{log.next_round}", data, _GAS_CALL)
            return
        dues = [entry.deadline + 1 for entry in log.undecided()]
        if log.has_candidates:
            dues.append(log.boundary_time + log.terms.max_wait)
        if dues and now >= min(dues) > self._follower.timestamp:
            self._send("tick", self._ledger.encode_tick(), _GAS_CALL)

    def _rank(self, desk: JobDesk, number: int) -> int:
        """Tell how many servers come before this one for a round's common chores; the turn goes round."""
        servers = desk.log.edge_set
        if self.member not in servers:
            return len(servers)
        return (servers.index(self.member) - number) % len(servers)

    def _send(self, purpose: str, data: bytes, gas: int) -> bool:
        return self._sender.send(purpose, to=self._ledger.address, data=data, gas=gas)
