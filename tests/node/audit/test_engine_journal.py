"""Engine stores that stopped in the middle of a height, and those of the former format."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from chain import light
from chain.consensus import types as core
from chain.consensus.driver import Start, VoteReceived
from chain.consensus.journal import Journal
from chain.crypto import keystore
from chain.engines.embedded import EngineStore
from chain.engines.embedded.signer import Signer
from chain.genesis import load_genesis
from chain.light import Height
from node.audit import AuditReport, Part
from tests.chain.engines.network import VirtualClock
from tests.node.audit import forge, tamper

Audit = Callable[..., AuditReport]


@pytest.fixture
def unfinished(untouched: Path, run: Path) -> Path:
    """Let validator 2 prevote nil at the height after the last, and stop there."""
    genesis = load_genesis(run / "genesis.json")
    key = keystore.load(untouched / "keys" / "validator-2.pem", (untouched / "keys" / "password").read_bytes())
    address, height = core.Address(light.validator_address(key.public_key)), core.Height(tamper.heights(run) + 1)
    journal = Journal()
    records = [journal.begin(height, address), journal.record(Start())]
    said = core.Vote(height, core.Round(0), core.VoteKind.PREVOTE, None, address)
    signed, last = Signer(key, genesis.name, VirtualClock()).sign(said, journal.mark, None, not_before_ns=0)
    assert isinstance(signed, core.Vote)
    records.append(journal.record(VoteReceived(signed)))
    store = EngineStore(tamper.engine(run), genesis.digest())
    store.record(0, records, last, {})
    store.close()
    return run


def journal_key(number: int) -> bytes:
    return b"j" + number.to_bytes(8, "big")


def test_an_unfinished_height_is_explained_by_its_journal(audit: Audit, unfinished: Path) -> None:
    report = audit(unfinished)
    assert report.ok, report.lines
    assert any(f"height {tamper.heights(unfinished) + 1} is voted for" in line for line in report.lines)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_flip_in_a_journal_is_seen(audit: Audit, unfinished: Path, number: int) -> None:
    raw = tamper.read_all(tamper.engine(unfinished))[journal_key(number)]
    tamper.put(tamper.engine(unfinished), journal_key(number), tamper.flipped(raw, len(raw) // 2))
    report = audit(unfinished)
    assert report.first is not None
    assert (report.first.store, report.first.part) == ("validator 2 engine", Part.VOTE)


@pytest.mark.parametrize("number", [1, 2])
def test_a_journal_that_lost_its_end_is_seen(audit: Audit, unfinished: Path, number: int) -> None:
    """All that the signature was made by must be there; the own vote after it may be lost."""
    for later in range(number, 3):
        tamper.put(tamper.engine(unfinished), journal_key(later), None)
    assert audit(unfinished).ok == (number == 2)


def test_a_block_under_another_name_is_seen(audit: Audit, unfinished: Path) -> None:
    path = tamper.engine(unfinished)
    store = EngineStore(path, load_genesis(unfinished / "genesis.json").digest())
    block = light.encode_block(store.block(Height(1)))
    store.close()
    tamper.put(path, b"b" + bytes(68), block)
    report = audit(unfinished)
    assert report.first is not None
    assert (report.first.store, report.first.part) == ("validator 2 engine", Part.VOTE)


@pytest.mark.parametrize("flip", [False, True])
def test_a_store_of_the_former_format_is_audited_too(audit: Audit, run: Path, flip: bool) -> None:  # noqa: FBT001 - a parameter
    """Its last record is the precommit that the newest commit holds."""
    height, path = tamper.heights(run), tamper.engine(run)
    _, chain_id = forge.validators_of(run)
    found = forge.commit(run, height)
    raw = tamper.read_all(path)[b"v"]
    own = next(
        index
        for index, slot in enumerate(found.signatures)
        if slot.signature and slot.signature in raw  # the validator's last signature is its precommit for this height
    )
    said, signature = light.commit_sign_bytes(found, own, chain_id), found.signatures[own].signature
    body = struct.pack(">QIBI", height, found.round, 2, len(said)) + said + (bytes(3309) if flip else signature)
    tamper.put(path, b"v", body + tamper.sha256(body))
    tamper.put(path, b"m/format", b"merit-engine-1")
    assert audit(run).ok == (not flip)
