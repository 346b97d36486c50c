"""Snapshots of a replica that goes on: taken in another thread, kept, served, and given up cleanly."""

import logging
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chain import storage
from chain.application import Application, ApplyResult, OfferResult
from chain.crypto.hashing import keccak256
from chain.errors import SnapshotError, StoreCorruptError
from chain.execution.index import Commit
from chain.snapshots import files, keeping
from chain.snapshots.keeping import Keeper
from chain.snapshots.manifest import FORMAT
from chain.storage import Space, Store
from contracts.addresses import TOKEN
from tests.chain.ledger import SPONSOR, Replica, genesis
from tests.chain.snapshots.ledgers import CHUNK, PAY, applied, head_of, ledger, load, replayed, take


class AtOnce(Executor):
    """Runs what it is given before it returns."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a future keeps it
            future.set_exception(error)
        return future


def keeping_replica(keeper: Keeper | None, store: Store | None = None) -> Replica:
    replica = Replica(Store.memory() if store is None else store)
    replica.app = Application(replica.store, keeper=keeper)
    return replica


def pay(replica: Replica, times: int = 1) -> None:
    for _ in range(times):
        replica.height(replica.sign(SPONSOR, TOKEN, PAY))


def heights(app: Application) -> list[int]:
    return [snapshot.height for snapshot in app.list_snapshots()]


def test_a_snapshot_is_taken_at_every_nth_height_and_the_newest_are_kept(tmp_path: Path) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=2, keep=2, chunk_bytes=CHUNK))
    seen = []
    for _ in range(7):
        pay(replica)
        seen.append(heights(replica.app))
    assert seen == [[], [2], [2], [4, 2], [4, 2], [6, 4], [6, 4]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "6"]


@pytest.mark.parametrize("changes", [{"every": 0}, {"keep": 0}])
def test_none_at_all_is_asked_for_by_having_no_keeper(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(SnapshotError, match="at least 1"):
        Keeper(tmp_path / "snapshots", AtOnce(), **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_idle_height_has_a_snapshot_too(tmp_path: Path) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=2))
    for _ in range(4):
        replica.height()
    assert heights(replica.app) == [4, 2]
    assert len({snapshot.hash for snapshot in replica.app.list_snapshots()}) == 2


def test_what_is_served_is_what_a_new_replica_takes(tmp_path: Path) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=3, chunk_bytes=CHUNK))
    pay(replica, 3)
    info = replica.app.info()
    pay(replica, 2)
    (names,) = replica.app.list_snapshots()
    joiner = Application(Store.memory(), genesis=genesis())
    assert joiner.offer_snapshot(names, info.app_hash) is OfferResult.ACCEPT
    for index in range(names.chunks):
        chunk = replica.app.load_snapshot_chunk(names.height, names.format, index)
        assert joiner.apply_snapshot_chunk(index, chunk, "peer").result is ApplyResult.ACCEPT
    assert joiner.info() == info


def test_a_replica_that_joined_serves_the_snapshot_of_a_later_height(tmp_path: Path) -> None:
    first = keeping_replica(Keeper(tmp_path / "first", AtOnce(), every=2, chunk_bytes=CHUNK))
    pay(first, 2)
    store = Store.memory()
    joiner = Application(store, keeper=Keeper(tmp_path / "second", AtOnce(), every=2, chunk_bytes=CHUNK))
    (names,) = first.app.list_snapshots()
    taken = load(tmp_path / "first" / "2")
    assert joiner.offer_snapshot(names, first.app.info().app_hash) is OfferResult.ACCEPT
    assert applied(joiner, taken.chunks).result is ApplyResult.ACCEPT
    second = Replica(store, first.document, first.time)
    second.app = joiner
    for _ in range(2):
        raw = first.sign(SPONSOR, TOKEN, PAY)
        assert first.height(raw) == second.height(raw)
    assert joiner.list_snapshots()[0] == first.app.list_snapshots()[0]
    assert load(tmp_path / "first" / "4") == load(tmp_path / "second" / "4")


def test_without_a_keeper_nothing_is_served() -> None:
    app = Replica().app
    assert app.list_snapshots() == []
    assert app.load_snapshot_chunk(1, FORMAT, 0) == b""


@pytest.mark.parametrize(
    ("height", "version", "index"), [(1, FORMAT, 0), (2, FORMAT + 1, 0), (2, FORMAT, 99), (2, 1, -1)]
)
def test_what_is_not_there_is_an_empty_chunk(tmp_path: Path, height: int, version: int, index: int) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=2))
    pay(replica, 2)
    assert replica.app.load_snapshot_chunk(2, FORMAT, 0)
    assert replica.app.load_snapshot_chunk(height, version, index) == b""


@pytest.mark.parametrize("name", ["00000", "manifest"])
def test_a_damaged_snapshot_is_not_served(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=2, keep=2))
    pay(replica, 4)
    path = tmp_path / "4" / name
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert replica.app.load_snapshot_chunk(4, FORMAT, 0) == b""
    assert heights(replica.app) == ([2] if name == "manifest" else [4, 2])
    assert "snapshot of height 4 cannot be served" in caplog.text
    pay(replica, 2)
    assert heights(replica.app)[0] == 6


def test_what_a_killed_program_left_is_removed_and_the_rest_is_served(tmp_path: Path) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=2))
    pay(replica, 2)
    (tmp_path / "4.draft").mkdir()
    (tmp_path / "4.draft" / "00000").write_bytes(b"half")
    app = Application(replica.store, keeper=Keeper(tmp_path, AtOnce(), every=2))
    assert heights(app) == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_a_height_that_is_there_already_is_not_taken_again(tmp_path: Path) -> None:
    """After a restart behind a snapshot, such as on a restored backup."""
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=2))
    pay(replica, 2)
    before = (tmp_path / "2" / "manifest").stat().st_mtime_ns
    Keeper(tmp_path, AtOnce(), every=2).committed(replica.store, head_of(replica.store))
    assert (tmp_path / "2" / "manifest").stat().st_mtime_ns == before


def test_blocks_go_on_while_a_snapshot_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread stops in the middle until five more heights are there and the map has grown under it."""
    monkeypatch.setattr(storage, "_FIRST_MAP_BYTES", 1 << 20)
    started, go_on = threading.Event(), threading.Event()
    chunks = files._chunks  # noqa: SLF001 - slowed down here

    def slowly(*arguments: Any) -> Any:
        for index, chunk in enumerate(chunks(*arguments)):
            if index == 3:
                started.set()
                assert go_on.wait(60)
            yield chunk

    monkeypatch.setattr(files, "_chunks", slowly)
    store = Store.open(tmp_path / "ledger", sync=False)
    with ThreadPoolExecutor(1) as threads:
        keeper = Keeper(tmp_path / "snapshots", threads, every=3, chunk_bytes=CHUNK)
        replica = keeping_replica(keeper, store)
        pay(replica, 3)
        twin_commit = head_of(store)
        assert started.wait(60)
        for number in range(5):
            store.stage(Space.NODE, *_ballast(number))
            store.commit()
            pay(replica)
        grown = (tmp_path / "ledger" / "data.mdb").stat().st_size > 1 << 20
        unfinished = heights(replica.app)
        go_on.set()
        assert (grown, unfinished) == (True, [])
        keeper._running.result(60)  # type: ignore[union-attr] # noqa: SLF001 - nothing else says when it is done
        assert heights(replica.app) == [3]
        monkeypatch.undo()
        assert load(tmp_path / "snapshots" / "3") == take(store, twin_commit)
        pay(replica)
        keeper._running.result(60)  # type: ignore[union-attr] # noqa: SLF001
        assert heights(replica.app) == [9, 3]  # height 6 came while the one of 3 was being taken
        keeper.close()
    store.close()


def test_readers_in_other_threads_survive_a_growing_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_FIRST_MAP_BYTES", 1 << 17)
    store = Store.open(tmp_path, sync=False)
    store.stage(Space.META, b"key", b"value" * 100)
    store.commit()
    stop = threading.Event()

    def read() -> int:
        times = 0
        while not stop.is_set():
            assert store.read(Space.META, b"key") == b"value" * 100
            times += 1
        return times

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        for number in range(200):
            store.stage(Space.NODE, *_ballast(number, 1 << 16))
            store.commit()
        stop.set()
        assert all(reader.result(60) > 0 for reader in readers)
    store.close()


def test_closing_stops_what_is_being_taken_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()
    chunks = files._chunks  # noqa: SLF001 - slowed down here
    stop = threading.Event()

    def slowly(*arguments: Any) -> Any:
        for chunk in chunks(*arguments):
            started.set()
            assert stop.wait(60)
            yield chunk

    monkeypatch.setattr(files, "_chunks", slowly)
    with ThreadPoolExecutor(1) as threads:
        keeper = Keeper(tmp_path, threads, every=1, chunk_bytes=CHUNK)
        monkeypatch.setattr(keeper, "_stop", stop)
        pay(keeping_replica(keeper))
        assert started.wait(60)
        keeper.close()
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_the_snapshot_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=1, chunk_bytes=CHUNK))
    write = files._write  # noqa: SLF001 - the disk

    def full(path: Path, data: bytes) -> None:
        if path.name == "00002":
            message = "No space left on device"
            raise OSError(message)
        write(path, data)

    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(files, "_write", full)
        pay(replica)
    assert list(tmp_path.iterdir()) == []
    assert "no snapshot of height 1: No space left" in caplog.text
    pay(replica)
    assert heights(replica.app) == [2]


def test_a_damaged_store_stops_the_node_at_the_next_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = keeping_replica(Keeper(tmp_path, AtOnce(), every=1))

    def corrupt(store: Store, commit: Commit, *_: Any, **__: Any) -> None:
        raise StoreCorruptError(store.path, "node", commit.app_hash, "is missing")

    monkeypatch.setattr(keeping, "write_snapshot", corrupt)
    pay(replica)
    with pytest.raises(StoreCorruptError):
        pay(replica)


def test_a_commit_that_is_not_due_takes_nothing(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, AtOnce(), every=5)
    source = replayed(ledger())
    commit = head_of(source.store)
    assert commit.height % 5 != 0
    keeper.committed(source.store, commit)
    assert keeper.snapshots() == []


def _ballast(number: int, size: int = 1 << 19) -> tuple[bytes, bytes]:
    value = number.to_bytes(4, "big") + bytes(size)
    return keccak256(value), value
