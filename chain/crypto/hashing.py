"""Keccak-256, the hash of everything that the ledger itself addresses."""

import os

from eth_hash.backends.pysha3 import keccak256 as _keccak256

# py-evm and web3 hash through eth_hash, which would take its first choice, a package ten times slower per call.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")


def keccak256(data: bytes) -> bytes:
    """Hash with the original Keccak padding, as Ethereum does (not FIPS 202's SHA3-256); 32 bytes."""
    digest: bytes = _keccak256(data)
    return digest
