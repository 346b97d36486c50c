"""A client's receipt: its record, the block that holds it, later its reward, each proven by a commit, in one file.

    scope                                     which record (`node.audit.scope`)
    genesis                                   the genesis document
    header, commit, validators of some heights: the first, those that commit to the blocks, and those between that it
                                              takes to follow the validators
    block, receipt, receipt, ... of each block that says something of the record

It is verified from the genesis hash on by a light client that skips (`chain.light.skipping`), without executing
anything: more than two thirds of the validators signed a header whose app hash is the block's hash; the block names its
receipts by the root of their trie; they hold the events. That the quorum was right is what an audit of a bundle shows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from chain import light
from chain.errors import ChainError
from chain.execution.blocks import Header, Receipt, decode_header
from chain.genesis import Genesis, decode_genesis
from chain.light import LightBlock
from chain.light import errors as light_errors
from chain.validators import genesis_time, genesis_validators
from contracts import events as kinds
from contracts.addresses import LEDGER, VESTING
from contracts.events import Event, decode_event
from node.audit import checks
from node.audit.container import Container, Key, Kind, receipt_key
from node.audit.errors import FaultError, NotAuditableError
from node.audit.replay import Replays
from node.audit.report import Divergence, Part
from node.audit.scope import ReceiptScope, decode_scope

NAME: Final = "receipt"
POLICY_NS: Final = 1 << 62
"""How long a set of validators is believed: for ever, since whoever verifies a receipt knows no time but that in it."""
_WEI: Final = Decimal(10**18)
_CONTRACTS: Final = frozenset({LEDGER, VESTING})
OF_HEIGHT: Final = (Kind.HEADER, Kind.COMMIT, Kind.VALIDATORS)
Reward = kinds.Credited | kinds.Vested | kinds.Forfeited


def form(container: Container) -> Iterator[tuple[Key, ...]]:
    """Yield the entries of a receipt in their order (`node.audit.container.Form`)."""
    yield (Key(Kind.SCOPE),)
    scope = _scope(container)
    yield (Key(Kind.GENESIS),)
    for height in scope.heights:
        for kind in OF_HEIGHT:
            yield (Key(kind, height),)
    for number, count in scope.blocks:
        yield (Key(Kind.BLOCK, number),)
        for index in range(count):
            yield (receipt_key(number, index),)


def _scope(container: Container) -> ReceiptScope:
    scope = decode_scope(container[Key(Kind.SCOPE)])
    if not isinstance(scope, ReceiptScope):
        raise FaultError(Part.BUNDLE, "the scope of a receipt", "that of a bundle")
    return scope


def policy(genesis: Genesis) -> light.TrustPolicy:
    """Return what whoever verifies a receipt believes."""
    return light.TrustPolicy(chain_id=genesis.name, trusting_period_ns=POLICY_NS)


def events_of(number: int, receipts: Sequence[Receipt]) -> Iterator[Event]:
    """Yield the events of the Ledger and of Vesting in a block's receipts."""
    logs = (log for receipt in receipts for log in receipt.logs)
    for index, log in enumerate(logs):
        if log.address in _CONTRACTS:
            event = decode_event(log.topics, log.data, block=number, log_index=index, transaction=b"")
            if event is not None:
                yield event


def told_of(events: Iterable[Event], scope: ReceiptScope) -> "list[kinds.Recorded | Reward]":
    """Return the events that say something of the record: that it is there, and what its round paid its client."""
    found: list[kinds.Recorded | Reward] = []
    for event in events:
        match event:
            case kinds.Recorded() if (event.job, event.client, event.sequence) == (
                scope.job,
                scope.client,
                scope.sequence,
            ):
                found.append(event)
            case kinds.Credited() | kinds.Vested() | kinds.Forfeited() if (event.job, event.client, event.round) == (
                scope.job,
                scope.client,
                scope.round,
            ):
                found.append(event)
            case _:
                pass  # of others
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptReport:
    """What a receipt proves, or the first thing in it that does not hold.

    `times`: of each block, Unix seconds. `signatures`: those of validators that were verified.
    """

    path: Path
    genesis_hash: bytes = b""
    trusted: bool = False
    scope: ReceiptScope | None = None
    record: kinds.Recorded | None = None
    rewards: tuple[Reward, ...] = ()
    times: Mapping[int, int]
    signatures: int = 0
    first: Divergence | None = None

    @property
    def ok(self) -> bool:
        """Whether everything in it holds."""
        return self.first is None

    @property
    def verdict(self) -> str:
        """The verdict in one line."""
        if self.first is not None:
            return f"DIVERGES: {self.first.line()}"
        if self.trusted:
            return f"OK: everything follows from genesis 0x{self.genesis_hash.hex()}"
        return f"OK, self-consistent only: nobody vouched for genesis 0x{self.genesis_hash.hex()}; name it by --genesis"

    @property
    def lines(self) -> tuple[str, ...]:
        """What it proves, and the verdict last."""
        record, scope = self.record, self.scope
        if record is None or scope is None or not self.ok:
            return (self.verdict,)
        return (
            self._record(record),
            f"commit: block {record.block} (time {self.times[record.block]})",
            *(f"reward: {_said(one)}, block {one.block} (time {self.times[one.block]})" for one in self.rewards),
            *(() if self.rewards else ("reward: none yet in this receipt",)),
            f"proof: {len(scope.heights)} headers, {self.signatures} signatures of validators",
            self.verdict,
        )

    @staticmethod
    def _record(record: kinds.Recorded) -> str:
        verified = "verified" if record.verified else "did not verify"
        return (
            f"record: number {record.sequence} of job {record.job}, by client {record.client}: base {record.base},"
            f" counter {record.counter}, update {record.digest.hex()}, {record.length:,} bytes; the ledger {verified}"
            " the client's signature"
        )

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON has it."""
        record = self.record if self.ok else None
        return {
            "ok": self.ok,
            "trusted": self.trusted,
            "receipt": str(self.path),
            "genesis_hash": "0x" + self.genesis_hash.hex(),
            "record": None
            if record is None
            else {
                "job": record.job,
                "sequence": record.sequence,
                "client": record.client,
                "base": record.base,
                "counter": record.counter,
                "digest": record.digest.hex(),
                "length": record.length,
                "verified": record.verified,
                "block": record.block,
                "time": self.times[record.block],
            },
            "rewards": [_reward_json(one) | {"time": self.times[one.block]} for one in self.rewards if self.ok],
            "signatures": self.signatures,
            "first": None if self.first is None else self.first.to_json(),
        }


def _said(event: Reward) -> str:
    match event:
        case kinds.Credited():
            return f"round {event.round} credits {Decimal(event.reward) / _WEI:f} tokens for theta {event.theta:,} ppb"
        case kinds.Vested():
            return f"round {event.round}: {Decimal(event.amount) / _WEI:f} tokens that were held are released"
        case kinds.Forfeited():
            return f"round {event.round}: {Decimal(event.amount) / _WEI:f} tokens that were held are forfeited"


def _reward_json(event: Reward) -> dict[str, object]:
    amount, theta = (event.reward, event.theta) if isinstance(event, kinds.Credited) else (event.amount, None)
    what = type(event).__name__.lower()
    return {"what": what, "round": event.round, "wei": str(amount), "theta_ppb": theta, "block": event.block}


class _Reading:
    """One verification; `part`, `height` and `block` name what is read, for the divergence that it may end with."""

    def __init__(self, container: Container, genesis_hash: bytes | None) -> None:
        self._container, self._wanted = container, genesis_hash
        self.height: int | None = None
        self.block: int | None = None
        self.part = Part.BUNDLE
        self.genesis_hash = b""
        self.scope: ReceiptScope | None = None
        self.signatures = 0

    def read(self) -> tuple[tuple[kinds.Recorded, ...], tuple[Reward, ...], dict[int, int]]:
        """Verify all of it; raises FaultError or ChainError."""
        self._container.index(form)
        scope = self.scope = _scope(self._container)
        genesis = self._genesis()
        app_hashes = self._heights(genesis, scope)
        told: list[kinds.Recorded | Reward] = []
        times: dict[int, int] = {}
        for number, count in scope.blocks:
            header, receipts = self._block(number, count, app_hashes)
            found = told_of(events_of(number, receipts), scope)
            if not found:
                self._fault("an event about the record", "none")
            told += found
            times[number] = header.timestamp
        self.block = self.height = None
        recorded = tuple(event for event in told if isinstance(event, kinds.Recorded))
        if len(recorded) != 1 or recorded[0] is not told[0]:
            expected = (
                f"record {scope.sequence} of job {scope.job} by client {scope.client}, before anything else of it"
            )
            raise FaultError(Part.RECORD, expected, f"{len(recorded)} such records")
        return recorded, tuple(event for event in told if not isinstance(event, kinds.Recorded)), times

    def _genesis(self) -> Genesis:
        self.part = Part.GENESIS
        raw = self._container[Key(Kind.GENESIS)]
        genesis = decode_genesis(raw)
        self.genesis_hash = Replays().begin(genesis).replay.genesis_hash
        if self._wanted not in {None, self.genesis_hash}:
            self._fault(f"hash 0x{(self._wanted or b'').hex()}", f"0x{self.genesis_hash.hex()}")
        if genesis.encode() != raw:
            self._fault("canonical JSON (sorted keys, no spaces)", "another form of the same document")
        return genesis

    def _heights(self, genesis: Genesis, scope: ReceiptScope) -> dict[bytes, int]:
        """Follow the headers from genesis; return which app hash each of them proves, with its height."""
        trusted: LightBlock | None = None
        proven: dict[bytes, int] = {}
        for height in scope.heights:
            self.height, block = height, self._light_block(height)
            self.part = Part.COMMIT
            if trusted is None:
                self._first(genesis, block)
            else:
                light.verify_skip(trusted, block, policy(genesis), block.header.time)
            self.signatures += sum(slot.flag != light.BlockIdFlag.ABSENT for slot in block.commit.signatures)
            proven.setdefault(block.header.app_hash, height)
            trusted = block
        self.height = None
        return proven

    def _first(self, genesis: Genesis, block: LightBlock) -> None:
        header = block.header
        light.verify_first(
            header,
            block.commit,
            genesis_validators(genesis),
            genesis.name,
            genesis_time=genesis_time(genesis),
            app_hash=self.genesis_hash,
        )
        if block.validators != genesis_validators(genesis):
            raise FaultError(Part.VALIDATORS, "those of the genesis document", "others")

    def _light_block(self, height: int) -> LightBlock:
        header, commit, validators = (self._container[Key(kind, height)] for kind in OF_HEIGHT)
        self.part = Part.HEADER
        found = light.decode_header(header)
        self.part = Part.COMMIT
        voted = light.decode_commit(commit)
        self.part = Part.VALIDATORS
        those = light.decode_validators(validators)
        if found.height != height:
            raise FaultError(Part.HEADER, f"height {height}", f"height {found.height}")
        if light.header_hash(found) != voted.block_id.hash:
            named = f"hash 0x{voted.block_id.hash.hex()}, which the commit names"
            raise FaultError(Part.HEADER, named, f"0x{light.header_hash(found).hex()}")
        if light.validators_hash(those) != found.validators_hash:
            named = f"hash 0x{found.validators_hash.hex()}, which the header names"
            raise FaultError(Part.VALIDATORS, named, f"0x{light.validators_hash(those).hex()}")
        return LightBlock(found, voted, those)

    def _block(self, number: int, count: int, proven: Mapping[bytes, int]) -> tuple[Header, tuple[Receipt, ...]]:
        self.block, self.part = number, Part.BLOCK
        header = decode_header(self._container[Key(Kind.BLOCK, number)])
        if header.encode() != self._container[Key(Kind.BLOCK, number)]:
            self._fault("the canonical encoding of a header", "another one")
        if header.number != number:
            self._fault(f"number {number}", f"{header.number}")
        if header.hash not in proven:
            self._fault("a hash that one of the headers names", f"0x{header.hash.hex()}")
        self.height, self.part = header.engine_height, Part.RECEIPT
        raws = [self._container[receipt_key(number, index)] for index in range(count)]
        return header, checks.receipts(raws, header.receipts_root)

    def _fault(self, expected: str, found: str) -> None:
        raise FaultError(self.part, expected, found)


def audit_receipt(path: Path, *, genesis_hash: bytes | None = None) -> ReceiptReport:
    """Verify a receipt; needs no network and no other file.

    Args:
        path: the file.
        genesis_hash: the hash of block 0 (32 bytes) that the caller trusts; without it the report says that the receipt
            is self-consistent only.

    Raises:
        NotAuditableError: the file is no receipt of this version.

    """
    if not path.is_file():
        raise NotAuditableError(path, "is no file")
    with Container(path) as container:
        reading = _Reading(container, genesis_hash)
        trusted = genesis_hash is not None
        try:
            (record,), rewards, times = reading.read()
        except (FaultError, ChainError) as error:
            first = _divergence(reading, error)
            return ReceiptReport(path=path, genesis_hash=reading.genesis_hash, trusted=trusted, times={}, first=first)
        return ReceiptReport(
            path=path,
            genesis_hash=reading.genesis_hash,
            trusted=trusted,
            scope=reading.scope,
            record=record,
            rewards=rewards,
            times=times,
            signatures=reading.signatures,
        )


def _divergence(reading: _Reading, error: FaultError | ChainError) -> Divergence:
    match error:
        case FaultError():
            part, expected, found = error.part, error.expected, error.found
        case light_errors.LightError():
            part, expected, found = reading.part, "what follows from the heights before", str(error)
        case _:
            part, expected, found = reading.part, "a canonical record", str(error)
    return Divergence(store=NAME, part=part, expected=expected, found=found, height=reading.height, block=reading.block)
