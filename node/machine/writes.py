"""The accounts and storage slots in which two ledgers differ after a height that both executed on the same state.

A trie knows its keys by their hashes only, and a node cannot be asked for "everything that changed". So the height is
executed again, which names every account and slot that it uses; what this ledger changed besides is read off its own
tries and named by the contracts' layout where that can be guessed. The other node is asked for all of these. Whether
that is all follows from roots: this ledger's trie, with the other's values put in, must have the other's root. If it
has not, the other one changed what nothing here uses, and the report says in which account.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain as joined
from typing import TYPE_CHECKING, Final

import msgspec

from chain.application import Again, Block
from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.execution.accounts import Account
from contracts import layout
from contracts.addresses import COUNCIL, LEDGER, REGISTRY, TOKEN, VESTING

if TYPE_CHECKING:
    from node.machine.other import OtherNode

CONTRACTS: Final = {
    Address(REGISTRY): "Registry",
    Address(TOKEN): "Token",
    Address(LEDGER): "Ledger",
    Address(COUNCIL): "Council",
    Address(VESTING): "Vesting",
}
_WORD: Final = 32
_SMALL: Final = 1 << 64  # ids, counters and heights; larger are addresses, digests and money
_ADDRESS_LIMIT: Final = 1 << 160
_KEYS: Final = {_SMALL: 20, _ADDRESS_LIMIT: 32, 1 << 256: 12}  # of each kind; a HashMap of three levels takes n^3
_Value = int | bytes
_Values = tuple[_Value, _Value, _Value, _Value]
"""Before, here, there, again."""


class WriteDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One value that differs. Numbers are decimal below 2^64, else hexadecimal; an empty text is unknown.

    `account`: its address, or the hash of it (`account_hash`). `part`: nonce, balance, code (its hash) or storage.
    `slot`, or the hash of it (`slot_hash`), and its `name` if the contract's layout tells. `before`: after the last
    block that both have. `again`: when the height is executed again here.
    """

    account: str = ""
    account_hash: str
    contract: str = ""
    part: str
    slot: str = ""
    slot_hash: str = ""
    name: str = ""
    before: str
    here: str
    there: str
    again: str


@dataclass(frozen=True, slots=True)
class Roots:
    """State roots: after the last block that both have, after the height here, there, and when executed again."""

    before: bytes
    here: bytes
    there: bytes
    again: bytes


@dataclass(slots=True)
class Writes:
    """What differs, in the order in which the height uses it; `unnamed` says in one line each what else does."""

    found: list[WriteDifference] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)


def compare_writes(again: Again, roots: Roots, own: Block | None, other: "OtherNode", number: int) -> Writes:
    """Compare this ledger's state with the other node's after its block `number`.

    `own` is this ledger's block of the height, whose events name things too. Raises `LedgerUnreachableError`, and
    `StoreCorruptError` for a state that is not whole.
    """
    return _Comparison(again, roots, _likely_keys(again, own), other, number).run()


class _Comparison:
    def __init__(self, again: Again, roots: Roots, keys: Sequence[int], other: "OtherNode", number: int) -> None:
        self._again, self._roots, self._keys = again, roots, keys
        self._states = again.states
        self._other, self._number = other, number
        self._writes = Writes()

    def run(self) -> Writes:
        states, roots = self._states, self._roots
        addresses = list(dict.fromkeys((*self._again.used, *CONTRACTS)))
        theirs = {keccak256(address): self._account(address) for address in addresses}
        strange = [key for key in states.changed(roots.before, roots.here) if key not in theirs]
        without = {key: states.account(roots.before, key) for key in strange}
        if states.root_with_accounts(roots.here, theirs) == roots.there:
            return self._writes
        if strange and states.root_with_accounts(roots.here, theirs | without) == roots.there:
            for key in strange:
                self._only_here(key)
        else:
            self._writes.unnamed.append("the other node changed accounts that this height does not use here")
        return self._writes

    # -- one account ------------------------------------------------------------------------------------------------

    def _account(self, address: Address) -> Account | None:
        """Compare an account and return the other node's."""
        key = keccak256(address)
        here = self._states.account(self._roots.here, key) or Account()
        before = self._states.account(self._roots.before, key) or Account()
        again = self._states.account(self._roots.again, key) or Account()
        slots, strange = self._slots(address, before, here)
        there, words = self._other.account(address, list(slots), self._number)
        parts: dict[str, _Values] = {
            "nonce": (before.nonce, here.nonce, there.nonce, again.nonce),
            "balance": (before.balance, here.balance, there.balance, again.balance),
            "code": (before.code_hash, here.code_hash, there.code_hash, again.code_hash),
        }
        for part, values in parts.items():
            if values[1] != values[2]:
                self._note(address, part, values)
        for slot, name in slots.items():
            hashed = keccak256(slot.to_bytes(_WORD, "big"))
            mine = self._states.word(here.storage_root, hashed)
            if mine != words[slot]:
                was = self._states.word(before.storage_root, hashed)
                anew = self._states.word(again.storage_root, hashed)
                self._note(address, "storage", (was, mine, words[slot], anew), hashed, slot=slot, name=name)
        given = {keccak256(slot.to_bytes(_WORD, "big")): word for slot, word in words.items()}
        without = {key: self._states.word(before.storage_root, key) for key in strange}
        self._rest(address, here.storage_root, there.storage_root, given, without)
        return there if there != Account() else None

    def _rest(
        self, address: Address, here: bytes, there: bytes, given: dict[bytes, int], without: dict[bytes, int]
    ) -> None:
        """Find out by the storage roots whether the slots that were compared are all that differ."""
        states = self._states
        if states.root_with_words(here, given) == there:
            return
        if without and states.root_with_words(here, given | without) == there:
            for key, was in without.items():
                self._note(address, "storage", (was, states.word(here, key), was, was), key)
            return
        name = CONTRACTS.get(address)
        what = f"{name} (0x{address.hex()})" if name else f"0x{address.hex()}"
        self._writes.unnamed.append(f"the other node changed slots of {what} that this height does not use here")

    def _slots(self, address: Address, before: Account, here: Account) -> tuple[dict[int, str], list[bytes]]:
        """Return the slots to compare with their names, and hashes of slots that changed here and have no name."""
        slots = list(self._again.used.get(address, ()))
        known = {keccak256(slot.to_bytes(_WORD, "big")) for slot in slots}
        strange = {key for key in self._states.changed(before.storage_root, here.storage_root) if key not in known}
        wanted = set(slots)
        names = dict.fromkeys(slots, "")
        contract = CONTRACTS.get(address)
        for slot, name in () if contract is None else layout.places(contract, self._keys):
            if slot in wanted:
                names[slot] = name
                wanted.remove(slot)
            elif strange and slot not in names and (key := keccak256(slot.to_bytes(_WORD, "big"))) in strange:
                names[slot] = name
                strange.remove(key)
            elif not wanted and not strange:
                break
        return names, sorted(strange)

    def _only_here(self, key: bytes) -> None:
        """Note an account without a known address, which changed here and not there."""
        before = self._states.account(self._roots.before, key) or Account()
        here = self._states.account(self._roots.here, key) or Account()
        for part in ("nonce", "balance", "storage_root", "code_hash"):
            was, now = getattr(before, part), getattr(here, part)
            if was != now:
                texts = {"before": _text(was), "here": _text(now), "there": _text(was), "again": _text(was)}
                self._writes.found.append(WriteDifference(account_hash=_text(key), part=part.split("_")[0], **texts))

    def _note(
        self,
        address: Address,
        part: str,
        values: _Values,
        hashed: bytes = b"",
        *,
        slot: int | None = None,
        name: str = "",
    ) -> None:
        before, here, there, again = map(_text, values)
        self._writes.found.append(
            WriteDifference(
                account=_text(bytes(address)),
                account_hash=_text(keccak256(address)),
                contract=CONTRACTS.get(address, ""),
                part=part,
                slot="" if slot is None else hex(slot),
                slot_hash=_text(hashed) if hashed else "",
                name=name,
                before=before,
                here=here,
                there=there,
                again=again,
            )
        )


def _text(value: int | bytes) -> str:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return str(value) if value < _SMALL else hex(value)


def _likely_keys(again: Again, own: Block | None) -> list[int]:
    """Return numbers that may be keys of HashMaps: words of events, addresses, call data; then small numbers.

    The first of each kind count, because a HashMap of several levels tries all pairs.
    """
    blocks = [block for block in (again.block, own) if block is not None]
    logs = [log for block in blocks for receipt in block.receipts for log in receipt.logs]
    words = joined(
        (int.from_bytes(word, "big") for log in logs for word in (*log.topics[1:], *_words(log.data))),
        (int.from_bytes(address, "big") for address in (*again.used, *CONTRACTS)),
        (int.from_bytes(word, "big") for data in again.inputs for word in _words(data[4:])),
        range(_KEYS[_SMALL]),
    )
    return _first_of_each_kind(dict.fromkeys(words))


def _words(data: bytes) -> list[bytes]:
    return [data[at : at + _WORD] for at in range(0, len(data) - _WORD + 1, _WORD)]


def _first_of_each_kind(words: Iterable[int]) -> list[int]:
    chosen: dict[int, list[int]] = {limit: [] for limit in _KEYS}
    for word in words:
        limit = next(limit for limit in _KEYS if word < limit)
        if len(chosen[limit]) < _KEYS[limit]:
            chosen[limit].append(word)
    return [word for words in chosen.values() for word in words]
