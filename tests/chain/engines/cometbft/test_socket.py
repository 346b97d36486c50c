"""The socket protocol: framing, order, limits, and what a broken ledger does."""

import asyncio
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.engines.cometbft.server import MESSAGE_BYTES, AbciServer, delimited, read_message
from chain.engines.errors import AbciError
from chain.proto import abci_pb2 as pb
from merit.clock import SystemClock

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


def echo(request: pb.Request) -> pb.Response:
    if request.WhichOneof("value") == "commit":
        message = "the ledger is broken"
        raise AbciError(message)
    return pb.Response(echo=pb.ResponseEcho(message=request.echo.message))


def serve(path: Path, talk: Talk) -> AbciServer:
    """Run a server for as long as `talk` talks to it."""

    async def work() -> AbciServer:
        server = AbciServer(path, echo, SystemClock())
        await server.start()
        reader, writer = await asyncio.open_unix_connection(path)
        await talk(reader, writer)
        writer.close()
        await server.stop()
        return server

    return asyncio.run(work())


def request(text: str) -> bytes:
    return delimited(pb.Request(echo=pb.RequestEcho(message=text)).SerializeToString())


async def answer(reader: asyncio.StreamReader) -> pb.Response:
    return pb.Response.FromString(await read_message(reader))


@given(st.binary(max_size=70_000))
def test_a_message_comes_back_as_it_was_framed(message: bytes) -> None:
    async def read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(delimited(message))
        return await read_message(reader)

    assert asyncio.run(read()) == message


def test_answers_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(200):
            writer.write(request(str(number)))
        assert [(await answer(reader)).echo.message for _ in range(200)] == [str(number) for number in range(200)]

    serve(tmp_path / "s", talk)


def test_a_message_that_comes_byte_by_byte_is_read(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in request("slow" * 100):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await answer(reader)).echo.message == "slow" * 100

    serve(tmp_path / "s", talk)


@pytest.mark.parametrize(
    "garbage",
    [delimited(b"\xff\xff\xff"), b"\xff" * 10 + b"\x01", (MESSAGE_BYTES + 1).to_bytes(5, "little")],
    ids=["no protobuf", "endless varint", "other bytes"],
)
def test_what_is_no_message_ends_that_connection_and_no_other(tmp_path: Path, garbage: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, other = await asyncio.open_unix_connection(tmp_path / "s")
        other.write(garbage)
        other.write_eof()
        await other.drain()
        writer.write(request("still here"))
        assert (await answer(reader)).echo.message == "still here"
        other.close()

    assert serve(tmp_path / "s", talk).failure is None


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read() -> None:
    async def read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(delimited(b"12345"))
        return await read_message(reader, limit=4)

    with pytest.raises(AbciError, match="a message of 5 bytes; at most 4 are taken"):
        asyncio.run(read())


def test_a_broken_ledger_answers_once_with_the_reason_and_never_again(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(delimited(pb.Request(commit=pb.RequestCommit()).SerializeToString()) + request("more"))
        assert (await answer(reader)).exception.error == "the ledger is broken"
        assert await reader.read() == b""

    server = serve(tmp_path / "s", talk)
    assert isinstance(server.failure, AbciError)
    assert server.failed.is_set()


def test_the_socket_is_its_owners_alone_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("hello"))
        await answer(reader)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    serve(path, talk)
    assert not path.exists()


def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").touch()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("new"))
        assert (await answer(reader)).echo.message == "new"

    serve(tmp_path / "s", talk)


def test_a_path_too_long_for_a_socket_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AbciError, match="use a shorter one"):
        AbciServer(tmp_path / ("x" * 120), echo, SystemClock())
