"""Engine stores that were rewritten on purpose: certificates, lengths, and what a conspiring quorum could sign."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chain import light
from chain.crypto.schemes import Scheme, SigningKey
from node.audit import AuditReport, Divergence, Part, checks
from node.audit.errors import FaultError
from node.audit.replay import Replay
from node.cli import main
from tests.chain.light import certificates
from tests.node.audit import forge, tamper

Audit = Callable[..., AuditReport]


def first(report: AuditReport) -> Divergence:
    assert report.first is not None, report.lines
    return report.first


def place(report: AuditReport) -> tuple[str, Part, int | None]:
    return first(report).store, first(report).part, first(report).height


# -- certificates: of the newest height, whose commit no later header names -------------------------------------------


def test_a_vote_that_fills_two_slots_is_named(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    found = forge.commit(run, height)
    forge.put_commit(run, forge.with_slots(found, {1: found.signatures[0]}))
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.COMMIT, height)
    assert first(report).expected == f"slot 1 of {found.signatures[1].validator_address.hex()}"


def test_a_vote_that_another_key_signed_is_named(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    found = forge.commit(run, height)
    _, chain_id = forge.validators_of(run)
    stranger = SigningKey.from_seed(Scheme.ML_DSA_65, bytes(32))
    signature = stranger.sign(light.commit_sign_bytes(found, 2, chain_id), light.VOTE_CONTEXT)
    forge.put_commit(run, forge.with_slots(found, {2: replace(found.signatures[2], signature=signature)}))
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.COMMIT, height)
    assert "in slot 2" in first(report).expected


def test_a_vote_of_the_height_before_is_named(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    old = forge.commit(run, height - 1).signatures[3]
    forge.put_commit(run, forge.with_slots(forge.commit(run, height), {3: old}))
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.COMMIT, height)
    assert "in slot 3" in first(report).expected


def test_half_of_the_power_is_no_certificate(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    forge.put_commit(run, forge.with_slots(forge.commit(run, height), {0: light.ABSENT, 3: light.ABSENT}))
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.COMMIT, height)
    assert (first(report).expected, first(report).found) == ("more than 2/3 of power 4", "power 2")


def test_three_of_four_are_as_good_a_certificate(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    forge.put_commit(run, forge.with_slots(forge.commit(run, height), {3: light.ABSENT}))
    assert audit(run).ok


def test_another_certificate_of_an_earlier_height_is_not_the_one_that_the_next_header_names(
    audit: Audit, run: Path
) -> None:
    forge.put_commit(run, forge.with_slots(forge.commit(run, 4), {3: light.ABSENT}))
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.COMMIT, 4)
    assert "which the next header names" in first(report).expected


@pytest.mark.parametrize("missing", [light.BlockIdFlag.ABSENT, light.BlockIdFlag.NIL])
def test_exactly_two_thirds_are_no_certificate(missing: light.BlockIdFlag) -> None:
    validators = certificates.validator_set((1, 1, 1))
    header = certificates.make_header(validators)
    whole = certificates.make_commit(header, validators)
    checks.commit(light.encode_commit(whole), 1, validators, certificates.CHAIN_ID)
    two = certificates.make_commit(header, validators, [light.BlockIdFlag.COMMIT, light.BlockIdFlag.COMMIT, missing])
    with pytest.raises(FaultError, match="more than 2/3 of power 3, found power 2"):
        checks.commit(light.encode_commit(two), 1, validators, certificates.CHAIN_ID)


# -- lengths ----------------------------------------------------------------------------------------------------------


def test_heights_that_were_cut_off_are_missed_if_the_store_says_it_has_them(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    for above in (height - 1, height):
        for kind in "htcr":
            tamper.put(tamper.engine(run), tamper.engine_key(kind, above), None)
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.HEADER, height - 1)
    assert first(report).found == "none"


def test_heights_above_the_one_that_the_store_says_it_has_are_unexplained(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    tamper.drop_vote(tamper.engine(run))
    tamper.put(tamper.engine(run), b"m/height", (height - 2).to_bytes(8, "big"))
    tamper.write_ledger(tamper.ledger(run), forge.executed(run), height - 2)
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.COMMIT, height - 1)
    assert "nothing explains" in first(report).expected


def test_an_engine_store_behind_its_own_ledger_is_named(audit: Audit, run: Path) -> None:
    height = tamper.heights(run)
    tamper.cut_engine(run, height - 3)
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.META, height - 2)
    assert first(report).found == f"{height - 3} heights"


def test_a_ledger_store_that_lost_its_newest_blocks_is_named(audit: Audit, run: Path, replay: Replay) -> None:
    path, lost = tamper.ledger(run), forge.busy_height(run)
    own = tamper.read_all(path, "meta")
    tamper.write_ledger(path, replay, lost - 1)
    tamper.put(path, b"commit", own[b"commit"], "meta")
    store, part, height = place(audit(run))
    assert (store, height) == ("validator 2 ledger", lost)
    assert part in {Part.STATE, Part.BLOCK}


def test_validators_that_stand_at_different_heights_are_no_divergence(audit: Audit, run: Path, replay: Replay) -> None:
    height = tamper.heights(run)
    for behind, validator in enumerate((2, 3, 4), 1):
        tamper.cut_engine(run, height - behind, validator)
        tamper.write_ledger(tamper.ledger(run, validator), replay, height - behind - (validator == 4))
    report = audit(run)
    assert report.ok, report.lines
    assert report.height == height
    for behind, validator in enumerate((2, 3, 4), 1):
        said = f"validator {validator} engine: stands at height {height - behind}, validator 1 engine at {height}"
        assert said in report.remarks
    assert any(remark.startswith(f"validator 4 ledger: stands at height {height - 4}") for remark in report.remarks)
    lacking = audit(run, head=report.head).divergences
    assert [(divergence.store, divergence.part) for divergence in lacking] == [
        (f"validator {validator} engine", Part.HEAD) for validator in (2, 3, 4)
    ]


def test_a_history_that_was_cut_in_every_store_is_told_by_the_callers_head_alone(
    audit: Audit, run: Path, replay: Replay, capsys: pytest.CaptureFixture[str]
) -> None:
    height, head = tamper.heights(run), audit(run).head
    cut(run, replay, height - 4)
    report = audit(run)
    assert report.ok, report.lines
    assert report.height == height - 4
    assert main(["audit", str(run), "--head", "0x" + head.hex()]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"DIVERGES: validator 1 engine: head: expected 0x{head.hex()}, found no such header"


# -- stores that are not there ----------------------------------------------------------------------------------------


def test_a_missing_engine_store_is_named_and_its_ledger_is_judged_by_the_others(audit: Audit, run: Path) -> None:
    shutil.rmtree(tamper.engine(run))
    report = audit(run)
    assert [(divergence.store, divergence.part) for divergence in report.divergences] == [
        ("validator 2 engine", Part.STORE)
    ]
    assert "data.mdb is missing" in first(report).found


def test_a_missing_ledger_store_is_named(audit: Audit, run: Path) -> None:
    shutil.rmtree(tamper.ledger(run))
    report = audit(run)
    assert place(report) == ("validator 2 ledger", Part.STORE, None)
    assert len(report.divergences) == 1


def test_a_directory_without_any_validator_cannot_be_audited(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "validators")
    assert main(["audit", str(run)]) == 2
    assert "holds no validator's stores" in capsys.readouterr().err


# -- what a conspiring quorum could sign ------------------------------------------------------------------------------


def cut(run: Path, replay: Replay, height: int) -> None:
    """Take every validator's stores back to `height`."""
    for validator in range(1, 5):
        tamper.cut_engine(run, height, validator)
        tamper.write_ledger(tamper.ledger(run, validator), replay, height)


def test_two_certified_decisions_of_one_height_are_named(
    audit: Audit, run: Path, untouched: Path, replay: Replay
) -> None:
    cut(run, replay, forge.busy_height(run))
    header, txs = forge.newest(run)
    other = replace(header, data_hash=light.data_hash(txs[:-1]))
    forge.decide(run, [2], forge.keys_of(untouched), other, txs[:-1])
    fork = forge.executed(run)
    step = fork.steps[-1]
    tamper.put(tamper.engine(run), tamper.engine_key("r", header.height), step.results_hash + step.app_hash)
    tamper.write_ledger(tamper.ledger(run), fork, header.height)
    report = audit(run)
    assert place(report) == ("validator 2 engine", Part.HEADER, header.height)
    assert "validators have signed both" in first(report).found
    assert len(report.divergences) == 1


def test_a_false_state_that_every_validator_signed_is_named(audit: Audit, run: Path, untouched: Path) -> None:
    header, txs = forge.newest(run)
    other = replace(header, app_hash=tamper.flipped(header.app_hash, 0))
    forge.decide(run, [1, 2, 3, 4], forge.keys_of(untouched), other, txs)
    report = audit(run)
    assert place(report) == ("validator 1 engine", Part.EXECUTION, header.height)
    assert first(report).expected == header.app_hash.hex()
