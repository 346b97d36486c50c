"""For whom an account speaks, read from the Registry's storage (Registry.vy, `standing`)."""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from chain.crypto.addresses import Address
from chain.execution.versions import GetStorage
from contracts.addresses import REGISTRY
from contracts.layout import mapped, members, slot

_ENTRIES: Final = 65_536  # at most 25 MB
_REGISTRY: Final = Address(REGISTRY)

_mapped = lru_cache(maxsize=65_536)(mapped)  # a hash each; the same members and clients come back in every batch


@dataclass(frozen=True, slots=True)
class Standing:
    """For whom an account speaks in a block; all zero when its key is not in force."""

    member: int
    role: int
    suspended: bool
    scheme: int


_NOBODY: Final = Standing(0, 0, suspended=False, scheme=0)


@dataclass(frozen=True, slots=True)
class _Key:
    """What the Registry says of an account's key: its standing in the blocks `valid_from` to before `valid_to`."""

    valid_from: int
    valid_to: int
    standing: Standing

    def at(self, number: int) -> Standing:
        """Return the standing in a block."""
        return self.standing if self.valid_from <= number < self.valid_to else _NOBODY


@cache
def _place(variable: str) -> int:
    return slot("Registry", variable)


@cache
def _member(struct: str, name: str) -> int:
    return members("Registry", struct).index(name)


def _read(storage: GetStorage, account: Address) -> _Key:
    name = int.from_bytes(account, "big")
    key = _mapped(_place("_keys"), name)
    valid_from = storage(_REGISTRY, key + _member("Key", "valid_from"))
    valid_to = storage(_REGISTRY, key + _member("Key", "valid_to"))
    if valid_from >= valid_to:
        return _Key(valid_from, valid_to, _NOBODY)
    member = storage(_REGISTRY, _mapped(_place("_member_of"), name))
    place = _mapped(_place("_members"), member)
    return _Key(
        valid_from,
        valid_to,
        Standing(
            member=member,
            role=storage(_REGISTRY, place + _member("Member", "role")),
            suspended=bool(storage(_REGISTRY, place + _member("Member", "suspended"))),
            scheme=storage(_REGISTRY, key + _member("Key", "scheme")),
        ),
    )


def standing_of(storage: GetStorage, account: Address, number: int) -> Standing:
    """Tell for whom an account speaks in block `number`."""
    return _read(storage, account).at(number)


class Standings:
    """What the Registry says of accounts, under the one root of its storage that was asked about last.

    The same storage says the same, so nothing goes stale; and the Registry changes seldom.
    """

    def __init__(self, entries: int = _ENTRIES) -> None:
        """Keep at most `entries` accounts."""
        self._entries = entries
        self._root = b""
        self._known: dict[Address, _Key] = {}

    def of(self, root: bytes | None, account: Address, number: int, storage: GetStorage) -> Standing:
        """Tell for whom an account speaks in block `number`.

        `root` is that of the Registry's storage, which `storage` reads; None while it has changes that no root names.
        """
        if root is None:
            return standing_of(storage, account, number)
        if root != self._root or len(self._known) >= self._entries:
            self._root, self._known = root, {}
        key = self._known.get(account)
        if key is None:
            key = self._known[account] = _read(storage, account)
        return key.at(number)
