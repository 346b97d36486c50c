"""Certificates of ML-DSA keys (RFC 9881): self-signed, for the names by which an intake is reached."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chain.crypto.backend_cryptography import private_key_of
from chain.crypto.schemes import SigningKey
from merit.chance import entropy
from node.errors import CertificateError

DEFAULT_DAYS: Final = 398
_EARLIER: Final = timedelta(hours=1)  # clocks of clients that run late
_SERIAL_BYTES: Final = 19  # RFC 5280: at most 20, positive


def certify(key: SigningKey, names: Sequence[str], *, now: float, days: int = DEFAULT_DAYS) -> bytes:
    """Return a self-signed certificate of a key, in PEM.

    Args:
        key: the key that the server proves to have in each handshake; not one that signs for a member.
        names: host names and IP addresses by which clients reach the server.
        now: seconds since the epoch; the certificate holds from an hour before on.
        days: how long it holds.

    Raises:
        CertificateError: no name, or one that is none.

    """
    if not names:
        message = "a certificate needs a host name or IP address by which clients reach the server"
        raise CertificateError(message)
    try:
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
    except ValueError as error:
        message = f"no host name and no IP address: {error}"
        raise CertificateError(message) from None
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"merit {key.address.hex()}")])
    private = private_key_of(key.scheme, key.seed)
    start = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(int.from_bytes(entropy(_SERIAL_BYTES), "big") | 1)
        .not_valid_before(start - _EARLIER)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return builder.sign(private, None).public_bytes(Encoding.PEM)


def read(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a PEM file, at least one; CertificateError in one line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror}; make a certificate with `merit keys certificate`"
        raise CertificateError(message) from None
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError:
        message = f"{path}: holds no certificates in PEM"
        raise CertificateError(message) from None


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the host names and addresses that a certificate speaks for; wildcards speak for nobody here."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (
        *(name.lower() for name in found.get_values_for_type(x509.DNSName)),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    )


def speaks_for(certificate: x509.Certificate, host: str) -> bool:
    """Tell whether a certificate is for this very host name or address."""
    return host.lower() in names_of(certificate)


def is_address(host: str) -> bool:
    """Tell an IP address from a host name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _general(name: str) -> x509.GeneralName:
    if is_address(name):
        return x509.IPAddress(ip_address(name))
    if not all(label.replace("-", "").isalnum() for label in name.split(".")):
        raise ValueError(repr(name))
    return x509.DNSName(name.lower())
