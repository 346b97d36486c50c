"""Supposed blocks under Ethereum's own rules, for the chain of execution-apis; see `mainnet`.

What differs from Merit's: forks, rewards, base fee and blobs, delegations (EIP-7702), and the contracts that a block
calls before and after its transactions (EIP-2935, EIP-4788, EIP-7002, EIP-7251).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import rlp
from eth.vm import forks
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.constants import GAS_PER_BLOB
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth.vm.forks.prague.headers import calc_excess_blob_gas_prague
from eth.vm.forks.prague.state import PragueTransactionExecutor

from chain.crypto.hashing import keccak256
from chain.execution.blocks import NO_REQUESTS, Header
from chain.execution.evm import MeritExecutor
from chain.execution.overrides import BlockOverride
from chain.execution.simulated import Plan, SimulatedBlock, Simulator, UnsignedCall
from chain.execution.transactions import Candidate, Description

BLOB_TYPE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SupposedHeader(Header):
    """A header of any fork: what its fork does not have yet is None."""

    def encode(self) -> bytes:
        values = (getattr(self, field.name) for field in fields(Header))
        return rlp.encode([_minimal(value) for value in values if value is not None])


def _minimal(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.to_bytes((value.bit_length() + 7) // 8, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobCall(UnsignedCall):
    """A call that may have blobs; fee in wei per blob gas."""

    blob_hashes: tuple[bytes, ...] = ()
    max_fee_per_blob_gas: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobDescription(Description):
    blob_hashes: tuple[bytes, ...]
    max_fee_per_blob_gas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobCandidate(Candidate):
    blob_hashes: tuple[bytes, ...]
    max_fee_per_blob_gas: int

    @property
    def blob_versioned_hashes(self) -> Any:
        return self.blob_hashes


class MainnetExecutor(MeritExecutor):
    """Buys gas, blob gas too, and follows delegations as py-evm does."""

    build_evm_message = PragueTransactionExecutor.build_evm_message


class MainnetSimulator(Simulator):
    executor_class = MainnetExecutor
    rules: Callable[[int], Any]

    def draft(self, before: Header, block: BlockOverride) -> Header:
        drafted = super().draft(before, block)
        known = {field.name: getattr(drafted, field.name) for field in fields(Header)}
        known["difficulty"] = before.difficulty
        vm = self.rules(drafted.number)
        for fork, names in (
            (forks.LondonVM, ("base_fee_per_gas",)),
            (forks.ShanghaiVM, ("withdrawals_root",)),
            (forks.CancunVM, ("blob_gas_used", "excess_blob_gas", "parent_beacon_block_root")),
            (forks.PragueVM, ("requests_hash",)),
        ):
            if not issubclass(vm, fork):
                known |= dict.fromkeys(names)
        return SupposedHeader(**known)

    def inherit(self, draft: Header, parent: Header, block: BlockOverride, *, validation: bool) -> Header:
        header = replace(draft, parent_hash=parent.hash, state_root=parent.state_root)
        if header.base_fee_per_gas is not None:
            fee = block.base_fee_per_gas
            if fee is None:
                fee = calculate_expected_base_fee_per_gas(parent) if validation else 0
            header = replace(header, base_fee_per_gas=fee)
        if header.excess_blob_gas is not None and parent.excess_blob_gas is not None:
            header = replace(header, excess_blob_gas=calc_excess_blob_gas_prague(parent))
        return header

    def open(self, header: Header, ancestors: Sequence[bytes]) -> Any:
        context = ExecutionContext(
            coinbase=header.coinbase,
            timestamp=header.timestamp,
            block_number=header.number,
            difficulty=header.difficulty,
            mix_hash=header.mix_hash,
            gas_limit=header.gas_limit,
            prev_hashes=ancestors,
            chain_id=self._environment.chain_id,
            base_fee_per_gas=header.base_fee_per_gas,
            excess_blob_gas=header.excess_blob_gas,
        )

        class State(self.rules(header.number).get_state_class()):  # type: ignore[misc] # by fork
            def get_tip(self, transaction: Any) -> int:
                return max(super().get_tip(transaction), 0)  # as `MeritState`

            @property
            def blob_base_fee(self) -> int:
                return super().blob_base_fee if self.supposed_blob_base_fee is None else self.supposed_blob_base_fee

            supposed_blob_base_fee: int | None = None

        return State(self._nodes, context, header.state_root)

    def _make(self, plan: Plan, header: Header, *, validation: bool, transfers: bool) -> SimulatedBlock:
        self._blob_base_fee, self._blobs = plan.block.blob_base_fee, 0
        return super()._make(plan, header, validation=validation, transfers=transfers)

    def begin(self, state: Any, header: Header) -> None:
        state.supposed_blob_base_fee = self._blob_base_fee
        self._system(state, header).block_preprocessing(SimpleNamespace(number=header.number, header=header))
        state.lock_changes()

    def end(self, state: Any, header: Header) -> Header:
        if header.difficulty:  # proof of work
            state.delta_balance(header.coinbase, self.rules(header.number).get_block_reward())
        if header.blob_gas_used is not None:
            header = replace(header, blob_gas_used=GAS_PER_BLOB * self._blobs)
        if header.requests_hash is None:
            return header
        state.lock_changes()
        vm, block = self._system(state, header), SimpleNamespace(block_requests=[])
        vm.process_withdrawal_request_data(block)
        vm.process_consolidation_request_data(block)
        digests = b"".join(hashlib.sha256(request).digest() for request in block.block_requests if len(request) > 1)
        return replace(header, requests_hash=hashlib.sha256(digests).digest() if digests else NO_REQUESTS)

    def _system(self, state: Any, header: Header) -> Any:
        """Return py-evm's rules of the block over this state: what a block calls before and after its transactions."""
        vm = object.__new__(self.rules(header.number))
        vm._state = state
        return vm

    def authentication_gas(self, state: Any, sender: bytes) -> int:
        del state, sender
        return 0  # secp256k1 is in the 21,000

    def describe(self, call: UnsignedCall, *, nonce: int, gas: int) -> tuple[bytes, Description]:
        raw, described = super().describe(call, nonce=nonce, gas=gas)
        if not isinstance(call, BlobCall) or not call.blob_hashes:
            return raw, described
        items = rlp.decode(raw[1:])
        blobs = [_minimal(call.max_fee_per_blob_gas), list(call.blob_hashes)]
        raw = bytes((BLOB_TYPE,)) + rlp.encode([*items[:-3], *blobs, *items[-3:]])
        known = {field.name: getattr(described, field.name) for field in fields(Description)}
        known |= {"type": BLOB_TYPE, "hash": keccak256(raw)}
        fee = call.max_fee_per_blob_gas
        return raw, BlobDescription(**known, blob_hashes=call.blob_hashes, max_fee_per_blob_gas=fee)

    def candidate(self, state: Any, call: UnsignedCall, raw: bytes, described: Description) -> Candidate:
        made = super().candidate(state, call, raw, described)
        if not isinstance(described, BlobDescription):
            return made
        self._blobs += len(described.blob_hashes)
        known = {field.name: getattr(made, field.name) for field in fields(Candidate)}
        fee = described.max_fee_per_blob_gas
        return BlobCandidate(**known, blob_hashes=described.blob_hashes, max_fee_per_blob_gas=fee)

    def greatest_cost(self, candidate: Candidate) -> int:
        cost = super().greatest_cost(candidate)
        if isinstance(candidate, BlobCandidate):
            cost += GAS_PER_BLOB * len(candidate.blob_hashes) * candidate.max_fee_per_blob_gas
        return cost
