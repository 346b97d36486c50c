"""Every bound of the RPC server in one place, each with its reason."""

from typing import Final

from chain.limits import BLOCK_BYTES, TRANSACTION_BYTES

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
