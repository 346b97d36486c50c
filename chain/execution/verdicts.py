"""What can become of a transaction; the same codes in the pool, in proposals and in decided blocks."""

from dataclasses import dataclass
from enum import IntEnum


class Code(IntEnum):
    """0 and 1 are in a block; a transaction with any other code never gets into one and changes nothing."""

    OK = 0
    REVERTED = 1  # its changes undone, its nonce used, its gas paid
    MALFORMED = 10  # does not decode, or is too long
    REFUSED_TYPE = 11  # a type that this ledger does not take
    WRONG_CHAIN = 12
    UNKNOWN_KEY = 13  # refers to a key that state does not keep
    BAD_SIGNATURE = 14
    NONCE_USED = 15
    NONCE_GAP = 16
    FUNDS = 17
    GAS = 18  # less than the intrinsic gas, or more than a block or what is left of it
    FEE = 19  # offers less than the base fee
    NOT_DEPLOYER = 20  # creates a contract without being named in genesis
    POOL_FULL = 21  # this node holds too many transactions of the sender already
    QUOTA = 22  # the sender's or the job's share of this window of block time is used up


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a transaction is left out; `reason` is one line for its sender."""

    code: Code
    reason: str
