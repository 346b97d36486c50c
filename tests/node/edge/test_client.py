"""A client among edge servers that die, lie and lose answers; time is virtual, HTTP stays in the process."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts import bindings, events
from contracts.records import Record, ReportingHeader, blob_digest
from learner.allocation.plan import Plan, Share, Task
from node.client import (
    BACKOFF_FIRST_S,
    BACKOFF_MOST_S,
    MAX_ANSWER_BYTES,
    UNRECORDED_ATTEMPTS,
    Client,
    Identity,
    JobView,
    Servers,
    parsed,
)
from node.edge.intake import Intake
from node.edge.server import Answer
from node.errors import ServersUnreachableError
from node.jobs import AllocationSpec, JobFile
from node.rounds.attestation import decode_update, encode_model
from tests.node.edge.conftest import Worlds
from tests.node.edge.world import (
    DIMENSION,
    FRACTION_BITS,
    GENESIS_HASH,
    SERVERS,
    SHIFT,
    TOKEN,
    DeniesAll,
    HandClock,
    World,
)

Answering = Callable[[int, httpx.Request, httpx.Response], httpx.Response | None]
"""What becomes of a server's answer on its way: (server, request, answer); None when it is lost."""

DEEP = b'{"status": "queued", "other": ' + b"[" * 1_000_000


def honestly(_: int, __: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
    return answer


class Shared(HandClock):
    """The world's clock under other habits of waiting."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock.time)
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Coarse(Shared):
    """Looks again after half a second at the earliest."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(max(seconds, 0.5))


class Recorder(Shared):
    """Notes every pause."""

    def __init__(self, clock: HandClock, slept: list[float]) -> None:
        super().__init__(clock)
        self._slept = slept

    async def sleep(self, seconds: float) -> None:
        self._slept.append(seconds)
        await super().sleep(seconds)


class Network(httpx.AsyncBaseTransport):
    """The servers by host name (`http://server-1`); a dead one refuses the connection."""

    def __init__(self, world: World, answering: Answering) -> None:
        self._world = world
        self._answering = answering
        self._clock = Coarse(world.clock)
        self.asked: list[tuple[int, str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        member = int(request.url.host.removeprefix("server-"))
        self.asked.append((member, request.method, request.url.path))
        if member in self._world.dead:
            raise httpx.ConnectError(request.url.host, request=request)
        app = Intake(self._world.servers[member], self._clock).app
        answer = await httpx.ASGITransport(app).handle_async_request(request)
        await answer.aread()
        passed = self._answering(member, request, answer)
        if passed is None:
            raise httpx.ReadTimeout(request.url.host, request=request)
        return passed


class OutOfDataError(Exception):
    """The trainer was told of no further training."""


class Learner:
    """A trainer that adds one delta a training, and has no data for more; it notes when it trained on what."""

    def __init__(self, clock: HandClock, deltas: Sequence[float | NDArray[np.float64]]) -> None:
        self._clock = clock
        self._deltas = deltas
        self.times: list[float] = []
        self.bases: list[list[float]] = []
        self.steps: list[int] = []
        self.tasks: list[Task] = []

    def train(self, parameters: NDArray[np.float64], job: JobFile, step: int, task: Task) -> NDArray[np.float64]:  # noqa: ARG002
        if len(self.steps) == len(self._deltas):
            raise OutOfDataError
        self.times.append(self._clock.monotonic())
        self.bases.append(list(parameters))
        self.steps.append(step)
        self.tasks.append(task)
        return parameters + self._deltas[len(self.steps) - 1]


class Stage:
    """One client (the n-th, from 1) of a world's job."""

    def __init__(
        self,
        world: World,
        directory: Path,
        *,
        deltas: Sequence[float | NDArray[np.float64]] = (0.5,),
        answering: Answering = honestly,
        first: int = 1,
        interval_s: float = 10.0,
    ) -> None:
        self.world = world
        self.learner = Learner(world.clock, deltas)
        self.network = Network(world, answering)
        self.slept: list[float] = []
        self.told: list[tuple[Record, str]] = []
        self._directory, self._first, self._interval_s = directory, first, interval_s

    @contextlib.asynccontextmanager
    async def client(self, number: int = 1) -> AsyncGenerator[Client]:
        """Give a client that picks up what the directory holds."""
        clock = Recorder(self.world.clock, self.slept)
        async with httpx.AsyncClient(transport=self.network) as http:
            urls = [f"http://server-{member}" for member in self.world.servers]
            yield Client(
                identity=Identity(
                    SERVERS + number, self.world.cast.clients[number - 1], GENESIS_HASH, self.world.cast.ledger
                ),
                job=self.world.job,
                servers=Servers(urls, first=self._first - 1, clock=clock, http=http),
                trainer=self.learner,
                interval_s=self._interval_s,
                directory=self._directory,
                clock=clock,
                told_final=lambda record, server: self.told.append((record, server)),
            )

    def live(self, until: Callable[[], bool]) -> bool:
        """Let client and servers live until the world is so, then kill the client; True if it ended by itself."""
        return asyncio.run(self._live(until))

    async def _live(self, until: Callable[[], bool]) -> bool:
        async with self.client() as client:
            task = asyncio.create_task(self._work(client))
            for _ in range(3000):
                if until() or (task.done() and not task.result()):
                    break
                self.world.chain.jump(int(self.world.clock.time))
                self.world.step()
                await asyncio.sleep(0)  # noqa: TID251 - lets the client run, waits for nothing
            ended = task.done() and not task.result()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert ended or until(), "the client does not get there"
        return ended

    @staticmethod
    async def _work(client: Client) -> bool:
        """Tell whether the client would train more."""
        try:
            await client.run()
        except OutOfDataError:
            return True
        return False

    def uploads(self) -> list[tuple[int, str]]:
        return [(member, method) for member, method, _ in self.network.asked if method in {"POST", "PUT"}]


@pytest.fixture
def world(worlds: Worlds) -> World:
    """Give a world whose rounds need one update."""
    made = worlds()
    made.open(phi=1)
    return made


def paid(world: World, rounds: int) -> Callable[[], bool]:
    """Tell whether so many rounds are paid."""
    return lambda: any(len(world.log(member).settled) >= rounds for member in world.servers if member not in world.dead)


def recorded(world: World) -> list[events.Recorded]:
    return world.events(events.Recorded)


def never() -> bool:
    return False


# -- what a client does ---------------------------------------------------------------------------------------------


def test_a_client_works_as_the_plan_says_and_reports_what_it_did(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds()
    world.open(phi=1, allocation=AllocationSpec(rule="exact", cycle_us=4_000_000, most_samples=160))
    stage = Stage(world, tmp_path / "client", deltas=(0.5, 0.25), interval_s=10.0)
    stage.live(paid(world, 2))
    log, start = world.log(), world.file.training
    headers = [decode_update(world.stores[1].get(entry.digest))[0] for entry in log.records[:2]]
    reports = [header.report for header in headers if isinstance(header, ReportingHeader)]
    share = Plan.decode(world.stores[1].get(log.plan_at(1))).share_of(SERVERS + 1)
    assert share is not None
    assert stage.learner.tasks == [
        Task(start.samples // 8, 1, 0),
        Task(share.samples, share.epochs, start.samples // 8),
    ]
    done = [(task.samples, task.epochs) for task in stage.learner.tasks]
    assert [(one.samples, one.epochs) for one in reports] == done
    assert reports[0].training_us >= 10_000_000 * 2 // (start.samples * start.epochs), (
        "its share of the time that the job's own work takes it"
    )
    assert share.epochs < start.epochs, "that was longer than the cycle"


def test_a_plan_beyond_the_jobs_bounds_binds_no_client(worlds: Worlds, tmp_path: Path) -> None:
    """A quorum may attest what it likes; a client need not train for ever."""
    world = worlds()
    world.open(phi=1, allocation=AllocationSpec(rule="exact", cycle_us=4_000_000, most_samples=30, most_epochs=6))
    wrong = Plan(1, (Share(SERVERS + 1, 1, 2**32 - 1, 2**32 - 1, 1, 1, 1),)).encode()
    for store in world.stores.values():
        store.put(wrong)

    def lying(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        del member
        if not request.url.path.startswith("/v1/jobs/") or "allocation" not in answer.text:
            return answer
        return httpx.Response(200, json=answer.json() | {"allocation": blob_digest(wrong).hex()})

    stage = Stage(world, tmp_path / "client", answering=lying)
    stage.live(lambda: bool(stage.learner.tasks))
    assert stage.learner.tasks == [Task(30, 6, 0)]


def test_a_client_trains_signs_and_delivers_until_the_job_closes(world: World, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path / "client", deltas=(0.5, 0.25))
    stage.live(paid(world, 2))
    world.to_ledger(world.cast.sponsor, bindings.Ledger.encode_close_job(world.job))
    world.run()
    assert stage.live(never), "it ends by itself"
    first, second = recorded(world)[:2]
    assert [(event.client, event.base, event.counter) for event in (first, second)] == [(5, 0, 0), (5, 1, 0)]
    assert stage.learner.bases[:2] == [[0.0] * DIMENSION, [0.5] * DIMENSION], "it learns from the newest model"
    assert world.ledger.credited(5) == 20 * TOKEN


@pytest.mark.parametrize("interval_s", [10.0, 45.0])
def test_a_client_trains_when_its_data_have_come_and_not_before(
    world: World, tmp_path: Path, interval_s: float
) -> None:
    began = world.clock.monotonic()
    stage = Stage(world, tmp_path / "client", deltas=(0.5, 0.25, 0.75, 0.125), interval_s=interval_s)
    stage.live(paid(world, 4))
    assert stage.learner.steps == [0, 1, 2, 3]
    assert stage.learner.times[0] >= began + interval_s
    assert all(late - early >= interval_s for early, late in itertools.pairwise(stage.learner.times))


def test_a_client_faster_than_the_rounds_waits_for_a_version_it_has_not_used(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds()
    world.open(phi=2, record_deadline=10_000, max_wait=10_000)
    stage = Stage(world, tmp_path / "client", deltas=(0.5, 0.25))
    began = world.clock.monotonic()
    stage.live(lambda: world.clock.monotonic() > began + 60)
    assert len(recorded(world)) == 1
    assert stage.learner.steps == [0]


def test_what_rounding_left_is_carried_into_the_next_update(world: World, tmp_path: Path) -> None:
    unit = 2.0**-FRACTION_BITS
    deltas = [np.array([step, 0, 0, 0, 0, 1 / 3]) * unit for step in (1, 2, 3)]
    Stage(world, tmp_path / "client", deltas=deltas).live(paid(world, 3))
    sent = [np.frombuffer(world.stores[1].get(event.digest)[-2:], dtype="<i2")[0] for event in recorded(world)]
    assert sent == [0, 1, 0], "three thirds make one"


def test_what_the_ledger_holds_is_told_once_for_each_record_with_the_server_that_said_so(
    world: World, tmp_path: Path
) -> None:
    stage = Stage(world, tmp_path / "client", deltas=(0.5, 0.25), first=2)
    stage.live(paid(world, 2))
    assert [(record.digest, server) for record, server in stage.told] == [
        (event.digest, "http://server-2") for event in recorded(world)
    ]


def test_a_final_record_is_told_once_though_its_server_dies_before_the_blob(world: World, tmp_path: Path) -> None:
    def dies(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if member == 1 and request.method == "PUT":
            world.dead.add(1)
            return None
        return answer

    stage = Stage(world, tmp_path / "client", answering=dies)
    stage.live(paid(world, 1))
    assert [(record.digest, server) for record, server in stage.told] == [
        (recorded(world)[0].digest, "http://server-1")
    ]


def test_what_no_server_says_is_on_the_ledger_is_not_told(world: World, tmp_path: Path) -> None:
    def refuses(_: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if request.method == "POST":
            return httpx.Response(200, json={"status": "refused", "reason": "no", "kind": "signature"})
        return answer

    stage = Stage(world, tmp_path / "client", answering=refuses)
    stage.live(lambda: len(stage.uploads()) >= 2)
    assert stage.told == []


# -- servers that fail ----------------------------------------------------------------------------------------------


def test_a_dead_server_is_changed_for_the_next_one(world: World, tmp_path: Path) -> None:
    world.dead.add(1)
    stage = Stage(world, tmp_path / "client", first=1)
    stage.live(paid(world, 1))
    assert {member for member, _ in stage.uploads()} == {2}
    assert stage.network.asked[0][0] == 1


def test_a_server_that_dies_between_record_and_blob_is_changed_and_nothing_is_recorded_twice(
    world: World, tmp_path: Path
) -> None:
    def dies(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if member == 1 and request.method == "PUT":
            world.dead.add(1)
            return None
        return answer

    stage = Stage(world, tmp_path / "client", answering=dies)
    stage.live(paid(world, 1))
    assert [member for member, method in stage.uploads() if method == "PUT"] == [1, 2]
    assert len(recorded(world)) == 1
    assert world.ledger.credited(5) == 10 * TOKEN


def test_lost_answers_are_asked_for_again_with_growing_pauses_and_nothing_happens_twice(
    world: World, tmp_path: Path
) -> None:
    """Every upload arrives and its answer is lost, five times each."""
    lost = {"POST": 5, "PUT": 5}

    def loses(_: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if lost.get(request.method, 0) > 0:
            lost[request.method] -= 1
            return None
        return answer

    stage = Stage(world, tmp_path / "client", answering=loses)
    stage.live(paid(world, 1))
    assert lost == {"POST": 0, "PUT": 0}
    assert len(recorded(world)) == 1
    assert {event.digest for event in world.events(events.Refused)} <= {recorded(world)[0].digest}
    assert world.ledger.credited(5) == 10 * TOKEN
    pauses = [BACKOFF_FIRST_S * 2**n for n in range(5)]
    assert any(stage.slept[at : at + 5] == [min(p, BACKOFF_MOST_S) for p in pauses] for at in range(len(stage.slept)))


def test_with_every_server_dead_the_pauses_grow_to_a_bound_and_the_client_says_so(world: World, tmp_path: Path) -> None:
    world.dead |= set(world.servers)
    stage = Stage(world, tmp_path / "client")
    with pytest.raises(ServersUnreachableError, match=r"none of http://server-1, .* answers: are the edge servers"):
        stage.live(never)
    assert {member for member, _, _ in stage.network.asked} == set(world.servers)
    pauses = stage.slept[1:]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (BACKOFF_FIRST_S, BACKOFF_MOST_S)


# -- restarts -------------------------------------------------------------------------------------------------------


def test_an_update_that_nobody_took_is_delivered_after_a_restart_without_training_again(
    world: World, tmp_path: Path
) -> None:
    first = Stage(world, tmp_path / "client")
    kept = tmp_path / "client" / "undelivered"
    first.live(kept.exists)
    assert recorded(world) == []
    signed = kept.read_bytes()

    second = Stage(world, tmp_path / "client", deltas=())
    second.live(paid(world, 1))
    (event,) = recorded(world)
    assert signed.endswith(world.stores[1].get(event.digest)), "the same bytes"
    third = Stage(world, tmp_path / "client", deltas=(0.25,))
    third.live(paid(world, 2))
    assert third.learner.steps == [1], "it goes on where it stood"


def test_a_blob_whose_record_is_final_is_delivered_after_a_restart(world: World, tmp_path: Path) -> None:
    first = Stage(world, tmp_path / "client")
    first.live(lambda: len(recorded(world)) == 1)
    assert (5, "PUT") not in first.uploads()
    assert [method for _, method in first.uploads()] == ["POST"]
    second = Stage(world, tmp_path / "client", deltas=(), first=2)
    second.live(paid(world, 1))
    assert len(recorded(world)) == 1
    assert world.ledger.credited(5) == 10 * TOKEN


def test_a_client_that_stops_before_its_mark_is_written_signs_no_other_record_in_the_same_place(
    world: World, tmp_path: Path
) -> None:
    first = Stage(world, tmp_path / "client")
    first.live((tmp_path / "client" / "undelivered").exists)
    (tmp_path / "client" / "state.json").unlink()
    second = Stage(world, tmp_path / "client", deltas=(0.25,))
    second.live(paid(world, 2))
    assert [(event.base, event.counter) for event in recorded(world)] == [(0, 0), (1, 0)]
    assert world.events(events.Refused) == []


# -- servers that lie -----------------------------------------------------------------------------------------------


def forged(model: bytes) -> Answering:
    """Let server 1 give these bytes for every blob that a client asks for."""

    def forge(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if member == 1 and request.method == "GET" and request.url.path.startswith("/v1/blobs/"):
            return httpx.Response(200, content=model)
        return answer

    return forge


WRONG_MODEL = encode_model(np.full(DIMENSION, 7, dtype=np.int32), FRACTION_BITS + SHIFT)


def test_a_model_that_does_not_hash_to_its_name_is_fetched_from_another_server(world: World, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path / "client", answering=forged(WRONG_MODEL))
    stage.live(paid(world, 1))
    assert stage.learner.bases == [[0.0] * DIMENSION]


def test_a_model_that_only_one_server_names_is_not_trained_on(world: World, tmp_path: Path) -> None:
    """The digest, the blob and the version agree with each other; but f + 1 servers must say so, and only one does."""

    def lies(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        path = request.url.path
        if member != 1 or not answer.is_success:
            return answer
        if path == f"/v1/jobs/{world.job}":
            return httpx.Response(200, json=answer.json() | {"model": blob_digest(WRONG_MODEL).hex()})
        if path == f"/v1/blobs/{blob_digest(WRONG_MODEL).hex()}":
            return httpx.Response(200, content=WRONG_MODEL)
        return answer

    stage = Stage(world, tmp_path / "client", answering=lies)
    stage.live(paid(world, 1))
    assert stage.learner.bases == [[0.0] * DIMENSION]


def test_a_job_file_that_only_one_server_names_is_not_believed(world: World, tmp_path: Path) -> None:
    digest = "ab" * 32

    def lies(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if member == 1 and answer.is_success and request.url.path == f"/v1/jobs/{world.job}":
            return httpx.Response(200, json=answer.json() | {"job_file": digest})
        return answer

    stage = Stage(world, tmp_path / "client", answering=lies)
    stage.live(paid(world, 1))
    assert not [path for _, _, path in stage.network.asked if digest in path]


def test_the_word_of_one_server_ends_no_clients_work(world: World, tmp_path: Path) -> None:
    def lies(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if member == 1 and answer.is_success and request.url.path == f"/v1/jobs/{world.job}":
            return httpx.Response(200, json=answer.json() | {"status": "closed"})
        return answer

    stage = Stage(world, tmp_path / "client", answering=lies)
    assert not stage.live(paid(world, 1))


def test_a_blob_that_one_server_calls_invalid_is_brought_to_another(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds({1: DeniesAll})
    world.open(phi=1)
    world.silent.add(1)
    stage = Stage(world, tmp_path / "client")
    stage.live(paid(world, 1))
    assert [member for member, method in stage.uploads() if method == "PUT"] == [1, 2]
    assert stage.learner.steps == [0], "the same update"
    assert world.ledger.credited(5) == 10 * TOKEN


@pytest.mark.parametrize(
    "lie",
    [
        {"status": "refused", "reason": "no", "kind": "signature"},
        {"status": "refused", "reason": "no", "kind": "busy"},
        {"status": "queued"},
        {"status": "pending"},
        {"status": "unknown"},
    ],
)
def test_a_record_that_one_server_does_not_take_is_brought_to_another(
    world: World, tmp_path: Path, lie: dict[str, str]
) -> None:
    """Server 1 keeps what it is given to itself, whatever it says."""

    def lies(member: int, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if member == 1 and "/records" in request.url.path:
            return httpx.Response(200, json=lie)
        return answer

    stage = Stage(world, tmp_path / "client", answering=lies)
    world.servers[1].offer_record = lambda data: Answer("queued")  # type: ignore[method-assign]  # noqa: ARG005
    stage.live(paid(world, 1))
    assert stage.learner.steps == [0]


def test_a_server_that_never_sees_the_record_is_changed_for_the_next_one(world: World, tmp_path: Path) -> None:
    unseen = Answer("refused", "no final record names this blob", kind="unrecorded")
    world.servers[1].offer_blob = lambda digest, data: unseen  # type: ignore[method-assign]  # noqa: ARG005
    stage = Stage(world, tmp_path / "client")
    stage.live(paid(world, 1))
    assert [member for member, method in stage.uploads() if method == "PUT"] == [1] * UNRECORDED_ATTEMPTS + [2]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"<html>", b"\xff", DEEP, b"[" * 100_000])
def test_an_answer_that_is_no_answer_is_treated_as_none(world: World, tmp_path: Path, body: bytes) -> None:
    assert parsed(httpx.Response(200, content=body), JobView) is None

    def garbles(member: int, _: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        return httpx.Response(200, content=body) if member == 1 else answer

    stage = Stage(world, tmp_path / "client", answering=garbles)
    stage.live(paid(world, 1))
    assert stage.learner.steps == [0]


def test_an_answer_longer_than_any_may_be_is_cut_off_and_the_server_changed(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def floods(member: int, _: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        return httpx.Response(200, content=answer.content + b" " * MAX_ANSWER_BYTES) if member == 1 else answer

    stage = Stage(world, tmp_path / "client", answering=floods)
    stage.live(paid(world, 1))
    assert {member for member, _ in stage.uploads()} == {2}
    assert f"http://server-1 sends more than {MAX_ANSWER_BYTES} bytes" in caplog.text


# -- updates that cannot be sent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        (np.nan, "NaN or infinity"),
        (np.inf, "NaN or infinity"),
        (-np.inf, "NaN or infinity"),
        (np.array([0, 0, np.nan, 0, 0, 0]), "NaN or infinity"),
        (1e300, "does not fit int16"),
        (np.array([128.0, 0, 0, 0, 0, 0]), "does not fit int16"),
        (60.0, "is beyond the job's bound"),
    ],
)
def test_training_that_diverges_sends_nothing_says_why_and_does_better_on_the_next_version(
    world: World,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    delta: float | NDArray[np.float64],
    words: str,
) -> None:
    stage = Stage(world, tmp_path / "client", deltas=(delta, 0.5))
    with caplog.at_level(logging.WARNING, logger="node.client"):
        stage.live(lambda: len(stage.learner.steps) == 1 and (tmp_path / "client" / "state.json").exists())
    (line,) = [record.getMessage() for record in caplog.records if record.name == "node.client"]
    assert line.startswith("client 5 sends nothing for version 0: ")
    assert words in line
    assert stage.uploads() == []
    assert not (tmp_path / "client" / "undelivered").exists()

    world.round(2)
    stage.live(paid(world, 2))
    assert stage.learner.steps == [0, 1]
    assert [event.client for event in recorded(world)] == [6, 5]


def test_the_norm_bound_itself_is_sent(world: World, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path / "client", deltas=(np.array([100.0, 0, 0, 0, 0, 0]),))
    stage.live(paid(world, 1))
    assert world.ledger.credited(5) == 10 * TOKEN
