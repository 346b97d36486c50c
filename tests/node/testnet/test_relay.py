"""A relay is a plain TCP connection while its link is whole, and none while it is cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from node.testnet.relay import Relay

BIG = bytes(range(256)) * (1 << 15)  # 8 MiB: more than every buffer on the way
GUARD_S = 60.0
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Give back what comes, and end when it ends."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def relayed(talk: Talk) -> AsyncIterator[Relay]:
    """A relay before a server that talks so."""
    talking: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        try:
            with contextlib.suppress(ConnectionError):
                await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay = Relay(server.sockets[0].getsockname()[1])
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
        server.close()
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


def go(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, GUARD_S))


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(port: int, word: bytes) -> bytes:
    """Connect, say a word, and return what comes back before the connection ends or the word is there."""
    try:
        async with connected(port) as (reader, writer):
            writer.write(word)
            return await reader.readexactly(len(word))
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes before the connection ends, in whatever way it ends."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            found += data
    return found


def test_what_is_said_comes_through_both_ways() -> None:
    async def work() -> None:
        async with relayed(echo) as relay, connected(relay.port) as (reader, writer):
            for word in (b"one", b"two", b"three"):
                writer.write(word)
                assert await reader.readexactly(len(word)) == word

    go(work())


def test_connections_beside_each_other_do_not_mix() -> None:
    async def work() -> None:
        async with relayed(echo) as relay:
            words = [b"%04d" % number for number in range(50)]
            assert await asyncio.gather(*(said(relay.port, word) for word in words)) == words

    go(work())


def test_megabytes_arrive_whole_and_in_order() -> None:
    async def work() -> None:
        async with relayed(echo) as relay, connected(relay.port) as (reader, writer):

            async def send() -> None:
                writer.write(BIG)
                await writer.drain()

            sending = asyncio.create_task(send())
            assert await reader.readexactly(len(BIG)) == BIG
            await sending

    go(work())


def test_what_was_sent_just_before_the_end_is_not_lost() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BIG)
        writer.close()  # sends what is buffered first

    async def work() -> None:
        async with relayed(answer) as relay, connected(relay.port) as (reader, writer):
            writer.write_eof()
            assert await reader.read() == BIG

    go(work())


def test_an_answer_comes_after_the_end_of_the_question() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()  # returns at the end of what the other side says
        writer.write(question[::-1])
        writer.close()

    async def work() -> None:
        async with relayed(answer) as relay, connected(relay.port) as (reader, writer):
            writer.write(b"abc")
            writer.write_eof()
            assert await reader.read() == b"cba"

    go(work())


@pytest.mark.parametrize("word", [b"", b"something on the way"])
def test_cutting_ends_connections_and_refuses_new_ones_until_it_is_healed(word: bytes) -> None:
    async def work() -> None:
        async with relayed(echo) as relay, connected(relay.port) as (reader, writer):
            writer.write(b"before")
            assert await reader.readexactly(6) == b"before"
            writer.write(word)
            relay.cut = True
            await relay.sever()
            assert (await said(relay.port, b"while it is cut")) == b""
            assert await rest(reader) in {b"", word}
            relay.cut = False
            assert await said(relay.port, b"after") == b"after"

    go(work())


def test_severing_alone_lets_whoever_connects_again_through() -> None:
    async def work() -> None:
        async with relayed(echo) as relay, connected(relay.port) as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            await relay.sever()
            assert await rest(reader) == b""
            assert await said(relay.port, b"again") == b"again"

    go(work())


def test_while_the_target_is_down_connections_end_and_later_ones_come_through() -> None:
    async def work() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        relay = Relay(port)
        await relay.start()
        assert await said(relay.port, b"down") == b""
        server = await asyncio.start_server(echo, "127.0.0.1", port)
        assert await said(relay.port, b"up") == b"up"
        await relay.stop()
        server.close()

    go(work())


def test_the_end_of_the_target_is_the_end_of_the_connection() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async def work() -> None:
        async with relayed(hang_up) as relay, connected(relay.port) as (reader, writer):
            writer.write(b"x")
            assert await rest(reader) == b""

    go(work())


def test_a_target_that_does_not_read_holds_the_sender_up_and_is_cut_all_the_same() -> None:
    async def deaf(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        async with relayed(deaf) as relay, connected(relay.port) as (_, writer):
            writer.write(BIG * 4)
            sending = asyncio.create_task(writer.drain())
            relay.cut = True
            await relay.sever()
            with pytest.raises(ConnectionError):
                await sending

    go(work())


def test_stopping_frees_the_port() -> None:
    async def work() -> None:
        async with relayed(echo) as relay:
            await relay.stop()
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", relay.port)

    go(work())
