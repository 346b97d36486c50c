"""The contracts in titanoboa's EVM, driven through our own bindings: what every test here stands on.

Each transaction is a block of its own, a second after the one before; `wait` lets more time pass, `fork` puts
everything back afterwards.
"""

import copy
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, TypeVar

from boa.environment import Env
from boa.util.abi import Address
from eth_hash.auto import keccak

from contracts.abi import revert_reason
from contracts.addresses import ZERO
from contracts.artifacts import NAMES, initcode
from contracts.bindings import Council, Ledger, Registry, Role, Token, Vesting
from contracts.calls import Call
from contracts.digests import Attestation, Part, Settlement, name32, settlement
from contracts.events import Event, decode_event
from contracts.layout import slot
from contracts.records import Record
from contracts.terms import JobTerms

DIMENSION = 10
LENGTH = 96 + 2 * DIMENSION
BASE_REWARD = 10**18 + 7  # no round number, so that every division leaves a rest
MAX_WAIT = 60
ATTESTATION_TIMEOUT = 300
GAS = 300_000_000
KEY_BYTES = {44: 1312, 65: 1952}
E = TypeVar("E", bound=Event)

TERMS = JobTerms(
    dimension=DIMENSION,
    fraction_bits=12,
    shift=4,
    norm_bound_squared=2**40,
    phi=3,
    max_wait=MAX_WAIT,
    base_reward=BASE_REWARD,
    rules_version=1,
    scoring=name32("cosine"),
    aggregation=name32("literal"),
    staleness=name32("constant"),
    max_staleness=2,
    record_deadline=120,
    attestation_timeout=ATTESTATION_TIMEOUT,
    records_per_base=1,
    edge_set=1,
    job_file=keccak(b"job file"),
    model=keccak(b"model 0"),
)


class Reverted(Exception):  # noqa: N818 - reads as what happened
    """A transaction was undone; `reason` is its reason string, None if it gave none."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Actor:
    """A member with one account."""

    member: int
    account: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did."""

    output: bytes
    events: tuple[Event, ...]
    gas: int

    def only(self, kind: type[E]) -> E:
        """Return the one event of a kind."""
        (found,) = self.all(kind)
        return found

    def all(self, kind: type[E]) -> list[E]:
        """Return all events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def account(label: str) -> bytes:
    """Return a made-up account address."""
    return keccak(label.encode())[12:]


def public_key(label: str, scheme: int) -> bytes:
    """Return bytes of a public key's length; no test here verifies a signature."""
    seed = keccak(label.encode())
    return (seed * 61)[: KEY_BYTES[scheme]]


def address_of(scheme: int, key: bytes) -> bytes:
    """Return the address of an ML-DSA key: keccak256(scheme || key)[12:]."""
    return keccak(bytes([scheme]) + key)[12:]


@dataclass
class World:
    """The contracts, who takes part, and the clock.

    `cold` forgets before each transaction which slots were touched, as a chain does: right gas figures, but no `fork`.
    """

    env: Env
    registry_at: bytes = ZERO
    token_at: bytes = ZERO
    ledger_at: bytes = ZERO
    council_at: bytes = ZERO
    vesting_at: bytes = ZERO
    governor: bytes = field(default_factory=lambda: account("governor"))
    height: int = 1
    time: int = 1_700_000_000
    admitted: int = 0
    cold: bool = False

    def __post_init__(self) -> None:
        w3: Any = SimpleNamespace(eth=SimpleNamespace(call=self._eth_call), to_checksum_address=lambda address: address)
        self.registry = Registry(w3, self.registry_at)
        self.token = Token(w3, self.token_at)
        self.ledger = Ledger(w3, self.ledger_at)
        self.council = Council(w3, self.council_at)
        self.vesting = Vesting(w3, self.vesting_at)

    # the chain

    def deploy(self, name: str, *arguments: bytes, version: int = 1) -> bytes:
        """Deploy a contract from its committed bytecode and return its address."""
        return self.deploy_code(initcode(name, *arguments, version=version))

    def deploy_code(self, code: bytes) -> bytes:
        """Run initcode and return the new contract's address; raise `Reverted`."""
        self._next_block()
        address = keccak(b"contract" + self.height.to_bytes(8, "big"))[12:]
        governor = _canonical(self.governor)
        computation = self.env.evm.deploy_code(
            sender=governor,
            origin=governor,
            target_address=_canonical(address),
            gas=GAS,
            gas_price=0,
            value=0,
            bytecode=code,
        )
        if computation.is_error:
            raise Reverted(revert_reason(computation.output))
        return address

    def send(self, sender: bytes, to: bytes, data: bytes) -> Outcome:
        """Make a transaction in a block of its own; raise `Reverted`."""
        self._next_block()
        if self.cold:
            self.env.evm.reset_access_counters()
        computation = self._execute(sender, to, data)
        if computation.is_error:
            raise Reverted(revert_reason(computation.output))
        events = []
        for index, (_, address, topics, content) in enumerate(computation.get_raw_log_entries()):
            assert address in {self.registry_at, self.token_at, self.ledger_at, self.council_at, self.vesting_at}
            words = [topic.to_bytes(32, "big") for topic in topics]
            event = decode_event(words, content, block=self.height, log_index=index, transaction=bytes(32))
            assert event is not None
            events.append(event)
        return Outcome(computation.output, tuple(events), transaction_gas(data, computation.get_gas_used()))

    def wait(self, seconds: int) -> None:
        """Let time pass without a block."""
        self.time += seconds

    def poke(self, contract: str, variable: str, *path: int | bytes | str, value: int) -> None:
        """Write a word of a contract's storage, where getting there by calls would take long."""
        self.env.evm.set_storage(_canonical(self._address(contract)), slot(contract, variable, *path), value)

    def tick_blocks(self, count: int) -> None:
        """Make blocks in which nothing happens."""
        for _ in range(count):
            self.to_ledger(account("anybody"), Ledger.encode_tick())

    @contextmanager
    def fork(self) -> Generator["World"]:
        """Give a copy whose changes vanish afterwards."""
        with self.env.anchor():
            twin = copy.copy(self)
            twin.__post_init__()
            yield twin
        self._set_clock()

    def peek(self, contract: str, variable: str, *path: int | bytes | str) -> int:
        """Read a word of a contract's storage by its layout: a hundred times faster than a call."""
        return int(self.env.evm.get_storage(_canonical(self._address(contract)), slot(contract, variable, *path)))

    def _address(self, contract: str) -> bytes:
        addresses = (self.registry_at, self.token_at, self.ledger_at, self.council_at, self.vesting_at)
        return dict(zip(NAMES, addresses, strict=True))[contract]

    def _next_block(self) -> None:
        self.height += 1
        self.time += 1
        self._set_clock()

    def _set_clock(self) -> None:
        self.env.evm.patch.block_number = self.height
        self.env.evm.patch.timestamp = self.time

    def _execute(self, sender: bytes, to: bytes, data: bytes, *, simulate: bool = False) -> Any:
        return self.env.execute_code(
            to_address=_canonical(to), sender=_canonical(sender), data=data, gas=GAS, simulate=simulate
        )

    def _eth_call(self, transaction: Mapping[str, Any], at: object) -> bytes:
        assert at == "latest"
        self._set_clock()
        computation = self._execute(account("nobody"), transaction["to"], transaction["data"], simulate=True)
        if computation.is_error:
            raise Reverted(revert_reason(computation.output))
        return bytes(computation.output)

    # members

    def govern(self, data: bytes, to: bytes | None = None) -> Outcome:
        """Make a transaction of the governor, to the Registry unless said otherwise."""
        return self.send(self.governor, to or self.registry_at, data)

    def admit(self, role: Role, *, scheme: int = 0) -> Actor:
        """Admit a member with a made-up account, or a made-up ML-DSA key."""
        self.admitted += 1
        label = f"member {self.admitted}"
        key = account(label) if scheme == 0 else public_key(label, scheme)
        self.govern(Registry.encode_admit(role, scheme, key, account(f"payout {self.admitted}")))
        return Actor(self.admitted, key if scheme == 0 else address_of(scheme, key))

    def payout(self, actor: Actor) -> bytes:
        """Return where an actor's rewards go."""
        member = self.registry.member(actor.member)
        assert member is not None
        return member.payout

    # the council

    def to_council(self, sender: Actor | bytes, data: bytes) -> Outcome:
        """Make a transaction to the Council."""
        return self.send(sender.account if isinstance(sender, Actor) else sender, self.council_at, data)

    def propose_calls(self, edge: Actor, *calls: Call, seconds: int = 1_000, text: str = "why") -> int:
        """Propose calls; return the proposal's number."""
        outcome = self.to_council(edge, Council.encode_propose(self.time + 1 + seconds, text, calls))
        return int.from_bytes(outcome.output, "big")

    def decide(self, edges: Sequence[Actor], *calls: Call) -> Outcome:
        """Have these edge servers propose, approve and execute calls."""
        proposal = self.propose_calls(edges[0], *calls)
        for edge in edges:
            self.to_council(edge, Council.encode_vote(proposal, approves=True))
        return self.to_council(account("anybody"), Council.encode_execute(proposal, calls))

    # the ledger

    def to_ledger(self, sender: Actor | bytes, data: bytes) -> Outcome:
        """Make a transaction to the Ledger."""
        return self.send(sender.account if isinstance(sender, Actor) else sender, self.ledger_at, data)

    def fund(self, owner: bytes, amount: int) -> None:
        """Mint tokens and let the Ledger take them."""
        self.govern(Token.encode_mint(owner, amount), to=self.token_at)
        self.send(owner, self.token_at, Token.encode_approve(self.ledger_at, 2**256 - 1))

    def propose(self, sponsor: Actor, *, budget: int = 100 * BASE_REWARD, **terms: Any) -> int:
        """Create a job."""
        self.to_ledger(sponsor, Ledger.encode_create_job(replace(TERMS, **terms), budget))
        return self.ledger.job_count()

    def open(self, sponsor: Actor, edges: Iterable[Actor], *, budget: int = 100 * BASE_REWARD, **terms: Any) -> int:
        """Create a job and have edge servers acknowledge it."""
        job = self.propose(sponsor, budget=budget, **terms)
        for edge in edges:
            self.to_ledger(edge, Ledger.encode_acknowledge_job(job))
        return job

    def record(self, job: int, client: Actor, *, base: int | None = None, counter: int = 0, **changes: Any) -> Outcome:
        """Record an update in the client's own transaction, of the current version unless said otherwise."""
        record = Record(
            job=job,
            client=client.member,
            base=self.peek("Ledger", "_jobs", job, "version") if base is None else base,
            counter=counter,
            digest=keccak(b"update %d %d %d" % (job, client.member, counter)),
            length=LENGTH,
            expiry=self.time + 60,
        )
        return self.to_ledger(client, Ledger.encode_record(replace(record, **changes)))

    def attest(self, edge: Actor, attestation: Attestation) -> Outcome:
        """Attest a round."""
        return self.to_ledger(edge, Ledger.encode_attest(attestation))

    def settle(self, job: int, round_: int, scores: Settlement, sender: bytes | None = None) -> list[Outcome]:
        """Post a round's thetas and settle all chunks."""
        sender = sender or account("anybody")
        outcomes = [self.to_ledger(sender, post_thetas(job, round_, scores))]
        if scores.total > 0:
            for index, (clients, thetas) in enumerate(scores.chunks):
                data = Ledger.encode_settle_chunk(job, round_, index, clients, thetas)
                outcomes.append(self.to_ledger(sender, data))
        return outcomes


def post_thetas(job: int, round_: int, scores: Settlement) -> bytes:
    """Return call data that posts a round's thetas."""
    return Ledger.encode_post_thetas(job, round_, scores.total, scores.chunk_digests)


def attestation(  # noqa: PLR0917 - the order of the Ledger's own arguments
    job: int, round_: int, height: int, scores: Settlement, spent: int, model: bytes = keccak(b"a model")
) -> Attestation:
    """Return the attestation of a round with these scores."""
    parts = (
        Part(name32("inputs"), keccak(b"inputs")),
        Part(name32("thetas"), scores.digest),
        Part(name32("model"), model),
    )
    return Attestation(job, round_, height, scores.k, spent, parts)


def scores_of(clients: Sequence[Actor], thetas: Sequence[int] | None = None) -> Settlement:
    """Return the settlement of one record each of these clients, by default with thetas 1, 2, 3 ... of a thousand."""
    return settlement([client.member for client in clients], thetas or [10**6 * (at + 1) for at in range(len(clients))])


def transaction_gas(data: bytes, executed: int) -> int:
    """Return what a transaction costs: call data (EIP-2028) and execution, at least EIP-7623's floor."""
    tokens = sum(4 if byte else 1 for byte in data)
    return 21_000 + max(4 * tokens + executed, 10 * tokens)


def _canonical(address: bytes) -> Any:
    return Address("0x" + address.hex())
