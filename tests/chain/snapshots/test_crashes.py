"""Wherever restoring is cut short, the store is empty or whole, and restoring it again works."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chain import storage
from chain.application import Application, ApplyResult, OfferResult
from chain.errors import StoreReadOnlyError
from chain.execution.index import read_commit
from chain.snapshots.files import restore, write_snapshot
from chain.snapshots.restoring import Restorer
from chain.storage import Space, Store
from contracts.addresses import TOKEN
from tests.chain.ledger import SPONSOR, Replica
from tests.chain.snapshots.ledgers import (
    CHUNK,
    PAY,
    applied,
    contents,
    head_of,
    joined,
    ledger,
    offered,
    replayed,
    snapshot,
)


@pytest.fixture(scope="module")
def whole() -> dict[tuple[Space, bytes], bytes]:
    store = Store.memory()
    joined(snapshot(), store)
    return contents(store) | {(Space.META, b"format"): storage.FORMAT.encode()}


def starts_again(path: Path, whole: dict[tuple[Space, bytes], bytes]) -> None:
    """Open what was left; it is empty, and restored again it is whole and goes on."""
    store = Store.open(path, sync=False)
    assert contents(store) == {(Space.META, b"format"): storage.FORMAT.encode()}
    assert [found.name for found in sorted(path.iterdir())] == ["data.mdb", "lock.mdb"]
    joined(snapshot(), store)
    is_whole(path, store, whole)


def is_whole(path: Path, store: Store, whole: dict[tuple[Space, bytes], bytes]) -> None:
    assert contents(store) == whole
    assert [found.name for found in sorted(path.iterdir())] == ["data.mdb", "lock.mdb"]
    source = ledger()
    replica, twin = Replica(store, source.document, source.time), replayed(source)
    raw = twin.sign(SPONSOR, TOKEN, PAY)
    assert replica.height(raw) == twin.height(raw)
    store.close()


@pytest.mark.parametrize("taken", [0, 1, 2, 5, 10, -1])
def test_a_restart_between_chunks_begins_anew(
    tmp_path: Path, whole: dict[tuple[Space, bytes], bytes], taken: int
) -> None:
    store = Store.open(tmp_path, sync=False)
    applied(offered(snapshot(), store), snapshot().chunks[:taken])
    assert (tmp_path / "draft").is_dir()
    store.close()
    starts_again(tmp_path, whole)


class Killed(BaseException):
    """The process ends here."""


def kill(*_: Any, **__: Any) -> None:
    raise Killed


MOMENTS: dict[str, tuple[Any, str]] = {
    "before the draft is durable": (storage._Lmdb, "sync"),  # noqa: SLF001 - the moments within `adopt`
    "before the renaming": (Path, "replace"),
    "before the lock file goes": (Path, "unlink"),
    "before the directory is durable": (storage, "sync_directory"),
    "before the draft is removed": (shutil, "rmtree"),
}


@pytest.fixture
def last_chunk(tmp_path: Path) -> Iterator[Callable[[], None]]:
    store = Store.open(tmp_path)
    app = offered(snapshot(), store)
    applied(app, snapshot().chunks[:-1])
    last = len(snapshot().chunks) - 1
    yield lambda: app.apply_snapshot_chunk(last, snapshot().chunks[last])
    store.close()


@pytest.mark.parametrize("moment", MOMENTS)
def test_putting_it_in_place_happens_as_a_whole_or_not_at_all(
    moment: str,
    tmp_path: Path,
    whole: dict[tuple[Space, bytes], bytes],
    last_chunk: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The directory is looked at as the process left it: a copy, because this one still has it open."""
    with monkeypatch.context() as broken:
        broken.setattr(*MOMENTS[moment], kill)
        with pytest.raises(Killed):
            last_chunk()
    left = tmp_path / "left"
    shutil.copytree(tmp_path, left, ignore=shutil.ignore_patterns("left"))
    if moment in {"before the draft is durable", "before the renaming"}:
        starts_again(left, whole)
    else:
        is_whole(left, Store.open(left, sync=False), whole)


SCRIPT = """
import os, sys
from pathlib import Path
from chain.storage import Store
from tests.chain.snapshots import ledgers
source, target, chunks = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
taken = ledgers.load(source)
app = ledgers.offered(taken, Store.open(target))
ledgers.applied(app, taken.chunks[:chunks])
os._exit(9)
"""


@pytest.mark.parametrize("taken", [0, 8, 1_000])
def test_a_killed_process_leaves_nothing_or_all(
    tmp_path: Path, whole: dict[tuple[Space, bytes], bytes], taken: int
) -> None:
    source = tmp_path / "source"
    _write(source)
    result = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "ledger"), str(taken)], check=False
    )
    assert result.returncode == 9
    if taken > len(snapshot().chunks):
        is_whole(tmp_path / "ledger", Store.open(tmp_path / "ledger", sync=False), whole)
    else:
        starts_again(tmp_path / "ledger", whole)


def test_restoring_a_backup_that_fails_in_the_middle_leaves_an_empty_store(
    tmp_path: Path, whole: dict[tuple[Space, bytes], bytes]
) -> None:
    source = tmp_path / "source"
    _write(source)
    (source / "00009").unlink()
    with pytest.raises(Exception, match="chunk 9 is missing"):
        restore(source, tmp_path / "ledger")
    starts_again(tmp_path / "ledger", whole)


def test_other_processes_that_read_see_the_old_or_the_new_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path, sync=False)
    code = (
        "import sys; from pathlib import Path; from chain.storage import Store;"
        "from chain.execution.index import read_commit;"
        "s = Store.open(Path(sys.argv[1]), readonly=True); print(read_commit(s), flush=True); sys.stdin.readline();"
        "print(read_commit(s)); s.close(); print(read_commit(Store.open(Path(sys.argv[1]), readonly=True)))"
    )
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "None\n"
        joined(snapshot(), store)
        source = ledger()
        replica = Replica(store, source.document, source.time)
        replica.height(replica.sign(SPONSOR, TOKEN, PAY))
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "None\n"
        assert other.stdout.readline() == f"{head_of(store)}\n"
    store.close()


def test_a_disk_that_fails_while_chunks_come_costs_nothing_but_the_attempt(
    tmp_path: Path, whole: dict[tuple[Space, bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path, sync=False)
    app = offered(snapshot(), store)
    applied(app, snapshot().chunks[:4])
    with monkeypatch.context() as broken:
        broken.setattr(storage._Lmdb, "write", _full)  # noqa: SLF001 - the disk
        with pytest.raises(OSError, match="disk is full"):
            app.apply_snapshot_chunk(4, snapshot().chunks[4])
    assert app.info().height == 0
    assert app.apply_snapshot_chunk(4, snapshot().chunks[4]).result is ApplyResult.RETRY_SNAPSHOT
    assert app.offer_snapshot(snapshot().snapshot, snapshot().app_hash) is OfferResult.ACCEPT
    assert applied(app, snapshot().chunks).result is ApplyResult.ACCEPT
    is_whole(tmp_path, store, whole)


def test_a_restorer_puts_nothing_in_place_before_the_last_chunk() -> None:
    store = Store.memory()
    restorer = Restorer(store, snapshot().manifest)
    with pytest.raises(Exception, match="chunk 0 is missing"):
        restorer.put_in_place()
    for chunk in snapshot().chunks[:-1]:
        restorer.take(chunk)
    assert not restorer.complete
    with pytest.raises(Exception, match="is missing"):
        restorer.put_in_place()
    assert contents(store) == {}


def test_a_store_that_is_only_read_takes_no_snapshot(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    store = Store.open(tmp_path, readonly=True)
    with pytest.raises(StoreReadOnlyError):
        Application(store).offer_snapshot(snapshot().snapshot, snapshot().app_hash)
    assert read_commit(store) is None
    store.close()


def _full(*_: object) -> None:
    message = "disk is full"
    raise OSError(message)


def _write(directory: Path) -> None:
    write_snapshot(ledger().store, head_of(ledger().store), directory, chunk_bytes=CHUNK)
