"""When a node calls itself ready, and what it says when it is not; what its edge server shows of itself."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from web3.exceptions import Web3Exception

from chain.engines.cometbft.rpc import Status
from chain.engines.errors import CometUnreachableError
from chain.light import Height
from node.machine.health import Health
from node.machine.home import NodeFile, NodeHome, TimingFile
from node.machine.watch import EdgeWatch
from node.rounds.log import RecordStatus

FILE = NodeFile(name="one", p2p=1, comet=2, rpc=3, handover=4, timing=TimingFile(empty=1_000), least_disk_mib=0)


@dataclass
class Hands:
    """A clock that only moves when it is told to."""

    at: float = 100.0

    def monotonic(self) -> float:
        return self.at


@dataclass
class Comet:
    """Stands for CometBFT's RPC."""

    catching_up: bool = False
    down: bool = False
    hangs: bool = False
    url: str = "http://127.0.0.1:2"

    async def status(self) -> Status:
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise CometUnreachableError(self.url, "refused")
        return Status(Height(7), self.catching_up, 3)


@dataclass
class Engine:
    """Stands for the engine."""

    rpc: Comet = field(default_factory=Comet)
    failure: Exception | None = None
    decided_at: float = 100.0


def server(**books: Any) -> Any:
    """Stand for an edge server with these books."""
    blobs = type("Blobs", (), {"used_bytes": 5, "quota_bytes": 9, "__len__": lambda _: 1})()
    return SimpleNamespace(**({"member": 1, "block": 2, "jobs": {}, "refusals": {"busy": 3}, "blobs": blobs} | books))


def problems(engine: Engine, clock: Hands, watch: EdgeWatch | None = None, file: NodeFile = FILE) -> list[str]:
    """Ask the probe; its status must fit what it says."""
    health = Health(NodeHome(Path.cwd()), file, cast("Any", engine), watch, cast("Any", clock))
    answer = asyncio.run(health.ready())
    said = json.loads(bytes(answer.body))
    assert answer.status_code == (503 if said["problems"] else 200)
    assert said["ready"] == (not said["problems"])
    assert not any("\n" in line for line in said["problems"])
    return cast("list[str]", said["problems"])


def test_a_node_whose_heights_come_is_ready() -> None:
    assert problems(Engine(), Hands(102.9)) == []


def test_no_height_for_three_empty_intervals_is_said() -> None:
    (line,) = problems(Engine(), Hands(103.1))
    assert line.startswith("no height for 3 s, an idle ledger makes one every 1 s")


@pytest.mark.parametrize(
    ("comet", "told"),
    [
        (Comet(down=True), "does not answer"),
        (Comet(hangs=True), "has not answered in 0.05 s"),
        (Comet(catching_up=True), "catching up, it is at height 7"),
    ],
)
def test_what_cometbft_lacks_is_said(comet: Comet, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.machine.health.COMET_LIMIT_S", 0.05)
    (line,) = problems(Engine(rpc=comet), Hands())
    assert told in line


def test_a_ledger_that_has_stopped_is_said() -> None:
    assert problems(Engine(failure=ValueError("broken")), Hands()) == ["the ledger has stopped: broken"]


def test_too_little_disk_is_said() -> None:
    (line,) = problems(Engine(), Hands(), file=msgspec.structs.replace(FILE, least_disk_mib=2**40))
    assert "are wanted (least_disk_mib)" in line


def test_steps_that_fail_are_said_until_one_succeeds() -> None:
    clock = Hands()
    watch = EdgeWatch(server(), cast("Any", clock))
    with watch.step():
        message = "too busy"
        raise Web3Exception(message)
    assert problems(Engine(), clock, watch) == ["the edge server's steps fail: too busy"]
    with watch.step():
        pass
    assert problems(Engine(), clock, watch) == []
    assert (watch.steps, watch.failures) == (2, 1)


def test_a_step_that_breaks_for_another_reason_is_not_hidden() -> None:
    watch = EdgeWatch(server(), cast("Any", Hands()))
    with pytest.raises(ZeroDivisionError), watch.step():
        raise ZeroDivisionError


def test_an_edge_server_that_hangs_is_said() -> None:
    clock = Hands()
    watch = EdgeWatch(server(), cast("Any", clock))
    (line,) = problems(Engine(decided_at=161.0), Hands(161.0), watch)
    assert line == "the edge server has finished no step for 61 s"


def test_steps_are_timed_in_buckets() -> None:
    clock = Hands()
    watch = EdgeWatch(server(), cast("Any", clock))
    for took in (0.02, 2.0):
        with watch.step():
            clock.at += took
    assert watch.seconds == pytest.approx(2.02)
    assert watch.longest == pytest.approx(2.0)
    assert watch.buckets == {0.01: 0, 0.03: 1, 0.1: 1, 0.3: 1, 1.0: 1, 3.0: 2, 10.0: 2, 30.0: 2}


def test_records_are_counted_as_they_are_now() -> None:
    clock = Hands()
    names = ["consumed", "void", "pending", "consumed", "available"]
    entries = [SimpleNamespace(status=RecordStatus(name)) for name in names]
    outcomes = [SimpleNamespace(agreed=True), SimpleNamespace(agreed=False), SimpleNamespace(agreed=True)]
    log = SimpleNamespace(job=1, records=entries, outcomes=outcomes, status=SimpleNamespace(value="open"))
    desk = SimpleNamespace(log=log, unsettled={3: 0.0}, offered={1: {1: 1}})
    watch = EdgeWatch(server(jobs={1: desk}), cast("Any", clock))
    with watch.step():
        pass
    assert watch.figures.records == Counter(names)
    entries[2].status = RecordStatus.VOID
    entries[4].status = RecordStatus.CONSUMED
    entries.append(SimpleNamespace(status=RecordStatus.PENDING))
    with watch.step():
        clock.at += 2
    figures = watch.figures
    assert figures.records == {"consumed": 3, "void": 2, "pending": 1}
    assert figures.rounds == {"agreed": 2, "void": 1}
    assert (figures.jobs, figures.unsettled, figures.queued) == ({"open": 1}, 1, 1)
    assert (figures.refusals, figures.blobs, figures.blob_bytes) == ({"busy": 3}, 1, 5)
