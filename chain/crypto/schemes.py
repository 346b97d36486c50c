"""ML-DSA (FIPS 204) behind one small interface: pure mode, a context in every signature.

`verify` answers False for whatever is wrong with its input: bytes of a peer are data, not a mistake of the caller.
Signing is hedged by default (FIPS 204, section 3.4: fresh randomness protects a device against fault attacks), so two
signatures of one message differ. Never judge duplicates or equivocation by signature bytes.
"""

import json
from enum import IntEnum
from functools import cache, cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from chain.errors import KeyLengthError
from merit.chance import entropy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chain.crypto.addresses import Address


class Scheme(IntEnum):
    """Signature schemes; the value is the byte that stands in keys, transactions and records."""

    ML_DSA_44 = 44
    ML_DSA_65 = 65


# FIPS 204, table 2
PUBLIC_KEY_BYTES: Final["Mapping[Scheme, int]"] = MappingProxyType({Scheme.ML_DSA_44: 1312, Scheme.ML_DSA_65: 1952})
SIGNATURE_BYTES: Final["Mapping[Scheme, int]"] = MappingProxyType({Scheme.ML_DSA_44: 2420, Scheme.ML_DSA_65: 3309})
SEED_BYTES: Final = 32
CONTEXT_BYTES: Final = 255  # FIPS 204, algorithm 2, line 1


class Backend(Protocol):
    """One implementation of FIPS 204. Callers have checked every length: C libraries read past short buffers."""

    name: str

    def verify(self, scheme: Scheme, public_key: bytes, signature: bytes, message: bytes, context: bytes) -> bool:
        """Tell whether the signature holds."""
        ...

    def signer(self, scheme: Scheme, seed: bytes) -> "Signer":
        """Expand a seed of 32 bytes once, for any number of hedged signatures."""
        ...


class Signer(Protocol):
    """An expanded private key."""

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign with fresh randomness."""
        ...


def verify(scheme: Scheme, public_key: bytes, signature: bytes, message: bytes, context: bytes) -> bool:
    """Tell whether `signature` is `public_key`'s over `message` in `context`; never raises for bad input.

    Uses the fastest backend on this machine that gives the known answers: see `verifying_backend`.
    """
    return (
        scheme in PUBLIC_KEY_BYTES
        and len(public_key) == PUBLIC_KEY_BYTES[scheme]
        and len(signature) == SIGNATURE_BYTES[scheme]
        and len(context) <= CONTEXT_BYTES
        and verifying_backend().verify(scheme, public_key, signature, message, context)
    )


class SigningKey:
    """A private key, kept as its 32-byte seed (FIPS 204, algorithm 1: the seed is the whole key)."""

    def __init__(self, scheme: Scheme, seed: bytes) -> None:
        """Use `from_seed` or `generate`."""
        self.scheme = scheme
        self.seed = seed

    @classmethod
    def from_seed(cls, scheme: Scheme, seed: bytes) -> "SigningKey":
        """Make the key of a seed (32 bytes); equal seeds give equal keys."""
        if len(seed) != SEED_BYTES:
            what = f"{scheme.name} seed"
            raise KeyLengthError(what, SEED_BYTES, len(seed))
        return cls(scheme, bytes(seed))

    @classmethod
    def generate(cls, scheme: Scheme) -> "SigningKey":
        """Make a new key from the operating system's entropy."""
        return cls(scheme, entropy(SEED_BYTES))

    @cached_property
    def public_key(self) -> bytes:
        """The encoded public key, `PUBLIC_KEY_BYTES[scheme]` bytes."""
        from chain.crypto.backend_cryptography import public_key_of  # noqa: PLC0415 - keeps this module's import light

        return public_key_of(self.scheme, self.seed)

    @cached_property
    def address(self) -> "Address":
        """The address that this key signs for."""
        from chain.crypto.addresses import address_of  # noqa: PLC0415 - addresses build on schemes

        return address_of(self.scheme, self.public_key)

    @cached_property
    def _signer(self) -> Signer:
        return backends()[0].signer(self.scheme, self.seed)

    def sign(self, message: bytes, context: bytes, *, deterministic: bool = False) -> bytes:
        """Sign in pure mode; `deterministic` gives equal bytes for equal input (simulations, vectors; slow).

        `KeyLengthError` when the context is longer than 255 bytes.
        """
        if len(context) > CONTEXT_BYTES:
            what = "context (at most)"
            raise KeyLengthError(what, CONTEXT_BYTES, len(context))
        if deterministic:
            from chain.crypto.backend_python import sign_deterministic  # noqa: PLC0415 - slow and rarely wanted

            return sign_deterministic(self.scheme, self.seed, message, context)
        return self._signer.sign(message, context)

    def __repr__(self) -> str:
        """Show the address, never the seed: a key must not reach a log."""
        return f"SigningKey({self.scheme.name}, 0x{self.address.hex()})"


@cache
def backends() -> tuple[Backend, ...]:
    """All implementations on this machine, the fastest first; looked for once per process."""
    from chain.crypto.backend_cryptography import CryptographyBackend  # noqa: PLC0415 - 70 ms
    from chain.crypto.backend_liboqs import LiboqsBackend, liboqs_library  # noqa: PLC0415 - only where wanted

    library = liboqs_library()
    always = CryptographyBackend()
    if library is None:
        return (always,)
    try:
        return (LiboqsBackend(library), always)
    except (OSError, AttributeError):  # as good as missing; `merit doctor` says so
        return (always,)


@cache
def verifying_backend() -> Backend:
    """Return the fastest implementation that judges hostile signatures as FIPS 204 says.

    Replicas must agree on every signature that anybody can make up, not only on those of honest signers. The AVX2 code
    of liboqs 0.13 does not check the length of z and rounds one hint wrongly: it accepts what others refuse, and with
    it a signer could split the ledger. Such a library signs, and does not verify (ADR-liboqs.md beside this file).
    """
    return next((backend for backend in backends() if gives_known_answers(backend)), backends()[-1])


def gives_known_answers(backend: Backend) -> bool:
    """Tell whether a backend judges the signatures in `known_answers.json` (hostile and borderline ones) rightly."""
    document = json.loads(files("chain.crypto").joinpath("known_answers.json").read_text(encoding="utf-8"))
    return all(
        backend.verify(
            Scheme(answer["scheme"]),
            *(bytes.fromhex(answer[part]) for part in ("public_key", "signature", "message", "context")),
        )
        is answer["valid"]
        for answer in document["answers"]
    )
