"""What a call that changes nothing may suppose: other accounts and another block than the ledger has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from eth.abc import ComputationAPI, StateAPI
from eth.vm import mnemonics
from eth.vm.opcode import as_opcode
from eth_utils.address import to_checksum_address

from chain.crypto.addresses import Address
from chain.errors import OverrideError
from chain.execution.blocks import BlockNumber, Header

_BLOBBASEFEE: Final = 0x4A
_BLOBBASEFEE_GAS: Final = 2  # EIP-7516


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOverride:
    """What an account is to have; None leaves it. Balance in wei.

    `state` is all of its storage (slot -> word), `state_diff` only what differs. `move_precompile_to` is where the
    precompile that answers at this address is to answer instead; one whose `code` is given answers nowhere.
    """

    nonce: int | None = None
    balance: int | None = None
    code: bytes | None = None
    state: Mapping[int, int] | None = None
    state_diff: Mapping[int, int] | None = None
    move_precompile_to: Address | None = None


AccountOverrides = Mapping[Address, AccountOverride]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOverride:
    """What the block is to say; None leaves it. Time in seconds, base fee and blob base fee in wei per gas."""

    number: int | None = None
    timestamp: int | None = None
    gas_limit: int | None = None
    coinbase: Address | None = None
    mix_hash: bytes | None = None
    base_fee_per_gas: int | None = None
    blob_base_fee: int | None = None  # in no header: what BLOBBASEFEE says, see `override_blob_base_fee`

    def of(self, header: Header) -> Header:
        """Return a header that says so."""
        return replace(
            header,
            number=header.number if self.number is None else BlockNumber(self.number),
            timestamp=header.timestamp if self.timestamp is None else self.timestamp,
            gas_limit=header.gas_limit if self.gas_limit is None else self.gas_limit,
            coinbase=header.coinbase if self.coinbase is None else self.coinbase,
            mix_hash=header.mix_hash if self.mix_hash is None else self.mix_hash,
            base_fee_per_gas=header.base_fee_per_gas if self.base_fee_per_gas is None else self.base_fee_per_gas,
        )


def override(state: StateAPI, accounts: AccountOverrides) -> None:
    """Change accounts in a state as if they had been so before anything ran.

    `OverrideError` for a precompile that cannot be moved as wished.
    """
    _override_precompiles(state, accounts)
    for address, wish in accounts.items():
        if wish.nonce is not None:
            state.set_nonce(address, wish.nonce)
        if wish.balance is not None:
            state.set_balance(address, wish.balance)
        if wish.code is not None:
            state.set_code(address, wish.code)
        if wish.state is not None:
            state.delete_storage(address)
        for slot, word in {**(wish.state or {}), **(wish.state_diff or {})}.items():
            state.set_storage(address, slot, word)
    if accounts:
        state.lock_changes()


def _override_precompiles(state: StateAPI, accounts: AccountOverrides) -> None:
    """Move precompiles and put code in the place of others (execution-apis: movePrecompileToAddress).

    Which addresses are warm from the start (EIP-2929) stays as it is, as in geth.
    """
    known = state.computation_class.get_precompiles()
    moved = {}
    for address, wish in accounts.items():
        target = wish.move_precompile_to
        if target is None:
            continue
        if address not in known:
            message = f"account {to_checksum_address(address)} is not a precompile"  # geth's words, also below
            raise OverrideError(message)
        if target == address:
            message = f"the precompile {to_checksum_address(address)} cannot be moved to itself"
            raise OverrideError(message, onto_itself=True)
        if target in accounts:
            message = f"account {to_checksum_address(target)} is already overridden"
            raise OverrideError(message)
        moved[target] = known[address]
    gone = {at for at, wish in accounts.items() if wish.move_precompile_to is not None or wish.code is not None}
    if moved or gone & known.keys():
        left = {address: precompile for address, precompile in known.items() if address not in gone}
        warm = classmethod(lambda _: known)
        state.computation_class = _with(state.computation_class, _precompiles=left | moved, get_precompiles=warm)


def override_blob_base_fee(state: StateAPI, fee: int) -> None:
    """Have the instruction BLOBBASEFEE answer `fee` (wei per gas)."""

    def answer(computation: ComputationAPI) -> None:
        computation.stack_push_int(fee)

    known = state.computation_class
    instruction = as_opcode(answer, mnemonics.BLOBBASEFEE, _BLOBBASEFEE_GAS)
    state.computation_class = _with(known, opcodes={**known.opcodes, _BLOBBASEFEE: instruction})


def _with(known: type[ComputationAPI], **changed: object) -> type[ComputationAPI]:
    return type(known.__name__, (known,), changed)
