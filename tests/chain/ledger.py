"""One replica with members and deterministic keys, driven height by height: what the tests of this room stand on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from chain.application import Application, Finalized, Misbehavior, Timestamp, TxResult
from chain.crypto.contexts import record_context
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme, SigningKey
from chain.execution.verdicts import Code
from chain.genesis import Genesis, Hex, MemberEntry
from chain.storage import Store
from chain.transaction import Fields, sign_transaction
from contracts.addresses import COUNCIL, LEDGER, REGISTRY, TOKEN
from contracts.bindings import Ledger, Role, Token
from contracts.digests import Attestation, Part, name32
from contracts.records import Record, SignedRecord, encode_batch
from contracts.terms import JobTerms

GAS = 60_000_000
START = 1_700_000_000
DIMENSION = 10
BASE_REWARD = 10**18
EDGES, CLIENTS = 4, 5

TERMS = JobTerms(
    dimension=DIMENSION,
    fraction_bits=12,
    shift=4,
    norm_bound_squared=2**40,
    phi=3,
    max_wait=60,
    base_reward=BASE_REWARD,
    rules_version=1,
    scoring=name32("cosine"),
    aggregation=name32("literal"),
    staleness=name32("constant"),
    max_staleness=2,
    record_deadline=120,
    attestation_timeout=300,
    records_per_base=1,
    edge_set=1,
    job_file=keccak256(b"job file"),
    model=keccak256(b"model 0"),
)


@cache
def key(label: str, scheme: Scheme = Scheme.ML_DSA_65) -> SigningKey:
    """The key of a label; equal labels give equal keys."""
    return SigningKey.from_seed(scheme, keccak256(label.encode()))


GOVERNOR = key("governor")
SPONSOR = key("sponsor")
STRANGER = key("stranger")
DEPLOYER = key("deployer")


def edge(number: int) -> SigningKey:
    """The key of an edge server, which has the member id `number` (1 to 4)."""
    return key(f"edge {number}")


def client(number: int) -> SigningKey:
    """The key of a client, which has the member id `EDGES + number`; the last one signs with ML-DSA-65."""
    return key(f"client {number}", Scheme.ML_DSA_65 if number == CLIENTS else Scheme.ML_DSA_44)


def client_id(number: int) -> int:
    """The member id of a client (1 to 5)."""
    return EDGES + number


def genesis(**changes: Any) -> Genesis:
    """The document that most tests use."""
    members = (
        *(MemberEntry(role=Role.EDGE_SERVER, scheme=65, key=Hex(edge(n + 1).public_key)) for n in range(EDGES)),
        *(
            MemberEntry(role=Role.CLIENT, scheme=client(n + 1).scheme, key=Hex(client(n + 1).public_key))
            for n in range(CLIENTS)
        ),
        MemberEntry(role=Role.SPONSOR, scheme=65, key=Hex(SPONSOR.public_key)),
    )
    values: dict[str, Any] = {
        "time": START,
        "governor": Hex(GOVERNOR.address),
        "deployers": (Hex(DEPLOYER.address),),
        "members": members,
        "edge_sets": (tuple(range(1, EDGES + 1)),),
        "tokens": {"0x" + SPONSOR.address.hex(): str(10_000 * BASE_REWARD)},
    }
    return Genesis(**(values | changes))


@dataclass(repr=False)  # a document is long, and hypothesis prints its arguments
class Replica:
    """An application and what a test knows of it."""

    store: Store = field(default_factory=Store.memory)
    document: Genesis = field(default_factory=genesis)
    time: int = START

    def __post_init__(self) -> None:
        self.app = Application(self.store)
        self.genesis_hash = self.app.init_chain(self.document)
        self.reader = self.app.reader()
        self.nonces: dict[bytes, int] = {}
        self.history: list[tuple[int, tuple[bytes, ...], tuple[Misbehavior, ...]]] = []
        self.results: list[Finalized] = []

    def __repr__(self) -> str:
        return f"Replica(height={self.app.info().height})"

    def sign(self, sender: SigningKey, to: bytes = b"", data: bytes = b"", **changes: Any) -> bytes:
        """Sign a transaction with the sender's next nonce; the whole key goes along unless state keeps it."""
        reference = changes.pop("reference", self.reader.public_key(sender.address) is not None)
        genesis_hash = changes.pop("genesis_hash", self.genesis_hash)
        nonce = changes.pop("nonce", None)
        if nonce is None:
            nonce = self.nonces.get(sender.address, self.reader.nonce(sender.address))
            self.nonces[sender.address] = nonce + 1
        values = {"chain_id": self.document.chain_id, "nonce": nonce, "gas": GAS, "to": to, "data": data} | changes
        return sign_transaction(sender, Fields(**values), genesis_hash, reference=reference)

    def finalize(self, *transactions: bytes, seconds: int = 1, misbehavior: Sequence[Misbehavior] = ()) -> Finalized:
        """Execute the next height without committing it."""
        time = Timestamp(self.time + seconds)
        return self.app.finalize_block(self.app.info().height + 1, time, transactions, misbehavior)

    def height(self, *transactions: bytes, seconds: int = 1, misbehavior: Sequence[Misbehavior] = ()) -> Finalized:
        """Execute and commit the next height, `seconds` after the one before."""
        finalized = self.finalize(*transactions, seconds=seconds, misbehavior=misbehavior)
        self.history.append((seconds, transactions, tuple(misbehavior)))
        self.results.append(finalized)
        self.time += seconds
        self.app.commit()
        self.nonces.clear()
        return finalized

    def twin(self) -> "Replica":
        """Another replica that executed the same heights and remembers nothing of this one's pool."""
        other = Replica(document=self.document)
        for seconds, transactions, misbehavior in self.history:
            other.height(*transactions, seconds=seconds, misbehavior=misbehavior)
        return other

    def send(self, sender: SigningKey, to: bytes, data: bytes, *, seconds: int = 1, **changes: Any) -> TxResult:
        """Make a height of one transaction that must succeed."""
        (result,) = self.height(self.sign(sender, to, data, **changes), seconds=seconds).results
        assert result.code is Code.OK, result.reason
        return result

    def open_job(self, *, budget: int = 100 * BASE_REWARD) -> int:
        """Create a job and have three edge servers acknowledge it."""
        self.send(SPONSOR, TOKEN, Token.encode_approve(LEDGER, budget))
        self.send(SPONSOR, LEDGER, Ledger.encode_create_job(TERMS, budget))
        self.height(*(self.sign(edge(n), LEDGER, Ledger.encode_acknowledge_job(1)) for n in (1, 2, 3)))
        return 1

    def void_round(self, number: int, spent: int) -> None:
        """Let a round end without a quorum, so that the version rises; `spent` as attested."""
        parts = (Part(name32("thetas"), keccak256(b"thetas")), Part(name32("model"), keccak256(b"model")))
        attestation = Attestation(1, number, 0, 1, spent, parts)
        self.send(edge(1), LEDGER, Ledger.encode_attest(attestation))
        self.send(edge(2), LEDGER, Ledger.encode_void_round(1, number), seconds=TERMS.attestation_timeout + 1)

    def record(self, number: int, *, signer: SigningKey | None = None, **changes: Any) -> SignedRecord:
        """A signed record of client `number` for job 1, valid unless `changes` say otherwise."""
        values = {
            "job": 1,
            "client": client_id(number),
            "base": 0,
            "counter": 0,
            "digest": keccak256(b"update %d" % number),
            "length": 96 + 2 * DIMENSION,
            "expiry": self.time + 1_000,
        } | changes
        record = Record(**values)
        signing = signer or client(number)
        signature = signing.sign(record.message(LEDGER), record_context(self.genesis_hash))
        return SignedRecord(record, signing.scheme, signing.address, signature)

    def batch(self, *records: SignedRecord, sender: SigningKey | None = None, **changes: Any) -> bytes:
        """Sign a transaction with a batch of records."""
        data = Ledger.encode_record_batch(1, encode_batch(records))
        return self.sign(sender or edge(1), LEDGER, data, **changes)

    def ledger_word(self, slot: int) -> int:
        """A word of the Ledger's committed storage."""
        return self.reader.storage(LEDGER, slot)


def codes(finalized: Finalized) -> list[Code]:
    """The codes of a height's results."""
    return [result.code for result in finalized.results]


def contract_addresses() -> Sequence[bytes]:
    """Where genesis puts the contracts."""
    return (REGISTRY, TOKEN, LEDGER, COUNCIL)
