"""A replica that started from a snapshot is like one that executed everything, but for the states of the past."""

import pytest

from chain.application import Application, Code, Timestamp
from chain.crypto.hashing import keccak256
from chain.errors import EngineError, StateMissingError
from chain.execution.index import read_start
from chain.storage import Space, Store
from contracts.addresses import LEDGER, TOKEN
from tests.chain.ledger import SPONSOR, Replica, codes, genesis
from tests.chain.snapshots.ledgers import (
    CHUNK,
    CODE,
    PAY,
    contents,
    head_of,
    joined,
    ledger,
    parts,
    replayed,
    snapshot,
    state_of,
    take,
)

HISTORY = [space for space in Space if space not in {Space.NODE, Space.META}]


def restored(source: Replica | None = None) -> Replica:
    """A replica on a restored store, to go on with."""
    source = source or ledger()
    store = Store.memory()
    joined(take(source.store), store)
    return Replica(store, source.document, source.time)


def test_the_restored_store_holds_the_whole_history_and_exactly_the_newest_state() -> None:
    source, store = ledger().store, restored().store
    assert contents(store, *HISTORY) == contents(source, *HISTORY)
    commit = head_of(source)
    assert read_start(store) == commit
    assert read_start(source) is None
    own = contents(store, Space.META)
    assert own.keys() - contents(source, Space.META).keys() == {(Space.META, b"start")}
    assert own.items() >= contents(source, Space.META).items()
    root = ledger().reader.header().state_root
    assert contents(store, Space.NODE) == state_of(source, root)
    assert len(contents(store, Space.NODE)) < len(contents(source, Space.NODE))


def test_every_snapshot_of_the_tests_has_many_chunks_and_everything_in_it() -> None:
    assert len(snapshot().chunks) > 10
    assert sum(map(len, snapshot().chunks)) == snapshot().manifest.size
    assert all(len(chunk) == CHUNK for chunk in snapshot().chunks[:-1])
    assert all(contents(ledger().store, space) for space in Space)
    assert head_of(ledger().store).height > ledger().reader.header().engine_height


def test_info_is_that_of_the_replica_that_took_it() -> None:
    assert restored().app.info() == ledger().app.info()


def test_history_is_served_at_once() -> None:
    ours, theirs = ledger().reader, restored().reader
    last = ours.latest()
    assert theirs.logs(0, last) == ours.logs(0, last) != []
    assert theirs.logs(0, last, addresses=[LEDGER]) == ours.logs(0, last, addresses=[LEDGER]) != []
    for number in range(last + 1):
        assert theirs.block(number) == ours.block(number)
        assert theirs.receipts(number) == ours.receipts(number)
        assert theirs.number_of(ours.header(number).hash) == number
        for raw in ours.block(number).transactions:
            assert theirs.transaction(keccak256(raw)) == ours.transaction(keccak256(raw)) is not None


def test_the_state_after_an_earlier_block_is_named_as_missing() -> None:
    reader = restored().reader
    earlier = reader.latest() - 1
    for ask in (
        lambda: reader.balance(SPONSOR.address, earlier),
        lambda: reader.proof(SPONSOR.address, [], earlier),
        lambda: reader.state(0, pending=True),
    ):
        with pytest.raises(StateMissingError, match=f"started from a snapshot of block {earlier + 1}"):
            ask()
    assert reader.nonce(SPONSOR.address) == ledger().reader.nonce(SPONSOR.address)


def test_an_earlier_block_with_the_state_of_the_snapshot_can_be_asked() -> None:
    source = Replica(document=genesis(block_every_height=True))
    for _ in range(2):
        source.height()
    other = restored(source)
    assert other.reader.header(1) == source.reader.header(1) != other.reader.header()
    assert other.reader.storage(TOKEN, 0, 1) == source.reader.storage(TOKEN, 0, 1) > 0


def test_it_goes_on_like_the_others() -> None:
    original, other = replayed(ledger()), restored()
    record = original.record(3, base=1)
    batches = original.batch(record), original.batch(original.record(4, base=1, counter=5))
    for transactions in (batches, (original.sign(SPONSOR, TOKEN, PAY),), (), (original.sign(SPONSOR, TOKEN, PAY),)):
        expected = original.height(*transactions)
        assert other.height(*transactions) == expected
        assert set(codes(expected)) <= {Code.OK}
    assert contents(other.store, *HISTORY) == contents(original.store, *HISTORY)


def test_heights_before_and_of_the_snapshot_are_not_finalized_again() -> None:
    app = restored().app
    for height in (1, app.info().height, app.info().height + 2):
        with pytest.raises(EngineError, match="is next"):
            app.finalize_block(height, Timestamp(0), ())


def test_a_ledger_of_block_zero_alone_can_be_joined() -> None:
    source = Replica(document=genesis(edge_sets=()))
    assert restored(source).app.info() == source.app.info()
    source.height()
    assert restored(source).app.info().height == 1


def test_replicas_at_the_same_height_write_the_same_bytes() -> None:
    assert take(replayed(ledger()).store) == snapshot()


def test_a_restored_replica_writes_the_same_bytes() -> None:
    again = restored()
    assert take(again.store) == snapshot()
    original = replayed(ledger())
    raw = original.sign(SPONSOR, TOKEN, PAY)
    assert again.height(raw) == original.height(raw)
    assert read_start(again.store) == head_of(ledger().store)
    assert take(again.store) == take(original.store) != snapshot()


def test_nodes_that_no_state_refers_to_are_left_behind() -> None:
    original = replayed(ledger())
    given_up = original.finalize(original.sign(SPONSOR, TOKEN, PAY))
    assert given_up.block is not None
    original.store.stage(Space.NODE, keccak256(b"garbage"), b"garbage")
    original.store.commit()  # with all nodes of the height that is decided otherwise
    assert original.store.read(Space.NODE, given_up.block.header.state_root) is not None
    Application(original.store)
    commit = head_of(ledger().store)
    assert take(original.store, commit) == snapshot()


def test_an_earlier_commit_is_taken_from_a_store_that_went_on() -> None:
    original = replayed(ledger())
    commit = head_of(original.store)
    for _ in range(2):
        original.height(original.sign(SPONSOR, TOKEN, PAY))
    assert head_of(original.store).height == commit.height + 2
    assert take(original.store, commit) == snapshot()


def test_what_two_contracts_share_is_read_twice_and_kept_once() -> None:
    assert parts().count(CODE) == 2
    assert restored().store.read(Space.NODE, keccak256(CODE)) == CODE
