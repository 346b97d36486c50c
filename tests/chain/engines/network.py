"""A ledger small enough to read, a clock that only tests move, and networks of both."""

import asyncio
import hashlib
import heapq
import itertools
import json
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import coroutine
from typing import Any, TypeVar

from chain import light
from chain.application import CheckResult, Code, Finalized, Info, Misbehavior, Timestamp, TxResult
from chain.crypto.schemes import Scheme, SigningKey
from chain.engines.embedded import EmbeddedEngine, EngineStore, Validator
from chain.genesis import Genesis, Hex, ValidatorEntry
from chain.validators import genesis_time, genesis_validators

GENESIS_SECONDS = 1_700_000_000


T = TypeVar("T")


class Crash(BaseException):
    """Stands for a process that ends at once: nothing catches it."""


@coroutine
def turn() -> Generator[None]:
    """Let the other tasks of the event loop have one turn."""
    yield


class VirtualClock:
    """Time stands still until a test calls `run`."""

    def __init__(self, start: float = GENESIS_SECONDS) -> None:
        self._now_ns = int(start * 1e9)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now_ns / 1e9

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic(self) -> float:
        return (self._now_ns - GENESIS_SECONDS * 10**9) / 1e9

    def wait(self, seconds: float) -> None:
        self._now_ns += int(seconds * 1e9)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await turn()
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ns + round(seconds * 1e9), next(self._numbers), future))
        await future

    async def run(self, seconds: float) -> None:
        """Let this much time pass, waking each sleeper at its moment."""
        end = self._now_ns + round(seconds * 1e9)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now_ns, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await self._settle()
        self._now_ns = end

    @staticmethod
    async def _settle() -> None:
        for _ in range(60):
            await turn()


class Counter:
    """A ledger of one number: a transaction `+N` adds N, `-` is refused in the pool, `!` fails in the block.

    `+N validators I=P ...` also gives the keys `KEYS[I]` the powers P.

    It keeps its number, height and hash in one file, which `commit` replaces; `finalize_block` only remembers.
    """

    def __init__(self, path: Path, bias: int = 0) -> None:
        self._path, self.bias = path, bias
        self.calls: list[str] = []
        self.reported: list[Misbehavior] = []
        self.refuse_proposals = False
        self.before_commit: Callable[[], None] = lambda: None
        self._pending: tuple[int, int] | None = None

    def _read(self) -> tuple[int, int]:
        if not self._path.exists():
            return 0, 0
        height, total = json.loads(self._path.read_text())
        return height, total

    @property
    def total(self) -> int:
        return self._read()[1]

    @staticmethod
    def hash_of(total: int) -> bytes:
        return hashlib.sha256(b"total %d" % total).digest()

    def info(self) -> Info:
        height, total = self._read()
        return Info(height, self.hash_of(total) if height else b"", (1, 1, 1))

    def init_chain(self, genesis: Genesis) -> bytes:
        self.calls.append(f"init {genesis.name}")
        return self.hash_of(0)

    def check_tx(self, raw: bytes, *, recheck: bool = False) -> CheckResult:
        if recheck:
            self.calls.append(f"recheck {raw.decode()}")
        if raw[:1] == b"+" or raw == b"!":
            return CheckResult(Code.OK, "", hashlib.sha256(raw).digest())
        return CheckResult(Code.MALFORMED, f"{raw!r} is not a number to add", b"")

    def prepare_proposal(self, transactions: Sequence[bytes], max_bytes: int, time: Timestamp) -> list[bytes]:  # noqa: ARG002 - it has no quotas
        """Take what fits; `+later...` waits for ever, as a transaction after a gap would."""
        chosen, size = [], 0
        for raw in transactions:
            size += len(raw) + 5
            if size > max_bytes:
                break
            if not raw.startswith(b"+later"):
                chosen.append(raw)
        return chosen

    def process_proposal(self, transactions: Sequence[bytes], time: Timestamp) -> bool:  # noqa: ARG002 - as above
        return not self.refuse_proposals and all(raw[:1] in {b"+", b"!"} for raw in transactions)

    def finalize_block(
        self, height: int, time: Timestamp, transactions: Sequence[bytes], misbehavior: Sequence[Misbehavior] = ()
    ) -> Finalized:
        self.reported += misbehavior
        self.calls.append(f"finalize {height} at {time.seconds}")
        known, total = self._read()
        assert height == known + 1
        results, updates = [], []
        for raw in transactions:
            for change in raw.split(b" validators ")[1:]:
                updates += [(KEYS[int(i)].public_key, int(p)) for i, p in (one.split(b"=") for one in change.split())]
            number = int(raw[1:].split(b" ")[0]) if raw != b"!" else None
            total += number or 0
            code = Code.REVERTED if number is None else Code.OK
            results.append(TxResult(code, "", hashlib.sha256(raw).digest(), gas_used=len(raw)))
        self._pending = height, total + (self.bias if transactions else 0)
        return Finalized(height, self.hash_of(self._pending[1]), tuple(results), None, tuple(updates))

    def commit(self) -> None:
        assert self._pending is not None
        self.before_commit()
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._pending))
        fresh.replace(self._path)
        self._pending = None


def key(number: int) -> SigningKey:
    return SigningKey.from_seed(Scheme.ML_DSA_65, bytes([number + 1]) * 32)


KEYS = [key(number) for number in range(8)]


def make_genesis(powers: Sequence[int] = (1, 1, 1, 1)) -> Genesis:
    return Genesis(
        name="merit-test",
        time=GENESIS_SECONDS,
        governor=Hex(bytes(20)),
        validators=tuple(
            ValidatorEntry(name=f"node{number}", public_key=Hex(KEYS[number].public_key), power=power)
            for number, power in enumerate(powers)
        ),
    )


class Network:
    """Validators over a directory, their engine, and a clock; `reopen` is a restart of the process."""

    def __init__(self, path: Path, powers: Sequence[int] = (1, 1, 1, 1), **options: Any) -> None:
        self.path, self.powers, self.options = path, powers, options
        self.genesis = make_genesis(powers)
        self.clock = VirtualClock()
        self.applications: list[Counter] = []
        self.stores: list[EngineStore] = []
        self.engine = self._open(range(len(powers)))

    def _open(self, numbers: Iterable[int]) -> EmbeddedEngine:
        self.applications, self.stores = [], []
        validators = []
        for number in numbers:
            directory = self.path / f"node{number}"
            self.stores.append(EngineStore(directory / "engine", self.genesis.digest()))
            self.applications.append(Counter(directory / "counter.json"))
            validators.append(Validator(KEYS[number], self.applications[-1], self.stores[-1]))
        return EmbeddedEngine(validators, self.genesis, self.clock, **self.options)

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def reopen(self, numbers: Iterable[int] | None = None) -> EmbeddedEngine:
        """Restart with all validators, or only with some."""
        self.close()  # twice is harmless
        self.engine = self._open(range(len(self.powers)) if numbers is None else numbers)
        return self.engine

    @property
    def totals(self) -> list[int]:
        return [application.total for application in self.applications]

    @property
    def heights(self) -> list[int]:
        return [store.height for store in self.stores]

    def hashes(self, height: int) -> set[bytes]:
        """The header hashes that the open stores hold for a height."""
        return {
            light.header_hash(store.header(light.Height(height))) for store in self.stores if store.height >= height
        }

    def verify(self, store: EngineStore) -> int:
        """Follow one store from the genesis document on, as an auditor does; return the height reached."""
        trusted: light.Trusted | None = None
        validators = following = genesis_validators(self.genesis)
        for height in map(light.Height, range(1, store.height + 1)):
            header, commit = store.header(height), store.commit(height)
            if height > 1:  # what the height before changed counts from the next one on
                following = following.updated(store.outcome(light.Height(height - 1)).updates)
            light.verify_block(store.block(height), commit.block_id)
            if trusted is None:
                trusted = light.verify_first(
                    header,
                    commit,
                    validators,
                    self.genesis.name,
                    genesis_time=genesis_time(self.genesis),
                    app_hash=Counter.hash_of(0),
                    next_validators=following,
                )
            else:
                before = store.outcome(light.Height(height - 1))
                trusted = light.verify_next(
                    trusted,
                    header,
                    commit,
                    app_hash=before.app_hash,
                    last_results_hash=before.results_hash,
                    next_validators=following,
                )
        return trusted.header.height if trusted else 0


@contextmanager
def network(path: Path, powers: Sequence[int] = (1, 1, 1, 1), **options: Any) -> Generator[Network]:
    opened = Network(path, powers, **options)
    try:
        yield opened
    finally:
        opened.close()


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)
