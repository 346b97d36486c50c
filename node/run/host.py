"""The process of the clients: it trains them all, one at a time, and measures the accuracy of every version it sees.

    python -m node.run.host DIR/clients/host.json

It ends when its standard input ends, so that it does not outlive the run that started it. A run that was killed may be
started again before that: the clients' files belong to one process at a time, and the new one waits for the old one.
"""

import asyncio
import fcntl
import logging
import math
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from chain.crypto import keystore
from contracts.records import Record
from learner import models, training
from learner.allocation.plan import Task
from learner.attacks.poisoning import flipped
from learner.data.dataset import Dataset, Indices, Split
from learner.data.stream import arrivals
from learner.fixedpoint import decode_model as decode_parameters
from merit.chance import seed_of
from merit.clock import Clock, SystemClock
from node.client import Client, Identity, Servers
from node.errors import ServersUnreachableError
from node.jobs import JobFile, ModelSpec
from node.rounds.attestation import decode_model
from node.run.clients import ClientSpec, HostSpec, read
from node.run.events import Accuracy, EventLog
from node.run.preparation import leave, load_data, prepare, shares

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)

EVALUATION_WAIT_S = 10.0
EVALUATION_PAUSE_S = 0.05
_LONGEST_SLEEP_S = 3600.0


@cache
def module_of(spec: ModelSpec) -> "nn.Module":
    """Build the module that a job names."""
    return models.build(spec.name, features=spec.features, classes=spec.classes)


class StreamTrainer:
    """Trains a client on its own samples as they come; clients of one process share the module as scratch."""

    def __init__(self, data: Dataset, samples: Indices, seed: int) -> None:
        """Take the data set and the client's share of it."""
        self._data = data
        self._samples = samples
        self._seed = seed

    def train(self, parameters: NDArray[np.float64], job: JobFile, step: int, task: Task) -> NDArray[np.float64]:
        """Return the trained parameters, float64[d]."""
        spec = job.training
        chosen = arrivals(self._samples, first=task.first, count=task.samples, seed=self._seed)
        sgd = training.SGD(epochs=task.epochs, batch_size=spec.batch, learning_rate=spec.learning_rate)
        seed = seed_of(self._seed, "step", step)
        return training.train(module_of(job.model), parameters, self._data.subset(chosen), sgd, seed=seed)


async def evaluate(
    servers: Servers, job: int, module: "nn.Module", test: Dataset, *, rounds: int, events: EventLog, clock: Clock
) -> None:
    """Measure the test accuracy of every newest version until the job closes, and do not pass over version `rounds`."""
    seen = -1
    while True:
        answer = await servers.request(
            "GET", f"/v1/jobs/{job}?after={seen}&wait={EVALUATION_WAIT_S}", wait=EVALUATION_WAIT_S
        )
        if not answer.is_success:  # the server has not seen the job yet
            await clock.sleep(EVALUATION_PAUSE_S)
            continue
        view = answer.json()
        if view["version"] > seen:
            version, digest = view["version"], view["model"]
            if seen < rounds < version:
                named = await servers.request("GET", f"/v1/jobs/{job}/models/{rounds}")
                if named.is_success:
                    version, digest = rounds, named.json()["model"]
            blob = await servers.request("GET", f"/v1/blobs/{digest}")
            if blob.is_success:
                header, integers = decode_model(blob.content)
                parameters = decode_parameters(integers, header.fraction_bits)
                measured = training.evaluate(module, parameters, test)
                seen = version
                events.write(
                    Accuracy(seconds=clock.now(), version=seen, accuracy=measured.accuracy, loss=measured.loss)
                )
                continue
        if view["status"] == "closed":
            return
        await clock.sleep(EVALUATION_PAUSE_S)


async def main(spec: HostSpec, directory: Path) -> None:
    """Run every client until the job closes or standard input ends; their files lie in `directory`."""
    split = load_data(spec.run)
    prepared = settle(spec, split)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    limits = httpx.Limits(max_connections=4 * len(spec.clients) + 4)
    async with httpx.AsyncClient(limits=limits) as http:
        work = asyncio.create_task(live(spec, split, prepared, directory, http=http, clock=SystemClock()))
        end = asyncio.create_task(_until_input_ends())
        await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work  # what went wrong must be seen
        for task in (work, end):
            task.cancel()
        await asyncio.gather(work, end, return_exceptions=True)


def settle(spec: HostSpec, split: Split) -> JobFile:
    """Make the job file and model 0, and leave them for who proposes the job if that is this household's part."""
    job_file, model = prepare(spec.run, split, tuple(spec.members))
    if spec.observes:
        leave(Path(spec.preparation), job_file, model)
    return job_file


async def live(
    spec: HostSpec, split: Split, job_file: JobFile, directory: Path, *, http: httpx.AsyncClient, clock: Clock
) -> None:
    """Run every client until the job closes."""
    run = spec.run
    events = EventLog(directory / "accuracy.jsonl")
    journey, finals = Journeys(clock.monotonic(), clock), FinalLog(directory / "final.jsonl")

    def make(client: ClientSpec, share: Indices) -> Client:
        servers = Servers(spec.urls, first=client.first_server, clock=clock, http=http)
        journey.follow(client, servers)
        return Client(
            identity=Identity(
                member=client.member,
                key=keystore.load(Path(client.key), spec.password),
                genesis_hash=bytes.fromhex(spec.genesis_hash),
                ledger=bytes.fromhex(spec.ledger),
            ),
            job=spec.job,
            servers=servers,
            trainer=StreamTrainer(
                flipped(split.train) if client.flips_labels else split.train,
                share,
                seed_of(run.seed, "client", client.member),
            ),
            interval_s=client.interval,
            directory=directory / str(client.member),
            clock=clock,
            told_final=finals.write,
        )

    parts = shares(run, split)
    tasks = [
        asyncio.create_task(journey.live(client, partial(make, client, parts[client.share]))) for client in spec.clients
    ]
    if spec.observes:
        observer = Servers(spec.urls, first=0, clock=clock, http=http)
        module = module_of(job_file.model)
        measuring = evaluate(observer, spec.job, module, split.test, rounds=run.rounds, events=events, clock=clock)
        tasks.append(asyncio.create_task(measuring))
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class FinalLog:
    """What servers said is on the ledger, one JSON object a line: whoever checks the ledger later expects it there."""

    def __init__(self, path: Path) -> None:
        """Append to `path`."""
        self._path = path

    def write(self, record: Record, server: str) -> None:
        """Keep one record."""
        line = {"client": record.client, "job": record.job, "digest": record.digest.hex(), "server": server}
        with self._path.open("ab") as log:
            log.write(msgspec.json.encode(line) + b"\n")


class Journeys:
    """Lets clients go away, come back and move, as their specifications say."""

    def __init__(self, begun: float, clock: Clock) -> None:
        """Count seconds from `begun`, a reading of the monotonic clock."""
        self._begun, self._clock = begun, clock
        self._servers: dict[int, Servers] = {}
        self._moved: dict[int, int] = {}

    def follow(self, client: ClientSpec, servers: Servers) -> None:
        """Know the servers of a client's present life, which begins where the client has moved to."""
        self._servers[client.member] = servers
        if client.member in self._moved:
            servers.go_to(self._moved[client.member])

    async def live(self, client: ClientSpec, make: Callable[[], Client]) -> None:
        """Run a client through its lives until the job closes."""
        moving = asyncio.create_task(self._move(client))
        try:
            for leaves, returns in (*client.away, (math.inf, math.inf)):
                life = asyncio.create_task(_persist(make(), self._clock))
                gone = asyncio.create_task(self._at(leaves))
                try:
                    done, _ = await asyncio.wait({life, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if life in done:
                        return await life
                finally:
                    for task in (life, gone):
                        task.cancel()
                    await asyncio.gather(life, gone, return_exceptions=True)
                _log.info("client %d: away", client.member)
                await self._at(returns)
                _log.info("client %d: back", client.member)
        finally:
            moving.cancel()

    async def _move(self, client: ClientSpec) -> None:
        for when, server in client.moves:
            await self._at(when)
            self._moved[client.member] = server
            if client.member in self._servers:
                self._servers[client.member].go_to(server)
            _log.info("client %d: moves to server %d", client.member, server)

    async def _at(self, seconds: float) -> None:
        while (rest := self._begun + seconds - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(rest, _LONGEST_SLEEP_S))


async def _persist(client: Client, clock: Clock) -> None:
    """Keep a client going while the edge servers are away: that is what the edge is like."""
    while True:
        try:
            await client.run()
        except ServersUnreachableError as error:
            _log.warning("client %d: %s", client.identity.member, error)
            await clock.sleep(1.0)
        else:
            return


async def _until_input_ends() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    host_file = Path(sys.argv[1])
    with (host_file.parent / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however it ends
        asyncio.run(main(read(host_file), host_file.parent))
