"""Who offers something else than the ledger is found out, also when every chunk is what his manifest says."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chain import rlp
from chain.application import ApplyResult, Code
from chain.crypto.hashing import keccak256
from chain.errors import SnapshotContentError
from chain.execution.index import GENESIS_DOCUMENT
from chain.snapshots.content import Kind, below
from chain.storage import Space
from contracts.addresses import TOKEN
from tests.chain.ledger import SPONSOR, Replica, codes, genesis
from tests.chain.snapshots.ledgers import (
    CHUNK,
    PAY,
    applied,
    cut,
    framed,
    ledger,
    offered,
    parts,
    snapshot,
    state_of,
    take,
)


def last() -> int:
    return ledger().reader.latest()


def place(what: str) -> int:
    """The index of the first item of a kind."""
    blocks = ledger().reader.latest() + 1
    return {"newest header": 0, "header": 1, "block 0": blocks - 1, "genesis": blocks, "body": blocks + 1}.get(
        what, 2 * blocks
    )


def refused(content: bytes, chunk_bytes: int = CHUNK, **changes: object) -> str:
    """Why a replica refuses what a liar offers; it holds nothing afterwards and still takes the truth."""
    lie = cut(content, chunk_bytes, **changes)
    app = offered(lie)
    answer = applied(app, lie.chunks, "liar")
    assert (answer.result, answer.reject_senders) == (ApplyResult.REJECT_SNAPSHOT, ("liar",)), answer
    assert (app.info().height, app.info().app_hash) == (0, b"")
    assert app.apply_snapshot_chunk(0, lie.chunks[0]).result is ApplyResult.RETRY_SNAPSHOT
    app.offer_snapshot(snapshot().snapshot, snapshot().app_hash)
    assert applied(app, snapshot().chunks).result is ApplyResult.ACCEPT
    assert app.info() == ledger().app.info()
    return answer.reason


def without(index: int) -> Sequence[bytes]:
    return [*parts()[:index], *parts()[index + 1 :]]


def instead(index: int, item: bytes) -> Sequence[bytes]:
    return [*parts()[:index], item, *parts()[index + 1 :]]


def test_the_items_are_what_the_snapshot_is_cut_from() -> None:
    assert cut(framed(parts())) == snapshot()


def test_items_stand_in_the_order_that_the_format_says() -> None:
    """A program that writes another order has another format, and other bytes than its peers."""
    reader = ledger().reader
    headers = [reader.header(number).encode() for number in range(last(), -1, -1)]
    assert list(parts()[: place("body")]) == [*headers, document()]
    for number in range(1, last() + 1):
        block = reader.block(number)
        receipts, misbehavior = ([item.encode() for item in items] for items in (block.receipts, block.misbehavior))
        assert parts()[place("body") + number - 1] == rlp.encode([list(block.transactions), receipts, misbehavior])
    state = state_of(ledger().store, reader.header().state_root)  # in the order of the first reading
    assert list(dict.fromkeys(parts()[place("state") :])) == list(state.values())


def document() -> bytes:
    found = ledger().store.read(Space.META, GENESIS_DOCUMENT)
    assert found is not None
    return found


@pytest.mark.parametrize("index", [0, 1, 5, 11, 12, 13, 20, 25, 40, 100, -2, -1])
def test_nothing_may_be_left_out(index: int) -> None:
    assert refused(framed(without(index % len(parts()))))


@pytest.mark.slow
def test_no_item_at_all_may_be_left_out() -> None:
    for index in range(len(parts())):
        assert refused(framed(without(index)))


@pytest.mark.parametrize("index", [0, 1, 12, 13, 25, 100])
def test_nothing_may_be_added(index: int) -> None:
    assert refused(framed([*parts()[:index], b"more", *parts()[index:]]))
    assert refused(framed([*parts()[:index], parts()[index], *parts()[index:]]))


@pytest.mark.parametrize("more", [b"\0", bytes(4), framed([b"a node that no state refers to"])])
def test_nothing_may_follow_the_last_item(more: bytes) -> None:
    assert "more follows after the last item" in refused(framed(parts()) + more)
    exact = len(framed(parts()))
    assert "more follows after the last item" in refused(framed(parts()) + more, chunk_bytes=exact)


@pytest.mark.parametrize("index", [0, 3, 12, 14, 60, 120])
def test_items_may_not_change_places(index: int) -> None:
    items = list(parts())
    items[index], items[index + 1] = items[index + 1], items[index]
    assert refused(framed(items))


def test_a_missing_node_of_the_state_is_named_as_such() -> None:
    assert "a part of the state (accounts) does not hash" in refused(framed(without(place("state"))))


def test_a_snapshot_that_ends_early_is_refused() -> None:
    content = framed(parts())
    for length in (4, 100, len(content) // 2, len(content) - 1):
        assert "ends before all of the ledger is there" in refused(content[:length])


def test_every_part_of_a_block_is_compared_with_its_header() -> None:
    """The newest block with three transactions is forged in each of its parts, the header is left as it is."""
    index = place("body") + last() - 1
    transactions, receipts, misbehavior = _lists(parts()[index])
    assert len(transactions) == 3
    for forged, what in (
        ([transactions[:2], receipts, misbehavior], "transactions"),
        ([transactions[::-1], receipts, misbehavior], "transactions"),
        ([transactions, receipts[:2], misbehavior], "receipts"),
        ([transactions, [receipts[0], *receipts[:2]], misbehavior], "receipts"),
        ([transactions, receipts, _lists(parts()[index - 1])[2]], "misbehavior"),
    ):
        reason = refused(framed(instead(index, rlp.encode(forged))))
        assert f"the {what} of block {last()} are not the ones that its header names" in reason


def test_misbehavior_may_not_be_left_out() -> None:
    index = place("body") + last() - 2
    transactions, receipts, misbehavior = _lists(parts()[index])
    assert len(misbehavior) == 1
    assert "the misbehavior of block" in refused(framed(instead(index, rlp.encode([transactions, receipts, []]))))


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x80", rlp.encode([[], []]), rlp.encode([[[]], [], []]), b"\xc1"])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    assert refused(framed(instead(place("body"), body)))


def test_an_old_block_forged_with_a_header_that_fits_breaks_the_chain_of_headers() -> None:
    """The forger executes another history honestly; only the hash of its newest block gives it away."""
    forger = Replica()
    for _ in range(last()):
        assert codes(forger.height(forger.sign(SPONSOR, TOKEN, PAY))) == [Code.OK]
    theirs = take(forger.store)
    content = b"".join(theirs.chunks)
    assert "the newest header does not hash" in refused(content)
    blocks = last() + 1
    forged = [parts()[0], *_items(content)[1:blocks], *parts()[blocks:]]
    assert f"header {last() - 1} does not hash" in refused(framed(forged))
    forged = [*parts()[: blocks + 1], *_items(content)[blocks + 1 : 2 * blocks], *parts()[2 * blocks :]]
    assert "of block 1 are not the ones" in refused(framed(forged))


def test_a_genesis_document_other_than_the_one_of_block_0_is_refused() -> None:
    other = genesis(time=1).encode()
    assert "is not the one of block 0" in refused(framed(instead(place("genesis"), other)))
    assert "is not the one of block 0" in refused(framed(instead(place("genesis"), document() + b"\n")))


def test_a_manifest_that_names_another_genesis_document_than_block_0_is_refused() -> None:
    assert "is not the one of block 0" in refused(framed(parts()), genesis=hashlib.sha256(b"").digest())


def test_headers_are_numbered_down_to_block_0() -> None:
    """Nobody has an app hash for this to hang on; the store's keys depend on it all the same."""
    below_head = replace(ledger().reader.header(1), number=7)
    head = replace(ledger().reader.header(2), parent_hash=below_head.hash)
    content = framed([head.encode(), below_head.encode(), *parts()[2:]])
    assert "header 1 has the number 7" in refused(content, app_hash=head.hash)


def test_a_height_before_the_newest_block_is_refused() -> None:
    height = ledger().reader.header().engine_height
    assert f"of height {height}, above {height - 1}" in refused(framed(parts()), height=height - 1)


@pytest.mark.parametrize("what", ["newest header", "block 0", "genesis", "body", "state"])
def test_an_item_longer_than_it_can_be_is_refused_by_its_length(what: str) -> None:
    """Before its bytes come: they would have to be kept."""
    before = framed(parts()[: place(what)])
    reason = refused(before + (2**32 - 1).to_bytes(4, "big") + bytes(3 * CHUNK))
    assert f"an item of {2**32 - 1} bytes, at most" in reason


@pytest.mark.parametrize("chunk_bytes", [1, 3, 4, 5, 1_000, 1 << 20])
def test_chunks_may_end_anywhere(chunk_bytes: int) -> None:
    content = framed(parts())
    if chunk_bytes < 5:
        content_of_two_chunks = cut(content, len(content) // 2 + chunk_bytes)
        app = offered(content_of_two_chunks)
        assert applied(app, content_of_two_chunks.chunks).result is ApplyResult.ACCEPT
    else:
        taken = cut(content, chunk_bytes)
        app = offered(taken)
        assert applied(app, taken.chunks).result is ApplyResult.ACCEPT
    assert app.info() == ledger().app.info()


def flipped(positions: Sequence[int]) -> None:
    content = framed(parts())
    for position in positions:
        forged = bytearray(content)
        forged[position] ^= 1 << position % 8
        lie = cut(bytes(forged))
        app = offered(lie)
        answer = applied(app, lie.chunks)
        assert answer.result is ApplyResult.REJECT_SNAPSHOT, position
        named = int(answer.reason.removeprefix("chunk ").split(":")[0])
        assert named >= position // CHUNK, position
        assert app.info().height == 0


def test_a_liar_who_changes_a_byte_is_found_out() -> None:
    flipped(range(7, len(framed(parts())), 1_009))


@pytest.mark.slow
def test_a_liar_who_changes_any_byte_is_found_out() -> None:
    flipped(range(0, len(framed(parts())), 37))


def test_references_are_found_where_a_node_holds_small_ones_itself() -> None:
    """A node of fewer than 32 bytes stands in the one above; our ledgers are too small to have one."""
    name = keccak256(b"node")
    leaf: rlp.Item = [b"\x3a", b"\1"]
    extension: rlp.Item = [b"\x00\xab", name]
    branch = [b""] * 17
    inner: list[rlp.Item] = [*branch]
    inner[3], inner[4], inner[9] = leaf, name, extension
    outer: list[rlp.Item] = [*branch]
    outer[0], outer[15] = [b"\x11", inner], name
    assert [reference.hash for reference in below(Kind.STORAGE, rlp.encode(outer))] == [name] * 3
    assert below(Kind.STORAGE, rlp.encode(leaf)) == []
    assert below(Kind.CODE, rlp.encode(outer)) == []


@pytest.mark.parametrize("node", [b"\xc0", b"\xc2\x80\x80", rlp.encode([b"\0", b"short"]), rlp.encode([b""] * 16)])
def test_a_node_that_is_none_is_refused(node: bytes) -> None:
    with pytest.raises(SnapshotContentError):
        below(Kind.ACCOUNTS, node)


def test_an_account_that_is_none_is_refused() -> None:
    for leaf in ([b"", b"", b""], [b"", b"", b"", []]):
        with pytest.raises(SnapshotContentError, match="an account"):
            below(Kind.ACCOUNTS, rlp.encode([b"\x20", rlp.encode(leaf)]))


def _lists(body: bytes) -> list[list[rlp.Item]]:
    return rlp.decode(body)  # type: ignore[return-value] # as the sender wrote it


def _items(content: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "big")
        found.append(content[at + 4 : end])
        at = end
    return found
