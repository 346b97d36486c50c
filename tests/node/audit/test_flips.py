"""Every byte of every canonical record of a run is flipped and seen by the checker of that record."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from chain import light
from chain.execution.blocks import decode_header
from chain.execution.index import item_key, number_key, split_item_key
from chain.genesis import load_genesis
from chain.light import Height
from chain.storage import Space
from chain.validators import genesis_validators
from contracts.records import ModelHeader, SignedRecord, UpdateHeader, blob_digest, split_batch
from merit.chance import seeded
from node.audit import Auditor, AuditReport, Part, audit_directory, checks
from node.audit.book import batch_of
from node.audit.errors import FaultError
from node.audit.history import blocks_of
from node.audit.members import Members
from node.audit.replay import Replay
from tests.node.audit import tamper

Audit = Callable[..., AuditReport]


@dataclass(frozen=True)
class Checked:
    """A record's bytes and its checker, which raises FaultError for any others."""

    name: str
    raw: bytes
    check: Callable[[bytes], object]


def engine_records(run: Path) -> Iterator[Checked]:
    genesis = load_genesis(run / "genesis.json")
    validators = genesis_validators(genesis)
    table = tamper.read_all(tamper.engine(run))
    newest = int.from_bytes(table[b"m/height"], "big")
    for height in range(1, newest + 1):
        raw_commit = table[tamper.engine_key("c", height)]
        raw_header = table[tamper.engine_key("h", height)]
        commit, header = light.decode_commit(raw_commit), light.decode_header(raw_header)
        yield Checked(
            f"header {height}", raw_header, lambda raw, h=height, c=commit: checks.header(raw, Height(h), c.block_id)
        )
        yield Checked(
            f"commit {height}",
            raw_commit,
            lambda raw, h=height: checks.commit(raw, Height(h), validators, genesis.name),
        )
        raw_transactions = table[tamper.engine_key("t", height)]
        if raw_transactions:  # an idle ledger decides empty heights, too: nothing to flip
            yield Checked(
                f"transaction list {height}",
                raw_transactions,
                lambda raw, d=header.data_hash: checks.transactions(raw, d),
            )


def ledger_records(run: Path) -> Iterator[Checked]:
    genesis = load_genesis(run / "genesis.json")
    members = Members.at_genesis(genesis)

    def stored(space: Space) -> dict[bytes, bytes]:
        table = tamper.read_all(tamper.ledger(run), space.value)
        return {key: value[tamper.CHECK_BYTES :] for key, value in table.items()}

    headers = {key: decode_header(raw) for key, raw in stored(Space.HEADER).items()}
    genesis_hash = headers[number_key(0)].hash
    receipts = stored(Space.RECEIPT)
    for key, raw in stored(Space.TRANSACTION).items():
        yield Checked(
            f"transaction {key.hex()}", raw, lambda raw: checks.transaction(raw, members.public_key, genesis_hash)
        )
    for key, raw in receipts.items():
        number, index = split_item_key(key)
        root = headers[number_key(number)].receipts_root
        mates = [receipts[k] for k in sorted(receipts) if split_item_key(k)[0] == number]

        def check(raw: bytes, mates: list[bytes] = mates, index: int = index, root: bytes = root) -> None:
            checks.receipts([*mates[:index], raw, *mates[index + 1 :]], root)

        yield Checked(f"receipt {key.hex()}", raw, check)


def blob_records(run: Path) -> Iterator[Checked]:
    for path in tamper.blobs(run, b""):
        raw = path.read_bytes()
        digest = bytes.fromhex(path.name)
        assert blob_digest(raw) == digest
        yield Checked(f"blob {path.name}", raw, lambda raw, d=digest: checks.blob(raw, d))


def signed_records(run: Path) -> Iterator[Checked]:
    auditor = Auditor()
    auditor.audit(run)
    replay = auditor.replays.begin(load_genesis(run / "genesis.json")).replay
    members = Members.at_genesis(replay.genesis)
    for block in blocks_of(replay):
        for transaction in block.transactions:
            for entry in batch_of(transaction) or ():
                assert isinstance(entry, SignedRecord)
                yield Checked(
                    f"record of client {entry.record.client} in block {block.number}",
                    entry.encode(),
                    lambda raw: checks.record(raw, members.public_key, replay.genesis_hash),
                )


KINDS = {
    "engine": engine_records,
    "ledger": ledger_records,
    "blob": blob_records,
    "record": signed_records,
}


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify a signature that a flip has left alone once: the same key, message and signature give the same answer."""
    monkeypatch.setattr(checks, "verify", lru_cache(maxsize=16)(checks.verify))


def unseen(record: Checked, places: "range | list[int]") -> list[int]:
    """Return the bytes whose flip the checker does not see; a checker that raises anything else fails the test."""
    chance = seeded(1, "flips", record.name)
    missed: list[int] = []
    for at in places:
        try:
            record.check(tamper.flipped(record.raw, at, chance.randrange(8)))
        except FaultError:
            continue
        missed.append(at)
    return missed


@pytest.mark.parametrize("kind", KINDS)
def test_each_checker_accepts_what_is_stored(untouched: Path, kind: str) -> None:
    count = 0
    for record in KINDS[kind](untouched):
        record.check(record.raw)
        count += 1
    assert count


@pytest.mark.usefixtures("remembering")
@pytest.mark.parametrize("kind", KINDS)
def test_flips_in_every_record_are_seen(untouched: Path, kind: str) -> None:
    for record in KINDS[kind](untouched):
        chance = seeded(2, "places", record.name)
        places = sorted({0, len(record.raw) - 1, *(chance.randrange(len(record.raw)) for _ in range(6))})
        assert not unseen(record, places), record.name


@pytest.mark.usefixtures("remembering")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("engine", "header 3"),
        ("engine", "commit 3"),
        ("engine", "transaction list"),
        ("ledger", "transaction"),
        ("ledger", "receipt"),
        ("blob", "blob"),
        ("record", "record"),
    ],
)
def test_every_byte_of_one_record_of_each_kind_is_seen(untouched: Path, kind: str, name: str) -> None:
    record = next(record for record in KINDS[kind](untouched) if record.name.startswith(name))
    assert not unseen(record, range(len(record.raw)))


@pytest.mark.slow
@pytest.mark.usefixtures("remembering")
@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_every_record_is_seen(untouched: Path, kind: str) -> None:
    for record in KINDS[kind](untouched):
        assert not unseen(record, range(len(record.raw))), record.name


def test_a_models_own_checker_sees_its_header(untouched: Path) -> None:
    raw = tamper.blobs(untouched, b"MRTM")[0].read_bytes()
    header = ModelHeader.decode(raw[:16])
    checks.model(raw, header)
    for at in range(16):
        with pytest.raises(FaultError):
            checks.model(tamper.flipped(raw, at), header)


def test_an_updates_own_checker_sees_its_header(untouched: Path) -> None:
    raw = tamper.blobs(untouched, b"MRTU")[0].read_bytes()
    header = UpdateHeader.decode(raw[:96])
    checks.update(raw, header)
    for at in range(96):
        with pytest.raises(FaultError):
            checks.update(tamper.flipped(raw, at), header)


def first(report: AuditReport) -> tuple[str, Part, int | None]:
    assert report.first is not None, report.lines
    return report.first.store, report.first.part, report.first.height


@pytest.mark.parametrize(
    ("kind", "part"),
    [("h", Part.HEADER), ("c", Part.COMMIT), ("t", Part.TRANSACTIONS), ("r", Part.OUTCOME)],
)
@pytest.mark.parametrize("height", [1, 5])
def test_an_audit_names_the_engine_record_that_was_flipped(
    audit: Audit, run: Path, kind: str, part: Part, height: int
) -> None:
    table = tamper.read_all(tamper.engine(run))
    while not table[tamper.engine_key(kind, height)]:  # an empty height
        height += 1
    key = tamper.engine_key(kind, height)
    tamper.put(tamper.engine(run), key, tamper.flipped(table[key], len(table[key]) - 1))
    assert first(audit(run)) == ("validator 2 engine", part, height)


def test_an_audit_names_each_slot_of_a_commit(audit: Audit, run: Path) -> None:
    key = tamper.engine_key("c", 4)
    commit = light.decode_commit(tamper.read_all(tamper.engine(run))[key])
    for slot, signed in enumerate(commit.signatures):
        raw = light.encode_commit(commit).replace(signed.signature, tamper.flipped(signed.signature, 1_000))
        tamper.put(tamper.engine(run), key, raw)
        report = audit(run)
        assert first(report) == ("validator 2 engine", Part.COMMIT, 4)
        assert report.first is not None
        assert f"slot {slot}" in report.first.expected


@pytest.mark.parametrize(
    ("space", "part", "block"),
    [
        (Space.HEADER, Part.BLOCK, 6),
        (Space.TRANSACTION, Part.TRANSACTION, 6),
        (Space.RECEIPT, Part.RECEIPT, 6),
    ],
)
@pytest.mark.parametrize("on_purpose", [False, True])
def test_an_audit_names_the_ledger_record_that_was_flipped(
    audit: Audit, run: Path, space: Space, part: Part, block: int, *, on_purpose: bool
) -> None:
    key = number_key(block) if space is Space.HEADER else item_key(block, 0)
    raw = tamper.read_all(tamper.ledger(run), space.value)[key]
    if on_purpose:  # with the checksum that makes the store believe it
        raw = raw[tamper.CHECK_BYTES :]
        tamper.put_checked(tamper.ledger(run), space, key, tamper.flipped(raw, len(raw) - 1))
    else:
        tamper.put(tamper.ledger(run), key, tamper.flipped(raw, len(raw) - 1), space.value)
    report = audit(run)
    assert first(report)[:2] == ("validator 2 ledger", part)
    assert report.first is not None
    assert report.first.block == block


@pytest.mark.parametrize("space", [Space.NUMBER, Space.PLACE, Space.NODE, Space.META])
def test_an_audit_sees_an_index_entry_a_state_node_and_the_stores_own_word(
    audit: Audit, run: Path, space: Space
) -> None:
    key, raw = max(tamper.read_all(tamper.ledger(run), space.value).items())
    tamper.put(tamper.ledger(run), key, tamper.flipped(raw, len(raw) - 1), space.value)
    parts = {Space.NUMBER: Part.INDEX, Space.PLACE: Part.INDEX, Space.NODE: Part.STATE, Space.META: Part.META}
    assert first(audit(run))[:2] == ("validator 2 ledger", parts[space])


def test_an_audit_sees_a_flip_in_the_last_vote(audit: Audit, run: Path) -> None:
    raw = tamper.read_all(tamper.engine(run))[b"v"]
    body = tamper.flipped(raw[:-32], len(raw) // 2)  # in the signature, which is nearly all of it
    tamper.put(tamper.engine(run), b"v", body + tamper.sha256(body))
    assert first(audit(run))[:2] == ("validator 2 engine", Part.VOTE)


def flip_last_byte(path: Path) -> None:
    path.write_bytes(tamper.flipped(path.read_bytes(), -1))


def test_an_audit_names_the_update_whose_blob_was_flipped(audit: Audit, run: Path, replay: Replay) -> None:
    path = tamper.updates(run, replay)[0]
    flip_last_byte(path)
    report = audit(run)
    assert first(report)[:2] == ("edge 2 blobs", Part.BLOB)
    assert report.first is not None
    assert report.first.client == UpdateHeader.decode(path.read_bytes()[:96]).client
    assert (report.first.job, report.first.round is None) == (1, False)


def test_an_audit_names_the_round_whose_model_was_flipped(audit: Audit, run: Path, replay: Replay) -> None:
    round_, edge, path = tamper.newest_attested(run, replay, "model")
    flip_last_byte(path)
    report = audit(run)
    assert first(report)[:2] == (f"edge {edge} blobs", Part.MODEL)
    assert report.first is not None
    assert (report.first.job, report.first.round) == (1, round_)


def test_an_audit_names_the_job_whose_file_was_flipped(audit: Audit, run: Path) -> None:
    flip_last_byte(tamper.blobs(run, b"title")[0])
    report = audit(run)
    assert first(report)[:2] == ("edge 2 blobs", Part.JOB_FILE)
    assert report.first is not None
    assert report.first.job == 1


@pytest.mark.parametrize("place", [100, 5_000, -10])
def test_an_audit_sees_a_flip_in_the_genesis_document(run: Path, place: int) -> None:
    path = run / "genesis.json"
    path.write_bytes(tamper.flipped(path.read_bytes(), place))
    assert first(audit_directory(run))[1] is Part.GENESIS


def test_a_batch_cut_from_a_transaction_is_what_was_signed(untouched: Path) -> None:
    record = next(signed_records(untouched))
    (entry,), left = split_batch(record.raw)
    assert left is None
    assert entry == SignedRecord.decode(record.raw)
