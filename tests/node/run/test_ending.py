"""How a run ends: when it lets its job close, and which version is its model, however many records still wait."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from learner import models
from learner.data.dataset import Dataset
from node.rounds.attestation import encode_model
from node.run.config import RunFile
from node.run.events import Accuracy, EventLog
from node.run.host import evaluate
from node.run.session import JOB, Session
from tests.node.edge.world import HandClock
from tests.node.test_selection import Story, terms

ROUNDS = 3
PHI = 2


def run_with(directory: Path, story: Story, measured: dict[int, float], *, target: float = 0.0) -> Session:
    """Return a run of three rounds whose edge servers have read a story and whose clients have measured versions."""
    accuracy = EventLog(directory / "clients" / "accuracy.jsonl")
    for version, share in measured.items():
        accuracy.write(Accuracy(seconds=1000.0 + version, version=version, accuracy=share, loss=None))
    run = RunFile(rounds=ROUNDS, target_accuracy=target)
    session = Session(directory, run, HandClock(1000.0), lambda _: None, source="test")
    desk: Any = SimpleNamespace(log=story.log, vesting=SimpleNamespace(settled={}))
    server = SimpleNamespace(jobs={JOB: desk}, refusals={}, member=1)
    session.servers = SimpleNamespace(servers=[server])  # type: ignore[assignment]
    session._household = SimpleNamespace(check=lambda: None)  # type: ignore[assignment] # noqa: SLF001 - see above
    session._report()  # noqa: SLF001 - what every step does
    return session


def backlog(rounds: int, *, records: int) -> Story:
    """Return a log of which so many rounds are decided and so many records wait."""
    story = Story(terms(phi=PHI, max_staleness=8))
    count = PHI * rounds + records
    story.block(101, records=[(client, 0, f"{client}") for client in range(count)])
    story.hold(102)
    for _ in range(rounds):
        story.agree(103)
    return story


def test_a_job_may_close_as_soon_as_its_last_round_is_certain(tmp_path: Path) -> None:
    for rounds, records, enough in ((0, 5, False), (0, 6, True), (2, 1, False), (2, 2, True), (3, 0, True)):
        session = run_with(tmp_path / f"{rounds} {records}", backlog(rounds, records=records), {})
        assert session.enough() is enough, (rounds, records)


def test_records_that_are_not_available_yet_close_nothing(tmp_path: Path) -> None:
    story = backlog(2, records=1)
    story.block(104, records=[(client, 2, f"new {client}") for client in range(20)])
    assert not run_with(tmp_path, story, {}).enough()


def test_the_model_is_that_of_the_planned_round_whatever_a_backlog_makes_after_it(tmp_path: Path) -> None:
    measured = {1: 0.4, 2: 0.6, 3: 0.7, 4: 0.5, 5: 0.19}
    session = run_with(tmp_path, backlog(5, records=0), measured)
    assert (session.model_version, session.accuracy) == (3, 0.7)


def test_the_model_is_the_first_on_target_whatever_a_backlog_makes_after_it(tmp_path: Path) -> None:
    session = run_with(tmp_path, backlog(2, records=0), {1: 0.8, 2: 0.2}, target=0.75)
    assert session.enough()
    assert (session.model_version, session.accuracy) == (1, 0.8)


def test_the_newest_version_is_the_model_of_a_job_that_ended_early(tmp_path: Path) -> None:
    session = run_with(tmp_path, backlog(2, records=0), {1: 0.4})
    assert (session.model_version, session.accuracy) == (2, 0.4)


class Answers:
    """An edge server that is further each time somebody asks for its job; the last answer says that it is closed."""

    def __init__(self, *versions: int) -> None:
        self._versions = list(versions)

    async def request(self, method: str, path: str, **_: object) -> Any:
        assert method == "GET"
        *_, kind, name = path.split("/")
        match kind:
            case "blobs":
                return SimpleNamespace(is_success=True, content=encode_model(np.zeros(models.dimension(MODULE)), 16))
            case "models":
                return answer({"model": name})
        version = self._versions[0] if len(self._versions) == 1 else self._versions.pop(0)
        return answer(
            {"version": version, "model": f"{version}", "status": "open" if len(self._versions) > 1 else "closed"}
        )


def answer(content: dict[str, object]) -> Any:
    return SimpleNamespace(is_success=True, json=lambda: content)


MODULE = models.build("softmax", features=4, classes=2)
TEST = Dataset(np.zeros((2, 4), dtype=np.float32), np.zeros(2, dtype=np.int64), 2)


def measured_versions(directory: Path, *versions: int) -> list[int]:
    events = EventLog(directory / "accuracy.jsonl")
    servers: Any = Answers(*versions)
    asyncio.run(evaluate(servers, JOB, MODULE, TEST, rounds=ROUNDS, events=events, clock=HandClock(0.0)))
    return [event.version for event in events.read() if isinstance(event, Accuracy)]


def test_the_planned_version_is_measured_even_if_newer_ones_come_at_once(tmp_path: Path) -> None:
    assert measured_versions(tmp_path / "passed over", 1, 5, 7) == [1, 3, 7]
    assert measured_versions(tmp_path / "in its turn", 2, 3, 4) == [2, 3, 4]
    assert measured_versions(tmp_path / "never made", 1, 2) == [1, 2]
