"""FIPS 204 context strings: they bind a signature to its use and to one ledger (FIPS 204, section 5.2).

A context is part of what is signed, so a transaction's signature can never pass for a record's, nor one ledger's for
another's, whatever the bytes of the messages are. At most 255 bytes.
"""

GENESIS_HASH_BYTES = 32


def tx_context(genesis_hash: bytes) -> bytes:
    """Context of transactions of type 0x50 on the ledger whose block 0 has this hash (32 bytes)."""
    return b"merit/tx/1" + genesis_hash


def record_context(genesis_hash: bytes) -> bytes:
    """Context of a client's record of an update on the ledger whose block 0 has this hash (32 bytes)."""
    return b"merit/record/1" + genesis_hash


def contract_context(genesis_hash: bytes) -> bytes:
    """Context of what a contract has verified on the ledger whose block 0 has this hash (32 bytes)."""
    return b"merit/contract/1" + genesis_hash
