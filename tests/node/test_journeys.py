"""Clients go away, come back and move when their specification says so, and what they were told is kept."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from contracts.records import Record
from node.errors import ServersUnreachableError
from node.run.host import ClientSpec, FinalLog, Journeys
from tests.chain.engines.network import GENESIS_SECONDS, VirtualClock

BEGUN = 100.0


class Servers:
    """Notes when it was told to go on with which server."""

    def __init__(self, clock: VirtualClock, born: float) -> None:
        self._clock, self.born = clock, born
        self.moves: list[tuple[float, int]] = []

    def go_to(self, server: int) -> None:
        self.moves.append((seconds(self._clock), server))


class Identity:
    member = 5


class Life:
    """A client that lives until it is ended, or for so many seconds; it notes when it began and ended."""

    identity = Identity()

    def __init__(self, clock: VirtualClock, lasting: float, failing: int) -> None:
        self._clock, self._lasting, self._failing = clock, lasting, failing
        self.began: list[float] = []
        self.ended = -1.0

    async def run(self) -> None:
        self.began.append(seconds(self._clock))
        if len(self.began) <= self._failing:
            message = "nobody answers"
            raise ServersUnreachableError(message)
        try:
            await self._clock.sleep(self._lasting)
        finally:
            self.ended = seconds(self._clock)


def seconds(clock: VirtualClock) -> float:
    return round(clock.monotonic() - BEGUN, 3)


class Stage:
    """One client's journey in virtual time."""

    def __init__(self, spec: dict[str, Any], *, lasting: float = 10_000.0, failing: int = 0) -> None:
        self.clock = VirtualClock(GENESIS_SECONDS + BEGUN)
        self.spec = ClientSpec(member=5, share=0, key="", interval=1.0, first_server=0, **spec)
        self.journeys = Journeys(BEGUN, self.clock)
        self.lives: list[Life] = []
        self.servers: list[Servers] = []
        self._lasting, self._failing = lasting, failing

    def make(self) -> Any:
        servers = Servers(self.clock, seconds(self.clock))
        self.servers.append(servers)
        self.journeys.follow(self.spec, servers)  # type: ignore[arg-type] # what it needs of them
        self.lives.append(Life(self.clock, self._lasting, self._failing))
        return self.lives[-1]

    def play(self, lasts: float) -> bool:
        """Let so much time pass; tell whether the journey is over by then."""

        async def work() -> bool:
            journey = asyncio.create_task(self.journeys.live(self.spec, self.make))
            await self.clock.run(lasts)
            over = journey.done()
            journey.cancel()
            await asyncio.gather(journey, return_exceptions=True)
            await self.clock.run(0)
            assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
            return over

        return asyncio.run(work())


def test_a_client_without_a_journey_lives_once_until_the_job_closes() -> None:
    stage = Stage({}, lasting=50)
    assert stage.play(60)
    assert [(life.began, life.ended) for life in stage.lives] == [([0], 50)]


def test_a_client_is_gone_in_between_and_each_life_is_a_new_one() -> None:
    stage = Stage({"away": ((6, 18), (30, 36))}, lasting=100)
    assert not stage.play(50)
    assert [(life.began, life.ended) for life in stage.lives] == [([0], 6), ([18], 30), ([36], 50)]


def test_a_life_that_ends_with_the_job_is_the_last_one() -> None:
    stage = Stage({"away": ((6, 18), (30, 36))}, lasting=10)
    assert stage.play(29)
    assert [(life.began, life.ended) for life in stage.lives] == [([0], 6), ([18], 28)]


def test_a_client_that_is_away_from_the_beginning_comes_later() -> None:
    stage = Stage({"away": ((0, 7),)})
    stage.play(10)
    assert stage.lives[-1].began == [7]


def test_a_client_moves_when_it_says_and_to_whom() -> None:
    stage = Stage({"moves": ((8, 3), (20, 1))})
    stage.play(30)
    assert [servers.moves for servers in stage.servers] == [[(8, 3), (20, 1)]]


def test_a_client_comes_back_to_where_it_had_moved_and_moves_on() -> None:
    stage = Stage({"away": ((10, 14),), "moves": ((5, 2), (16, 3))})
    stage.play(30)
    assert [servers.moves for servers in stage.servers] == [[(5, 2)], [(14, 2), (16, 3)]]


def test_a_move_while_it_is_gone_holds_when_it_is_back() -> None:
    stage = Stage({"away": ((10, 20),), "moves": ((15, 3),)})
    stage.play(30)
    assert stage.servers[-1].born == 20
    assert [servers.moves for servers in stage.servers] == [[(15, 3)], [(20, 3)]]


def test_a_client_that_reaches_nobody_tries_again_each_second() -> None:
    stage = Stage({}, lasting=5, failing=3)
    assert stage.play(20)
    assert stage.lives[0].began == [0, 1, 2, 3]


def test_a_mistake_of_ours_ends_the_journey_and_is_seen() -> None:
    async def work() -> None:
        stage = Stage({"away": ((50, 60),), "moves": ((55, 1),)})

        class Broken(Life):
            async def run(self) -> None:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await stage.journeys.live(stage.spec, lambda: Broken(stage.clock, 1, 0))  # type: ignore[arg-type, return-value] # as above

    asyncio.run(work())


def record(number: int) -> Record:
    return Record(job=1, client=number, base=0, counter=0, digest=bytes([number]) * 32, length=1, expiry=10)


def test_what_is_final_is_kept_a_line_each_across_processes(tmp_path: Path) -> None:
    path = tmp_path / "final.jsonl"
    FinalLog(path).write(record(5), "http://one")
    FinalLog(path).write(record(6), "http://two")
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"client": 5, "job": 1, "digest": "05" * 32, "server": "http://one"},
        {"client": 6, "job": 1, "digest": "06" * 32, "server": "http://two"},
    ]
