"""Crash rules: a height is durable as a whole or not at all, and may be finalized again."""

import subprocess
import sys
from pathlib import Path

import pytest

from chain.application import Application, Code
from chain.errors import StoreCorruptError
from chain.execution.index import Commit, number_key, stage_commit
from chain.storage import Space, Store
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.chain.ledger import SPONSOR, Replica, codes

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)


def test_finalizing_again_gives_the_same_and_changes_nothing_durable() -> None:
    replica = Replica()
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(2)]
    first = replica.finalize(*raws)
    assert replica.app.info().height == 0
    assert replica.reader.latest() == 0
    assert replica.finalize(*raws) == first
    other = replica.finalize(raws[0])
    assert other.app_hash != first.app_hash
    assert replica.height(*raws) == first


def test_a_replica_that_died_between_finalize_and_commit_does_the_height_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    replica = Replica(store)
    replica.height(replica.sign(SPONSOR, TOKEN, PAY))
    raw = replica.sign(SPONSOR, TOKEN, PAY)
    before = replica.app.info()
    lost = replica.finalize(raw)
    store.close()
    reopened = Application(Store.open(tmp_path))
    assert reopened.info() == before
    again = Replica(reopened._store, time=replica.time)  # noqa: SLF001 - the same store, as after a restart
    assert again.height(raw) == lost


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    replica = Replica(store)
    blocks = [replica.height(replica.sign(SPONSOR, TOKEN, PAY)).block for _ in range(3)]
    replica.height()
    info = replica.app.info()
    store.close()
    app = Application(Store.open(tmp_path))
    assert app.info() == info
    assert app.info().height == 4
    assert [app.reader().block(number) for number in (1, 2, 3)] == blocks
    assert app.reader().nonce(SPONSOR.address) == 3


SCRIPT = """
import os, sys
from pathlib import Path
from chain.storage import Store
from tests.chain.ledger import *
r = Replica(Store.open(Path(sys.argv[1])))
raw = r.sign(SPONSOR, TOKEN, Token.encode_transfer(bytes(19) + b"\\1", 5))
r.finalize(raw)
if sys.argv[2] == "after": r.app.commit()
os._exit(9)
"""


@pytest.mark.parametrize(("moment", "height"), [("before", 0), ("after", 1)])
def test_a_killed_process_leaves_the_last_commit(tmp_path: Path, moment: str, height: int) -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), moment], check=False)  # noqa: S603 - our own
    assert result.returncode == 9
    app = Application(Store.open(tmp_path))
    assert app.info().height == app.reader().latest() == height


def test_a_commit_that_fails_leaves_the_height_open(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica()
    raw = replica.sign(SPONSOR, TOKEN, PAY)
    expected = replica.finalize(raw)
    with monkeypatch.context() as broken:
        broken.setattr(replica.store, "commit", _fail)
        with pytest.raises(OSError, match="disk"):
            replica.app.commit()
    assert replica.app.info().height == 0
    assert replica.finalize(raw) == expected
    replica.app.commit()
    assert replica.app.info().app_hash == expected.app_hash


def _fail() -> None:
    message = "disk is full"
    raise OSError(message)


@pytest.mark.parametrize(("number", "what"), [(1, "is not the committed block"), (9, "is missing")])
def test_a_head_that_was_not_committed_is_not_opened(number: int, what: str) -> None:
    replica = Replica()
    replica.height(replica.sign(SPONSOR, TOKEN, PAY))
    stage_commit(replica.store, Commit(1, number, bytes(32)))
    replica.store.commit()
    with pytest.raises(StoreCorruptError, match=what):
        Application(replica.store)


def test_a_swapped_header_is_noticed_when_read() -> None:
    replica = Replica()
    for _ in range(2):
        replica.height(replica.sign(SPONSOR, TOKEN, PAY))
    header = replica.store.read(Space.HEADER, number_key(1))
    assert header is not None
    replica.store.stage(Space.HEADER, number_key(2), header)
    replica.store.commit()
    with pytest.raises(StoreCorruptError, match="another block's"):
        replica.reader.header(2)


def test_old_heights_executed_again_from_genesis_give_the_same_hashes() -> None:
    replica = Replica()
    decided: list[tuple[bytes, ...]] = []
    hashes: list[bytes] = []
    for number in range(4):
        raws = (*(replica.sign(SPONSOR, TOKEN, PAY) for _ in range(number)), b"rubbish")
        decided.append(raws)
        finalized = replica.height(*raws)
        hashes.append(finalized.app_hash)
        assert codes(finalized) == [Code.OK] * number + [Code.REFUSED_TYPE]
    again = Replica()
    assert [again.height(*raws).app_hash for raws in decided] == hashes
