"""Every event of the contracts as a frozen dataclass, and how logs become them.

Fields are named as in the contracts, in their order, after three that say where the log lies in the chain. Addresses
are 20 bytes, digests 32, amounts wei. Nothing else in the tree spells the contracts' events.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from contracts.abi import address_of, topic_of, type_of
from contracts.addresses import ADDRESS_BYTES
from contracts.artifacts import NAMES, WORD_BYTES, load, newest
from contracts.calls import Call
from contracts.digests import Part
from contracts.errors import EventError
from contracts.terms import JobTerms


@dataclass(frozen=True, slots=True)
class Event:
    """Any event: the block's number, the log's index in that block, the hash of its transaction."""

    block: int
    log_index: int
    transaction: bytes


@dataclass(frozen=True, slots=True)
class MemberAdmitted(Event):
    """Registry: a member was admitted."""

    member: int
    role: int
    payout: bytes


@dataclass(frozen=True, slots=True)
class KeyAdded(Event):
    """Registry: a member has one more key, in force from `valid_from` on; `key` is an address (scheme 0) or a key."""

    member: int
    account: bytes
    scheme: int
    key: bytes
    valid_from: int


@dataclass(frozen=True, slots=True)
class KeyEnded(Event):
    """Registry: a key is in force no longer from `valid_to` on."""

    member: int
    account: bytes
    valid_to: int


@dataclass(frozen=True, slots=True)
class Suspended(Event):
    """Registry: a member was suspended."""

    member: int


@dataclass(frozen=True, slots=True)
class Reinstated(Event):
    """Registry: a member's suspension ended."""

    member: int


@dataclass(frozen=True, slots=True)
class PayoutSet(Event):
    """Registry: a member's rewards go elsewhere from now on."""

    member: int
    payout: bytes


@dataclass(frozen=True, slots=True)
class EdgeSetDefined(Event):
    """Registry: there is a new edge set."""

    number: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GovernorSet(Event):
    """Registry: the privileged calls belong to this account."""

    governor: bytes


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    """Token: ERC-20; minted if the sender is zero."""

    sender: bytes
    receiver: bytes
    value: int


@dataclass(frozen=True, slots=True)
class Approval(Event):
    """Token: ERC-20."""

    owner: bytes
    spender: bytes
    value: int


@dataclass(frozen=True, slots=True)
class JobCreated(Event):
    """Ledger: a sponsor proposed a job and escrowed its budget."""

    job: int
    sponsor: int
    terms: JobTerms
    budget: int


@dataclass(frozen=True, slots=True)
class JobAcknowledged(Event):
    """Ledger: an edge server holds model 0 and the job file."""

    job: int
    edge: int
    support: int


@dataclass(frozen=True, slots=True)
class PayVests(Event):
    """Ledger: a job's rewards go to this holder, which settles them so many rounds later (contracts version 4)."""

    job: int
    holder: bytes
    rounds: int


@dataclass(frozen=True, slots=True)
class JobOpened(Event):
    """Ledger: more than two thirds hold them; round 1 takes `phi` records."""

    job: int
    phi: int


@dataclass(frozen=True, slots=True)
class ToppedUp(Event):
    """Ledger: a job's budget grew."""

    job: int
    funder: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class JobClosing(Event):
    """Ledger: a job takes no more records."""

    job: int
    next_sequence: int


@dataclass(frozen=True, slots=True)
class JobClosed(Event):
    """Ledger: nothing live is left."""

    job: int


@dataclass(frozen=True, slots=True)
class Refunded(Event):
    """Ledger: a closed job's free escrow went back to its sponsor."""

    job: int
    payout: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class EdgeSetPending(Event):
    """Ledger: the job moves to this edge set at the next boundary."""

    job: int
    number: int


@dataclass(frozen=True, slots=True)
class EdgeSetChanged(Event):
    """Ledger: this edge set is in force, from the named round on."""

    job: int
    number: int
    round: int


@dataclass(frozen=True, slots=True)
class RulesPending(Event):
    """Ledger: the job is scored and aggregated by these rules from its next boundary on."""

    job: int
    version: int
    scoring: bytes
    aggregation: bytes
    staleness: bytes


@dataclass(frozen=True, slots=True)
class RulesChanged(Event):
    """Ledger: these rules hold, from the named round on; it comes before the event that ends the round before."""

    job: int
    round: int
    version: int
    scoring: bytes
    aggregation: bytes
    staleness: bytes


@dataclass(frozen=True, slots=True)
class Recorded(Event):
    """Ledger: a record got its sequence number; `verified` says whether the ledger itself checked the signature."""

    job: int
    client: int
    digest: bytes
    sequence: int
    base: int
    counter: int
    length: int
    expiry: int
    signer: bytes
    submitter: bytes
    verified: bool


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """Ledger: a record was left out of a batch; `reason` as in `records.REASONS`."""

    job: int
    client: int
    digest: bytes
    reason: int


@dataclass(frozen=True, slots=True)
class Acknowledged(Event):
    """Ledger: an edge server holds all of [first, up_to) but what is missing or invalid; an invalid one wins."""

    job: int
    edge: int
    first: int
    up_to: int
    missing: tuple[int, ...]
    invalid: tuple[int, ...]
    resolved: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReferencesCommitted(Event):
    """Ledger: an edge server committed to its references of a version whose model is `model` (contracts version 3)."""

    job: int
    version: int
    edge: int
    model: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class ReferencesAcknowledged(Event):
    """Ledger: an edge server holds these servers' references of a version (contracts version 3)."""

    job: int
    version: int
    edge: int
    held: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Attested(Event):
    """Ledger: an edge server attests what a round computed; `support` counts its digest, this one included."""

    job: int
    round: int
    edge: int
    digest: bytes
    height: int
    k: int
    spent: int
    parts: tuple[Part, ...]
    support: int


@dataclass(frozen=True, slots=True)
class AttestedLate(Event):
    """Ledger: an attestation of a decided round, without effect."""

    job: int
    round: int
    edge: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class RoundAgreed(Event):
    """Ledger: a quorum stands; `reward` is reserved, the next round takes `phi_next` records."""

    job: int
    round: int
    digest: bytes
    height: int
    k: int
    spent: int
    thetas: bytes
    model: bytes
    reward: int
    phi_next: int


@dataclass(frozen=True, slots=True)
class RoundVoid(Event):
    """Ledger: no quorum in time; `variants` digests had support."""

    job: int
    round: int
    variants: int
    spent: int
    phi_next: int


@dataclass(frozen=True, slots=True)
class RoundUnpaid(Event):
    """Ledger: all thetas are 0; the reserve went back to the escrow."""

    job: int
    round: int


@dataclass(frozen=True, slots=True)
class ThetasPosted(Event):
    """Ledger: the sum of a round's thetas and the digests of their chunks."""

    job: int
    round: int
    total: int
    chunk_digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Credited(Event):
    """Ledger: what one record of a round earned."""

    job: int
    round: int
    client: int
    theta: int
    reward: int


@dataclass(frozen=True, slots=True)
class RoundSettled(Event):
    """Ledger: every chunk of a round is credited."""

    job: int
    round: int
    paid: int


@dataclass(frozen=True, slots=True)
class Released(Event):
    """Ledger: a member was paid what a job owed it."""

    member: int
    job: int
    payout: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Ticked(Event):
    """Ledger: somebody wanted a block that shows the time."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Judged(Event):
    """Vesting: whose record had fallen after a round, as `digests.fallen_words` has it (contracts version 4)."""

    job: int
    round: int
    fallen: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Vested(Event):
    """Vesting: what a client was credited for a round is its own, by its record after round `judge`."""

    job: int
    round: int
    client: int
    judge: int
    amount: int


@dataclass(frozen=True, slots=True)
class Forfeited(Event):
    """Vesting: what a client was credited for a round is the sponsor's again, by its record after round `judge`."""

    job: int
    round: int
    client: int
    judge: int
    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """Vesting: a member was paid what was settled in its favour."""

    member: int
    payout: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Proposed(Event):
    """Council: an edge server asks the others to have these calls made."""

    proposal: int
    proposer: int
    expiry: int
    text: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Voted(Event):
    """Council: an edge server approves or rejects a proposal, for good."""

    proposal: int
    member: int
    approves: bool


@dataclass(frozen=True, slots=True)
class Executed(Event):
    """Council: a proposal's calls were made; `approvals` counted, of the `electorate`'s edge servers."""

    proposal: int
    executor: bytes
    approvals: int
    electorate: int


@dataclass(frozen=True, slots=True)
class ValidatorChanged(Event):
    """Council: a validator (20 bytes, as the engine names it) has this power from now on; 0 = it leaves."""

    validator: bytes
    member: int
    power: int
    key: bytes


@dataclass(frozen=True, slots=True)
class UpgradeScheduled(Event):
    """Council: this version holds from block `height` on; kinds: `contracts.upgrades.UpgradeKind`."""

    kind: int
    version: int
    height: int


@dataclass(frozen=True, slots=True)
class UpgradeCancelled(Event):
    """Council: the upgrade scheduled last will not happen."""

    kind: int
    version: int
    height: int


EVENTS: Final[Mapping[str, type[Event]]] = {
    kind.__name__: kind
    for kind in (
        MemberAdmitted,
        KeyAdded,
        KeyEnded,
        Suspended,
        Reinstated,
        PayoutSet,
        EdgeSetDefined,
        GovernorSet,
        Transfer,
        Approval,
        JobCreated,
        JobAcknowledged,
        PayVests,
        JobOpened,
        ToppedUp,
        JobClosing,
        JobClosed,
        Refunded,
        EdgeSetPending,
        EdgeSetChanged,
        RulesPending,
        RulesChanged,
        Recorded,
        Refused,
        Acknowledged,
        ReferencesCommitted,
        ReferencesAcknowledged,
        Attested,
        AttestedLate,
        RoundAgreed,
        RoundVoid,
        RoundUnpaid,
        ThetasPosted,
        Credited,
        RoundSettled,
        Released,
        Ticked,
        Judged,
        Vested,
        Forfeited,
        Withdrawn,
        Proposed,
        Voted,
        Executed,
        ValidatorChanged,
        UpgradeScheduled,
        UpgradeCancelled,
    )
}
"""Every event of the contracts by name."""


# Reading one 32-byte word of a topic or of static data


def _number_in(word: bytes) -> int:
    return int.from_bytes(word, "big")


def _truth_in(word: bytes) -> bool:
    return word[-1] == 1


def _address_in(word: bytes) -> bytes:
    return word[-ADDRESS_BYTES:]


_WORDS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "address": _address_in,
    "bool": _truth_in,
    "bytes32": bytes,
    "uint8": _number_in,
    "uint16": _number_in,
    "uint32": _number_in,
    "uint64": _number_in,
    "uint256": _number_in,
}


# What eth_abi returns for the types that are no single word, as our fields want it
_SHAPES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "terms": lambda values: JobTerms(*values),
    "parts": lambda values: tuple(Part(*value) for value in values),
    "calls": lambda values: tuple(Call(address_of(target), data) for target, data in values),
    # anybody may have written it, so it is decoded as bytes and what is no UTF-8 is escaped
    "text": lambda value: value.decode("utf-8", errors="backslashreplace"),
}


@dataclass(frozen=True, slots=True)
class _EventReader:
    """How one event's topics and data become a dataclass.

    Data without dynamic parts is cut into words by hand, which is many times faster than a general decoder; `words` is
    None for the rest. Our events name their indexed fields first, so topics and data arrive in the order of the fields.
    """

    kind: type[Event]
    indexed: tuple[Callable[[bytes], Any], ...]
    words: tuple[Callable[[bytes], Any], ...] | None
    types: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Read an event's ABI entry."""
        inputs = entry["inputs"]
        data = [item for item in inputs if not item["indexed"]]
        static = all(item["type"] in _WORDS for item in data)
        return cls(
            kind=EVENTS[entry["name"]],
            indexed=tuple(_WORDS[item["type"]] for item in inputs if item["indexed"]),
            words=tuple(_WORDS[item["type"]] for item in data) if static else None,
            types=tuple("bytes" if item["type"] == "string" else type_of(item) for item in data),
            names=tuple(item["name"] for item in data),
        )

    def read(self, topics: Sequence[bytes], data: bytes, block: int, log_index: int, transaction: bytes) -> Event:
        """Return the event; raise `EventError` if the log is not one."""
        if len(topics) != len(self.indexed) + 1:
            raise EventError(event=self.kind.__name__, problem=f"{len(topics)} topics")
        values = [read(bytes(topic)) for read, topic in zip(self.indexed, topics[1:], strict=True)]
        values += self._static(data) if self.words is not None else self._dynamic(data)
        return self.kind(block, log_index, transaction, *values)

    def _static(self, data: bytes) -> list[Any]:
        words = self.words or ()
        if len(data) != WORD_BYTES * len(words):
            raise EventError(event=self.kind.__name__, problem=f"{len(data)} bytes of data")
        return [read(data[WORD_BYTES * at : WORD_BYTES * (at + 1)]) for at, read in enumerate(words)]

    def _dynamic(self, data: bytes) -> list[Any]:
        from eth_abi.abi import decode  # noqa: PLC0415 - a second of imports that the codec does not need
        from eth_abi.exceptions import DecodingError  # noqa: PLC0415

        try:
            values = decode(self.types, data)
        except DecodingError as error:
            raise EventError(event=self.kind.__name__, problem=str(error)) from error
        shapes = (_SHAPES.get(name) for name in self.names)
        return [shape(value) if shape else value for shape, value in zip(shapes, values, strict=True)]


@functools.cache
def _event_readers() -> dict[bytes, _EventReader]:
    readers = {}
    for contract in NAMES:
        for entry in load(contract, newest(contract)).abi:
            if entry["type"] == "event":
                readers[topic_of(entry)] = _EventReader.of(entry)
    return readers


@functools.cache
def event_topic(name: str) -> bytes:
    """Return topic 0 of one of our events by name: what a log filter takes. Raise `EventError` for an unknown name."""
    for topic, reader in _event_readers().items():
        if reader.kind.__name__ == name:
            return topic
    raise EventError(event=name, problem="there is no such event")


def decode_event(
    topics: Sequence[bytes], data: bytes, *, block: int, log_index: int, transaction: bytes
) -> Event | None:
    """Return the event of a log, or None if its topic is none of ours; raise `EventError` if it does not decode."""
    if not topics:
        return None
    reader = _event_readers().get(bytes(topics[0]))
    return reader.read(topics, data, block, log_index, transaction) if reader else None


def decode_events(logs: Iterable[Mapping[str, Any]], addresses: Iterable[bytes] = ()) -> list[Event]:
    """Return the events in logs as web3 gives them (`eth_getLogs`, receipts), in their order.

    Logs of other contracts are left out: those whose topic is none of ours and, if `addresses` are given, those of
    other addresses. Raise `EventError` for a log that has one of our topics and does not decode.
    """
    wanted = {bytes(address) for address in addresses}
    events = []
    for log in logs:
        if wanted and address_of(log["address"]) not in wanted:
            continue
        event = decode_event(
            log["topics"],
            bytes(log["data"]),
            block=log["blockNumber"],
            log_index=log["logIndex"],
            transaction=bytes(log["transactionHash"]),
        )
        if event is not None:
            events.append(event)
    return events
