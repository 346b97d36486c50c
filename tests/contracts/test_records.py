"""Records, batches, blobs and digests: what is accepted encodes to the same bytes again, everything else is named."""

import hashlib
from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from contracts.digests import Attestation, Part, chunk_digest, name32, next_head, settlement, text_of, thetas_digest
from contracts.errors import (
    BatchSizeError,
    CodecError,
    ContractsError,
    CutShortError,
    HeaderError,
    LengthError,
    NumberError,
    SchemeError,
)
from contracts.records import (
    BODY_BYTES,
    MAX_ENTRIES,
    MODEL_HEADER_BYTES,
    SIGNATURE_BYTES,
    UPDATE_HEADER_BYTES,
    ModelHeader,
    Record,
    ReportingHeader,
    SignedRecord,
    UpdateHeader,
    WorkReport,
    blob_digest,
    decode_batch,
    decode_model,
    decode_update,
    encode_batch,
    payload_digest,
    split_batch,
)
from merit.errors import MeritError

U8, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 32, 64))
HASH = st.binary(min_size=32, max_size=32)
ADDRESS = st.binary(min_size=20, max_size=20)
RECORDS = st.builds(Record, U64, U64, U64, U32, HASH, U64, U64)
UPDATES = st.builds(UpdateHeader, U8, HASH, ADDRESS, U64, U64, U64, U32, st.integers(0, 50))
MODELS = st.builds(ModelHeader, U8, st.integers(0, 50))


@st.composite
def signed(draw: st.DrawFn) -> SignedRecord:
    scheme = draw(st.sampled_from([44, 65]))
    filler = draw(st.binary(min_size=1, max_size=3))
    return SignedRecord(draw(RECORDS), scheme, draw(ADDRESS), (filler * 3309)[: SIGNATURE_BYTES[scheme]])


RECORD = Record(1, 2, 3, 4, bytes(range(32)), 5, 6)
SIGNED = SignedRecord(RECORD, 44, b"s" * 20, b"\7" * 2420)
UPDATE = UpdateHeader(12, b"g" * 32, b"l" * 20, 1, 2, 3, 4, 5)
MODEL = ModelHeader(16, 5)
NOTHING = WorkReport(0, 0, 0, 0, 0)
UINT32 = st.integers(0, 2**32 - 1)
REPORTS = st.builds(WorkReport, UINT32, UINT32, UINT32, UINT32, UINT32)


def test_record_body_is_laid_out_as_the_paper_says() -> None:
    body = RECORD.encode()
    assert body.hex() == (
        "00000000000000010000000000000002000000000000000300000004"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00000000000000050000000000000006"
    )  # fmt: skip
    assert RECORD.message(b"l" * 20) == b"l" * 20 + body
    assert RECORD.mark == (4 << 32) | 4


def test_update_and_model_headers_are_laid_out_as_the_paper_says() -> None:
    assert UPDATE.encode() == (
        b"MRTU\0\1\x0c\0" + b"g" * 32 + b"l" * 20 + bytes.fromhex("000000000000000100000000000000020000000000000003")
        + bytes.fromhex("000000040000000500000000")
    )  # fmt: skip
    assert len(UPDATE.encode()) == UPDATE_HEADER_BYTES == 96
    assert MODEL.encode() == b"MRTM\0\1\x10\0" + bytes.fromhex("0000000500000000")
    assert len(MODEL.encode()) == MODEL_HEADER_BYTES == 16


def test_a_reporting_header_has_the_same_length_and_binds_to_the_same_by_one_digest() -> None:
    header = UPDATE.reporting(WorkReport(20, 5, 4_000_000, 7, 8))
    binding = hashlib.sha256(b"merit/update/2" + b"g" * 32 + b"l" * 20).digest()
    assert header.encode() == (
        b"MRTU\0\2\x0c\0" + binding + bytes.fromhex("0000001400000005003d09000000000700000008")
        + bytes.fromhex("000000000000000100000000000000020000000000000003000000040000000500000000")
    )  # fmt: skip
    assert len(header.encode()) == UPDATE_HEADER_BYTES
    assert header.blob_length == UPDATE.blob_length


@given(UPDATES, REPORTS, st.data())
def test_reported_update_survives_its_encoding(plain: UpdateHeader, report: WorkReport, data: st.DataObject) -> None:
    payload = data.draw(st.binary(min_size=2 * plain.dimension, max_size=2 * plain.dimension))
    header = plain.reporting(report)
    assert decode_update(header.blob(payload)) == (header, payload)
    assert payload_digest(header.blob(payload)) == payload_digest(plain.blob(payload)), "a report does not hide a copy"


@given(UPDATES, REPORTS, st.data())
def test_what_the_reporting_decoder_accepts_encodes_to_the_same_bytes(
    plain: UpdateHeader, report: WorkReport, data: st.DataObject
) -> None:
    raw = bytearray(plain.reporting(report).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = ReportingHeader.decode(bytes(raw))
    except CodecError:
        return
    assert found.encode() == bytes(raw)


@given(RECORDS)
def test_record_survives_its_encoding(record: Record) -> None:
    assert Record.decode(record.encode()) == record


@given(st.binary(min_size=BODY_BYTES, max_size=BODY_BYTES))
def test_any_76_bytes_are_a_record_that_encodes_to_them(body: bytes) -> None:
    assert Record.decode(body).encode() == body


@given(st.lists(signed(), min_size=1, max_size=5))
def test_batch_survives_its_encoding(entries: list[SignedRecord]) -> None:
    assert decode_batch(encode_batch(entries)) == tuple(entries)
    assert SignedRecord.decode(entries[0].encode()) == entries[0]


@given(st.one_of(signed().map(SignedRecord.encode), st.binary(max_size=4000)), st.data())
def test_what_a_batch_decoder_accepts_encodes_to_the_same_bytes(batch: bytes, data: st.DataObject) -> None:
    batch = batch[: data.draw(st.integers(0, len(batch)))] if data.draw(st.booleans()) else batch
    try:
        entries = decode_batch(batch)
    except CodecError:
        return
    assert encode_batch(entries) == batch


@given(UPDATES, st.data())
def test_update_survives_its_encoding(header: UpdateHeader, data: st.DataObject) -> None:
    payload = data.draw(st.binary(min_size=2 * header.dimension, max_size=2 * header.dimension))
    blob = header.blob(payload)
    assert decode_update(blob) == (header, payload)
    assert len(blob) == header.blob_length
    assert blob_digest(blob) == hashlib.sha256(blob).digest()
    assert payload_digest(blob) == hashlib.sha256(payload).digest()


@given(MODELS, st.data())
def test_model_survives_its_encoding(header: ModelHeader, data: st.DataObject) -> None:
    payload = data.draw(st.binary(min_size=4 * header.dimension, max_size=4 * header.dimension))
    blob = header.blob(payload)
    assert decode_model(blob) == (header, payload)
    assert len(blob) == header.blob_length


def test_every_flipped_bit_of_a_header_is_refused_or_another_header() -> None:
    for header in (UPDATE, MODEL):
        encoded = header.encode()
        for bit in range(8 * len(encoded)):
            damaged = bytearray(encoded)
            damaged[bit // 8] ^= 1 << (bit % 8)
            try:
                other = type(header).decode(bytes(damaged))
            except CodecError:
                continue
            assert other != header
            assert other.encode() == bytes(damaged)


def test_copies_have_the_same_payload_digest_and_another_blob_digest() -> None:
    original, copied = UPDATE.blob(bytes(10)), replace(UPDATE, client=9).blob(bytes(10))
    assert payload_digest(original) == payload_digest(copied)
    assert blob_digest(original) != blob_digest(copied)


def test_batch_takes_1_to_128_entries() -> None:
    assert len(decode_batch(encode_batch([SIGNED] * MAX_ENTRIES))) == MAX_ENTRIES
    for entries in ([], [SIGNED] * (MAX_ENTRIES + 1)):
        with pytest.raises(BatchSizeError):
            encode_batch(entries)
        with pytest.raises(BatchSizeError):
            decode_batch(b"".join(entry.encode() for entry in entries))


def test_split_batch_gives_what_comes_before_the_damage() -> None:
    batch = encode_batch([SIGNED, SIGNED])
    entries, problem = split_batch(batch[:-1])
    assert entries == (SIGNED,)
    assert isinstance(problem, CutShortError)
    assert str(problem) == "the entry at byte 2517 is cut short at byte 5033"
    assert split_batch(batch) == ((SIGNED, SIGNED), None)


REFUSED: list[tuple[type[CodecError], object]] = [
    (LengthError, lambda: Record.decode(bytes(75))),
    (LengthError, lambda: Record.decode(bytes(77))),
    (LengthError, lambda: replace(RECORD, digest=bytes(31)).encode()),
    (LengthError, lambda: RECORD.message(bytes(19))),
    (NumberError, lambda: replace(RECORD, counter=2**32).encode()),
    (NumberError, lambda: replace(RECORD, base=-1).encode()),
    (SchemeError, lambda: replace(SIGNED, scheme=87).encode()),
    (LengthError, lambda: replace(SIGNED, signer=bytes(21)).encode()),
    (LengthError, lambda: replace(SIGNED, scheme=65).encode()),
    (LengthError, lambda: SignedRecord.decode(SIGNED.encode() + b"\0")),
    (CutShortError, lambda: SignedRecord.decode(SIGNED.encode()[:-1])),
    (CutShortError, lambda: SignedRecord.decode(SIGNED.encode()[:96])),
    (SchemeError, lambda: SignedRecord.decode(SIGNED.encode()[:76] + b"\0" + SIGNED.encode()[77:])),
    (LengthError, lambda: replace(UPDATE, genesis_hash=bytes(31)).encode()),
    (LengthError, lambda: replace(UPDATE, ledger=bytes(21)).encode()),
    (NumberError, lambda: replace(UPDATE, fraction_bits=256).encode()),
    (NumberError, lambda: replace(MODEL, dimension=2**32).encode()),
    (LengthError, lambda: UpdateHeader.decode(bytes(95))),
    (LengthError, lambda: ModelHeader.decode(bytes(17))),
    (LengthError, lambda: UPDATE.blob(bytes(9))),
    (LengthError, lambda: MODEL.blob(bytes(19))),
    (LengthError, lambda: decode_update(UPDATE.blob(bytes(10)) + b"\0")),
    (LengthError, lambda: decode_update(UPDATE.blob(bytes(10))[:-1])),
    (LengthError, lambda: decode_model(MODEL.blob(bytes(20)) + b"\0")),
    (HeaderError, lambda: decode_model(UPDATE.blob(bytes(10)))),
    (HeaderError, lambda: UpdateHeader.decode(b"MRTU\0\2" + UPDATE.encode()[6:])),
    (HeaderError, lambda: ReportingHeader.decode(UPDATE.encode())),
    (HeaderError, lambda: decode_update(b"MRTU\0\3" + UPDATE.blob(bytes(10))[6:])),
    (LengthError, lambda: ReportingHeader.decode(UPDATE.reporting(NOTHING).encode()[:-1])),
    (LengthError, lambda: replace(UPDATE.reporting(NOTHING), binding=b"").encode()),
    (LengthError, lambda: UPDATE.reporting(NOTHING).blob(bytes(9))),
    (NumberError, lambda: UPDATE.reporting(WorkReport(0, 0, 1 << 32, 0, 0)).encode()),
    (HeaderError, lambda: UpdateHeader.decode(UPDATE.encode()[:7] + b"\1" + UPDATE.encode()[8:])),
    (HeaderError, lambda: UpdateHeader.decode(UPDATE.encode()[:-1] + b"\1")),
    (LengthError, lambda: name32("x" * 33)),
    (LengthError, lambda: settlement([1, 2], [3])),
    (LengthError, lambda: thetas_digest(1, 1, [bytes(31)])),
]


@pytest.mark.parametrize(("kind", "make"), REFUSED)
def test_wrong_input_gets_a_precise_error_of_one_line(kind: type[CodecError], make: object) -> None:
    assert callable(make)
    with pytest.raises(kind) as caught:
        make()
    assert isinstance(caught.value, ContractsError)
    assert isinstance(caught.value, MeritError)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    numbers=st.tuples(*[st.integers(0, 2**64)] * 6),
    parts=st.lists(st.builds(Part, HASH, HASH), max_size=16),
)
def test_attestation_digest_is_solidity_abi_encoding(numbers: tuple[int, ...], parts: list[Part]) -> None:
    version, job, round_, height, k, spent = numbers
    types = [*["uint256"] * 6, "(bytes32,bytes32)[]"]
    expected = keccak(encode(types, [*numbers, [(part.name, part.digest) for part in parts]]))
    assert Attestation(job, round_, height, k, spent, tuple(parts)).digest(version) == expected


@given(st.lists(st.tuples(U64, st.integers(0, 10**9)), max_size=200))
def test_settlement_is_solidity_abi_encoding_in_chunks_of_64(pairs: list[tuple[int, int]]) -> None:
    clients, thetas = [client for client, _ in pairs], [theta for _, theta in pairs]
    scores = settlement(clients, thetas)
    assert scores.k == len(pairs)
    assert scores.total == sum(thetas)
    assert [len(part) for part, _ in scores.chunks[:-1]] == [64] * (len(scores.chunks) - 1)
    assert [client for part, _ in scores.chunks for client in part] == clients
    expected = [keccak(encode(["uint256[]", "uint256[]"], chunk)) for chunk in scores.chunks]
    assert list(scores.chunk_digests) == expected == [chunk_digest(*chunk) for chunk in scores.chunks]
    assert scores.digest == keccak(encode(["uint256", "uint256", "bytes32[]"], [scores.total, scores.k, expected]))


def test_running_digest_covers_body_and_signer() -> None:
    leaf = keccak(RECORD.encode() + b"s" * 20)
    assert next_head(bytes(32), RECORD, b"s" * 20) == keccak(bytes(32) + leaf)


def test_names_are_padded_ascii_and_foreign_bytes_are_escaped() -> None:
    assert name32("cosine") == b"cosine" + bytes(26)
    assert text_of(name32("cosine")) == "cosine"
    assert text_of(b"\xff\x00") == "\\xff"
