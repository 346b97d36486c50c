"""What an edge server's operator does in the Council: propose changes, vote on them, have them made.

A proposal file is TOML: a text, how long votes are taken, and the calls, each with what it does and its parameters.

    text = "Admit the fifth hospital and let it validate"
    days = 7

    [[call]]
    do = "admit"
    role = "edge-server"
    scheme = 44
    key = "0x..."

    [[call]]
    do = "upgrade"
    kind = "execution"
    version = 2
    height = 120000
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from web3 import Web3

from chain.crypto.addresses import address_of
from chain.crypto.schemes import Scheme
from contracts import addresses
from contracts.bindings import Council, JobStatus, Ledger, Registry, Role, Token
from contracts.calls import Call
from contracts.digests import name32
from contracts.events import Proposed, decode_events
from contracts.upgrades import UpgradeKind
from node.account import Account, connect
from node.configuration import convert, read_toml
from node.errors import ConfigError, TransactionFailedError

_DAY_S = 86_400
_BLOCKS_PER_QUERY = 256

Positive = Annotated[int, msgspec.Meta(ge=1)]
HexText = Annotated[str, msgspec.Meta(pattern="^0x([0-9a-fA-F]{2})+$")]
AddressText = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]
Name = Annotated[str, msgspec.Meta(pattern="^[ -~]{1,31}$")]
SchemeNumber = Literal[44, 65]
Kind = Literal["execution", "contracts", "rules"]
_ROLES = {"edge-server": Role.EDGE_SERVER, "client": Role.CLIENT, "sponsor": Role.SPONSOR, "auditor": Role.AUDITOR}


class _Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """What is asked for; each has `call(council)`, which makes the call, `council` telling what stands today."""


class Admit(_Asked, frozen=True, kw_only=True, tag="admit"):
    """Admit a member; `payout` is its key's own address by default."""

    role: Literal["edge-server", "client", "sponsor", "auditor"]
    scheme: SchemeNumber
    key: HexText
    payout: AddressText | None = None

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        key = _bytes(self.key)
        own = address_of(Scheme(self.scheme), key)
        payout = own if self.payout is None else _bytes(self.payout)
        return Call(addresses.REGISTRY, Registry.encode_admit(_ROLES[self.role], self.scheme, key, payout))


class AddKey(_Asked, frozen=True, kw_only=True, tag="add-key"):
    """Give a member one more key."""

    member: Positive
    scheme: SchemeNumber
    key: HexText

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.REGISTRY, Registry.encode_add_key(self.member, self.scheme, _bytes(self.key)))


class EndKey(_Asked, frozen=True, kw_only=True, tag="end-key"):
    """End the key of an address."""

    address: AddressText

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.REGISTRY, Registry.encode_end_key(_bytes(self.address)))


class Suspend(_Asked, frozen=True, kw_only=True, tag="suspend"):
    """Suspend a member."""

    member: Positive

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.REGISTRY, Registry.encode_suspend(self.member))


class Reinstate(_Asked, frozen=True, kw_only=True, tag="reinstate"):
    """Lift a suspension."""

    member: Positive

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.REGISTRY, Registry.encode_reinstate(self.member))


class DefineEdgeSet(_Asked, frozen=True, kw_only=True, tag="define-edge-set"):
    """Define the next numbered edge set."""

    members: tuple[Positive, ...]

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.REGISTRY, Registry.encode_set_edge_set(self.members))


class UseEdgeSet(_Asked, frozen=True, kw_only=True, tag="use-edge-set"):
    """Move a job to another edge set from its next round on."""

    job: Positive
    number: Positive

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.LEDGER, Ledger.encode_use_edge_set(self.job, self.number))


class UseRules(_Asked, frozen=True, kw_only=True, tag="use-rules"):
    """Change a job's rules from its next round on."""

    job: Positive
    version: Positive = 1
    scoring: Name
    aggregation: Name
    staleness: Name

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        names = (name32(self.scoring), name32(self.aggregation), name32(self.staleness))
        return Call(addresses.LEDGER, Ledger.encode_use_rules(self.job, self.version, *names))


class Mint(_Asked, frozen=True, kw_only=True, tag="mint"):
    """Make new reward tokens."""

    to: AddressText
    tokens: Positive

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.TOKEN, Token.encode_mint(_bytes(self.to), self.tokens * 10**18))


class AddValidator(_Asked, frozen=True, kw_only=True, tag="add-validator"):
    """Let an edge server's validator take part; `key` is its ML-DSA-65 public key."""

    member: Positive
    key: HexText
    power: Positive = 1

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.COUNCIL, Council.encode_add_validator(self.member, _bytes(self.key), self.power))


class RemoveValidator(_Asked, frozen=True, kw_only=True, tag="remove-validator"):
    """Let an edge server's validator take part no longer."""

    member: Positive

    def call(self, council: Council) -> Call:  # noqa: D102
        return Call(addresses.COUNCIL, Council.encode_remove_validator(_validator_of(council, self.member)))


class RotateValidator(_Asked, frozen=True, kw_only=True, tag="rotate-validator"):
    """Replace the key of an edge server's validator."""

    member: Positive
    key: HexText

    def call(self, council: Council) -> Call:  # noqa: D102
        old = _validator_of(council, self.member)
        return Call(addresses.COUNCIL, Council.encode_rotate_validator(old, _bytes(self.key)))


class SetValidatorPower(_Asked, frozen=True, kw_only=True, tag="set-validator-power"):
    """Change the weight of an edge server's validator."""

    member: Positive
    power: Positive

    def call(self, council: Council) -> Call:  # noqa: D102
        validator = _validator_of(council, self.member)
        return Call(addresses.COUNCIL, Council.encode_set_validator_power(validator, self.power))


class Upgrade(_Asked, frozen=True, kw_only=True, tag="upgrade"):
    """Have a version of execution, contracts or rules hold from block `height` on, or from `blocks` after today's."""

    kind: Kind
    version: Positive
    height: Annotated[int, msgspec.Meta(ge=0)] = 0
    blocks: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        """Refuse one that does not say when."""
        if bool(self.height) == bool(self.blocks):
            message = (
                "an upgrade names either the block from which it holds (height) or how many blocks from now (blocks)"
            )
            raise ValueError(message)

    def call(self, council: Council) -> Call:  # noqa: D102
        height = self.height or council.w3.eth.block_number + self.blocks
        kind = UpgradeKind[self.kind.upper()]
        return Call(addresses.COUNCIL, Council.encode_schedule_upgrade(kind, self.version, height))


class CancelUpgrade(_Asked, frozen=True, kw_only=True, tag="cancel-upgrade"):
    """Take back the upgrade of a kind that was scheduled last."""

    kind: Kind

    def call(self, council: Council) -> Call:  # noqa: ARG002, D102
        return Call(addresses.COUNCIL, Council.encode_cancel_upgrade(UpgradeKind[self.kind.upper()]))


Asked = (
    Admit
    | AddKey
    | EndKey
    | Suspend
    | Reinstate
    | DefineEdgeSet
    | UseEdgeSet
    | UseRules
    | Mint
    | AddValidator
    | RemoveValidator
    | RotateValidator
    | SetValidatorPower
    | Upgrade
    | CancelUpgrade
)


class ProposalFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A proposal: 1 to 16 calls, made together or not at all."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    days: Annotated[float, msgspec.Meta(gt=0, le=30)] = 7.0
    call: Annotated[tuple[Asked, ...], msgspec.Meta(min_length=1, max_length=16)]


def load(path: Path) -> ProposalFile:
    """Read a proposal file; ConfigError in one line."""
    return convert(read_toml(path), ProposalFile, str(path))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a proposal stands."""

    number: int
    proposer: int
    expiry: int
    text: str
    executed: bool
    approvals: int
    electorate: int
    calls: int


def edge_set_of(w3: Web3, members: Sequence[int]) -> list[Asked]:
    """Return what makes these edge servers the next edge set, and that of every job that is not closed."""
    number = Registry(w3, addresses.REGISTRY).edge_set_count() + 1
    ledger = Ledger(w3, addresses.LEDGER)
    jobs = [job for job in range(1, ledger.job_count() + 1) if ledger.job(job).status is not JobStatus.CLOSED]
    return [DefineEdgeSet(members=tuple(members)), *(UseEdgeSet(job=job, number=number) for job in jobs)]


class Office:
    """An edge server's key in the Council."""

    def __init__(self, account: Account) -> None:
        """Act for `account`."""
        self._account = account
        self._council = Council(account.w3, addresses.COUNCIL)

    @classmethod
    def connect(cls, rpc: str, key_path: Path, password: bytes) -> "Office":
        """Load the key and connect; errors as in `Account.connect`."""
        return cls(Account.connect(rpc, key_path, password))

    def propose(self, file: ProposalFile) -> int:
        """Propose what a file says and approve it; return the proposal's number.

        Raises:
            TransactionFailedError: the Council refuses, with its reason.
            ConfigError: a call names what is not there.

        """
        calls = [asked.call(self._council) for asked in file.call]
        now = int(self._account.w3.eth.get_block("latest")["timestamp"])
        data = Council.encode_propose(now + int(file.days * _DAY_S), file.text, calls)
        _, logs = self._account.send(addresses.COUNCIL, data)
        number = next(event.proposal for event in decode_events(logs) if isinstance(event, Proposed))
        self.vote(number, approves=True)
        return number

    def vote(self, proposal: int, *, approves: bool) -> int:
        """Approve or reject a proposal, for good; return the block. Errors as in `propose`."""
        return self._account.send(addresses.COUNCIL, Council.encode_vote(proposal, approves=approves))[0]

    def execute(self, proposal: int) -> int:
        """Have an approved proposal's calls made; return the block. Errors as in `propose`."""
        calls = proposed(self._account.w3, proposal).calls
        return self._account.send(addresses.COUNCIL, Council.encode_execute(proposal, calls))[0]


def proposed(w3: Web3, number: int) -> Proposed:
    """Return a proposal as it was made; TransactionFailedError when there is none of this number."""
    for event in _all(w3):
        if event.proposal == number:
            return event
    message = f"there is no proposal {number}"
    raise TransactionFailedError(message)


def standings(rpc: str) -> list[Standing]:
    """Return where every proposal stands; LedgerUnreachableError when nothing answers at `rpc`."""
    w3 = connect(rpc)
    council = Council(w3, addresses.COUNCIL)
    found = []
    for event in _all(w3):
        state, tally = council.proposal(event.proposal), council.tally(event.proposal)
        if state is not None:
            found.append(
                Standing(
                    number=event.proposal,
                    proposer=event.proposer,
                    expiry=event.expiry,
                    text=event.text,
                    executed=state.executed,
                    approvals=tally.approvals,
                    electorate=tally.electorate,
                    calls=len(event.calls),
                )
            )
    return found


def validators(rpc: str) -> list[dict[str, Any]]:
    """Return the validators that take part: address, member, power; errors as in `standings`."""
    council = Council(connect(rpc), addresses.COUNCIL)
    return [
        {"address": address, "member": state.member, "power": state.power}
        for address in council.validators()
        for state in [council.validator(address)]
    ]


def upgrades(rpc: str) -> list[dict[str, Any]]:
    """Return the schedule of versions; errors as in `standings`."""
    council = Council(connect(rpc), addresses.COUNCIL)
    return [{"kind": kind.name.lower(), **asdict(one)} for kind in UpgradeKind for one in council.upgrades(kind)]


def _all(w3: Web3) -> Sequence[Proposed]:
    found: list[Proposed] = []
    newest = w3.eth.block_number
    for first in range(0, newest + 1, _BLOCKS_PER_QUERY):
        query = {"address": Web3.to_checksum_address(addresses.COUNCIL), "fromBlock": first}
        logs = w3.eth.get_logs({**query, "toBlock": min(newest, first + _BLOCKS_PER_QUERY - 1)})  # type: ignore[typeddict-item] # web3's literal type
        found += [event for event in decode_events(dict(log) for log in logs) if isinstance(event, Proposed)]
    return found


def _validator_of(council: Council, member: int) -> bytes:
    address = council.validator_of(member)
    if not any(address):
        message = f"member {member} runs no validator"
        raise ConfigError(message)
    return address


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
