"""How a network begins: keys of everybody whom the genesis document names, and the document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec

from chain.crypto.schemes import Scheme, SigningKey
from chain.genesis import DEV_CHAIN_ID, Genesis, Hex, MemberEntry, Quotas, ValidatorEntry, Versions
from contracts.addresses import COUNCIL
from node.errors import RunDirectoryError

DEFAULT_VALIDATORS: Final = 4
MOST_VALIDATORS: Final = 64  # each executes every block on the one machine

ACCOUNT_WEI: Final = 10_000 * 10**18  # what each classical account of a development network starts with


class ClassicalAccount(msgspec.Struct, frozen=True):
    """A secp256k1 account of a development network, as `keys/accounts.json` holds it; both are 0x-hexadecimal."""

    address: str
    private_key: str


def seeded_key(seed: int, name: str, scheme: Scheme) -> SigningKey:
    """Return the key of this name that a seed gives: for simulations, everybody can make it again."""
    return SigningKey.from_seed(scheme, sha256(f"{seed}/key/{name}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Membership:
    """A member that block 0 admits: its role (1 edge server, 2 client, 3 sponsor, 4 auditor) and its key's scheme."""

    role: int
    scheme: Scheme = Scheme.ML_DSA_44


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """What the caller wants of the genesis document; None where the caller does not mind."""

    name: str | None = None
    chain_id: int | None = None
    validators: int | None = None
    powers: tuple[int, ...] | None = None
    classical: bool | None = None
    block_every_height: bool | None = None
    members: tuple[Membership, ...] | None = None
    edge_sets: tuple[tuple[int, ...], ...] | None = None
    tokens: dict[int, int] | None = None
    balances: dict[bytes, int] | None = None
    council: bool | None = None
    accounts: int | None = None
    contracts: int | None = None

    def keys(self, seed: int | None = None) -> dict[str, SigningKey]:
        """Make every key of a new network; those of a seed are for simulations, everybody can make them again."""
        validators = DEFAULT_VALIDATORS if self.validators is None else self.validators
        if not 1 <= validators <= MOST_VALIDATORS:
            message = f"{validators} validators: a network on one machine has 1 to {MOST_VALIDATORS}"
            raise RunDirectoryError(message)
        schemes = {"governor": Scheme.ML_DSA_65}
        schemes |= {f"validator-{number}": Scheme.ML_DSA_65 for number in range(1, validators + 1)}
        schemes |= {f"member-{number}": member.scheme for number, member in enumerate(self.members or (), 1)}
        if seed is None:
            return {name: SigningKey.generate(scheme) for name, scheme in schemes.items()}
        return {name: seeded_key(seed, name, scheme) for name, scheme in schemes.items()}

    def _powers(self) -> tuple[int, ...]:
        return self.powers or (1,) * (DEFAULT_VALIDATORS if self.validators is None else self.validators)

    def document(self, keys: Mapping[str, SigningKey], accounts: Sequence[ClassicalAccount], time: int) -> Genesis:
        """Build the genesis document of a new network; `GenesisError` when it cannot be used."""
        chain_id = DEV_CHAIN_ID if self.chain_id is None else self.chain_id
        members = self.members or ()
        edge_servers = tuple(number for number, member in enumerate(members, 1) if member.role == _EDGE_SERVER)
        edge_sets = ((edge_servers,) if edge_servers else ()) if self.edge_sets is None else self.edge_sets
        deployer = Hex(keys["governor"].address)
        runs = dict(enumerate(edge_servers, 1))  # validator number -> the edge server beside it, while there is one
        genesis = Genesis(
            chain_id=chain_id,
            name=f"merit-{chain_id:x}" if self.name is None else self.name,
            time=time,
            classical=bool(self.classical),
            block_every_height=bool(self.block_every_height),
            governor=Hex(COUNCIL) if self.council else deployer,
            deployers=(deployer, *(Hex(bytes.fromhex(account.address[2:])) for account in accounts)),
            validators=tuple(
                ValidatorEntry(
                    name=f"validator-{number}",
                    public_key=Hex(keys[f"validator-{number}"].public_key),
                    power=power,
                    member=runs.get(number),
                )
                for number, power in enumerate(self._powers(), 1)
            ),
            members=tuple(
                MemberEntry(role=member.role, scheme=int(member.scheme), key=Hex(keys[f"member-{number}"].public_key))
                for number, member in enumerate(members, 1)
            ),
            edge_sets=edge_sets,
            versions=Versions() if self.contracts is None else Versions(contracts=self.contracts),
            quotas=Quotas(),
            balances={hexadecimal(address): str(wei) for address, wei in (self.balances or {}).items()}
            | {account.address: str(ACCOUNT_WEI) for account in accounts},
            tokens={
                f"0x{keys[f'member-{member}'].address.hex()}": str(wei) for member, wei in (self.tokens or {}).items()
            },
        )
        genesis.check()
        return genesis


_EDGE_SERVER: Final = 1  # the Registry's role


def hexadecimal(value: bytes) -> str:
    """Write bytes as the genesis document does."""
    return f"0x{value.hex()}"
