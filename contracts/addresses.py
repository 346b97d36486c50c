"""Where genesis puts the contracts, and where the ledger's own precompiles answer.

20-byte addresses. The contracts are predeployed in block 0 of a Merit ledger; on another EVM chain they lie wherever
they were deployed, and there are no precompiles (the zero address stands for "none" in the constructors).
"""

from typing import Final

ADDRESS_BYTES: Final = 20

ZERO: Final = bytes(ADDRESS_BYTES)
"""No verifier, no key precompile."""

REGISTRY: Final = (0x4D01).to_bytes(ADDRESS_BYTES, "big")
TOKEN: Final = (0x4D02).to_bytes(ADDRESS_BYTES, "big")
LEDGER: Final = (0x4D03).to_bytes(ADDRESS_BYTES, "big")
COUNCIL: Final = (0x4D04).to_bytes(ADDRESS_BYTES, "big")

VESTING: Final = (0x4D05).to_bytes(ADDRESS_BYTES, "big")
"""Holds pay that vests; from contracts version 4 on."""

VERIFIER: Final = (0x4D10).to_bytes(ADDRESS_BYTES, "big")
"""Verifies batches of records natively; delegate-called by the Ledger only."""

KEYS: Final = (0x4D11).to_bytes(ADDRESS_BYTES, "big")
"""Keeps public keys in state; called by the Registry only."""

SIGNATURES: Final = (0x4D12).to_bytes(ADDRESS_BYTES, "big")
"""Verifies an ML-DSA signature for any contract, from execution version 2 on."""

QUOTAS: Final = (0x4D13).to_bytes(ADDRESS_BYTES, "big")
"""Keeps what each sender may send and has sent, and lets the governor change it; from execution version 3 on."""

PROBE: Final = b"merit/probe"
"""What the Ledger's constructor asks a verifier (whole call data, no selector)."""

PROBE_ANSWER_PREIMAGE: Final = b"merit/verifier/1"
"""The verifier answers with keccak256 of this."""
