"""Transactions go to whoever proposes next, over connections that come back, and a slow peer holds nobody up."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from chain.engines.cometbft import handover
from chain.engines.cometbft.handover import UNSENT_BYTES, HandOver
from chain.engines.cometbft.server import delimited
from chain.engines.errors import HandOverError
from chain.limits import TRANSACTION_BYTES
from merit.clock import SystemClock
from tests.chain.engines.network import VirtualClock, turn

NAMES = (b"a", b"b", b"c", b"d")
GUARD_S = 60.0
ANYWHERE = ("127.0.0.1", 0)


def go(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, GUARD_S))


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await SystemClock().sleep(0.002)


class Node:
    """A side that only takes."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.side = HandOver(ANYWHERE, {}, self.taken.append, SystemClock())

    async def start(self) -> tuple[str, int]:
        await self.side.start()
        return place_of(self.side)


def place_of(side: HandOver) -> tuple[str, int]:
    server = side._server  # noqa: SLF001 - port 0 was asked for
    assert server is not None
    return "127.0.0.1", int(server.sockets[0].getsockname()[1])


def reaches(side: HandOver, count: int) -> bool:
    return sum(line._writer is not None for line in side._lines.values()) == count  # noqa: SLF001 - nothing tells it


@contextlib.asynccontextmanager
async def among(count: int) -> AsyncIterator[tuple[HandOver, list[Node]]]:
    """A node that is connected to so many others, in the order of `NAMES`."""
    nodes = [Node() for _ in range(count)]
    peers = {name: await node.start() for name, node in zip(NAMES, nodes, strict=False)}
    side = HandOver(ANYWHERE, peers, lambda _: None, SystemClock())
    await side.start()
    await until(lambda: reaches(side, count))
    try:
        yield side, nodes
    finally:
        await side.stop()
        for node in nodes:
            await node.side.stop()


def test_what_is_handed_over_arrives_as_it_was_whatever_its_length() -> None:
    async def work() -> None:
        async with among(1) as (side, (node,)):
            sent = [b"", b"x", bytes(127), bytes(128), bytes(range(256)) * 1000, b"y" * TRANSACTION_BYTES]
            for raw in sent:
                side.send(raw, 1)
                await until(lambda: len(node.taken) == len(sent) or node.taken[-1:] == [raw])  # noqa: B023 - at once
            assert node.taken == sent

    go(work())


def test_a_transaction_goes_to_as_many_nodes_as_asked_and_to_no_more() -> None:
    async def work() -> None:
        async with among(4) as (side, nodes):
            side.send(b"one", 2)
            side.send(b"all", 9)
            await until(lambda: all(b"all" in node.taken for node in nodes))
            assert [node.taken for node in nodes] == [[b"one", b"all"], [b"one", b"all"], [b"all"], [b"all"]]

    go(work())


def test_whoever_has_proposed_waits_for_everybody_elses_turn() -> None:
    async def work() -> None:
        async with among(4) as (side, nodes):
            for height in range(6):
                side.send(b"%d" % height, 1)
                side.proposed(NAMES[height % 4])
                side.proposed(b"a stranger")
            await until(lambda: sum(len(node.taken) for node in nodes) == 6)
            assert [node.taken for node in nodes] == [[b"0", b"4"], [b"1", b"5"], [b"2"], [b"3"]]

    go(work())


def test_who_cannot_be_reached_is_passed_over() -> None:
    async def work() -> None:
        async with among(3) as (side, nodes):
            await nodes[0].side.stop()
            await until(lambda: reaches(side, 2))
            side.send(b"x", 2)
            await until(lambda: nodes[1].taken == [b"x"] and nodes[2].taken == [b"x"])
            assert nodes[0].taken == []

    go(work())


def test_with_nobody_there_a_transaction_is_dropped_without_a_word() -> None:
    async def work() -> None:
        side = HandOver(ANYWHERE, {b"a": ("127.0.0.1", 1)}, lambda _: None, SystemClock())
        await side.start()
        side.send(b"x", 3)
        await side.stop()

    go(work())


def test_a_node_that_comes_back_is_reached_again() -> None:
    async def work() -> None:
        first = Node()
        place = await first.start()
        side = HandOver(ANYWHERE, {b"a": place}, lambda _: None, SystemClock())
        await side.start()
        await until(lambda: reaches(side, 1))
        await first.side.stop()
        await until(lambda: reaches(side, 0))
        taken: list[bytes] = []
        again = HandOver(place, {}, taken.append, SystemClock())
        await again.start()
        await until(lambda: reaches(side, 1))
        side.send(b"x", 1)
        await until(lambda: taken == [b"x"])
        await side.stop()
        await again.stop()

    go(work())


def test_who_cannot_be_reached_is_tried_once_in_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, int]] = []

    async def refuse(*place: Any) -> Any:
        tried.append(place)
        raise ConnectionRefusedError

    async def work() -> None:
        clock = VirtualClock()
        side = HandOver(ANYWHERE, {b"a": ("far", 1)}, lambda _: None, clock)
        await side.start()
        with monkeypatch.context() as away:
            away.setattr(asyncio, "open_connection", refuse)
            await clock.run(10.5)
        assert tried == [("far", 1)] * 11
        await side.stop()

    go(work())


@pytest.mark.parametrize("error", [TimeoutError(110, "timed out"), OSError(113, "no route to host"), BrokenPipeError()])
def test_a_connection_may_break_in_any_way_and_is_made_again(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    class Breaks:
        async def read(self, _: int = -1) -> bytes:
            raise error

    class Writer:
        def close(self) -> None:
            pass

    made = []

    async def connect(*_: Any) -> Any:
        made.append(1)
        return Breaks(), Writer()

    async def work() -> None:
        clock = VirtualClock()
        side = HandOver(ANYWHERE, {b"a": ("far", 1)}, lambda _: None, clock)
        await side.start()
        with monkeypatch.context() as broken:
            broken.setattr(asyncio, "open_connection", connect)
            await clock.run(3.5)
        await side.stop()

    go(work())
    assert len(made) == 4


def test_what_a_peer_sends_back_is_not_kept() -> None:
    async def work() -> None:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                for _ in range(64):
                    writer.write(bytes(1 << 20))
                    await writer.drain()
            writer.close()
            talked.set()

        talked = asyncio.Event()
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        side = HandOver(ANYWHERE, {b"a": server.sockets[0].getsockname()[:2]}, lambda _: None, SystemClock())
        kept: list[int] = []
        read = asyncio.StreamReader.read

        async def measured(reader: asyncio.StreamReader, count: int = -1) -> bytes:
            found = await read(reader, count)
            kept.append(len(found))
            return found

        with pytest.MonkeyPatch.context() as watched:
            watched.setattr(asyncio.StreamReader, "read", measured)
            await side.start()
            await talked.wait()
            await until(lambda: sum(kept) >= 64 << 20)
        await side.stop()
        server.close()
        assert max(kept) <= 1 << 20

    go(work())


def test_a_message_longer_than_a_transaction_ends_that_connection_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        node = Node()
        place = await node.start()
        _, good = await asyncio.open_connection(*place)
        reader, bad = await asyncio.open_connection(*place)
        bad.write(delimited(bytes(TRANSACTION_BYTES + 1))[:100])
        assert await reader.read() == b""
        good.write(delimited(b"still here"))
        await until(lambda: node.taken == [b"still here"])
        bad.close()
        good.close()
        await node.side.stop()

    with caplog.at_level(logging.WARNING, handover.__name__):
        go(work())
    assert f"a message of {TRANSACTION_BYTES + 1} bytes" in caplog.text


def test_a_connection_that_ends_within_a_message_leaves_nothing() -> None:
    async def work() -> None:
        node = Node()
        reader, writer = await asyncio.open_connection(*await node.start())
        writer.write(delimited(b"whole") + delimited(b"torn off")[:4])
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert node.taken == [b"whole"]
        await node.side.stop()

    go(work())


def test_a_peer_that_takes_nothing_is_dropped_from_not_buffered_for_ever() -> None:
    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    async def work() -> None:
        node = Node()
        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        peers = {b"a": server.sockets[0].getsockname()[:2], b"b": await node.start()}
        side = HandOver(ANYWHERE, peers, lambda _: None, SystemClock())
        await side.start()
        await until(lambda: reaches(side, 2))
        writer = side._lines[b"a"]._writer  # noqa: SLF001 - what waits for the deaf one
        assert writer is not None
        raw = bytes(TRANSACTION_BYTES)
        for number in range(4 * UNSENT_BYTES // TRANSACTION_BYTES):
            side.send(raw, 1)
            await turn()
            assert writer.transport.get_write_buffer_size() <= UNSENT_BYTES + len(raw) + 10, number
        await until(lambda: len(node.taken) > 0)
        await side.stop()
        await node.side.stop()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    go(work())


def test_a_peer_that_comes_later_is_handed_over_to_and_known_ones_keep_their_turn() -> None:
    async def work() -> None:
        async with among(2) as (side, nodes):
            late = Node()
            place = await late.start()
            side.know({b"a": ("127.0.0.1", 1), b"z": place})  # `a` stays where it was
            await until(lambda: reaches(side, 3))
            side.send(b"x", 3)
            await until(lambda: late.taken == [b"x"])
            assert [node.taken for node in nodes] == [[b"x"], [b"x"]]
            await late.side.stop()

    go(work())


def test_after_the_stop_nothing_is_taken_and_the_port_is_free() -> None:
    async def work() -> None:
        node = Node()
        place = await node.start()
        reader, writer = await asyncio.open_connection(*place)
        writer.write(delimited(b"before"))
        await until(lambda: node.taken == [b"before"])
        await node.side.stop()
        with contextlib.suppress(ConnectionError):
            writer.write(delimited(b"after"))
            assert await reader.read() == b""
        writer.close()
        assert node.taken == [b"before"]
        again = HandOver(place, {}, node.taken.append, SystemClock())
        await again.start()
        await again.stop()

    go(work())


def test_a_port_in_use_is_told_in_one_line() -> None:
    async def work() -> None:
        node = Node()
        host, port = await node.start()
        other = HandOver((host, port), {}, lambda _: None, SystemClock())
        with pytest.raises(HandOverError, match=f"cannot listen on 127.0.0.1 port {port}: .*; choose another port"):
            await other.start()
        await other.stop()
        await node.side.stop()

    go(work())
