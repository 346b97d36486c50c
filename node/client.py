"""A client: it trains when its data have come, signs what it learned, and brings it to an edge server that is alive.

The record goes first; the blob follows when the record is final. Until then both lie in the client's own directory,
so that a crash loses nothing
and a second attempt sends the same bytes.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from chain.crypto.contexts import record_context
from chain.crypto.schemes import SigningKey
from contracts.records import Record, SignedRecord, UpdateHeader, WorkReport, blob_digest
from learner.allocation.plan import Plan, Task
from learner.allocation.planning import first_samples
from learner.errors import InvalidPlan
from learner.fixedpoint import Rejected, encode_update
from learner.fixedpoint import decode_model as decode_parameters
from learner.terms import Terms
from merit.clock import Clock
from node.edge.peers import MAX_BLOB_BYTES
from node.errors import ServersUnreachableError
from node.jobs import JobFile, decode_job_file
from node.rounds.attestation import decode_model

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 1 << 20  # of anything but a blob
POLL_WAIT_S = 10.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 5.0
RECORD_LIFETIME_S = 600
_ENDING = frozenset({"closing", "closed"})
_SETTLED = frozenset({"available", "consumed", "void", "copy", "stale", "surplus"})
_FINAL = _SETTLED | {"pending", "held"}
ATTEMPTS_PER_SERVER = 3

UNRECORDED_ATTEMPTS = 5
"""A server that has not seen a final record yet is asked so often before the client goes on to the next."""


T = TypeVar("T", bound=msgspec.Struct)


class Trainer(Protocol):
    """Local training: from a model's parameters to new ones, on the next samples of the client's own data."""

    def train(self, parameters: NDArray[np.float64], job: JobFile, step: int, task: Task) -> NDArray[np.float64]:
        """Return the trained parameters, float64[d]; `step` counts this client's trainings and seeds them."""
        ...


class State(msgspec.Struct, kw_only=True):
    """What a client keeps across its lives.

    `step` counts its trainings; `base` is the newest version that it trained on and `counter` that of the newest record
    that it signed for it, -1 for none: both only ever rise, so that no two records share them. `used` counts the
    records of `base` that stand, `last` is the digest of the newest one. `drawn` counts the samples that plans told it
    to train on.
    """

    step: int = 0
    base: int = -1
    counter: int = -1
    used: int = 0
    last: str = ""
    drawn: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is: its Registry id, its key, and the chain and Ledger that its records are for."""

    member: int
    key: SigningKey
    genesis_hash: bytes
    ledger: bytes


Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
DigestOrNone = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """What an edge server says of a job.

    `model`, `allocation` (the plan, "" for none yet) and `job_file` are believed only when enough servers say the same.
    """

    status: str
    version: int
    model: Digest
    allocation: DigestOrNone = ""
    job_file: Digest
    edge_servers: int


class ModelView(msgspec.Struct, frozen=True):
    """What an edge server says of a version's model and of the plan for it."""

    model: Digest
    allocation: DigestOrNone = ""


class JobFileView(msgspec.Struct, frozen=True):
    """What an edge server says of a job's file."""

    job_file: Digest


class Told(msgspec.Struct, frozen=True):
    """What an edge server says of a record or a blob."""

    status: str
    reason: str = ""
    kind: str = ""


def parsed(answer: httpx.Response | None, kind: type[T]) -> T | None:
    """Return an answer's JSON as a struct; None without an answer and for one of another shape."""
    if answer is None:
        return None
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, RecursionError):  # a liar's answer may be nested as deep as it likes
        return None


def _microseconds(seconds: float) -> int:
    """Return a duration as a report has it: a longer one than 2^32 - 1 microseconds is as long as that."""
    return min(max(round(seconds * 10**6), 0), (1 << 32) - 1)


class Servers:
    """The edge servers that a client knows; it stays with one until that one fails."""

    def __init__(self, urls: list[str], *, first: int, clock: Clock, http: httpx.AsyncClient) -> None:
        """Start with `urls[first]`."""
        self.urls = urls
        self._current = first % len(urls)
        self._clock = clock
        self._http = http

    @property
    def current(self) -> str:
        """The server in use."""
        return self.urls[self._current]

    def change(self) -> None:
        """Go on with the next server."""
        self._current = (self._current + 1) % len(self.urls)

    def go_to(self, server: int) -> None:
        """Go on with the server at this place in the list."""
        self._current = server % len(self.urls)

    def others(self) -> Iterator[str]:
        """Iterate over the other servers, in order."""
        for step in range(1, len(self.urls)):
            yield self.urls[(self._current + step) % len(self.urls)]

    async def request(
        self, method: str, path: str, *, content: bytes | None = None, wait: float = 0.0
    ) -> httpx.Response:
        """Ask the current server; on failure wait with backoff and change to the next.

        Raises:
            ServersUnreachableError: no server answered in `ATTEMPTS_PER_SERVER` attempts each.

        """
        backoff = BACKOFF_FIRST_S
        for _ in range(ATTEMPTS_PER_SERVER * len(self.urls)):
            answer = await self.ask(self.current, method, path, content=content, wait=wait)
            if answer is not None:
                return answer
            await self._clock.sleep(backoff)
            backoff = min(2 * backoff, BACKOFF_MOST_S)
            self.change()
        msg = f"none of {', '.join(self.urls)} answers: are the edge servers running?"
        raise ServersUnreachableError(msg)

    async def ask(
        self, url: str, method: str, path: str, *, content: bytes | None = None, wait: float = 0.0
    ) -> httpx.Response | None:
        """Ask one server; None if it does not answer, fails, or sends more than it may."""
        most = MAX_BLOB_BYTES if path.startswith("/v1/blobs/") else MAX_ANSWER_BYTES
        body = bytearray()
        try:
            async with self._http.stream(method, url + path, content=content, timeout=wait + 30.0) as answer:
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > most:
                        _log.warning("%s sends more than %d bytes for %s", url, most, path)
                        return None
        except httpx.HTTPError as error:
            _log.info("%s does not answer: %r", url, error)
            return None
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return None
        return httpx.Response(answer.status_code, content=bytes(body))


class Client:
    """One client of one job.

    Args:
        identity: who it is.
        job: the job's number.
        servers: the edge servers it knows.
        trainer: its data and how it learns from them.
        interval_s: its speed: seconds in which the job's number of new samples comes; where work is allocated, seconds
            that the job's number of epochs on them takes at least.
        directory: where it keeps what it has not delivered yet.
        clock: paces it.
        told_final: called once with every record that a server says is on the ledger, and that server's URL.

    """

    def __init__(
        self,
        *,
        identity: Identity,
        job: int,
        servers: Servers,
        trainer: Trainer,
        interval_s: float,
        directory: Path,
        clock: Clock,
        told_final: Callable[[Record, str], None] | None = None,
    ) -> None:
        """Pick up what an earlier life left in `directory`."""
        self._told_final = told_final
        self.identity = identity
        self._job = job
        self._servers = servers
        self._trainer = trainer
        self._interval_s = interval_s
        self._clock = clock
        directory.mkdir(parents=True, exist_ok=True)
        self._outbox = directory / "undelivered"
        self._state_path = directory / "state.json"
        self._state = State()
        if self._state_path.exists():
            self._state = msgspec.json.decode(self._state_path.read_bytes(), type=State)
        self._residual: NDArray[np.float64] | None = None
        self._job_file: JobFile | None = None
        self._upload_s = 0.0

    @property
    def steps(self) -> int:
        """How often this client has trained, over all its lives."""
        return self._state.step

    async def run(self) -> None:
        """Train and deliver until the job closes.

        The work waits for its samples; only where it is allocated they are there, and the work itself takes the time.
        """
        due = self._clock.monotonic()
        await self._deliver_left()
        while True:
            due = max(due + (0.0 if self._is_allocated else self._interval_s), self._clock.monotonic())
            await self._clock.sleep(due - self._clock.monotonic())
            view = await self._fresh_base()
            if view is None:
                return
            steps = self._state.step
            await self._contribute(view)
            if self._is_allocated and self._state.step == steps:
                await self._clock.sleep(BACKOFF_FIRST_S)  # the plan or the model is not to be had yet

    @property
    def _is_allocated(self) -> bool:
        return self._job_file is not None and self._job_file.allocation is not None

    async def _fresh_base(self) -> JobView | None:
        """Wait for a version that this client may still send a record for; None when the job takes no more."""
        after = -1
        while True:
            view = await self._view(after)
            if view.status in _ENDING and await self._ends(view):
                return None
            if view.version < self._state.base:  # that server is behind
                self._servers.change()
            elif view.status == "open" and (job_file := await self._load_job(view)) is not None:
                if view.version == after:
                    await self._look_after_last()
                if view.version > self._state.base or self._state.used < job_file.round.records_per_base:
                    return view
                if view.version > after:
                    after = view.version
                    continue
            await self._clock.sleep(BACKOFF_FIRST_S)

    async def _ends(self, view: JobView) -> bool:
        """Believe that a job takes no more records only when f + 1 edge servers say so."""
        saying = 1
        for url in self._servers.others():
            other = parsed(await self._servers.ask(url, "GET", f"/v1/jobs/{self._job}"), JobView)
            saying += other is not None and other.status in _ENDING
        if saying <= self._tolerated(view):
            self._servers.change()
            return False
        return True

    def _tolerated(self, view: JobView) -> int:
        """f: of this many servers more than 2/3 are left when so many lie."""
        return (max(view.edge_servers, len(self._servers.urls)) - 1) // 3

    async def _look_after_last(self) -> None:
        """Free the place of the newest record if a server says that it is void, or was never recorded.

        If that server is wrong, the record that takes the place is one too many and goes unpaid; nothing else happens.
        """
        if not self._state.last:
            return
        path = self._status_path(bytes.fromhex(self._state.last))
        for url in (*self._servers.others(), self._servers.current):
            told = parsed(await self._servers.ask(url, "GET", path), Told)
            if told is not None and told.status in {"void", "unknown"}:
                _log.warning("client %d: its record is %s", self.identity.member, told.status)
                self._release()
                self._servers.change()
                return

    async def _view(self, after: int) -> JobView:
        path = f"/v1/jobs/{self._job}?after={after}&wait={POLL_WAIT_S}"
        while True:
            answer = await self._servers.request("GET", path, wait=POLL_WAIT_S)
            view = parsed(answer, JobView) if answer.is_success else None
            if view is not None:
                return view
            await self._clock.sleep(BACKOFF_FIRST_S)  # the server has not seen the job yet
            self._servers.change()

    async def _contribute(self, view: JobView) -> None:
        """Train on a version, sign the update and deliver it."""
        named = f"/v1/jobs/{self._job}/models/{view.version}", ModelView(view.model, view.allocation)
        job_file = await self._load_job(view)
        if job_file is None or not await self._confirmed(view, *named):
            return
        terms = job_file.unchecked_terms()  # the edge servers, who opened the job, have checked them
        begun = self._clock.monotonic()
        blob = await self._blob(bytes.fromhex(view.model))
        task = await self._task(view, job_file)
        if blob is None or task is None:
            return
        fetched = self._clock.monotonic()
        header, integers = decode_model(blob)
        base = decode_parameters(integers, header.fraction_bits)
        trained = self._trainer.train(base, job_file, self._state.step, task)
        report = None
        if job_file.allocation is not None:
            spec = job_file.training
            share = task.samples * task.epochs / (spec.samples * spec.epochs)
            await self._clock.sleep(max(0.0, fetched + self._interval_s * share - self._clock.monotonic()))
            report = WorkReport(
                samples=task.samples,
                epochs=task.epochs,
                training_us=_microseconds(self._clock.monotonic() - fetched),
                gathering_us=0,  # its samples are at hand
                transfer_us=_microseconds(fetched - begun + self._upload_s),
            )
            self._state.drawn += task.samples
        encoded = encode_update(
            trained - base, terms.fraction_bits, self._residual, norm_bound_squared=terms.norm_bound_squared
        )
        self._state.step += 1
        if isinstance(encoded, Rejected):
            _log.warning(
                "client %d sends nothing for version %d: %s", self.identity.member, view.version, encoded.detail
            )
            self._mark(view.version, used=job_file.round.records_per_base)  # the next version may do better
            return
        self._residual = encoded.residual
        signed, update = self._sign(view.version, terms, encoded.update, report)
        self._keep(signed, update)
        await self._deliver(signed, update)

    async def _task(self, view: JobView, job_file: JobFile) -> Task | None:
        """Return what to do: by the plan if work is allocated, else what the job asks of all.

        None if the plan is not to be had, or is none: a quorum may attest what it likes, so its bounds are kept here.
        """
        spec, bounds = job_file.training, job_file.allocation
        if bounds is None:
            return Task(spec.samples, spec.epochs, self._state.step * spec.samples)
        share = None
        if view.allocation:
            blob = await self._blob(bytes.fromhex(view.allocation))
            try:
                plan = None if blob is None else Plan.decode(blob)
            except InvalidPlan as error:
                _log.warning("client %d: %s", self.identity.member, error)
                plan = None
            if plan is None:
                return None
            share = plan.share_of(self.identity.member)
        if share is None:
            return Task(first_samples(spec.samples, bounds.least_samples), 1, self._state.drawn)
        samples = min(max(share.samples, bounds.least_samples), bounds.most_samples)
        return Task(samples, min(max(share.epochs, 1), bounds.most_epochs), self._state.drawn)

    async def _confirmed(self, view: JobView, path: str, word: msgspec.Struct) -> bool:
        """Believe a server's `word` only when f + 1 edge servers say the same at `path`: one of them is honest."""
        needed = self._tolerated(view)
        for url in self._servers.others():
            if needed == 0:
                break
            needed -= parsed(await self._servers.ask(url, "GET", path), type(word)) == word
        if needed > 0:
            _log.warning("client %d: too few edge servers confirm %s", self.identity.member, path)
            self._servers.change()
        return needed == 0

    async def _load_job(self, view: JobView) -> JobFile | None:
        """Return the job file, None as long as too few servers name it or none has it."""
        if self._job_file is None:
            path = f"/v1/jobs/{self._job}"
            if not await self._confirmed(view, path, JobFileView(view.job_file)):
                return None
            blob = await self._blob(bytes.fromhex(view.job_file))
            if blob is not None:
                self._job_file = decode_job_file(blob)
        return self._job_file

    async def _blob(self, digest: bytes) -> bytes | None:
        """Fetch a blob from the current server, else from any other; what does not hash to its name is dropped."""
        for url in (self._servers.current, *self._servers.others()):
            answer = await self._servers.ask(url, "GET", f"/v1/blobs/{digest.hex()}")
            if answer is not None and answer.is_success and blob_digest(answer.content) == digest:
                return answer.content
        return None

    def _sign(
        self, base: int, terms: Terms, update: NDArray[np.int16], report: WorkReport | None
    ) -> tuple[SignedRecord, bytes]:
        counter = self._state.counter + 1 if base == self._state.base else 0
        who = self.identity
        header = UpdateHeader(
            fraction_bits=terms.fraction_bits,
            genesis_hash=who.genesis_hash,
            ledger=who.ledger,
            job=self._job,
            client=who.member,
            base=base,
            counter=counter,
            dimension=terms.dimension,
        )
        blob = (header if report is None else header.reporting(report)).blob(update.astype("<i2").tobytes())
        record = Record(
            job=self._job,
            client=who.member,
            base=base,
            counter=counter,
            digest=blob_digest(blob),
            length=len(blob),
            expiry=int(self._clock.now()) + RECORD_LIFETIME_S,
        )
        signature = who.key.sign(record.message(who.ledger), record_context(who.genesis_hash))
        return SignedRecord(record=record, scheme=who.key.scheme, signer=who.key.address, signature=signature), blob

    # -- delivery ---------------------------------------------------------------------------------------------------

    def _keep(self, signed: SignedRecord, blob: bytes) -> None:
        """Write down what must be delivered before anything leaves.

        The mark that forbids to sign another record in its place follows.
        """
        record = signed.encode()
        partial = self._outbox.with_suffix(".partial")
        partial.write_bytes(len(record).to_bytes(4, "big") + record + blob)
        partial.replace(self._outbox)
        self._mark_signed(signed.record)

    def _mark_signed(self, record: Record) -> None:
        used = self._state.used + 1 if record.base == self._state.base else 1
        self._mark(record.base, used=used, counter=record.counter, last=record.digest.hex())

    def _mark(self, base: int, *, used: int, counter: int | None = None, last: str = "") -> None:
        if counter is None:
            counter = self._state.counter if base == self._state.base else -1
        self._state.base, self._state.counter, self._state.used, self._state.last = base, counter, used, last
        self._save_state()

    def _release(self) -> None:
        """Let another record take the place of the newest one, which came to nothing; its counter stays used."""
        self._state.used, self._state.last = max(0, self._state.used - 1), ""
        self._save_state()

    def _save_state(self) -> None:
        partial = self._state_path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(self._state))
        partial.replace(self._state_path)

    async def _deliver_left(self) -> None:
        if self._outbox.exists():
            data = self._outbox.read_bytes()
            size = int.from_bytes(data[:4], "big")
            signed = SignedRecord.decode(data[4 : 4 + size])
            record = signed.record
            if (self._state.base, self._state.counter) < (record.base, record.counter):  # stopped between two writes
                self._mark_signed(record)
            await self._deliver(signed, data[4 + size :])

    async def _deliver(self, signed: SignedRecord, blob: bytes) -> None:
        """Bring the record onto the ledger, then the blob to the server.

        A server that does not do its part is changed for the next one. A refusal, of the blob too, counts when f + 1
        servers refuse.
        """
        record = signed.record
        status = f"{self._status_path(record.digest)}?until=recorded&wait={POLL_WAIT_S}"
        refusing: set[str] = set()
        unrecorded = 0
        final = False
        while record.expiry >= self._clock.now():
            told = await self._tell("POST", "/v1/records", content=signed.encode())
            if told.status == "queued":
                told = await self._tell("GET", status, wait=POLL_WAIT_S)
            if told.status in _FINAL and not final and self._told_final is not None:
                self._told_final(record, self._servers.current)
                final = True
            if told.status == "pending":
                sent = self._clock.monotonic()
                told = await self._tell("PUT", f"/v1/blobs/{record.digest.hex()}", content=blob)
                self._upload_s = self._clock.monotonic() - sent
            if told.status in {"held", "stored", *_SETTLED}:
                _log.info("client %d: its update of version %d is %s", self.identity.member, record.base, told.status)
                break
            if told.status == "refused" and told.kind not in {"busy", "unrecorded"}:
                _log.warning("client %d: %s refuses: %s", self.identity.member, self._servers.current, told.reason)
                refusing.add(self._servers.current)
                if len(refusing) > (len(self._servers.urls) - 1) // 3:
                    self._release()
                    break
            unrecorded = unrecorded + 1 if told.kind == "unrecorded" else UNRECORDED_ATTEMPTS
            if unrecorded >= UNRECORDED_ATTEMPTS:
                unrecorded = 0
                self._servers.change()
            await self._clock.sleep(BACKOFF_FIRST_S)
        else:
            self._release()
        self._outbox.unlink(missing_ok=True)

    def _status_path(self, digest: bytes) -> str:
        return f"/v1/jobs/{self._job}/clients/{self.identity.member}/records/{digest.hex()}"

    async def _tell(self, method: str, path: str, *, content: bytes | None = None, wait: float = 0.0) -> Told:
        """Ask the current server; what is no answer at all is told as unknown."""
        answer = await self._servers.request(method, path, content=content, wait=wait)
        return parsed(answer, Told) or Told("unknown")
