"""Every byte of a small bundle and of a receipt, flipped one at a time, is detected where it stands.

Each entry goes to the code that an audit gives it to, in this process, without what the flip has left alone: a height
to `Certificates.verify` with all heights before it executed, a blob and its name to `BundledBlobs.verify`, the genesis
document to its reader, a receipt to `audit_receipt` as a whole. Signatures and genesis documents that were judged
before are remembered. Without `slow` some bytes are flipped; one of each kind goes through a whole audit.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import pytest

from chain.crypto import schemes
from chain.errors import ChainError
from chain.genesis import decode_genesis
from chain.light import verify as light_verify
from merit.clock import SystemClock
from node.audit import AuditReport, audit_bundle, audit_receipt, checks, receipt
from node.audit.blobs import content_of
from node.audit.bundle import NAME, OF_HEIGHT, BundledBlobs, BundledChain, form
from node.audit.certificates import Certificates, Past
from node.audit.container import MAGIC, Container, Key, Kind
from node.audit.errors import FaultError
from node.audit.export import Exported, export_rounds
from node.audit.findings import Findings
from node.audit.receipts import save_receipt
from node.audit.replay import Replays
from node.audit.report import Part
from node.audit.scope import decode_scope
from node.audit.source import HeightRecords
from node.audit.walk import EngineChain, Walk
from tests.node.audit.tamper import flipped

SAMPLED, HEAD_BYTES, CLIENT = 499, 13, 5
EVERY = [SAMPLED, pytest.param(1, marks=pytest.mark.slow)]
PART_OF = {
    Kind.HEADER: Part.HEADER,
    Kind.COMMIT: Part.COMMIT,
    Kind.TRANSACTIONS: Part.TRANSACTIONS,
    Kind.EVIDENCE: Part.EVIDENCE,
}


@pytest.fixture(scope="module")
def bundle(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_rounds(untouched, tmp_path_factory.mktemp("bundle") / "round.merit", (1, 1))


@pytest.fixture(scope="module")
def opened(bundle: Exported) -> Iterator[Container]:
    with Container(bundle.path) as container:
        container.index(form)
        yield container


@pytest.fixture(autouse=True)
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge once what no flip has touched: the same key, message and signature, the same genesis document."""
    remembered = lru_cache(maxsize=256)(schemes.verify)
    monkeypatch.setattr(checks, "verify", remembered)
    monkeypatch.setattr(light_verify, "verify", remembered)
    monkeypatch.setattr(receipt, "decode_genesis", lru_cache(maxsize=1)(decode_genesis))
    monkeypatch.setattr(receipt, "Replays", lru_cache(Replays))  # which knows what it has begun


def places(raw: bytes, step: int, number: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield every `step`th place, beginning by `number`, with the bytes of which one bit is flipped there."""
    for at in range(number % step if len(raw) > step else 0, len(raw), step):
        yield at, flipped(raw, at, (at + number) % 8)


@pytest.mark.parametrize("step", EVERY)
def test_each_byte_of_a_height_is_named_by_its_record(opened: Container, step: int) -> None:
    genesis, source = decode_genesis(opened[Key(Kind.GENESIS)]), BundledChain(opened)
    certificates, findings = Certificates(genesis, Replays(), memory=1), Findings(SystemClock())
    with findings.timed(NAME):
        walk = Walk(EngineChain(NAME), source, certificates, findings, NAME)
    assert walk.chain.cursor is not None
    past = Past(walk.chain.cursor, walk.chain.headers)
    for height in range(1, source.decided + 1):
        right = {kind: opened[Key(kind, height)] for kind in OF_HEIGHT}
        for kind, raw in right.items():
            for at, damaged in places(raw, step, height):
                header, commit, transactions, evidence = (right | {kind: damaged}).values()
                records = HeightRecords(height, header, commit, transactions, evidence, b"")
                with pytest.raises(FaultError) as caught:
                    certificates.verify(walk.verified, records, past)
                assert caught.value.part is PART_OF[kind], (height, kind, at)
        walk.to(height)
    assert not findings.divergences


@pytest.mark.parametrize("step", EVERY)
def test_each_byte_of_a_blob_and_of_its_name_is_named(opened: Container, step: int) -> None:
    names, findings = opened[Key(Kind.NAMES)], Findings(SystemClock())
    raws = [opened[Key(Kind.BLOB, number)] for number in range(len(names) // 32)]
    contents = [content_of(BytesIO(raw)) for raw in raws]
    with findings.timed("blobs"):
        for number, raw in enumerate(raws):
            for _, damaged in places(raw, step, number):
                blobs, others = BundledBlobs(opened), contents.copy()
                others[number] = content_of(BytesIO(damaged))
                blobs.verify(others, findings)
                assert list(blobs.damaged) == [(0, blobs.names[number])]
        for at, damaged in places(names, step):
            with suppress(FaultError):  # names that do not rise
                blobs = BundledBlobs(Changed(opened, Key(Kind.NAMES), damaged))
                blobs.verify(contents, findings)
                assert list(blobs.damaged) == [(0, damaged[at // 32 * 32 :][:32])]


class Changed(Container):
    """A container of which one entry is another."""

    def __init__(self, container: Container, key: Key, content: bytes) -> None:
        self._of, self._key, self._content = container, key, content

    def __getitem__(self, key: Key) -> bytes:
        return self._content if key == self._key else self._of[key]


@pytest.mark.parametrize("step", EVERY)
def test_each_byte_of_a_genesis_document_makes_another_block_0_or_none(opened: Container, step: int) -> None:
    """Its digest is in block 0, whose hash the auditor trusts; a whole audit of such a document is below."""
    raw = opened[Key(Kind.GENESIS)]
    digest = decode_genesis(raw).digest()
    for at, damaged in places(raw, step):
        try:
            found = decode_genesis(damaged)
        except ChainError:
            continue
        assert found.encode() != damaged or found.digest() != digest, at


@pytest.mark.parametrize("step", EVERY)
def test_each_byte_of_a_head_is_no_other_entrys(bundle: Exported, opened: Container, tmp_path: Path, step: int) -> None:
    whole, damaged, at = bundle.path.read_bytes(), tmp_path / "damaged", len(MAGIC)
    for number, key in enumerate(opened):
        for offset in range(number % 5 if step > 1 else 0, HEAD_BYTES, 5 if step > 1 else 1):
            damaged.write_bytes(flipped(whole, at + offset, number % 8))
            with Container(damaged) as container, pytest.raises(FaultError, match="bundle"):
                container.index(form)
        at += HEAD_BYTES + len(opened[key])


def first(report: AuditReport) -> str:
    assert report.first is not None, report.lines
    return report.first.line()


def test_one_byte_of_each_kind_ends_in_a_verdict_that_names_it(
    bundle: Exported, opened: Container, tmp_path: Path
) -> None:
    whole, damaged, at = bundle.path.read_bytes(), tmp_path / "damaged", len(MAGIC)
    named: dict[Kind, str] = {}
    for key in opened:
        at, length = at + HEAD_BYTES, len(opened[key])
        if key.kind not in named and length:
            damaged.write_bytes(flipped(whole, at + length // 2))
            named[key.kind] = first(audit_bundle(damaged, genesis_hash=bundle.genesis_hash))
        at += length
    assert named[Kind.SCOPE].startswith("bundle: bundle: expected a scope")
    assert named[Kind.GENESIS].startswith("bundle: genesis document: expected ")
    assert named[Kind.HEADER].startswith("bundle, height 1: header: expected ")
    assert named[Kind.COMMIT].startswith("bundle, height 1: commit: expected ")
    assert named[Kind.TRANSACTIONS].startswith("bundle, height ")
    assert "transaction list: expected data hash" in named[Kind.TRANSACTIONS]
    assert named[Kind.NAMES].startswith(
        ("bundle: bundle: expected names", "bundle: blob: expected a blob with SHA-256 ")
    )
    assert named[Kind.BLOB].startswith(  # the first of them may be one that the history does not ask for
        ("history of the bundle, height ", "bundle: blob: expected a blob with SHA-256 ")
    )
    assert ", which has SHA-256 " in named[Kind.BLOB]


@pytest.mark.slow
def test_each_byte_of_a_scope_counts(bundle: Exported, opened: Container, tmp_path: Path) -> None:
    whole, begin = bundle.path.read_bytes(), len(MAGIC) + HEAD_BYTES
    for at, changed in places(opened[Key(Kind.SCOPE)], 1):
        with suppress(FaultError):  # no scope, as an audit says, too
            decode_scope(changed)
            (tmp_path / "damaged").write_bytes(whole[:begin] + changed + whole[begin + len(changed) :])
            assert first(audit_bundle(tmp_path / "damaged", genesis_hash=bundle.genesis_hash)), at


@pytest.mark.parametrize("step", [2 * SAMPLED, pytest.param(1, marks=pytest.mark.slow)])
def test_each_byte_of_a_receipt_is_named(untouched: Path, tmp_path: Path, step: int) -> None:
    """But for the genesis document, of which the same test of a bundle says what holds here."""
    own = save_receipt(untouched, tmp_path / "own.receipt", CLIENT)
    whole, damaged = own.path.read_bytes(), tmp_path / "damaged"
    with Container(own.path) as container:
        container.index(receipt.form)
        genesis = container[Key(Kind.GENESIS)]
    document = range(whole.index(genesis), whole.index(genesis) + len(genesis))
    for at in range(len(MAGIC), len(whole), step):
        if at not in document:
            damaged.write_bytes(flipped(whole, at, at % 8))
            found = audit_receipt(damaged, genesis_hash=own.genesis_hash).first
            assert found is not None, at
            assert found.line().startswith("receipt"), at
