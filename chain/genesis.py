"""The genesis document: what everybody agrees on before block 1.

One canonical JSON text (sorted keys, no spaces, UTF-8); block 0 commits to its SHA-256 in `extra_data`, and the hash of
block 0, the *genesis hash*, is bound into every signature. Byte strings are lower-case hexadecimal with `0x`.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from chain.crypto.addresses import ADDRESS_BYTES, Address, address_of
from chain.crypto.schemes import PUBLIC_KEY_BYTES, Scheme
from chain.errors import GenesisError, VersionError
from chain.execution.versions import CONTRACT_VERSIONS, EXECUTION_VERSIONS
from chain.limits import COUNCIL_QUOTA_LEAST, GAS_LIMIT_LEAST, GAS_LIMIT_MOST, RECORDS_PER_BATCH

DEV_CHAIN_ID: Final = 0x4D45  # "ME"

_MIB: Final = 1024 * 1024

EDGE_SERVER: Final = 1  # the Registry's number of the role

Count = Annotated[int, msgspec.Meta(ge=0)]


class Hex(bytes):
    """Bytes that are written as 0x-hexadecimal in the document."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show what the document shows."""
        return f"0x{self.hex()}"


class ValidatorEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A validator of the engine: its ML-DSA-65 public key signs votes and nothing else.

    `member`: the edge server that runs it and answers for it, if it belongs to one (a member id, from 1).
    """

    name: str
    public_key: Hex
    power: Annotated[int, msgspec.Meta(ge=1)] = 1
    member: Annotated[int, msgspec.Meta(ge=1)] | None = None


class MemberEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member that block 0 admits; ids count from 1 in the document's order.

    `role`: 1 edge server, 2 client, 3 sponsor, 4 auditor. `scheme`: 44, 65, or 0 for an account address of 20 bytes in
    `key`. `payout`: the address that rewards go to; the key's own when None.
    """

    role: Annotated[int, msgspec.Meta(ge=1, le=4)]
    scheme: int
    key: Hex
    payout: Hex | None = None

    @property
    def address(self) -> Address:
        """The address that the member's key signs for."""
        if self.scheme == 0:
            return Address(bytes(self.key))
        return address_of(Scheme(self.scheme), self.key)


class Versions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rules hold from block 1 on."""

    execution: int = 1
    contracts: int = 1
    rules: int = 1


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be sent in one window of block time; `gas` counts limits, whatever is used of them."""

    transactions: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    bytes: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    gas: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class Quotas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of the ledger one sender may use; chain/execution/ADR-quotas.md says why these numbers.

    `council`: what an edge server may send to the Council when its own quota is used up. `strangers`: all who are no
    members in good standing together, because anybody can make as many keys as he likes.
    """

    window_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 10
    records_per_job: Annotated[int, msgspec.Meta(ge=RECORDS_PER_BATCH, lt=2**53)] = 80_000
    edge_server: Quota = Quota(transactions=4_096, bytes=96 * _MIB, gas=32_000_000_000)
    council: Quota = Quota(transactions=32, bytes=_MIB, gas=1_000_000_000)
    member: Quota = Quota(transactions=512, bytes=4 * _MIB, gas=2_000_000_000)
    stranger: Quota = Quota(transactions=16, bytes=_MIB // 16, gas=64_000_000)
    strangers: Quota = Quota(transactions=128, bytes=_MIB // 2, gas=256_000_000)


class Genesis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document; see the fields' comments. `check()` says what is wrong with one."""

    chain_id: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] = DEV_CHAIN_ID  # EVM chain id; JSON tools keep 53 bits
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern="^[A-Za-z0-9_.-]+$")] = "merit-4d45"
    time: Count  # seconds since the Unix epoch (UTC): the timestamp of block 0
    gas_limit: int = 1_000_000_000  # of each block; constant
    classical: bool = False  # take secp256k1 transactions (types 0, 1, 2) too
    block_every_height: bool = False  # make a block for heights without transactions
    governor: Hex  # who admits members, mints, ...: an account, or the Council (0x4d04) and so the edge servers' votes
    deployers: tuple[Hex, ...] = ()  # accounts that may create contracts
    validators: tuple[ValidatorEntry, ...] = ()
    members: tuple[MemberEntry, ...] = ()
    edge_sets: tuple[tuple[int, ...], ...] = ()  # member ids; set 1 is the first
    balances: dict[str, str] = {}  # 0x-address -> wei in decimal: the native coin, which only tools need
    tokens: dict[str, str] = {}  # 0x-address -> wei in decimal of the reward Token
    versions: Versions = Versions()
    quotas: Quotas | msgspec.UnsetType = msgspec.UNSET  # without the table there are none, as in older documents

    def encode(self) -> bytes:
        """Return the canonical JSON."""
        return msgspec.json.encode(msgspec.to_builtins(self, enc_hook=_encode, order="sorted"), order="sorted")

    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON (32 bytes): block 0's extra data."""
        return hashlib.sha256(self.encode()).digest()

    def save(self, path: Path) -> None:
        """Write the canonical JSON."""
        path.write_bytes(self.encode())

    def check(self) -> None:
        """Raise `GenesisError` (which names the field) or `VersionError` unless a ledger can start from this."""
        _check(self)


def _encode(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    message = f"{type(value).__name__} has no place in a genesis document"
    raise NotImplementedError(message)


def _decode(kind: type, value: object) -> object:
    if kind is Hex and isinstance(value, str) and value.startswith("0x") and value == value.lower():
        return Hex(bytes.fromhex(value[2:]))
    message = "expected lower-case hexadecimal with 0x"
    raise ValueError(message)


def decode_genesis(data: bytes) -> Genesis:
    """Read a document in any JSON layout and check it; `GenesisError` in one line when it cannot be used."""
    try:
        genesis = msgspec.json.decode(data, type=Genesis, dec_hook=_decode)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the latter for bytes that are no text
        message = f"genesis document: {error}"
        raise GenesisError(message) from None
    genesis.check()
    return genesis


def load_genesis(path: Path) -> Genesis:
    """Read a document from a file; see `decode_genesis`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror}; name the genesis file of the ledger"
        raise GenesisError(message) from None
    return decode_genesis(data)


def balance_table(amounts: dict[str, str], field: str) -> dict[Address, int]:
    """Decode a table 0x-address -> wei in decimal (JSON's numbers stop at 2^53); `GenesisError` names `field`."""
    table: dict[Address, int] = {}
    for text, amount in amounts.items():
        try:
            address = bytes.fromhex(text[2:]) if text.startswith("0x") and text == text.lower() else b""
        except ValueError:
            address = b""
        if len(address) != ADDRESS_BYTES:
            message = f"genesis {field}: {text} is not a lower-case 0x-address of 20 bytes"
            raise GenesisError(message)
        if not re.fullmatch("0|[1-9][0-9]{0,38}", amount) or int(amount) >= 2**128:
            message = f"genesis {field}: {text} has {amount!r} wei, expected a decimal number below 2^128"
            raise GenesisError(message)
        table[Address(address)] = int(amount)
    return table


def votes_fit(quotas: Quotas) -> bool:
    """Tell whether edge servers could still vote on other quotas when theirs are used up."""
    council = quotas.council
    return all(
        given >= least
        for given, least in zip((council.transactions, council.bytes, council.gas), COUNCIL_QUOTA_LEAST, strict=True)
    )


def _check(genesis: Genesis) -> None:
    def require(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence below
        if not holds:
            text = f"genesis {message}"
            raise GenesisError(text)

    def addresses(values: Iterable[bytes], field: str) -> None:
        require(all(len(value) == ADDRESS_BYTES for value in values), f"{field}: an address has 20 bytes")

    require(
        GAS_LIMIT_LEAST <= genesis.gas_limit <= GAS_LIMIT_MOST,
        f"gas_limit: {genesis.gas_limit} is not within {GAS_LIMIT_LEAST} to {GAS_LIMIT_MOST}",
    )
    require(genesis.time < 2**62, f"time: {genesis.time} is out of range")
    addresses([genesis.governor], "governor")
    addresses(genesis.deployers, "deployers")
    keys = [validator.public_key for validator in genesis.validators]
    wanted = PUBLIC_KEY_BYTES[Scheme.ML_DSA_65]
    require(all(len(key) == wanted for key in keys), f"validators: an ML-DSA-65 public key has {wanted} bytes")
    require(len(set(keys)) == len(keys), "validators: a public key stands twice")
    names = [validator.name for validator in genesis.validators]
    require(len(set(names)) == len(names), "validators: a name stands twice")
    lengths: dict[int, int] = {0: ADDRESS_BYTES} | {int(scheme): PUBLIC_KEY_BYTES[scheme] for scheme in Scheme}
    for number, member in enumerate(genesis.members, 1):
        require(
            len(member.key) == lengths.get(member.scheme),
            f"members: member {number} has no key of scheme {member.scheme}; schemes are 0, 44 and 65",
        )
        addresses([member.payout] if member.payout is not None else [], f"members: payout of member {number}")
    owners = [member.address for member in genesis.members]
    require(len(set(owners)) == len(owners), "members: a key stands twice")
    servers = {number for number, member in enumerate(genesis.members, 1) if member.role == EDGE_SERVER}
    for number, edge_set in enumerate(genesis.edge_sets, 1):
        require(
            len(edge_set) > 0 and len(set(edge_set)) == len(edge_set) and set(edge_set) <= servers,
            f"edge_sets: set {number} is not a list of different edge servers (member ids from 1)",
        )
    running = [validator.member for validator in genesis.validators if validator.member is not None]
    require(set(running) <= servers, "validators: a validator's member is an edge server (member ids from 1)")
    require(len(set(running)) == len(running), "validators: a member runs one validator")
    balance_table(genesis.balances, "balances")
    balance_table(genesis.tokens, "tokens")
    if isinstance(genesis.quotas, Quotas):
        require(votes_fit(genesis.quotas), f"quotas: council: less than {COUNCIL_QUOTA_LEAST} would lock votes out")
    if genesis.versions.execution not in EXECUTION_VERSIONS:
        raise VersionError("execution", genesis.versions.execution, EXECUTION_VERSIONS)  # noqa: EM101 - a field
    if genesis.versions.contracts not in CONTRACT_VERSIONS:
        raise VersionError("contracts", genesis.versions.contracts, CONTRACT_VERSIONS)  # noqa: EM101 - a field
