"""What an audit says: what it verified, what it could not recompute, what diverges, and where that is.

Divergence   something stored, agreed or paid is not what it must be: the audit fails
Tally        a part of the audit: how many of what were verified, and the seconds that it took
ClientAccount  what became of a client's records: rewards and average delay, computed again
Explained    why a record earned what it did: the scoring rule's parts, computed again
ExplainedSettlement  why a client kept what it was credited, where pay vests
NodeAnswers  how far a node was followed over the network
AuditReport  all of it; `lines` is for people, `to_json()` for programs
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from node.audit.arithmetic import Arithmetic

_WEI: Final = Decimal(10**18)
WHOLE: Final = "directory"
"""Names what lies beside the stores."""


class Part(StrEnum):
    """What a divergence is about."""

    GENESIS = "genesis document"
    BUNDLE = "bundle"
    STORE = "store file"
    HEADER = "header"
    COMMIT = "commit"
    LAST_COMMIT = "last commit"
    TRANSACTIONS = "transaction list"
    EVIDENCE = "evidence"
    OUTCOME = "outcome"
    VOTE = "last vote"
    HEAD = "head"
    VALIDATORS = "validators"
    ANSWER = "answer"
    EXECUTION = "app hash"
    BLOCK = "block header"
    TRANSACTION = "transaction"
    RECEIPT = "receipt"
    INDEX = "index entry"
    STATE = "state"
    META = "store's own entry"
    RECORD = "record"
    REFUSAL = "refused record"
    BLOB = "blob"
    HOLD = "hold"
    JOB_FILE = "job file"
    SELECTION = "selection"
    INPUTS = "inputs"
    GRAM = "gram"
    THETAS = "thetas"
    AGGREGATE = "aggregate"
    MODEL = "model"
    REFERENCES = "references"
    HISTORY = "history"
    VESTING = "vesting"
    ALLOCATION = "allocation"
    ATTESTATION = "attestation"
    REWARD = "reward"
    ESCROW = "escrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """One thing that is not what it must be.

    `store` names the store ("validator 2 engine", "edge 3 blobs", ...). `height` is the engine's height, `block` the
    number of the ledger's block (the height of records and rounds); `job`, `round` and `client` where they apply.
    """

    store: str
    part: Part
    expected: str
    found: str
    height: int | None = None
    block: int | None = None
    job: int | None = None
    round: int | None = None
    client: int | None = None

    def line(self) -> str:
        """Say it in one line."""
        places = (
            ("height", self.height),
            ("block", self.block),
            ("job", self.job),
            ("round", self.round),
            ("client", self.client),
        )
        where = ", ".join([self.store, *(f"{name} {number}" for name, number in places if number is not None)])
        return f"{where}: {self.part}: expected {self.expected}, found {self.found}"

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return {
            "store": self.store,
            "height": self.height,
            "block": self.block,
            "job": self.job,
            "round": self.round,
            "client": self.client,
            "part": str(self.part),
            "expected": self.expected,
            "found": self.found,
        }

    @property
    def order(self) -> tuple[bool, int, bool]:
        """Sort by height; what has no height damages everything and comes first, the genesis document before all."""
        return self.height is not None, self.height or 0, self.part is not Part.GENESIS


@dataclass(slots=True)
class Tally:
    """What one part of the audit verified: names and numbers, in the order in which they were counted first."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, what: str, number: int = 1) -> None:
        """Count `number` more of `what`."""
        self.counts[what] = self.counts.get(what, 0) + number

    def line(self) -> str:
        """Say it in one line."""
        counted = ", ".join(f"{number:,} {what}" for what, number in self.counts.items()) or "nothing to verify"
        return f"{self.name}: {counted} ({self.seconds:.2f} s)"


@dataclass(frozen=True, slots=True)
class ClientAccount:
    """What became of a client's records in one job; the reward in wei, `delay` as RULES.md defines the average."""

    job: int
    client: int
    records: int
    consumed: int
    reward_wei: int
    delay: Fraction | None

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON has them; the delay as an exact fraction."""
        return {
            "job": self.job,
            "client": self.client,
            "records": self.records,
            "consumed": self.consumed,
            "reward_wei": str(self.reward_wei),
            "average_delay": None if self.delay is None else str(self.delay),
        }


@dataclass(frozen=True, slots=True)
class ExplainedSettlement:
    """Why a client kept, or lost, what a round had credited it, where pay vests.

    `judge`: the round by whose records it was settled. `remembered`: what the scoring rule remembered of the client
    then.
    """

    job: int
    round: int
    client: int
    judge: int
    amount_wei: int
    stands: bool
    remembered: tuple[int, ...]

    def line(self) -> str:
        """Say it in one line."""
        known = ", ".join(f"{value:,}" for value in self.remembered) or "nothing"
        record = f"its record after round {self.judge} ({known})"
        fate = "stands: released" if self.stands else "has fallen: forfeited to the sponsor"
        what = f"job {self.job} round {self.round} client {self.client}: {self.amount_wei:,} wei were held"
        return f"{what}; {record} {fate}"

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return asdict(self) | {"amount_wei": str(self.amount_wei), "remembered": list(self.remembered)}


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a record of a round earned what it did: its theta in ppb, and the scoring rule's parts by name, in its order.

    `beside`: the version whose references it was held beside, None under a rule that reads none.
    """

    job: int
    round: int
    client: int
    base: int
    beside: int | None
    theta_ppb: int
    parts: Mapping[str, int]

    def line(self) -> str:
        """Say it in one line; parts in ppb, as the rule gives them."""
        judged = "" if self.beside is None else f", beside references of version {self.beside}"
        parts = "".join(f", {name} {value:,}" for name, value in self.parts.items())
        return (
            f"job {self.job} round {self.round} client {self.client}: base {self.base}{judged}:"
            f" theta {self.theta_ppb:,}{parts}"
        )

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return {
            "job": self.job,
            "round": self.round,
            "client": self.client,
            "base": self.base,
            "beside": self.beside,
            "theta_ppb": self.theta_ppb,
            "parts": dict(self.parts),
        }


@dataclass(frozen=True, slots=True)
class NodeAnswers:
    """What became of asking one node: `height` is the last one that was verified, of the `decided` that it claims.

    `silent` says why it answers no more, "" for one that answered to the end.
    """

    url: str
    height: int
    decided: int
    silent: str

    @property
    def complete(self) -> bool:
        """Whether everything up to where it stood is verified."""
        return not self.silent and self.height == self.decided

    def line(self) -> str:
        """Say it in one line."""
        if self.silent:
            return f"{self.url}: compared up to height {self.height}, then no answer: {self.silent}"
        return f"{self.url}: compared up to height {self.height} of {self.decided}"

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return {"url": self.url, "height": self.height, "decided": self.decided, "silent": self.silent or None}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The outcome of an audit: of `directory`, or of `nodes` over the network.

    `trusted` tells whether the caller named the genesis hash: without one the audit shows only that the directory
    agrees with itself. `head` is the hash of the newest verified header (SHA-256 Merkle root, 32 bytes), `height` its
    height. `explained` has an entry for each record of a round that was computed again, `arithmetic` one for each
    such round. `remarks` are true statements
    that leave the verdict alone: what was only checked by signature, what the next header will commit to, members whose
    false statements the rules outvoted.
    """

    directory: str
    nodes: tuple[NodeAnswers, ...] = ()
    genesis_hash: bytes
    trusted: bool
    head: bytes
    height: int
    tallies: tuple[Tally, ...]
    clients: tuple[ClientAccount, ...]
    explained: tuple[Explained, ...] = ()
    settled: tuple[ExplainedSettlement, ...] = ()
    arithmetic: tuple[Arithmetic, ...] = ()
    remarks: tuple[str, ...]
    divergences: tuple[Divergence, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing diverges, and the end of a chain was reached."""
        return not self.divergences and not self.unfinished

    @property
    def unfinished(self) -> bool:
        """Whether no node answered up to the height at which it stood; a silent one among others changes nothing."""
        return bool(self.nodes) and not any(node.complete for node in self.nodes)

    @property
    def first(self) -> Divergence | None:
        """The divergence at the lowest height, None if there is none."""
        return min(self.divergences, key=lambda divergence: divergence.order, default=None)

    @property
    def verdict(self) -> str:
        """The verdict in one line."""
        if self.first is not None:
            return f"DIVERGES: {self.first.line()}"
        if self.unfinished:
            return f"UNFINISHED: no node answered to its end; what follows from genesis ends at height {self.height}"
        if self.trusted:
            return f"OK: everything follows from genesis 0x{self.genesis_hash.hex()}"
        return f"OK, self-consistent only: nobody vouched for genesis 0x{self.genesis_hash.hex()}; name it by --genesis"

    @property
    def _paid_clients(self) -> int:
        return len({account.client for account in self.clients if account.reward_wei})

    @property
    def lines(self) -> tuple[str, ...]:
        """What was verified, what is to be known about it, each further divergence, and the verdict last."""
        others = [divergence for divergence in self.divergences if divergence is not self.first]
        return (
            *(tally.line() for tally in self.tallies),
            *(node.line() for node in self.nodes),
            f"head: height {self.height}, 0x{self.head.hex()}" if self.head else "head: no height is decided yet",
            f"paid: {Decimal(sum(c.reward_wei for c in self.clients)) / _WEI:f} tokens to {self._paid_clients} clients",
            *(f"note: {remark}" for remark in self.remarks),
            *(f"also: {divergence.line()}" for divergence in others),
            self.verdict,
        )

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON has it."""
        return {
            "ok": self.ok,
            "trusted": self.trusted,
            "directory": self.directory or None,
            "nodes": [node.to_json() for node in self.nodes],
            "genesis_hash": "0x" + self.genesis_hash.hex(),
            "head": {"height": self.height, "hash": "0x" + self.head.hex()},
            "verified": {tally.name: {**tally.counts, "seconds": round(tally.seconds, 3)} for tally in self.tallies},
            "clients": [account.to_json() for account in self.clients],
            "remarks": list(self.remarks),
            "first": None if self.first is None else self.first.to_json(),
            "divergences": [divergence.to_json() for divergence in self.divergences],
        }


def in_order(divergences: Iterable[Divergence]) -> tuple[Divergence, ...]:
    """Sort divergences by height, each place once."""
    unique: Mapping[Divergence, None] = dict.fromkeys(divergences)
    return tuple(sorted(unique, key=lambda divergence: divergence.order))
