"""Every bound of the RPC server in one place, each with its reason."""

from typing import Final

from chain.limits import BLOCK_BYTES, CALL_GAS, TRANSACTION_BYTES

REQUEST_BYTES: Final = 8 * TRANSACTION_BYTES  # three full transactions in hexadecimal, with room; about 4 MB
REQUESTS_PER_BATCH: Final = 1_000  # as geth
JSON_DEPTH: Final = 64  # no request of ours nests deeper than six
FILTERS: Final = 1_000  # installed at a time; a client that never asks again must not fill the memory
FILTER_AGE_S: Final = 300.0  # a filter that nobody asks for so long is forgotten (geth: 5 minutes)
ADDRESSES_PER_FILTER: Final = 1_000
TOPICS: Final = 4  # a log has at most four
TOPIC_CHOICES: Final = 1_000  # alternatives for one position
FEE_HISTORY_BLOCKS: Final = 1_024  # as geth
REWARD_PERCENTILES: Final = 100
PROOF_KEYS: Final = 1_024  # storage keys in one eth_getProof
KEEP_ALIVE_S: Final = 75  # an idle connection is closed after so long; closing sooner meets the next request halfway
SHUTDOWN_S: Final = 2  # what open requests get when the server stops
WAIT_S: Final = 120.0  # how long a thread waits for the event loop: a batch of long calls may be before it
HEIGHTS_PER_PAGE: Final = 128  # merit_heights: some 15 ms of reading, during which nothing else is answered
HEIGHTS_BYTES: Final = BLOCK_BYTES  # of records in one page, before hexadecimal; the first height may be longer
SENT_TRANSACTIONS: Final = 10_000  # hashes that filters for pending transactions may still ask for
SENT_BYTES: Final = 16 * 1024 * 1024  # of sent transactions, whole, for whoever asks before a block holds them
OVERRIDDEN_ACCOUNTS: Final = 256  # that one call may suppose to be otherwise
OVERRIDDEN_SLOTS: Final = 4_096  # of one such account
POOL_TRANSACTIONS: Final = 2_000  # that one txpool_content shows: some 0.2 s of decoding
POOL_BYTES: Final = 4 * 1024 * 1024  # of them, before hexadecimal
SIMULATED_BYTES: Final = 4 * 1024 * 1024  # that the calls of one eth_simulateV1 return and log, before hexadecimal
TRACE_GAS: Final = 2 * CALL_GAS  # that transactions before and in a trace may have used: a minute at worst
CONNECTIONS: Final = 2_000  # WebSocket connections at a time; a process may have 1,024 or more files open
SUBSCRIPTIONS: Final = 100  # of one connection
WAITING_BYTES: Final = 512 * 1024  # of notifications that a connection's reader lets lie before it is dropped
PING_S: Final = 20.0  # between pings of an idle connection; one that does not answer for as long is dropped
