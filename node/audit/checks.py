"""One checker per kind of stored record: bytes in, the decoded record out, `FaultError` for any but the right bytes.

Every byte of a record is covered by one of: strict decoding (it must re-encode to itself), a signature, a hash that
something signed names. The tests flip each byte of each kind and demand that its checker sees it.
"""

from collections.abc import Callable, Sequence

from chain import light
from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme, verify
from chain.errors import BlockError, TransactionError
from chain.execution.blocks import Receipt, decode_receipt
from chain.execution.trie import ordered_root
from chain.light import errors as light_errors
from chain.transaction import Transaction, decode
from contracts import records
from contracts.addresses import LEDGER
from contracts.errors import ContractsError
from contracts.records import ModelHeader, ReportingHeader, SignedRecord, UpdateHeader, WorkReport
from node.audit.errors import FaultError
from node.audit.report import Part
from node.rounds.attestation import is_header_of

KeyOf = Callable[[bytes], "tuple[Scheme, bytes] | None"]
"""Public key and scheme of an address, None if the ledger does not know it."""


def header(raw: bytes, height: int, decided: light.BlockId) -> light.Header:
    """Check that these are the bytes of the header that was decided at `height`."""
    try:
        found = light.decode_header(raw)
    except light_errors.LightError as error:
        raise FaultError(Part.HEADER, "a canonical header", str(error)) from error
    if found.height != height:
        raise FaultError(Part.HEADER, f"height {height}", f"height {found.height}")
    name = light.header_hash(found)
    if name != decided.hash:
        raise FaultError(Part.HEADER, f"hash 0x{decided.hash.hex()}, which the commit names", f"0x{name.hex()}")
    return found


def commit(raw: bytes, height: int, validators: light.ValidatorSet, chain_id: str) -> light.Commit:
    """Check that these are the bytes of a commit by more than 2/3 of `validators`, every signature in it included.

    It is judged by itself: whether it names the stored header is the header's check.
    """
    try:
        found = light.decode_commit(raw)
    except light_errors.LightError as error:
        raise FaultError(Part.COMMIT, "a canonical commit", str(error)) from error
    if found.height != height:
        raise FaultError(Part.COMMIT, f"height {height}", f"height {found.height}")
    if len(found.signatures) != len(validators):
        raise FaultError(Part.COMMIT, f"{len(validators)} slots", f"{len(found.signatures)} slots")
    power = 0
    for index, (slot, validator) in enumerate(zip(found.signatures, validators, strict=True)):
        if slot.flag == light.BlockIdFlag.ABSENT:
            continue
        if slot.validator_address != validator.address:
            raise FaultError(
                Part.COMMIT, f"slot {index} of {validator.address.hex()}", f"slot of {slot.validator_address.hex()}"
            )
        signed = light.commit_sign_bytes(found, index, chain_id)
        if not verify(Scheme.ML_DSA_65, validator.public_key, slot.signature, signed, light.VOTE_CONTEXT):
            raise FaultError(
                Part.COMMIT,
                f"a signature of validator {validator.address.hex()} in slot {index}",
                "one that does not hold",
            )
        if slot.flag == light.BlockIdFlag.COMMIT:
            power += validator.power
    if not light.has_quorum(power, validators.total_power):
        raise FaultError(Part.COMMIT, f"more than 2/3 of power {validators.total_power}", f"power {power}")
    return found


def transactions(raw: bytes, data_hash: bytes) -> tuple[bytes, ...]:
    """Check that these are the bytes of the transaction list that a header commits to."""
    try:
        found = light.decode_txs(raw)
    except light_errors.LightError as error:
        raise FaultError(Part.TRANSACTIONS, "a canonical list of transactions", str(error)) from error
    name = light.data_hash(found)
    if name != data_hash:
        raise FaultError(Part.TRANSACTIONS, f"data hash 0x{data_hash.hex()}", f"0x{name.hex()}")
    return found


def evidence(raw: bytes, evidence_hash: bytes) -> tuple[bytes, ...]:
    """Check that these are the bytes of the evidence that a header commits to; what it proves is another matter."""
    try:
        found = light.decode_evidence_list(raw)
        name = light.evidence_hash(found)
    except light_errors.LightError as error:
        raise FaultError(Part.EVIDENCE, "a canonical list of evidence", str(error)) from error
    if name != evidence_hash:
        raise FaultError(Part.EVIDENCE, f"evidence hash 0x{evidence_hash.hex()}", f"0x{name.hex()}")
    return found


def transaction(raw: bytes, key_of: KeyOf, genesis_hash: bytes) -> Transaction:
    """Check a transaction of type 0x50: canonical, and signed by its sender for this ledger."""
    try:
        found = decode(raw)
    except TransactionError as error:
        raise FaultError(Part.TRANSACTION, "a canonical transaction", str(error)) from error
    key = (found.scheme, found.public_key) if found.carries_key else key_of(found.sender)
    if key is None:
        raise FaultError(Part.TRANSACTION, "a sender whose key is known", f"0x{found.sender.hex()}")
    scheme, public_key = key
    if scheme != found.scheme or not found.signed_by(public_key, genesis_hash):
        raise FaultError(Part.TRANSACTION, f"a signature of 0x{found.sender.hex()}", "one that does not hold")
    return found


def receipts(raws: Sequence[bytes], root: bytes) -> tuple[Receipt, ...]:
    """Check that these are the receipts that a block's header commits to by the root of their trie."""
    try:
        found = tuple(decode_receipt(raw) for raw in raws)
    except BlockError as error:
        raise FaultError(Part.RECEIPT, "a canonical receipt", str(error)) from error
    for receipt, raw in zip(found, raws, strict=True):
        if receipt.encode() != raw:
            raise FaultError(Part.RECEIPT, "a canonical receipt", "one that does not re-encode to itself")
    computed = ordered_root(raws)
    if computed != root:
        raise FaultError(Part.RECEIPT, f"receipts root 0x{root.hex()}", f"0x{computed.hex()}")
    return found


def record(raw: bytes, key_of: KeyOf, genesis_hash: bytes) -> SignedRecord:
    """Check a batch entry by itself: canonical, and signed by the key that it names, for this ledger."""
    try:
        found = SignedRecord.decode(raw)
    except ContractsError as error:
        raise FaultError(Part.RECORD, "a canonical record", str(error)) from error
    if not is_signed(found, key_of, genesis_hash):
        raise FaultError(Part.RECORD, f"a signature of 0x{found.signer.hex()}", "one that does not hold")
    return found


def is_signed(entry: SignedRecord, key_of: KeyOf, genesis_hash: bytes) -> bool:
    """Verify the client's signature of a record from its own bytes."""
    key = key_of(entry.signer)
    if key is None or key[0] != entry.scheme:
        return False
    scheme, public_key = key
    return verify(scheme, public_key, entry.signature, entry.record.message(LEDGER), record_context(genesis_hash))


def blob(raw: bytes, digest: bytes) -> None:
    """Check that a blob hashes to its name."""
    found = records.blob_digest(raw)
    if found != digest:
        raise FaultError(Part.BLOB, f"SHA-256 {digest.hex()}, its name", found.hex())


def update(raw: bytes, expected: UpdateHeader, *, reports: bool | None = False) -> tuple[WorkReport | None, bytes]:
    """Check that a blob is the canonical update with this header; return what the client reports, and its payload.

    `reports`: whether the job wants a report, None if that is not known.
    """
    try:
        found, payload = records.decode_update(raw)
    except ContractsError as error:
        raise FaultError(Part.BLOB, "a canonical update", str(error)) from error
    if not is_header_of(found, expected, reports=reports):
        kind = ", with a report" if reports else ""
        raise FaultError(Part.BLOB, f"the header of its record, {expected}{kind}", str(found))
    return found.report if isinstance(found, ReportingHeader) else None, payload


def model(raw: bytes, expected: ModelHeader) -> bytes:
    """Check that a blob is a canonical model with this header; return its payload."""
    try:
        found, payload = records.decode_model(raw)
    except ContractsError as error:
        raise FaultError(Part.MODEL, "a canonical model", str(error)) from error
    if found != expected:
        raise FaultError(Part.MODEL, str(expected), str(found))
    return payload
