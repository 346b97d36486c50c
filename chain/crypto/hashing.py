"""Keccak-256, the hash of everything that the ledger itself addresses."""

from eth_hash.backends.pysha3 import keccak256 as _keccak256


def keccak256(data: bytes) -> bytes:
    """Hash with the original Keccak padding, as Ethereum does (not FIPS 202's SHA3-256); 32 bytes."""
    digest: bytes = _keccak256(data)
    return digest
