"""Keys at rest: encrypted, private, never overwritten, and one line for each thing that can be wrong."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from chain.crypto import keystore
from chain.crypto.backend_cryptography import private_key_of
from chain.crypto.schemes import Scheme, SigningKey
from chain.errors import (
    KeyFileExistsError,
    KeyFileFormatError,
    KeyFileMissingError,
    KeyFileOpenError,
    KeyFilePasswordError,
)

PASSWORD = b"correct horse"


@pytest.fixture(params=list(Scheme))
def key(request: pytest.FixtureRequest) -> SigningKey:
    return SigningKey.from_seed(request.param, b"\7" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "client.pem"


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_saved_key_comes_back(key: SigningKey, path: Path) -> None:
    keystore.save(path, key, PASSWORD)
    loaded = keystore.load(path, PASSWORD)
    assert (loaded.scheme, loaded.seed, loaded.address) == (key.scheme, key.seed, key.address)


def test_only_the_owner_can_read_the_file_and_no_draft_is_left(key: SigningKey, path: Path) -> None:
    keystore.save(path, key, PASSWORD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["client.pem"]


def test_the_file_does_not_hold_the_seed_in_clear(key: SigningKey, path: Path) -> None:
    keystore.save(path, key, PASSWORD)
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert key.seed not in path.read_bytes()


def test_a_key_is_never_overwritten(key: SigningKey, path: Path) -> None:
    keystore.save(path, key, PASSWORD)
    before = path.read_bytes()
    with pytest.raises(KeyFileExistsError, match="never overwritten"):
        keystore.save(path, SigningKey.generate(key.scheme), PASSWORD)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_the_wrong_password_is_named_as_such(key: SigningKey, path: Path) -> None:
    keystore.save(path, key, PASSWORD)
    with pytest.raises(KeyFilePasswordError, match="password is wrong"):
        keystore.load(path, b"incorrect")


def test_a_missing_file_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(KeyFileMissingError, match="merit keys new"):
        keystore.load(path, PASSWORD)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_can_read_is_refused(key: SigningKey, path: Path, mode: int) -> None:
    keystore.save(path, key, PASSWORD)
    path.chmod(mode)
    with pytest.raises(KeyFileOpenError, match="chmod 600"):
        keystore.load(path, PASSWORD)


def test_other_files_are_refused_with_what_they_are(path: Path) -> None:
    private = private_key_of(Scheme.ML_DSA_44, bytes(32))
    plain = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyFileFormatError, match="is an unencrypted key"):
        keystore.load(write(path, plain), PASSWORD)
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(KeyFileFormatError, match="is something else"):
        keystore.load(path, PASSWORD)
    encrypted = BestAvailableEncryption(PASSWORD)
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
    with pytest.raises(KeyFileFormatError, match="Ed25519"):
        keystore.load(path, PASSWORD)


def test_a_damaged_file_is_refused(key: SigningKey, path: Path) -> None:
    keystore.save(path, key, PASSWORD)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:1], lines[1][:-4], *lines[2:]]))
    with pytest.raises((KeyFileFormatError, KeyFilePasswordError)):
        keystore.load(path, PASSWORD)
