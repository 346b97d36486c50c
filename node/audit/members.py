"""Who is who, from the genesis document and the Registry's events alone: what the audit judges signatures by."""

from dataclasses import dataclass, field

from chain.crypto.schemes import Scheme
from chain.genesis import Genesis
from contracts import events as kinds
from contracts.bindings import Role
from contracts.events import Event

FOREVER = 1 << 255
"""Beyond every block: the end of a key that has not been ended."""


@dataclass(slots=True)
class Key:
    """A member's key; in force in blocks from `valid_from` up to, not including, `valid_to`."""

    member: int
    scheme: int
    key: bytes
    valid_from: int
    valid_to: int = FOREVER


@dataclass(slots=True)
class Member:
    """A member's role and standing."""

    role: int
    suspended: bool = False


@dataclass(slots=True)
class Members:
    """The Registry's content, event by event."""

    keys: dict[bytes, Key] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    edge_sets: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def at_genesis(cls, genesis: Genesis) -> "Members":
        """Admit the document's members, whose keys are in force from block 0 on."""
        found = cls()
        for number, entry in enumerate(genesis.members, 1):
            found.members[number] = Member(entry.role)
            found.keys[bytes(entry.address)] = Key(number, entry.scheme, bytes(entry.key), 0)
        found.edge_sets = {number: tuple(members) for number, members in enumerate(genesis.edge_sets, 1)}
        return found

    def apply(self, event: Event) -> None:
        """Take note of an event of the Registry; others change nothing."""
        match event:
            case kinds.MemberAdmitted():
                self.members[event.member] = Member(event.role)
            case kinds.KeyAdded():
                self.keys[event.account] = Key(event.member, event.scheme, event.key, event.valid_from)
            case kinds.KeyEnded():
                self.keys[event.account].valid_to = event.valid_to
            case kinds.Suspended():
                self.members[event.member].suspended = True
            case kinds.Reinstated():
                self.members[event.member].suspended = False
            case kinds.EdgeSetDefined():
                self.edge_sets[event.number] = event.members
            case _:
                pass  # not the Registry's, or nothing that judges a signature

    def in_force(self, account: bytes, block: int) -> Key | None:
        """Return the key of an account if it speaks for its member in this block."""
        key = self.keys.get(account)
        return key if key is not None and key.valid_from <= block < key.valid_to else None

    def public_key(self, account: bytes) -> tuple[Scheme, bytes] | None:
        """Return the ML-DSA key of an account, in force or not; None for a plain or an unknown one."""
        key = self.keys.get(account)
        return None if key is None or key.scheme == 0 else (Scheme(key.scheme), key.key)

    @property
    def active_clients(self) -> int:
        """How many clients are admitted and not suspended."""
        return sum(member.role == Role.CLIENT and not member.suspended for member in self.members.values())
