"""Taking and restoring a ledger of 20,000 records, beside executing it, and what taking costs the engine."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from chain.execution.index import Commit, read_commit
from chain.snapshots.content import items
from chain.snapshots.files import read_manifest, restore, write_snapshot
from chain.storage import Space, Store
from merit.clock import Clock, SystemClock
from tests.benchmarks import execution
from tests.benchmarks._timing import took_us
from tests.benchmarks.execution import Bench

RECORDS = 20_000
ROUNDS = 3
BATCH = 64
HEIGHTS = 20  # timed alone, and again while a snapshot is taken


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Build a ledger in heights of 64 records in one transaction, then take and restore it in turns; medians.

    *Megabytes* (10^6 bytes) are those of the snapshot. *Executing* is `finalize_block` and `commit` of the same heights
    on one core, without receiving or signing. *A height* is 64 more records: alone, and while another thread of the
    process takes a snapshot. Stores are not synced, snapshots are.
    """
    clock = SystemClock()
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "ledger")
        executing_us = 0.0
        for _ in range(RECORDS // execution.RECORDS):
            (raw,) = bench.transactions(execution.RECORDS)
            executing_us += took_us(clock, partial(bench.decide, [raw]))
        store, commit = bench.replica.store, _head(bench.replica.store)
        taking, restoring = [], []
        for number in range(rounds):
            taken, restored = Path(folder) / f"taken {number}", Path(folder) / f"restored {number}"
            taking.append(took_us(clock, partial(write_snapshot, store, commit, taken)))
            restoring.append(took_us(clock, partial(restore, taken, restored)))
            _check(restored, commit)
        manifest = read_manifest(taken)
        alone_ms, beside_ms = _heights(clock, bench, Path(folder) / "beside")
        nodes = sum(1 for _ in store.scan(Space.NODE))
        kept = sum(1 for _ in items(store, commit)) - 2 * (commit.number + 1)  # less headers, genesis document, bodies
        store.close()
    seconds = [median(taking) / 1e6, median(restoring) / 1e6, executing_us / 1e6]
    rates = [manifest.size / 1e6 / took for took in seconds]
    return [
        _row("snapshot", manifest.size / 1e6, "MB"),
        _row("snapshot", len(manifest.chunks), "chunks"),
        _row("nodes of all states in the store", nodes, "nodes"),
        _row("nodes of the newest state", kept, "nodes"),
        *(_row(what, took, "s") for what, took in zip(("taking", "restoring", "executing"), seconds, strict=True)),
        *(_row(what, rate, "MB/s") for what, rate in zip(("taking", "restoring", "executing"), rates, strict=True)),
        _row("a height alone", alone_ms, "ms"),
        _row("a height while a snapshot is taken", beside_ms, "ms"),
    ]


def _heights(clock: Clock, bench: Bench, directory: Path) -> tuple[float, float]:
    """Return the median milliseconds of a height, alone and while a snapshot is taken again and again."""
    work = [partial(bench.decide, bench.transactions(BATCH)) for _ in range(2 * HEIGHTS)]
    alone = [took_us(clock, step) for step in work[:HEIGHTS]]
    store = bench.replica.store
    commit = _head(store)
    done = False

    def again() -> int:
        number = 0
        while not done:
            write_snapshot(store, commit, directory.with_name(f"{directory.name} {number}"), stopped=lambda: done)
            number += 1
        return number

    with ThreadPoolExecutor(1) as thread:
        taking = thread.submit(again)
        beside = [took_us(clock, step) for step in work[HEIGHTS:]]
        done = True
        taking.result()
    return median(alone) / 1e3, median(beside) / 1e3


def _check(path: Path, commit: Commit) -> None:
    store = Store.open(path, readonly=True)
    found = read_commit(store)
    store.close()
    if found != commit:
        message = f"{found} was restored, not {commit}"
        raise RuntimeError(message)


def _head(store: Store) -> Commit:
    commit = read_commit(store)
    if commit is None:
        message = "the benchmark's ledger is empty"
        raise RuntimeError(message)
    return commit


def _row(measure: str, value: float, unit: str) -> dict[str, object]:
    return {"measure": measure, "value": round(value, 1), "unit": unit}
