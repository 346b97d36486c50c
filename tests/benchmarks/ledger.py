"""The ledger on four validators of this machine: latency of one record, records per second, and where the time goes."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from chain.crypto.backend_liboqs import liboqs_library
from chain.crypto.schemes import Scheme, verifying_backend
from chain.engines.cometbft.home import Timing
from contracts.records import MAX_ENTRIES
from merit.clock import Clock, SystemClock
from node.cli.checkout import checkout
from node.testnet.layout import TestnetFile
from tests.benchmarks._comet import VALIDATORS, Kind, key_value_store
from tests.benchmarks._network import Measured, ports, running

SECONDS: Final = 60.0
CLIENTS: Final = 1_024
LONE: Final = 40
LONE_PER_SECOND: Final = 2.0
MOST_PER_SECOND: Final = 2_500
"""So many records are signed for each second of a load that goes as fast as it can."""
WARMING_S: Final = 15.0
PEER_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Case:
    """One network: the clients' scheme, whether liboqs is used, and how many records a transaction may carry."""

    scheme: Scheme
    liboqs: bool
    batch: int

    @property
    def name(self) -> str:
        """What the rows call it."""
        library = "liboqs" if self.liboqs else "cryptography"
        return f"{self.scheme.name.replace('_', '-')}, {library}, {self.batch} per transaction"


def cases() -> list[Case]:
    """Return what can be compared here; without liboqs there is no case with it."""
    both = [True, False] if liboqs_library() else [False]
    return [
        *(Case(scheme, liboqs, MAX_ENTRIES) for liboqs in both for scheme in Scheme),
        Case(Scheme.ML_DSA_44, both[0], 1),
    ]


def run(seconds: float = SECONDS, clients: int = CLIENTS) -> list[dict[str, object]]:
    """Run every network in turn, each alone on the machine, and its peers; one row a figure.

    *Latency*: from a client's sending of a lone record to a server's word that it is in a block. *Records per second*:
    those that became final within `seconds`, each client with one on its way. Microseconds are of processor time on
    all four nodes together, per record; so they add up to what the machine's cores must give.
    """
    clock = SystemClock()
    rows = _told(_configuration(seconds, clients))
    with TemporaryDirectory(prefix="merit") as folder:
        rows += _told(asyncio.run(_anvil(clock)))
        kinds: tuple[Kind, ...] = ("ML-DSA-65", "Ed25519")
        for kind in kinds:
            rows += _told(asyncio.run(_store(Path(folder) / kind, kind, clock)))
        for number, case in enumerate(cases()):
            rows += _told(asyncio.run(_ledger(Path(folder) / str(number), case, seconds, clients, clock)))
            shutil.rmtree(Path(folder) / str(number))
    return rows


def _told(rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """Write rows to standard error as they come: all of them take a quarter of an hour."""
    found = list(rows)
    for row in found:
        sys.stderr.write(f"{row['what']}: {row['measure']}: {row['value']} {row['unit']}\n")
    return found


def _row(what: str, measure: str, value: object, unit: str = "") -> dict[str, object]:
    load = round(os.getloadavg()[0], 1)
    return {"what": what, "measure": measure, "value": value, "unit": unit, "load average": load}


def _configuration(seconds: float, clients: int) -> Iterator[dict[str, object]]:
    timing = Timing()
    yield _row("configuration", "validators", VALIDATORS)
    yield _row("configuration", "cores", os.cpu_count())
    yield _row("configuration", "clients, each with one record on its way", clients)
    yield _row("configuration", "length of a load", seconds, "s")
    yield _row("configuration", "verifies unless the row says otherwise", verifying_backend().name)
    yield _row(
        "configuration", "CometBFT propose, vote, commit", f"{timing.propose}, {timing.vote}, {timing.commit}", "ms"
    )


@contextmanager
def _environment(*, liboqs: bool) -> Iterator[None]:
    """Let child processes use liboqs or not."""
    before = os.environ.get("MERIT_LIBOQS")
    os.environ["MERIT_LIBOQS"] = "on" if liboqs else "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MERIT_LIBOQS"]
        else:
            os.environ["MERIT_LIBOQS"] = before


async def _ledger(directory: Path, case: Case, seconds: float, clients: int, clock: Clock) -> list[dict[str, object]]:
    file = TestnetFile(
        validators=VALIDATORS,
        clients=clients,
        client_scheme=int(case.scheme),
        relays=False,
        dashboards=False,
        port=ports(VALIDATORS),
        batch=case.batch,
    )
    with _environment(liboqs=case.liboqs):
        async with running(directory, file, clock) as network:
            lone = await network.measure(clients=1, seconds=LONE / LONE_PER_SECOND, records=LONE, rate=LONE_PER_SECOND)
            await network.measure(clients=clients, seconds=WARMING_S, records=clients)  # every server meets its clients
            full = await network.measure(clients=clients, seconds=seconds, records=int(seconds * MOST_PER_SECOND))
    return [*_latency(case, lone), *_throughput(case, full)]


def _latency(case: Case, lone: Measured) -> Iterator[dict[str, object]]:
    yield _row(case.name, "latency of a lone record, p50", lone.load.p50_ms, "ms")
    yield _row(case.name, "latency of a lone record, p95", lone.load.p95_ms, "ms")


def _throughput(case: Case, full: Measured) -> Iterator[dict[str, object]]:
    final = max(1, full.load.final)
    yield _row(case.name, "records per second", full.load.final_per_second, "1/s")
    yield _row(case.name, "latency at that rate, p50", full.load.p50_ms, "ms")
    yield _row(case.name, "latency at that rate, p95", full.load.p95_ms, "ms")
    yield _row(case.name, "refused or lost", sum(full.load.refused.values()), "records")
    yield _row(case.name, "heights", full.heights)
    yield _row(case.name, "cores that were to be had", round(sum(full.cpu.values()) / full.wall_s, 2))
    yield _row(case.name, "processor time of a record", _us(sum(full.cpu.values()), final), "us")
    for part, used in full.cpu.items():
        yield _row(case.name, f"of which {part}", _us(used, final), "us")
    yield from _parts(case, full.requests, final)
    for part, grown in full.disk.items():
        yield _row(case.name, f"disk of 1,000 records on four nodes, {part}", round(grown * 1e3 / final / 1e6, 2), "MB")


def _parts(case: Case, requests: Mapping[str, float], final: int) -> Iterator[dict[str, object]]:
    for kind in ("admit", "prepare_proposal", "process_proposal", "finalize_block", "commit"):
        yield _row(case.name, f"of the ledger's, {kind}", _us(requests.get(kind, 0.0), final), "us")


def _us(seconds: float, records: int) -> int:
    return round(seconds * 1e6 / records)


async def _store(directory: Path, kind: Kind, clock: Clock) -> list[dict[str, object]]:
    found = await key_value_store(directory, kind, ports(VALIDATORS), PEER_S, clock)
    name = f"CometBFT's kvstore, {kind} validators"
    return [
        _row(name, "latency of a lone transaction, p50", round(found.p50_ms, 1), "ms"),
        _row(name, "latency of a lone transaction, p95", round(found.p95_ms, 1), "ms"),
        _row(name, "transactions per second", round(found.per_second, 1), "1/s"),
        _row(name, "processor time of a transaction", round(found.cpu_us), "us"),
    ]


async def _anvil(clock: Clock) -> list[dict[str, object]]:
    """Send transfers to anvil, which makes a block for each: a chain of one node without consensus or disk."""
    root = checkout()
    program = None if root is None else root / ".merit" / "bin" / "anvil"
    if program is None or not program.is_file():
        return [_row("anvil", "skipped: scripts/install-anvil brings it", None)]
    port = ports(1)
    process = await asyncio.create_subprocess_exec(
        str(program), "--silent", "--port", str(port), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False) as http:

            async def ask(method: str, *params: object) -> object:
                request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                answer = await http.post("/", json=request)
                return answer.json()["result"]

            accounts = await _when_up(ask, clock)
            sent, began = 0, clock.monotonic()
            while (took := clock.monotonic() - began) < PEER_S:
                await ask("eth_sendTransaction", {"from": accounts[0], "to": accounts[1], "value": "0x1"})
                sent += 1
    finally:
        process.kill()
        await process.wait()
    return [
        _row("anvil", "transactions per second, one sender", round(sent / took, 1), "1/s"),
        _row("anvil", "latency of a transaction, mean", round(took / sent * 1e3, 2), "ms"),
    ]


async def _when_up(ask: Callable[[str], Awaitable[object]], clock: Clock) -> list[str]:
    for _ in range(300):
        try:
            accounts = await ask("eth_accounts")
        except httpx.HTTPError:
            await clock.sleep(0.1)
            continue
        if isinstance(accounts, list):
            return accounts
    message = "anvil does not answer"
    raise RuntimeError(message)
