"""Addresses: 20 bytes, derived from a scheme and a public key, so the key of an address never changes."""

from typing import TYPE_CHECKING, NewType

from chain.crypto.hashing import keccak256
from chain.crypto.schemes import PUBLIC_KEY_BYTES, Scheme
from chain.errors import KeyLengthError

if TYPE_CHECKING:
    # the type that py-evm and web3 speak, without their import at run time
    from eth_typing import Address as Address  # noqa: PLC0414 - says that others may import it from here
else:
    Address = NewType("Address", bytes)

ADDRESS_BYTES = 20
ZERO = Address(bytes(ADDRESS_BYTES))


def address_of(scheme: Scheme, public_key: bytes) -> Address:
    """Return keccak256(scheme || public_key)[12:]; `KeyLengthError` for a key of the wrong size.

    The scheme is hashed too: no key of one scheme can claim the address of another's.
    """
    if len(public_key) != PUBLIC_KEY_BYTES[scheme]:
        what = f"{scheme.name} public key"
        raise KeyLengthError(what, PUBLIC_KEY_BYTES[scheme], len(public_key))
    return Address(keccak256(bytes((scheme,)) + public_key)[12:])


def key_account(address: Address) -> Address:
    """Return the account whose code holds the public key of `address`, once the ledger keeps it."""
    return Address(keccak256(b"merit/key" + address)[12:])
