"""Ledger stores that were made of a snapshot: they lack old states, and nothing else may be missing or more."""

from collections.abc import Callable
from pathlib import Path

import pytest

from chain.application import Application, Timestamp
from chain.execution.index import Commit, read_commit, stage_start
from chain.snapshots.files import restore, write_snapshot
from chain.storage import Space, Store
from node.audit import AuditReport, Part
from tests.node.audit import tamper

Audit = Callable[..., AuditReport]


@pytest.fixture
def restored(run: Path, tmp_path: Path) -> Path:
    """The run with validator 2's ledger restored from a snapshot of a height in its middle, and gone on from there."""
    old = Store.open(tamper.ledger(run), readonly=True)
    app = Application(old)
    last = app.reader().latest()
    blocks = {block.engine_height: block for block in map(app.reader().block, range(1, last + 1))}
    middle = app.reader().block(last // 2)
    commit = Commit(middle.engine_height, middle.number, middle.hash)
    write_snapshot(old, commit, tmp_path / "snapshot")
    assert restore(tmp_path / "snapshot", tmp_path / "ledger") == commit
    new = Store.open(tmp_path / "ledger", sync=False)
    again = Application(new)
    for height in range(commit.height + 1, app.info().height + 1):
        block = blocks.get(height)  # type: ignore[call-overload] # a plain number is a height here
        seconds = block.header.timestamp if block else 0
        again.finalize_block(height, Timestamp(seconds), block.transactions if block else ())
        again.commit()
    assert again.info() == app.info()
    assert len(list(new.scan(Space.NODE))) < len(list(old.scan(Space.NODE)))
    old.close()
    new.close()
    (tmp_path / "ledger" / "data.mdb").replace(tamper.ledger(run) / "data.mdb")
    return run


def test_a_restored_ledger_is_audited_with_a_note(audit: Audit, restored: Path) -> None:
    report = audit(restored)
    assert report.ok, report.divergences
    notes = [remark for remark in report.remarks if "started from a snapshot" in remark]
    assert len(notes) == 1
    assert notes[0].startswith("validator 2 ledger: ")


def test_every_node_since_the_snapshot_must_be_there(audit: Audit, restored: Path) -> None:
    nodes = sorted(tamper.read_all(tamper.ledger(restored), Space.NODE.value).items())
    for key, value in nodes[:: len(nodes) // 8]:
        tamper.put(tamper.ledger(restored), key, None, Space.NODE.value)
        (found,) = audit(restored).divergences
        assert (found.store, found.part, found.found) == ("validator 2 ledger", Part.STATE, "nothing")
        assert key.hex() in found.expected
        tamper.put(tamper.ledger(restored), key, value, Space.NODE.value)
    assert audit(restored).ok


def test_a_node_that_nothing_explains_is_found_in_a_restored_ledger_too(audit: Audit, restored: Path) -> None:
    tamper.put(tamper.ledger(restored), b"\7" * 32, b"node", Space.NODE.value)
    (found,) = audit(restored).divergences
    assert found.part is Part.STATE


def test_a_missing_old_block_is_found_in_a_restored_ledger_too(audit: Audit, restored: Path) -> None:
    tamper.put(tamper.ledger(restored), bytes(7) + b"\1", None, Space.HEADER.value)
    assert [found.part for found in audit(restored).divergences] == [Part.BLOCK]


@pytest.mark.parametrize("changes", [{"app_hash": bytes(32)}, {"number": 1}, {"height": 10**6}, {"height": -1}])
def test_a_start_that_was_none_is_named(audit: Audit, restored: Path, changes: dict[str, object]) -> None:
    store = Store.open(tamper.ledger(restored))
    commit = read_commit(store)
    assert commit is not None
    fields = {"height": commit.height, "number": commit.number, "app_hash": commit.app_hash} | changes
    stage_start(store, Commit(**fields))  # type: ignore[arg-type]
    store.commit()
    store.close()
    found = audit(restored).divergences
    assert found[0].part in {Part.META, Part.STATE}
    assert Part.META in {divergence.part for divergence in found}


def test_a_start_that_does_not_decode_is_named(audit: Audit, restored: Path) -> None:
    tamper.put_checked(tamper.ledger(restored), Space.META, b"start", b"\xff")
    assert Part.META in {found.part for found in audit(restored).divergences}


def test_a_store_that_lost_its_record_of_the_start_lacks_states(audit: Audit, restored: Path) -> None:
    tamper.put(tamper.ledger(restored), b"start", None, Space.META.value)
    assert {found.part for found in audit(restored).divergences} == {Part.STATE}
