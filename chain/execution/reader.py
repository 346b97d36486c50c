"""Everything that RPC and audit read: committed blocks, transactions, receipts, logs, accounts, proofs, calls.

A reader sees the newest commit each time it is asked and nothing of a height that is only finalized. It belongs to the
store's thread, the engine's: call it from there (an asyncio server in the same loop does). Another process opens the
store with `readonly=True` and has its own reader.

Block arguments are block numbers; None is the newest block. `UnknownBlockError` for one that does not exist.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from eth.exceptions import VMError
from eth.vm.message import Message
from trie.hexary import HexaryTrie

from chain import rlp
from chain.crypto.addresses import ZERO, Address
from chain.crypto.hashing import keccak256
from chain.errors import LogLimitError, StateMissingError, StoreMissingError, UnknownBlockError
from chain.execution.blocks import (
    EMPTY_CODE_HASH,
    EMPTY_ROOT,
    Block,
    BlockNumber,
    Header,
    Log,
    Receipt,
    bloom_may_hold,
    decode_receipt,
)
from chain.execution.evm import Environment, MeritState, created_address, open_state
from chain.execution.executor import logs_of, run_candidate
from chain.execution.governance import Seat, seats
from chain.execution.index import (
    Commit,
    ancestor_hashes,
    item_key,
    number_key,
    read_block,
    read_commit,
    read_header,
    read_start,
    split_item_key,
)
from chain.execution.keys import PublicKey, find_key
from chain.execution.nodes import CommittedNodes, SupposedNodes
from chain.execution.overrides import AccountOverrides, BlockOverride, override, override_blob_base_fee
from chain.execution.quotas import Meter, window_seconds
from chain.execution.recent import ReadEvents
from chain.execution.replay import Replayed, replay
from chain.execution.reverts import revert_reason
from chain.execution.simulated import Simulator, apart
from chain.execution.tracing import AccessTracer, Tracer, traced
from chain.execution.transactions import (
    Candidate,
    Description,
    authentication_gas_of,
    calldata_gas,
    describe,
    intrinsic_gas,
)
from chain.execution.verdicts import Code
from chain.execution.versions import Held
from chain.limits import CALL_GAS, LOGS_PER_QUERY
from chain.storage import Space, Store

_CALL_STIPEND: Final = 2_300
_NO_OVERRIDES: Final[AccountOverrides] = {}
_ACCESS_ROUNDS: Final = 4  # each adds what naming the last ones changed; two are enough for any contract seen
_WORD: Final = 32
_ANCESTORS: Final = 256  # that BLOCKHASH can name
_RECEIPTS_OF: Final = 4  # blocks: the senders of a full one ask for its receipts one by one
_INDICES: Final = 2**32  # a key has four bytes for a transaction's place


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction stands."""

    number: BlockNumber
    block_hash: bytes
    index: int


@dataclass(frozen=True, slots=True)
class FoundTransaction:
    """A transaction of the ledger with its place."""

    place: Place
    raw: bytes
    description: Description


@dataclass(frozen=True, slots=True)
class FoundReceipt:
    """A receipt with what JSON-RPC adds to it.

    `gas_used` is the transaction's own, `first_log` the index of its first log within the block, `created` the address
    of the contract that it created, if it did; `price` the wei paid per gas.
    """

    place: Place
    hash: bytes
    receipt: Receipt
    gas_used: int
    first_log: int
    description: Description
    created: Address | None
    price: int


@dataclass(frozen=True, slots=True)
class FoundLog:
    """An event with its place; `log_index` counts within the block."""

    place: Place
    transaction_hash: bytes
    log_index: int
    log: Log
    timestamp: int


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the state trie holds it; balance in wei."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


@dataclass(frozen=True, slots=True)
class SlotProof:
    """A storage slot's value and the encoded trie nodes from the storage root down to it."""

    slot: int
    value: int
    nodes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """An account and the encoded trie nodes from the block's state root down to it (EIP-1186)."""

    account: Account
    nodes: tuple[bytes, ...]
    slots: tuple[SlotProof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that changes nothing; `to` None creates a contract. Gas None: the most that a call may burn.

    `gas_price` (wei) is what GASPRICE says; nobody pays it. `access_list` counts where gas is measured.
    """

    to: Address | None
    sender: Address = ZERO
    data: bytes = b""
    value: int = 0
    gas: int | None = None
    gas_price: int = 0
    access_list: Sequence[tuple[Address, Sequence[int]]] = ()


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call returned; `reason` says in one line why it failed, `output` then holds the revert data."""

    succeeded: bool
    output: bytes
    reason: str
    gas_used: int
    logs: tuple[Log, ...] = ()


Topics = Sequence["bytes | Sequence[bytes] | None"]
"""A filter by position: None matches anything, bytes one value, a sequence any of its values."""


class Reader:
    """See the module's docstring."""

    def __init__(self, store: Store, environment: Environment) -> None:
        """Read `store`; `chain.application.Application.reader` makes one."""
        self._store = store
        self._environment = environment
        self._read_events = ReadEvents()
        self._receipts: dict[BlockNumber, tuple[FoundReceipt, ...]] = {}  # of blocks, which never change

    @property
    def environment(self) -> Environment:
        """What genesis fixes: chain id, genesis hash, gas limit, classical, deployers."""
        return self._environment

    # Blocks

    def commit(self) -> Commit:
        """Return the last durable commit: engine height, newest block number, app hash."""
        commit = read_commit(self._store)
        if commit is None:
            raise StoreMissingError(self._store.path)
        return commit

    def latest(self) -> BlockNumber:
        """Return the newest block's number."""
        return BlockNumber(self.commit().number)

    def header(self, number: int | None = None) -> Header:
        """Return a block's header."""
        latest = self.latest()
        if number is None:
            return read_header(self._store, latest)
        if not 0 <= number <= latest:
            raise UnknownBlockError(str(number))
        return read_header(self._store, number)

    def block(self, number: int | None = None) -> Block:
        """Return a whole block."""
        return read_block(self._store, self.header(number).number)

    def number_of(self, block_hash: bytes) -> BlockNumber | None:
        """Return the number of the block with this hash; None when there is none."""
        key = self._store.read(Space.NUMBER, block_hash)
        return None if key is None else BlockNumber(int.from_bytes(key, "big"))

    def fees(self, number: int) -> tuple[int, int]:
        """Return base fee and blob base fee of a block, also of the one that comes next; wei per gas. Both are 0."""
        return (self.header(min(number, self.latest())).base_fee_per_gas, 0)

    def first_state(self) -> int:
        """Return the first block whose state is here; that of a snapshot, if this replica started from one."""
        start = read_start(self._store)
        return 0 if start is None else start.number

    def block_at_height(self, height: int) -> Header:
        """Return the header of the newest block that the engine made at or before `height`: its app hash there."""
        low, high = 0, int(self.latest())
        while low < high:
            middle = (low + high + 1) // 2
            if read_header(self._store, middle).engine_height <= height:
                low = middle
            else:
                high = middle - 1
        return read_header(self._store, low)

    # Transactions, receipts, logs

    def transaction(self, name: bytes) -> FoundTransaction | None:
        """Return the transaction with this hash; None when no block holds it."""
        key = self._store.read(Space.PLACE, name)
        if key is None:
            return None
        number, index = split_item_key(key)
        return self.transaction_at(number, index)

    def transaction_at(self, number: int, index: int) -> FoundTransaction | None:
        """Return the transaction at a place; None when the block has fewer."""
        if index >= _INDICES:
            return None
        raw = self._store.read(Space.TRANSACTION, item_key(number, index))
        if raw is None:
            return None
        place = Place(BlockNumber(number), read_header(self._store, number).hash, index)
        return FoundTransaction(place, raw, describe(raw))

    def receipt(self, name: bytes) -> FoundReceipt | None:
        """Return the receipt of the transaction with this hash; None when no block holds it."""
        key = self._store.read(Space.PLACE, name)
        if key is None:
            return None
        number, index = split_item_key(key)
        return self.receipts(number)[index]

    def receipts(self, number: int | None = None) -> tuple[FoundReceipt, ...]:
        """Return all receipts of a block; those of the last few blocks asked for are remembered."""
        header = self.header(number)
        known = self._receipts.get(header.number)
        if known is None:
            known = self._receipts[header.number] = self._decoded_receipts(header.number)
            if len(self._receipts) > _RECEIPTS_OF:
                del self._receipts[next(iter(self._receipts))]
        return known

    def _decoded_receipts(self, number: BlockNumber) -> tuple[FoundReceipt, ...]:
        block = read_block(self._store, number)
        found: list[FoundReceipt] = []
        gas_before = logs_before = 0
        for index, (raw, receipt) in enumerate(zip(block.transactions, block.receipts, strict=True)):
            description = describe(raw)
            created = None
            if not description.to and receipt.succeeded:
                created = created_address(description.sender, description.nonce)
            fee = description.max_priority_fee_per_gas + block.header.base_fee_per_gas
            found.append(
                FoundReceipt(
                    Place(block.number, block.hash, index),
                    description.hash,
                    receipt,
                    receipt.cumulative_gas - gas_before,
                    logs_before,
                    description,
                    created,
                    min(description.max_fee_per_gas, fee),
                )
            )
            gas_before = receipt.cumulative_gas
            logs_before += len(receipt.logs)
        return tuple(found)

    def logs(self, first: int, last: int, *, addresses: Sequence[bytes] = (), topics: Topics = ()) -> list[FoundLog]:
        """Return events of the blocks `first` to `last` (both included) in order.

        `addresses`: emitted by one of these, or by anybody when empty. `topics`: see `Topics`. A bloom that rules a
        block out spares reading it. `LogLimitError` when there would be more than `LOGS_PER_QUERY`.
        """
        found: list[FoundLog] = []
        wanted = list(map(_choices, topics))
        for number in range(max(first, 0), min(last, self.latest()) + 1):
            header = read_header(self._store, number)
            if not _bloom_matches(header.bloom, addresses, wanted):
                continue
            found.extend(self._logs_of_block(header, addresses, wanted))
            if len(found) > LOGS_PER_QUERY:
                raise LogLimitError(LOGS_PER_QUERY)
        return found

    def _logs_of_block(
        self, header: Header, addresses: Sequence[bytes], topics: Sequence[Sequence[bytes]]
    ) -> Iterator[FoundLog]:
        log_index = 0
        block_hash = header.hash
        events = self._environment.events.of(block_hash) or self._read_events.of(header.number)
        if events is None:
            events = tuple(self._stored_events(header.number))
            self._read_events.remember(header.number, events)
        for index, (name, logs) in enumerate(events):
            place = Place(header.number, block_hash, index)
            for log in logs:
                if _matches(log, addresses, topics):
                    yield FoundLog(place, name, log_index, log, header.timestamp)
                log_index += 1

    def _stored_events(self, block: BlockNumber) -> Iterator[tuple[bytes, tuple[Log, ...]]]:
        """Give hash and events of each transaction of a block; a transaction without events has no hash here."""
        for key, encoded in self._store.scan(Space.RECEIPT, number_key(block)):
            if split_item_key(key)[0] != block:
                return
            logs = decode_receipt(encoded).logs
            yield keccak256(self._store.read(Space.TRANSACTION, key) or b"") if logs else b"", logs

    # Accounts

    def state(
        self,
        number: int | None = None,
        *,
        pending: bool = False,
        timestamp: int | None = None,
        block: BlockOverride | None = None,
    ) -> MeritState:
        """Open the state after a block, to read it or to run code on it; changes are forgotten.

        Code runs as in that block; with `pending` as in the one after it, at `timestamp` (seconds) if given; `block`
        changes what that one says.
        `StateMissingError` for a block before the snapshot that this replica started from.
        """
        header = self._header_with_state(number)
        block_hash = header.hash
        context = header
        if pending:
            context = replace(
                header,
                number=BlockNumber(header.number + 1),
                parent_hash=block_hash,
                timestamp=max(header.timestamp, timestamp or 0),
            )
        if block is not None:
            context = block.of(context)
        ancestors = ancestor_hashes(self._store, header, block_hash)
        if not pending:
            next(ancestors)  # BLOCKHASH in block n starts with block n - 1
        state = open_state(CommittedNodes(self._store), context, header.state_root, ancestors, self._environment)
        if block is not None and block.blob_base_fee is not None:
            override_blob_base_fee(state, block.blob_base_fee)
        return state

    def account(self, address: Address, number: int | None = None) -> Account:
        """Return an account; an unknown one is empty."""
        return self.proof(address, (), number).account

    def balance(self, address: Address, number: int | None = None) -> int:
        """Return an account's native coins in wei."""
        return self.state(number).get_balance(address)

    def nonce(self, address: Address, number: int | None = None) -> int:
        """Return how many transactions the account has sent (for contracts: created)."""
        return self.state(number).get_nonce(address)

    def code(self, address: Address, number: int | None = None) -> bytes:
        """Return an account's code."""
        return self.state(number).get_code(address)

    def storage(self, address: Address, slot: int, number: int | None = None) -> int:
        """Return one word of a contract's storage."""
        return self.state(number).get_storage(address, slot)

    def public_key(self, address: Address, number: int | None = None) -> PublicKey | None:
        """Return the scheme and public key that state keeps for an address; None for one not seen yet."""
        return find_key(self.state(number), address)

    def validators(self, number: int | None = None) -> tuple[Seat, ...]:
        """Return the validators by the state after a block, in the order in which they came.

        The engine counts with them from two heights after that block's on.
        """
        return seats(self.state(number))

    def versions(self, number: int | None = None) -> Held:
        """Return the versions of execution, contracts and rules that hold in a block."""
        header = self.header(number)
        return self.state(header.number).schedule.held(header.number)

    def meter(self, time: int) -> Meter | None:
        """Tell what senders have used of the window that block time `time` (seconds) lies in; None without quotas.

        As it counts for the next block, so what waits in a pool is not in it.
        """
        header = self.header()
        storage = self.state().get_storage
        if not window_seconds(storage):
            return None
        deployers = self._environment.deployers
        return Meter(storage, number=header.number + 1, time=max(time, header.timestamp), deployers=deployers)

    def proof(self, address: Address, slots: Sequence[int], number: int | None = None) -> Proof:
        """Return an account, storage slots and the trie nodes that prove them against the block's state root."""
        nodes, leaf = self._walk(self._header_with_state(number).state_root, keccak256(address))
        account = _account(leaf)
        proofs: list[SlotProof] = []
        for slot in slots:
            below, value = self._walk(account.storage_root, keccak256(slot.to_bytes(_WORD, "big")))
            proofs.append(SlotProof(slot, rlp.to_integer(rlp.decode(value), _WORD) if value else 0, below))
        return Proof(account, nodes, tuple(proofs))

    def _header_with_state(self, number: int | None) -> Header:
        """Return a block's header unless its state was left behind by the snapshot that this replica started from.

        An earlier block can have the very state of the snapshot; where a state's root is, all below it is.
        """
        header = self.header(number)
        start = read_start(self._store)
        if (
            start is None
            or header.number >= start.number
            or self._store.read(Space.NODE, header.state_root) is not None
        ):
            return header
        raise StateMissingError(header.number, start.number)

    def _nodes(self) -> MutableMapping[bytes, bytes]:
        return CommittedNodes(self._store)

    def _walk(self, root: bytes, key: bytes) -> tuple[tuple[bytes, ...], bytes]:
        """Return the encoded nodes on the way to `key` and its value (empty when absent)."""
        if root == EMPTY_ROOT:
            return (), b""
        trie = HexaryTrie(self._nodes(), root)
        nodes = trie.get_proof(key)  # type: ignore[no-untyped-call] # the package leaves it without types
        return tuple(rlp.encode(_plain(node)) for node in nodes), trie[key]

    # Calls

    def call(
        self,
        call: Call,
        number: int | None = None,
        *,
        pending: bool = False,
        timestamp: int | None = None,
        accounts: AccountOverrides = _NO_OVERRIDES,
        block: BlockOverride | None = None,
        tracer: Tracer | None = None,
    ) -> CallResult:
        """Run a call on the state after a block and forget its changes; see `state` for the arguments.

        `accounts` are supposed to be otherwise than they are; `tracer` is told what happens.
        """
        state = self.state(number, pending=pending, timestamp=timestamp, block=block)
        override(state, accounts)
        if tracer is not None:
            state.computation_class = traced(state.computation_class, tracer)  # type: ignore[assignment] # both py-evm's
        return self.run(state, call)

    def run(self, state: MeritState, call: Call) -> CallResult:
        """Run a call in a state from `state`; what it changes stays in that state, for the next one to see."""
        gas = CALL_GAS if call.gas is None else min(call.gas, self._environment.gas_limit)
        if state.get_balance(call.sender) < call.value:
            return CallResult(succeeded=False, output=b"", reason="the sender has not the coins to send", gas_used=0)
        computations = state.computation_class
        context = state.get_transaction_context_class()(gas_price=call.gas_price, origin=call.sender)
        state.mark_address_warm(call.sender)
        try:
            if call.to is None:
                created = created_address(call.sender, state.get_nonce(call.sender))
                message = Message(gas, Address(b""), call.sender, call.value, b"", call.data, create_address=created)
                computation = computations.apply_create_message(state, message, context)
            else:
                code = state.get_code(call.to)
                message = Message(gas, call.to, call.sender, call.value, call.data, code)
                computation = computations.apply_message(state, message, context)
        except VMError as error:  # refused before the first opcode, such as initcode that is too long
            return CallResult(succeeded=False, output=b"", reason=str(error), gas_used=0)
        if computation.is_error:
            reason = revert_reason(computation)
            return CallResult(
                succeeded=False, output=computation.output, reason=reason, gas_used=computation.get_gas_used()
            )
        return CallResult(
            succeeded=True,
            output=computation.output,
            reason="",
            gas_used=computation.get_gas_used(),
            logs=logs_of(computation),
        )

    def replay(self, number: int, watch: Callable[[int], Tracer | None], last: int | None = None) -> list[Replayed]:
        """Run the transactions of a block again, up to the one at `last`; see `chain.execution.replay`.

        `UnknownBlockError` for block 0, which nothing was executed to make.
        """
        if number == 0:
            raise UnknownBlockError("0")  # noqa: EM101 - a field
        found = self.block(number)
        parent = self._header_with_state(number - 1)
        count = len(found.transactions) if last is None else last + 1
        kept = replace(found, transactions=found.transactions[:count])
        return list(replay(self._store, self._environment, parent, kept, watch))

    def simulator(self, number: int | None = None, *, output_bytes: int) -> Simulator:
        """Return what makes supposed blocks on top of a block; together their calls may use `CALL_GAS`.

        `output_bytes` is what they may return and log.
        """
        header = self._header_with_state(number)
        return Simulator(
            SupposedNodes(self._store),
            apart(self._environment, self.state(number).schedule),
            header,
            islice(ancestor_hashes(self._store, header, header.hash), _ANCESTORS),
            gas=CALL_GAS,
            output_bytes=output_bytes,
        )

    def access_list(
        self, call: Call, number: int | None = None, *, timestamp: int | None = None
    ) -> tuple[Mapping[Address, Sequence[int]], CallResult]:
        """Return the accounts and slots that this transaction reaches in the next block, and its result with them.

        Left out are those that cost nothing to reach: sender, recipient and precompiles, unless slots of theirs are
        used (EIP-2930).
        """
        known: dict[Address, Sequence[int]] = {address: tuple(slots) for address, slots in call.access_list}
        for _ in range(_ACCESS_ROUNDS):
            tracer = AccessTracer()
            candidate = self._candidate(replace(call, access_list=tuple(known.items())), number)
            gas = min(call.gas or CALL_GAS, self._environment.gas_limit)
            result = self._try(candidate, gas, number, timestamp, tracer=tracer)[0]
            free = {call.sender, call.to, *self.state(number).computation_class.get_precompiles()}
            found = {at: tuple(sorted(slots)) for at, slots in tracer.touched.items() if slots or at not in free}
            if found == known:
                break
            known = dict(found)
        return known, result

    def estimate_gas(
        self,
        call: Call,
        number: int | None = None,
        *,
        timestamp: int | None = None,
        accounts: AccountOverrides = _NO_OVERRIDES,
        block: BlockOverride | None = None,
    ) -> tuple[int, CallResult]:
        """Return the least gas (within 1.5 %) with which this transaction succeeds in the next block, and its result.

        The result tells whether it succeeds at all: when it fails with all the gas there is, the number means nothing.
        Signature and key are counted as for type 0x50: by reference when state keeps the sender's key, otherwise with
        the whole key; a classical sender is counted the dearer way, which costs it nothing.
        """
        candidate = self._candidate(call, number, accounts)

        def attempt(gas: int) -> tuple[CallResult, int]:
            return self._try(candidate, gas, number, timestamp, accounts=accounts, block=block)

        high = min(call.gas or self._environment.gas_limit, self._environment.gas_limit)
        result, refund = attempt(high)
        if not result.succeeded:
            return 0, result
        low = result.gas_used - 1
        if not call.data and attempt(result.gas_used)[0].succeeded:  # a transfer takes just that
            return result.gas_used, result
        # a call keeps back a 64th of its gas (EIP-150), and refunds come only at the end
        guess = (result.gas_used + refund + _CALL_STIPEND) * 64 // 63
        if guess < high:
            if attempt(guess)[0].succeeded:
                high = guess
            else:
                low = guess
        while low + 1 < high and (high - low) * 1_000 >= 15 * high:
            middle = (low + high) // 2
            if attempt(middle)[0].succeeded:
                high = middle
            else:
                low = middle
        return high, result

    def _candidate(self, call: Call, number: int | None, accounts: AccountOverrides = _NO_OVERRIDES) -> Candidate:
        state = self.state(number)
        override(state, accounts)
        to = Address(b"") if call.to is None else call.to
        return Candidate(
            raw=b"",
            hash=b"",
            type_id=2,
            sender=call.sender,
            nonce=state.get_nonce(call.sender),
            gas=0,
            to=to,
            value=call.value,
            data=call.data,
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            access_list=call.access_list,
            intrinsic_gas=intrinsic_gas(to, call.data, call.access_list) + self._authentication_gas(state, call.sender),
            floor_gas=calldata_gas(call.data)[1],
            new_key=None,
        )

    def _authentication_gas(self, state: MeritState, sender: Address) -> int:
        return authentication_gas_of(sender, find_key(state, sender))

    def _try(
        self,
        candidate: Candidate,
        gas: int,
        number: int | None,
        timestamp: int | None,
        *,
        accounts: AccountOverrides = _NO_OVERRIDES,
        block: BlockOverride | None = None,
        tracer: Tracer | None = None,
    ) -> tuple[CallResult, int]:
        """Run a candidate with this gas limit; return its result and the gas refunded at the end."""
        least = max(candidate.intrinsic_gas, candidate.floor_gas)
        if gas < least:
            return CallResult(succeeded=False, output=b"", reason=f"needs {least} gas to start", gas_used=0), 0
        state = self.state(number, pending=True, timestamp=timestamp, block=block)
        override(state, accounts)
        if tracer is not None:
            state.computation_class = traced(state.computation_class, tracer)  # type: ignore[assignment] # both py-evm's
        if state.get_balance(candidate.sender) < candidate.value:
            reason = "the sender has not the coins to send"
            return CallResult(succeeded=False, output=b"", reason=reason, gas_used=0), 0
        try:
            result, computation = run_candidate(state, replace(candidate, gas=gas))
        except VMError as error:
            return CallResult(succeeded=False, output=b"", reason=str(error), gas_used=0), 0
        refund = 0 if computation.is_error else computation.get_gas_refund()
        succeeded = result.code is Code.OK
        return CallResult(succeeded, computation.output, result.reason, result.gas_used, result.logs), refund


def _plain(node: object) -> rlp.Item:
    """Turn a trie node of the `trie` package into bytes and lists."""
    if isinstance(node, (list, tuple)):
        return [_plain(item) for item in node]
    return bytes(node)  # type: ignore[call-overload, no-any-return] # the package types its nodes as Any


def _account(leaf: bytes) -> Account:
    match rlp.decode(leaf) if leaf else None:
        case [bytes(nonce), bytes(balance), bytes(storage_root), bytes(code_hash)]:
            return Account(rlp.to_integer(nonce, 8), rlp.to_integer(balance, _WORD), storage_root, code_hash)
        case _:
            return Account(0, 0, EMPTY_ROOT, EMPTY_CODE_HASH)


def _choices(topic: "bytes | Sequence[bytes] | None") -> Sequence[bytes]:
    if topic is None:
        return ()
    return (topic,) if isinstance(topic, bytes) else topic


def _bloom_matches(bloom: bytes, addresses: Sequence[bytes], topics: Sequence[Sequence[bytes]]) -> bool:
    return all(not group or any(bloom_may_hold(bloom, value) for value in group) for group in (addresses, *topics))


def _matches(log: Log, addresses: Sequence[bytes], topics: Sequence[Sequence[bytes]]) -> bool:
    """Tell whether a log has one of the addresses and, by position, one of the topics; an empty group is no bound.

    A loop and no generator: a query may look at a hundred thousand logs.
    """
    if addresses and log.address not in addresses:
        return False
    if len(topics) > len(log.topics):
        return False
    for choices, topic in zip(topics, log.topics, strict=False):  # noqa: SIM110 - see above
        if choices and topic not in choices:
            return False
    return True
