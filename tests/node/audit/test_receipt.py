"""A client's receipt proves its record and reward offline; whatever is changed in it is named."""

import json
import shutil
from pathlib import Path

import pytest

from contracts.records import blob_digest
from node.audit import Auditor, audit_receipt
from node.audit.container import Container, Key, Kind, Writer, receipt_key
from node.audit.errors import NotAuditableError
from node.audit.receipt import ReceiptReport, form
from node.audit.receipts import save_receipt
from node.audit.scope import ReceiptScope, decode_scope, encode_scope
from node.cli import main

CLIENT = 5


@pytest.fixture(scope="module")
def receipt(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> ReceiptReport:
    return save_receipt(untouched, tmp_path_factory.mktemp("receipt") / "record.receipt", CLIENT)


def entries(path: Path) -> dict[Key, bytes]:
    with Container(path) as container:
        container.index(form)
        return {key: container[key] for key in container}


def rewritten(path: Path, to: Path, changed: dict[Key, bytes]) -> Path:
    with Writer(to) as writer:
        for key, content in entries(path).items():
            writer.add(key, changed.get(key, content))
    return to


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def first(report: ReceiptReport) -> str:
    assert report.first is not None, report.lines
    return report.first.line()


def test_a_receipt_proves_the_record_and_the_reward(receipt: ReceiptReport, auditor: Auditor, untouched: Path) -> None:
    assert receipt.ok, receipt.lines
    assert receipt.record is not None
    assert receipt.record.client == CLIENT
    blobs = [path.read_bytes() for path in (untouched / "edge" / "1" / "blobs").glob("*/*")]
    assert receipt.record.digest in map(blob_digest, blobs)
    (reward,) = receipt.rewards
    whole = next(one for one in auditor.audit(untouched).arithmetic if one.round == reward.round)
    paid = [share.reward_wei for share in whole.shares if share.client == CLIENT]
    assert [getattr(reward, "reward", None)] == paid


def test_it_is_verified_by_the_genesis_hash_alone(receipt: ReceiptReport, tmp_path: Path) -> None:
    shutil.copy(receipt.path, tmp_path / "alone")
    report = audit_receipt(tmp_path / "alone", genesis_hash=receipt.genesis_hash)
    assert report.ok
    assert report.trusted
    assert report.signatures == 12  # of four validators: the first height, the record's, the reward's


def test_another_genesis_hash_is_named(receipt: ReceiptReport) -> None:
    assert "genesis document: expected hash 0x0000" in first(audit_receipt(receipt.path, genesis_hash=bytes(32)))


def test_a_record_that_is_not_paid_yet_has_a_receipt_without_a_reward(receipt: ReceiptReport, tmp_path: Path) -> None:
    scope = receipt.scope
    assert scope is not None
    early = ReceiptScope(
        job=1, client=CLIENT, sequence=scope.sequence, round=None, heights=scope.heights[:2], blocks=scope.blocks[:1]
    )
    kept = {key: raw for key, raw in entries(receipt.path).items() if _in(key, early)}
    with Writer(tmp_path / "early") as writer:
        for key, raw in kept.items():
            writer.add(key, encode_scope(early) if key.kind is Kind.SCOPE else raw)
    report = audit_receipt(tmp_path / "early", genesis_hash=receipt.genesis_hash)
    assert report.ok, report.lines
    assert report.rewards == ()
    assert "reward: none yet in this receipt" in report.lines


def _in(key: Key, scope: ReceiptScope) -> bool:
    if key.kind in {Kind.HEADER, Kind.COMMIT, Kind.VALIDATORS}:
        return key.number in scope.heights
    numbers = {number for number, _ in scope.blocks}
    return key.kind not in {Kind.BLOCK, Kind.RECEIPT} or key.number in numbers or key.number >> 24 in numbers


@pytest.mark.parametrize(("field", "value"), [("client", 6), ("sequence", 1_000), ("round", 99), ("job", 2)], ids=str)
def test_a_receipt_for_another_record_is_named(receipt: ReceiptReport, tmp_path: Path, field: str, value: int) -> None:
    document = json.loads(entries(receipt.path)[Key(Kind.SCOPE)]) | {field: value}
    raw = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    report = audit_receipt(rewritten(receipt.path, tmp_path / "other", {Key(Kind.SCOPE): raw}))
    assert not report.ok
    assert "record" in first(report)


def test_a_reward_that_was_never_paid_is_named_by_its_receipt(receipt: ReceiptReport, tmp_path: Path) -> None:
    scope = receipt.scope
    assert scope is not None
    number, count = scope.blocks[-1]
    amount = next(one for one in receipt.rewards).reward.to_bytes(32, "big")  # type: ignore[union-attr]
    known = entries(receipt.path)
    key = next(key for key in (receipt_key(number, at) for at in range(count)) if amount in known[key])
    more = known[key].replace(amount, (int.from_bytes(amount, "big") + 1).to_bytes(32, "big"))
    report = audit_receipt(rewritten(receipt.path, tmp_path / "more", {key: more}))
    assert f"block {number}: receipt: expected receipts root" in first(report)


def test_the_command_saves_and_verifies(untouched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "own.receipt"
    assert main(["client", "receipt", str(untouched), "--client", str(CLIENT), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["record"]["client"] == CLIENT
    assert document["rewards"][0]["what"] == "credited"
    assert main(["audit", str(out), "--genesis-hash", document["genesis_hash"]]) == 0
    assert "OK: everything follows from genesis" in capsys.readouterr().out
    out.write_bytes(flipped(out.read_bytes(), -1 + len(out.read_bytes())))
    assert main(["audit", str(out), "--genesis-hash", document["genesis_hash"]]) == 1
    assert capsys.readouterr().out.startswith("DIVERGES: receipt")


def test_a_client_without_records_has_no_receipt(untouched: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAuditableError, match="client 99 has no record in job 1"):
        save_receipt(untouched, tmp_path / "none", 99)
    assert not list(tmp_path.iterdir())


def test_the_scope_of_a_receipt_has_one_form(receipt: ReceiptReport) -> None:
    raw = entries(receipt.path)[Key(Kind.SCOPE)]
    assert encode_scope(decode_scope(raw)) == raw
