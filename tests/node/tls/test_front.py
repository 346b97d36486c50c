"""The front before an intake: who is heard over TLS, who is not and why, and what a connection may cost."""

import asyncio
import logging
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL import SSL
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chain.crypto.schemes import Scheme, SigningKey
from chain.rpc.http import LoopbackServer
from merit.clock import SystemClock
from node.errors import CertificateError, HandshakeError, TransportError
from node.tls.certificates import certify, names_of
from node.tls.channel import GROUP, HANDSHAKE_BYTES, Channel, client_context, server_context
from node.tls.front import Front
from node.tls.transport import async_transport, transport

NOW = SystemClock().now()
KEY = SigningKey.from_seed(Scheme.ML_DSA_65, bytes(32))


def certificate(key: SigningKey = KEY, *names: str, now: float = NOW) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certify(key, names or ("127.0.0.1", "localhost"), now=now))


CERTIFICATE = certificate()


async def echo(request: Request) -> Response:
    return Response(await request.body())


@asynccontextmanager
async def fronted(**limits: Any) -> AsyncIterator[Front]:
    """An echo on the loopback interface, and a front before it."""
    server = LoopbackServer(Starlette(routes=[Route("/echo", echo, methods=["POST"])]))
    await server.start()
    front = Front(server_context([CERTIFICATE], KEY), ("127.0.0.1", server.port), **limits)
    await front.start()
    try:
        yield front
    finally:
        await front.stop()
        await server.stop()


def over(work: Callable[[Front], Awaitable[None]], **limits: Any) -> None:
    async def run() -> None:
        async with fronted(**limits) as front:
            await work(front)

    asyncio.run(run())


def a_client(*trusted: x509.Certificate) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=async_transport(trusted or (CERTIFICATE,)), timeout=20)


# -- who is heard ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1 << 14, 3_000_001])
def test_a_body_of_any_size_comes_back_over_a_connection_that_is_used_again(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)

    async def work(front: Front) -> None:
        async with a_client() as http:
            for _ in range(2):
                assert (await http.post(f"{front.url}/echo", content=body)).content == body
            assert len(front._open) == 1  # noqa: SLF001 - one connection for both

    over(work)


def test_a_blocking_client_is_heard_too() -> None:
    def ask(url: str) -> bytes:
        with httpx.Client(transport=transport([CERTIFICATE]), timeout=20) as http:
            return b"".join(http.post(f"{url}/echo", content=bytes(100_000)).content for _ in range(2))

    async def work(front: Front) -> None:
        assert await asyncio.to_thread(ask, front.url) == bytes(200_000)

    over(work)


def test_many_clients_at_once_each_get_their_own_answer() -> None:
    async def work(front: Front) -> None:
        async with a_client() as http:
            bodies = [bytes([number]) * 50_000 for number in range(16)]
            answers = await asyncio.gather(*(http.post(f"{front.url}/echo", content=body) for body in bodies))
            assert [answer.content for answer in answers] == bodies

    over(work)


# -- who is not --------------------------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "node.tls.front"]


def classical_handshake(port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, pytest.raises(ssl.SSLError) as caught:
        context.wrap_socket(raw)
    return str(caught.value)


def test_pythons_own_tls_which_is_classical_is_refused_with_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(front: Front) -> None:
        assert "ALERT_HANDSHAKE_FAILURE" in await asyncio.to_thread(classical_handshake, front.port)

    over(work)
    (line,) = lines(caplog)
    assert "127.0.0.1:" in line
    assert "is refused: no suitable signature algorithm" in line
    assert line.endswith("this intake takes TLS 1.3 with X25519MLKEM768 and ML-DSA certificates only")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_of_old_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def work(front: Front) -> None:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{front.port}", "-groups", "X25519"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode != 0, said

    over(work)
    assert "is refused" in lines(caplog)[0]


def talk(client: Channel, server: Channel) -> None:
    """Let two ends shake hands; what one refuses is raised."""
    over = [False, False]
    while not all(over):
        for at, (here, there) in enumerate(((client, server), (server, client))):
            over[at] = here.shake()
            if sent := here.to_send():
                there.receive(sent)


def classical_exchange() -> SSL.Context:
    """Return a client that knows ML-DSA but one classical key exchange only."""
    context = client_context([CERTIFICATE])
    context.set_tmp_ecdh(ec.SECP256R1())
    return context


def test_a_classical_key_exchange_is_refused_though_the_rest_is_post_quantum() -> None:
    client = Channel(classical_exchange(), "127.0.0.1", classical=True)
    with pytest.raises(HandshakeError, match=r"its key exchange \S+ is classical"):
        talk(client, Channel(server_context([CERTIFICATE], KEY)))


def test_a_server_that_allows_a_classical_key_exchange_takes_it() -> None:
    client = Channel(classical_exchange(), "127.0.0.1", classical=True)
    server = Channel(server_context([CERTIFICATE], KEY), classical=True)
    talk(client, server)
    assert client.group == server.group != GROUP


def test_a_client_refuses_a_server_whose_key_exchange_is_classical() -> None:
    client = Channel(classical_exchange(), "127.0.0.1")
    with pytest.raises(HandshakeError, match="is classical"):
        talk(client, Channel(server_context([CERTIFICATE], KEY), classical=True))


OTHER = SigningKey.from_seed(Scheme.ML_DSA_44, bytes(32))


@pytest.mark.parametrize(
    ("trusted", "host", "reason"),
    [
        (certificate(OTHER), "127.0.0.1", "certificate verify failed"),
        (CERTIFICATE, "edge.example", "its certificate is not for edge.example"),
        (CERTIFICATE, "127.0.0.2", "its certificate is not for 127.0.0.2"),
    ],
)
def test_a_client_refuses_who_is_not_whom_it_asked_for(trusted: x509.Certificate, host: str, reason: str) -> None:
    with pytest.raises(HandshakeError, match=reason):
        talk(Channel(client_context([trusted]), host), Channel(server_context([CERTIFICATE], KEY)))


def test_a_certificate_that_has_run_out_is_refused() -> None:
    old = certificate(now=NOW - 500 * 86_400)
    with pytest.raises(HandshakeError, match="certificate verify failed"):
        talk(Channel(client_context([old]), "127.0.0.1"), Channel(server_context([old], KEY)))


def test_a_post_quantum_certificate_that_a_classical_key_has_signed_is_refused() -> None:
    authority = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a classical authority")])
    start, end = (datetime.fromtimestamp(NOW + days * 86_400, UTC) for days in (-1, 10))

    def signed(subject: x509.Name, public: Any, *, authority_itself: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder(name, subject, public, 7, start, end)
            .add_extension(x509.BasicConstraints(ca=authority_itself, path_length=None), critical=True)
            .add_extension(
                CERTIFICATE.extensions.get_extension_for_class(x509.SubjectAlternativeName).value, critical=False
            )
            .sign(authority, None)
        )

    root = signed(name, authority.public_key(), authority_itself=True)
    leaf = signed(CERTIFICATE.subject, CERTIFICATE.public_key(), authority_itself=False)
    with pytest.raises(HandshakeError, match=r"its certificates have a classical key \(Ed25519PublicKey\)"):
        talk(Channel(client_context([root]), "127.0.0.1"), Channel(server_context([leaf], KEY)))


def test_httpx_says_why_a_server_is_not_taken() -> None:
    async def work(front: Front) -> None:
        async with a_client(certificate(OTHER)) as http:
            with pytest.raises(httpx.ConnectError, match="TLS: certificate verify failed"):
                await http.post(f"{front.url}/echo")

    over(work)


# -- what a connection may cost ----------------------------------------------------------------------------------------


async def dialled(front: Front) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", front.port)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "http request"),
        (b"\x16\x03\x01\x00", "its handshake was not over after 0.3 s"),
        (b"", "its handshake was not over after 0.3 s"),
        (b"\xff" * 3000, "is refused"),
    ],
)
def test_what_is_no_handshake_is_cut_off(sent: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(front: Front) -> None:
        reader, writer = await dialled(front)
        writer.write(sent)
        await asyncio.wait_for(reader.read(), 20)
        writer.close()

    over(work, handshake_s=0.3)
    assert reason in lines(caplog)[0]


def test_a_handshake_has_a_largest_size() -> None:
    channel = Channel(server_context([CERTIFICATE], KEY))
    with pytest.raises(HandshakeError, match="before its handshake was over"):
        channel.receive(bytes(HANDSHAKE_BYTES + 1))


def test_more_connections_than_the_limit_are_not_heard_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def work(front: Front) -> None:
        async with a_client() as http:
            await http.post(f"{front.url}/echo", content=b"one")
            reader, writer = await dialled(front)
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()
            assert (await http.post(f"{front.url}/echo", content=b"two")).content == b"two"

    over(work, connections=1)
    assert "is not heard: 1 connections are open" in lines(caplog)[0]


def test_a_connection_in_which_nothing_moves_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def work(front: Front) -> None:
        client = Channel(client_context([CERTIFICATE]), "127.0.0.1")
        reader, writer = await dialled(front)
        while not client.shake():
            writer.write(client.to_send())
            client.receive(await reader.read(65_536))
        writer.write(client.to_send())
        await asyncio.wait_for(reader.read(), 20)
        writer.close()

    with caplog.at_level(logging.INFO, "node.tls.front"):
        over(work, idle_s=0.3)
    assert "is cut off: nothing moved" in lines(caplog)[0]


def test_a_client_that_does_not_read_holds_no_answer_in_memory() -> None:
    """It asks for ever more and reads nothing: the front stops reading what the intake answers."""
    carried = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal carried
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()
            carried += 1 << 16

    async def run() -> None:
        server = await asyncio.start_server(endless, "127.0.0.1", 0)
        front = Front(server_context([CERTIFICATE], KEY), server.sockets[0].getsockname(), idle_s=1.0)
        await front.start()
        client = Channel(client_context([CERTIFICATE]), "127.0.0.1")
        reader, writer = await dialled(front)
        while not client.shake():
            writer.write(client.to_send())
            client.receive(await reader.read(65_536))
        writer.write(client.to_send())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while front._open:  # noqa: SLF001 - until it is cut for moving nothing
            await SystemClock().sleep(0.1)
        writer.transport.abort()
        await front.stop()
        server.close()

    asyncio.run(run())
    assert 0 < carried < 64 << 20, "no more than the system's own buffers"


def test_an_intake_that_is_gone_closes_the_connection_and_not_the_front() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        front = Front(server_context([CERTIFICATE], KEY), ("127.0.0.1", port))
        await front.start()
        async with a_client() as http:
            for _ in range(2):
                with pytest.raises(httpx.HTTPError):
                    await http.post(f"{front.url}/echo")
        await front.stop()

    asyncio.run(run())


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    async def work(front: Front) -> None:
        second = Front(server_context([CERTIFICATE], KEY), ("127.0.0.1", 1), port=front.port)
        with pytest.raises(TransportError, match=f"cannot listen on 127.0.0.1 port {front.port}"):
            await second.start()

    over(work)


# -- certificates ------------------------------------------------------------------------------------------------------


def test_a_certificate_names_hosts_and_addresses() -> None:
    assert names_of(certificate(KEY, "Edge.example", "10.0.0.7", "::1")) == ("edge.example", "10.0.0.7", "::1")


@pytest.mark.parametrize("names", [(), ("",), ("a b",), ("*.example",), ("https://x",)])
def test_a_name_that_is_none_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(CertificateError) as caught:
        certify(KEY, names, now=NOW)
    assert "\n" not in str(caught.value)


def test_a_certificate_of_another_key_is_refused() -> None:
    with pytest.raises(CertificateError, match="the certificate is not for the key 0x"):
        server_context([CERTIFICATE], OTHER)
