"""The process of a load's clients: it signs every record ahead, then sends them and notes when each is final.

    python -m node.load.process DIR/load.json

It prints `ready` when everything is signed, begins when a line comes in, writes DIR/final.jsonl and DIR/figures.json,
and prints `done`. It ends early when its standard input ends.

A client has one record on its way at a time and stays with one edge server, as a member's program does: it offers the
record, then asks for what has become of it, until a server says that a block holds it.
"""

import asyncio
import hashlib
import resource
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from chain.crypto import keystore
from chain.crypto.backend_cryptography import private_key_of
from chain.crypto.contexts import record_context
from contracts.records import Record, SignedRecord
from merit.clock import Clock, SystemClock
from node.load.connection import Connection
from node.load.job import LIFETIME_S, RECORD_LENGTH

WAIT_S = 10.0
"""How long a server may keep a question about a record."""
AGAIN_S = 0.5
"""A client whose server does not answer, or refuses for now, tries again after so long."""
DRAIN_S = 60.0
"""After the last record was sent, so long is waited for those on their way."""
SIGNING_THREADS = 2
FINAL = frozenset({"pending", "held", "available", "void", "consumed", "copy", "stale", "surplus"})
_REPEATABLE = frozenset({"busy", "job", "key"})


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the process must know.

    `keys`: member id and key file of each client; as many records may be on their way at once. `records_per_second`: 0
    for as fast as it goes. `records`: how many are signed. `first_counter`: higher than in any earlier load of the job.
    """

    urls: list[str]
    genesis_hash: str
    ledger: str
    job: int
    keys: list[tuple[int, str]]
    password_file: str
    seconds: float
    records: int
    records_per_second: float = 0.0
    first_counter: int = 0


class LoadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a load measured.

    `final_per_second`: records that became final within `seconds` of the first, by those seconds. Latencies are from
    the moment at which a record was due (at a rate) or sent to the server's word that it is final, in milliseconds.
    `each_second`: how many became final in each second. `refused`: by the server's reason. `cpu_seconds`: of this
    process, sending only. `exhausted`: whether the records that were signed ran out before the time.
    """

    seconds: float
    sent: int
    final: int
    final_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    each_second: list[int]
    refused: dict[str, int]
    cpu_seconds: float
    exhausted: bool


@dataclass(slots=True)
class _Client:
    """One client with its records, ready to be sent."""

    member: int
    url: str
    offers: list[tuple[str, bytes]] = field(default_factory=list)  # digest in hexadecimal, batch entry


@dataclass(slots=True)
class _Found:
    """What became of what."""

    sent: int = 0
    finals: list[tuple[int, str, float, float]] = field(default_factory=list)  # member, digest, due, final
    refused: Counter[str] = field(default_factory=Counter)
    exhausted: bool = False


def signed_ahead(spec: LoadSpec, clock: Clock) -> list[_Client]:
    """Sign every record of every client."""
    password = Path(spec.password_file).read_bytes()
    ledger, context = bytes.fromhex(spec.ledger), record_context(bytes.fromhex(spec.genesis_hash))
    expiry = int(clock.now()) + LIFETIME_S
    each = -(-spec.records // len(spec.keys))

    def sign(place: int) -> _Client:
        member, path = spec.keys[place]
        key = keystore.load(Path(path), password)
        private = private_key_of(key.scheme, key.seed)  # releases the interpreter's lock, unlike a quicker library
        client = _Client(member, spec.urls[place % len(spec.urls)])
        for counter in range(spec.first_counter, spec.first_counter + each):
            digest = hashlib.sha256(b"load %d %d %d" % (spec.job, member, counter)).digest()
            record = Record(spec.job, member, 0, counter, digest, RECORD_LENGTH, expiry)
            signature = private.sign(record.message(ledger), context)
            entry = SignedRecord(record, int(key.scheme), key.address, signature).encode()
            client.offers.append((digest.hex(), entry))
        return client

    with ThreadPoolExecutor(SIGNING_THREADS) as threads:
        return list(threads.map(sign, range(len(spec.keys))))


class Load:
    """Sends what was signed."""

    def __init__(self, spec: LoadSpec, clients: list[_Client], clock: Clock) -> None:
        """Take the records; `run` sends them."""
        self._spec, self._clients, self._clock = spec, clients, clock
        self._found = _Found()
        self._begun = 0.0
        self._slots = 0

    async def run(self) -> _Found:
        """Send for `seconds`, wait for what is on its way, and return what was found."""
        self._begun = self._clock.monotonic()
        tasks = [asyncio.create_task(self._live(client)) for client in self._clients]
        await asyncio.wait(tasks, timeout=self._spec.seconds + DRAIN_S)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        return self._found

    def figures(self, cpu_seconds: float) -> LoadFigures:
        """Sum up."""
        spec, found = self._spec, self._found
        latencies = sorted((final - due) * 1e3 for _, _, due, final in found.finals)
        each = Counter(int(final - self._begun) for _, _, _, final in found.finals)
        inside = sum(final - self._begun <= spec.seconds for _, _, _, final in found.finals)
        return LoadFigures(
            seconds=spec.seconds,
            sent=found.sent,
            final=len(found.finals),
            final_per_second=round(inside / spec.seconds, 1),
            p50_ms=_quantile(latencies, 0.50),
            p95_ms=_quantile(latencies, 0.95),
            p99_ms=_quantile(latencies, 0.99),
            each_second=[each[second] for second in range(max(each, default=-1) + 1)],
            refused=dict(found.refused),
            cpu_seconds=round(cpu_seconds, 2),
            exhausted=found.exhausted,
        )

    async def _live(self, client: _Client) -> None:
        connection = Connection(client.url)
        try:
            for digest, entry in client.offers:
                due = await self._turn()
                if due is None:
                    return
                self._found.sent += 1
                await self._deliver(connection, client, digest, entry, due)
            self._found.exhausted = True
        finally:
            connection.close()

    async def _turn(self) -> float | None:
        """Wait for the next record's time and return it; None when the load is over."""
        rate, now = self._spec.records_per_second, self._clock.monotonic()
        if rate > 0:
            due = self._begun + self._slots / rate
            self._slots += 1
            if due < self._begun + self._spec.seconds:
                await self._clock.sleep(due - now)
                return due
            return None
        return now if now < self._begun + self._spec.seconds else None

    async def _deliver(self, connection: Connection, client: _Client, digest: str, entry: bytes, due: float) -> None:
        """Offer a record and ask until it is final or refused."""
        question = f"/v1/jobs/{self._spec.job}/clients/{client.member}/records/{digest}?until=recorded&wait={WAIT_S}"
        offered = False
        while True:
            try:
                if not offered:
                    answer = await connection.request("POST", f"/v1/records?until=recorded&wait={WAIT_S}", entry)
                else:
                    answer = await connection.request("GET", question)
            except OSError:
                self._found.refused["no answer"] += 1
                await self._clock.sleep(AGAIN_S)
                continue
            said: dict[str, Any] = msgspec.json.decode(answer[1])
            match said["status"]:
                case "queued":
                    offered = True
                case "refused" if said.get("kind") in _REPEATABLE:
                    self._found.refused[said["kind"]] += 1
                    await self._clock.sleep(AGAIN_S)
                case "unknown":
                    offered = False
                case status if status in FINAL:
                    self._found.finals.append((client.member, digest, due, self._clock.monotonic()))
                    return
                case _:
                    self._found.refused[said.get("kind") or said.get("reason", "?")] += 1
                    return


def _quantile(ordered: list[float], part: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1) if ordered else 0.0


async def main(spec: LoadSpec, directory: Path) -> None:
    """Sign, wait for the word, send, write down."""
    clock = SystemClock()
    load = Load(spec, signed_ahead(spec, clock), clock)
    _say("ready")
    if not await asyncio.to_thread(sys.stdin.readline):
        return
    before = _cpu_seconds()
    sending = asyncio.create_task(load.run())
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    await asyncio.wait({sending, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not sending.done():
        sending.cancel()
        return
    found = await sending
    figures = load.figures(_cpu_seconds() - before)
    (directory / "figures.json").write_bytes(msgspec.json.encode(figures))
    with (directory / "final.jsonl").open("wb") as log:
        for member, digest, _, _ in found.finals:
            log.write(b'{"client":%d,"digest":"%b"}\n' % (member, digest.encode()))
    _say("done")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    file = Path(sys.argv[1])
    asyncio.run(main(msgspec.json.decode(file.read_bytes(), type=LoadSpec), file.parent))
