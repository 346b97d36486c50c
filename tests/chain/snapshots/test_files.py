"""Backup and restore, and snapshots as directories."""

import subprocess
import sys
from pathlib import Path

import pytest

from chain.application import Application
from chain.errors import (
    GenesisError,
    SnapshotChunkError,
    SnapshotError,
    SnapshotExistsError,
    SnapshotLedgerError,
    SnapshotManifestError,
    SnapshotSizeError,
    StoreCorruptError,
    StoreMissingError,
    VersionError,
)
from chain.snapshots import content, files
from chain.snapshots.files import backup, read_chunk, read_manifest, restore, write_snapshot
from chain.storage import Space, Store
from contracts.addresses import TOKEN
from tests.chain.ledger import SPONSOR, Replica
from tests.chain.snapshots.ledgers import CHUNK, PAY, contents, head_of, ledger, replayed, snapshot, take


@pytest.fixture
def written(tmp_path: Path) -> Path:
    directory = tmp_path / "written"
    write_snapshot(ledger().store, head_of(ledger().store), directory, chunk_bytes=CHUNK)
    return directory


def holds_no_ledger(path: Path) -> bool:
    store = Store.open(path)
    try:
        return Application(store).info().height == 0 and list(store.scan(Space.HEADER)) == []
    finally:
        store.close()


def test_a_backup_of_a_running_replica_is_restored_and_goes_on(tmp_path: Path) -> None:
    running = replayed(ledger(), Store.open(tmp_path / "running", sync=False))
    names = backup(running.store, tmp_path / "backup")
    assert (names.height, names.chunks) == (running.app.info().height, 1)
    raw = running.sign(SPONSOR, TOKEN, PAY)
    before = running.app.info()
    expected = running.height(raw)
    assert restore(tmp_path / "backup", tmp_path / "restored") == head_of(ledger().store)
    store = Store.open(tmp_path / "restored")
    assert Application(store).info() == before
    assert Replica(store, running.document, running.time - 1).height(raw) == expected
    store.close()
    running.store.close()


def test_another_process_backs_up_what_this_one_writes(tmp_path: Path) -> None:
    running = replayed(ledger(), Store.open(tmp_path / "running", sync=False))
    code = (
        "import sys; from pathlib import Path; from chain.storage import Store;"
        "from chain.snapshots.files import backup;"
        "print(backup(Store.open(Path(sys.argv[1]), readonly=True), Path(sys.argv[2])).hash.hex())"
    )
    result = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", code, str(tmp_path / "running"), str(tmp_path / "backup")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == take(ledger().store, chunk_bytes=1 << 22).snapshot.hash.hex()
    running.store.close()


def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    backup(ledger().store, tmp_path / "backup")
    before = {path.name: path.read_bytes() for path in (tmp_path / "backup").iterdir()}
    with pytest.raises(SnapshotExistsError, match="something already"):
        backup(ledger().store, tmp_path / "backup")
    assert {path.name: path.read_bytes() for path in (tmp_path / "backup").iterdir()} == before


def test_an_empty_store_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        backup(Store.memory(), tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


def test_restoring_never_overwrites_a_ledger(tmp_path: Path, written: Path) -> None:
    running = Replica(Store.open(tmp_path / "ledger", sync=False))
    info = running.app.info()
    running.store.close()
    with pytest.raises(SnapshotExistsError, match="a ledger already"):
        restore(written, tmp_path / "ledger")
    store = Store.open(tmp_path / "ledger")
    assert Application(store).info() == info
    store.close()


def test_what_the_restorer_knows_is_compared(tmp_path: Path, written: Path) -> None:
    commit, digest = head_of(ledger().store), ledger().document.digest()
    with pytest.raises(SnapshotLedgerError, match="the app hash"):
        restore(written, tmp_path / "ledger", app_hash=bytes(32))
    with pytest.raises(SnapshotLedgerError, match="the genesis document"):
        restore(written, tmp_path / "ledger", genesis=bytes(32))
    assert not (tmp_path / "ledger").exists()
    assert restore(written, tmp_path / "ledger", app_hash=commit.app_hash, genesis=digest) == commit


def test_what_was_begun_and_not_ended_is_not_there_and_is_forgotten(tmp_path: Path) -> None:
    store = ledger().store
    calls = iter([False, False, True])
    commit = head_of(store)
    result = write_snapshot(store, commit, tmp_path / "s", chunk_bytes=CHUNK, stopped=lambda: next(calls))
    assert result is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.draft").mkdir()
    (tmp_path / "s.draft" / "00099").write_bytes(b"of an attempt that was killed")
    write_snapshot(store, commit, tmp_path / "s", chunk_bytes=CHUNK)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == [*(f"{index:05}" for index in range(len(snapshot().chunks))), "manifest"]


@pytest.mark.parametrize("name", ["manifest", "00000", "00007"])
def test_a_missing_file_is_named(tmp_path: Path, written: Path, name: str) -> None:
    (written / name).unlink()
    error, what = (
        (SnapshotManifestError, "holds no snapshot")
        if name == "manifest"
        else (
            SnapshotChunkError,
            f"chunk {int(name)} is missing",
        )
    )
    with pytest.raises(error, match=what):
        restore(written, tmp_path / "ledger")
    assert name == "manifest" or holds_no_ledger(tmp_path / "ledger")


def flip(tmp_path: Path, written: Path, name: str, position: int) -> None:
    path = written / name
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(SnapshotError) as caught:
        restore(written, tmp_path / "ledger")
    if name == "manifest":
        assert isinstance(caught.value, SnapshotManifestError)
    else:
        assert isinstance(caught.value, SnapshotChunkError)
        assert caught.value.index == int(name)
    data[position] ^= 0x10
    path.write_bytes(data)


def test_flipped_bytes_of_a_backup_are_noticed_and_the_chunk_is_named(tmp_path: Path, written: Path) -> None:
    for path in sorted(written.iterdir()):
        for position in (0, path.stat().st_size // 2, path.stat().st_size - 1):
            flip(tmp_path, written, path.name, position)
    assert holds_no_ledger(tmp_path / "ledger")
    assert restore(written, tmp_path / "ledger") == head_of(ledger().store)


@pytest.mark.slow
def test_every_flipped_byte_of_a_manifest_is_noticed(tmp_path: Path, written: Path) -> None:
    for position in range((written / "manifest").stat().st_size):
        flip(tmp_path, written, "manifest", position)


def test_every_flipped_byte_of_a_backup_is_noticed_by_its_reader(written: Path) -> None:
    manifest = read_manifest(written)
    for index in (0, len(manifest.chunks) - 1):
        path = written / f"{index:05}"
        data = path.read_bytes()
        for position in range(0, len(data), 211):
            path.write_bytes(data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :])
            with pytest.raises(SnapshotChunkError, match=f"chunk {index} does not have the SHA-256"):
                read_chunk(written, manifest, index)
        path.write_bytes(data)
        assert read_chunk(written, manifest, index) == data


def test_a_ledger_with_too_many_chunks_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SNAPSHOT_CHUNKS", 3)
    with pytest.raises(SnapshotSizeError, match="more than 3 chunks"):
        write_snapshot(ledger().store, head_of(ledger().store), tmp_path / "s", chunk_bytes=CHUNK)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_not_written(tmp_path: Path) -> None:
    source = replayed(ledger())
    root = source.reader.header().state_root
    source.store._backing.write({(Space.NODE, root): b"damaged"})  # type: ignore[attr-defined] # noqa: SLF001
    with pytest.raises(StoreCorruptError, match=f"node 0x{root.hex()} does not hash"):
        backup(source.store, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_an_earlier_state_that_a_restored_store_never_had_is_named(tmp_path: Path, written: Path) -> None:
    restore(written, tmp_path / "ledger")
    store = Store.open(tmp_path / "ledger")
    source = ledger()
    header = source.reader.header(3)
    commit = type(head_of(source.store))(3, 3, header.hash)
    with pytest.raises(StoreCorruptError, match=f"node 0x{header.state_root.hex()} is missing"):
        write_snapshot(store, commit, tmp_path / "earlier")
    store.close()


def test_a_program_that_is_too_old_says_so_and_blames_nobody(
    tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_old(_: bytes) -> None:
        raise VersionError("execution", 2, (1,))  # noqa: EM101 - no message but a part of one

    with monkeypatch.context() as older:
        older.setattr(content, "decode_genesis", too_old)
        with pytest.raises(VersionError, match="install a newer"):
            restore(written, tmp_path / "ledger")
    assert holds_no_ledger(tmp_path / "ledger")

    def unusable(_: bytes) -> None:
        message = "members: nonsense"
        raise GenesisError(message)

    monkeypatch.setattr(content, "decode_genesis", unusable)
    with pytest.raises(SnapshotError, match="members: nonsense"):
        restore(written, tmp_path / "ledger")


def test_the_newest_state_is_restored_from_a_store_on_disk_as_from_memory(tmp_path: Path, written: Path) -> None:
    restore(written, tmp_path / "ledger")
    store = Store.open(tmp_path / "ledger", readonly=True)
    assert contents(store, Space.PLACE, Space.NUMBER) == contents(ledger().store, Space.PLACE, Space.NUMBER)
    assert take(store) == snapshot()
    store.close()
