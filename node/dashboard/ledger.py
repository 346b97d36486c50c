"""What pages ask the ledger itself when they are opened: a block's transactions, receipts, accounts, who signed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from contracts import addresses, bindings
from contracts.errors import EventError
from contracts.events import Event, decode_events
from node.dashboard.registry import CONTRACTS, member_of
from node.dashboard.signers import Signed, Signers, signed_at

if TYPE_CHECKING:
    from web3 import Web3

TRANSACTIONS_SHOWN: Final = 100
EVENTS_SHOWN: Final = 200
_PLACE: Final = {"block", "log_index", "transaction"}


@dataclass(frozen=True, slots=True)
class BlockPage:
    """A block with the hashes of its first transactions, each with its sender and receiver."""

    number: int
    parent: bytes
    state_root: bytes
    gas_used: int
    gas_limit: int
    transactions: Sequence["Sent"]
    in_all: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction: who sent it to whom; `to` is empty when it deploys a contract, `member` 0 for nobody's account."""

    hash: bytes
    sender: bytes
    member: int
    to: bytes
    contract: str


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """A transaction with its outcome and the events of our contracts; `more` events are left out."""

    sent: Sent
    type: int
    block: int
    index: int
    nonce: int
    gas: int
    gas_used: int
    size: int
    succeeded: bool
    events: Sequence["Told"]
    more: int


@dataclass(frozen=True, slots=True)
class Told:
    """An event by name, its fields in words."""

    name: str
    fields: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Account:
    """An account that is no member's: a contract's name, what it has and how often it sent."""

    address: bytes
    name: str
    balance: int
    tokens: int
    sent: int

    @property
    def used(self) -> bool:
        """Whether it ever had or did anything."""
        return bool(self.balance or self.tokens or self.sent)


def block(w3: "Web3", number: int) -> BlockPage:
    """Read a block."""
    found: Any = w3.eth.get_block(number, full_transactions=True)
    shown = found["transactions"][:TRANSACTIONS_SHOWN]
    return BlockPage(
        number=number,
        parent=bytes(found["parentHash"]),
        state_root=bytes(found["stateRoot"]),
        gas_used=found["gasUsed"],
        gas_limit=found["gasLimit"],
        transactions=[_sent(w3, one) for one in shown],
        in_all=len(found["transactions"]),
    )


def transaction(w3: "Web3", name: bytes) -> TransactionPage:
    """Read a transaction with its receipt; TransactionNotFound if no block holds it."""
    receipt: Any = w3.eth.get_transaction_receipt(w3.to_hex(name))
    found: Any = w3.eth.get_transaction(w3.to_hex(name))
    events = _events(receipt["logs"])
    return TransactionPage(
        sent=_sent(w3, found),
        type=found["type"],
        block=receipt["blockNumber"],
        index=receipt["transactionIndex"],
        nonce=found["nonce"],
        gas=found["gas"],
        gas_used=receipt["gasUsed"],
        size=len(bytes(found["input"])),
        succeeded=receipt["status"] == 1,
        events=[_told(event) for event in events[:EVENTS_SHOWN]],
        more=max(0, len(events) - EVENTS_SHOWN),
    )


def account(w3: "Web3", address: bytes) -> Account:
    """Read an account."""
    name = w3.to_checksum_address(address)
    return Account(
        address=address,
        name=CONTRACTS.get(address, ""),
        balance=w3.eth.get_balance(name),
        tokens=bindings.Token(w3, addresses.TOKEN).balance_of(address),
        sent=w3.eth.get_transaction_count(name),
    )


def signed(w3: "Web3", signers: Signers, height: int) -> Signed | None:
    """Return who decided a height; None for block 0, which nobody did."""
    return signers.of(height) or (signed_at(w3, height) if height else None)


def participation(heights: Sequence[Signed]) -> Mapping[bytes, int]:
    """Count how many of these heights each validator signed."""
    return Counter(address for one in heights for address, flag in one.votes.items() if flag == flag.COMMIT)


def proposals(heights: Sequence[Signed]) -> Mapping[bytes, int]:
    """Count how many of these heights each validator proposed."""
    return Counter(one.proposer for one in heights)


def _sent(w3: "Web3", found: Any) -> Sent:  # noqa: ANN401 - web3's TxData
    sender = bytes.fromhex(found["from"][2:])
    to = bytes.fromhex((found.get("to") or "0x")[2:])
    return Sent(bytes(found["hash"]), sender, member_of(w3, sender), to, CONTRACTS.get(to, ""))


def _events(logs: Sequence[Any]) -> list[Event]:
    try:
        return decode_events(logs, CONTRACTS)
    except EventError:
        return []  # another version's contracts


def _told(event: Event) -> Told:
    shown = [(one.name, getattr(event, one.name)) for one in fields(event) if one.name not in _PLACE]
    return Told(type(event).__name__, [(name, _text(value)) for name, value in shown])


def _text(value: object) -> str:
    match value:
        case bytes():
            return f"0x{value.hex()}"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case tuple():
            return ", ".join(map(_text, value)) or "none"
        case _:
            return str(value)
