"""What each request of CometBFT asks of the application, and the node's own pool between them.

CometBFT calls FinalizeBlock and Commit for every decided height, in order; after a crash it asks Info where the ledger
stands and repeats what is missing. The application keeps the rest of the promise: `chain/application.py`.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec

from chain import light
from chain.application import CheckResult, Code, Misbehavior, Snapshot, Timestamp
from chain.engines.cometbft.wakeup import CALL, Calls, is_call
from chain.engines.errors import AbciError, PoolFullError
from chain.genesis import decode_genesis
from chain.light import Height
from chain.proto import abci_pb2 as pb
from chain.proto import comet_pb2
from chain.validators import genesis_validators
from merit.clock import thread_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from chain.application import Application, Finalized
    from chain.engines.pool import Pool
    from chain.genesis import Genesis

_LOGGER: Final = logging.getLogger(__name__)

CODESPACE: Final = "merit"
UNWANTED: Final = 100
"""CheckTx's code for a wake-up call that nobody needs any more."""


class Bridge:
    """Answers one CometBFT.

    Args:
        application: the ledger, which begins with `genesis` when it is empty.
        genesis: the document that the chain was made from.
        pool: where this node keeps transactions that wait.
        decided: called after each commit with the height and its proposer's address.

    Since the start, `refused` counts what this node did not take, `dropped` what it took and a later block made void,
    by code; `time` is that of the newest height, None before the first.

    """

    def __init__(
        self, application: Application, genesis: Genesis, pool: Pool, decided: Callable[[Height, bytes], None]
    ) -> None:
        """Start with an empty pool."""
        self.refused: Counter[Code] = Counter()
        self.dropped: Counter[Code] = Counter()
        self.time: Timestamp | None = None
        self._application, self._genesis, self._pool, self._decided = application, genesis, pool, decided
        self._calls = Calls()
        self._waiting: dict[bytes, bytes] = {}  # hash -> transaction in the pool
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._finalized: Finalized | None = None
        self._proposer = b""

    def admit(self, raw: bytes) -> CheckResult:
        """Check a transaction and keep it in the pool if it may run; raises PoolFullError."""
        verdict = self._pool.known(raw)
        if verdict is None:
            try:
                self._pool.require_room(raw)
            except PoolFullError:
                self.refused[Code.POOL_FULL] += 1
                raise
            begun = thread_seconds()
            verdict = self._application.check_tx(raw)
            self._spent["admit"] += thread_seconds() - begun
            if verdict.accepted:
                self._pool.add(raw, b"", verdict)
                self._waiting[verdict.hash] = raw
            else:
                self._calls.answer(verdict.hash)
                self.refused[verdict.code] += 1
        return verdict

    def waiting(self) -> list[tuple[bytes, CheckResult]]:
        """Return what is in the pool, the oldest first, each with the verdict on it."""
        return self._pool.verdicts()

    def waits(self, name: bytes) -> bool:
        """Tell whether the transaction of this hash is in the pool."""
        return name in self._waiting

    def answer(self, request: pb.Request) -> pb.Response:
        """Answer one request; an exception is a broken invariant and must stop the node."""
        begun = thread_seconds()
        response = self._answer(request)
        self._spent[request.WhichOneof("value") or "nothing"] += thread_seconds() - begun
        return response

    def _answer(self, request: pb.Request) -> pb.Response:
        match request.WhichOneof("value"):
            case "echo":
                return pb.Response(echo=pb.ResponseEcho(message=request.echo.message))
            case "flush":
                return pb.Response(flush=pb.ResponseFlush())
            case "info":
                return pb.Response(info=self._info())
            case "init_chain":
                return pb.Response(init_chain=self._init_chain(request.init_chain))
            case "query":
                return pb.Response(query=self._query(request.query))
            case "check_tx":
                return pb.Response(check_tx=self._check_tx(request.check_tx))
            case "prepare_proposal":
                return pb.Response(prepare_proposal=self._prepare(request.prepare_proposal))
            case "process_proposal":
                return pb.Response(process_proposal=self._process(request.process_proposal))
            case "finalize_block":
                return pb.Response(finalize_block=self._finalize(request.finalize_block))
            case "commit":
                return pb.Response(commit=self._commit())
            case "list_snapshots":
                return pb.Response(list_snapshots=self._list_snapshots())
            case "offer_snapshot":
                return pb.Response(offer_snapshot=self._offer(request.offer_snapshot))
            case "load_snapshot_chunk":
                return pb.Response(load_snapshot_chunk=self._load(request.load_snapshot_chunk))
            case "apply_snapshot_chunk":
                return pb.Response(apply_snapshot_chunk=self._apply(request.apply_snapshot_chunk))
            case other:
                msg = f"CometBFT asks for {other or 'something unknown'}, which this ledger does not use"
                raise AbciError(msg)

    def _info(self) -> pb.ResponseInfo:
        info = self._application.info()
        return pb.ResponseInfo(
            data="merit",
            version=version("merit-ledger"),
            app_version=self._genesis.versions.execution,
            last_block_height=info.height,
            last_block_app_hash=info.app_hash,
        )

    def _init_chain(self, request: pb.RequestInitChain) -> pb.ResponseInitChain:
        """Begin the ledger, if CometBFT's genesis file says what the document says."""
        given = decode_genesis(request.app_state_bytes)
        powers = {update.pub_key.mldsa65: update.power for update in request.validators}
        ours = {validator.public_key: validator.power for validator in genesis_validators(self._genesis)}
        for what, theirs, wanted in (
            ("chain id", request.chain_id, self._genesis.name),
            ("time", (request.time.seconds, request.time.nanos), (self._genesis.time, 0)),
            ("initial height", request.initial_height, 1),
            ("validators", powers, ours),
            ("document", given.digest(), self._genesis.digest()),
        ):
            if theirs != wanted:
                msg = f"CometBFT's genesis file has another {what} than the ledger's genesis document"
                raise AbciError(msg)
        return pb.ResponseInitChain(app_hash=self._application.init_chain(self._genesis))

    def _query(self, request: pb.RequestQuery) -> pb.ResponseQuery:
        """Answer `/status`; everything else is asked by Ethereum's JSON-RPC.

        `spent` is processor time in seconds by kind of request since the start; `admit` is checking transactions, for
        whoever brought them.
        """
        info = self._application.info()
        if request.path != "/status":
            return pb.ResponseQuery(code=1, log="the only path is /status; ask the node's JSON-RPC", height=info.height)
        status = {"height": info.height, "app_hash": info.app_hash.hex(), "pool": len(self._pool), "spent": self._spent}
        return pb.ResponseQuery(value=msgspec.json.encode(status), height=info.height)

    def _check_tx(self, request: pb.RequestCheckTx) -> pb.ResponseCheckTx:
        raw = request.tx
        if is_call(raw):
            height = self._application.height
            if self._calls.stands(raw, height, waiting=raw[len(CALL) :] in self._waiting):
                return pb.ResponseCheckTx()
            return pb.ResponseCheckTx(code=UNWANTED, log="its transaction waits no more", codespace=CODESPACE)
        if request.type == pb.CHECK_TX_TYPE_RECHECK and self._pool.known(raw) is None:
            return pb.ResponseCheckTx(code=UNWANTED, log="it waits no more", codespace=CODESPACE)
        try:
            verdict = self.admit(raw)
        except PoolFullError as error:
            return pb.ResponseCheckTx(code=Code.POOL_FULL, log=str(error), codespace=CODESPACE)
        return pb.ResponseCheckTx(code=verdict.code, log=verdict.reason, gas_wanted=verdict.gas, codespace=CODESPACE)

    def _prepare(self, request: pb.RequestPrepareProposal) -> pb.ResponsePrepareProposal:
        waiting = self._pool.transactions()
        time = Timestamp(request.time.seconds, request.time.nanos)
        return pb.ResponsePrepareProposal(txs=self._application.prepare_proposal(waiting, request.max_tx_bytes, time))

    def _process(self, request: pb.RequestProcessProposal) -> pb.ResponseProcessProposal:
        accepted = self._application.process_proposal(request.txs, Timestamp(request.time.seconds, request.time.nanos))
        if not accepted:
            _LOGGER.warning("height %d: a proposal is refused, it could not be executed", request.height)
        status = pb.ResponseProcessProposal.ACCEPT if accepted else pb.ResponseProcessProposal.REJECT
        return pb.ResponseProcessProposal(status=status)

    def _finalize(self, request: pb.RequestFinalizeBlock) -> pb.ResponseFinalizeBlock:
        time = Timestamp(request.time.seconds, request.time.nanos)
        finalized = self._application.finalize_block(
            request.height, time, request.txs, [_misbehavior(item) for item in request.misbehavior]
        )
        self._finalized, self._proposer = finalized, request.proposer_address
        self.time = time
        return pb.ResponseFinalizeBlock(
            tx_results=[
                pb.ExecTxResult(code=result.code, log=result.reason, gas_used=result.gas_used, codespace=CODESPACE)
                for result in finalized.results
            ],
            validator_updates=[validator_update(key, power) for key, power in finalized.validator_updates],
            app_hash=finalized.app_hash,
        )

    def _commit(self) -> pb.ResponseCommit:
        self._application.commit()
        if self._finalized is not None:
            for result in self._finalized.results:
                self._drop(result.hash)
        for raw in self._pool.transactions():
            verdict = self._application.check_tx(raw, recheck=True)
            if not verdict.accepted:
                _LOGGER.info("transaction %s is dropped: %s", verdict.hash.hex(), verdict.reason)
                self._drop(verdict.hash)
                self.dropped[verdict.code] += 1
        self._decided(Height(self._application.height), self._proposer)
        return pb.ResponseCommit()

    def _list_snapshots(self) -> pb.ResponseListSnapshots:
        return pb.ResponseListSnapshots(
            snapshots=[
                pb.Snapshot(
                    height=one.height, format=one.format, chunks=one.chunks, hash=one.hash, metadata=one.metadata
                )
                for one in self._application.list_snapshots()
            ]
        )

    def _offer(self, request: pb.RequestOfferSnapshot) -> pb.ResponseOfferSnapshot:
        offered = request.snapshot
        snapshot = Snapshot(offered.height, offered.format, offered.chunks, offered.hash, offered.metadata)
        result = self._application.offer_snapshot(snapshot, request.app_hash)
        _LOGGER.info("a snapshot of height %d is offered: %s", snapshot.height, result.name)
        return pb.ResponseOfferSnapshot(result=pb.ResponseOfferSnapshot.Result.ValueType(result))

    def _load(self, request: pb.RequestLoadSnapshotChunk) -> pb.ResponseLoadSnapshotChunk:
        chunk = self._application.load_snapshot_chunk(request.height, request.format, request.chunk)
        return pb.ResponseLoadSnapshotChunk(chunk=chunk)

    def _apply(self, request: pb.RequestApplySnapshotChunk) -> pb.ResponseApplySnapshotChunk:
        applied = self._application.apply_snapshot_chunk(request.index, request.chunk, request.sender)
        if self._application.height:
            _LOGGER.info("the ledger begins at height %d, from a snapshot", self._application.height)
            self._decided(Height(self._application.height), b"")
        return pb.ResponseApplySnapshotChunk(
            result=pb.ResponseApplySnapshotChunk.Result.ValueType(applied.result),
            refetch_chunks=applied.refetch_chunks,
            reject_senders=applied.reject_senders,
        )

    def _drop(self, name: bytes) -> None:
        self._calls.answer(name)
        raw = self._waiting.pop(name, None)
        if raw is not None:
            self._pool.remove(raw)


def validator_update(public_key: bytes, power: int) -> pb.ValidatorUpdate:
    """Return what tells CometBFT about a validator's power; 0 removes it."""
    return pb.ValidatorUpdate(pub_key=comet_pb2.PublicKey(mldsa65=public_key), power=power)


def _misbehavior(item: pb.Misbehavior) -> Misbehavior:
    return Misbehavior(
        kind=item.type,
        validator=item.validator.address,
        power=item.validator.power,
        height=item.height,
        time_ns=light.Timestamp(item.time.seconds, item.time.nanos).to_ns(),
        total_power=item.total_voting_power,
    )
