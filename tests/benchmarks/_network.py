"""A testnet for benchmarks, and whose CPU seconds go where: nodes by thread, CometBFT, clients."""

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from chain.engines.cometbft import binary
from merit.clock import Clock
from node.load.job import propose
from node.load.process import LoadFigures
from node.load.running import prepared
from node.testnet.layout import Layout, TestnetFile, free_port_base, make
from node.testnet.supervisor import Supervisor

START_S: Final = 300.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one network: its figures, CPU seconds by part and by request, and bytes on disk."""

    load: LoadFigures
    cpu: Mapping[str, float]
    requests: Mapping[str, float]
    disk: Mapping[str, int]
    heights: int
    wall_s: float


class Network:
    """Four validators that run, with a job for loads."""

    def __init__(self, layout: Layout, supervisor: Supervisor, clock: Clock) -> None:
        """Wrap a supervisor that runs."""
        self.layout, self._supervisor, self._clock = layout, supervisor, clock
        self._counter = 0
        self._loads = 0
        self.job = 0
        self.genesis_hash = b""

    async def open_job(self) -> None:
        """Wait for the first height, propose the job of the loads, and wait until every server says it is open."""
        await self._until(self._moves, "the first height")
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
            request = {"jsonrpc": "2.0", "id": 1, "method": "merit_genesisHash"}
            answer = await http.post(self.layout.home(1).read().rpc_url, json=request)
            self.genesis_hash = bytes.fromhex(answer.json()["result"][2:])
            self.job = await asyncio.to_thread(propose, self.layout, self.layout.directory / "job")

            async def opened() -> bool:
                views = [await http.get(f"{home.read().intake_url}/v1/jobs/{self.job}") for home in self.layout.homes()]
                return all(view.is_success and view.json()["status"] == "open" for view in views)

            await self._until(opened, "the job to open")

    async def measure(self, *, clients: int, seconds: float, records: int, rate: float = 0.0) -> Measured:
        """Send a load and account for it."""
        self._loads += 1
        directory = self.layout.directory / f"load-{self._loads}"
        first, self._counter = self._counter, self._counter + -(-records // clients) + 1
        async with prepared(
            self.layout,
            directory,
            job=self.job,
            genesis_hash=self.genesis_hash,
            clients=clients,
            seconds=seconds,
            records=records,
            records_per_second=rate,
            first_counter=first,
        ) as load:
            before, spent, disk, height = self.cpu(), await self.spent(), self.disk(), await self.height()
            began = self._clock.monotonic()
            figures = await load.measure()
            wall = self._clock.monotonic() - began
        after, disk_after = self.cpu(), self.disk()
        cpu = {part: after[part] - before[part] for part in after} | {"clients": figures.cpu_seconds}
        now_spent = await self.spent()
        requests = {kind: now_spent[kind] - spent.get(kind, 0.0) for kind in now_spent}
        grown = {part: disk_after[part] - disk[part] for part in disk_after}
        return Measured(figures, cpu, requests, grown, await self.height() - height, wall)

    async def spent(self) -> dict[str, float]:
        """Return the processor seconds that all nodes' ledgers have spent by kind of request."""
        total: dict[str, float] = {}
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            for home in self.layout.homes():
                answer = await http.get(f"{home.read().comet_url}/abci_query", params={"path": '"/status"'})
                value = msgspec.json.decode(base64.b64decode(answer.json()["result"]["response"]["value"]))
                for kind, seconds in value["spent"].items():
                    total[kind] = total.get(kind, 0.0) + seconds
        return total

    async def height(self) -> int:
        """Return the highest height."""
        return max(node.height or 0 for node in await self._supervisor.status())

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that all nodes' ledgers, edge servers and CometBFTs have used since their start."""
        found = {"ledger": 0.0, "edge servers": 0.0, "CometBFT": 0.0}
        for node in self.processes():
            found["CometBFT"] += thread_seconds(Path(f"/proc/{node['cometbft']}"))
            for task in Path(f"/proc/{node['node']}/task").iterdir():
                part = "ledger" if task.name == str(node["node"]) else "edge servers"  # the main thread is the ledger's
                found[part] += thread_seconds(task)
        return found

    def processes(self) -> list[dict[str, int]]:
        """Return the ids of each node's processes."""
        return [node.pair.processes for node in self._supervisor._nodes]  # noqa: SLF001 - the benchmark looks inside

    def disk(self) -> dict[str, int]:
        """Return the bytes that all nodes' stores take on disk."""
        found = {"CometBFT": 0, "ledger": 0}
        for home in self.layout.homes():
            found["CometBFT"] += occupied(home.comet / "data")
            found["ledger"] += occupied(home.ledger)
        return found

    async def _moves(self) -> bool:
        return all((node.height or 0) > 0 for node in await self._supervisor.status())

    async def _until(self, done: Callable[[], Any], what: str) -> None:
        limit = self._clock.monotonic() + START_S
        while not await done():
            if self._clock.monotonic() > limit:
                message = f"waited {START_S:.0f} s for {what}; see {self.layout.nodes}"
                raise RuntimeError(message)
            await self._clock.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def running(directory: Path, file: TestnetFile, clock: Clock) -> AsyncIterator[Network]:
    """Make and run a testnet with a job for loads."""
    layout = Layout(directory)
    make(directory, file, int(clock.now()))
    supervisor = Supervisor(layout, binary.find().absolute(), clock, lambda _: None)
    async with supervisor.running():
        network = Network(layout, supervisor, clock)
        await network.open_job()
        yield network


def ports(validators: int) -> int:
    """Return a first port for a testnet of benchmarks."""
    return free_port_base(validators, 33_000)


def thread_seconds(folder: Path) -> float:
    """Return the CPU seconds of a process or thread from its folder in /proc; 0 when it has ended."""
    try:
        fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def occupied(folder: Path) -> int:
    """Return the bytes that a directory's files take on disk; a sparse file counts what it holds."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a compaction removed it
            total += path.stat().st_blocks * 512
    return total
