"""Ledger stores that were rewritten on purpose, with every checksum and hash that the store itself knows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from chain.execution.blocks import Log, decode_header, decode_receipt
from chain.execution.index import item_key, number_key
from chain.execution.trie import ordered_root
from chain.storage import Space
from contracts import events as kinds
from node.audit import AuditReport, Part
from node.audit.history import blocks_of
from node.audit.replay import Replay
from node.cli import main
from tests.node.audit import tamper

Audit = Callable[..., AuditReport]


def stored(run: Path, space: Space) -> dict[bytes, bytes]:
    table = tamper.read_all(tamper.ledger(run), space.value)
    return {key: value[tamper.CHECK_BYTES :] for key, value in table.items()}


def credits_of(replay: Replay, round_: int) -> tuple[int, int, int]:
    """Return the block, the transaction in it and the height in which a round's first reward was credited."""
    for block in blocks_of(replay):
        for transaction in block.transactions:
            if any(isinstance(event, kinds.Credited) and event.round == round_ for event in transaction.events):
                return block.number, transaction.index, block.height
    raise AssertionError(round_)


def richer(run: Path, block: int, index: int) -> bytes:
    """Double the amount in the first `Credited` log of a receipt: its last word."""
    receipt = decode_receipt(stored(run, Space.RECEIPT)[item_key(block, index)])
    at = next(i for i, log in enumerate(receipt.logs) if log.topics[0] == CREDITED)
    log = receipt.logs[at]
    amount = 2 * int.from_bytes(log.data[-32:], "big")
    changed = Log(log.address, log.topics, log.data[:-32] + amount.to_bytes(32, "big"))
    return replace(receipt, logs=(*receipt.logs[:at], changed, *receipt.logs[at + 1 :])).encode()


CREDITED = kinds.event_topic("Credited")


def test_a_changed_value_is_named_by_its_field_and_client(audit: Audit, run: Path, replay: Replay) -> None:
    events = [event for block in blocks_of(replay) for event in block.events]
    record = next(event for event in events if isinstance(event, kinds.Recorded))
    paid = next(event for event in events if isinstance(event, kinds.Credited))
    header = decode_header(stored(run, Space.HEADER)[number_key(3)])
    theta, digest = paid.theta.to_bytes(32, "big"), record.digest
    for space, value, at in (
        (Space.TRANSACTION, digest, 5),
        (Space.RECEIPT, theta, 31),
        (Space.HEADER, header.state_root, 0),
    ):
        key, raw = next((key, raw) for key, raw in stored(run, space).items() if value in raw)
        changed = raw.replace(value, tamper.flipped(value, at))
        tamper.put_checked(tamper.ledger(run), space, key, changed)
    lines = {one.part: one.line() for one in audit(run).divergences}
    other = tamper.flipped(digest, 5).hex()
    assert lines[Part.TRANSACTION].endswith(f"entry 0: digest {digest.hex()}, found {other}")
    assert f"client {record.client}: transaction" in lines[Part.TRANSACTION]
    assert lines[Part.RECEIPT].endswith(f"Credited: theta {paid.theta}, found {paid.theta ^ 1}")
    assert f"client {paid.client}: receipt" in lines[Part.RECEIPT]
    assert f"state_root {header.state_root.hex()}, found " in lines[Part.BLOCK]


def test_another_reward_in_a_receipt_is_named_with_its_round(
    audit: Audit, run: Path, replay: Replay, capsys: pytest.CaptureFixture[str]
) -> None:
    block, index, height = credits_of(replay, 2)
    tamper.put_checked(tamper.ledger(run), Space.RECEIPT, item_key(block, index), richer(run, block, index))
    (found,) = audit(run).divergences
    assert (found.store, found.part) == ("validator 2 ledger", Part.RECEIPT)
    assert (found.height, found.block, found.job, found.round) == (height, block, 1, 2)
    assert main(["audit", str(run)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        f"DIVERGES: validator 2 ledger, height {height}, block {block}, job 1, round 2, client {found.client}: receipt:"
    )
    assert ", Credited: reward " in last


def test_a_block_rewritten_around_another_reward_is_named(audit: Audit, run: Path, replay: Replay) -> None:
    """The receipt, the root over its block's receipts, the block's hash and the parent hash of every later block."""
    block, index, height = credits_of(replay, 2)
    path, receipts, headers = tamper.ledger(run), stored(run, Space.RECEIPT), stored(run, Space.HEADER)
    receipts[item_key(block, index)] = richer(run, block, index)
    tamper.put_checked(path, Space.RECEIPT, item_key(block, index), receipts[item_key(block, index)])
    root = ordered_root([receipts[key] for key in sorted(receipts) if key.startswith(number_key(block))])
    parent = b""
    for number in range(block, len(headers)):
        old = decode_header(headers[number_key(number)])
        new = replace(old, receipts_root=root) if number == block else replace(old, parent_hash=parent)
        tamper.put_checked(path, Space.HEADER, number_key(number), new.encode())
        tamper.put(path, old.hash, None, Space.NUMBER.value)
        tamper.put_checked(path, Space.NUMBER, new.hash, number_key(number))
        parent = new.hash
    report = audit(run)
    assert {divergence.store for divergence in report.divergences} == {"validator 2 ledger"}
    parts = {divergence.part for divergence in report.divergences}
    assert parts == {Part.BLOCK, Part.INDEX, Part.RECEIPT}
    lowest = min(divergence.height for divergence in report.divergences if divergence.height is not None)
    assert lowest == height
    assert any(
        divergence.part is Part.RECEIPT and (divergence.block, divergence.round) == (block, 2)
        for divergence in report.divergences
    )


def test_a_transaction_replaced_by_another_valid_one_is_named(audit: Audit, run: Path) -> None:
    transactions = stored(run, Space.TRANSACTION)
    tamper.put_checked(tamper.ledger(run), Space.TRANSACTION, item_key(6, 0), transactions[item_key(5, 0)])
    (found,) = audit(run).divergences
    assert (found.store, found.part, found.block) == ("validator 2 ledger", Part.TRANSACTION, 6)


@pytest.mark.parametrize("space", [Space.HEADER, Space.TRANSACTION, Space.RECEIPT, Space.MISBEHAVIOR])
def test_an_entry_that_nothing_explains_is_named(audit: Audit, run: Path, space: Space) -> None:
    key = number_key(9_999) if space is Space.HEADER else item_key(9_999, 0)
    tamper.put_checked(tamper.ledger(run), space, key, b"made up")
    (found,) = audit(run).divergences
    assert found.store == "validator 2 ledger"
    assert "nothing explains" in found.expected


def test_a_table_that_nothing_explains_is_named(audit: Audit, run: Path) -> None:
    with lmdb.open(str(tamper.ledger(run)), max_dbs=16) as environment:
        environment.open_db(b"more")
    (found,) = audit(run).divergences
    assert (found.store, found.part) == ("validator 2 ledger", Part.STORE)


def test_a_state_node_that_is_gone_is_named(audit: Audit, run: Path) -> None:
    key = min(tamper.read_all(tamper.ledger(run), Space.NODE.value))
    tamper.put(tamper.ledger(run), key, None, Space.NODE.value)
    (found,) = audit(run).divergences
    assert (found.store, found.part, found.found) == ("validator 2 ledger", Part.STATE, "nothing")
