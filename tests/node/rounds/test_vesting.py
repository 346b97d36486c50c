"""By which round held pay is settled: the newest agreed one in time, or before the job's end."""

from types import SimpleNamespace
from typing import Any

import pytest

from contracts.events import Credited, Forfeited, Judged, Vested
from node.rounds.log import BlockEvents, JobStatus
from node.rounds.vesting import VestingLog, decider

PLACE = (1, 0, b"")


def log(outcomes: str, *, vests: int = 2, status: JobStatus = JobStatus.OPEN) -> Any:
    """Return a log of decided rounds, a letter each: a agreed, v void."""
    decided = [SimpleNamespace(agreed=letter == "a") for letter in outcomes]
    return SimpleNamespace(outcomes=decided, version=len(decided), vests=vests, status=status)


@pytest.mark.parametrize(
    ("outcomes", "status", "expected"),
    [
        ("aa", JobStatus.OPEN, None),
        ("aa", JobStatus.CLOSING, None),
        ("aaa", JobStatus.OPEN, 3),
        ("aaaaa", JobStatus.OPEN, 3),
        ("aav", JobStatus.OPEN, 2),
        ("avv", JobStatus.OPEN, 1),
        ("avva", JobStatus.OPEN, 1),
        ("aa", JobStatus.CLOSED, 2),
        ("av", JobStatus.CLOSED, 1),
        ("a", JobStatus.CLOSED, 1),
    ],
)
def test_the_newest_agreed_round_up_to_the_due_one_decides(
    outcomes: str, status: JobStatus, expected: int | None
) -> None:
    assert decider(1, log(outcomes, status=status)) == expected


def observed(*events: Any, vests: int = 2) -> VestingLog:
    found = VestingLog(1)
    for event in events:
        found.observe(BlockEvents(1, 0, (event,)), log("", vests=vests))
    return found


def credited(client: int, reward: int, *, job: int = 1) -> Credited:
    return Credited(*PLACE, job, 1, client, 10**9, reward)


def test_a_round_is_held_until_each_of_its_clients_is_settled() -> None:
    pay = [credited(5, 10), credited(5, 1), credited(6, 7), credited(7, 0), credited(8, 3, job=2)]
    assert observed(*pay).held == {1: {5: 11, 6: 7}}
    first = Vested(*PLACE, 1, 1, 5, 3, 11)
    last = Forfeited(*PLACE, 1, 1, 6, 3, 7)
    assert observed(*pay, Judged(*PLACE, 1, 3, (64,)), first).held == {1: {6: 7}}
    done = observed(*pay, first, last)
    assert done.held == {}
    assert done.settled == {1: [first, last]}


def test_a_job_that_pays_at_once_holds_nothing() -> None:
    assert observed(credited(5, 10), vests=0).held == {}
