"""ML-DSA by `cryptography` (AWS-LC or OpenSSL, compiled into its wheel): always there."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
)

from chain.crypto.schemes import Scheme, Signer

_PUBLIC: dict[Scheme, type[MLDSA44PublicKey | MLDSA65PublicKey]] = {
    Scheme.ML_DSA_44: MLDSA44PublicKey,
    Scheme.ML_DSA_65: MLDSA65PublicKey,
}
_PRIVATE: dict[Scheme, type[MLDSA44PrivateKey | MLDSA65PrivateKey]] = {
    Scheme.ML_DSA_44: MLDSA44PrivateKey,
    Scheme.ML_DSA_65: MLDSA65PrivateKey,
}


def private_key_of(scheme: Scheme, seed: bytes) -> MLDSA44PrivateKey | MLDSA65PrivateKey:
    """Expand a seed of 32 bytes."""
    return _PRIVATE[scheme].from_seed_bytes(seed)


def public_key_of(scheme: Scheme, seed: bytes) -> bytes:
    """Derive the encoded public key of a seed of 32 bytes."""
    return private_key_of(scheme, seed).public_key().public_bytes_raw()


class CryptographyBackend:
    """See `chain.crypto.schemes.Backend`."""

    name = "cryptography"

    def verify(self, scheme: Scheme, public_key: bytes, signature: bytes, message: bytes, context: bytes) -> bool:
        """Tell whether the signature holds."""
        try:
            _PUBLIC[scheme].from_public_bytes(public_key).verify(signature, message, context)
        except (InvalidSignature, ValueError):
            return False
        return True

    def signer(self, scheme: Scheme, seed: bytes) -> Signer:
        """Return the library's own private key, which signs hedged."""
        return private_key_of(scheme, seed)
