"""Blocks that are only supposed: unsigned calls on top of a block of the ledger, then forgotten (eth_simulateV1).

What execution-apis says of the method and its files of requests and answers are the specification; what they leave
open is done as geth does it. A supposed block is a block like any other: its header follows from what ran, the next one
builds on it, BLOCKHASH finds it. Nothing of it reaches the store or what the replica remembers: nodes go into
`SupposedNodes`, and caches are the simulation's own (ADR-supposed-blocks.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from eth.abc import ComputationAPI
from eth.db.backends.base import BaseAtomicDB
from eth.exceptions import Revert, VMError
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from chain import rlp
from chain.crypto.addresses import ZERO, Address
from chain.crypto.hashing import keccak256
from chain.errors import ContractUpgradeError, OverrideError, SimulatedBlockError, VersionError
from chain.execution.blocks import Block, BlockNumber, Header, Log, Receipt, bloom_of
from chain.execution.evm import Environment, MeritExecutor, MeritState, open_state
from chain.execution.executor import run_candidate
from chain.execution.keys import find_key
from chain.execution.lookup import NodeCache
from chain.execution.overrides import AccountOverrides, BlockOverride, override, override_blob_base_fee
from chain.execution.recent import RecentEvents
from chain.execution.standings import Standings
from chain.execution.tracing import failure, tell_transfers
from chain.execution.transactions import (
    INITCODE_BYTES,
    Candidate,
    Description,
    authentication_gas_of,
    calldata_gas,
    greatest_cost,
    intrinsic_gas,
)
from chain.execution.trie import ordered_root
from chain.execution.upgrades import begin_block
from chain.execution.versions import GetStorage, Schedule, Schedules
from chain.transaction import AccessList

MOST_BLOCKS: Final = 256  # one request may suppose, those between counted (as geth)
_SECONDS: Final = 12  # from a block to the next one (as geth)
_LOG_BYTES: Final = 512  # what a log weighs beside its data; in JSON it has some 700
_NONCE_END: Final = 2**64 - 1  # no transaction may use it (EIP-2681)


class Fault(IntEnum):
    """Why blocks cannot be made, as execution-apis numbers it."""

    OTHER = -32_000
    NONCE_MAXIMUM = -32_603
    NONCE_LOW = -38_010
    NONCE_HIGH = -38_011
    FEE_LOW = -38_012
    INTRINSIC_GAS = -38_013
    FUNDS = -38_014
    BLOCK_GAS = -38_015
    NUMBER = -38_020
    TIMESTAMP = -38_021
    MOVED_TO_ITSELF = -38_022
    INITCODE = -38_025
    LIMIT = -38_026


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedCall:
    """A transaction without a signature. Fees in wei per gas, `value` in wei.

    Gas None: all that the block and the request have left. Nonce None: the sender's next one. With `gas_price` it is a
    legacy transaction, else one of EIP-1559.
    """

    sender: Address = ZERO
    to: Address | None = None
    data: bytes = b""
    value: int = 0
    gas: int | None = None
    nonce: int | None = None
    gas_price: int | None = None
    max_fee_per_gas: int = 0
    max_priority_fee_per_gas: int = 0
    access_list: AccessList = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A block to be made: what it supposes of itself and of accounts before anything runs, and its calls in order."""

    block: BlockOverride
    accounts: AccountOverrides
    calls: Sequence[UnsignedCall] = ()


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """What a call did: `failure` in geth's words, empty for success; `output` of a revert is the contract's reason.

    `most_gas` is what it had used before refunds. `logs` hold transfers of ether too where they were asked for, each
    with its index in the block: as geth counts, those of messages that failed have had theirs.
    """

    succeeded: bool
    reverted: bool
    failure: str
    output: bytes
    gas_used: int
    most_gas: int
    logs: tuple[tuple[int, Log], ...]


@dataclass(frozen=True, slots=True)
class SimulatedBlock:
    """A block that was made, its transactions as they would be described, and what each did."""

    block: Block
    transactions: tuple[Description, ...]
    calls: tuple[SimulatedCall, ...]


class _LedgersOwn(Schedules):
    """The ledger's schedule of versions, whatever the Council's storage is supposed to hold: any number of entries."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    def of(self, root: bytes, storage: GetStorage) -> Schedule:
        """Return the ledger's."""
        del root, storage
        return self._schedule


def apart(environment: Environment, schedule: Schedule) -> Environment:
    """Return an environment with caches of its own, in which `schedule` holds.

    Verdicts on signatures are shared: they depend on no state.
    """
    own = {"nodes": NodeCache(), "standings": Standings(), "events": RecentEvents()}
    return replace(environment, schedules=_LedgersOwn(schedule), **own)  # type: ignore[arg-type] # by name


class Simulator:
    """Makes blocks on top of a block of the ledger.

    Args:
        nodes: the state below; what is written to it must not last.
        environment: what genesis fixes; what it remembers must not last either (`apart`).
        base: the header of the block that the first one follows.
        ancestors: hashes of blocks, the base's first.
        gas: what all calls together may use.
        output_bytes: what all calls together may return and log.

    """

    executor_class: type[MeritExecutor] = MeritExecutor

    def __init__(
        self,
        nodes: BaseAtomicDB,
        environment: Environment,
        base: Header,
        ancestors: Iterator[bytes],
        *,
        gas: int,
        output_bytes: int,
    ) -> None:
        """Start with nothing made."""
        self._nodes = nodes
        self._environment = environment
        self._base = base
        self._ancestors = list(ancestors)
        self._gas_limit = self._gas = gas
        self._output_bytes = output_bytes

    def run(self, plans: Sequence[Plan], *, validation: bool, transfers: bool) -> list[SimulatedBlock]:
        """Make the blocks, with empty ones where the plans leave numbers out.

        With `validation` nonces and fees must be as the ledger demands; without, an omitted fee is none at all and any
        nonce will do. `transfers` adds a log for every transfer of ether. `SimulatedBlockError` for what cannot be.
        """
        headers = self._drafts(fill_gaps(plans, self._base.number, self._base.timestamp))
        made: list[SimulatedBlock] = []
        parent = self._base
        for plan, draft in headers:
            header = self.inherit(draft, parent, plan.block, validation=validation)
            made.append(self._make(plan, header, validation=validation, transfers=transfers))
            parent = made[-1].block.header
            self._ancestors.insert(0, made[-1].block.hash)
        return made

    # What is another ledger's own

    def draft(self, before: Header, block: BlockOverride) -> Header:
        """Return a header of which number, time and what it takes from the draft `before` it are right."""
        return Header(
            parent_hash=b"",
            state_root=b"",
            coinbase=before.coinbase if block.coinbase is None else block.coinbase,
            number=BlockNumber(before.number if block.number is None else block.number),
            gas_limit=before.gas_limit if block.gas_limit is None else block.gas_limit,
            timestamp=before.timestamp if block.timestamp is None else block.timestamp,
            mix_hash=bytes(32) if block.mix_hash is None else block.mix_hash,
            extra_data=b"",
        )

    def inherit(self, draft: Header, parent: Header, block: BlockOverride, *, validation: bool) -> Header:
        """Return the header with what follows from its parent: hash, state, base fee (constant on this ledger)."""
        del validation
        return replace(
            draft,
            parent_hash=parent.hash,
            state_root=parent.state_root,
            base_fee_per_gas=parent.base_fee_per_gas if block.base_fee_per_gas is None else block.base_fee_per_gas,
        )

    def open(self, header: Header, ancestors: Sequence[bytes]) -> MeritState:
        """Open the state that a block begins with, for execution in it."""
        return open_state(self._nodes, header, header.state_root, ancestors, self._environment)

    def begin(self, state: MeritState, header: Header) -> None:
        """Change the state as a block does before its transactions."""
        del header
        begin_block(state, ())

    def end(self, state: MeritState, header: Header) -> Header:
        """Change the state as a block does after its transactions; return the header with what that put into it."""
        del state
        return header

    def authentication_gas(self, state: MeritState, sender: Address) -> int:
        """Return what the signature costs that this transaction would carry on the ledger.

        A sender whose key the ledger keeps signs with it. Any other brings its key along, of the greater scheme; on a
        ledger that takes secp256k1 it may have none, and nothing is counted.
        """
        key = find_key(state, sender)
        if key is None and self._environment.classical:
            return 0
        return authentication_gas_of(sender, key)

    def describe(self, call: UnsignedCall, *, nonce: int, gas: int) -> tuple[bytes, Description]:
        """Return the transaction's bytes, with a signature of zeros, and its description."""
        legacy = call.gas_price is not None
        fee = call.max_fee_per_gas if call.gas_price is None else call.gas_price
        tip = call.max_priority_fee_per_gas if call.gas_price is None else call.gas_price
        to = call.to or b""
        chain_id = self._environment.chain_id
        body = [rlp.integer(gas), to, rlp.integer(call.value), call.data]
        zeros = [b"", b"", b""]
        if legacy:
            raw = rlp.encode([rlp.integer(nonce), rlp.integer(fee), *body, *zeros])
        else:
            fees = [rlp.integer(chain_id), rlp.integer(nonce), rlp.integer(tip), rlp.integer(fee)]
            raw = b"\2" + rlp.encode([*fees, *body, encode_access_list(call.access_list), *zeros])
        description = Description(
            hash=keccak256(raw),
            type=0 if legacy else 2,
            chain_id=0 if legacy else chain_id,
            nonce=nonce,
            sender=call.sender,
            to=to,
            value=call.value,
            data=call.data,
            gas=gas,
            max_priority_fee_per_gas=tip,
            max_fee_per_gas=fee,
            access_list=None if legacy else call.access_list,
            v=0,
            r=0,
            s=0,
        )
        return raw, description

    def candidate(self, state: MeritState, call: UnsignedCall, raw: bytes, described: Description) -> Candidate:
        """Return the transaction as the executor reads it."""
        to = Address(described.to)
        slots = [(address, [int.from_bytes(slot, "big") for slot in slots]) for address, slots in call.access_list]
        gas = intrinsic_gas(to, call.data, slots) + self.authentication_gas(state, call.sender)
        return Candidate(
            raw=raw,
            hash=described.hash,
            type_id=described.type,
            sender=call.sender,
            nonce=state.get_nonce(call.sender),
            gas=described.gas,
            to=to,
            value=call.value,
            data=call.data,
            max_priority_fee_per_gas=described.max_priority_fee_per_gas,
            max_fee_per_gas=described.max_fee_per_gas,
            access_list=slots,
            intrinsic_gas=gas,
            floor_gas=calldata_gas(call.data)[1],
            new_key=None,
        )

    def greatest_cost(self, candidate: Candidate) -> int:
        """Return what the sender may have to pay at most, in wei."""
        return greatest_cost(candidate)

    # What is the same on every ledger

    def _drafts(self, plans: Sequence[Plan]) -> list[tuple[Plan, Header]]:
        drafts: list[tuple[Plan, Header]] = []
        before = self._base
        for plan in plans:
            before = self.draft(before, plan.block)
            drafts.append((plan, before))
        return drafts

    def _make(self, plan: Plan, header: Header, *, validation: bool, transfers: bool) -> SimulatedBlock:
        try:
            state = self.open(header, tuple(self._ancestors))
            override(state, plan.accounts)
            self.begin(state, header)
        except OverrideError as error:
            fault = Fault.MOVED_TO_ITSELF if error.onto_itself else Fault.OTHER
            raise SimulatedBlockError(fault, str(error)) from None
        except (ContractUpgradeError, VersionError) as error:  # the block is one from which other versions hold
            raise SimulatedBlockError(Fault.OTHER, str(error)) from None
        if plan.block.blob_base_fee is not None:
            override_blob_base_fee(state, plan.block.blob_base_fee)
        told: set[int] = set()
        if transfers:
            state.computation_class = tell_transfers(state.computation_class, told)  # type: ignore[assignment] # both py-evm's
        raws: list[bytes] = []
        descriptions: list[Description] = []
        receipts: list[Receipt] = []
        calls: list[SimulatedCall] = []
        gas_used = log_index = 0
        for call in plan.calls:
            raw, description, candidate = self._prepare(state, header, call, gas_used, validation=validation)
            told.clear()
            computation, done = self._run(state, candidate, log_index)
            logs = tuple(log for at, log in done.logs if at - log_index not in told)
            log_index += computation.transaction_context.get_next_log_counter()
            gas_used += done.gas_used
            self._gas -= done.gas_used
            self._count(done)
            raws.append(raw)
            descriptions.append(description)
            calls.append(done)
            receipts.append(Receipt(description.type, done.succeeded, gas_used, bloom_of(logs), logs))
        header = self.end(state, header)
        state.persist()
        encoded = [receipt.encode() for receipt in receipts]
        header = replace(
            header,
            state_root=bytes(state.state_root),
            transactions_root=ordered_root(raws),
            receipts_root=ordered_root(encoded),
            bloom=bloom_of(log for receipt in receipts for log in receipt.logs),
            gas_used=gas_used,
        )
        block = Block(header, header.hash, tuple(raws), tuple(receipts))
        return SimulatedBlock(block, tuple(descriptions), tuple(calls))

    def _prepare(
        self, state: MeritState, header: Header, call: UnsignedCall, gas_used: int, *, validation: bool
    ) -> tuple[bytes, Description, Candidate]:
        """Fill in what a call leaves open and refuse what cannot run, in geth's order and words."""
        nonce = state.get_nonce(call.sender)
        gas = header.gas_limit - gas_used if call.gas is None else call.gas
        if gas_used + gas > header.gas_limit:
            message = f"block gas limit reached: {gas_used + gas} >= {header.gas_limit}"
            raise SimulatedBlockError(Fault.BLOCK_GAS, message)
        gas = min(gas, self._gas)
        raw, described = self.describe(call, nonce=nonce if call.nonce is None else call.nonce, gas=gas)
        candidate = self.candidate(state, call, raw, described)
        least = max(candidate.intrinsic_gas, candidate.floor_gas)
        if self._gas < least:
            message = (
                f"{self._gas} of the {self._gas_limit} gas that a request's calls share are left, it needs {least}"
            )
            raise SimulatedBlockError(Fault.LIMIT, message)
        sender = to_checksum_address(call.sender)
        if validation:
            _check_nonce(described.nonce, nonce, sender, gas)
        base_fee = header.base_fee_per_gas or 0
        fee, tip = described.max_fee_per_gas, described.max_priority_fee_per_gas
        if (validation or fee or tip) and fee < base_fee:
            message = (
                f"max fee per gas less than block base fee: address {sender}, maxFeePerGas: {fee}, baseFee: {base_fee}"
            )
            raise _refused(Fault.FEE_LOW, message, gas)
        balance, cost = state.get_balance(call.sender), self.greatest_cost(candidate)
        if balance < cost:
            message = f"insufficient funds for gas * price + value: address {sender} have {balance} want {cost}"
            raise _refused(Fault.FUNDS, message, gas)
        if gas < candidate.intrinsic_gas:
            message = f"intrinsic gas too low: have {gas}, want {candidate.intrinsic_gas}"
            raise _refused(Fault.INTRINSIC_GAS, message, gas)
        if gas < least:
            message = f"insufficient gas for floor data gas cost: have {gas}, want {least}"
            raise _refused(Fault.INTRINSIC_GAS, message, gas)
        if call.to is None and len(call.data) > INITCODE_BYTES:
            message = f"max initcode size exceeded: code size {len(call.data)} limit {INITCODE_BYTES}"
            raise _refused(Fault.INITCODE, message, gas)
        return raw, described, candidate

    def _run(self, state: MeritState, candidate: Candidate, log_index: int) -> tuple[ComputationAPI, SimulatedCall]:
        """Run a transaction of which the first log has this index in its block."""
        last = candidate.nonce == _NONCE_END
        if last:  # without validation a nonce may be used that no transaction can; geth's then begins again at 0
            state.set_nonce(candidate.sender, 0)
        state.lock_changes()
        try:
            result, computation = run_candidate(state, candidate, self.executor_class)
        except (ValidationError, VMError) as refusal:  # before the first opcode
            raise SimulatedBlockError(Fault.OTHER, str(refusal)) from None
        if last:
            state.set_nonce(candidate.sender, 0)
        error = computation.error if computation.is_error else None
        done = SimulatedCall(
            succeeded=error is None,
            reverted=isinstance(error, Revert),
            failure="" if error is None else failure(error),
            output=bytes(computation.output),
            gas_used=result.gas_used,
            most_gas=max(candidate.gas - computation.get_gas_remaining(), candidate.floor_gas),
            logs=tuple(
                (log_index + at, Log(Address(address), tuple(topic.to_bytes(32, "big") for topic in topics), data))
                for at, address, topics, data in computation.get_raw_log_entries()
            ),
        )
        return computation, done

    def _count(self, done: SimulatedCall) -> None:
        self._output_bytes -= len(done.output) + sum(_LOG_BYTES + len(log.data) for _, log in done.logs)
        if self._output_bytes < 0:
            message = "the calls return or log more than one answer may hold; ask for fewer at a time"
            raise SimulatedBlockError(Fault.LIMIT, message)


def fill_gaps(plans: Sequence[Plan], number: int, timestamp: int) -> list[Plan]:
    """Give every plan a number and a time, and every number between them a plan of an empty block.

    `number` and `timestamp` (seconds) are those of the block before. `SimulatedBlockError` unless both rise strictly.
    """
    first, filled = number, list[Plan]()
    for plan in plans:
        wanted = number + 1 if plan.block.number is None else plan.block.number
        if wanted <= number:
            message = f"block numbers must be in order: {wanted} <= {number}"
            raise SimulatedBlockError(Fault.NUMBER, message)
        if wanted - first > MOST_BLOCKS:
            raise too_many_blocks()
        for between in range(number + 1, wanted):
            timestamp += _SECONDS
            filled.append(Plan(block=BlockOverride(number=between, timestamp=timestamp), accounts={}))
        time = timestamp + _SECONDS if plan.block.timestamp is None else plan.block.timestamp
        if time <= timestamp:
            message = f"block timestamps must be in order: {time} <= {timestamp}"
            raise SimulatedBlockError(Fault.TIMESTAMP, message)
        number, timestamp = wanted, time
        filled.append(replace(plan, block=replace(plan.block, number=number, timestamp=timestamp)))
    return filled


def too_many_blocks() -> SimulatedBlockError:
    """Return the refusal of more than `MOST_BLOCKS`."""
    return SimulatedBlockError(Fault.LIMIT, "too many blocks")


def encode_access_list(access_list: AccessList) -> rlp.Item:
    """Return the list (EIP-2930) as RLP takes it."""
    return [[address, list(slots)] for address, slots in access_list]


def _check_nonce(nonce: int, expected: int, sender: str, gas: int) -> None:
    if nonce != expected:
        low = nonce < expected
        message = f"nonce too {'low' if low else 'high'}: address {sender}, tx: {nonce} state: {expected}"
        raise _refused(Fault.NONCE_LOW if low else Fault.NONCE_HIGH, message, gas)
    if nonce == _NONCE_END:
        raise _refused(Fault.NONCE_MAXIMUM, f"nonce has max value: address {sender}, nonce: {nonce}", gas)


def _refused(fault: Fault, message: str, gas: int) -> SimulatedBlockError:
    return SimulatedBlockError(fault, f"err: {message} (supplied gas {gas})")
