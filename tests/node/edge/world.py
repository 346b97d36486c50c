"""Four edge servers on one ledger in one process, stepped by hand; no HTTP, no torch.

The ledger is any EVM chain without our precompile (`PlainChain` for most tests, eth-tester, anvil): records carry
ML-DSA signatures that the edge servers verify, accounts sign with secp256k1. Time stands still unless a block is made
(a second each) or a test lets it pass.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from eth_account import Account
from eth_tester import EthereumTester, PyEVMBackend
from web3 import EthereumTesterProvider, Web3
from web3.types import Wei

from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme, SigningKey
from contracts import bindings, events, records
from contracts.addresses import ZERO
from contracts.artifacts import initcode
from contracts.digests import Attestation
from contracts.records import Record, SignedRecord, UpdateHeader, WorkReport
from contracts.terms import JobTerms
from node.blobs import BlobStore
from node.edge.peers import DirectoryPeer
from node.edge.references import Roots
from node.edge.server import Answer, EdgeServer, JobDesk
from node.jobs import AllocationSpec, JobFile, ModelSpec, Numerics, ReferencesSpec, RoundSpec, Rules, VestingSpec
from node.rounds.attestation import encode_model
from node.rounds.log import JobLog, RecordEntry, RoundOutcome
from node.sender import AccountSigner, Sender

GENESIS_HASH = bytes(range(32))
SERVERS = 4
CLIENTS = 6
FEE = 10**11
GAS = 12_000_000
DIMENSION = 6
TOKEN = 10**18
FRACTION_BITS, SHIFT = 8, 4
NORM_BOUND = 100.0


class Chain(Protocol):
    """An EVM chain that this process may play with."""

    w3: Web3

    def fund(self, address: str) -> None:
        """Give an account coins for gas."""

    def jump(self, timestamp: int) -> None:
        """Let the next block carry this time."""


class PyEVMChain:
    """eth-tester: a block for every transaction."""

    def __init__(self) -> None:
        self.tester = EthereumTester(PyEVMBackend())
        self.w3 = Web3(EthereumTesterProvider(self.tester))

    def fund(self, address: str) -> None:
        rich = self.w3.eth.accounts[0]
        self.w3.eth.send_transaction({"from": rich, "to": address, "value": Wei(1000 * TOKEN), "gas": 21_000})

    def jump(self, timestamp: int) -> None:
        inner = self.tester.backend.chain
        inner.header = inner.header.copy(timestamp=timestamp)


class HandClock:
    """Time that only tests move; block times and this clock keep together."""

    def __init__(self, now: float) -> None:
        self.time = float(now)

    def now(self) -> float:
        return self.time

    def now_ns(self) -> int:
        return int(self.time * 10**9)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)
        await asyncio.sleep(0)  # noqa: TID251 - lets others run, waits for nothing

    def wait(self, seconds: float) -> None:
        self.time += max(0.0, seconds)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part in a chain's world, and where the contracts lie."""

    governor: Any
    edges: tuple[Any, ...]
    sponsor: Any
    stranger: Any
    clients: tuple[SigningKey, ...]
    registry: bytes
    token: bytes
    ledger: bytes

    @property
    def edge_members(self) -> tuple[int, ...]:
        return tuple(range(1, SERVERS + 1))

    @property
    def client_members(self) -> tuple[int, ...]:
        return tuple(range(SERVERS + 1, SERVERS + 1 + CLIENTS))


def client_key(number: int, scheme: Scheme = Scheme.ML_DSA_44) -> SigningKey:
    return SigningKey.from_seed(scheme, bytes([number]) * 32)


def cast_for(chain: Chain, *, ledger_version: int = 1) -> Cast:
    """Deploy the contracts, admit everybody, give the sponsor tokens."""
    accounts = [Account.from_key(bytes([number]) * 32) for number in range(1, SERVERS + 4)]
    governor, sponsor, stranger, *edges = accounts
    for account in accounts:
        chain.fund(account.address)
    own = address_of(governor)
    registry = deploy(chain, governor, initcode("Registry", own, ZERO))
    token = deploy(chain, governor, initcode("Token", registry))
    ledger = deploy(chain, governor, initcode("Ledger", registry, token, ZERO, version=ledger_version))
    clients = tuple(client_key(number) for number in range(1, CLIENTS + 1))
    admit = bindings.Registry.encode_admit
    for edge in edges:
        call(chain, governor, registry, admit(bindings.Role.EDGE_SERVER, 0, address_of(edge), address_of(edge)))
    for key in clients:
        call(chain, governor, registry, admit(bindings.Role.CLIENT, 44, key.public_key, key.address))
    call(chain, governor, registry, admit(bindings.Role.SPONSOR, 0, address_of(sponsor), address_of(sponsor)))
    cast = Cast(governor, tuple(edges), sponsor, stranger, clients, registry, token, ledger)
    call(chain, governor, registry, bindings.Registry.encode_set_edge_set(cast.edge_members))
    call(chain, governor, token, bindings.Token.encode_mint(address_of(sponsor), 10**6 * TOKEN))
    call(chain, sponsor, token, bindings.Token.encode_approve(ledger, 10**6 * TOKEN))
    return cast


def address_of(account: Any) -> bytes:
    return bytes.fromhex(account.address[2:])


def deploy(chain: Chain, account: Any, code: bytes) -> bytes:
    receipt = transact(chain, account, None, code)
    return bytes.fromhex(receipt["contractAddress"][2:])


def call(chain: Chain, account: Any, to: bytes, data: bytes) -> Any:
    receipt = transact(chain, account, to, data)
    assert receipt["status"] == 1, reason_of(chain, account, to, data)
    return receipt


def transact(chain: Chain, account: Any, to: bytes | None, data: bytes) -> Any:
    w3 = chain.w3
    fields: dict[str, Any] = {
        "type": 2,
        "chainId": w3.eth.chain_id,
        "nonce": w3.eth.get_transaction_count(account.address),
        "maxPriorityFeePerGas": 0,
        "maxFeePerGas": FEE,
        "gas": GAS,
        "value": 0,
        "data": data,
    }
    raw = account.sign_transaction(fields if to is None else fields | {"to": to}).raw_transaction
    return w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw), timeout=20, poll_latency=0.01)


def reason_of(chain: Chain, account: Any, to: bytes, data: bytes) -> str:
    """Return why a call would revert now, "" if it would not."""
    request: Any = {"from": account.address, "to": Web3.to_checksum_address(to), "data": data, "gas": GAS}
    try:
        chain.w3.eth.call(request)
    except Exception as error:  # noqa: BLE001 - each provider has its own
        return str(error)
    return ""


def job_file(  # noqa: PLR0917 - a table of terms
    phi: int = 2,
    max_wait: int = 50,
    base_reward: int = 10,
    max_staleness: int = 2,
    record_deadline: int = 80,
    attestation_timeout: int = 100,
    records_per_base: int = 1,
    scoring: str = "cosine",
    samples: Mapping[str, int] | None = None,
    rules_version: int = 1,
    allocation: AllocationSpec | None = None,
    references: ReferencesSpec | None = None,
    vesting: VestingSpec | None = None,
) -> JobFile:
    return JobFile(
        title="a test",
        model=ModelSpec(name="softmax", features=2, classes=2, dimension=DIMENSION),
        numerics=Numerics(fraction_bits=FRACTION_BITS, shift=SHIFT, norm_bound=NORM_BOUND),
        round=RoundSpec(
            phi=phi,
            max_wait=max_wait,
            base_reward=base_reward,
            max_staleness=max_staleness,
            record_deadline=record_deadline,
            attestation_timeout=attestation_timeout,
            records_per_base=records_per_base,
        ),
        rules=Rules(scoring=scoring, version=rules_version),
        samples=dict(samples or {}),
        allocation=allocation,
        references=references,
        vesting=vesting,
    )


MODEL_0 = encode_model(np.zeros(DIMENSION, dtype=np.int32), FRACTION_BITS + SHIFT)


class SulkingPeer(DirectoryPeer):
    """An edge server's blobs, unless it keeps them to itself or is dead."""

    def __init__(self, member: int, store: BlobStore, silent: set[int]) -> None:
        super().__init__(member, store)
        self._silent = silent

    def fetch(self, digest: bytes, into: BlobStore) -> bool:
        return self.member not in self._silent and super().fetch(digest, into)


class HoldsAll(EdgeServer):
    """Says that it holds whatever is recorded."""

    @staticmethod
    def verdict(desk: JobDesk, entry: RecordEntry) -> bool | None:  # noqa: ARG004 - it does not look
        return True


class DeniesAll(EdgeServer):
    """Says of whatever is recorded that it is invalid."""

    @staticmethod
    def verdict(desk: JobDesk, entry: RecordEntry) -> bool | None:  # noqa: ARG004 - it does not look
        return False


@dataclass(frozen=True, slots=True)
class Update:
    """A signed record and its blob."""

    signed: SignedRecord
    blob: bytes

    @property
    def record(self) -> Record:
        return self.signed.record

    @property
    def digest(self) -> bytes:
        return self.signed.record.digest


class World:
    """Edge servers on a chain; `dead` ones take no steps and give no blobs, `silent` ones only give no blobs."""

    def __init__(
        self,
        chain: Chain,
        cast: Cast,
        directory: Path,
        kinds: Mapping[int, type[EdgeServer]],
        roots: Callable[[int, Path], Roots] | None = None,
    ) -> None:
        self.chain, self.cast, self.directory = chain, cast, directory
        self.roots = roots
        self.clock = HandClock(self.timestamp)
        self.dead: set[int] = set()
        self.silent: set[int] = set()
        self.stores = {member: BlobStore(directory / str(member)) for member in cast.edge_members}
        self.servers = {member: self.server(member, kinds.get(member, EdgeServer)) for member in cast.edge_members}
        self.ledger = bindings.Ledger(chain.w3, cast.ledger)
        self.job = 0
        self.file = job_file()

    # -- the chain and its time -------------------------------------------------------------------------------------

    @property
    def timestamp(self) -> int:
        return int(self.chain.w3.eth.get_block("latest")["timestamp"])

    def wait(self, seconds: int) -> None:
        """Let time pass without a block."""
        self.clock.time = max(self.clock.time, self.timestamp) + seconds
        self.chain.jump(int(self.clock.time))

    def to_ledger(self, account: Any, data: bytes) -> None:
        call(self.chain, account, self.cast.ledger, data)

    def refusal(self, account: Any, data: bytes) -> str:
        """Return the reason for which the Ledger reverts a call."""
        return reason_of(self.chain, account, self.cast.ledger, data)

    def govern(self, data: bytes) -> None:
        call(self.chain, self.cast.governor, self.cast.registry, data)

    def events(self, kind: type[events.Event]) -> list[Any]:
        head = self.chain.w3.eth.block_number
        return [event for event in self.ledger.events(1, head) if isinstance(event, kind)]

    # -- servers ----------------------------------------------------------------------------------------------------

    def server(self, member: int, kind: type[EdgeServer] = EdgeServer) -> EdgeServer:
        """Start an edge server on its store, as after a restart."""
        w3 = self.chain.w3
        signer = AccountSigner(self.cast.edges[member - 1], chain_id=w3.eth.chain_id, max_fee_per_gas=FEE)
        gone = _Either(self.dead, self.silent)
        return kind(
            member=member,
            w3=w3,
            ledger=bindings.Ledger(w3, self.cast.ledger),
            registry=bindings.Registry(w3, self.cast.registry),
            sender=Sender(w3, signer, self.clock),
            blobs=self.stores[member],
            peers=[SulkingPeer(other, store, gone) for other, store in self.stores.items() if other != member],
            genesis_hash=GENESIS_HASH,
            clock=self.clock,
            roots=None if self.roots is None else self.roots(member, self.directory / "sealed" / str(member)),
        )

    def restart(self, member: int, kind: type[EdgeServer] = EdgeServer) -> EdgeServer:
        self.stores[member] = BlobStore(self.directory / str(member))
        self.servers[member] = self.server(member, kind)
        return self.servers[member]

    def step(self, *members: int) -> None:
        """Let each server that lives (or those named) take one step."""
        for member, server in self.servers.items():
            if member not in self.dead and (not members or member in members):
                server.step()
                self.clock.time = max(self.clock.time, self.timestamp)

    def run(self, most: int = 40) -> None:
        """Step until nobody has anything left to do now."""
        for _ in range(most):
            before = self.chain.w3.eth.block_number
            self.step()
            self.clock.time += 0.3  # a missing blob may be asked for again
            if self.chain.w3.eth.block_number == before:
                return
        raise AssertionError(f"still busy after {most} steps")  # noqa: TRY003, EM102

    # -- jobs -------------------------------------------------------------------------------------------------------

    def propose(
        self, file: JobFile, *, budget: int = 100, model: bytes = MODEL_0, at: int = 1, **changes: Any
    ) -> JobTerms:
        """Create a job as its sponsor and leave its files with one server; `changes` falsify the terms."""
        self.file = file
        terms = dataclasses.replace(file.ledger_terms(model=records.blob_digest(model), edge_set=1), **changes)
        self.to_ledger(self.cast.sponsor, bindings.Ledger.encode_create_job(terms, budget * TOKEN))
        self.job = self.ledger.job_count()
        self.stores[at].put(file.encode())
        self.stores[at].put(model)
        return terms

    def open(self, *, budget: int = 100, **terms: Any) -> int:
        """Create a job and have the servers open it; return its number."""
        self.propose(job_file(**terms), budget=budget)
        self.run()
        assert self.ledger.job(self.job).status is bindings.JobStatus.OPEN
        return self.job

    def desk(self, member: int = 1) -> JobDesk:
        return self.servers[member].jobs[self.job]

    def log(self, member: int = 1) -> JobLog:
        return self.desk(member).log

    @property
    def outcomes(self) -> list[RoundOutcome]:
        """The decided rounds, as a server that lives sees them."""
        return self.log(next(member for member in self.servers if member not in self.dead)).outcomes

    @property
    def version(self) -> int:
        return self.ledger.job(self.job).version

    def statuses(self, member: int = 1) -> list[str]:
        return [entry.status.value for entry in self.log(member).records]

    # -- clients ----------------------------------------------------------------------------------------------------

    def update(
        self,
        client: int,
        values: Sequence[int] | None = None,
        *,
        base: int | None = None,
        counter: int = 0,
        key: SigningKey | None = None,
        header: Mapping[str, Any] | None = None,
        payload: bytes | None = None,
        report: WorkReport | None = None,
        **record: Any,
    ) -> Update:
        """Make the update of the n-th client (from 1), with a report if given; `header` and `record` falsify fields."""
        member = SERVERS + client
        base = self.version if base is None else base
        numbers = np.array(values or [client, 1, 1, 1, 1, 1 + base], dtype="<i2")
        fields: dict[str, Any] = {
            "fraction_bits": FRACTION_BITS,
            "genesis_hash": GENESIS_HASH,
            "ledger": self.cast.ledger,
            "job": self.job,
            "client": member,
            "base": base,
            "counter": counter,
            "dimension": DIMENSION,
        }
        head = UpdateHeader(**fields | dict(header or {}))
        first = head.encode() if report is None else head.reporting(report).encode()
        blob = first + (numbers.tobytes() if payload is None else payload)
        said = Record(
            job=self.job,
            client=member,
            base=base,
            counter=counter,
            digest=records.blob_digest(blob),
            length=len(blob),
            expiry=int(self.clock.now()) + 600,
        )
        return Update(self.sign(dataclasses.replace(said, **record), key or self.cast.clients[client - 1]), blob)

    def sign(self, record: Record, key: SigningKey) -> SignedRecord:
        message = record.message(self.cast.ledger)
        signature = key.sign(message, record_context(GENESIS_HASH))
        return SignedRecord(record=record, scheme=key.scheme, signer=key.address, signature=signature)

    def offer(self, update: Update | SignedRecord, member: int = 1) -> Answer:
        signed = update.signed if isinstance(update, Update) else update
        return self.servers[member].offer_record(signed.encode())

    def record(self, *updates: Update, member: int = SERVERS) -> None:
        """Bring records onto the ledger, past every edge server's checks."""
        batch = records.encode_batch(update.signed for update in updates)
        self.to_ledger(self.cast.edges[member - 1], bindings.Ledger.encode_record_batch(self.job, batch))
        self.step()

    def put(self, update: Update, member: int = 1) -> Answer:
        return self.servers[member].offer_blob(update.digest, update.blob)

    def deliver(self, *updates: Update, member: int = 1) -> None:
        """Bring honest records and their blobs to a server; stops before the rounds run."""
        for update in updates:
            assert self.offer(update, member).status == "queued"
        self.step(member)
        self.step(member)
        for update in updates:
            assert self.put(update, member).status == "held"

    def contribute(self, *clients: int, member: int = 1, **how: Any) -> list[Update]:
        """Let clients record and deliver an update each through one server; stops before the rounds run."""
        made = [self.update(client, **how) for client in clients]
        self.deliver(*made, member=member)
        return made

    def first_attestation(self, *clients: int) -> Attestation:
        """Let clients contribute and server 1, alone so far, attest the round; return what it said."""
        self.contribute(*clients)
        for member in itertools.islice(itertools.cycle((1, 2, 3)), 30):
            self.step(member)
            if (scored := self.desk().scored) is not None:
                return scored.attestation
        raise AssertionError("server 1 computed no round")  # noqa: TRY003, EM101

    def round(self, *clients: int, member: int = 1) -> RoundOutcome:
        """Let clients contribute and run until nothing is left to do; return the newest decided round."""
        self.contribute(*clients, member=member)
        self.run()
        return self.outcomes[-1]


class _Either(set[int]):
    """Members of either of two sets, whatever becomes of those."""

    def __init__(self, *sets: set[int]) -> None:
        super().__init__()
        self._sets = sets

    def __contains__(self, member: object) -> bool:
        return any(member in some for some in self._sets)
