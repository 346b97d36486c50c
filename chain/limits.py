"""Every bound of this room in one place, each with its reason; sizes derive from `SIGNATURE_BYTES`.

But those of consensus: that core knows no signatures, so its bounds lie beside it (`chain/consensus/limits.py`).
"""

from typing import Final

from chain.crypto.schemes import PUBLIC_KEY_BYTES, SIGNATURE_BYTES

RECORD_BODY_BYTES: Final = 76  # contracts.records: the packed fields that a client signs
RECORDS_PER_BATCH: Final = 128  # contracts/Ledger.vy; larger batches were slower (recipes: 64 to 128 is the best)
RECORD_BYTES: Final = RECORD_BODY_BYTES + 1 + 20 + max(SIGNATURE_BYTES.values())  # body, scheme, signer, signature

# A transaction is a full batch of the longest records, its own key and signature, and room for the other fields.
TRANSACTION_BYTES: Final = (
    RECORDS_PER_BATCH * RECORD_BYTES + max(PUBLIC_KEY_BYTES.values()) + max(SIGNATURE_BYTES.values()) + 64 * 1024
)
BLOCK_BYTES: Final = 4 * 1024 * 1024  # CometBFT's default block.max_bytes; the engine passes the bound that it has
GAS_LIMIT_LEAST: Final = 300_000_000  # a batch of 128 records with EIP-7623's floor for calldata needs 17 million
GAS_LIMIT_MOST: Final = 2**63 - 1  # EIP-1985
# A proposal of 16 of the longest calls, a vote and its execution: transactions, bytes, gas. Quotas never go below.
COUNCIL_QUOTA_LEAST: Final = (4, 256 * 1024, 100_000_000)
CALL_GAS: Final = 50_000_000  # what a read-only call may burn unless its caller says otherwise
PENDING_PER_SENDER: Final = 4096  # transactions of one sender that may wait in the pool
LOGS_PER_QUERY: Final = 100_000  # a log query that would return more is refused, not cut
KEY_DATA_BYTES: Final = max(PUBLIC_KEY_BYTES.values())

# Snapshots. CometBFT carries a chunk in a message of at most 16 MB and a manifest, as metadata, in one of at most 4 MB.
SNAPSHOT_CHUNK_BYTES: Final = 4 * 1024 * 1024
SNAPSHOT_CHUNKS: Final = 65_536  # 256 GiB in all; a manifest of 2 MiB
SNAPSHOT_HEADER_BYTES: Final = 2_048  # 21 fields, 256 of the bytes a bloom
SNAPSHOT_GENESIS_BYTES: Final = 64 * 1024 * 1024  # ten thousand members with their keys in hexadecimal
SNAPSHOT_NODE_BYTES: Final = 2_048  # a branch is 17 times 33 bytes
SNAPSHOT_CODE_BYTES: Final = 64 * 1024  # EIP-170 allows 24,576
SNAPSHOT_BODY_BYTES: Final = 1024 * 1024  # and one byte per gas used: no byte of calldata or of an event costs less
