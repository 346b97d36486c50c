"""One block from the transactions of a decided height: a pure function of the parent, the height, its time and them.

A transaction that cannot run (it does not decode, its signature fails, its nonce is wrong, ...) is left out, the same
way on every replica, and reported with its code; what runs and reverts is in the block. An exception that is neither is
a broken invariant and stops the node.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from eth.exceptions import VMError
from eth_utils.exceptions import ValidationError

from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.execution.blocks import (
    NO_REQUESTS,
    Block,
    BlockNumber,
    EngineHeight,
    Header,
    Log,
    Misbehavior,
    Receipt,
    bloom_of,
    misbehavior_hash,
)
from chain.execution.evm import Environment, MeritExecutor, MeritState, open_state
from chain.execution.governance import ValidatorUpdate, validator_updates, validators_named
from chain.execution.index import ancestor_hashes, stage_block
from chain.execution.keys import find_key, keep_key
from chain.execution.nodes import StagedNodes
from chain.execution.quotas import Meter, window_seconds
from chain.execution.reverts import revert_reason
from chain.execution.transactions import Candidate, Opener, judge
from chain.execution.trie import ordered_root
from chain.execution.upgrades import begin_block
from chain.execution.verdicts import Code, Refusal
from chain.storage import Store

if TYPE_CHECKING:
    from eth.abc import ComputationAPI, SignedTransactionAPI

_WORD = 32


@dataclass(frozen=True, slots=True)
class TxResult:
    """What a decided transaction did; `logs` is empty unless `code` is OK."""

    code: Code
    reason: str
    hash: bytes
    gas_used: int = 0
    logs: tuple[Log, ...] = ()


@dataclass(frozen=True, slots=True)
class Executed:
    """A height's results, one per transaction in order, its block if it has one, and what changed for the engine."""

    results: tuple[TxResult, ...]
    block: Block | None
    validator_updates: tuple[ValidatorUpdate, ...] = ()


class Executor:
    """Executes heights on top of a store's committed state and stages what they change."""

    def __init__(self, store: Store, environment: Environment, opener: Opener) -> None:
        """Work on one ledger's store; `opener` may know transactions from the pool."""
        self._store = store
        self._environment = environment
        self._opener = opener

    def execute(
        self,
        parent: Header,
        transactions: Sequence[bytes],
        misbehavior: Sequence[Misbehavior],
        *,
        height: EngineHeight,
        time: int,
        always: bool,
        watch: Callable[[MeritState], None] | None = None,
    ) -> Executed:
        """Execute a height; stage its block and state if it has a transaction that runs, misbehavior, or `always`.

        `time`: the engine's block time in whole seconds since the epoch; the block's is never below its parent's.
        `watch` sees the state once all has run, before its accounts are handed to the store and forgotten.
        """
        number = BlockNumber(parent.number + 1)
        parent_hash = parent.hash
        draft = Header(
            parent_hash=parent_hash,
            state_root=parent.state_root,
            number=number,
            gas_limit=self._environment.gas_limit,
            timestamp=max(time, parent.timestamp),
            extra_data=height.to_bytes(8, "big"),
            requests_hash=misbehavior_hash(misbehavior) if misbehavior else NO_REQUESTS,
        )
        ancestors = ancestor_hashes(self._store, parent, parent_hash)
        state = open_state(StagedNodes(self._store), draft, parent.state_root, ancestors, self._environment)
        meter = None
        if window_seconds(state.get_storage):
            before = open_state(StagedNodes(self._store), draft, parent.state_root, (), self._environment)
            deployers = self._environment.deployers
            meter = Meter(before.get_storage, number=number, time=draft.timestamp, deployers=deployers)
        expelled = begin_block(state, misbehavior)
        results: list[TxResult] = []
        included: list[bytes] = []
        receipts: list[Receipt] = []
        gas_used = 0
        for raw in transactions:
            result, kind = self._run(state, meter, raw, draft.gas_limit - gas_used)
            results.append(result)
            if kind is None:
                continue
            gas_used += result.gas_used
            included.append(raw)
            succeeded = result.code is Code.OK
            receipts.append(Receipt(kind, succeeded, gas_used, bloom_of(result.logs), result.logs))
        if watch is not None:
            watch(state)
        if not included and not misbehavior and not always:
            return Executed(tuple(results), None)
        if meter is not None:
            meter.write(state)
        state.persist()
        encoded = [receipt.encode() for receipt in receipts]
        blooms = (int.from_bytes(receipt.bloom, "big") for receipt in receipts)
        bloom = 0
        for bits in blooms:
            bloom |= bits
        header = replace(
            draft,
            state_root=bytes(state.state_root),
            transactions_root=ordered_root(included),
            receipts_root=ordered_root(encoded),
            bloom=bloom.to_bytes(len(draft.bloom), "big"),
            gas_used=gas_used,
        )
        block = Block(header, header.hash, tuple(included), tuple(receipts), tuple(misbehavior))
        hashes = [result.hash for result in results if result.code <= Code.REVERTED]
        stage_block(self._store, block, hashes, encoded)
        self._environment.events.remember(block, hashes)
        named = expelled + validators_named(log for result in results for log in result.logs)
        updates: tuple[ValidatorUpdate, ...] = ()
        if named:
            before = open_state(StagedNodes(self._store), parent, parent.state_root, (), self._environment)
            updates = validator_updates(before, state, named)
        return Executed(tuple(results), block, updates)

    def _run(self, state: MeritState, meter: Meter | None, raw: bytes, gas_left: int) -> tuple[TxResult, int | None]:
        """Run one transaction; the second value is its type, or None when it is left out of the block."""
        opened = self._opener.open(raw, lambda address: find_key(state, address))
        if isinstance(opened, Refusal):
            return _left_out(opened, keccak256(raw)), None
        refusal = judge(
            opened,
            nonce=state.get_nonce(opened.sender),
            balance=state.get_balance(opened.sender),
            gas_left=gas_left,
            base_fee=state.execution_context.base_fee_per_gas or 0,
            environment=self._environment,
        )
        if refusal is None and meter is not None:
            refusal = meter.refusal(opened)
        if refusal is not None:
            return _left_out(refusal, opened.hash), None
        state.lock_changes()
        snapshot = state.snapshot()
        try:
            if opened.new_key is not None:
                keep_key(state, opened.sender, opened.new_key)
            result = run_candidate(state, opened)[0]
        except (ValidationError, VMError) as error:
            # py-evm refuses before the first opcode what `judge` has let pass: a bug of ours, but the same on all
            # replicas, so leaving the transaction out keeps the ledger in one piece and alive
            state.revert(snapshot)
            return _left_out(Refusal(Code.MALFORMED, f"the EVM refuses it: {error}"), opened.hash), None
        if meter is not None:
            meter.count(opened)
        return result, opened.type_id


def run_candidate(
    state: MeritState, candidate: Candidate, executor_class: type[MeritExecutor] = MeritExecutor
) -> "tuple[TxResult, ComputationAPI]":
    """Run a judged transaction in `state`; return what it did and py-evm's account of it."""
    executor = executor_class(state)
    computation = executor(cast("SignedTransactionAPI", candidate))
    gas = executor.gas_used(candidate, computation)
    if computation.is_error:
        return TxResult(Code.REVERTED, revert_reason(computation), candidate.hash, gas), computation
    return TxResult(Code.OK, "", candidate.hash, gas, logs_of(computation)), computation


def logs_of(computation: "ComputationAPI") -> tuple[Log, ...]:
    """Return a computation's events in order."""
    return tuple(
        Log(Address(address), tuple(topic.to_bytes(_WORD, "big") for topic in topics), data)
        for address, topics, data in computation.get_log_entries()
    )


def _left_out(refusal: Refusal, name: bytes) -> TxResult:
    return TxResult(refusal.code, refusal.reason, name)
