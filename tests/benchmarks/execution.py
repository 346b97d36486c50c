"""Records per second and core, in batches of 1 and 64, beside py-evm as it comes, and where the time goes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial, wraps
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time  # noqa: TID251 - no clock tells what a core does
from typing import Any
from unittest.mock import patch

from chain.application import Code, Timestamp
from chain.crypto.backend_cryptography import private_key_of
from chain.crypto.contexts import record_context
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme
from chain.execution import executor, records, transactions
from chain.execution.evm import MeritComputation, MeritState
from chain.execution.executor import Executor
from chain.execution.transactions import Opener
from chain.genesis import Genesis, Hex, MemberEntry, Quotas
from chain.storage import Store
from contracts.addresses import LEDGER, VERIFIER
from contracts.bindings import Role
from contracts.records import Record, SignedRecord
from merit.clock import Clock, SystemClock
from tests.benchmarks._timing import took_us
from tests.chain.ledger import BASE_REWARD, EDGES, SPONSOR, TERMS, Replica, edge, genesis, key
from tests.chain.stock import stock_execution

ROUNDS = 11
RECORDS = 64  # of each height, in one transaction or in 64; each of another client
BATCHES = (1, 64)
BUDGET = 10_000 * BASE_REWARD

REST = "rest"
STEPS: "dict[str, list[tuple[Any, str]]]" = {
    "decode and judge": [(Opener, "open"), (transactions, "judge"), (executor, "judge")],
    "transaction's signature": [(transactions, "verify")],
    "clients' signatures": [(records, "_signature_holds")],  # or finding their verdicts
    "rule of records": [],  # the precompile, which py-evm has in a table
    "EVM": [(executor, "run_candidate"), (Executor, "_run")],
    "state read": [(MeritState, "get_storage"), (MeritState, "get_code")],  # tries, nodes from the store
    "state root": [(MeritState, "persist")],
    "receipts and block": [(Executor, "execute")],  # both tries, blooms, header
    "store commit": [(Store, "commit")],
}
"""Which functions make up a step: each counts the time in it that is not in one of the others."""

PATHS = ("new", "checked", "all")
_Times = dict[tuple[int, str], list[float]]


class _CoreClock(SystemClock):
    """Counts what this process has had of its cores, so that what else the machine does makes no difference."""

    def monotonic(self) -> float:
        """Seconds of processor time."""
        return process_time()


@dataclass
class _Stopwatch:
    """Charges every moment to the innermost step that is running."""

    clock: Clock
    taken: dict[str, float] = field(default_factory=lambda: dict.fromkeys([*STEPS, REST], 0.0))
    _running: list[str] = field(default_factory=lambda: [REST])
    _since: float = 0.0
    _on: bool = False  # the pool keeps methods that it got while timers were around them

    def _charge(self) -> None:
        now = self.clock.monotonic()
        self.taken[self._running[-1]] += now - self._since
        self._since = now

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function or method of a step."""

        @wraps(function)
        def inside(*arguments: Any, **options: Any) -> Any:
            if not self._on:
                return function(*arguments, **options)
            self._charge()
            self._running.append(step)
            try:
                return function(*arguments, **options)
            finally:
                self._charge()
                self._running.pop()

        return inside

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put timers around the functions of all steps while the caller's block runs."""
        verifier: Any = VERIFIER
        table = MeritComputation.get_precompiles()
        with ExitStack() as patches:
            for step, functions in STEPS.items():
                for owner, name in functions:
                    patches.enter_context(patch.object(owner, name, self.timed(step, getattr(owner, name))))
            timed = self.timed("rule of records", table[verifier])
            patches.enter_context(patch.dict(table, {verifier: timed}))  # type: ignore[arg-type] # py-evm's own dict
            self._since, self._on = self.clock.monotonic(), True
            yield
            self._charge()
            self._on = False


class Bench:
    """One replica on a store on disk, with a job, an edge server and 64 clients."""

    def __init__(
        self, folder: Path, executing: Callable[[], AbstractContextManager[None]] = nullcontext, *, quotas: bool = True
    ) -> None:
        self._executing = executing
        # not synced: what a core does is measured, and waiting for a disk is not a core's work
        self.replica = Replica(store=Store.open(folder, sync=False), document=_genesis(quotas=quotas))
        self.replica.open_job(budget=BUDGET)
        self._counters = count()
        self._clients = [private_key_of(Scheme.ML_DSA_44, _client(number).seed) for number in range(RECORDS)]

    @cached_property
    def _context(self) -> bytes:
        return record_context(self.replica.genesis_hash)

    def transactions(self, batch: int) -> list[bytes]:
        """Sign one new record of each client, and the transactions that bring them."""
        counter = next(self._counters)
        signed = [self._record(number, counter) for number in range(RECORDS)]
        gas = 500_000 + 200_000 * batch
        return [self.replica.batch(*signed[at : at + batch], gas=gas) for at in range(0, RECORDS, batch)]

    def _record(self, number: int, counter: int) -> SignedRecord:
        digest = keccak256(b"%d %d" % (number, counter))
        length, expiry = 96 + 2 * TERMS.dimension, self.replica.time + 1_000
        record = Record(1, EDGES + 1 + number, 0, counter, digest, length, expiry)
        signature = self._clients[number].sign(record.message(LEDGER), self._context)
        return SignedRecord(record, Scheme.ML_DSA_44, _client(number).address, signature)

    def check(self, raws: Sequence[bytes]) -> None:
        """Take them into the pool."""
        with self._executing():
            if not all(self.replica.app.check_tx(raw).accepted for raw in raws):
                message = "the pool refuses a transaction of the benchmark"
                raise RuntimeError(message)

    def decide(self, raws: Sequence[bytes]) -> None:
        """Execute and commit them as the next height, a second after the one before."""
        app = self.replica.app
        self.replica.time += 1
        with self._executing():
            finalized = app.finalize_block(app.info().height + 1, Timestamp(self.replica.time), raws)
            app.commit()
        recorded = sum(len(result.logs) for result in finalized.results if result.code is Code.OK)
        longest = max((len(log.data) for result in finalized.results for log in result.logs), default=0)
        if recorded != RECORDS or longest == 32:  # a refusal's event holds one word
            message = f"{recorded} of {RECORDS} records were taken"
            raise RuntimeError(message)
        self.replica.nonces.clear()


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Take turns between batch sizes, paths, and ours and py-evm's; a column is a batch size and a path.

    A height holds 64 records of 64 clients, signed with ML-DSA-44. *new*: `finalize_block` and `commit` of signatures
    that nobody has seen; *checked*: the same after `check_tx`, which left its verdicts; *all*: `check_tx` included.
    Rows are medians of microseconds per record, how many times longer `tests.chain.stock` takes for the same (py-evm's
    own accounts, tries and interpreter; decoding, signatures, rules and the store are ours in both), and the steps'
    shares of our time in percent. The shares come from heights with timers around the steps, the rest from other
    heights in the same turns.
    A third replica, whose genesis names no quotas, takes turns with the first.
    """
    clock = _CoreClock()
    cases = [(batch, path) for batch in BATCHES for path in PATHS]
    ours_us: _Times = {case: [] for case in cases}
    stock_us: _Times = {case: [] for case in cases}
    free_us: _Times = {case: [] for case in cases}  # without quotas
    shares = {case: _Stopwatch(clock) for case in cases}
    with TemporaryDirectory() as folder:
        ours, stock = Bench(Path(folder, "ours")), Bench(Path(folder, "stock"), stock_execution)
        free = Bench(Path(folder, "free"), quotas=False)
        for batch in BATCHES:  # warms caches up
            for bench in (ours, stock, free):
                bench.decide(bench.transactions(batch))
        for _ in range(rounds):
            for batch in BATCHES:
                _time(ours, batch, clock, ours_us)
                _time(free, batch, clock, free_us)
                _time(stock, batch, clock, stock_us)
                _share(ours, batch, *(shares[batch, path] for path in PATHS))
        for bench in (ours, stock, free):
            bench.replica.store.close()
    us = {case: median(times) / RECORDS for case, times in ours_us.items()}
    plain_us = {case: median(times) / RECORDS for case, times in stock_us.items()}
    rows: list[dict[str, object]] = [
        _row("records per second", {case: round(1e6 / value) for case, value in us.items()}),
        _row("records per second, py-evm", {case: round(1e6 / value) for case, value in plain_us.items()}),
        _row("times as fast", {case: round(plain_us[case] / value, 2) for case, value in us.items()}),
        _row("microseconds per record", {case: round(value, 1) for case, value in us.items()}),
    ]
    slower = {case: 100 * (min(ours_us[case]) / min(free_us[case]) - 1) for case in cases}
    rows.append(_row("slower than without quotas, %", {case: round(percent, 1) for case, percent in slower.items()}))
    for step in (*STEPS, REST):
        percent = {case: 100 * watch.taken[step] / sum(watch.taken.values()) for case, watch in shares.items()}
        rows.append(_row(f"% {step}", {case: round(share, 1) for case, share in percent.items()}))
    return rows


def _time(bench: Bench, batch: int, clock: Clock, taken: _Times) -> None:
    new, checked, whole = ((batch, path) for path in PATHS)
    raws = bench.transactions(batch)
    taken[new].append(took_us(clock, partial(bench.decide, raws)))
    raws = bench.transactions(batch)
    check_us = took_us(clock, partial(bench.check, raws))
    taken[checked].append(took_us(clock, partial(bench.decide, raws)))
    taken[whole].append(check_us + taken[checked][-1])


def _share(bench: Bench, batch: int, new: _Stopwatch, checked: _Stopwatch, whole: _Stopwatch) -> None:
    raws = bench.transactions(batch)
    with new.running():
        bench.decide(raws)
    raws = bench.transactions(batch)
    with whole.running():
        bench.check(raws)
    before = dict(checked.taken)
    with checked.running():
        bench.decide(raws)
    for step, seconds in checked.taken.items():
        whole.taken[step] += seconds - before[step]


def _row(measure: str, values: Mapping[tuple[int, str], float]) -> dict[str, object]:
    return {"measure": measure} | {f"{batch} {path}": value for (batch, path), value in values.items()}


def _client(number: int) -> Any:
    return key(f"benchmark client {number}", Scheme.ML_DSA_44)


def _genesis(*, quotas: bool) -> Genesis:
    servers = (MemberEntry(role=Role.EDGE_SERVER, scheme=65, key=Hex(edge(n + 1).public_key)) for n in range(EDGES))
    clients = (MemberEntry(role=Role.CLIENT, scheme=44, key=Hex(_client(n).public_key)) for n in range(RECORDS))
    sponsor = MemberEntry(role=Role.SPONSOR, scheme=65, key=Hex(SPONSOR.public_key))
    limits = {"quotas": Quotas()} if quotas else {}
    return genesis(members=(*servers, *clients, sponsor), **limits)
