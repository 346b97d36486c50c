"""The store: nothing before a commit, everything after it, and no damaged byte is ever served."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from chain import storage
from chain.crypto.hashing import keccak256
from chain.errors import (
    StoreCorruptError,
    StoreError,
    StoreFormatError,
    StoreMissingError,
    StoreReadOnlyError,
)
from chain.storage import Space, Store


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = Store.memory() if request.param == "memory" else Store.open(tmp_path / "ledger", sync=False)
    yield opened
    opened.close()


def test_staged_values_are_seen_only_when_asked_for(store: Store) -> None:
    store.stage(Space.HEADER, b"k", b"v")
    assert store.read(Space.HEADER, b"k") is None
    assert store.read(Space.HEADER, b"k", staged=True) == b"v"
    store.commit()
    assert store.read(Space.HEADER, b"k") == b"v"


def test_discarded_values_never_appear(store: Store) -> None:
    store.stage(Space.HEADER, b"k", b"v")
    store.discard()
    store.commit()
    assert store.read(Space.HEADER, b"k", staged=True) is None


def test_spaces_do_not_mix_and_scans_are_in_order(store: Store) -> None:
    for number in (3, 1, 2):
        store.stage(Space.RECEIPT, bytes([number]), bytes([number]) * 3)
    store.stage(Space.TRANSACTION, b"\1", b"other")
    store.commit()
    assert list(store.scan(Space.RECEIPT, b"\2")) == [(b"\2", b"\2\2\2"), (b"\3", b"\3\3\3")]
    assert store.read(Space.TRANSACTION, b"\1") == b"other"


def test_empty_values_are_values(store: Store) -> None:
    store.stage(Space.META, b"k", b"")
    store.commit()
    assert store.read(Space.META, b"k") == b""


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    first = Store.open(tmp_path)
    first.stage(Space.HEADER, b"k", b"v")
    first.commit()
    first.stage(Space.HEADER, b"lost", b"v")
    first.close()
    second = Store.open(tmp_path)
    assert second.read(Space.HEADER, b"k") == b"v"
    assert second.read(Space.HEADER, b"lost") is None
    second.close()


def test_a_process_that_dies_before_commit_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from chain.storage import *;"
        "s = Store.open(Path(sys.argv[1])); s.stage(Space.META, b'a', b'1'); s.commit();"
        "s.stage(Space.META, b'a', b'2'); s.stage(Space.META, b'b', b'2'); os._exit(9)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)  # noqa: S603 - our own code
    assert result.returncode == 9
    store = Store.open(tmp_path)
    assert (store.read(Space.META, b"a"), store.read(Space.META, b"b")) == (b"1", None)
    store.close()


def test_another_process_can_read_while_this_one_writes(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.stage(Space.META, b"a", b"1")
    store.commit()
    code = (
        "import sys; from pathlib import Path; from chain.storage import *;"
        "s = Store.open(Path(sys.argv[1]), readonly=True); print(s.read(Space.META, b'a'))"
    )
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "b'1'"
    store.close()


def test_the_map_grows_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_FIRST_MAP_BYTES", 1 << 20)
    store = Store.open(tmp_path, sync=False)
    for number in range(64):
        store.stage(Space.TRANSACTION, number.to_bytes(8, "big"), bytes(100_000))
        store.commit()
    assert sum(len(value) for _, value in store.scan(Space.TRANSACTION)) == 6_400_000
    store.close()
    again = Store.open(tmp_path, readonly=True)
    assert sum(1 for _ in again.scan(Space.TRANSACTION)) == 64
    again.close()


def test_reading_what_is_not_there_names_the_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="holds no ledger"):
        Store.open(tmp_path / "nothing", readonly=True)
    assert not (tmp_path / "nothing").exists()


def test_a_store_opened_for_reading_cannot_be_changed(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    store = Store.open(tmp_path, readonly=True)
    store.stage(Space.META, b"a", b"1")
    with pytest.raises(StoreReadOnlyError, match="reading only"):
        store.commit()
    store.close()


def test_another_format_is_refused_with_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path).close()
    monkeypatch.setattr(storage, "FORMAT", "merit-store/2")
    with pytest.raises(StoreFormatError, match="format merit-store/1, this program reads merit-store/2"):
        Store.open(tmp_path)


@pytest.mark.parametrize("tables", [0, 3, len(Space)])
def test_a_store_whose_making_was_cut_short_is_made_to_its_end(tmp_path: Path, tables: int) -> None:
    environment = lmdb.open(str(tmp_path), max_dbs=len(Space))
    for space in tuple(Space)[:tables]:
        environment.open_db(space.encode())
    environment.close()
    Store.open(tmp_path).close()
    Store.open(tmp_path, readonly=True).close()


def test_a_store_that_lost_its_format_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.stage(Space.HEADER, b"k", b"v")
    store.commit()
    store.close()
    environment = lmdb.open(str(tmp_path), max_dbs=len(Space))
    meta = environment.open_db(Space.META.encode())
    with environment.begin(write=True) as transaction:
        transaction.delete(b"format", db=meta)
    environment.close()
    with pytest.raises(StoreFormatError, match="format unknown"):
        Store.open(tmp_path)


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    environment = lmdb.open(str(tmp_path))
    with environment.begin(write=True) as transaction:
        transaction.put(b"k", b"v")
    environment.close()
    with pytest.raises(StoreFormatError, match="format unknown"):
        Store.open(tmp_path, readonly=True)
    with pytest.raises(StoreFormatError, match="format unknown"):
        Store.open(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(tmp_path)


def damage(path: Path, space: Space, change: str) -> None:
    """Change the one value of a space behind the store's back."""
    environment = lmdb.open(str(path), max_dbs=16)
    table = environment.open_db(space.encode())
    with environment.begin(write=True) as transaction:
        with transaction.cursor(table) as cursor:
            entries = list(cursor.iternext())
        key, value = entries[0]
        match change:
            case "value":
                transaction.put(key, value[:-1] + bytes([value[-1] ^ 1]), db=table)
            case "checksum":
                transaction.put(key, bytes([value[0] ^ 1]) + value[1:], db=table)
            case "cut":
                transaction.put(key, value[:3], db=table)
            case "moved":
                transaction.put(key[:-1] + bytes([key[-1] ^ 1]), value, db=table)
    environment.close()


@pytest.mark.parametrize("space", [Space.HEADER, Space.NODE])
@pytest.mark.parametrize("change", ["value", "checksum", "cut"])
def test_a_damaged_value_raises_and_names_the_record(tmp_path: Path, space: Space, change: str) -> None:
    value = b"some bytes of a value"
    key = keccak256(value)
    store = Store.open(tmp_path)
    store.stage(space, key, value)
    store.commit()
    store.close()
    damage(tmp_path, space, change)
    store = Store.open(tmp_path)
    with pytest.raises(StoreCorruptError, match=f"{space} 0x{key.hex()}"):
        store.read(space, key)
    with pytest.raises(StoreCorruptError):
        list(store.scan(space))
    store.close()


@pytest.mark.parametrize("space", [Space.HEADER, Space.NODE])
def test_a_value_under_another_key_raises(tmp_path: Path, space: Space) -> None:
    value = b"some bytes of a value"
    key = keccak256(value)
    store = Store.open(tmp_path)
    store.stage(space, key, value)
    store.commit()
    store.close()
    damage(tmp_path, space, "moved")
    store = Store.open(tmp_path)
    with pytest.raises(StoreCorruptError):
        store.read(space, key[:-1] + bytes([key[-1] ^ 1]))
    store.close()
