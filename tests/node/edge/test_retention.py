"""What an edge server prunes, what it keeps, and that a restart after pruning goes on."""

from pathlib import Path

import pytest

from contracts import events
from contracts.records import UPDATE_ITEM_BYTES
from node.blobs import BlobStore
from node.edge.retention import PayloadBook, Retention
from node.edge.server import EdgeServer
from tests.node.edge.conftest import Worlds
from tests.node.edge.world import DIMENSION, World

PRUNER = 2


def frugal(world: World, member: int = PRUNER, rounds: int = 1) -> EdgeServer:
    """Start a server again, which keeps the updates of so many rounds."""
    server = world.restart(member)
    book = PayloadBook(world.directory / f"payloads-{member}")
    server._retention = Retention(rounds, book)  # noqa: SLF001 - as `EdgeServer(retention=...)` does
    server._payloads = dict(book.known)  # noqa: SLF001 - as above
    return server


def updates_of(world: World, number: int) -> set[bytes]:
    selection = world.outcomes[number - 1].selection
    assert selection is not None
    return {entry.digest for entry in selection.records}


def held(world: World, member: int = PRUNER) -> set[bytes]:
    return set(world.stores[member])


@pytest.fixture
def pruned(world: World) -> World:
    """A world of four settled rounds, of which one server keeps one."""
    frugal(world)
    for number in range(4):
        world.round(1 + number % 3, 4 + number % 3)
    world.run()
    return world


def test_updates_of_old_settled_rounds_go_and_the_newest_stay(pruned: World) -> None:
    for number in (1, 2, 3):
        assert not updates_of(pruned, number) & held(pruned)
        assert updates_of(pruned, number) <= held(pruned, 1), "who keeps all keeps all"
    assert updates_of(pruned, 4) <= held(pruned)


def test_models_that_a_kept_round_can_build_on_stay_and_the_job_file(pruned: World) -> None:
    log = pruned.log(PRUNER)
    oldest = 4 - 1 - log.terms.max_staleness
    assert oldest == 1
    assert log.model_at(0) not in held(pruned)
    assert {log.model_at(version) for version in range(oldest, 5)} <= held(pruned)
    assert log.terms.job_file in held(pruned)


def test_a_server_that_pruned_starts_again_without_anybody_elses_blobs(pruned: World) -> None:
    pruned.silent.update({1, 3, 4})
    frugal(pruned)
    pruned.run()
    assert pruned.log(PRUNER).version == 4
    pruned.silent.clear()
    assert pruned.round(1, 2).agreed
    assert (5, PRUNER) in {(event.round, event.edge) for event in pruned.events(events.Attested)}


def test_without_its_book_it_needs_a_member_that_kept_all(pruned: World) -> None:
    (pruned.directory / f"payloads-{PRUNER}").unlink()
    pruned.silent.update({1, 3, 4})
    frugal(pruned)
    pruned.run()
    assert pruned.log(PRUNER).version == 0, "it cannot tell copies"
    pruned.silent.clear()
    pruned.run()
    assert pruned.log(PRUNER).version == 4


def test_a_copy_of_a_pruned_payload_is_recognised(pruned: World) -> None:
    frugal(pruned)
    first = next(entry for entry in pruned.log(1).records if entry.round == 1)
    original = pruned.stores[1].get(first.digest)
    payload = original[-DIMENSION * UPDATE_ITEM_BYTES :]
    assert first.digest not in pruned.stores[PRUNER]
    pruned.contribute(3, payload=payload)
    pruned.round(1, 2)
    assert pruned.statuses(PRUNER).count("copy") == 1
    assert pruned.statuses(PRUNER) == pruned.statuses(1)


def test_what_is_not_settled_stays(worlds: Worlds) -> None:
    world = worlds()
    world.open()
    server = frugal(world)
    for number in range(3):
        world.round(1 + number, 4 + number % 3)
    log = world.log(PRUNER)
    retention = server._retention  # noqa: SLF001 - the test's own
    assert retention is not None
    log.settled.discard(1)
    first = next(entry for entry in log.records if entry.round == 1)
    assert not retention.gone([(log, first)])
    assert retention._oldest(log) == 1  # noqa: SLF001 - the models that settling needs
    log.settled.add(1)
    assert retention.gone([(log, first)])


def test_a_blob_that_a_newer_record_names_too_stays(pruned: World) -> None:
    """Anybody may record the digest of another's blob, and the server must be able to judge that."""
    server = pruned.servers[PRUNER]
    retention = server._retention  # noqa: SLF001 - the test's own
    assert retention is not None
    log = pruned.log(PRUNER)
    old = next(entry for entry in log.records if entry.round == 1)
    new = next(entry for entry in log.records if entry.round == 4)
    assert retention.gone([(log, old)])
    assert not retention.gone([(log, old), (log, new)])


def test_a_pruned_blob_is_not_taken_in_again(pruned: World) -> None:
    old = next(entry for entry in pruned.log(1).records if entry.round == 1)
    answer = pruned.servers[PRUNER].offer_blob(old.digest, pruned.stores[1].get(old.digest))
    assert (answer.status, answer.kind) == ("refused", "pruned")


def test_the_book_survives_a_line_that_was_cut_or_damaged(tmp_path: Path) -> None:
    pairs = {bytes([number]) * 32: bytes([number + 1]) * 32 for number in range(3)}
    book = PayloadBook(tmp_path / "payloads")
    book.add(pairs)
    data = (tmp_path / "payloads").read_bytes()
    for damaged in (data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
        (tmp_path / "payloads").write_bytes(damaged)
        again = PayloadBook(tmp_path / "payloads")
        assert list(again.known.items()) == list(pairs.items())[:2]
        again.add(pairs)
        assert PayloadBook(tmp_path / "payloads").known == pairs


def test_keeping_no_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 stays"):
        Retention(0, PayloadBook(tmp_path / "payloads"))


def test_an_empty_store_is_empty(tmp_path: Path) -> None:
    assert len(BlobStore(tmp_path)) == 0
