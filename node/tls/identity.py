"""What an intake proves itself with: an encrypted ML-DSA-65 key and its certificate, two files side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from OpenSSL import SSL

from chain.crypto import keystore
from chain.crypto.schemes import Scheme, SigningKey
from node.errors import CertificateError
from node.tls.certificates import certify, read
from node.tls.channel import server_context

KEY_NAME: Final = "intake.pem"
CERTIFICATE_NAME: Final = "intake.crt"


def context_of(key: Path, certificate: Path, password: bytes) -> SSL.Context:
    """Read both files; errors as in `keystore.load`, `certificates.read` and `server_context`."""
    return server_context(read(certificate), keystore.load(key, password))


def make(directory: Path, names: Sequence[str], password: bytes, *, now: float) -> None:
    """Make a key and its certificate in a directory that has none; harmless where both are."""
    key, certificate = directory / KEY_NAME, directory / CERTIFICATE_NAME
    if not key.exists():
        keystore.save(key, SigningKey.generate(Scheme.ML_DSA_65), password)
    if not certificate.exists():
        write(certificate, certify(keystore.load(key, password), names, now=now))


def write(path: Path, certificate: bytes) -> None:
    """Write a certificate; CertificateError when something is there already."""
    try:
        with path.open("xb") as file:
            file.write(certificate)
    except FileExistsError:
        message = f"{path} exists already: move it away, or name another file"
        raise CertificateError(message) from None
