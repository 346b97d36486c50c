"""The ledger as a replicated application, in the shape of ABCI 2.0 and with nothing of any engine.

    info  init_chain  check_tx  prepare_proposal  process_proposal  finalize_block  commit

An engine calls `finalize_block` for each height that it decided, in order, then `commit`. `finalize_block` touches no
durable state and may come again for the same height, with the same or (before a decision is final) other content;
`commit` writes the block, the state, the height and the app hash in one database transaction. After a crash `info`
tells the last durable height, and the engine goes on from there.

An Ethereum-style block exists for each height that holds valid transactions or reported misbehavior (each height when
the genesis document says so). The app hash is the hash of the newest block, so an idle ledger's app hash stands still.

Everything runs in one thread, the engine's; readers (`reader()`) run in the same thread and see committed state only.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.crypto.addresses import Address
    from chain.execution.blocks import Block, Log, Misbehavior
    from chain.execution.reader import Reader
    from chain.genesis import Genesis
    from chain.storage import Store


class Code(IntEnum):
    """What became of a transaction. 0 to 9 are in a block; the others never get into one."""

    OK = 0
    REVERTED = 1  # in a block, its changes undone, its nonce used
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
    POOL_FULL = 21  # this node's pool is full for the sender


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """The engine's block time (UTC)."""

    seconds: int
    nanos: int = 0


@dataclass(frozen=True, slots=True)
class Info:
    """The last durable commit; height 0 and an empty app hash before `init_chain`."""

    height: int
    app_hash: bytes
    versions: tuple[int, int, int] = (1, 1, 1)  # execution, contracts, rules


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The pool's verdict; `sender` is None when the transaction does not tell."""

    code: Code
    reason: str = ""
    hash: bytes = b""
    sender: "Address | None" = None
    nonce: int = 0
    gas: int = 0

    @property
    def accepted(self) -> bool:
        """Tell whether the pool takes it."""
        return self.code is Code.OK


@dataclass(frozen=True, slots=True)
class TxResult:
    """What a decided transaction did; `logs` is empty unless `code` is OK."""

    code: Code
    reason: str
    hash: bytes
    gas_used: int = 0
    logs: "tuple[Log, ...]" = ()


@dataclass(frozen=True, slots=True)
class Finalized:
    """What a decided height did; one result per transaction of the height, in order."""

    height: int
    app_hash: bytes
    results: tuple[TxResult, ...]
    block: "Block | None"


class Application:
    """One replica's ledger over one store."""

    def __init__(self, store: "Store") -> None:
        """Open the ledger that `store` holds; an empty store waits for `init_chain`."""
        raise NotImplementedError

    @property
    def genesis(self) -> "Genesis":
        """The genesis document; `StoreMissingError` before `init_chain`."""
        raise NotImplementedError

    @property
    def genesis_hash(self) -> bytes:
        """The hash of block 0 (32 bytes), which binds every signature to this ledger."""
        raise NotImplementedError

    def info(self) -> Info:
        """Tell the last durable height and app hash."""
        raise NotImplementedError

    def init_chain(self, genesis: "Genesis") -> bytes:
        """Make block 0 and return its hash; may come again with the same document before the first commit."""
        raise NotImplementedError

    def check_tx(self, raw: bytes, *, recheck: bool = False) -> CheckResult:
        """Judge a transaction for the pool, counting what the pool took since the last commit."""
        raise NotImplementedError

    def prepare_proposal(self, transactions: "Sequence[bytes]", max_bytes: int) -> list[bytes]:
        """Choose and order transactions for a block: by sender and nonce, within bytes and gas."""
        raise NotImplementedError

    def process_proposal(self, transactions: "Sequence[bytes]") -> bool:
        """Tell whether a proposal holds only what `finalize_block` can execute."""
        raise NotImplementedError

    def finalize_block(
        self,
        height: int,
        time: Timestamp,
        transactions: "Sequence[bytes]",
        misbehavior: "Sequence[Misbehavior]" = (),
    ) -> Finalized:
        """Execute a decided height in memory."""
        raise NotImplementedError

    def commit(self) -> None:
        """Make the finalized height durable, all of it or nothing."""
        raise NotImplementedError

    def reader(self) -> "Reader":
        """Read committed blocks and state."""
        raise NotImplementedError
