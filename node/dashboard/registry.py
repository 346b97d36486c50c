"""Members as pages show them, read from the contracts when somebody looks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from web3.exceptions import BadFunctionCallOutput, ContractLogicError

from contracts import addresses, bindings
from contracts.bindings import Key, Role

if TYPE_CHECKING:
    from web3 import Web3

CONTRACTS = {
    addresses.REGISTRY: "Registry",
    addresses.TOKEN: "Token",
    addresses.LEDGER: "Ledger",
    addresses.COUNCIL: "Council",
    addresses.VESTING: "Vesting",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its id, role in words, standing, payout address (20 bytes) and keys."""

    id: int
    role: str
    suspended: bool
    payout: bytes
    keys: tuple[Key, ...]


def members(w3: "Web3") -> int:
    """Return how many members there are; their ids count from 1."""
    return bindings.Registry(w3, addresses.REGISTRY).member_count()


def member(w3: "Web3", number: int) -> Member | None:
    """Return a member, None if there is none of this id."""
    registry = bindings.Registry(w3, addresses.REGISTRY)
    found = registry.member(number)
    if found is None:
        return None
    return Member(number, role_name(found.role), found.suspended, found.payout, registry.keys(number))


def member_of(w3: "Web3", account: bytes) -> int:
    """Return the id of the member that an address speaks for, 0 for nobody."""
    return bindings.Registry(w3, addresses.REGISTRY).member_of(account)


def role_name(role: int) -> str:
    """Write a role as people say it."""
    return Role(role).name.replace("_", " ").lower()


def member_of_validator(w3: "Web3", validator: bytes) -> int:
    """Return the id of the member whose validator this is, 0 if the ledger does not say."""
    try:
        return bindings.Council(w3, addresses.COUNCIL).validator(validator).member
    except (BadFunctionCallOutput, ContractLogicError):
        return 0  # a ledger without a Council
