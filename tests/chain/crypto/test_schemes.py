"""Signature schemes: all backends agree, contexts bind, bad input is an answer and not an exception."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.crypto import backend_liboqs
from chain.crypto.addresses import address_of
from chain.crypto.backend_cryptography import CryptographyBackend
from chain.crypto.backend_liboqs import LiboqsBackend, liboqs_library
from chain.crypto.contexts import record_context, tx_context
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Backend,
    Scheme,
    SigningKey,
    backends,
    verify,
)
from chain.errors import KeyLengthError

SCHEMES = list(Scheme)


@pytest.fixture(scope="session")
def liboqs() -> Backend:
    library = liboqs_library()
    if library is None:
        pytest.skip("liboqs is not here: run scripts/install-liboqs")
    return LiboqsBackend(library)


@pytest.fixture(params=["cryptography", "liboqs"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "liboqs":
        return request.getfixturevalue("liboqs")  # type: ignore[no-any-return]
    return CryptographyBackend()


def key(scheme: Scheme, number: int = 1) -> SigningKey:
    return SigningKey.from_seed(scheme, bytes([number]) * 32)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sizes_are_those_of_fips_204(scheme: Scheme) -> None:
    assert len(key(scheme).public_key) == PUBLIC_KEY_BYTES[scheme]
    assert len(key(scheme).sign(b"", b"")) == SIGNATURE_BYTES[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equal_seeds_give_equal_keys_and_generate_gives_new_ones(scheme: Scheme) -> None:
    assert key(scheme).public_key == key(scheme).public_key
    assert SigningKey.generate(scheme).public_key != SigningKey.generate(scheme).public_key


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_backend_signs_what_both_verify(scheme: Scheme, backend: Backend) -> None:
    signature = backend.signer(scheme, key(scheme).seed).sign(b"message", b"context")
    for other in backends():
        assert other.verify(scheme, key(scheme).public_key, signature, b"message", b"context")
        assert not other.verify(scheme, key(scheme).public_key, signature, b"message", b"another")
        assert not other.verify(scheme, key(scheme).public_key, signature, b"another", b"context")
        assert not other.verify(scheme, key(scheme, 2).public_key, signature, b"message", b"context")


@settings(max_examples=40)
@given(scheme=st.sampled_from(SCHEMES), position=st.integers(0, 2**16), message=st.binary(max_size=200))
def test_a_flipped_bit_of_a_signature_is_seen_by_every_backend(scheme: Scheme, position: int, message: bytes) -> None:
    signature = bytearray(key(scheme).sign(message, b""))
    signature[position // 8 % len(signature)] ^= 1 << position % 8
    for backend in backends():
        assert not backend.verify(scheme, key(scheme).public_key, bytes(signature), message, b"")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_signing_is_hedged_unless_asked_otherwise(scheme: Scheme) -> None:
    assert key(scheme).sign(b"m", b"c") != key(scheme).sign(b"m", b"c")
    first = key(scheme).sign(b"m", b"c", deterministic=True)
    assert first == key(scheme).sign(b"m", b"c", deterministic=True)
    assert verify(scheme, key(scheme).public_key, first, b"m", b"c")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cut", ["key", "signature", "both", "longer key", "longer signature", "context"])
def test_wrong_lengths_are_refused_without_an_exception(scheme: Scheme, cut: str) -> None:
    public_key, context = key(scheme).public_key, b"c"
    signature = key(scheme).sign(b"m", context)
    match cut:
        case "key":
            public_key = public_key[:-1]
        case "signature":
            signature = signature[:-1]
        case "both":
            public_key, signature = b"", b""
        case "longer key":
            public_key += b"\0"
        case "longer signature":
            signature += b"\0"
        case _:
            context = bytes(256)
    assert not verify(scheme, public_key, signature, b"m", context)


def test_one_scheme_does_not_verify_for_the_other() -> None:
    small, large = SCHEMES
    assert not verify(large, key(small).public_key, key(small).sign(b"m", b""), b"m", b"")


def test_contexts_separate_uses_and_ledgers() -> None:
    one, two = keccak256(b"one"), keccak256(b"two")
    signing = key(Scheme.ML_DSA_44)
    signature = signing.sign(b"m", tx_context(one))
    assert verify(signing.scheme, signing.public_key, signature, b"m", tx_context(one))
    for context in (tx_context(two), record_context(one), b""):
        assert not verify(signing.scheme, signing.public_key, signature, b"m", context)


def test_address_hashes_scheme_and_key() -> None:
    signing = key(Scheme.ML_DSA_44)
    assert signing.address == keccak256(b"\x2c" + signing.public_key)[12:]
    with pytest.raises(KeyLengthError, match="ML_DSA_65 public key has 1312 bytes, expected 1952"):
        address_of(Scheme.ML_DSA_65, signing.public_key)


def test_seed_and_context_lengths_are_checked_when_signing() -> None:
    with pytest.raises(KeyLengthError, match="seed has 31 bytes, expected 32"):
        SigningKey.from_seed(Scheme.ML_DSA_44, bytes(31))
    with pytest.raises(KeyLengthError, match="context"):
        key(Scheme.ML_DSA_44).sign(b"", bytes(256))


def test_no_seed_reaches_a_log() -> None:
    signing = SigningKey.generate(Scheme.ML_DSA_44)
    assert signing.seed.hex() not in repr(signing)
    assert signing.address.hex() in repr(signing)


def test_keccak_is_ethereums_and_not_sha3() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_importing_schemes_loads_no_evm_and_no_signature_library() -> None:
    code = (
        "import sys, chain.crypto, chain.crypto.schemes, chain.crypto.addresses, chain.transaction;"
        "print([m for m in ('eth', 'web3', 'rlp', 'oqs', 'torch', 'cryptography', 'eth_typing') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "[]"


def test_without_the_library_file_everything_works_with_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.crypto.backend_liboqs.liboqs_library", lambda: None)
    assert [backend.name for backend in backends.__wrapped__()] == ["cryptography"]


def test_library_is_looked_for_where_the_installer_puts_it_and_never_in_the_working_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, here, there = (tmp_path_factory.mktemp(name) for name in ("prefix", "here", "there"))
    monkeypatch.delenv("OQS_INSTALL_PATH", raising=False)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(backend_liboqs, "_CHECKOUT", here)
    monkeypatch.chdir(there)
    for place in (there, there / ".merit" / "oqs", there / "oqs"):
        library_at(place).touch()
    assert liboqs_library() is None
    for place in (here / ".merit" / "oqs", prefix / "oqs", tmp_path_factory.mktemp("given")):
        library = library_at(place)
        library.touch()
        if place.name.startswith("given"):
            monkeypatch.setenv("OQS_INSTALL_PATH", str(place))
        assert liboqs_library() == library
    monkeypatch.setenv("MERIT_LIBOQS", "off")
    assert liboqs_library() is None


def library_at(prefix: Path) -> Path:
    """Where a library of this prefix lies; its folder is made."""
    (prefix / "lib").mkdir(parents=True, exist_ok=True)
    return prefix / "lib" / "liboqs.so"


def process(code: str, **environment: str) -> str:
    """What a process of its own prints; it may neither warn nor write to standard error."""
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(  # noqa: S603 - ours
        command, capture_output=True, text=True, check=True, env=os.environ | environment, timeout=60
    )
    assert result.stderr == ""
    return result.stdout.strip()


SIGN_AND_TELL = """
import os, sys, ctypes.util
find = ctypes.util.find_library
from chain.crypto.schemes import Scheme, SigningKey, backends
key = SigningKey.from_seed(Scheme.ML_DSA_44, bytes(32))
assert len(key.sign(b"m", b"c")) == 2420
assert ctypes.util.find_library is find and os.environ.get("OQS_INSTALL_PATH") == os.environ["EXPECTED"]
print([backend.name for backend in backends()], "oqs" in sys.modules)
"""


def test_liboqs_python_is_told_the_file_and_neither_prints_nor_changes_the_process(liboqs: Backend) -> None:
    library = liboqs_library()
    assert liboqs.name == "liboqs"
    assert library is not None
    prefix = str(library.parents[1])
    assert process(SIGN_AND_TELL, OQS_INSTALL_PATH=prefix, EXPECTED=prefix) == "['liboqs', 'cryptography'] True"


def test_file_that_is_no_library_counts_as_missing_and_nothing_is_built(tmp_path: Path) -> None:
    library_at(tmp_path).write_text("not a library")
    answer = process(SIGN_AND_TELL, OQS_INSTALL_PATH=str(tmp_path), EXPECTED=str(tmp_path))
    assert answer == "['cryptography'] False"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_private_key_of_liboqs_is_overwritten_when_its_signer_goes(scheme: Scheme, liboqs: Backend) -> None:
    signer: Any = liboqs.signer(scheme, bytes(32))
    secret = signer._signature.secret_key  # noqa: SLF001 - the only place where it can be seen
    assert any(secret.raw)
    del signer
    assert not any(secret.raw)
