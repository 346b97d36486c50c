"""Another ledger behind the same RPC methods: a chain with Ethereum's own rules, Frontier to Prague, run by py-evm.

execution-apis has a chain of 45 blocks and what a node must answer about it. The rules of that chain are not Merit's
(fees, blobs, delegations, uncles, block rewards), so its blocks go through py-evm as it is, and `MainnetReader` reads
them. Everything from the request to the answer is Merit's own; what Merit's blocks never hold is added to the shapes
here (`MainnetMethods`), and the pool only decodes.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain as chained
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import rlp
from eth.chains.base import Chain
from eth.consensus import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.batch import BatchDB
from eth.vm import forks
from eth.vm.chain_context import ChainContext
from eth.vm.forks.cancun.state import fake_exponential
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth.vm.forks.prague.constants import BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE
from eth_keys import keys

from chain.application import CheckResult, Code
from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.execution.blocks import Block, BlockNumber, Header, Log, Receipt
from chain.execution.evm import Environment, created_address
from chain.execution.overrides import BlockOverride
from chain.execution.reader import (
    Call,
    CallResult,
    FoundLog,
    FoundReceipt,
    FoundTransaction,
    Place,
    Reader,
    _choices,
    _matches,
)
from chain.execution.replay import Replayed
from chain.execution.tracing import Tracer, traced
from chain.execution.transactions import Description, describe
from chain.limits import CALL_GAS
from chain.rpc import shapes
from chain.rpc.dispatcher import Dispatcher
from chain.rpc.ethereum import EthereumMethods
from chain.rpc.parameters import CallRequest
from chain.rpc.txpool import TxpoolMethods
from merit.clock import SystemClock
from tests.chain.rpc.mainnet_simulator import BlobCall, BlobDescription, MainnetSimulator

FORKS = {
    0: forks.HomesteadVM.configure(support_dao_fork=False, _dao_fork_block_number=10**9),
    3: forks.TangerineWhistleVM,
    6: forks.SpuriousDragonVM,
    9: forks.ByzantiumVM,
    12: forks.ConstantinopleVM,
    15: forks.PetersburgVM,
    18: forks.IstanbulVM,
    21: forks.MuirGlacierVM,
    24: forks.BerlinVM,
    27: forks.LondonVM,
    30: forks.ArrowGlacierVM,
    33: forks.GrayGlacierVM,
    36: forks.ParisVM,
    39: forks.ShanghaiVM,
    42: forks.CancunVM,
    45: forks.PragueVM,
}
"""First block -> rules, as forkenv.json has them (blocks are 10 seconds apart)."""

DELEGATION = bytes.fromhex("ef0100")


@dataclass(frozen=True, slots=True, kw_only=True)
class MainnetHeader(Header):
    """A header of any fork: what its fork does not have yet is None; `raw` is its RLP."""

    raw: bytes

    def encode(self) -> bytes:
        return self.raw


@dataclass(frozen=True, slots=True)
class MainnetReceipt(Receipt):
    """A receipt that may hold a state root instead of a status (before EIP-658); `raw` is its encoding."""

    root: bytes | None = None
    raw: bytes = b""

    def encode(self) -> bytes:
        return self.raw


@dataclass(frozen=True, slots=True)
class MainnetBlock(Block):
    """A block with its RLP, the hashes of its uncles, and its withdrawals, None before Shanghai."""

    raw: bytes = b""
    uncles: tuple[bytes, ...] = ()
    withdrawals: tuple[tuple[int, int, bytes, int], ...] | None = None

    def encode(self) -> bytes:
        return self.raw


def _integer(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _header(items: list[bytes]) -> MainnetHeader:
    numbers = {"difficulty", "number", "gas_limit", "gas_used", "timestamp"}
    numbers |= {"base_fee_per_gas", "blob_gas_used", "excess_blob_gas"}
    names = [*Header.__dataclass_fields__]
    fields: dict[str, Any] = dict.fromkeys(names)
    fields |= {name: _integer(item) if name in numbers else item for name, item in zip(names, items, strict=False)}
    return MainnetHeader(**fields, raw=rlp.encode(items))


def _describe(raw: bytes) -> tuple[Description, shapes.Json]:
    """Decode a transaction of any type; the second part is what types 3 and 4 have in JSON besides."""
    if raw[0] not in {3, 4}:
        return describe(raw), {}
    items = rlp.decode(raw[1:])
    chain_id, nonce, tip, fee, gas, to, value, data, accesses, *others = items
    v, r, s = map(_integer, others[-3:])
    signed = keccak256(raw[:1] + rlp.encode(items[:-3]))
    sender = keys.Signature(vrs=(v, r, s)).recover_public_key_from_msg_hash(signed).to_canonical_address()
    if raw[0] == 3:
        more: shapes.Json = {
            "maxFeePerBlobGas": shapes.number(_integer(others[0])),
            "blobVersionedHashes": list(map(shapes.data, others[1])),
        }
    else:
        names = ("chainId", "address", "nonce", "yParity", "r", "s")
        more = {
            "authorizationList": [
                {
                    name: shapes.data(item) if name == "address" else shapes.number(_integer(item))
                    for name, item in zip(names, authorization, strict=True)
                }
                for authorization in others[0]
            ]
        }
    description = Description(
        hash=keccak256(raw),
        type=raw[0],
        chain_id=_integer(chain_id),
        nonce=_integer(nonce),
        sender=Address(sender),
        to=to,
        value=_integer(value),
        data=data,
        gas=_integer(gas),
        max_priority_fee_per_gas=_integer(tip),
        max_fee_per_gas=_integer(fee),
        access_list=tuple((Address(account), tuple(slots)) for account, slots in accesses),
        v=v,
        r=r,
        s=s,
    )
    return description, more


class MainnetReader(Reader):
    """Reads a chain that py-evm has imported."""

    def __init__(self, folder: Path) -> None:
        genesis = json.loads((folder / "genesis.json").read_text())
        self.chain_id = genesis["config"]["chainId"]
        rules = tuple((number, vm.configure(consensus_class=NoProofConsensus)) for number, vm in FORKS.items())
        made = Chain.configure("Imported", vm_configuration=rules, chain_id=self.chain_id)
        self._chain = made.from_genesis(AtomicDB(), _genesis_fields(genesis), _genesis_state(genesis))
        self._blocks: list[MainnetBlock] = []
        self._theirs: list[Any] = []
        first = self._chain.get_canonical_block_by_number(0)
        self._keep(rlp.encode([*rlp.decode(rlp.encode(first))]), first)
        content = (folder / "chain.rlp").read_bytes()
        while content:
            _, _, size, end = rlp.codec.consume_length_prefix(content, 0)
            raw, content = content[: end + size], content[end + size :]
            header = rlp.decode(raw)[0]
            vm = self._chain.get_vm_class_for_block_number(_integer(header[8]))
            block = rlp.decode(raw, sedes=vm.get_block_class())
            self._keep(raw, self._chain.import_block(block, perform_validation=False).imported_block)
        self._environment = Environment(
            chain_id=self.chain_id, genesis_hash=b"", gas_limit=30_000_000, classical=True, deployers=frozenset()
        )
        self._places = {
            keccak256(raw): (block.number, index)
            for block in self._blocks
            for index, raw in enumerate(block.transactions)
        }

    def _keep(self, raw: bytes, theirs: Any) -> None:
        header, transactions, uncles, *withdrawals = rlp.decode(raw)
        name = keccak256(rlp.encode(header))
        assert name == theirs.hash  # it executed to the same header
        receipts = map(_receipt, theirs.get_receipts(self._chain.chaindb)) if theirs.transactions else ()
        self._theirs.append(theirs)
        self._blocks.append(
            MainnetBlock(
                _header(header),
                name,
                tuple(item if isinstance(item, bytes) else rlp.encode(item) for item in transactions),
                tuple(receipts),
                (),
                raw,
                tuple(keccak256(rlp.encode(uncle)) for uncle in uncles),
                None
                if not withdrawals
                else tuple((_integer(a), _integer(b), c, _integer(d)) for a, b, c, d in withdrawals[0]),
            )
        )

    # Blocks and what is in them

    def latest(self) -> BlockNumber:
        return BlockNumber(len(self._blocks) - 1)

    def first_state(self) -> int:
        return 0

    def header(self, number: int | None = None) -> Header:
        return self.block(number).header

    def block(self, number: int | None = None) -> MainnetBlock:
        return self._blocks[-1 if number is None else number]

    def number_of(self, block_hash: bytes) -> BlockNumber | None:
        return next((block.number for block in self._blocks if block.hash == block_hash), None)

    def fees(self, number: int) -> tuple[int, int]:
        header = self.header(min(number, self.latest()))
        base = header.base_fee_per_gas or 0
        if number > self.latest():
            base = calculate_expected_base_fee_per_gas(self._theirs[-1].header)
        return base, 0 if header.excess_blob_gas is None else _blob_fee(header)

    def transaction(self, name: bytes) -> FoundTransaction | None:
        place = self._places.get(name)
        return None if place is None else self.transaction_at(*place)

    def transaction_at(self, number: int, index: int) -> FoundTransaction | None:
        block = self._blocks[number]
        if index >= len(block.transactions):
            return None
        raw = block.transactions[index]
        return FoundTransaction(Place(block.number, block.hash, index), raw, _describe(raw)[0])

    def receipt(self, name: bytes) -> FoundReceipt | None:
        place = self._places.get(name)
        return None if place is None else self.receipts(place[0])[place[1]]

    def receipts(self, number: int | None = None) -> tuple[FoundReceipt, ...]:
        block = self.block(number)
        found: list[FoundReceipt] = []
        gas = logs = 0
        for index, (raw, receipt) in enumerate(zip(block.transactions, block.receipts, strict=True)):
            described = _describe(raw)[0]
            created = None if described.to else created_address(described.sender, described.nonce)
            price = described.max_priority_fee_per_gas + (block.header.base_fee_per_gas or 0)
            found.append(
                FoundReceipt(
                    Place(block.number, block.hash, index),
                    described.hash,
                    receipt,
                    receipt.cumulative_gas - gas,
                    logs,
                    described,
                    created,
                    min(described.max_fee_per_gas, price),
                )
            )
            gas, logs = receipt.cumulative_gas, logs + len(receipt.logs)
        return tuple(found)

    def logs(self, first: int, last: int, *, addresses: Sequence[bytes] = (), topics: Any = ()) -> list[FoundLog]:
        return [
            FoundLog(found.place, found.hash, found.first_log + at, log, self.header(number).timestamp)
            for number in range(first, last + 1)
            for found in self.receipts(number)
            for at, log in enumerate(found.receipt.logs)
            if _matches(log, addresses, list(map(_choices, topics)))
        ]

    # State and execution

    def simulator(self, number: int | None = None, *, output_bytes: int) -> MainnetSimulator:
        header = self.header(number)
        simulator = MainnetSimulator(
            AtomicDB(BatchDB(self._chain.chaindb.db)),
            self._environment,
            header,
            (self._blocks[at].hash for at in range(header.number, -1, -1)),
            gas=CALL_GAS,
            output_bytes=output_bytes,
        )
        simulator.rules = self._rules
        return simulator

    def _rules(self, number: int) -> Any:
        return FORKS[max(first for first in FORKS if first <= number)]

    def state(
        self,
        number: int | None = None,
        *,
        pending: bool = False,
        timestamp: int | None = None,
        block: BlockOverride | None = None,
    ) -> Any:
        at = self.latest() if number is None else number
        theirs = self._theirs[at].header
        context = self.header(at)
        if pending:
            context = replace(context, number=context.number + 1, timestamp=timestamp or context.timestamp)
        if block is not None:
            context = block.of(context)
        vm = self._chain.get_vm(theirs)
        changed = theirs.copy(
            block_number=context.number,
            timestamp=context.timestamp,
            gas_limit=context.gas_limit,
            coinbase=context.coinbase,
            **({} if context.base_fee_per_gas is None else {"base_fee_per_gas": context.base_fee_per_gas}),
        )
        hashes = vm.previous_hashes if not pending else chained((theirs.hash,), vm.previous_hashes)
        return vm.build_state(self._chain.chaindb.db, changed, ChainContext(self.chain_id), hashes)

    def call(self, call: Call, number: int | None = None, **how: Any) -> CallResult:
        if not call.gas_price:  # as geth: who offers nothing sees no base fee
            how["block"] = replace(how.get("block") or BlockOverride(), base_fee_per_gas=0)
        return super().call(call, number, **how)

    def run(self, state: Any, call: Call) -> CallResult:
        code = b"" if call.to is None else state.get_code(call.to)
        if code.startswith(DELEGATION):  # EIP-7702: the account's code is another's
            state.set_code(call.to, state.get_code(Address(code[len(DELEGATION) :])))
        return super().run(state, call)

    def replay(self, number: int, watch: Callable[[int], Tracer | None], last: int | None = None) -> list[Replayed]:
        theirs = self._theirs[number]
        vm = self._chain.get_vm(theirs.header)
        parent = self._theirs[number - 1].header.state_root
        state = vm.build_state(
            self._chain.chaindb.db,
            theirs.header.copy(state_root=parent),
            ChainContext(self.chain_id),
            vm.previous_hashes,
        )
        plain = state.computation_class
        done = []
        for index, transaction in enumerate(theirs.transactions[: None if last is None else last + 1]):
            tracer = watch(index)
            state.computation_class = plain if tracer is None else traced(plain, tracer)
            state.lock_changes()
            computation = state.apply_transaction(transaction)
            used = self.receipts(number)[index].gas_used
            output = bytes(computation.output)
            done.append(Replayed(transaction.hash, transaction.gas, used, not computation.is_error, output))
        return done

    def _header_with_state(self, number: int | None) -> Header:
        return self.header(number)

    def _nodes(self) -> Any:
        return self._chain.chaindb.db

    def _authentication_gas(self, state: Any, sender: Address) -> int:
        del state, sender
        return 0  # secp256k1 is in the 21,000

    def _try(self, candidate: Any, gas: int, number: int | None, timestamp: int | None, **how: Any) -> Any:
        how["block"] = replace(how.get("block") or BlockOverride(), base_fee_per_gas=0)  # as geth: nobody pays
        return super()._try(candidate, gas, number, timestamp, **how)


def _blob_fee(header: Header) -> int:
    return int(fake_exponential(1, header.excess_blob_gas, BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE))


def _receipt(theirs: Any) -> MainnetReceipt:
    raw = theirs.encode() if hasattr(theirs, "encode") else rlp.encode(theirs)
    logs = tuple(
        Log(Address(log.address), tuple(topic.to_bytes(32, "big") for topic in log.topics), log.data)
        for log in theirs.logs
    )
    status = theirs.state_root
    root = status if len(status) == 32 else None
    bloom = theirs.bloom.to_bytes(256, "big")
    return MainnetReceipt(getattr(theirs, "type_id", 0) or 0, status == b"\1", theirs.gas_used, bloom, logs, root, raw)


def _genesis_fields(genesis: dict[str, Any]) -> dict[str, Any]:
    return {
        "difficulty": int(genesis["difficulty"], 16),
        "extra_data": bytes.fromhex(genesis["extraData"][2:]),
        "gas_limit": int(genesis["gasLimit"], 16),
        "coinbase": bytes.fromhex(genesis["coinbase"][2:]),
        "mix_hash": bytes.fromhex(genesis["mixHash"][2:]),
        "nonce": int(genesis["nonce"], 16).to_bytes(8, "big"),
        "timestamp": int(genesis["timestamp"], 16),
    }


def _genesis_state(genesis: dict[str, Any]) -> Mapping[bytes, Any]:
    return {
        bytes.fromhex(address.removeprefix("0x")): {
            "balance": int(wish["balance"], 0),
            "nonce": int(wish.get("nonce", "0x0"), 0),
            "code": bytes.fromhex(wish.get("code", "0x")[2:]),
            "storage": {int(slot, 0): int(word, 0) for slot, word in wish.get("storage", {}).items()},
        }
        for address, wish in genesis["alloc"].items()
    }


class MainnetMethods(EthereumMethods):
    """The shapes with what Merit's blocks never hold: uncles, withdrawals, blobs, authorizations, state roots."""

    _reader: MainnetReader

    def get_block(self, selector: Any, full: bool) -> Any:  # noqa: FBT001 - as in the class above
        shape, at = super().get_block(selector, full), self.find(selector)
        if shape is None or at is None:
            return shape
        block = self._reader.block(at)
        shape["uncles"] = list(map(shapes.data, block.uncles))
        if block.withdrawals is not None:
            shape["withdrawals"] = [
                {
                    "index": hex(index),
                    "validatorIndex": hex(validator),
                    "address": shapes.data(address),
                    "amount": hex(amount),
                }
                for index, validator, address, amount in block.withdrawals
            ]
        return shape

    def unsigned(self, request: CallRequest) -> BlobCall:
        call = super().unsigned(request)
        known = {field.name: getattr(call, field.name) for field in fields(call)}
        fee = request.max_fee_per_blob_gas
        return BlobCall(**known, blob_hashes=request.blob_hashes or (), max_fee_per_blob_gas=fee)

    @staticmethod
    def refuse_types(request: CallRequest) -> None:
        """Refuse none."""

    def _transaction(self, found: FoundTransaction, within: Header) -> shapes.Json:
        shape = super()._transaction(found, within)
        if isinstance(found.description, BlobDescription):
            return shape | {
                "maxFeePerBlobGas": shapes.number(found.description.max_fee_per_blob_gas),
                "blobVersionedHashes": list(map(shapes.data, found.description.blob_hashes)),
            }
        if found.description.r == 0:  # nobody signed it
            return shape
        return shape | _describe(found.raw)[1]

    def _receipt(self, found: FoundReceipt, within: Header) -> shapes.Json:
        shape = super()._receipt(found, within)
        receipt = found.receipt
        if isinstance(receipt, MainnetReceipt) and receipt.root is not None:
            shape.pop("status")
            shape["root"] = shapes.data(receipt.root)
        if receipt.type == 3:
            shape["blobGasUsed"] = shapes.number(within.blob_gas_used)
            shape["blobGasPrice"] = shapes.number(_blob_fee(within))
        return shape


class _Pool:
    """Takes whatever decodes; a blob transaction comes wrapped with its blobs (EIP-4844)."""

    history = None

    def __init__(self) -> None:
        self._waiting: dict[bytes, CheckResult] = {}

    def waiting(self) -> list[tuple[bytes, CheckResult]]:
        return list(self._waiting.items())

    def submit(self, raw: bytes) -> CheckResult:
        if raw[0] == 3:
            raw = raw[:1] + rlp.encode(rlp.decode(raw[1:])[0])
        described = _describe(raw)[0]
        verdict = CheckResult(Code.OK, "", described.hash, sender=described.sender, nonce=described.nonce)
        return self._waiting.setdefault(raw, verdict)


class MainnetTxpool(TxpoolMethods):
    def describe(self, raw: bytes) -> shapes.Json:
        described, more = _describe(raw)
        return shapes.waiting_transaction(described) | more


class MainnetDispatcher(Dispatcher):
    ethereum = MainnetMethods
    txpool = MainnetTxpool


def dispatcher(folder: Path) -> Dispatcher:
    """Import the chain of execution-apis and answer about it."""
    reader = MainnetReader(folder)
    application: Any = SimpleNamespace(
        genesis=SimpleNamespace(chain_id=reader.chain_id),
        genesis_hash=reader.block(0).hash,
        reader=lambda: reader,
        time=reader.header().timestamp,
    )
    engine: Any = _Pool()
    return MainnetDispatcher(application, engine, SystemClock())


def main() -> None:
    """Answer the requests of standard input, one a line, about the chain in the folder that is named."""
    node = dispatcher(Path(sys.argv[1]))
    for line in sys.stdin:
        print(node.handle_body(line.encode()).decode(), flush=True)  # noqa: T201 - what this program is for


if __name__ == "__main__":
    main()
