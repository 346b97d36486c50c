"""The record and blob codec: what clients sign, what batches hold, what stands at the head of a blob.

All integers of records and headers are big-endian, payloads little-endian (they are numpy arrays). Every decoder is
strict: what it accepts encodes to the same bytes again, everything else is a `CodecError`. This module imports no
third-party package.

    record body     76   job u64 | client u64 | base u64 | counter u32 | digest 32 | length u64 | expiry u64
    batch entry          body | scheme u8 | signer 20 | signature (2,420 bytes for ML-DSA-44, 3,309 for ML-DSA-65)
    signed message  96   ledger 20 | body             FIPS 204 context: "merit/record/1" | genesis hash
    update header   96   "MRTU" | format u16 | fraction bits u8 | 0 | genesis hash 32 | ledger 20 | job u64 | client u64
                         | base u64 | counter u32 | dimension u32 | 0 u32      followed by dimension * int16
    reporting       96   "MRTU" | format u16 = 2 | fraction bits u8 | 0 | binding 32 | samples u32 | epochs u32
     header              | training us u32 | gathering us u32 | transfer us u32 | job u64 | client u64 | base u64
                         | counter u32 | dimension u32 | 0 u32                 followed by dimension * int16
    model header    16   "MRTM" | format u16 | fraction bits u8 | 0 | dimension u32 | 0 u32
                                                                               followed by dimension * int32

The Ledger knows the length of an update's header and nothing else of it. A reporting header has the same length: one
digest binds it to genesis hash and ledger, and what that saves tells how the client worked.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from contracts.addresses import ADDRESS_BYTES
from contracts.errors import (
    BatchSizeError,
    CodecError,
    CutShortError,
    HeaderError,
    LengthError,
    NumberError,
    SchemeError,
)

DIGEST_BYTES: Final = 32
HASH_BYTES: Final = 32

SIGNATURE_BYTES: Final = {44: 2420, 65: 3309}
"""FIPS 204, table 2, by scheme; `Ledger.recordBatch` knows the same."""

MAX_ENTRIES: Final = 128
"""Entries in one batch; `Ledger.vy` says the same."""

REASONS: Final = {
    1: "bad signature",
    2: "key is unknown, not in force or another member's",
    3: "member is no client or is suspended",
    4: "record has expired",
    5: "base is above the current version",
    6: "base is too old",
    7: "base and counter do not rise",
    8: "blob length does not fit the dimension",
    9: "budget cannot pay another record",
    10: "malformed entry",
}
"""Why the Ledger leaves a record out; 0 means recorded."""

_BODY: Final = struct.Struct(">QQQI32sQQ")
_SIGNER: Final = struct.Struct(">B20s")
_UPDATE: Final = struct.Struct(">4sHBB32s20sQQQIII")
_REPORTING: Final = struct.Struct(">4sHBB32sIIIIIQQQIII")
_MODEL: Final = struct.Struct(">4sHBBII")

BODY_BYTES: Final = _BODY.size
ENTRY_HEAD_BYTES: Final = BODY_BYTES + _SIGNER.size
UPDATE_HEADER_BYTES: Final = _UPDATE.size
MODEL_HEADER_BYTES: Final = _MODEL.size

UPDATE_ITEM_BYTES: Final = 2
MODEL_ITEM_BYTES: Final = 4

_UPDATE_MAGIC: Final = b"MRTU"
_MODEL_MAGIC: Final = b"MRTM"
_FORMAT: Final = 1
_FORMAT_REPORTING: Final = 2
_BINDING_DOMAIN: Final = b"merit/update/2"


@dataclass(frozen=True, slots=True)
class Record:
    """What a client signs about an update.

    `digest` is the SHA-256 of the whole blob, `length` its bytes, `expiry` the last block time in seconds at which the
    Ledger takes the record; `counter` numbers the client's records of one `base`.
    """

    job: int
    client: int
    base: int
    counter: int
    digest: bytes
    length: int
    expiry: int

    def encode(self) -> bytes:
        """Return the 76-byte body; raise `CodecError` if a field does not fit."""
        if len(self.digest) != DIGEST_BYTES:
            raise LengthError(part="digest", length=len(self.digest), expected=DIGEST_BYTES)
        try:
            return _BODY.pack(self.job, self.client, self.base, self.counter, self.digest, self.length, self.expiry)
        except struct.error as error:
            raise NumberError(part="record", problem=str(error)) from error

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Return the record of a 76-byte body; raise `CodecError` for another length."""
        if len(body) != BODY_BYTES:
            raise LengthError(part="record body", length=len(body), expected=BODY_BYTES)
        return cls(*_BODY.unpack(body))

    @property
    def mark(self) -> int:
        """The replay mark, (base + 1) << 32 | counter, which must rise per client and job."""
        return (self.base + 1) << 32 | self.counter

    def message(self, ledger: bytes) -> bytes:
        """Return what is signed: the Ledger's address and the body, so that another ledger has no use for it."""
        if len(ledger) != ADDRESS_BYTES:
            raise LengthError(part="ledger address", length=len(ledger), expected=ADDRESS_BYTES)
        return ledger + self.encode()


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record with its signature, one entry of a batch: `scheme` is 44 or 65, `signer` the address of the key."""

    record: Record
    scheme: int
    signer: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Return the batch entry; raise `CodecError` if a part has the wrong length."""
        if self.scheme not in SIGNATURE_BYTES:
            raise SchemeError(self.scheme)
        if len(self.signer) != ADDRESS_BYTES:
            raise LengthError(part="signer", length=len(self.signer), expected=ADDRESS_BYTES)
        if len(self.signature) != SIGNATURE_BYTES[self.scheme]:
            raise LengthError(part="signature", length=len(self.signature), expected=SIGNATURE_BYTES[self.scheme])
        return self.record.encode() + _SIGNER.pack(self.scheme, self.signer) + self.signature

    @classmethod
    def decode(cls, entry: bytes) -> Self:
        """Return the signed record of exactly one entry; raise `CodecError` for missing or left-over bytes."""
        signed, end = cls._decode_at(entry, 0)
        if end != len(entry):
            raise LengthError(part="batch entry", length=len(entry), expected=end)
        return signed

    @classmethod
    def _decode_at(cls, batch: bytes, at: int) -> tuple[Self, int]:
        """Return the entry that begins at `at` and where the next one begins."""
        head = at + ENTRY_HEAD_BYTES
        if head > len(batch):
            raise CutShortError(at, len(batch))
        scheme, signer = _SIGNER.unpack_from(batch, at + BODY_BYTES)
        if scheme not in SIGNATURE_BYTES:
            raise SchemeError(scheme)
        end = head + SIGNATURE_BYTES[scheme]
        if end > len(batch):
            raise CutShortError(at, len(batch))
        return cls(Record.decode(batch[at : at + BODY_BYTES]), scheme, signer, batch[head:end]), end


def encode_batch(entries: Iterable[SignedRecord]) -> bytes:
    """Return the bytes for `Ledger.recordBatch`; raise `CodecError` unless there are 1 to 128 entries."""
    parts = [entry.encode() for entry in entries]
    if not 1 <= len(parts) <= MAX_ENTRIES:
        raise BatchSizeError(len(parts), MAX_ENTRIES)
    return b"".join(parts)


def decode_batch(batch: bytes) -> tuple[SignedRecord, ...]:
    """Return all entries of a batch; raise `CodecError` unless all of it is 1 to 128 whole entries."""
    entries, malformed = split_batch(batch)
    if malformed is not None:
        raise malformed
    if not entries:
        raise BatchSizeError(0, MAX_ENTRIES)
    return entries


def split_batch(batch: bytes) -> tuple[tuple[SignedRecord, ...], CodecError | None]:
    """Return the entries before the first malformed one and what is wrong with that, as the Ledger reads them.

    (The Ledger also ends a batch at an entry that names another job; whoever knows the job checks that.)
    """
    entries: list[SignedRecord] = []
    at = 0
    while at < len(batch):
        if len(entries) == MAX_ENTRIES:
            return tuple(entries), BatchSizeError(MAX_ENTRIES + 1, MAX_ENTRIES)
        try:
            entry, at = SignedRecord._decode_at(batch, at)  # noqa: SLF001 - the same codec, one entry at a time
        except CodecError as error:
            return tuple(entries), error
        entries.append(entry)
    return tuple(entries), None


@dataclass(frozen=True, slots=True)
class UpdateHeader:
    """The head of an update's blob; it binds the blob to one ledger, job, client, base and counter."""

    fraction_bits: int
    genesis_hash: bytes
    ledger: bytes
    job: int
    client: int
    base: int
    counter: int
    dimension: int

    def encode(self) -> bytes:
        """Return the 96 bytes; raise `CodecError` if a field does not fit."""
        if len(self.genesis_hash) != HASH_BYTES:
            raise LengthError(part="genesis hash", length=len(self.genesis_hash), expected=HASH_BYTES)
        if len(self.ledger) != ADDRESS_BYTES:
            raise LengthError(part="ledger address", length=len(self.ledger), expected=ADDRESS_BYTES)
        try:
            return _UPDATE.pack(
                _UPDATE_MAGIC,
                _FORMAT,
                self.fraction_bits,
                0,
                self.genesis_hash,
                self.ledger,
                self.job,
                self.client,
                self.base,
                self.counter,
                self.dimension,
                0,
            )
        except struct.error as error:
            raise NumberError(part="update header", problem=str(error)) from error

    @classmethod
    def decode(cls, header: bytes) -> Self:
        """Return the header of exactly 96 bytes; raise `CodecError` if it is not canonical."""
        if len(header) != UPDATE_HEADER_BYTES:
            raise LengthError(part="update header", length=len(header), expected=UPDATE_HEADER_BYTES)
        magic, form, fraction_bits, zero, genesis_hash, ledger, job, client, base, counter, dimension, zeros = (
            _UPDATE.unpack(header)
        )
        _check_head(magic, _UPDATE_MAGIC, form, zero, zeros)
        return cls(fraction_bits, genesis_hash, ledger, job, client, base, counter, dimension)

    @property
    def blob_length(self) -> int:
        """Bytes of the whole blob: what the record's `length` must be."""
        return UPDATE_HEADER_BYTES + UPDATE_ITEM_BYTES * self.dimension

    def blob(self, payload: bytes) -> bytes:
        """Return header and payload (`dimension` little-endian int16); raise `CodecError` for another length."""
        return _update_blob(self.encode(), self.dimension, payload)

    def reporting(self, report: "WorkReport") -> "ReportingHeader":
        """Return the header that binds to the same and tells how the client worked."""
        return ReportingHeader(
            fraction_bits=self.fraction_bits,
            binding=hashlib.sha256(_BINDING_DOMAIN + self.genesis_hash + self.ledger).digest(),
            report=report,
            job=self.job,
            client=self.client,
            base=self.base,
            counter=self.counter,
            dimension=self.dimension,
        )


@dataclass(frozen=True, slots=True)
class WorkReport:
    """What a client says it did for an update: samples, epochs, and times in microseconds, each below 2^32.

    `gathering_us`: until its samples were there; `training_us`: of all epochs; `transfer_us`: of its last transfers.
    """

    samples: int
    epochs: int
    training_us: int
    gathering_us: int
    transfer_us: int


@dataclass(frozen=True, slots=True)
class ReportingHeader:
    """The head of an update's blob in a job that allocates work: an `UpdateHeader` with the client's report.

    `binding` is SHA-256("merit/update/2" | genesis hash | ledger).
    """

    fraction_bits: int
    binding: bytes
    report: WorkReport
    job: int
    client: int
    base: int
    counter: int
    dimension: int

    def encode(self) -> bytes:
        """Return the 96 bytes; raise `CodecError` if a field does not fit."""
        if len(self.binding) != HASH_BYTES:
            raise LengthError(part="binding", length=len(self.binding), expected=HASH_BYTES)
        told = self.report
        try:
            return _REPORTING.pack(
                _UPDATE_MAGIC,
                _FORMAT_REPORTING,
                self.fraction_bits,
                0,
                self.binding,
                told.samples,
                told.epochs,
                told.training_us,
                told.gathering_us,
                told.transfer_us,
                self.job,
                self.client,
                self.base,
                self.counter,
                self.dimension,
                0,
            )
        except struct.error as error:
            raise NumberError(part="update header", problem=str(error)) from error

    @classmethod
    def decode(cls, header: bytes) -> Self:
        """Return the header of exactly 96 bytes; raise `CodecError` if it is not canonical."""
        if len(header) != UPDATE_HEADER_BYTES:
            raise LengthError(part="update header", length=len(header), expected=UPDATE_HEADER_BYTES)
        magic, form, fraction_bits, zero, binding, *numbers, zeros = _REPORTING.unpack(header)
        _check_head(magic, _UPDATE_MAGIC, form, zero, zeros, expected_form=_FORMAT_REPORTING)
        return cls(fraction_bits, binding, WorkReport(*numbers[:5]), *numbers[5:])

    @property
    def blob_length(self) -> int:
        """Bytes of the whole blob: what the record's `length` must be."""
        return UPDATE_HEADER_BYTES + UPDATE_ITEM_BYTES * self.dimension

    def blob(self, payload: bytes) -> bytes:
        """Return header and payload (`dimension` little-endian int16); raise `CodecError` for another length."""
        return _update_blob(self.encode(), self.dimension, payload)


def _update_blob(header: bytes, dimension: int, payload: bytes) -> bytes:
    if len(payload) != UPDATE_ITEM_BYTES * dimension:
        raise LengthError(part="update payload", length=len(payload), expected=UPDATE_ITEM_BYTES * dimension)
    return header + payload


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """The head of a model's blob. `fraction_bits` is the model's own (the job's fraction bits plus its shift)."""

    fraction_bits: int
    dimension: int

    def encode(self) -> bytes:
        """Return the 16 bytes; raise `CodecError` if a field does not fit."""
        try:
            return _MODEL.pack(_MODEL_MAGIC, _FORMAT, self.fraction_bits, 0, self.dimension, 0)
        except struct.error as error:
            raise NumberError(part="model header", problem=str(error)) from error

    @classmethod
    def decode(cls, header: bytes) -> Self:
        """Return the header of exactly 16 bytes; raise `CodecError` if it is not canonical."""
        if len(header) != MODEL_HEADER_BYTES:
            raise LengthError(part="model header", length=len(header), expected=MODEL_HEADER_BYTES)
        magic, form, fraction_bits, zero, dimension, zeros = _MODEL.unpack(header)
        _check_head(magic, _MODEL_MAGIC, form, zero, zeros)
        return cls(fraction_bits, dimension)

    @property
    def blob_length(self) -> int:
        """Bytes of the whole blob."""
        return MODEL_HEADER_BYTES + MODEL_ITEM_BYTES * self.dimension

    def blob(self, payload: bytes) -> bytes:
        """Return header and payload (`dimension` little-endian int32); raise `CodecError` for another length."""
        if len(payload) != MODEL_ITEM_BYTES * self.dimension:
            raise LengthError(part="model payload", length=len(payload), expected=MODEL_ITEM_BYTES * self.dimension)
        return self.encode() + payload


def decode_update(blob: bytes) -> tuple[UpdateHeader | ReportingHeader, bytes]:
    """Split an update's blob into header and payload; raise `CodecError` unless the length fits the dimension."""
    kind = ReportingHeader if blob[4:6] == _FORMAT_REPORTING.to_bytes(2, "big") else UpdateHeader
    header = kind.decode(blob[:UPDATE_HEADER_BYTES])
    if len(blob) != header.blob_length:
        raise LengthError(part=f"update of dimension {header.dimension}", length=len(blob), expected=header.blob_length)
    return header, blob[UPDATE_HEADER_BYTES:]


def decode_model(blob: bytes) -> tuple[ModelHeader, bytes]:
    """Split a model's blob into header and payload; raise `CodecError` unless the length fits the dimension."""
    header = ModelHeader.decode(blob[:MODEL_HEADER_BYTES])
    if len(blob) != header.blob_length:
        raise LengthError(part=f"model of dimension {header.dimension}", length=len(blob), expected=header.blob_length)
    return header, blob[MODEL_HEADER_BYTES:]


def blob_digest(blob: bytes) -> bytes:
    """SHA-256 of a whole blob: its name in every blob store, and the `digest` of a record."""
    return hashlib.sha256(blob).digest()


def payload_digest(blob: bytes) -> bytes:
    """SHA-256 of an update's payload alone: two records with the same one are copies, whoever signed them."""
    return hashlib.sha256(memoryview(blob)[UPDATE_HEADER_BYTES:]).digest()


def _check_head(
    magic: bytes, expected: bytes, form: int, zero: int, zeros: int, *, expected_form: int = _FORMAT
) -> None:
    if magic != expected:
        raise HeaderError(field="magic", value=magic, expected=expected)
    if form != expected_form:
        raise HeaderError(field="format", value=form, expected=expected_form)
    if zero or zeros:
        raise HeaderError(field="reserved", value=zero or zeros, expected=0)
