"""A client: it trains when its data have come, signs what it learned, and brings it to an edge server that is alive.

The record goes first; the blob follows when the record is final. Until then both lie in the client's own directory,
so that a crash loses nothing
and a second attempt sends the same bytes.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from chain.crypto.contexts import record_context
from chain.crypto.schemes import SigningKey
from contracts.records import Record, SignedRecord, UpdateHeader, blob_digest
from learner.fixedpoint import Rejected, encode_update
from learner.fixedpoint import decode_model as decode_parameters
from learner.terms import Terms
from merit.clock import Clock
from node.errors import ServersUnreachableError
from node.jobs import JobFile, decode_job_file
from node.rounds.attestation import decode_model

_log = logging.getLogger(__name__)

POLL_WAIT_S = 10.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 5.0
RECORD_LIFETIME_S = 600
ATTEMPTS_PER_SERVER = 3


class Trainer(Protocol):
    """Local training: from a model's parameters to new ones, on the next samples of the client's own data."""

    def train(self, parameters: NDArray[np.float64], job: JobFile, step: int) -> NDArray[np.float64]:
        """Return the trained parameters, float64[d]; `step` counts this client's trainings and seeds them."""
        ...


class State(msgspec.Struct, kw_only=True):
    """What a client keeps across its lives.

    `step` counts its trainings; `mark` is (base, counter) of the newest record that it signed, `before` the one before.
    """

    step: int = 0
    mark: tuple[int, int] | None = None
    before: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is: its Registry id, its key, and the chain and Ledger that its records are for."""

    member: int
    key: SigningKey
    genesis_hash: bytes
    ledger: bytes


@dataclass(frozen=True, slots=True)
class JobView:
    """What an edge server says of a job; `model` is believed only when enough servers say the same."""

    status: str
    version: int
    model: bytes
    job_file: bytes
    records_per_base: int
    edge_servers: int


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
        """Ask one server; None if it does not answer or fails."""
        try:
            answer = await self._http.request(method, url + path, content=content, timeout=wait + 30.0)
        except httpx.HTTPError as error:
            _log.info("%s does not answer: %r", url, error)
            return None
        return None if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else answer


class Client:
    """One client of one job.

    Args:
        identity: who it is.
        job: the job's number.
        servers: the edge servers it knows.
        trainer: its data and how it learns from them.
        interval_s: seconds in which the job's number of new samples comes (its speed).
        directory: where it keeps what it has not delivered yet.
        clock: paces it.

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
    ) -> None:
        """Pick up what an earlier life left in `directory`."""
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
        self._terms: Terms | None = None

    @property
    def steps(self) -> int:
        """How often this client has trained, over all its lives."""
        return self._state.step

    async def run(self) -> None:
        """Train and deliver until the job closes."""
        due = self._clock.monotonic()
        await self._deliver_left()
        while True:
            due = max(due + self._interval_s, self._clock.monotonic())
            await self._clock.sleep(due - self._clock.monotonic())
            view = await self._fresh_base()
            if view is None:
                return
            await self._contribute(view)

    async def _fresh_base(self) -> JobView | None:
        """Wait for a version that this client may still send a record for; None when the job takes no more."""
        after = -1
        while True:
            view = await self._view(after)
            if view.status in {"closing", "closed"}:
                return None
            if view.status == "open" and self._used(view.version) < view.records_per_base:
                return view
            after = view.version
            if view.status != "open":
                await self._clock.sleep(BACKOFF_FIRST_S)

    async def _view(self, after: int) -> JobView:
        path = f"/v1/jobs/{self._job}?after={after}&wait={POLL_WAIT_S}"
        while True:
            answer = await self._servers.request("GET", path, wait=POLL_WAIT_S)
            if answer.is_success:
                break
            await self._clock.sleep(BACKOFF_FIRST_S)  # the server has not seen the job yet
        fields = answer.json()
        return JobView(
            status=fields["status"],
            version=fields["version"],
            model=bytes.fromhex(fields["model"]),
            job_file=bytes.fromhex(fields["job_file"]),
            records_per_base=fields["records_per_base"],
            edge_servers=fields["edge_servers"],
        )

    def _used(self, version: int) -> int:
        """How many records of this base the client has sent already."""
        mark = self._state.mark
        return 0 if mark is None or mark[0] != version else mark[1] + 1

    async def _contribute(self, view: JobView) -> None:
        """Train on a version, sign the update and deliver it."""
        if not await self._agreed(view):
            return
        job_file = await self._load_job(view)
        terms = job_file.learner_terms()
        blob = await self._blob(view.model)
        if blob is None:
            return
        header, integers = decode_model(blob)
        base = decode_parameters(integers, header.fraction_bits)
        trained = self._trainer.train(base, job_file, self._state.step)
        encoded = encode_update(
            trained - base, terms.fraction_bits, self._residual, norm_bound_squared=terms.norm_bound_squared
        )
        self._state.step += 1
        if isinstance(encoded, Rejected):
            _log.warning(
                "client %d sends nothing for version %d: %s", self.identity.member, view.version, encoded.detail
            )
            self._mark(view.version)
            return
        self._residual = encoded.residual
        signed, update = self._sign(view.version, terms, encoded.update)
        self._keep(signed, update)
        await self._deliver(signed, update)

    async def _agreed(self, view: JobView) -> bool:
        """Believe a model only when f + 1 edge servers name it: at least one of them is honest."""
        needed = (view.edge_servers - 1) // 3
        path = f"/v1/jobs/{self._job}/models/{view.version}"
        for url in self._servers.others():
            if needed == 0:
                break
            answer = await self._servers.ask(url, "GET", path)
            if answer is not None and answer.is_success and answer.json()["model"] == view.model.hex():
                needed -= 1
        if needed > 0:
            _log.warning("client %d: too few edge servers confirm version %d", self.identity.member, view.version)
            self._servers.change()
        return needed == 0

    async def _load_job(self, view: JobView) -> JobFile:
        if self._job_file is None:
            blob = await self._blob(view.job_file)
            if blob is None:
                msg = f"no edge server has the file of job {self._job}"
                raise ServersUnreachableError(msg)
            self._job_file = decode_job_file(blob)
        return self._job_file

    async def _blob(self, digest: bytes) -> bytes | None:
        """Fetch a blob from the current server, else from any other; what does not hash to its name is dropped."""
        for url in (self._servers.current, *self._servers.others()):
            answer = await self._servers.ask(url, "GET", f"/v1/blobs/{digest.hex()}")
            if answer is not None and answer.is_success and blob_digest(answer.content) == digest:
                return answer.content
        return None

    def _sign(self, base: int, terms: Terms, update: NDArray[np.int16]) -> tuple[SignedRecord, bytes]:
        mark = self._state.mark
        counter = mark[1] + 1 if mark is not None and mark[0] == base else 0
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
        blob = header.blob(update.astype("<i2").tobytes())
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
        self._mark(signed.record.base, signed.record.counter)

    def _mark(self, base: int, counter: int = 0) -> None:
        self._state.before, self._state.mark = self._state.mark, (base, counter)
        self._save_state()

    def _unmark(self) -> None:
        self._state.mark = self._state.before
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
            if self._state.mark != (signed.record.base, signed.record.counter):  # it stopped between the two writes
                self._mark(signed.record.base, signed.record.counter)
            await self._deliver(signed, data[4 + size :])

    async def _deliver(self, signed: SignedRecord, blob: bytes) -> None:
        """Bring the record onto the ledger, then the blob to the server.

        A server that does not do its part is changed for the next one.
        """
        record = signed.record
        status = f"/v1/jobs/{self._job}/records/{record.digest.hex()}?until=recorded&wait={POLL_WAIT_S}"
        while record.expiry >= self._clock.now():
            offered = (await self._servers.request("POST", "/v1/records", content=signed.encode())).json()
            if offered["status"] == "queued":
                offered = (await self._servers.request("GET", status, wait=POLL_WAIT_S)).json()
            if offered["status"] == "refused":
                _log.warning("client %d: record refused: %s", self.identity.member, offered["reason"])
                if offered["kind"] != "replay":
                    self._unmark()  # nothing is on the ledger: a later record may take its place
                break
            if offered["status"] in {"queued", "unknown"}:
                self._servers.change()
                continue
            if offered["status"] == "pending":
                answer = (await self._servers.request("PUT", f"/v1/blobs/{record.digest.hex()}", content=blob)).json()
                if answer["status"] == "refused" and answer["kind"] == "unrecorded":
                    await self._clock.sleep(BACKOFF_FIRST_S)  # another server, which has not seen the record yet
                    continue
                if answer["status"] == "refused":
                    _log.warning("client %d: blob refused: %s", self.identity.member, answer["reason"])
            break
        self._outbox.unlink(missing_ok=True)
