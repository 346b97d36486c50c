"""Sends a member's transactions: signs them, keeps the nonce, and knows which purposes still wait for a block.

A purpose ("attest 3/7") has at most one transaction on its way, so that a caller may ask for the same thing at every
step and it is sent once.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3Exception, Web3RPCError

from chain.crypto.schemes import SigningKey
from chain.transaction import Fields, sign_transaction
from merit.clock import Clock

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from eth_account.types import TransactionDictType
    from web3.types import TxParams

RESEND_AFTER_S = 15.0
"""A transaction without a receipt for so long is taken for lost; its purpose becomes free and the nonce is read
again."""

WAIT_S = 1.0
"""A transaction that the ledger refuses for a quota is offered again after so long; windows are some seconds."""

FORGET_AFTER_S = 600.0
"""What became of a transaction that nobody has asked about for so long is forgotten."""

_LIMIT_EXCEEDED = -32005  # EIP-1474; for our ledger a quota that is used up, elsewhere too many requests

_log = logging.getLogger(__name__)


class Signer(Protocol):
    """Turns a call into a raw signed transaction of one account."""

    @property
    def address(self) -> bytes:
        """The 20-byte address of the account."""
        ...

    def sign(self, *, nonce: int, to: bytes, data: bytes, gas: int) -> bytes:
        """Return the raw transaction."""
        ...


class AccountSigner:
    """Signs EIP-1559 transactions of a secp256k1 account, for chains that know no ML-DSA; the tip is 0."""

    def __init__(self, account: "LocalAccount", *, chain_id: int, max_fee_per_gas: int = 0) -> None:
        """Take the account; `max_fee_per_gas` in wei must cover the chain's base fee (0 on our own)."""
        self._account = account
        self._chain_id = chain_id
        self._max_fee_per_gas = max_fee_per_gas

    @property
    def address(self) -> bytes:
        """The 20-byte address of the account."""
        return bytes.fromhex(self._account.address[2:])

    def sign(self, *, nonce: int, to: bytes, data: bytes, gas: int) -> bytes:
        """Return the raw transaction."""
        fields: TransactionDictType = {
            "type": 2,
            "chainId": self._chain_id,
            "nonce": nonce,
            "maxPriorityFeePerGas": 0,
            "maxFeePerGas": self._max_fee_per_gas,
            "gas": gas,
            "to": to,
            "value": 0,
            "data": data,
        }
        return bytes(self._account.sign_transaction(fields).raw_transaction)


class MLDSASigner:
    """Signs transactions of type 0x50; the first carries the public key, later ones refer to it."""

    def __init__(self, key: SigningKey, *, chain_id: int, genesis_hash: bytes, key_on_chain: bool) -> None:
        """Take the key; `key_on_chain` says whether the ledger keeps its public part already."""
        self._key = key
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash
        self._reference = key_on_chain

    @property
    def address(self) -> bytes:
        """The 20-byte address of the account."""
        return self._key.address

    def sign(self, *, nonce: int, to: bytes, data: bytes, gas: int) -> bytes:
        """Return the raw transaction; fees are 0."""
        fields = Fields(chain_id=self._chain_id, nonce=nonce, gas=gas, to=to, data=data)
        return sign_transaction(self._key, fields, self._genesis_hash, reference=self._reference)


@dataclass(frozen=True, slots=True)
class _Sent:
    transaction: HexBytes
    at: float


class Sender:
    """One account's way into the ledger.

    Args:
        w3: connection to the ledger.
        signer: the account.
        clock: tells when a transaction is taken for lost.

    """

    def __init__(self, w3: Web3, signer: Signer, clock: Clock) -> None:
        """Start with nothing on its way."""
        self._w3 = w3
        self._signer = signer
        self._clock = clock
        self._nonce: int | None = None
        self._sent: dict[str, _Sent] = {}
        self._held: dict[str, float] = {}  # purposes that a quota holds up: when they are offered again

    @property
    def address(self) -> bytes:
        """The 20-byte address of the account."""
        return self._signer.address

    def busy(self, purpose: str) -> bool:
        """Tell whether a transaction for this purpose is still on its way."""
        sent = self._sent.get(purpose)
        if sent is None:
            return False
        status = self._receipt_status(sent.transaction)
        if status is None:
            if self._clock.monotonic() - sent.at < RESEND_AFTER_S:
                return True
            _log.warning("transaction for %s is lost", purpose)
            self._nonce = None
        elif status == 0:
            _log.warning("transaction for %s reverted: %s", purpose, self._revert_reason(sent.transaction))
        del self._sent[purpose]
        return False

    def landed(self, purpose: str) -> None:
        """Note that the purpose's transaction is in a block, from somebody who has seen its events."""
        self._sent.pop(purpose, None)

    def send(self, purpose: str, *, to: bytes, data: bytes, gas: int) -> bytes | None:
        """Send a call unless one for this purpose is on its way; return its transaction's hash if it was sent now.

        A refusal by the ledger is logged with its reason, and the purpose stays free. One for a quota is logged once,
        and the purpose waits a moment before each further attempt.
        """
        if self.busy(purpose):
            return None
        now = self._clock.monotonic()
        if now < self._held.get(purpose, now):
            return None
        self._sent = {name: sent for name, sent in self._sent.items() if now - sent.at < FORGET_AFTER_S}
        if self._nonce is None:
            self._nonce = self._w3.eth.get_transaction_count(Web3.to_checksum_address(self.address), "pending")
        raw = self._signer.sign(nonce=self._nonce, to=to, data=data, gas=gas)
        try:
            transaction = self._w3.eth.send_raw_transaction(raw)
        except Web3Exception as error:
            self._nonce = None
            if _is_over_quota(error):
                if purpose not in self._held:
                    _log.warning("transaction for %s waits: %s", purpose, error)
                self._held[purpose] = now + WAIT_S
            else:
                _log.warning("transaction for %s refused: %s", purpose, error)
            return None
        self._held.pop(purpose, None)
        self._nonce += 1
        self._sent[purpose] = _Sent(transaction, now)
        return bytes(transaction)

    def _receipt_status(self, transaction: HexBytes) -> int | None:
        try:
            return int(self._w3.eth.get_transaction_receipt(transaction)["status"])
        except TransactionNotFound:
            return None

    def _revert_reason(self, transaction: HexBytes) -> str:
        """Run the failed call again on the block before to learn why."""
        found = self._w3.eth.get_transaction(transaction)
        call: TxParams = {"from": found["from"], "to": found["to"], "data": found["input"], "gas": found["gas"]}
        try:
            self._w3.eth.call(call, found["blockNumber"] - 1)
        except Web3Exception as error:
            return str(error)
        return "it depends on an earlier transaction of its block"


def _is_over_quota(error: Web3Exception) -> bool:
    answer = error.rpc_response if isinstance(error, Web3RPCError) else None
    return answer is not None and answer.get("error", {}).get("code") == _LIMIT_EXCEEDED
