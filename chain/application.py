"""The ledger as a replicated application, in the shape of ABCI 2.0 and with nothing of any engine.

    info  init_chain  check_tx  prepare_proposal  process_proposal  finalize_block  commit
    list_snapshots  load_snapshot_chunk  offer_snapshot  apply_snapshot_chunk

An engine calls `finalize_block` for each height that it decided, in order, then `commit`. `finalize_block` touches no
durable state and may come again for the same height, with the same or (before a decision is final) other content;
`commit` writes the block, the state, the height and the app hash in one database transaction. After a crash `info`
tells the last durable height, and the engine goes on from there.

An Ethereum-style block exists for each height that holds valid transactions or reported misbehavior (each height when
the genesis document says so). The app hash is the hash of the newest block, so an idle ledger's app hash stands still.

Everything runs in one thread, the engine's; readers (`reader()`) run in the same thread and see committed state only.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.crypto.hashing import keccak256
from chain.errors import EngineError, StoreChainError, StoreCorruptError, StoreMissingError
from chain.execution.again import Again, Decided, execute_again
from chain.execution.blocks import Block, EngineHeight, Header, Misbehavior
from chain.execution.evm import open_state
from chain.execution.executor import Executor, TxResult
from chain.execution.governance import Seat, ValidatorUpdate
from chain.execution.index import (
    GENESIS_DOCUMENT,
    Commit,
    ancestor_hashes,
    number_key,
    read_commit,
    read_header,
    stage_block,
    stage_commit,
)
from chain.execution.nodes import CommittedNodes
from chain.execution.pool import Queue
from chain.execution.predeploy import environment_of, stage_genesis_state
from chain.execution.reader import Reader
from chain.execution.transactions import Opener
from chain.execution.verdicts import Code, Refusal
from chain.genesis import Genesis, decode_genesis
from chain.snapshots.joining import Applied, ApplyResult, Joining, OfferResult
from chain.snapshots.manifest import Snapshot
from chain.storage import Space, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.crypto.addresses import Address
    from chain.execution.evm import Environment
    from chain.snapshots.keeping import Keeper

__all__ = [
    "Again",
    "Application",
    "Applied",
    "ApplyResult",
    "Block",
    "CheckResult",
    "Code",
    "Decided",
    "Finalized",
    "Info",
    "Misbehavior",
    "OfferResult",
    "Seat",
    "Snapshot",
    "Timestamp",
    "TxResult",
    "ValidatorUpdate",
]

_TRANSACTION_OVERHEAD: Final = 5  # protobuf's tag and length of one transaction in a block (CometBFT's max_tx_bytes)


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """The engine's block time (UTC)."""

    seconds: int
    nanos: int = 0


@dataclass(frozen=True, slots=True)
class Info:
    """The last durable commit; height 0 and an empty app hash before `init_chain`.

    `versions`: execution, contracts, rules, as they hold in the newest block.
    """

    height: int
    app_hash: bytes
    versions: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The pool's verdict; `sender` is None when the transaction does not open."""

    code: Code
    reason: str
    hash: bytes
    sender: "Address | None" = None
    nonce: int = 0
    gas: int = 0

    @property
    def accepted(self) -> bool:
        """Tell whether the pool takes it."""
        return self.code is Code.OK


@dataclass(frozen=True, slots=True)
class Finalized:
    """What a decided height did; one result per transaction of the height, in order.

    `validator_updates`: public key (ML-DSA-65) and power of each validator that the height changed, power 0 for one
    that leaves. For the engine, which counts with them from two heights later on (CometBFT: height + 2).
    """

    height: int
    app_hash: bytes
    results: tuple[TxResult, ...]
    block: Block | None
    validator_updates: tuple[ValidatorUpdate, ...] = ()


@dataclass(slots=True)
class _Ledger:
    """Everything that exists once block 0 does."""

    genesis: Genesis
    environment: "Environment"
    opener: Opener
    executor: Executor
    height: int
    head: Header
    head_hash: bytes
    time: int  # seconds; of the last height, also one without a block, or of the newest block after a start
    pool: Queue


class Application:
    """One replica's ledger over one store."""

    def __init__(self, store: Store, *, keeper: "Keeper | None" = None, genesis: Genesis | None = None) -> None:
        """Open the ledger that `store` holds; an empty store waits for `init_chain` or a snapshot.

        `keeper` takes and serves snapshots; `genesis` is the document that a snapshot from peers must be of.
        `StoreCorruptError` when the newest block is not the one that was committed.
        """
        self._store = store
        self._keeper = keeper
        self._joining = Joining(store, None if genesis is None else genesis.digest())
        self._ledger = self._open()
        self._finalized: Finalized | None = None
        self._finalized_time = 0

    @property
    def genesis(self) -> Genesis:
        """The genesis document; `StoreMissingError` before `init_chain`."""
        return self._must_exist().genesis

    @property
    def height(self) -> int:
        """The last durable height; 0 before the first."""
        return 0 if self._ledger is None else self._ledger.height

    @property
    def time(self) -> int:
        """The time of the last committed height in seconds; after a start that of the newest block."""
        return self._must_exist().time

    @property
    def genesis_hash(self) -> bytes:
        """The hash of block 0 (32 bytes), which binds every signature to this ledger."""
        return self._must_exist().environment.genesis_hash

    def info(self) -> Info:
        """Tell the last durable height and app hash."""
        if self._ledger is None:
            return Info(0, b"", (0, 0, 0))
        return Info(self._ledger.height, self._ledger.head_hash, self.reader().versions())

    def init_chain(self, genesis: Genesis) -> bytes:
        """Make block 0 durable and return its hash, the genesis hash.

        May come again with the same document; with another one it is a `StoreChainError`. `GenesisError` for a
        document that cannot be used.
        """
        genesis.check()
        if self._ledger is not None:
            if self._ledger.genesis.digest() != genesis.digest():
                raise StoreChainError(self._store.path, genesis.digest(), self._ledger.genesis.digest())
            return self._ledger.environment.genesis_hash
        self._store.discard()
        header = stage_genesis_state(self._store, genesis)
        block = Block(header, header.hash, (), ())
        stage_block(self._store, block, (), ())
        self._store.stage(Space.META, GENESIS_DOCUMENT, genesis.encode())
        stage_commit(self._store, Commit(0, block.number, block.hash))
        self._store.commit()
        self._ledger = self._open()
        return block.hash

    def check_tx(self, raw: bytes, *, recheck: bool = False) -> CheckResult:
        """Judge a transaction for the pool, counting what the pool took since the last commit.

        After each commit the engine asks again for every transaction that it still holds, in its order, with `recheck`:
        that one is quick, because signatures are remembered.
        """
        ledger = self._must_exist()
        result = ledger.pool.add(raw)
        if isinstance(result, Refusal):
            return CheckResult(result.code, result.reason, keccak256(raw))
        if not recheck:
            ledger.pool.prepare(result)
        return CheckResult(Code.OK, "", result.hash, result.sender, result.nonce, result.gas)

    def prepare_proposal(
        self, transactions: "Sequence[bytes]", max_bytes: int, time: Timestamp | None = None
    ) -> list[bytes]:
        """Choose and order transactions for a block: senders take turns, within `max_bytes`, a block's gas and quotas.

        What does not fit, or could not run where it would stand, is left for a later block. `time`: the block's, or an
        earlier one (what a window has room for, a later one has); None: that of the last committed height.
        """
        queue = self._queue(gas=self._must_exist().environment.gas_limit, time=time)
        return queue.choose(transactions, most_bytes=max_bytes, overhead=_TRANSACTION_OVERHEAD)

    def process_proposal(self, transactions: "Sequence[bytes]", time: Timestamp | None = None) -> bool:
        """Tell whether every transaction of a proposal could run where it stands, within a block's gas and quotas.

        `time`: the proposed block's; None: that of the last committed height.
        """
        queue = self._queue(gas=self._must_exist().environment.gas_limit, time=time)
        return not any(isinstance(queue.add(raw), Refusal) for raw in transactions)

    def finalize_block(
        self,
        height: int,
        time: Timestamp,
        transactions: "Sequence[bytes]",
        misbehavior: "Sequence[Misbehavior]" = (),
    ) -> Finalized:
        """Execute a decided height in memory; `EngineError` unless it is the one after the last commit.

        `VersionError` when the next block needs a version that this program does not have: the ledger stands where it
        is until one that has it goes on. May come again: nothing durable changes before `commit`.
        """
        ledger = self._must_exist()
        if height != ledger.height + 1:
            message = f"height {height} was finalized, {ledger.height + 1} is next"
            raise EngineError(message)
        self._store.discard()
        executed = ledger.executor.execute(
            ledger.head,
            transactions,
            misbehavior,
            height=EngineHeight(height),
            time=time.seconds,
            always=ledger.genesis.block_every_height,
        )
        app_hash = ledger.head_hash if executed.block is None else executed.block.hash
        self._finalized = Finalized(height, app_hash, executed.results, executed.block, executed.validator_updates)
        self._finalized_time = max(time.seconds, ledger.time)
        return self._finalized

    def commit(self) -> None:
        """Make the finalized height durable, all of it or nothing; `EngineError` when none is finalized."""
        ledger = self._must_exist()
        finalized = self._finalized
        if finalized is None:
            message = "commit without a finalized height"
            raise EngineError(message)
        head = ledger.head if finalized.block is None else finalized.block.header
        commit = Commit(finalized.height, head.number, finalized.app_hash)
        stage_commit(self._store, commit)
        self._store.commit()
        self._finalized = None
        ledger.height, ledger.head, ledger.head_hash = finalized.height, head, finalized.app_hash
        ledger.time = self._finalized_time
        ledger.pool = self._queue(gas=None, time=None)
        if self._keeper is not None:
            self._keeper.committed(self._store, commit)

    def list_snapshots(self) -> list[Snapshot]:
        """Return the snapshots that peers may start from, the newest first."""
        return [] if self._keeper is None else self._keeper.snapshots()

    def load_snapshot_chunk(self, height: int, version: int, index: int) -> bytes:
        """Return a chunk (counted from 0) of the snapshot of this height and format; empty when it is not here."""
        return b"" if self._keeper is None else self._keeper.load(height, version, index)

    def offer_snapshot(self, snapshot: Snapshot, app_hash: bytes) -> OfferResult:
        """Judge a peer's snapshot and, if it is taken, wait for its chunks; instead of `init_chain`.

        `app_hash` is the one after the snapshot's height, as the light client verified it: what is restored is checked
        down from there. ABORT for a replica that holds a ledger.
        """
        return OfferResult.ABORT if self._ledger is not None else self._joining.offer(snapshot, app_hash)

    def apply_snapshot_chunk(self, index: int, chunk: bytes, sender: str = "") -> Applied:
        """Take a chunk from the peer `sender`; after the last one `info` tells the snapshot's height and app hash."""
        if self._ledger is not None:
            return Applied(ApplyResult.ABORT, reason="this replica holds a ledger")
        applied = self._joining.apply(index, chunk, sender)
        self._ledger = self._open()
        return applied

    def reader(self) -> Reader:
        """Read committed blocks and state; always the newest commit, also after later ones."""
        ledger = self._must_exist()
        return Reader(self._store, ledger.environment)

    def again(self, parent: int, decided: Decided) -> Again:
        """Execute a height on top of the committed block `parent` once more; the ledger stays as it is."""
        ledger = self._must_exist()
        always = ledger.genesis.block_every_height
        return execute_again(self._store, ledger.environment, parent, decided, always=always)

    def _open(self) -> _Ledger | None:
        commit = read_commit(self._store)
        document = self._store.read(Space.META, GENESIS_DOCUMENT)
        if commit is None or document is None:
            return None
        genesis = decode_genesis(document)
        head, first = read_header(self._store, commit.number), read_header(self._store, 0)
        if head.hash != commit.app_hash:
            raise StoreCorruptError(self._store.path, "header", number_key(commit.number), "is not the committed block")
        if first.extra_data != genesis.digest():
            raise StoreCorruptError(self._store.path, "header", number_key(0), "is not the genesis document's")
        environment = environment_of(genesis, first.hash)
        opener = Opener(environment)
        return _Ledger(
            genesis,
            environment,
            opener,
            Executor(self._store, environment, opener),
            commit.height,
            head,
            commit.app_hash,
            head.timestamp,
            self._pool_on(head, opener, environment, gas=None, time=head.timestamp),
        )

    def _queue(self, *, gas: int | None, time: Timestamp | None) -> Queue:
        ledger = self._must_exist()
        seconds = ledger.time if time is None else max(time.seconds, ledger.head.timestamp)
        return self._pool_on(ledger.head, ledger.opener, ledger.environment, gas=gas, time=seconds)

    def _pool_on(
        self, head: Header, opener: Opener, environment: "Environment", *, gas: int | None, time: int
    ) -> Queue:
        ancestors = ancestor_hashes(self._store, head, head.hash)
        state = open_state(CommittedNodes(self._store), head, head.state_root, ancestors, environment)
        return Queue(state, opener, environment, number=head.number + 1, time=time, gas=gas)

    def _must_exist(self) -> _Ledger:
        if self._ledger is None:
            raise StoreMissingError(self._store.path)
        return self._ledger
