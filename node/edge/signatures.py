"""Verifies the records that the ledger took unverified: on a chain without our precompile the edge servers do it.

The event of such a record says `verified = false`; its signature stands in the call data of its transaction.
"""

from hexbytes import HexBytes
from web3 import Web3

from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme, verify
from contracts import bindings, records
from contracts.records import Record, SignedRecord
from node.members import MemberBook
from node.rounds.log import RecordEntry


class Signatures:
    """Finds a record's signature on the ledger and verifies it.

    Args:
        w3: connection to the ledger.
        ledger: address of the Ledger, part of what is signed.
        members: public keys by address.
        genesis_hash: of the chain that records are signed for.

    """

    def __init__(self, w3: Web3, ledger: bytes, members: MemberBook, genesis_hash: bytes) -> None:
        """Start without any batch read."""
        self._w3 = w3
        self._ledger = ledger
        self._members = members
        self._context = record_context(genesis_hash)
        self._read: tuple[bytes, dict[bytes, SignedRecord]] = (b"", {})

    def fault(self, job: int, entry: RecordEntry) -> str | None:
        """Return what is wrong with a record's signature, None if nothing is.

        That the signer was a key of the client in force, the Ledger has checked in any case.
        """
        if entry.verified:
            return None
        record = Record(job, entry.client, entry.base, entry.counter, entry.digest, entry.length, entry.expiry)
        signed = self._batch(entry.transaction).get(record.encode())
        signer = self._members.get(entry.signer)
        if signed is None or signed.signer != entry.signer or signer is None:
            return "its transaction carries no signature for it"
        message = record.message(self._ledger)
        if not verify(Scheme(signed.scheme), signer.public_key, signed.signature, message, self._context):
            return "its signature does not verify"
        return None

    def _batch(self, transaction: bytes) -> dict[bytes, SignedRecord]:
        """Return the signed records of a transaction by their bodies; none if it calls no `recordBatch` itself.

        The records of one batch are asked for one after the other, so the last transaction is remembered.
        """
        if self._read[0] != transaction:
            call = bytes(self._w3.eth.get_transaction(HexBytes(transaction))["input"])
            entries, _ = records.split_batch(bindings.Ledger.batch_of(call) or b"")
            self._read = (transaction, {signed.record.encode(): signed for signed in reversed(entries)})
        return self._read[1]
