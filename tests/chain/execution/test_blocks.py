"""Headers, receipts, blooms and tries are Ethereum's, bit for bit, and decode strictly."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rlp as reference
from eth.rlp.logs import Log as ReferenceLog
from eth.rlp.receipts import Receipt as ReferenceReceipt
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth_bloom.bloom import BloomFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.errors import BlockError
from chain.execution.blocks import (
    BLOOM_BYTES,
    MISBEHAVIOR_REQUEST,
    BlockNumber,
    Log,
    Misbehavior,
    Receipt,
    bloom_may_hold,
    bloom_of,
    decode_header,
    decode_misbehavior,
    decode_receipt,
    misbehavior_hash,
    transaction_type,
)
from chain.execution.transactions import describe
from chain.execution.trie import ordered_root
from tests.chain.ledger import SPONSOR, Replica

WORDS = st.binary(min_size=32, max_size=32)
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
LOGS = st.builds(Log, ADDRESSES, st.lists(WORDS, max_size=4).map(tuple), st.binary(max_size=80))
RECEIPTS = st.builds(
    Receipt,
    st.sampled_from([0, 1, 2, 0x50]),
    st.booleans(),
    st.integers(0, 2**63),
    st.binary(min_size=BLOOM_BYTES, max_size=BLOOM_BYTES),
    st.lists(LOGS, max_size=4).map(tuple),
)


def test_header_hashes_as_py_evms_does() -> None:
    replica = Replica()
    replica.height(replica.sign(SPONSOR, bytes(19) + b"\1"))
    header = replica.reader.header()
    theirs = reference.decode(header.encode(), PragueBlockHeader)
    assert theirs.hash == header.hash
    assert (theirs.block_number, theirs.state_root, theirs.timestamp) == (1, header.state_root, header.timestamp)
    assert decode_header(header.encode()) == header


def published(shared: Path) -> list[list[Any]]:
    """The blocks of a chain that geth made, as nested lists: header, transactions, uncles, withdrawals."""
    data = (shared / "vectors" / "execution-apis" / "prague" / "chain.rlp").read_bytes()
    blocks: list[list[Any]] = []
    at = 0
    while at < len(data):
        block, _, at = reference.codec.consume_item(data, at)
        blocks.append(block)
    return blocks


def test_published_transaction_roots_come_out_of_their_transactions(shared: Path) -> None:
    counted = 0
    for header, transactions, *_ in published(shared):
        raws = [item if isinstance(item, bytes) else reference.encode(item) for item in transactions]
        assert ordered_root(raws) == header[4]
        counted += len(raws)
    assert counted > 50


def test_published_transactions_have_the_senders_that_py_evm_finds(shared: Path) -> None:
    kinds = set()
    for _, transactions, *_ in published(shared):
        for item in transactions:
            raw = item if isinstance(item, bytes) else reference.encode(item)
            if transaction_type(raw) <= 2:
                found, theirs = describe(raw), PragueTransactionBuilder.decode(raw)
                assert (found.sender, found.nonce, found.to, found.data, found.hash) == (
                    theirs.sender,
                    theirs.nonce,
                    theirs.to,
                    theirs.data,
                    keccak256(raw),
                )
                kinds.add(found.type)
    assert kinds == {0, 1, 2}


def test_the_published_prague_header_decodes_and_hashes_as_geth_says(shared: Path) -> None:
    (encoded,) = [reference.encode(block[0]) for block in published(shared) if len(block[0]) == 21]
    update = json.loads((shared / "vectors" / "execution-apis" / "prague" / "headfcu.json").read_text(encoding="utf-8"))
    header = decode_header(encoded)
    assert header.encode() == encoded
    assert "0x" + header.hash.hex() == update["params"][0]["headBlockHash"]


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=20) | st.lists(st.just(b"x"), min_size=120, max_size=300))
def test_ordered_root_is_that_of_the_trie_package(values: list[bytes]) -> None:
    trie = HexaryTrie({})
    for index, value in enumerate(values):
        trie[reference.encode(index)] = value
    assert ordered_root(values) == trie.root_hash


@given(st.lists(LOGS, max_size=6))
def test_bloom_is_that_of_the_bloom_package(logs: list[Log]) -> None:
    bloom = BloomFilter()
    for log in logs:
        bloom.add(log.address)
        bloom.extend(log.topics)
    assert bloom_of(logs) == int(bloom).to_bytes(BLOOM_BYTES, "big")
    for log in logs:
        assert bloom_may_hold(bloom_of(logs), log.address)


def test_an_empty_bloom_holds_nothing() -> None:
    assert not bloom_may_hold(bytes(BLOOM_BYTES), b"anything")


@given(RECEIPTS)
def test_receipts_encode_as_py_evms_and_come_back(receipt: Receipt) -> None:
    logs = [
        ReferenceLog(log.address, tuple(int.from_bytes(topic, "big") for topic in log.topics), log.data)
        for log in receipt.logs
    ]
    status = b"\x01" if receipt.succeeded else b""
    theirs = ReferenceReceipt(status, receipt.cumulative_gas, logs, int.from_bytes(receipt.bloom, "big"))
    prefix = bytes([receipt.type]) if receipt.type else b""
    assert receipt.encode() == prefix + reference.encode(theirs)
    assert decode_receipt(receipt.encode()) == receipt


@settings(max_examples=200)
@given(RECEIPTS, st.integers(0, 2**12), st.integers(0, 7))
def test_a_flipped_bit_never_gives_the_same_receipt(receipt: Receipt, position: int, bit: int) -> None:
    data = bytearray(receipt.encode())
    data[position % len(data)] ^= 1 << bit
    try:
        damaged = decode_receipt(bytes(data))
    except BlockError:
        return
    assert damaged != receipt
    assert damaged.encode() == bytes(data)


def test_every_flipped_bit_of_a_header_changes_its_hash_or_is_refused() -> None:
    header = Replica().reader.header(0)
    encoded = header.encode()
    for position in range(len(encoded)):
        damaged = bytearray(encoded)
        damaged[position] ^= 1 << position % 8
        try:
            other = decode_header(bytes(damaged))
        except BlockError:
            continue
        assert other.hash != header.hash
        assert other.encode() == bytes(damaged)


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x80", b"\xc1\x80"])
def test_other_bytes_are_no_header_receipt_or_misbehavior(data: bytes) -> None:
    for decode in (decode_header, decode_receipt, decode_misbehavior):
        with pytest.raises(BlockError):
            decode(data)


FAULT = Misbehavior(kind=2, validator=b"\5" * 20, power=7, height=9, time_ns=10**18, total_power=30)


def test_misbehavior_comes_back_and_its_hash_follows_eip_7685() -> None:
    assert decode_misbehavior(FAULT.encode()) == FAULT
    request = bytes([MISBEHAVIOR_REQUEST]) + FAULT.encode()
    assert misbehavior_hash([FAULT]) == hashlib.sha256(hashlib.sha256(request).digest()).digest()
    assert misbehavior_hash([FAULT, replace(FAULT, power=8)]) != misbehavior_hash([replace(FAULT, power=8), FAULT])


def test_engine_height_is_in_the_extra_data_but_of_block_zero() -> None:
    header = Replica().reader.header(0)
    assert header.engine_height == 0
    later = replace(header, number=BlockNumber(3), extra_data=(77).to_bytes(8, "big"))
    assert later.engine_height == 77
    assert keccak256(later.encode()) == later.hash
