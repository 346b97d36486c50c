"""Keys at rest: one encrypted PKCS8 PEM file per key (RFC 5958, RFC 9881), mode 0600, written atomically.

The PEM holds the seed and names the scheme, so any tool that knows ML-DSA reads it (`openssl pkey`, 3.5 and later).
"""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA65PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from chain.crypto.backend_cryptography import private_key_of
from chain.crypto.schemes import Scheme, SigningKey
from chain.errors import (
    KeyFileExistsError,
    KeyFileFormatError,
    KeyFileMissingError,
    KeyFileOpenError,
    KeyFilePasswordError,
)
from merit.chance import entropy

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def save(path: Path, key: SigningKey, password: bytes) -> None:
    """Write a new key file; its directory is made when missing.

    The bytes reach the disk under another name first and get theirs by a hard link, which fails when the name is
    taken: no reader sees half a file and no key is ever overwritten (`KeyFileExistsError`).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = private_key_of(key.scheme, key.seed).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)
    )
    draft = path.with_name(f".{path.name}.{entropy(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            raise KeyFileExistsError(path) from None
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def require_private(path: Path) -> None:
    """Raise `KeyFileOpenError` when other users of the machine may read or write a file with a secret."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise KeyFileMissingError(path) from None
    if mode & _OTHERS:
        raise KeyFileOpenError(path, mode)


def load(path: Path, password: bytes) -> SigningKey:
    """Read a key file; one error of `chain.errors.KeyFileError` for each thing that can be wrong with it."""
    require_private(path)
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        raise KeyFileMissingError(path) from None
    if not pem.startswith(_ENCRYPTED):
        raise KeyFileFormatError(path, "an unencrypted key" if b"PRIVATE KEY-----" in pem else "something else")
    try:
        private = load_pem_private_key(pem, password)
    except ValueError as error:
        if "password" in str(error).lower():
            raise KeyFilePasswordError(path) from None
        raise KeyFileFormatError(path, "damaged") from None
    match private:
        case MLDSA44PrivateKey():
            return SigningKey.from_seed(Scheme.ML_DSA_44, private.private_bytes_raw())
        case MLDSA65PrivateKey():
            return SigningKey.from_seed(Scheme.ML_DSA_65, private.private_bytes_raw())
        case other:
            raise KeyFileFormatError(path, f"a {type(other).__name__}")


def copy(path: Path, password: bytes, to: Path, new_password: bytes) -> SigningKey:
    """Write a key's file again under another name and password; return the key as the copy gives it back.

    Errors as in `load` and `save`.
    """
    save(to, load(path, password), new_password)
    return load(to, new_password)
