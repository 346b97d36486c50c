"""What peers can do wrong: each answer names what to fetch anew and whom to ask no more."""

from dataclasses import replace
from pathlib import Path

import pytest

from chain import rlp
from chain.application import Application, Applied, ApplyResult, OfferResult, Snapshot, Timestamp
from chain.errors import SnapshotManifestError
from chain.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS
from chain.snapshots.manifest import FORMAT, decode_manifest
from chain.storage import Store
from tests.chain.ledger import Replica, genesis
from tests.chain.snapshots.ledgers import applied, contents, cut, framed, joined, ledger, offered, parts, snapshot, take

EMPTY = Application(Store.memory()).info()


def offer(names: Snapshot, app_hash: bytes | None = None, app: Application | None = None) -> OfferResult:
    return (app or Application(Store.memory())).offer_snapshot(names, app_hash or snapshot().app_hash)


def lying(**changes: object) -> Snapshot:
    return replace(snapshot().manifest, **changes).snapshot()  # type: ignore[arg-type]


def test_an_honest_offer_is_accepted() -> None:
    assert offer(snapshot().snapshot) is OfferResult.ACCEPT
    assert offer(snapshot().snapshot, app=Application(Store.memory(), genesis=genesis())) is OfferResult.ACCEPT


def test_another_format_is_refused_as_a_format() -> None:
    assert offer(replace(snapshot().snapshot, format=FORMAT + 1)) is OfferResult.REJECT_FORMAT


def test_another_app_hash_than_the_light_clients_is_refused() -> None:
    assert offer(snapshot().snapshot, bytes(32)) is OfferResult.REJECT_SENDER
    assert offer(lying(app_hash=bytes(32))) is OfferResult.REJECT_SENDER


def test_another_genesis_document_is_refused() -> None:
    app = Application(Store.memory(), genesis=genesis(time=1))
    assert offer(snapshot().snapshot, app=app) is OfferResult.REJECT_SENDER


@pytest.mark.parametrize("changes", [{"height": 5}, {"chunks": 3}, {"hash": bytes(32)}, {"metadata": b""}])
def test_names_that_are_not_the_manifests_are_refused(changes: dict[str, object]) -> None:
    assert offer(replace(snapshot().snapshot, **changes)) is OfferResult.REJECT_SENDER  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk_bytes": 0},
        {"chunk_bytes": SNAPSHOT_CHUNK_BYTES + 1, "size": SNAPSHOT_CHUNK_BYTES + 1, "chunks": (bytes(32),)},
        {"chunks": (), "size": 0},
        {"chunks": (bytes(32),) * (SNAPSHOT_CHUNKS + 1), "size": SNAPSHOT_CHUNKS + 1, "chunk_bytes": 1},
        {"size": 1},
        {"size": 2**63},
        {"genesis": b""},
        {"app_hash": bytes(31)},
        {"chunks": (bytes(31),), "size": 1},
    ],
)
def test_a_manifest_beyond_the_limits_is_refused(changes: dict[str, object]) -> None:
    names = lying(**changes)
    with pytest.raises(SnapshotManifestError):
        decode_manifest(names.metadata)
    assert offer(names) is OfferResult.REJECT_SENDER


def test_a_manifest_at_the_limits_is_decoded_and_fits_into_the_engines_message() -> None:
    most = replace(
        snapshot().manifest,
        chunks=(bytes(32),) * SNAPSHOT_CHUNKS,
        chunk_bytes=SNAPSHOT_CHUNK_BYTES,
        size=SNAPSHOT_CHUNK_BYTES * SNAPSHOT_CHUNKS,
    )
    assert decode_manifest(most.encode()) == most
    assert len(most.encode()) < 4_000_000


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x80", rlp.encode([b"\1"] * 7), rlp.encode([b"\2"] + [b""] * 6)])
def test_a_manifest_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotManifestError):
        decode_manifest(data)


def test_a_manifest_has_one_encoding() -> None:
    encoded = snapshot().manifest.encode()
    assert decode_manifest(encoded) == snapshot().manifest
    for position in range(0, len(encoded), 7):
        damaged = bytearray(encoded)
        damaged[position] ^= 1
        try:
            assert decode_manifest(bytes(damaged)).encode() == damaged
        except SnapshotManifestError:
            continue
    with pytest.raises(SnapshotManifestError):
        decode_manifest(encoded + b"\0")


def test_a_replica_with_a_ledger_takes_no_snapshot() -> None:
    replica = Replica()
    before = contents(replica.store)
    assert offer(snapshot().snapshot, app=replica.app) is OfferResult.ABORT
    assert replica.app.apply_snapshot_chunk(0, snapshot().chunks[0], "peer").result is ApplyResult.ABORT
    assert contents(replica.store) == before
    app = joined(snapshot())
    assert offer(snapshot().snapshot, app=app) is OfferResult.ABORT
    assert app.apply_snapshot_chunk(0, snapshot().chunks[0], "peer").result is ApplyResult.ABORT


def test_a_chunk_without_an_offer_asks_for_the_offer() -> None:
    app = Application(Store.memory())
    assert app.apply_snapshot_chunk(0, snapshot().chunks[0], "peer").result is ApplyResult.RETRY_SNAPSHOT


def damaged(chunk: bytes) -> list[bytes]:
    """What can become of a chunk on the way."""
    middle = len(chunk) // 2
    flipped = chunk[:middle] + bytes((chunk[middle] ^ 1,)) + chunk[middle + 1 :]
    return [b"", flipped, chunk[:-1], chunk + b"\0", chunk[1:], snapshot().chunks[5]]


@pytest.mark.parametrize("place", [0, 1, 10, -1])
def test_a_bad_chunk_is_fetched_anew_from_somebody_else(place: int) -> None:
    index = place % len(snapshot().chunks)
    app = offered(snapshot())
    assert applied(app, snapshot().chunks[:index]).result is ApplyResult.ACCEPT
    for bad in damaged(snapshot().chunks[index]):
        answer = app.apply_snapshot_chunk(index, bad, "vandal")
        assert (answer.result, answer.refetch_chunks, answer.reject_senders) == (
            ApplyResult.RETRY,
            (index,),
            ("vandal",),
        )
        assert answer.reason.startswith(f"chunk {index} ")
        assert app.info() == EMPTY
    for at in range(index, len(snapshot().chunks)):
        assert app.apply_snapshot_chunk(at, snapshot().chunks[at], "peer") == Applied(ApplyResult.ACCEPT)
    assert app.info() == ledger().app.info()


def flips_of(chunk: bytes, step: int) -> None:
    for position in range(0, len(chunk), step):
        bad = bytearray(chunk)
        for bit in (0x01, 0x80):
            bad[position] ^= bit
            assert snapshot().manifest.fault(snapshot().chunks.index(chunk), bytes(bad)), position


def test_flipped_bytes_are_noticed_in_every_chunk() -> None:
    for chunk in snapshot().chunks:
        assert not snapshot().manifest.fault(snapshot().chunks.index(chunk), chunk)
        flips_of(chunk, 97)


@pytest.mark.slow
def test_every_flipped_byte_is_noticed() -> None:
    for chunk in snapshot().chunks:
        flips_of(chunk, 1)


def test_swapped_chunks_are_noticed() -> None:
    app = offered(snapshot())
    answer = app.apply_snapshot_chunk(0, snapshot().chunks[1], "vandal")
    assert (answer.result, answer.refetch_chunks) == (ApplyResult.RETRY, (0,))


def test_a_chunk_that_comes_twice_is_used_once() -> None:
    app = offered(snapshot())
    for index, chunk in enumerate(snapshot().chunks):
        assert app.apply_snapshot_chunk(index, chunk).result is ApplyResult.ACCEPT
        if index + 1 < len(snapshot().chunks):
            assert app.apply_snapshot_chunk(index, chunk).result is ApplyResult.ACCEPT
            assert app.apply_snapshot_chunk(0, b"anything").result is ApplyResult.ACCEPT
    assert app.info() == ledger().app.info()


def test_a_missing_chunk_is_asked_for() -> None:
    app = offered(snapshot())
    app.apply_snapshot_chunk(0, snapshot().chunks[0])
    answer = app.apply_snapshot_chunk(2, snapshot().chunks[2], "early")
    assert (answer.result, answer.refetch_chunks, answer.reject_senders) == (ApplyResult.RETRY, (1,), ())


def test_chunks_that_come_backwards_end_in_the_same_ledger() -> None:
    """As CometBFT does it: what is to be retried comes again, the lowest index first."""
    app = offered(snapshot())
    waiting = set(range(len(snapshot().chunks)))
    index = max(waiting)
    while waiting:
        answer = app.apply_snapshot_chunk(index, snapshot().chunks[index])
        waiting.discard(index)
        if answer.result is ApplyResult.RETRY:
            waiting |= {index, *answer.refetch_chunks}
        index = min(waiting, default=0)
    assert app.info() == ledger().app.info()


def test_an_offer_in_the_middle_begins_anew() -> None:
    app = offered(snapshot())
    applied(app, snapshot().chunks[:7])
    other = take(Replica().store)
    assert app.offer_snapshot(other.snapshot, other.app_hash) is OfferResult.ACCEPT
    applied(app, other.chunks[:1])
    assert app.offer_snapshot(snapshot().snapshot, snapshot().app_hash) is OfferResult.ACCEPT
    assert applied(app, snapshot().chunks).result is ApplyResult.ACCEPT
    assert contents(app._store) == contents(joined(snapshot())._store)  # noqa: SLF001 - nothing of the others is left


def test_a_refused_offer_ends_what_was_begun() -> None:
    app = offered(snapshot())
    app.offer_snapshot(replace(snapshot().snapshot, format=9), snapshot().app_hash)
    assert app.apply_snapshot_chunk(0, snapshot().chunks[0]).result is ApplyResult.RETRY_SNAPSHOT


def test_a_lie_about_the_newest_height_cannot_be_told_by_the_ledger_and_is_the_light_clients_to_find() -> None:
    """The app hash of an idle ledger is the same at many heights: the engine compares height and app hash itself."""
    later = cut(framed(parts()), height=ledger().app.info().height + 1)
    app = offered(later)
    assert applied(app, later.chunks).result is ApplyResult.ACCEPT
    assert app.info().height == ledger().app.info().height + 1


def test_a_replica_that_gave_up_joining_can_start_from_genesis(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "ledger", sync=False)
    app = offered(snapshot(), store)
    applied(app, snapshot().chunks[:3])
    assert app.init_chain(genesis()) == ledger().genesis_hash
    app.finalize_block(1, Timestamp(0), ())
    app.commit()
    store.close()
    again = Store.open(tmp_path / "ledger", sync=False)
    assert Application(again).info().height == 1
    assert [path.name for path in sorted((tmp_path / "ledger").iterdir())] == ["data.mdb", "lock.mdb"]
    again.close()
