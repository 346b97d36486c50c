"""Who is who: the member behind an address, with its public key, as the Registry says."""

from dataclasses import dataclass

from chain.crypto.addresses import Address, key_account
from contracts import bindings, events
from node.rounds.log import BlockEvents

_REGISTRY_EVENTS = (
    events.MemberAdmitted,
    events.KeyAdded,
    events.KeyEnded,
    events.Suspended,
    events.Reinstated,
)


@dataclass(frozen=True, slots=True)
class MemberKey:
    """An address of a member: its role and standing, its public key, and the blocks in which the key is in force."""

    id: int
    role: int
    suspended: bool
    scheme: int
    public_key: bytes
    valid_from: int
    valid_to: int

    def valid_at(self, height: int) -> bool:
        """Tell whether the key is in force in the block of this height."""
        return self.valid_from <= height < self.valid_to


class MemberBook:
    """A cache over the Registry that forgets everything whenever the Registry changes.

    A public key is what state keeps beside the address; on a ledger that keeps none, what the event of its admission
    carried.
    """

    def __init__(self, registry: bindings.Registry) -> None:
        """Read through `registry`."""
        self._registry = registry
        self._known: dict[bytes, MemberKey | None] = {}
        self._announced: dict[bytes, bytes] = {}

    def observe(self, block: BlockEvents) -> None:
        """Take note of a block's events."""
        for event in block.events:
            if isinstance(event, events.KeyAdded):
                self._announced[event.account] = event.key
        if any(isinstance(event, _REGISTRY_EVENTS) for event in block.events):
            self._known.clear()

    def get(self, address: bytes) -> MemberKey | None:
        """Return the member behind an address, None if the address is unknown."""
        if address not in self._known:
            self._known[address] = self._read(address)
        return self._known[address]

    def _read(self, address: bytes) -> MemberKey | None:
        number = self._registry.member_of(address)
        member = self._registry.member(number)
        if member is None:
            return None
        key = next(key for key in self._registry.keys(number) if key.account == address)
        return MemberKey(
            id=number,
            role=member.role,
            suspended=member.suspended,
            scheme=key.scheme,
            public_key=self._announced.get(address) or self._kept(address),
            valid_from=key.valid_from,
            valid_to=key.valid_to,
        )

    def _kept(self, address: bytes) -> bytes:
        """Return the public key that state keeps: the code of the key account is 0, the scheme, the key."""
        w3 = self._registry.w3
        code = bytes(w3.eth.get_code(w3.to_checksum_address(key_account(Address(address)))))
        return code[2:]
