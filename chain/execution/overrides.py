"""What a call that changes nothing may suppose: other accounts and another block than the ledger has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eth.abc import StateAPI

from chain.crypto.addresses import Address
from chain.execution.blocks import BlockNumber, Header


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOverride:
    """What an account is to have; None leaves it. Balance in wei.

    `state` is all of its storage (slot -> word), `state_diff` only what differs.
    """

    nonce: int | None = None
    balance: int | None = None
    code: bytes | None = None
    state: Mapping[int, int] | None = None
    state_diff: Mapping[int, int] | None = None


AccountOverrides = Mapping[Address, AccountOverride]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOverride:
    """What the block is to say; None leaves it. Time in seconds, base fee in wei per gas."""

    number: int | None = None
    timestamp: int | None = None
    gas_limit: int | None = None
    coinbase: Address | None = None
    mix_hash: bytes | None = None
    base_fee_per_gas: int | None = None

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
    """Change accounts in a state as if they had been so before anything ran."""
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
