"""A member's account over JSON-RPC: sends one call at a time and waits for its block."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from web3 import Web3
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError

from chain.crypto import keystore
from chain.crypto.schemes import SigningKey
from chain.rpc.middleware import MLDSAAccount, MLDSAMiddleware
from node.errors import LedgerUnreachableError, TransactionFailedError

RECEIPT_TIMEOUT_S = 60.0
NONCE_ATTEMPTS = 5
"""An edge server's node uses the same account: a nonce that it took in between is not the caller's problem."""


def connect(rpc: str) -> Web3:
    """Connect to a ledger.

    Raises:
        LedgerUnreachableError: nothing answers there.

    """
    w3 = Web3(Web3.HTTPProvider(rpc))
    if not w3.is_connected():
        message = f"no ledger answers at {rpc}: start one with merit up or testnet start, or name another with --rpc"
        raise LedgerUnreachableError(message)
    return w3


class Account:
    """One key's account on a ledger."""

    def __init__(self, w3: Web3, key: SigningKey) -> None:
        """Sign with `key` what is sent over `w3`."""
        self._account = MLDSAAccount(key)
        w3.middleware_onion.inject(MLDSAMiddleware(self._account), layer=0)  # type: ignore[arg-type] # web3 says class, takes any callable
        self.w3 = w3

    @classmethod
    def connect(cls, rpc: str, key_path: Path, password: bytes) -> "Account":
        """Load the key and connect; errors as in `connect` and `keystore.load`."""
        return cls(connect(rpc), keystore.load(key_path, password))

    @property
    def address(self) -> bytes:
        """The 20-byte address."""
        return bytes.fromhex(self._account.address[2:])

    def send(self, to: bytes, data: bytes) -> tuple[int, list[Mapping[str, Any]]]:
        """Send a call and wait for its block; return the block and the logs.

        Raises:
            TransactionFailedError: the ledger refuses it or the call reverts; the message is the reason.

        """
        for attempt in range(1, NONCE_ATTEMPTS + 1):
            try:
                return self._send(to, data)
            except Web3RPCError as error:
                reason = _reason(error)
                if "nonce" not in reason or attempt == NONCE_ATTEMPTS:
                    raise TransactionFailedError(reason) from error
            except ContractLogicError as error:
                raise TransactionFailedError(str(error.message)) from error
            except Web3Exception as error:
                raise TransactionFailedError(str(error.user_message or error)) from error
        raise AssertionError  # the loop returns or raises

    def _send(self, to: bytes, data: bytes) -> tuple[int, list[Mapping[str, Any]]]:
        sender = Web3.to_checksum_address(self.address)
        sent = self.w3.eth.send_transaction({"from": sender, "to": Web3.to_checksum_address(to), "data": data})
        receipt = self.w3.eth.wait_for_transaction_receipt(sent, timeout=RECEIPT_TIMEOUT_S)
        if receipt["status"] == 0:
            message = f"transaction 0x{bytes(sent).hex()} reverted in block {receipt['blockNumber']}"
            raise TransactionFailedError(message)
        return int(receipt["blockNumber"]), [dict(log) for log in receipt["logs"]]


def _reason(error: Web3RPCError) -> str:
    """Return what the ledger says of a refusal; web3's own text for people says nothing of it."""
    said = (error.rpc_response or {}).get("error")
    return str(said["message"]) if isinstance(said, dict) and "message" in said else str(error)
