"""For httpx, so that `https://` means post-quantum TLS: `transport(trusted)` and `async_transport(trusted)`.

httpcore, on which httpx stands, opens connections by a backend that may be replaced; ours wraps each in a `Channel`.
Timeouts, pools and HTTP stay httpcore's. What TLS does is written once, as generators that yield what is to be sent, or
None when something must be received; the blocking and the asynchronous stream drive them.
"""

import ssl
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import httpcore
import httpx
from cryptography import x509
from httpcore import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream, NetworkBackend, NetworkStream, SyncBackend
from OpenSSL import SSL

from node.errors import HandshakeError
from node.tls.channel import CHUNK_BYTES, Channel, client_context

Options: TypeAlias = Iterable[httpcore.SOCKET_OPTION] | None
T = TypeVar("T")
Steps: TypeAlias = Generator[bytes | None, bytes, T]

MAX_CONNECTIONS = 100
IDLE_CONNECTIONS = 20
KEEP_ALIVE_S = 5.0
_FAREWELL_S = 0.5


def transport(trusted: Sequence[x509.Certificate]) -> httpx.HTTPTransport:
    """Return a transport for `httpx.Client` that takes servers with these certificates, or certified by them."""
    made = httpx.HTTPTransport(verify=_unused())
    made._pool = httpcore.ConnectionPool(  # noqa: SLF001 - httpx has no argument for a backend
        ssl_context=_unused(),
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=IDLE_CONNECTIONS,
        keepalive_expiry=KEEP_ALIVE_S,
        network_backend=_Backend(client_context(trusted)),
    )
    return made


def async_transport(
    trusted: Sequence[x509.Certificate], *, max_connections: int = MAX_CONNECTIONS
) -> httpx.AsyncHTTPTransport:
    """Return the same for `httpx.AsyncClient`."""
    made = httpx.AsyncHTTPTransport(verify=_unused())
    made._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001 - as above
        ssl_context=_unused(),
        max_connections=max_connections,
        max_keepalive_connections=IDLE_CONNECTIONS,
        keepalive_expiry=KEEP_ALIVE_S,
        network_backend=_AsyncBackend(client_context(trusted)),
    )
    return made


def transport_for(url: str, trusted: Sequence[x509.Certificate]) -> httpx.HTTPTransport | None:
    """Return what a blocking client needs for a URL: our transport for https, None, httpx's own, for plain http."""
    return transport(trusted) if url.startswith("https:") else None


def _unused() -> ssl.SSLContext:
    """Return what httpcore wants to see; our handshake has no use for it."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


# -- what TLS does, without I/O ----------------------------------------------------------------------------------------


def _handshake(channel: Channel) -> Steps[None]:
    try:
        while not channel.shake():
            yield channel.to_send()
            channel.receive((yield None))
    except HandshakeError as error:
        yield channel.to_send()  # the alert that says why
        message = f"TLS: {error}"
        raise httpcore.ConnectError(message) from None
    yield channel.to_send()


def _reading(channel: Channel) -> Steps[bytes]:
    """Return the next plaintext, nothing at the end."""
    try:
        while not (plaintext := channel.read()) and not channel.ended:
            channel.receive((yield None))
    except HandshakeError as error:
        message = f"TLS: {error}"
        raise httpcore.ReadError(message) from None
    return plaintext


def _writing(channel: Channel, plaintext: bytes) -> Steps[None]:
    try:
        for at in range(0, len(plaintext), CHUNK_BYTES):
            channel.write(plaintext[at : at + CHUNK_BYTES])
            yield channel.to_send()
    except HandshakeError as error:
        message = f"TLS: {error}"
        raise httpcore.WriteError(message) from None


def _closing(channel: Channel) -> Steps[None]:
    channel.close()
    yield channel.to_send()


# -- blocking ----------------------------------------------------------------------------------------------------------


def _drive(steps: Steps[T], raw: NetworkStream, timeout: float | None) -> T:
    try:
        asked = next(steps)
        while True:
            if asked is None:
                asked = steps.send(raw.read(CHUNK_BYTES, timeout))
            else:
                raw.write(asked, timeout)
                asked = next(steps)
    except StopIteration as end:
        returned: T = end.value
        return returned


class _Stream(NetworkStream):
    """A connection; `start_tls`, which httpcore calls for https, puts TLS into it."""

    def __init__(self, raw: NetworkStream, context: SSL.Context, channel: Channel | None = None) -> None:
        self._raw, self._context, self._channel = raw, context, channel
        self._rest = b""

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        del ssl_context
        channel = Channel(self._context, server_hostname or "")
        try:
            _drive(_handshake(channel), self._raw, timeout)
        except BaseException:
            self._raw.close()
            raise
        return _Stream(self._raw, self._context, channel)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._channel is None:
            return self._raw.read(max_bytes, timeout)
        data = self._rest or _drive(_reading(self._channel), self._raw, timeout)
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._channel is None:
            self._raw.write(buffer, timeout)
        else:
            _drive(_writing(self._channel, buffer), self._raw, timeout)

    def close(self) -> None:
        try:
            if self._channel is not None:
                _drive(_closing(self._channel), self._raw, _FAREWELL_S)
        except (httpcore.NetworkError, httpcore.TimeoutException):
            self._channel = None  # the server is gone before it could be told that we go
        finally:
            self._raw.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's own signature
        return None if info == "ssl_object" else self._raw.get_extra_info(info)


class _Backend(NetworkBackend):
    """httpcore's own connections, each able to start our TLS."""

    def __init__(self, context: SSL.Context) -> None:
        self._inner, self._context = SyncBackend(), context

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options = None,
    ) -> NetworkStream:
        raw = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(raw, self._context)


# -- asynchronous ------------------------------------------------------------------------------------------------------


async def _drive_async(steps: Steps[T], raw: AsyncNetworkStream, timeout: float | None) -> T:  # noqa: ASYNC109 - httpcore's way
    try:
        asked = next(steps)
        while True:
            if asked is None:
                asked = steps.send(await raw.read(CHUNK_BYTES, timeout))
            else:
                await raw.write(asked, timeout)
                asked = next(steps)
    except StopIteration as end:
        returned: T = end.value
        return returned


class _AsyncStream(AsyncNetworkStream):
    """See `_Stream`."""

    def __init__(self, raw: AsyncNetworkStream, context: SSL.Context, channel: Channel | None = None) -> None:
        self._raw, self._context, self._channel = raw, context, channel
        self._rest = b""

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
    ) -> AsyncNetworkStream:
        del ssl_context
        channel = Channel(self._context, server_hostname or "")
        try:
            await _drive_async(_handshake(channel), self._raw, timeout)
        except BaseException:
            await self._raw.aclose()
            raise
        return _AsyncStream(self._raw, self._context, channel)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        if self._channel is None:
            return await self._raw.read(max_bytes, timeout)
        data = self._rest or await _drive_async(_reading(self._channel), self._raw, timeout)
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        if self._channel is None:
            await self._raw.write(buffer, timeout)
        else:
            await _drive_async(_writing(self._channel, buffer), self._raw, timeout)

    async def aclose(self) -> None:
        try:
            if self._channel is not None:
                await _drive_async(_closing(self._channel), self._raw, _FAREWELL_S)
        except (httpcore.NetworkError, httpcore.TimeoutException):
            self._channel = None  # the server is gone before it could be told that we go
        finally:
            await self._raw.aclose()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's own signature
        return None if info == "ssl_object" else self._raw.get_extra_info(info)


class _AsyncBackend(AsyncNetworkBackend):
    """See `_Backend`."""

    def __init__(self, context: SSL.Context) -> None:
        self._inner, self._context = AnyIOBackend(), context

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Options = None,
    ) -> AsyncNetworkStream:
        raw = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _AsyncStream(raw, self._context)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
