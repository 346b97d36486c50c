"""Public keys in state, and the precompile KEYS (0x4d11) that puts them there.

A key is kept as the code `0x00 || scheme || public key` of an account of its own, keccak256("merit/key" || address)
[12:]. The first byte is STOP, so a call to that account does nothing; no transaction can have it as its sender.
A key never changes and is never removed: its address is its hash.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from eth.abc import ComputationAPI, StateAPI
from eth.exceptions import VMError, WriteProtection

from chain.crypto.addresses import Address, address_of, key_account
from chain.crypto.schemes import PUBLIC_KEY_BYTES, Scheme

PublicKey = tuple[Scheme, bytes]
KeyLookup = Callable[[Address], "PublicKey | None"]

_STOP: Final = b"\x00"
LOOKUP_GAS: Final = 2_600  # EIP-2929: a cold account
DEPOSIT_GAS: Final = 200  # per byte, as for contract code (Yellow Paper, G_codedeposit)
ACCOUNT_GAS: Final = 32_000  # as for CREATE


@lru_cache(maxsize=4_096)  # by content
def decode_key(code: bytes) -> PublicKey | None:
    """Read a key account's code; None for the empty code of a key that nobody has brought yet.

    None as well for other code, which no ledger has there: a call may suppose it.
    """
    if len(code) <= len(_STOP) or code[1] not in PUBLIC_KEY_BYTES:
        return None
    scheme = Scheme(code[1])
    return scheme, code[2:]


def find_key(state: StateAPI, address: Address) -> PublicKey | None:
    """Return the key of `address` if state keeps it."""
    return decode_key(state.get_code(key_account(address)))


def keep_key(state: StateAPI, address: Address, key: PublicKey) -> bool:
    """Put a key into state unless it is there; tell whether it is new. `address` must be the key's."""
    account = key_account(address)
    if state.get_code(account):
        return False
    scheme, public_key = key
    state.set_code(account, _STOP + bytes((scheme,)) + public_key)
    return True


def deposit_gas(scheme: Scheme) -> int:
    """Return the gas for keeping a key of this scheme."""
    return ACCOUNT_GAS + DEPOSIT_GAS * PUBLIC_KEY_BYTES[scheme]


def keep_key_precompile(computation: ComputationAPI) -> ComputationAPI:
    """Keep the key in the call's data (scheme byte || public key); return its address as one word.

    Anybody may call it: it can only ever put a key where its own hash says, and the caller pays. Fails for an unknown
    scheme, another length, and in a static call that would change state.
    """
    data = computation.msg.data_as_bytes
    computation.consume_gas(LOOKUP_GAS, reason="key lookup")
    if not data or data[0] not in PUBLIC_KEY_BYTES or len(data) != 1 + PUBLIC_KEY_BYTES[Scheme(data[0])]:
        message = "not a scheme and a public key of its length"
        raise VMError(message)
    scheme, public_key = Scheme(data[0]), data[1:]
    address = address_of(scheme, public_key)
    if find_key(computation.state, address) is None:
        if computation.msg.is_static:
            message = "a key cannot be kept in a static call"
            raise WriteProtection(message)
        computation.consume_gas(deposit_gas(scheme), reason="key deposit")
        keep_key(computation.state, address, (scheme, public_key))
    computation.output = address.rjust(32, b"\0")
    return computation
