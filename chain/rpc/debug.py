"""The `debug_*` methods: what a transaction or a call does inside, and blocks as they are encoded."""

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from chain.errors import TraceLimitError
from chain.execution.states import AccountState, ReachTracer, StateTracer
from chain.execution.tracing import NAMES, CallTracer, Frame, Step, StepTracer, Tracer
from chain.rpc.errors import InvalidParamsError, LimitError, NotTraceableError
from chain.rpc.limits import TRACE_GAS
from chain.rpc.parameters import BlockSelector, CallRequest, Tag
from chain.rpc.shapes import Json, data, number
from chain.rpc.suppositions import STATES, StateOptions, TraceRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from chain.execution.reader import Reader
    from chain.execution.replay import Replayed
    from chain.rpc.ethereum import EthereumMethods
    from merit.clock import Clock

T = TypeVar("T")


class DebugMethods:
    """Answers over the same reader and with the same names of blocks as `EthereumMethods`."""

    def __init__(self, eth: "EthereumMethods", reader: "Reader", clock: "Clock") -> None:
        """Remember where to read; `clock` tells the time of the block that comes next."""
        self._eth, self._reader, self._clock = eth, reader, clock

    # -- what happens inside ----------------------------------------------------------------------------------------

    def trace_transaction(self, name: bytes, request: TraceRequest) -> Json:
        """Run a transaction of the ledger again and return what it did."""
        found = self._reader.transaction(name)
        if found is None:
            message = "transaction not found"
            raise NotTraceableError(message)
        return self._replay(found.place.number, request, found.place.index)[-1][1]

    def trace_block(self, selector: BlockSelector, request: TraceRequest) -> list[Json]:
        """Run a block again and return what each of its transactions did."""
        at = self._eth.find(selector)
        if at is None:
            message = f"block {data(selector) if isinstance(selector, bytes) else f'#{selector}'} not found"
            raise NotTraceableError(message)
        if at == 0:
            message = "genesis is not traceable"
            raise NotTraceableError(message)
        traces = self._replay(at, request, None)
        return [{"txHash": data(replayed.hash), "result": trace} for replayed, trace in traces]

    def trace_call(self, request: CallRequest, selector: BlockSelector, how: TraceRequest) -> Json:
        """Run a call as eth_call does and return what it did."""
        if how.states is not None:
            message = f"{STATES} is of transactions and blocks: a call finds what the block left"
            raise InvalidParamsError(message)
        at, pending = self._eth.number_of(selector), selector is Tag.PENDING
        tracer = _tracer(how)
        call = self._eth.prepared(request, at)
        result = _within_limits(
            lambda: self._reader.call(
                call,
                at,
                pending=pending,
                timestamp=int(self._clock.now()) if pending else None,
                accounts=how.accounts,
                block=how.block,
                tracer=tracer,
            )
        )
        if isinstance(tracer, StepTracer):
            return steps(tracer, gas=result.gas_used, failed=not result.succeeded, output=result.output)
        return frame(tracer.root, how) if tracer.root else {}

    def _replay(self, at: int, request: TraceRequest, index: int | None) -> "list[tuple[Replayed, Json]]":
        receipts = self._reader.receipts(at)[: None if index is None else index + 1]
        gas = receipts[-1].receipt.cumulative_gas if receipts else 0
        if request.states is not None:
            gas *= 2  # once to learn what is reached, once to read it
        if gas > TRACE_GAS:
            message = f"{gas} gas would have to be spent again, at most {TRACE_GAS} is"
            raise LimitError(message)
        watched = [place for place in range(len(receipts)) if index in {None, place}]
        tracers: dict[int, Tracer]
        if request.states is None:
            tracers = {place: _tracer(request) for place in watched}
        else:
            reaching = {place: ReachTracer() for place in watched}
            _within_limits(lambda: self._reader.replay(at, reaching.get, index))
            tracers = {place: StateTracer(tracer.touched) for place, tracer in reaching.items()}
        done = _within_limits(lambda: self._reader.replay(at, tracers.get, index))
        return [
            (replayed, _trace(tracers[place], replayed, request))
            for place, replayed in enumerate(done)
            if place in tracers
        ]

    # -- blocks as they are encoded ---------------------------------------------------------------------------------

    def raw_header(self, selector: BlockSelector) -> str:
        """Return the RLP of a block's header, whose keccak256 is the block's hash."""
        return data(self._reader.header(self._eth.number_of(selector)).encode())

    def raw_block(self, selector: BlockSelector) -> str:
        """Return the RLP of a block."""
        return data(self._reader.block(self._eth.number_of(selector)).encode())

    def raw_receipts(self, selector: BlockSelector) -> list[str]:
        """Return the consensus encoding of each receipt of a block."""
        return [data(receipt.encode()) for receipt in self._reader.block(self._eth.number_of(selector)).receipts]

    def raw_transaction(self, name: bytes) -> str:
        """Return the bytes of a transaction of the ledger; `0x` when no block holds it."""
        found = self._reader.transaction(name)
        return data(b"" if found is None else found.raw)


def _tracer(request: TraceRequest) -> CallTracer | StepTracer:
    return CallTracer() if request.steps is None else StepTracer(request.steps)


def _within_limits(run: "Callable[[], T]") -> T:
    try:
        return run()
    except TraceLimitError as error:
        raise LimitError(str(error)) from None


def _trace(tracer: Tracer | None, replayed: "Replayed", request: TraceRequest) -> Json:
    if isinstance(tracer, StateTracer) and request.states is not None:
        return states(tracer, request.states)
    if isinstance(tracer, StepTracer):
        return steps(tracer, gas=replayed.gas_used, failed=not replayed.succeeded, output=replayed.output)
    root = tracer.root if isinstance(tracer, CallTracer) else None
    if root is None:
        return {}
    root.gas, root.gas_used = replayed.gas, replayed.gas_used  # a transaction's, with what it pays before it begins
    return frame(root, request)


def frame(found: Frame, request: TraceRequest) -> Json:
    """Write a message and those below it as geth's callTracer does."""
    shape: Json = {
        "from": data(found.sender),
        "gas": number(found.gas),
        "gasUsed": number(found.gas_used),
    }
    if found.to is not None:
        shape["to"] = data(found.to)
    shape["input"] = data(found.input)
    if found.output:
        shape["output"] = data(found.output)
    if found.error:
        shape["error"] = found.error
    if found.reason:
        shape["revertReason"] = found.reason
    if found.calls and not request.only_top_call:
        shape["calls"] = [frame(call, request) for call in found.calls]
    if found.logs and request.with_logs:
        shape["logs"] = [
            {
                "address": data(log.address),
                "topics": [data(topic) for topic in log.topics],
                "data": data(log.data),
                "position": number(position),
                "index": number(index),
            }
            for log, position, index in found.logs
        ]
    if found.value is not None:
        shape["value"] = number(found.value)
    return shape | {"type": found.kind}


def states(tracer: StateTracer, options: StateOptions) -> Json:
    """Write accounts as geth's prestateTracer does: all that were reached, or what changed of them (`pre`, `post`)."""
    if not options.changes:
        return {data(address): _account(found, options) for address, found in tracer.found.items() if not found.empty}
    pre: Json = {}
    post: Json = {}
    for address, found in tracer.found.items():
        left, name = tracer.left[address], data(address)
        if found == left:
            continue
        changed = {slot for slot, value in found.storage.items() if left.storage[slot] != value}
        if not found.empty:
            kept = {slot: found.storage[slot] for slot in sorted(changed) if found.storage[slot]}
            pre[name] = _account(replace(found, storage=kept), options)
        if not left.empty:
            kept = {slot: left.storage[slot] for slot in sorted(changed) if left.storage[slot]}
            whole = _account(replace(left, storage=kept), options)
            same = {key for key in ("balance", "nonce", "code") if getattr(found, key) == getattr(left, key)}
            post[name] = {key: value for key, value in whole.items() if key not in same}
    return {"pre": pre, "post": post}


def _account(found: AccountState, options: StateOptions) -> Json:
    shape: Json = {"balance": number(found.balance)}
    if found.nonce:
        shape["nonce"] = found.nonce
    if found.code and options.code:
        shape["code"] = data(found.code)
    if found.storage and options.storage:
        shape["storage"] = {_word(slot): _word(value) for slot, value in found.storage.items()}
    return shape


_WORD_DIGITS = 64


def steps(tracer: StepTracer, *, gas: int, failed: bool, output: bytes) -> Json:
    """Write instructions as geth's struct logger does, words of memory and storage with `0x` (execution-apis)."""
    return {
        "gas": gas,
        "failed": failed,
        "returnValue": data(output),
        "structLogs": [_step(step) for step in tracer.steps],
    }


def _step(step: Step) -> Json:
    shape: Json = {
        "pc": step.pc,
        "op": NAMES.get(step.opcode, f"opcode {step.opcode:#x} not defined"),
        "gas": step.gas,
        "gasCost": step.cost,
        "depth": step.depth,
    }
    if step.error:
        shape["error"] = step.error
    if step.stack is not None:
        shape["stack"] = list(map(number, step.stack))
    if step.return_data:
        shape["returnData"] = data(step.return_data)
    if step.memory:
        words = range(0, len(step.memory), _WORD_DIGITS // 2)
        shape["memory"] = [data(step.memory[at : at + _WORD_DIGITS // 2]) for at in words]
    if step.storage is not None:
        shape["storage"] = {_word(slot): _word(value) for slot, value in step.storage.items()}
    return shape


def _word(value: int) -> str:
    return f"0x{value:0{_WORD_DIGITS}x}"
