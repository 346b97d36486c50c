"""One end of a TLS connection without any I/O: ciphertext in and out on one side, plaintext on the other.

Whoever moves the bytes sends `to_send()` after every call, and so holds what it has not sent yet: here nothing
gathers but what one call gave.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto

from chain.crypto.backend_cryptography import private_key_of
from chain.crypto.schemes import SigningKey
from node.errors import CertificateError, HandshakeError
from node.tls.certificates import is_address, speaks_for

GROUP: Final = "X25519MLKEM768"
"""The one key exchange (RFC 9794, draft-ietf-tls-ecdhe-mlkem) that holds against quantum computers, and if not that,
against today's."""
SIGNATURES: Final = frozenset({"MLDSA44PublicKey", "MLDSA65PublicKey", "MLDSA87PublicKey"})
CHUNK_BYTES: Final = 1 << 16
"""What is moved at once, at most."""
HANDSHAKE_BYTES: Final = 1 << 17
"""What a peer may send before its handshake is over; a chain of ML-DSA certificates has some 20 kB."""


def server_context(certificates: Sequence[x509.Certificate], key: SigningKey) -> SSL.Context:
    """Return what a server proves itself with: its own certificate first, then those above it.

    Raises:
        CertificateError: the first certificate is not this key's.

    """
    first, *above = certificates
    private = private_key_of(key.scheme, key.seed)
    if first.public_key() != private.public_key():
        message = f"the certificate is not for the key 0x{key.address.hex()}: make one with `merit keys certificate`"
        raise CertificateError(message)
    context = _context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(first)
    for certificate in above:
        context.add_extra_chain_cert(certificate)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(
        os.memfd_create("key"), "wb"
    ) as file:  # pyOpenSSL takes ML-DSA keys from files only; no disk sees it
        file.write(pem)
        file.flush()
        context.use_privatekey_file(f"/proc/self/fd/{file.fileno()}")
    return context


def client_context(trusted: Sequence[x509.Certificate]) -> SSL.Context:
    """Return what a client takes: certificates that are among `trusted` or that one of them has signed."""
    context = _context(SSL.TLS_CLIENT_METHOD)
    if (store := context.get_cert_store()) is not None:  # a context always has one
        for certificate in trusted:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # a server's own certificate may be the trusted one
    context.set_verify(SSL.VERIFY_PEER, lambda *given: bool(given[-1]))
    return context


def _context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


class Channel:
    """One end of a connection.

    Args:
        context: of a server or a client.
        host: whom a client wants to speak to; None for a server.
        classical: take a key exchange that only a classical computer cannot break, too.

    """

    def __init__(self, context: SSL.Context, host: str | None = None, *, classical: bool = False) -> None:
        """Begin; a client has its first message to send at once, after `shake`."""
        self._tls, self._host, self._classical = SSL.Connection(context, None), host, classical
        self._received = 0
        self.established = False
        self.ended = False
        """Whether nothing more will come from the peer."""
        if host is None:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()
            if not is_address(host):
                self._tls.set_tlsext_host_name(host.encode("idna"))

    def shake(self) -> bool:
        """Go on with the handshake; True once it is over and the peer is one to speak with.

        Raises:
            HandshakeError: the peer, its certificate or its key exchange is not what is asked for.

        """
        if not self.established:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                self._check_group()  # a server knows it before the handshake is over
                return False
            except SSL.Error as error:
                raise HandshakeError(_reason(error)) from None
            self._check_group()
            self._check_peer()
            self.established = True
        return True

    def receive(self, ciphertext: bytes) -> None:
        """Take what the peer sent, nothing if its connection ended; HandshakeError when that is no handshake's size."""
        if not self.established:
            self._received += len(ciphertext)
            if not ciphertext or self._received > HANDSHAKE_BYTES:
                did = f"it sent more than {HANDSHAKE_BYTES} bytes" if ciphertext else "it left"
                message = f"{did} before its handshake was over"
                raise HandshakeError(message)
        if ciphertext:
            self._tls.bio_write(ciphertext)
        else:
            self.ended = True

    def read(self) -> bytes:
        """Return what the peer said, at most `CHUNK_BYTES`; nothing when more must be received first, or at the end.

        Raises:
            HandshakeError: the peer broke the protocol.

        """
        try:
            return self._tls.read(CHUNK_BYTES)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            self.ended = True
            return b""
        except SSL.Error as error:
            raise HandshakeError(_reason(error)) from None

    def write(self, plaintext: bytes) -> None:
        """Say something to the peer; HandshakeError when the connection has failed."""
        at = 0
        try:
            while at < len(plaintext):
                at += self._tls.write(plaintext[at : at + CHUNK_BYTES])
        except SSL.Error as error:
            raise HandshakeError(_reason(error)) from None

    def close(self) -> None:
        """Say that nothing more will come; harmless at any time."""
        with contextlib.suppress(SSL.Error):
            self._tls.shutdown()

    def to_send(self) -> bytes:
        """Return the ciphertext for the peer, once."""
        parts = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                parts.append(self._tls.bio_read(CHUNK_BYTES))
        return b"".join(parts)

    @property
    def group(self) -> str:
        """The key exchange; empty before it is known."""
        return self._tls.get_group_name() or ""

    def _check_group(self) -> None:
        if self.group not in {"", GROUP} and not self._classical:
            message = f"its key exchange {self.group} is classical"
            raise HandshakeError(message)

    def _check_peer(self) -> None:
        if self._host is None:
            return
        chain = self._tls.get_verified_chain(as_cryptography=True) or []
        kinds = [type(certificate.public_key()).__name__ for certificate in chain]
        classical = sorted(set(kinds) - SIGNATURES)
        if not chain or classical:
            message = f"its certificates have a classical key ({', '.join(classical) or 'none'})"
            raise HandshakeError(message)
        if not speaks_for(chain[0], self._host):
            message = f"its certificate is not for {self._host}"
            raise HandshakeError(message)


def _reason(error: SSL.Error) -> str:
    """Return OpenSSL's words for what went wrong."""
    if isinstance(error, SSL.SysCallError):
        return "it ended the connection"
    given = error.args[0] if error.args and isinstance(error.args[0], list) else []
    words = [str(entry[-1]) for entry in given if entry[-1]]
    return "; ".join(words) or type(error).__name__
