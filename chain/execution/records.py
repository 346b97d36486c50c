"""The precompile VERIFIER (0x4d10): a batch of records in native code.

It does what the loop in `contracts/Ledger.vy` (`recordBatch`, `_refusal`, `_put`) does, in the Ledger's own storage and
under the Ledger's address, and checks the signatures besides. The Vyper text is the reference; the two are compared
on the same batches in tests/chain/execution/test_records.py. Storage is written through the EVM's state only, so a
revert undoes it.
"""

import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, cast

from eth.abc import ComputationAPI
from eth.exceptions import VMError, WriteProtection

from chain.crypto.addresses import ADDRESS_BYTES, Address
from chain.crypto.contexts import record_context
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme, verify
from chain.execution.keys import find_key
from chain.execution.standings import Standing
from contracts.addresses import LEDGER, PROBE, PROBE_ANSWER_PREIMAGE, VERIFIER
from contracts.layout import mapped, members, slot
from contracts.records import (
    BODY_BYTES,
    ENTRY_HEAD_BYTES,
    MAX_ENTRIES,
    SIGNATURE_BYTES,
    UPDATE_HEADER_BYTES,
    UPDATE_ITEM_BYTES,
    Record,
)

if TYPE_CHECKING:
    from chain.execution.evm import MeritState

_LEDGER = Address(LEDGER)

WORD: Final = 32
SELECTOR: Final = keccak256(b"recordBatch(uint256,bytes)")[:4]
_HEAD: Final = 4 + 3 * WORD  # selector, job, offset, length
_OFFSET: Final = 2 * WORD

PROBE_GAS: Final = 100
# A recorded entry changes one mark and emits one event: at most 22,100 for the mark (EIP-2929), 3,923 for a log of
# eight words and four topics, and reads that a batch shares. The signature is charged by its scheme.
ENTRY_GAS: Final = 30_000
ENTRY_SIGNATURE_GAS: Final = {44: 3_000, 65: 4_500}

_RECORDED_TOPIC: Final = int.from_bytes(
    keccak256(b"Recorded(uint256,uint256,bytes32,uint256,uint64,uint32,uint64,uint64,address,address,bool)"), "big"
)
_REFUSED_TOPIC: Final = int.from_bytes(keccak256(b"Refused(uint256,uint256,bytes32,uint8)"), "big")

# contracts/Ledger.vy, in the order of its checks but for the signature, which is last
RECORDED, BAD_SIGNATURE, UNKNOWN_KEY, NOT_A_CLIENT, EXPIRED = 0, 1, 2, 3, 4
FUTURE_BASE, STALE_BASE, NOT_RISING, WRONG_LENGTH, NO_BUDGET, MALFORMED = 5, 6, 7, 8, 9, 10

_CLIENT: Final = 2  # contracts/Registry.vy: the role


@cache
def _place(contract: str, variable: str) -> int:
    return slot(contract, variable)


@cache
def _member(contract: str, struct: str, name: str) -> int:
    return members(contract, struct).index(name)


_mapped = lru_cache(maxsize=65_536)(mapped)  # a hash each; the same members and clients come back in every batch


@dataclass(slots=True)
class _Job:
    """The words of a job that the rules read, and the three that a batch changes; read once per batch."""

    number: int
    place: int
    marks: int
    next_sequence: int
    head: bytes
    version: int
    max_staleness: int
    blob_bytes: int
    live_limit: int  # records that may be live at once: phi_now * (free escrow // base reward)
    spent: int


def record_batch_precompile(computation: ComputationAPI) -> ComputationAPI:
    """Serve the Ledger: its whole call data comes in by DELEGATECALL, one byte of reason per entry goes out.

    Called directly it answers the probe of the Ledger's constructor; everything else fails.
    """
    message = computation.msg
    data = message.data_as_bytes
    if message.storage_address == VERIFIER and data == PROBE:
        computation.consume_gas(PROBE_GAS, reason="probe")
        computation.output = keccak256(PROBE_ANSWER_PREIMAGE)
        return computation
    if message.storage_address != LEDGER or message.code_address != VERIFIER:
        refusal = "the verifier serves the Ledger only"
        raise VMError(refusal)
    if message.is_static:
        refusal = "records cannot be written in a static call"
        raise WriteProtection(refusal)
    state = cast("MeritState", computation.state)
    number, batch = call_data(data)
    job = _read_job(state, number)
    reasons = bytearray()
    registry = state.registry_root()
    for entry in entries_of(batch, number):
        reasons.append(_take(computation, job, entry, registry))
    _write_job(state, job)
    computation.output = bytes(reasons)
    return computation


def call_data(data: bytes) -> tuple[int, bytes]:
    """Split the call data of `recordBatch` into job and batch; `VMError` unless the ABI encoding is canonical."""
    length = int.from_bytes(data[_HEAD - WORD : _HEAD], "big")
    if (
        data[:4] != SELECTOR
        or len(data) < _HEAD
        or int.from_bytes(data[4 + WORD : 4 + 2 * WORD], "big") != _OFFSET
        or _HEAD + length > len(data)
    ):
        message = "call data is not the canonical encoding of recordBatch"
        raise VMError(message)
    return int.from_bytes(data[4 : 4 + WORD], "big"), data[_HEAD : _HEAD + length]


def entries_of(batch: bytes, job: int) -> "list[bytes | None]":
    """Cut a batch into entries; None stands for the malformed rest that ends it.

    Malformed: cut short, an unknown scheme, another job, or more than 128 entries.
    """
    entries: list[bytes | None] = []
    at = 0
    while at < len(batch):
        head = at + ENTRY_HEAD_BYTES
        size = SIGNATURE_BYTES.get(batch[at + BODY_BYTES]) if head <= len(batch) else None
        if (
            len(entries) == MAX_ENTRIES
            or size is None
            or head + size > len(batch)
            or int.from_bytes(batch[at : at + 8], "big") != job
        ):
            entries.append(None)
            break
        entries.append(batch[at : head + size])
        at = head + size
    return entries


def _take(computation: ComputationAPI, job: _Job, entry: bytes | None, registry: bytes | None) -> int:
    """Judge one entry, record it or leave it out, emit its event; return the reason.

    `registry` is the root of the Registry's storage (see `Standings.of`).
    """
    computation.consume_gas(ENTRY_GAS, reason="record")
    if entry is None:
        _log_refused(computation, job.number, 0, bytes(WORD), MALFORMED)
        return MALFORMED
    record = Record.decode(entry[:BODY_BYTES])
    scheme, signer = entry[BODY_BYTES], Address(entry[BODY_BYTES + 1 : ENTRY_HEAD_BYTES])
    computation.consume_gas(ENTRY_SIGNATURE_GAS[scheme], reason="record signature")
    state = cast("MeritState", computation.state)
    standing = state.environment.standings.of(registry, signer, state.block_number, state.get_storage)
    mark_place = _mapped(job.marks, record.client)
    reason = _refusal(state, job, record, standing, scheme=scheme, mark_place=mark_place)
    if reason == RECORDED and not _signature_holds(state, entry, scheme, signer):
        reason = BAD_SIGNATURE
    if reason != RECORDED:
        _log_refused(computation, job.number, record.client, record.digest, reason)
        return reason
    state.set_storage(_LEDGER, mark_place, record.mark)
    leaf = keccak256(entry[:BODY_BYTES] + signer)
    _log_recorded(computation, record, job.next_sequence, signer)
    job.head = keccak256(job.head + leaf)
    job.next_sequence += 1
    return RECORDED


def _refusal(
    state: "MeritState", job: _Job, record: Record, standing: Standing, *, scheme: int, mark_place: int
) -> int:
    """Say everything about a record but its signature (contracts/Ledger.vy, `_refusal`; same order)."""
    if standing.member == 0 or standing.member != record.client or standing.scheme != scheme:
        return UNKNOWN_KEY
    if standing.role != _CLIENT or standing.suspended:
        return NOT_A_CLIENT
    if record.expiry < state.timestamp:
        return EXPIRED
    if record.base > job.version:
        return FUTURE_BASE
    if job.version - record.base > job.max_staleness:
        return STALE_BASE
    if record.mark <= state.get_storage(_LEDGER, mark_place):
        return NOT_RISING
    if record.length != job.blob_bytes:
        return WRONG_LENGTH
    if job.next_sequence - job.spent >= job.live_limit:
        return NO_BUDGET
    return RECORDED


def _signature_holds(state: "MeritState", entry: bytes, scheme: int, signer: Address) -> bool:
    """Check the client's signature; the verdict is remembered by the entry's bytes, which name the key by its hash.

    A signer that is in force has its key in state (`chain.execution.signatures`).
    """

    def check() -> bool | None:
        key = find_key(state, signer)
        if key is None:
            return None
        kind, public_key = key
        message = LEDGER + entry[:BODY_BYTES]
        context = record_context(state.environment.genesis_hash)
        return kind == scheme and verify(Scheme(scheme), public_key, entry[ENTRY_HEAD_BYTES:], message, context)

    return state.environment.verdicts.holds(hashlib.sha256(entry).digest(), check)


def remember_batch(state: "MeritState", data: bytes) -> None:
    """Check the signatures of a batch ahead of its block, so that `finalize_block` finds the verdicts ready.

    `data` is a transaction's data to the Ledger; anything but a batch of known keys is left for the block.
    """
    if data[:4] != SELECTOR:
        return
    try:
        job, batch = call_data(data)
    except VMError:
        return
    for entry in entries_of(batch, job):
        if entry is not None:
            _signature_holds(state, entry, entry[BODY_BYTES], Address(entry[BODY_BYTES + 1 : ENTRY_HEAD_BYTES]))


def _read_job(state: "MeritState", number: int) -> _Job:
    place = _mapped(_place("Ledger", "_jobs"), number)
    terms = _mapped(_place("Ledger", "_terms"), number)
    accounts = _mapped(_place("Ledger", "_accounts"), number)

    def job(name: str) -> int:
        value: int = state.get_storage(_LEDGER, place + _member("Ledger", "Job", name))
        return value

    def term(name: str) -> int:
        value: int = state.get_storage(_LEDGER, terms + _member("Ledger", "JobTerms", name))
        return value

    free: int = state.get_storage(_LEDGER, accounts + _member("Ledger", "Accounts", "free"))
    return _Job(
        number=number,
        place=place,
        marks=_mapped(_place("Ledger", "_marks"), number),
        next_sequence=job("next_sequence"),
        head=job("head").to_bytes(WORD, "big"),
        version=job("version"),
        max_staleness=term("max_staleness"),
        blob_bytes=UPDATE_HEADER_BYTES + UPDATE_ITEM_BYTES * term("dimension"),
        live_limit=job("phi_now") * (free // term("base_reward")),
        spent=job("spent"),
    )


def _write_job(state: "MeritState", job: _Job) -> None:
    state.set_storage(_LEDGER, job.place + _member("Ledger", "Job", "next_sequence"), job.next_sequence)
    state.set_storage(_LEDGER, job.place + _member("Ledger", "Job", "head"), int.from_bytes(job.head, "big"))


def _log_refused(computation: ComputationAPI, job: int, client: int, digest: bytes, reason: int) -> None:
    topics = (_REFUSED_TOPIC, job, client, int.from_bytes(digest, "big"))
    computation.add_log_entry(_LEDGER, topics, reason.to_bytes(WORD, "big"))


def _log_recorded(computation: ComputationAPI, record: Record, sequence: int, signer: Address) -> None:
    topics = (_RECORDED_TOPIC, record.job, record.client, int.from_bytes(record.digest, "big"))
    numbers = (sequence, record.base, record.counter, record.length, record.expiry)
    padding = bytes(WORD - ADDRESS_BYTES)
    data = b"".join(number.to_bytes(WORD, "big") for number in numbers)
    submitter: bytes = computation.msg.sender
    computation.add_log_entry(
        _LEDGER, topics, data + padding + signer + padding + submitter + (1).to_bytes(WORD, "big")
    )
