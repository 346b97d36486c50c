"""From a request to its answer: JSON-RPC 2.0, the table of methods, and the thread in which they run.

Threads: an application and its reader belong to the thread in which the engine runs (`chain.application`). A dispatcher
remembers the thread and the event loop in which it was made. A call from there runs at once; a call from any other
thread is handed to the loop and waits for its answer. So there is one order of everything, and no lock.
"""

import asyncio
import inspect
import logging
import re
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedTooLongError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from chain.errors import ChainError, OverrideError
from chain.rpc import parameters, suppositions
from chain.rpc.debug import DebugMethods
from chain.rpc.errors import (
    ExecutionFailedError,
    InternalError,
    InvalidParamsError,
    InvalidRequestError,
    LimitError,
    MethodNotFoundError,
    ParseError,
    RpcError,
)
from chain.rpc.ethereum import EthereumMethods
from chain.rpc.ledger import LedgerMethods
from chain.rpc.limits import JSON_DEPTH, REQUESTS_PER_BATCH, WAIT_S
from chain.rpc.parameters import Tag, shown
from chain.rpc.subscriptions import Subscriber, Subscriptions
from chain.rpc.txpool import TxpoolMethods
from chain.rpc.unlocked import UnlockedAccounts

if TYPE_CHECKING:
    from chain.application import Application
    from chain.engines.base import Engine
    from merit.clock import Clock

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter: its name in errors, its reader, and its default (a value as a client would send it)."""

    name: str
    read: Callable[[object, str], object]
    required: bool = True
    default: object = None


@dataclass(frozen=True, slots=True)
class _Method:
    """What answers a method, and the parameters that it takes in order."""

    answer: Callable[..., object]
    parameters: tuple[_Parameter, ...] = ()

    def call(self, values: Sequence[object]) -> object:
        """Read the parameters and answer; trailing ones with a default may be left out or null."""
        if len(values) > len(self.parameters):
            message = f"{len(values)} parameters, at most {len(self.parameters)} are taken"
            raise InvalidParamsError(message)
        arguments = []
        for at, parameter in enumerate(self.parameters):
            value = values[at] if at < len(values) else None
            if value is None and parameter.required:
                message = f"{parameter.name} is missing"
                raise InvalidParamsError(message)
            if value is None:
                value = parameter.default
            arguments.append(None if value is None else parameter.read(value, parameter.name))
        return self.answer(*arguments)


_BLOCK: Final = _Parameter("block", parameters.block)
_AT: Final = _Parameter("block", parameters.block, required=False, default=Tag.LATEST.value)
_NUMBER: Final = _Parameter("block", parameters.numbered_block)
_HASH: Final = _Parameter("hash", parameters.hash32)
_INDEX: Final = _Parameter("index", parameters.count)
_FULL: Final = _Parameter("full transactions", parameters.flag, required=False, default=False)
_ADDRESS: Final = _Parameter("address", parameters.address)
_CALL: Final = _Parameter("transaction", parameters.call)
_ACCOUNTS: Final = _Parameter("state overrides", suppositions.account_overrides, required=False, default={})
_IN_BLOCK: Final = _Parameter("block overrides", suppositions.block_override, required=False)
_SIMULATION: Final = _Parameter("simulation", suppositions.simulation)
_TRACE: Final = _Parameter("options", suppositions.trace_request, required=False, default={})
_QUERY: Final = _Parameter("filter", parameters.log_query)
_FILTER: Final = _Parameter("filter id", parameters.quantity)
_COUNT: Final = _Parameter("count", parameters.count)
_HEIGHT: Final = _Parameter("height", parameters.numbered_block, required=False, default=Tag.LATEST.value)


class Dispatcher:
    """Answers the requests of one node.

    Args:
        application: the node's replica: committed blocks and state. It holds a ledger already (`init_chain`).
        engine: the node's engine; takes transactions, keeps headers and commits.
        clock: tells when a filter was forgotten, and the time of the block that comes next.

    """

    def __init__(self, application: "Application", engine: "Engine", clock: "Clock") -> None:
        """Belong to the calling thread and, when it runs one, to its event loop."""
        self._thread = threading.get_ident()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._running: set[asyncio.Future[None]] = set()  # or nobody would hold what runs
        self._ledger = LedgerMethods(application, engine)
        eth, reader = self.ethereum(application, engine, clock), application.reader()
        self.subscriptions = Subscriptions(reader, eth, engine)
        """Who is told of what."""
        self._methods = _table(eth, DebugMethods(eth, reader, clock), self.txpool(engine), self._ledger)
        self._methods["eth_accounts"] = _Method(list)  # a node holds no user's key
        self._unlocked = partial(UnlockedAccounts, eth, application.genesis.chain_id)

    ethereum = EthereumMethods
    txpool = TxpoolMethods

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of all methods."""
        return tuple(self._methods)

    def announce(self, edge_servers: Mapping[int, str]) -> None:
        """Tell from now on, in `merit_status`, where edge servers serve blobs: member id -> URL."""
        self._ledger.announce(edge_servers)

    def unlock(self, private_keys: Iterable[bytes]) -> None:
        """Sign from now on for classical accounts of these keys (32 bytes each): whoever may ask may spend theirs."""
        self._methods |= _table_of_unlocked(self._unlocked(private_keys))

    def connect(self, deliver: Callable[[bytes], None], drop: Callable[[str], None]) -> Subscriber:
        """Take a connection that may subscribe; see `Subscriber`. In the engine's thread, as all that follows."""
        return Subscriber(deliver, drop)

    def disconnect(self, subscriber: Subscriber) -> None:
        """Forget a connection that has ended; harmless twice."""
        self.subscriptions.forget(subscriber)

    def handle(self, method: str, params: Sequence[object] | None = None, *, wait_s: float = WAIT_S) -> object:
        """Answer one request with Python values that JSON can hold; raises `RpcError` and nothing else.

        From another thread than the dispatcher's it waits for the event loop, at most `wait_s` seconds. In that loop's
        own thread it cannot wait: a method that asks another process is refused with `LimitError`.
        """
        if threading.get_ident() == self._thread or self._loop is None:
            return _at_once(self._answer(method, params))
        answer: Future[object] = Future()

        async def run() -> None:
            try:
                answer.set_result(await self._answer(method, params))
            except RpcError as error:
                answer.set_exception(error)

        def begin() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            task = asyncio.ensure_future(run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        try:
            self._loop.call_soon_threadsafe(begin)
            return answer.result(wait_s)
        except (RuntimeError, WaitedTooLongError):
            answer.cancel()  # what has not begun need not: nobody waits for it
            message = "the node has stopped or is busy; try again"
            raise LimitError(message) from None

    def handle_request(self, request: object) -> object:
        """Answer as `answer_request`, at once; see `handle`."""
        return _at_once(self.answer_request(request))

    def handle_body(self, body: bytes) -> bytes:
        """Answer as `answer_body`, at once; see `handle`."""
        return _at_once(self.answer_body(body))

    async def answer_request(self, request: object, subscriber: Subscriber | None = None) -> object:
        """Answer a decoded JSON-RPC request or batch; None when there is nothing to answer (notifications).

        `subscriber` is the connection that it came over, if that one can be told of things later.
        """
        if not isinstance(request, list):
            return await self._respond(request, subscriber)
        if not request:
            return _error(None, InvalidRequestError("a batch holds at least one request"))
        if len(request) > REQUESTS_PER_BATCH:
            return _error(None, LimitError(f"{len(request)} requests, a batch holds at most {REQUESTS_PER_BATCH}"))
        answers = [answer for one in request if (answer := await self._respond(one, subscriber)) is not None]
        return answers or None

    async def answer_body(self, body: bytes, subscriber: Subscriber | None = None) -> bytes:
        """Answer the bytes of a request; never raises for whatever the bytes are. See `answer_request`."""
        try:
            request = _decode(body)
        except ParseError as error:
            answer: object = _error(None, error)
        else:
            answer = await self.answer_request(request, subscriber)
        return b"" if answer is None else msgspec.json.encode(answer)

    async def _respond(self, request: object, subscriber: Subscriber | None) -> object:
        try:
            number, method, params = _parts(request)
        except InvalidRequestError as error:
            return _error(None, error)
        try:
            if method in _SUBSCRIBING:
                result: object = self._subscribe(method, params, subscriber)
            else:
                result = await self._answer(method, params)
        except RpcError as error:
            return None if number is _NOTIFICATION else _error(number, error)
        return None if number is _NOTIFICATION else {"jsonrpc": "2.0", "id": number, "result": result}

    def _subscribe(self, method: str, params: Sequence[object], subscriber: Subscriber | None) -> object:
        """Answer eth_subscribe and eth_unsubscribe, which are about a connection."""
        if subscriber is None:
            message = f"{method} works over WebSocket only; over HTTP there are filters (eth_newFilter)"
            raise MethodNotFoundError(message)
        first, second, *others = [*params, None, None]
        if others[2:] or first is None:
            message = f"{method} takes a kind and options, or a subscription's id"
            raise InvalidParamsError(message)
        if method == "eth_unsubscribe":
            return self.subscriptions.unsubscribe(subscriber, first)
        return self.subscriptions.subscribe(subscriber, first, second)

    async def _answer(self, method: str, params: Sequence[object] | None) -> object:
        found = self._methods.get(method)
        if found is None:
            message = f"the method {shown(method)} does not exist or is not available"
            raise MethodNotFoundError(message)
        try:
            result = found.call(params or ())
            return await result if inspect.iscoroutine(result) else result
        except RpcError:
            raise
        except OverrideError as error:
            raise ExecutionFailedError(str(error)) from None
        except ChainError as error:  # a damaged store, an engine that has stopped: it says so in one line
            _log.exception("%s failed", method)
            raise InternalError(str(error)) from error
        except Exception as error:
            _log.exception("%s failed", method)
            message = f"{method} failed ({type(error).__name__}); the log of the node says more"
            raise InternalError(message) from error


def _at_once(answer: Coroutine[object, object, _T]) -> _T:
    """Return what a coroutine that does not wait returns; LimitError for one that does."""
    try:
        answer.send(None)
    except StopIteration as done:
        value: _T = done.value
        return value
    answer.close()
    message = "this is asked of another process: ask from another thread, or over HTTP"
    raise LimitError(message)


_SUBSCRIBING: Final = frozenset({"eth_subscribe", "eth_unsubscribe"})
_NOTIFICATION: Final = object()
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)  # one that does not end takes the rest
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def _decode(body: bytes) -> object:
    """Decode JSON of bounded depth: py-evm lifts Python's recursion limit, and a C parser then overruns the stack."""
    if body.count(b"[") + body.count(b"{") > JSON_DEPTH:
        depth = 0
        for bracket in _STRING.sub(b"", body).translate(None, delete=_NO_BRACKETS):
            depth += 1 if bracket in b"[{" else -1
            if depth > JSON_DEPTH:
                message = f"nested deeper than {JSON_DEPTH}"
                raise ParseError(message)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not JSON: {error}"
        raise ParseError(message) from None


def _parts(request: object) -> tuple[object, str, Sequence[object]]:
    """Take a request apart: id, method, parameters (JSON-RPC 2.0, section 4)."""
    if not isinstance(request, Mapping) or request.get("jsonrpc") != "2.0":
        message = 'a request is an object with "jsonrpc": "2.0"'
        raise InvalidRequestError(message)
    number = request.get("id", _NOTIFICATION)
    if number is not _NOTIFICATION and (isinstance(number, bool) or not isinstance(number, str | int | float | None)):
        message = "an id is a string, a number or null"
        raise InvalidRequestError(message)
    method, params = request.get("method"), request.get("params")
    if not isinstance(method, str):
        message = "method is not a string"
        raise InvalidRequestError(message)
    if params is not None and not isinstance(params, list):
        message = "params is not a list; parameters by name are not taken"
        raise InvalidRequestError(message)
    return number, method, params or []


def _error(number: object, error: RpcError) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "error": error.to_json()}


def _table(
    eth: EthereumMethods, debug: DebugMethods, txpool: TxpoolMethods, ledger: LedgerMethods
) -> dict[str, _Method]:
    """Every method with its parameters; the list in README.md beside this file says what each is for."""
    return {
        "web3_clientVersion": _Method(eth.client_version),
        "web3_sha3": _Method(eth.sha3, (_Parameter("data", parameters.data),)),
        "net_version": _Method(eth.net_version),
        "net_listening": _Method(eth.net_listening),
        "net_peerCount": _Method(eth.peer_count),
        "eth_chainId": _Method(eth.chain_id),
        "eth_syncing": _Method(eth.syncing),
        "eth_capabilities": _Method(eth.capabilities),
        "eth_blockNumber": _Method(eth.block_number),
        "eth_getBlockByNumber": _Method(eth.get_block, (_NUMBER, _FULL)),
        "eth_getBlockByHash": _Method(eth.get_block, (_HASH, _FULL)),
        "eth_getBlockTransactionCountByNumber": _Method(eth.transaction_count_of_block, (_NUMBER,)),
        "eth_getBlockTransactionCountByHash": _Method(eth.transaction_count_of_block, (_HASH,)),
        "eth_getUncleCountByBlockNumber": _Method(eth.uncle_count, (_NUMBER,)),
        "eth_getUncleCountByBlockHash": _Method(eth.uncle_count, (_HASH,)),
        "eth_getBlockReceipts": _Method(eth.block_receipts, (_BLOCK,)),
        "eth_getTransactionByHash": _Method(eth.transaction, (_HASH,)),
        "eth_getTransactionByBlockNumberAndIndex": _Method(eth.transaction_at, (_NUMBER, _INDEX)),
        "eth_getTransactionByBlockHashAndIndex": _Method(eth.transaction_at, (_HASH, _INDEX)),
        "eth_getRawTransactionByHash": _Method(debug.raw_transaction, (_HASH,)),
        "eth_getRawTransactionByBlockNumberAndIndex": _Method(eth.raw_transaction_at, (_NUMBER, _INDEX)),
        "eth_getRawTransactionByBlockHashAndIndex": _Method(eth.raw_transaction_at, (_HASH, _INDEX)),
        "eth_getTransactionReceipt": _Method(eth.receipt, (_HASH,)),
        "eth_getBalance": _Method(eth.balance, (_ADDRESS, _AT)),
        "eth_getCode": _Method(eth.code, (_ADDRESS, _AT)),
        "eth_getStorageAt": _Method(eth.storage, (_ADDRESS, _Parameter("slot", parameters.storage_key), _AT)),
        "eth_getStorageValues": _Method(eth.storage_values, (_Parameter("slots", parameters.storage_requests), _AT)),
        "eth_getTransactionCount": _Method(eth.transaction_count, (_ADDRESS, _AT)),
        "eth_getProof": _Method(eth.proof, (_ADDRESS, _Parameter("storage keys", parameters.storage_keys), _AT)),
        "eth_call": _Method(eth.call, (_CALL, _AT, _ACCOUNTS, _IN_BLOCK)),
        "eth_estimateGas": _Method(eth.estimate_gas, (_CALL, _AT, _ACCOUNTS, _IN_BLOCK)),
        "eth_simulateV1": _Method(eth.simulate, (_SIMULATION, _AT)),
        "eth_createAccessList": _Method(eth.create_access_list, (_CALL, _AT)),
        "eth_gasPrice": _Method(eth.gas_price),
        "eth_maxPriorityFeePerGas": _Method(eth.gas_price),
        "eth_baseFee": _Method(eth.base_fee),
        "eth_blobBaseFee": _Method(eth.blob_base_fee),
        "eth_feeHistory": _Method(
            eth.fee_history,
            (
                _Parameter("block count", parameters.count),
                _NUMBER,
                _Parameter("percentiles", parameters.percentiles, required=False),
            ),
        ),
        "eth_sendRawTransaction": _Method(eth.send_raw, (_Parameter("transaction", parameters.raw_transaction),)),
        "eth_getLogs": _Method(eth.logs, (_QUERY,)),
        "eth_newFilter": _Method(eth.new_filter, (_QUERY,)),
        "eth_newBlockFilter": _Method(eth.new_block_filter),
        "eth_newPendingTransactionFilter": _Method(eth.new_transaction_filter),
        "eth_getFilterChanges": _Method(eth.filter_changes, (_FILTER,)),
        "eth_getFilterLogs": _Method(eth.filter_logs, (_FILTER,)),
        "eth_uninstallFilter": _Method(eth.uninstall_filter, (_FILTER,)),
        "debug_traceTransaction": _Method(debug.trace_transaction, (_HASH, _TRACE)),
        "debug_traceCall": _Method(debug.trace_call, (_CALL, _AT, _TRACE)),
        "debug_traceBlockByNumber": _Method(debug.trace_block, (_NUMBER, _TRACE)),
        "debug_traceBlockByHash": _Method(debug.trace_block, (_HASH, _TRACE)),
        "debug_getRawHeader": _Method(debug.raw_header, (_BLOCK,)),
        "debug_getRawBlock": _Method(debug.raw_block, (_BLOCK,)),
        "debug_getRawReceipts": _Method(debug.raw_receipts, (_BLOCK,)),
        "debug_getRawTransaction": _Method(debug.raw_transaction, (_HASH,)),
        "txpool_status": _Method(txpool.status),
        "txpool_content": _Method(txpool.content),
        "txpool_contentFrom": _Method(txpool.content_from, (_ADDRESS,)),
        "txpool_inspect": _Method(txpool.inspect),
        "merit_genesis": _Method(ledger.genesis),
        "merit_genesisHash": _Method(ledger.genesis_hash),
        "merit_status": _Method(ledger.status),
        "merit_quota": _Method(ledger.quota, (_ADDRESS,)),
        "merit_heights": _Method(ledger.heights, (_Parameter("first", parameters.count), _COUNT)),
        "merit_commit": _Method(ledger.commit, (_HEIGHT,)),
        "merit_validators": _Method(ledger.validators, (_HEIGHT,)),
    }


def _table_of_unlocked(unlocked: UnlockedAccounts) -> dict[str, _Method]:
    """List the methods of a node that signs for accounts."""
    message = _Parameter("message", parameters.data)
    typed = _Method(unlocked.sign_typed_data, (_ADDRESS, _Parameter("typed data", parameters.document)))
    return {
        "eth_accounts": _Method(unlocked.addresses),
        "eth_sign": _Method(unlocked.sign, (_ADDRESS, message)),
        "eth_signTransaction": _Method(unlocked.sign_transaction, (_CALL,)),
        "eth_signTypedData": typed,
        "eth_signTypedData_v4": typed,
        "eth_sendTransaction": _Method(unlocked.send_transaction, (_CALL,)),
        "personal_sign": _Method(lambda content, address: unlocked.sign(address, content), (message, _ADDRESS)),
    }
