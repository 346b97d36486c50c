"""The methods that Ethereum's tools know: `eth_*`, `net_*`, `web3_*` over a reader of committed blocks and state."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from chain.crypto.addresses import ZERO
from chain.crypto.hashing import keccak256
from chain.engines.errors import NotRunningError
from chain.errors import LogLimitError, SimulatedBlockError, TraceLimitError
from chain.execution.blocks import BlockNumber, Header
from chain.execution.overrides import AccountOverrides, BlockOverride
from chain.execution.reader import Call, FoundTransaction, Place
from chain.execution.reverts import revert_text
from chain.execution.simulated import Fault, Plan, SimulatedBlock, UnsignedCall
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
    SimulationRefusedError,
    TransactionRefusedError,
)
from chain.rpc.filters import Filters, Of
from chain.rpc.limits import FEE_HISTORY_BLOCKS, SIMULATED_BYTES
from chain.rpc.parameters import BlockSelector, CallRequest, LogQuery, Tag, refuse_types
from chain.rpc.pending import PendingNonces, SentTransactions
from chain.rpc.shapes import Json, data, number
from chain.rpc.suppositions import SimulationRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.application import Application
    from chain.crypto.addresses import Address
    from chain.engines.base import Engine
    from chain.execution.reader import CallResult, FoundReceipt
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
        self.sent = SentTransactions()
        """What the pool took through this node."""

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

    async def peer_count(self) -> str:
        """Return how many other members this node hears."""
        return number(await self._engine.peers())

    def chain_id(self) -> str:
        """Return the chain id that transactions bind (EIP-155)."""
        return number(self._chain_id)

    def syncing(self) -> bool:
        """Tell that what is here is all there is: a node serves what it has executed."""
        return False

    def sha3(self, content: bytes) -> str:
        """Return keccak256 of the content."""
        return data(keccak256(content))

    def capabilities(self) -> Json:
        """Return what this node can answer from which block on: all of it, unless it began with a snapshot."""
        head, oldest = self._reader.header(), self._reader.first_state()
        whole = {"disabled": False, "oldestBlock": number(0)}
        states = {"disabled": False, "oldestBlock": number(oldest)}
        return {
            "head": {"number": number(head.number), "hash": data(head.hash)},
            "state": states,
            "tx": whole,
            "logs": whole,
            "receipts": whole,
            "blocks": whole,
            "stateproofs": states,
        }

    # -- blocks and what is in them ---------------------------------------------------------------------------------

    def block_number(self) -> str:
        """Return the newest block's number."""
        return number(self._reader.latest())

    def get_block(self, selector: BlockSelector, full: bool) -> Json | None:  # noqa: FBT001 - a parameter of RPC
        """Return a block with hashes or whole transactions; None when there is no such block."""
        at = self.find(selector)
        if at is None:
            return None
        content = self._reader.block(at)
        indices = range(len(content.transactions))
        if full:
            return shapes.block(content, [self.transaction_at(at, index) for index in indices])
        return shapes.block(content, [data(keccak256(raw)) for raw in content.transactions])

    def transaction_count_of_block(self, selector: BlockSelector) -> str | None:
        """Return how many transactions a block holds; None when there is no such block."""
        at = self.find(selector)
        return None if at is None else number(len(self._reader.block(at).transactions))

    def uncle_count(self, selector: BlockSelector) -> str | None:
        """Return 0 for a block: there are no uncles; None when there is no such block."""
        return None if self.find(selector) is None else number(0)

    def block_receipts(self, selector: BlockSelector) -> list[Json] | None:
        """Return all receipts of a block; None when there is no such block."""
        at = self.find(selector)
        if at is None:
            return None
        within = self._reader.header(at)
        return [self._receipt(found, within) for found in self._reader.receipts(at)]

    def transaction(self, name: bytes) -> Json | None:
        """Return a transaction by its hash, also one that was sent and waits for a block; None when there is none."""
        found = self._reader.transaction(name)
        if found is not None:
            return self._transaction(found, self._reader.header(found.place.number))
        sent = self.sent.find(name)
        if sent is None or sent.nonce < self._reader.nonce(sent.sender):  # another took its place
            return None
        return shapes.waiting_transaction(sent)

    def raw_transaction_at(self, selector: BlockSelector, index: int) -> str:
        """Return the bytes of a transaction by its place; `0x` when there is none, as geth."""
        at = self.find(selector)
        found = None if at is None else self._reader.transaction_at(at, index)
        return data(b"" if found is None else found.raw)

    def transaction_at(self, selector: BlockSelector, index: int) -> Json | None:
        """Return a transaction by its place; None when there is none."""
        at = self.find(selector)
        found = None if at is None else self._reader.transaction_at(at, index)
        return None if found is None else self._transaction(found, self._reader.header(at))

    def receipt(self, name: bytes) -> Json | None:
        """Return the receipt of a transaction by its hash; None when no block holds it (yet)."""
        found = self._reader.receipt(name)
        return None if found is None else self._receipt(found, self._reader.header(found.place.number))

    def _transaction(self, found: "FoundTransaction", within: Header) -> Json:
        return shapes.transaction(found, within)

    def _receipt(self, found: "FoundReceipt", within: Header) -> Json:
        return shapes.receipt(found, within.timestamp)

    # -- state ------------------------------------------------------------------------------------------------------

    def balance(self, address: "Address", selector: BlockSelector) -> str:
        """Return the native coin of an account, in wei."""
        return number(self._reader.balance(address, self.number_of(selector)))

    def code(self, address: "Address", selector: BlockSelector) -> str:
        """Return the code of an account; a public key that the ledger keeps is the code of its key account."""
        return data(self._reader.code(address, self.number_of(selector)))

    def storage(self, address: "Address", slot: int, selector: BlockSelector) -> str:
        """Return a slot of an account's storage, 32 bytes."""
        return data(self._reader.storage(address, slot, self.number_of(selector)).to_bytes(32, "big"))

    def storage_values(self, wanted: "Sequence[tuple[Address, Sequence[int]]]", selector: BlockSelector) -> Json:
        """Return slots of several accounts, 32 bytes each."""
        at = self.number_of(selector)
        return {
            data(address): [data(self._reader.storage(address, slot, at).to_bytes(32, "big")) for slot in slots]
            for address, slots in wanted
        }

    def transaction_count(self, address: "Address", selector: BlockSelector) -> str:
        """Return the nonce of an account; `pending` counts what this node was sent and no block holds yet."""
        nonce = self._reader.nonce(address, self.number_of(selector))
        return number(self._pending.next(address, nonce) if selector is Tag.PENDING else nonce)

    def proof(self, address: "Address", keys: tuple[tuple[str, int], ...], selector: BlockSelector) -> Json:
        """Return an account and slots of its storage with Merkle proofs to the block's state root (EIP-1186)."""
        found = self._reader.proof(address, [slot for _, slot in keys], self.number_of(selector))
        return shapes.proof(address, found, [key for key, _ in keys])

    # -- execution --------------------------------------------------------------------------------------------------

    def call(
        self, request: CallRequest, selector: BlockSelector, accounts: AccountOverrides, block: BlockOverride | None
    ) -> str:
        """Run a call on the state after a block and return its output.

        It runs as in that block; for `pending` as in the next one, now. `accounts` and `block` are supposed to be
        otherwise than they are. Nonce and access list of the request change nothing, and nobody pays its fees.
        """
        pending = selector is Tag.PENDING
        at = self.number_of(selector)
        result = self._reader.call(
            self.prepared(request, at),
            at,
            pending=pending,
            timestamp=int(self._clock.now()) if pending else None,
            accounts=accounts,
            block=block,
        )
        if not result.succeeded:
            raise _failure(result)
        return data(result.output)

    def simulate(self, request: SimulationRequest, selector: BlockSelector) -> list[Json]:
        """Make blocks that are only supposed on top of a block, and return them with what their calls did.

        Their transactions are unsigned, of EIP-1559's type or legacy ones; on the ledger they would be of type 0x50,
        and what its signature costs is counted.
        """
        at = self.find(selector)
        if at is None:
            raise SimulationRefusedError(Fault.OTHER, "header not found")
        plans = [
            Plan(block=block.block, accounts=block.accounts, calls=[self.unsigned(call) for call in block.calls])
            for block in request.blocks
        ]
        simulator = self._reader.simulator(at, output_bytes=SIMULATED_BYTES)
        try:
            made = simulator.run(plans, validation=request.validation, transfers=request.transfers)
        except SimulatedBlockError as error:
            raise SimulationRefusedError(error.fault, str(error)) from None
        return [self._simulated(block, full=request.full) for block in made]

    refuse_types = staticmethod(refuse_types)

    def unsigned(self, request: CallRequest) -> UnsignedCall:
        """Return the transaction that a request describes; refuses one for another chain."""
        self.refuse_types(request)
        if request.chain_id not in {None, self._chain_id}:
            message = f"chainId does not match node's (have={request.chain_id}, want={self._chain_id})"  # geth's words
            raise InvalidParamsError(message)
        return UnsignedCall(
            sender=ZERO if request.sender is None else request.sender,
            to=request.to,
            data=request.data,
            value=request.value,
            gas=request.gas,
            nonce=request.nonce,
            gas_price=request.gas_price,
            max_fee_per_gas=request.max_fee_per_gas or 0,
            max_priority_fee_per_gas=request.max_priority_fee_per_gas or 0,
            access_list=request.access_list,
        )

    def _simulated(self, made: SimulatedBlock, *, full: bool) -> Json:
        block = made.block
        if not full:
            return shapes.simulated_block(made, [data(fields.hash) for fields in made.transactions])
        return shapes.simulated_block(
            made,
            [
                self._transaction(FoundTransaction(Place(block.number, block.hash, index), raw, fields), block.header)
                for index, (raw, fields) in enumerate(zip(block.transactions, made.transactions, strict=True))
            ],
        )

    def estimate_gas(
        self, request: CallRequest, selector: BlockSelector, accounts: AccountOverrides, block: BlockOverride | None
    ) -> str:
        """Return gas with which a transaction succeeds in the next block, signature and key counted."""
        at = self.number_of(selector)
        gas, result = self._reader.estimate_gas(
            self.prepared(request, at), at, timestamp=int(self._clock.now()), accounts=accounts, block=block
        )
        if not result.succeeded:
            raise _failure(result)
        return number(gas)

    def create_access_list(self, request: CallRequest, selector: BlockSelector) -> Json:
        """Return the access list (EIP-2930) of a transaction in the next block and the gas that it takes with it."""
        at = self.number_of(selector)
        try:
            found, result = self._reader.access_list(self.prepared(request, at), at, timestamp=int(self._clock.now()))
        except TraceLimitError as error:
            raise LimitError(str(error)) from None
        answer: Json = {
            "accessList": [
                {"address": data(address), "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots]}
                for address, slots in found.items()
            ],
            "gasUsed": number(result.gas_used),
        }
        if result.succeeded:
            return answer
        return answer | {"error": "execution reverted" if result.output else _failure(result).message}

    def prepared(self, request: CallRequest, at: int) -> Call:
        """Bound the gas: nobody pays for what is only tried out, and the node does nothing else meanwhile."""
        self.refuse_types(request)
        price = request.gas_price
        if price is None and request.max_fee_per_gas is not None:
            base = self._reader.fees(at)[0]
            price = min(request.max_fee_per_gas, base + (request.max_priority_fee_per_gas or 0))
        return Call(
            to=request.to,
            sender=ZERO if request.sender is None else request.sender,
            data=request.data,
            value=request.value,
            gas=CALL_GAS if request.gas is None else min(request.gas, CALL_GAS),
            gas_price=price or 0,
            access_list=[
                (account, [int.from_bytes(slot, "big") for slot in slots]) for account, slots in request.access_list
            ],
        )

    def gas_price(self) -> str:
        """Return 0: nobody needs a coin here."""
        return number(0)

    def base_fee(self) -> str:
        """Return the base fee of the next block in wei."""
        return number(self._reader.fees(self._reader.latest() + 1)[0])

    def blob_base_fee(self) -> str:
        """Return the blob base fee of the next block in wei."""
        return number(self._reader.fees(self._reader.latest() + 1)[1])

    def fee_history(self, count: int, selector: BlockSelector, percentiles: tuple[float, ...] | None) -> Json:
        """Return base fees, how full blocks were, and tips by percentiles of gas, of up to 1,024 blocks to `selector`.

        Fees are wei per gas; each list of base fees has one more, the next block's.
        """
        newest = self.number_of(selector)
        oldest = max(newest - min(count, FEE_HISTORY_BLOCKS, newest + 1) + 1, 0)
        headers = [self._reader.header(at) for at in range(oldest, newest + 1)] if count else []
        fees = [self._reader.fees(at) for at in range(oldest, newest + 2)] if count else []
        history: Json = {
            "oldestBlock": number(oldest if headers else 0),
            "baseFeePerGas": [number(base) for base, _ in fees],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
            "baseFeePerBlobGas": [number(blob) for _, blob in fees],
            "blobGasUsedRatio": [0] * len(headers),
        }
        if percentiles:
            history["reward"] = [[number(tip) for tip in self._tips(header, percentiles)] for header in headers]
        return history

    def _tips(self, header: Header, percentiles: tuple[float, ...]) -> list[int]:
        """Return the tips at percentiles of a block's gas, its transactions sorted by tip (as geth's oracle)."""
        base = header.base_fee_per_gas or 0
        paid = sorted((found.price - base, found.gas_used) for found in self._reader.receipts(header.number))
        if not paid:
            return [0] * len(percentiles)
        tips: list[int] = []
        at, gas = 0, paid[0][1]
        for percentile in percentiles:
            while gas < header.gas_used * percentile // 100 and at < len(paid) - 1:
                at += 1
                gas += paid[at][1]
            tips.append(paid[at][0])
        return tips

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
        self.sent.note(verdict.hash, raw)
        return data(verdict.hash)

    # -- logs -------------------------------------------------------------------------------------------------------

    def logs(self, query: LogQuery) -> list[Json]:
        """Return the logs that a query wants, in order."""
        if query.block_hash is not None:
            at = self.number_of(query.block_hash)
            return self._scan(query, at, at)
        head = self._reader.latest()
        first, last = self._bound(query.first), self._bound(query.last)
        if last > head or first > head:
            message = "block range extends beyond current head block"  # geth's words, also below
            raise InvalidParamsError(message)
        if first > last:
            message = "invalid block range params"
            raise InvalidParamsError(message)
        return self._scan(query, first, last)

    def new_filter(self, query: LogQuery) -> str:
        """Install a filter for logs from the next block on."""
        refuse_one_block(query)
        return number(self._filters.install(query, self._reader.latest() + 1))

    def new_block_filter(self) -> str:
        """Install a filter for blocks from the next one on."""
        return number(self._filters.install(Of.BLOCKS, self._reader.latest() + 1))

    def new_transaction_filter(self) -> str:
        """Install a filter for transactions that this node's pool takes from now on."""
        return number(self._filters.install(Of.TRANSACTIONS, self.sent.count))

    def filter_changes(self, name: int) -> list[Json] | list[str]:
        """Return what came since the last question: logs, or hashes of blocks or transactions."""
        found, head = self._filters.get(name), self._reader.latest()
        if found.subject is Of.TRANSACTIONS:
            first, found.next = found.next, self.sent.count
            return list(map(data, self.sent.since(first)))
        first, found.next = found.next, head + 1
        if isinstance(found.subject, Of):
            return [data(self._reader.header(at).hash) for at in range(first, head + 1)]
        return self.logs_between(found.subject, first, head)

    def logs_between(self, query: LogQuery, first: int, last: int) -> list[Json]:
        """Return the logs of these blocks (both included) that a query wants, whose own range counts too."""
        upper = query.last if isinstance(query.last, int) else last
        lower = query.first if isinstance(query.first, int) else first
        return self._scan(query, max(first, lower), min(last, upper))

    def filter_logs(self, name: int) -> list[Json]:
        """Return all logs that a filter matches, whether told already or not."""
        found = self._filters.get(name)
        if isinstance(found.subject, Of):
            message = f"this filter is for {found.subject.value}, it has no logs"
            raise InvalidParamsError(message)
        head = self._reader.latest()
        return self._scan(found.subject, self._bound(found.subject.first), min(head, self._bound(found.subject.last)))

    def uninstall_filter(self, name: int) -> bool:
        """Forget a filter; tell whether there was one."""
        return self._filters.remove(name)

    def _scan(self, query: LogQuery, first: int, last: int) -> list[Json]:
        topics = [None if choices is None else sorted(choices) for choices in query.topics]
        try:
            found = self._reader.logs(first, last, addresses=sorted(query.addresses), topics=topics)
        except LogLimitError as error:
            raise LimitError(str(error)) from None
        return shapes.logs(found)

    # -- blocks by what clients call them ---------------------------------------------------------------------------

    def find(self, selector: BlockSelector) -> BlockNumber | None:
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

    def number_of(self, selector: BlockSelector) -> BlockNumber:
        """Return the number of a block that must exist."""
        found = self.find(selector)
        if found is None:
            name = f"0x{selector.hex()}" if isinstance(selector, bytes) else str(selector)
            message = f"block {name} not found"
            raise NotFoundError(message)
        return found

    def _bound(self, selector: BlockSelector) -> int:
        """Return the end of a range, which may lie in the future."""
        return selector if isinstance(selector, int) else self.number_of(selector)


def refuse_one_block(query: LogQuery) -> None:
    """Refuse what watches one block that exists already."""
    if query.block_hash is not None:
        message = "a filter watches what is to come; ask eth_getLogs for the logs of one block"
        raise InvalidParamsError(message)


_WITHOUT_REASON: Final = "reverted without a reason"  # what `revert_reason` says of a revert that returned nothing


def _failure(result: "CallResult") -> RpcError:
    """Tell a revert, whose data is the contract's, from a call that broke a rule of the EVM."""
    if result.output or result.reason == _WITHOUT_REASON:
        text = revert_text(result.output)
        return ExecutionRevertedError(
            f"execution reverted: {text}" if text else "execution reverted", data(result.output)
        )
    return ExecutionFailedError(result.reason)
