"""A member's new key: asked for, voted in by the Council, and the old one ended by itself.

What the old key signed stays valid: the Registry keeps every key with the blocks in which it was in force, and the
audit judges each record and transaction by the key of its own block.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec
import tomli_w
from web3 import Web3

from chain.crypto import keystore
from chain.crypto.schemes import SigningKey
from contracts import addresses
from contracts.bindings import Key, Registry
from node.account import Account, connect
from node.council import AddKey, ProposalFile
from node.errors import ConfigError, TransactionFailedError

_DAYS = 7.0
_FOREVER = 2**256 - 1  # `valid_to` of a key that has not ended


class Rotation(NamedTuple):
    """Where a rotation stands: `new` is None until the Council has let it in."""

    member: int
    old: Key
    new: Key | None

    @property
    def over(self) -> bool:
        """Whether the new key stands alone."""
        return self.new is not None and self.old.valid_to < _FOREVER


def rotation(w3: Web3, old: SigningKey, new: SigningKey) -> Rotation:
    """Read where the change from one key to another stands.

    Raises:
        ConfigError: the ledger does not know the old key, or knows the new one as another member's.

    """
    registry = Registry(w3, addresses.REGISTRY)
    member, other = registry.member_of(old.address), registry.member_of(new.address)
    if member == 0:
        message = f"no member has the address 0x{old.address.hex()}: name the key that the ledger knows, then the new"
        raise ConfigError(message)
    if other not in {0, member}:
        message = f"the address 0x{new.address.hex()} is member {other}'s: name another file for the new key"
        raise ConfigError(message)
    keys = {key.account: key for key in registry.keys(member)}
    return Rotation(member, keys[bytes(old.address)], keys.get(bytes(new.address)))


def ask(rpc: str, old_path: Path, new_path: Path, password: bytes) -> tuple[Rotation, SigningKey]:
    """Make the new key of a member, unless an earlier call did, and read where its rotation stands.

    The new key has the old one's scheme and password. Errors as in `keystore.load`, `connect` and `rotation`.
    """
    old = keystore.load(old_path, password)
    w3 = connect(rpc)
    if not new_path.exists():
        new = SigningKey.generate(old.scheme)
        rotation(w3, old, new)  # before a file is made for nothing
        keystore.save(new_path, new, password)
    new = keystore.load(new_path, password)
    return rotation(w3, old, new), new


def proposal(member: int, new: SigningKey) -> bytes:
    """Write the proposal (TOML) that gives a member its new key, for any edge server to propose."""
    call = AddKey(member=member, scheme=new.scheme.value, key=f"0x{new.public_key.hex()}")
    file = ProposalFile(text=f"A new key for member {member}", days=_DAYS, call=(call,))
    return tomli_w.dumps(msgspec.to_builtins(file)).encode()


def end(rpc: str, old_path: Path, new_path: Path, password: bytes) -> Rotation:
    """End the old key, signed by itself, once the new one is in force; harmless when it has ended.

    Raises:
        TransactionFailedError: the new key is not in force, or the ledger refuses.

    """
    stands, _ = ask(rpc, old_path, new_path, password)
    if stands.new is None or stands.new.valid_to < _FOREVER:
        message = f"member {stands.member}'s new key is not in force: have the edge servers vote for it first"
        raise TransactionFailedError(message)
    if not stands.over:
        account = Account.connect(rpc, old_path, password)
        account.send(addresses.REGISTRY, Registry.encode_end_key(account.address))
        stands, _ = ask(rpc, old_path, new_path, password)
    return stands
