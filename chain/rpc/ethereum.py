"""The methods that Ethereum's tools know: `eth_*`, `net_*`, `web3_*` over a reader of committed blocks and state."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from chain.crypto.addresses import ZERO
from chain.crypto.hashing import keccak256
from chain.engines.errors import NotRunningError
from chain.errors import LogLimitError
from chain.execution.blocks import BlockNumber
from chain.execution.reader import Call
from chain.execution.reverts import revert_text
from chain.execution.verdicts import Code
from chain.limits import CALL_GAS
from chain.rpc import shapes
from chain.rpc.errors import (
    ExecutionFailedError,
    ExecutionRevertedError,
    InvalidParamsError,
    LimitError,
    NotFoundError,
    QuotaError,
    RpcError,
    TransactionRefusedError,
)
from chain.rpc.filters import Filters
from chain.rpc.limits import FEE_HISTORY_BLOCKS
from chain.rpc.parameters import BlockSelector, CallRequest, LogQuery, Tag
from chain.rpc.pending import PendingNonces
from chain.rpc.shapes import Json, data, number

if TYPE_CHECKING:
    from chain.application import Application
    from chain.crypto.addresses import Address
    from chain.engines.base import Engine
    from chain.execution.reader import CallResult
    from merit.clock import Clock

CLIENT: Final = f"merit/v{version('merit-ledger')}/python"


class EthereumMethods:
    """Answers for one node. A block here is final at once, so `pending`, `safe` and `finalized` are the newest one.

    Args:
        application: the node's replica: committed blocks and state.
        engine: takes transactions.
        clock: tells when a filter was forgotten, and the time of the block that comes next.

    """

    def __init__(self, application: "Application", engine: "Engine", clock: "Clock") -> None:
        """Start without filters."""
        self._chain_id = application.genesis.chain_id
        self._reader = application.reader()
        self._engine = engine
        self._clock = clock
        self._pending = PendingNonces()
        self._filters = Filters(clock)

    # -- the node ---------------------------------------------------------------------------------------------------

    def client_version(self) -> str:
        """Name this program."""
        return CLIENT

    def net_version(self) -> str:
        """Return the chain id in decimal."""
        return str(self._chain_id)

    def net_listening(self) -> bool:
        """Tell that this node answers."""
        return True

    def chain_id(self) -> str:
        """Return the chain id that transactions bind (EIP-155)."""
        return number(self._chain_id)

    def syncing(self) -> bool:
        """Tell that what is here is all there is: a node serves what it has executed."""
        return False

    def accounts(self) -> list[str]:
        """Return no account: a node holds no user's key."""
        return []

    # -- blocks and what is in them ---------------------------------------------------------------------------------

    def block_number(self) -> str:
        """Return the newest block's number."""
        return number(self._reader.latest())

    def get_block(self, selector: BlockSelector, full: bool) -> Json | None:  # noqa: FBT001 - a parameter of RPC
        """Return a block with hashes or whole transactions; None when there is no such block."""
        at = self._find(selector)
        if at is None:
            return None
        content = self._reader.block(at)
        indices = range(len(content.transactions))
        if full:
            return shapes.block(content, [self.transaction_at(at, index) for index in indices])
        return shapes.block(content, [data(keccak256(raw)) for raw in content.transactions])

    def transaction_count_of_block(self, selector: BlockSelector) -> str | None:
        """Return how many transactions a block holds; None when there is no such block."""
        at = self._find(selector)
        return None if at is None else number(len(self._reader.block(at).transactions))

    def uncle_count(self, selector: BlockSelector) -> str | None:
        """Return 0 for a block: there are no uncles; None when there is no such block."""
        return None if self._find(selector) is None else number(0)

    def block_receipts(self, selector: BlockSelector) -> list[Json] | None:
        """Return all receipts of a block; None when there is no such block."""
        at = self._find(selector)
        if at is None:
            return None
        timestamp = self._reader.header(at).timestamp
        return [shapes.receipt(found, timestamp) for found in self._reader.receipts(at)]

    def transaction(self, name: bytes) -> Json | None:
        """Return a transaction by its hash; None when no block holds it (yet)."""
        found = self._reader.transaction(name)
        return None if found is None else shapes.transaction(found, self._reader.header(found.place.number).timestamp)

    def transaction_at(self, selector: BlockSelector, index: int) -> Json | None:
        """Return a transaction by its place; None when there is none."""
        at = self._find(selector)
        found = None if at is None else self._reader.transaction_at(at, index)
        return None if found is None else shapes.transaction(found, self._reader.header(at).timestamp)

    def receipt(self, name: bytes) -> Json | None:
        """Return the receipt of a transaction by its hash; None when no block holds it (yet)."""
        found = self._reader.receipt(name)
        return None if found is None else shapes.receipt(found, self._reader.header(found.place.number).timestamp)

    # -- state ------------------------------------------------------------------------------------------------------

    def balance(self, address: "Address", selector: BlockSelector) -> str:
        """Return the native coin of an account, in wei."""
        return number(self._reader.balance(address, self._number(selector)))

    def code(self, address: "Address", selector: BlockSelector) -> str:
        """Return the code of an account; a public key that the ledger keeps is the code of its key account."""
        return data(self._reader.code(address, self._number(selector)))

    def storage(self, address: "Address", slot: int, selector: BlockSelector) -> str:
        """Return a slot of an account's storage, 32 bytes."""
        return data(self._reader.storage(address, slot, self._number(selector)).to_bytes(32, "big"))

    def transaction_count(self, address: "Address", selector: BlockSelector) -> str:
        """Return the nonce of an account; `pending` counts what this node was sent and no block holds yet."""
        nonce = self._reader.nonce(address, self._number(selector))
        return number(self._pending.next(address, nonce) if selector is Tag.PENDING else nonce)

    def proof(self, address: "Address", keys: tuple[tuple[str, int], ...], selector: BlockSelector) -> Json:
        """Return an account and slots of its storage with Merkle proofs to the block's state root (EIP-1186)."""
        found = self._reader.proof(address, [slot for _, slot in keys], self._number(selector))
        return shapes.proof(address, found, [key for key, _ in keys])

    # -- execution --------------------------------------------------------------------------------------------------

    def call(self, request: CallRequest, selector: BlockSelector, _state: None, _block: None) -> str:
        """Run a call on the state after a block and return its output.

        It runs as in that block; for `pending` as in the next one, now. Fees, nonce and access list of the request
        change nothing: gas costs nothing here.
        """
        if selector is Tag.PENDING:
            result = self._reader.call(_call(request), pending=True, timestamp=int(self._clock.now()))
        else:
            result = self._reader.call(_call(request), self._number(selector))
        if not result.succeeded:
            raise _failure(result)
        return data(result.output)

    def estimate_gas(self, request: CallRequest, selector: BlockSelector, _state: None) -> str:
        """Return gas with which a transaction succeeds in the next block, signature and key counted."""
        at = self._number(selector)
        gas, result = self._reader.estimate_gas(_call(request), at, timestamp=int(self._clock.now()))
        if not result.succeeded:
            raise _failure(result)
        return number(gas)

    def gas_price(self) -> str:
        """Return 0: nobody needs a coin here."""
        return number(0)

    def fee_history(self, count: int, selector: BlockSelector, percentiles: tuple[float, ...] | None) -> Json:
        """Return base fees (all 0), how full blocks were, and tips (all 0) of up to 1,024 blocks until `selector`."""
        newest = self._number(selector)
        oldest = max(newest - min(count, FEE_HISTORY_BLOCKS, newest + 1) + 1, 0)
        headers = [self._reader.header(at) for at in range(oldest, newest + 1)] if count else []
        history: Json = {
            "oldestBlock": number(oldest if headers else 0),
            "baseFeePerGas": [number(0)] * (len(headers) + 1) if headers else [],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
            "baseFeePerBlobGas": [number(0)] * (len(headers) + 1) if headers else [],
            "blobGasUsedRatio": [0] * len(headers),
        }
        if percentiles:
            history["reward"] = [[number(0)] * len(percentiles) for _ in headers]
        return history

    def send_raw(self, raw: bytes) -> str:
        """Give a signed transaction to the pool and return its hash; `TransactionRefusedError` says why not."""
        try:
            verdict = self._engine.submit(raw)
        except NotRunningError as error:
            raise TransactionRefusedError(str(error)) from None
        self._pending.note(raw, verdict)
        if verdict.code is Code.QUOTA:
            raise QuotaError(verdict.reason)
        if not verdict.accepted:
            raise TransactionRefusedError(verdict.reason)
        return data(verdict.hash)

    # -- logs -------------------------------------------------------------------------------------------------------

    def logs(self, query: LogQuery) -> list[Json]:
        """Return the logs that a query wants, in order."""
        if query.block_hash is not None:
            at = self._number(query.block_hash)
            return self._scan(query, at, at)
        head = self._reader.latest()
        first, last = self._bound(query.first), self._bound(query.last)
        if last > head or first > head:
            message = f"block range extends beyond current head block {head}"
            raise InvalidParamsError(message)
        if first > last:
            message = f"the range ends at block {last}, before it begins at {first}"
            raise InvalidParamsError(message)
        return self._scan(query, first, last)

    def new_filter(self, query: LogQuery | None = None) -> str:
        """Install a filter for logs, or for blocks, from the next block on."""
        if query is not None and query.block_hash is not None:
            message = "a filter watches what is to come; ask eth_getLogs for the logs of one block"
            raise InvalidParamsError(message)
        return number(self._filters.install(query, self._reader.latest() + 1))

    def filter_changes(self, name: int) -> list[Json] | list[str]:
        """Return what came since the last question: logs, or hashes of blocks."""
        found, head = self._filters.get(name), self._reader.latest()
        first, found.next_block = found.next_block, head + 1
        if found.query is None:
            return [data(self._reader.header(at).hash) for at in range(first, head + 1)]
        upper = found.query.last if isinstance(found.query.last, int) else head
        lower = found.query.first if isinstance(found.query.first, int) else first
        return self._scan(found.query, max(first, lower), min(head, upper))

    def filter_logs(self, name: int) -> list[Json]:
        """Return all logs that a filter matches, whether told already or not."""
        found = self._filters.get(name)
        if found.query is None:
            message = "this filter is for blocks, it has no logs"
            raise InvalidParamsError(message)
        head = self._reader.latest()
        return self._scan(found.query, self._bound(found.query.first), min(head, self._bound(found.query.last)))

    def uninstall_filter(self, name: int) -> bool:
        """Forget a filter; tell whether there was one."""
        return self._filters.remove(name)

    def _scan(self, query: LogQuery, first: int, last: int) -> list[Json]:
        topics = [None if choices is None else sorted(choices) for choices in query.topics]
        try:
            found = self._reader.logs(first, last, addresses=sorted(query.addresses), topics=topics)
        except LogLimitError as error:
            raise LimitError(str(error)) from None
        return list(map(shapes.log, found))

    # -- blocks by what clients call them ---------------------------------------------------------------------------

    def _find(self, selector: BlockSelector) -> BlockNumber | None:
        """Return the number of a block; None when there is no such block."""
        match selector:
            case Tag.EARLIEST:
                return BlockNumber(0)
            case Tag():
                return self._reader.latest()
            case int():
                return BlockNumber(selector) if selector <= self._reader.latest() else None
            case bytes():
                return self._reader.number_of(selector)

    def _number(self, selector: BlockSelector) -> BlockNumber:
        """Return the number of a block that must exist."""
        found = self._find(selector)
        if found is None:
            name = f"0x{selector.hex()}" if isinstance(selector, bytes) else str(selector)
            message = f"block {name} not found"
            raise NotFoundError(message)
        return found

    def _bound(self, selector: BlockSelector) -> int:
        """Return the end of a range, which may lie in the future."""
        return selector if isinstance(selector, int) else self._number(selector)


def _call(request: CallRequest) -> Call:
    """Bound the gas: nobody pays for what is only tried out, and the node does nothing else meanwhile."""
    sender = ZERO if request.sender is None else request.sender
    gas = CALL_GAS if request.gas is None else min(request.gas, CALL_GAS)
    return Call(to=request.to, sender=sender, data=request.data, value=request.value, gas=gas)


_WITHOUT_REASON: Final = "reverted without a reason"  # what `revert_reason` says of a revert that returned nothing


def _failure(result: "CallResult") -> RpcError:
    """Tell a revert, whose data is the contract's, from a call that broke a rule of the EVM."""
    if result.output or result.reason == _WITHOUT_REASON:
        text = revert_text(result.output)
        return ExecutionRevertedError(
            f"execution reverted: {text}" if text else "execution reverted", data(result.output)
        )
    return ExecutionFailedError(result.reason)
