"""A made-up history of one job, as the contracts would tell it: for pages without a ledger, and for the benchmark."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import TypeAlias

from contracts import events
from contracts.digests import Part, name32
from contracts.terms import JobTerms
from merit.chance import seeded
from node.dashboard.index import Index
from node.dashboard.ingest import BlockSummary, Reason, add_accuracy, add_block, add_reason, add_selection, add_title
from node.rounds.log import RecordEntry, RecordStatus, RoundOutcome, Selection
from node.run.events import Accuracy

GENESIS = bytes(31) + b"\x07"
TOKEN = 10**18
BASE = 100 * TOKEN
PPB = 10**9
EDGES = (1, 2, 3, 4)
SPONSOR = 99
BEGAN = 1_790_000_000
At: TypeAlias = tuple[int, int, bytes]
"""Where a log lies: block, index, transaction."""

HOSTILE = '<script>alert("job")</script><img src=x onerror=alert(1)>'

TERMS = JobTerms(
    dimension=650,
    fraction_bits=12,
    shift=10,
    norm_bound_squared=2**70,
    phi=4,
    max_wait=10,
    base_reward=BASE,
    rules_version=1,
    scoring=name32("cosine"),
    aggregation=name32("delta"),
    staleness=name32("constant"),
    max_staleness=8,
    record_deadline=20,
    attestation_timeout=30,
    records_per_base=1,
    edge_set=1,
    job_file=bytes(32),
    model=bytes(32),
)


def digest_of(*what: object) -> bytes:
    """Return a digest that nothing else has."""
    return sha256(repr(what).encode()).digest()


class Story:
    """Tells a job round by round: one block records, the next decides and pays.

    `clients` members from 5 on take turns, `phi` a round; client c earns theta around 1 / (1 + c mod 5).
    """

    def __init__(self, index: Index, *, clients: int = 8, phi: int = 4, title: str = HOSTILE) -> None:
        """Propose and open job 1."""
        self.index, self._clients, self._phi = index, clients, phi
        self._chance = seeded(1, "dashboard")
        self.block, self.round, self._sequence = 0, 0, 0
        terms = replace(TERMS, phi=phi)
        self._tell(
            lambda at: [
                events.JobCreated(*at, job=1, sponsor=SPONSOR, terms=terms, budget=10**9 * TOKEN),
                events.JobOpened(*at, job=1, phi=phi),
            ]
        )
        with index.writing() as db:
            add_title(db, 1, title)

    def tell(self, rounds: int, *, void: frozenset[int] = frozenset()) -> None:
        """Tell so many more rounds; those named are void."""
        for _ in range(rounds):
            self._tell_round(void=self.round + 1 in void)

    def empty_block(self) -> None:
        """Let a block come in which nothing happens."""
        self._tell(lambda _: [])

    def _tell_round(self, *, void: bool) -> None:
        self.round += 1
        number = self.round
        base = max(0, number - 1 - number % 3)
        clients = [5 + (number * self._phi + place) % self._clients for place in range(self._phi)]
        first, self._sequence = self._sequence, self._sequence + self._phi
        self._tell(lambda at: list(self._records(at, clients, base, first)))
        height = self.block
        thetas = [round(PPB * (0.5 + 0.5 * self._chance.random()) / (1 + client % 5)) for client in clients]
        part = digest_of("thetas", number)
        if void:
            self._tell(lambda at: list(self._void(at, number)))
        else:
            self._tell(lambda at: list(self._agree(at, number, height, clients, thetas)))
        records = tuple(self._entry(place, client, base, first) for place, client in enumerate(clients))
        chosen = Selection(1, number, height, records, ((0, RecordStatus.COPY),) if number % 7 == 0 else (), 0)
        outcome = RoundOutcome(number, self.block, self._time(), self._phi, not void, chosen, b"", BASE, part)
        with self.index.writing() as db:
            add_selection(db, 1, outcome)
            for place, theta in enumerate(thetas):
                add_reason(db, Reason(1, number, place, None, {"cosine": theta, "norm": PPB // 2}, part))
            add_accuracy(db, Accuracy(seconds=float(number), version=number, accuracy=1 - 1 / (1 + number), loss=None))

    def _records(self, at: At, clients: list[int], base: int, first: int) -> Iterator[events.Event]:
        for place, client in enumerate(clients):
            yield events.Recorded(
                *at,
                job=1,
                client=client,
                digest=digest_of("update", first + place),
                sequence=first + place,
                base=base,
                counter=2**32 - 1,
                length=2**64 - 1,  # a client's word: more than SQLite's integers hold
                expiry=2**64 - 1,
                signer=bytes(20),
                submitter=bytes(20),
                verified=True,
            )

    def _void(self, at: At, number: int) -> Iterator[events.Event]:
        yield from self._attest(at, number, [digest_of("round", number, edge % 2) for edge in EDGES])
        yield events.RoundVoid(*at, job=1, round=number, variants=2, spent=0, phi_next=self._phi)

    def _agree(self, at: At, number: int, height: int, clients: list[int], thetas: list[int]) -> Iterator[events.Event]:
        said = digest_of("round", number)
        yield from self._attest(at, number, [said, said, said, digest_of("lie", number)])
        yield events.RoundAgreed(
            *at,
            job=1,
            round=number,
            digest=said,
            height=height,
            k=self._phi,
            spent=0,
            thetas=digest_of("thetas", number),
            model=digest_of("model", number),
            reward=BASE,
            phi_next=self._phi,
        )
        total, before = sum(thetas), 0
        for client, theta in zip(clients, thetas, strict=True):
            reward = BASE * (before + theta) // total - BASE * before // total
            before += theta
            yield events.Credited(*at, job=1, round=number, client=client, theta=theta, reward=reward)
        yield events.RoundSettled(*at, job=1, round=number, paid=BASE)

    def _attest(self, at: At, number: int, said: list[bytes]) -> Iterator[events.Event]:
        parts = (Part(name32("inputs"), digest_of("inputs", number)), Part(name32("<b>part"), bytes(32)))
        for edge, digest in zip(EDGES, said, strict=True):
            yield events.Attested(
                *at, job=1, round=number, edge=edge, digest=digest, height=0, k=0, spent=0, parts=parts, support=1
            )

    def _entry(self, place: int, client: int, base: int, first: int) -> RecordEntry:
        sequence = first + place
        digest = digest_of("update", sequence)
        return RecordEntry(sequence, client, base, 0, digest, 0, 0, b"", True, b"", self.block, 0)  # noqa: FBT003 - verified

    def _tell(self, what: Callable[[At], list[events.Event]]) -> None:
        self.block += 1
        at = (self.block, 0, digest_of("transaction", self.block))
        block = BlockSummary(self.block, digest_of("block", self.block), self.block, self._time(), 1, 21_000)
        with self.index.writing() as db:
            add_block(db, block, what(at))

    def _time(self) -> int:
        return BEGAN + 2 * self.block
