"""Accounts and their storage while a block runs: plain values, one undo log, and tries only at the end of the block.

py-evm keeps an account as RLP behind four journals and two caches, and asks them all for every access. An EVM needs
less: the values as they stand, what they were when the transaction began (EIP-2200), and a way back to a snapshot. So
every change notes in one log what stood there before, and a revert reads the log backwards. The result is py-evm's: the
same roots, and the same nodes in the store (tests/chain/execution/test_accounts.py, test_oracle.py).
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eth.abc import AccountDatabaseAPI
from eth.typing import JournalDBCheckpoint
from eth.vm.interrupt import MissingAccountTrieNode, MissingBytecode, MissingStorageTrieNode
from eth_typing import Hash32
from eth_utils.exceptions import ValidationError

from chain import rlp
from chain.crypto.hashing import keccak256
from chain.execution.blocks import EMPTY_ROOT, HASH_BYTES
from chain.execution.lookup import NodeCache
from chain.execution.update import update

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from eth_typing import Address

EMPTY_CODE: Final = keccak256(b"")
_WORD_LIMIT: Final = 2**256
_NONCE_LIMIT: Final = 2**64
_NEVER: Final = object()  # in the log: nothing stood there


class Account(NamedTuple):
    """An account as the state trie holds it; `storage_root` is that of the block's start until roots are made."""

    nonce: int = 0
    balance: int = 0
    storage_root: bytes = EMPTY_ROOT
    code_hash: bytes = EMPTY_CODE


_NEW: Final = Account()


def encode_account(account: Account) -> bytes:
    """Return the canonical RLP, which is the account's value in the state trie."""
    nonce, balance, storage_root, code_hash = account
    return rlp.encode([rlp.integer(nonce), rlp.integer(balance), storage_root, code_hash])


@lru_cache(maxsize=8_192)  # by content: the same senders and keys come back in every block
def decode_account(encoded: bytes) -> Account:
    """Read what `encode_account` wrote."""
    match rlp.decode(encoded):
        case [nonce, balance, bytes(storage_root), bytes(code_hash)]:
            return Account(rlp.to_integer(nonce, 8), rlp.to_integer(balance, HASH_BYTES), storage_root, code_hash)
    message = "the value of an account in the state trie is none"
    raise RuntimeError(message)


@lru_cache(maxsize=65_536)
def _hashed(key: bytes) -> bytes:
    return keccak256(key)


def encode_word(value: int) -> bytes:
    """Return a word as the storage trie holds it."""
    return rlp.encode_bytes(rlp.integer(value)) if value else b""  # a word of 0 is not in the trie


@lru_cache(maxsize=65_536)
def decode_word(encoded: bytes) -> int:
    """Read what `encode_word` wrote, unless that is empty."""
    return rlp.to_integer(rlp.decode(encoded), HASH_BYTES)


class _Storage:
    """The storage of one account: words as they stand, and as they stood when the block and the transaction began."""

    __slots__ = ("began", "changed", "root", "values", "was")

    def __init__(self, root: bytes) -> None:
        self.root = root  # of the trie that is read, and changed at last
        self.values: dict[int, int] = {}
        self.was: dict[int, int] = {}  # in the trie `root`; every slot of `values`
        self.began: dict[int, int] = {}  # slots that the transaction has set, as they were before
        self.changed: set[int] = set()  # slots that may differ from the trie


class Accounts(AccountDatabaseAPI):
    """Accounts, their storage and codes at one state root, and changes to them that stay in memory until `persist`.

    Missing nodes raise what py-evm raises; absent is never read as zero.
    """

    def __init__(self, db: "MutableMapping[bytes, bytes]", state_root: bytes, nodes: NodeCache) -> None:
        """Read `db`, and what was read before in `nodes`."""
        self._database = db
        self._nodes = nodes
        self._root = state_root  # of the trie that is read
        self._made = state_root  # by the last `make_state_root`
        self._written: dict[bytes, bytes] = {}
        self._forget()

    def _forget(self) -> None:
        self._accounts: dict[bytes, Account | None] = {}
        self._was: dict[bytes, Account | None] = {}  # in the trie `_root`; every address of `_accounts`
        self._changed: set[bytes] = set()  # addresses that may differ from the trie
        self._storages: dict[bytes, _Storage] = {}
        self._codes: dict[bytes, bytes] = {}  # set since `_root`
        self._begun: set[_Storage] = set()  # with something in `began`
        self._warm: dict[bytes | tuple[bytes, int], bool] = {}
        self._transient: dict[tuple[bytes, int], bytes] = {}
        self._log: list[tuple[dict[Any, Any], Any, Any]] = []

    # Snapshots

    def record(self) -> JournalDBCheckpoint:
        """Return where to come back to."""
        return JournalDBCheckpoint(len(self._log))

    def discard(self, checkpoint: JournalDBCheckpoint) -> None:
        """Undo everything since `record`."""
        log = self._log
        while len(log) > checkpoint:
            table, key, value = log.pop()
            if value is _NEVER:
                del table[key]
            else:
                table[key] = value

    def commit(self, checkpoint: JournalDBCheckpoint) -> None:
        """Keep everything since `record`; an earlier snapshot can still undo it."""

    def lock_changes(self) -> None:
        """Begin a transaction: nothing before it can be undone, and nothing is warm (EIP-2929)."""
        self._log.clear()
        self._warm.clear()
        for storage in self._begun:
            storage.began.clear()
        self._begun.clear()

    # Accounts

    def _find(self, address: bytes) -> Account | None:
        try:
            return self._accounts[address]
        except KeyError:
            account = self._accounts[address] = self._was[address] = self._read(address)
            return account

    def _read(self, address: bytes) -> Account | None:
        key = _hashed(address)
        try:
            encoded = self._nodes.find(self._database, self._root, key)
        except KeyError as missing:
            raise self._lacking(missing, key) from missing
        return decode_account(encoded) if encoded else None

    def _lacking(self, missing: KeyError, key: bytes) -> MissingAccountTrieNode:
        return MissingAccountTrieNode(Hash32(missing.args[0]), Hash32(self._root), Hash32(key))

    def _set(self, address: bytes, account: Account | None) -> None:
        self._log.append((self._accounts, address, self._find(address)))
        self._accounts[address] = account
        self._changed.add(address)

    def storage_root(self, address: "Address") -> bytes:
        """Return the root of an account's storage as the block began with it."""
        account = self._find(address)
        return account.storage_root if account else EMPTY_ROOT

    def unchanged_storage_root(self, address: "Address") -> bytes | None:
        """Return the root of an account's storage as it stands; None when the block has changed something in it."""
        storage = self._storages.get(address)
        if storage is None:
            return self.storage_root(address)
        return None if storage.changed else storage.root

    def get_nonce(self, address: "Address") -> int:
        """Return the nonce; 0 for no account."""
        account = self._find(address)
        return account.nonce if account else 0

    def set_nonce(self, address: "Address", nonce: int) -> None:
        """Set the nonce, which has 64 bits."""
        if not 0 <= nonce < _NONCE_LIMIT:
            message = f"a nonce of {nonce}"
            raise ValidationError(message)
        _, balance, storage_root, code_hash = self._find(address) or _NEW
        self._set(address, Account(nonce, balance, storage_root, code_hash))

    def increment_nonce(self, address: "Address") -> None:
        """Use the nonce."""
        self.set_nonce(address, self.get_nonce(address) + 1)

    def get_balance(self, address: "Address") -> int:
        """Return the balance in wei; 0 for no account."""
        account = self._find(address)
        return account.balance if account else 0

    def set_balance(self, address: "Address", balance: int) -> None:
        """Set the balance in wei, which has 256 bits."""
        if not 0 <= balance < _WORD_LIMIT:
            message = f"a balance of {balance} wei"
            raise ValidationError(message)
        nonce, _, storage_root, code_hash = self._find(address) or _NEW
        self._set(address, Account(nonce, balance, storage_root, code_hash))

    def account_exists(self, address: "Address") -> bool:
        """Tell whether the state trie would hold it."""
        return self._find(address) is not None

    def touch_account(self, address: "Address") -> None:
        """Make an empty account of no account; the transaction's end removes it again (EIP-161)."""
        if self._find(address) is None:
            self._set(address, _NEW)

    def account_has_code_or_nonce(self, address: "Address") -> bool:
        """Tell whether no contract can be created there."""
        account = self._find(address)
        return account is not None and (account.nonce != 0 or account.code_hash != EMPTY_CODE)

    def account_is_empty(self, address: "Address") -> bool:
        """Tell whether EIP-161 would remove it."""
        return not self.account_has_code_or_nonce(address) and self.get_balance(address) == 0

    def delete_account(self, address: "Address") -> None:
        """Remove an account that exists, with its storage."""
        if self._find(address) is None:
            raise KeyError(address)
        self._wipe(address)
        self._set(address, None)

    def used(self) -> dict[bytes, tuple[int, ...]]:
        """Return the accounts read or written since `_root`, each with its slots, in the order of first use."""
        return {
            address: tuple(self._storages[address].values) if address in self._storages else ()
            for address in self._accounts
        }

    # Code

    def get_code_hash(self, address: "Address") -> Hash32:
        """Return the code's hash; that of no code for no account."""
        return Hash32((self._find(address) or _NEW).code_hash)

    def get_code(self, address: "Address") -> bytes:
        """Return the code."""
        name = (self._find(address) or _NEW).code_hash
        if name == EMPTY_CODE:
            return b""
        code = self._codes.get(name)
        if code is not None:
            return code
        try:
            return self._nodes.code(self._database, name)
        except KeyError:
            raise MissingBytecode(Hash32(name)) from None

    def set_code(self, address: "Address", code: bytes) -> None:
        """Set the code."""
        name = keccak256(code)
        self._log.append((self._codes, name, self._codes.get(name, _NEVER)))
        self._codes[name] = code
        self._set_code_hash(address, name)

    def delete_code(self, address: "Address") -> None:
        """Set no code."""
        self._set_code_hash(address, EMPTY_CODE)

    def _set_code_hash(self, address: "Address", name: bytes) -> None:
        nonce, balance, storage_root, _ = self._find(address) or _NEW
        self._set(address, Account(nonce, balance, storage_root, name))

    # Storage

    def _storage(self, address: bytes) -> _Storage:
        storage = self._storages.get(address)
        if storage is None:
            account = self._find(address)
            storage = self._storages[address] = _Storage(account.storage_root if account else EMPTY_ROOT)
        return storage

    def _fetch(self, address: bytes, storage: _Storage, slot: int) -> int:
        key = _hashed(slot.to_bytes(HASH_BYTES, "big"))
        try:
            encoded = self._nodes.find(self._database, storage.root, key)
        except KeyError as missing:
            raise _lacking_storage(missing, storage, key, address) from missing
        value = decode_word(encoded) if encoded else 0
        storage.values[slot] = storage.was[slot] = value
        return value

    def get_storage(self, address: "Address", slot: int, from_journal: bool = True) -> int:  # noqa: FBT001, FBT002 - py-evm's signature
        """Return a word as it stands, or, not `from_journal`, as it stood when the transaction began."""
        storage = self._storages.get(address) or self._storage(address)
        if not from_journal:
            began = storage.began.get(slot)
            if began is not None:
                return began
        value = storage.values.get(slot)
        return self._fetch(address, storage, slot) if value is None else value

    def set_storage(self, address: "Address", slot: int, value: int) -> None:
        """Set a word."""
        if not 0 <= value < _WORD_LIMIT:
            message = f"a word of {value}"
            raise ValidationError(message)
        storage = self._storage(address)
        old = storage.values.get(slot)
        if old is None:
            old = self._fetch(address, storage, slot)
        if slot not in storage.began:
            storage.began[slot] = old
            self._begun.add(storage)
        self._log.append((storage.values, slot, old))
        storage.values[slot] = value
        storage.changed.add(slot)

    def delete_storage(self, address: "Address") -> None:
        """Set all words to 0; as in py-evm this makes an account of no account."""
        nonce, balance, _, code_hash = self._find(address) or _NEW
        self._wipe(address)
        self._set(address, Account(nonce, balance, EMPTY_ROOT, code_hash))

    def _wipe(self, address: bytes) -> None:
        self._log.append((self._storages, address, self._storage(address)))
        self._storages[address] = _Storage(EMPTY_ROOT)

    # What a transaction remembers: accesses (EIP-2929), transient storage (EIP-1153)

    def is_storage_warm(self, address: "Address", slot: int) -> bool:
        """Tell whether the transaction has used the slot."""
        return (address, slot) in self._warm

    def mark_storage_warm(self, address: "Address", slot: int) -> None:
        """Note that it has."""
        self._mark((address, slot))

    def is_address_warm(self, address: "Address") -> bool:
        """Tell whether the transaction has used the account."""
        return address in self._warm

    def mark_address_warm(self, address: "Address") -> None:
        """Note that it has."""
        self._mark(address)

    def _mark(self, key: bytes | tuple[bytes, int]) -> None:
        if key not in self._warm:
            self._log.append((self._warm, key, _NEVER))
            self._warm[key] = True

    def get_transient(self, address: bytes, slot: int) -> bytes:
        """Return a word of transient storage; empty for 0."""
        return self._transient.get((address, slot), b"")

    def set_transient(self, address: bytes, slot: int, value: bytes) -> None:
        """Set a word of transient storage."""
        key = (address, slot)
        self._log.append((self._transient, key, self._transient.get(key, _NEVER)))
        self._transient[key] = value

    def clear_transient(self) -> None:
        """End a transaction."""
        for key in list(self._transient):
            self._log.append((self._transient, key, self._transient.pop(key)))

    # Roots

    @property
    def state_root(self) -> Hash32:
        """The root as of the last `make_state_root`."""
        return Hash32(self._made)

    @state_root.setter
    def state_root(self, value: Hash32) -> None:
        """py-evm sets it when it reverts; roots are made at a block's end only, so there is nothing to go back to."""

    def has_root(self, state_root: bytes) -> bool:
        """Tell whether the store has the state."""
        return state_root == EMPTY_ROOT or state_root in self._database

    def make_state_root(self) -> Hash32:
        """Return the root of the state with all changes."""
        self._written = {}
        for address, storage in self._storages.items():
            root = self._storage_root(address, storage)
            nonce, balance, known, code_hash = self._find(address) or _NEW
            if root != known:
                self._set(address, Account(nonce, balance, root, code_hash))
        changes: dict[bytes, bytes] = {}
        for address in self._changed:
            account = self._accounts[address]
            if account != self._was[address]:
                changes[_hashed(address)] = encode_account(account) if account else b""
        try:
            self._made = self._update(self._root, changes)
        except KeyError as missing:
            raise self._lacking(missing, missing.args[0]) from missing
        return Hash32(self._made)

    def _storage_root(self, address: bytes, storage: _Storage) -> bytes:
        values, was = storage.values, storage.was
        changes = {
            _hashed(slot.to_bytes(HASH_BYTES, "big")): encode_word(values[slot])
            for slot in storage.changed
            if values[slot] != was[slot]
        }
        try:
            return self._update(storage.root, changes)
        except KeyError as missing:
            raise _lacking_storage(missing, storage, missing.args[0], address) from missing

    def _update(self, root: bytes, changes: dict[bytes, bytes]) -> bytes:
        if not changes:
            return root
        root, written = update(self._nodes, self._database, root, changes)
        self._written |= written
        return root

    def persist(self) -> None:  # type: ignore[override] # py-evm's returns a witness, which nobody here asks for
        """Make the root, hand nodes and codes to the database, and start from there."""
        self.make_state_root()
        for table in (self._written, self._codes):
            for name, value in table.items():
                self._database[name] = value
        self._root, self._written = self._made, {}
        self._forget()


def _lacking_storage(missing: KeyError, storage: _Storage, key: bytes, address: bytes) -> MissingStorageTrieNode:
    return MissingStorageTrieNode(Hash32(missing.args[0]), Hash32(storage.root), Hash32(key), None, address)  # type: ignore[arg-type] # an address is bytes
