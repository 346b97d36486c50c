"""Classical accounts that a development node signs for: `eth_accounts`, `eth_sendTransaction`, `eth_sign` and kin.

Whoever may ask such a node may spend what these accounts have. `merit up --unlocked` opens them, for tools that leave
signing to the node (Remix, `cast send --unlocked`, ethers' `getSigner()`); nothing else does.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct, encode_typed_data
from eth_typing import HexStr

from chain.execution.transactions import describe
from chain.rpc import shapes
from chain.rpc.errors import InvalidParamsError, NotFoundError
from chain.rpc.parameters import CallRequest, Tag
from chain.rpc.shapes import Json, data

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from eth_account.types import TransactionDictType

    from chain.crypto.addresses import Address
    from chain.rpc.ethereum import EthereumMethods


class UnlockedAccounts:
    """Signs with secp256k1 for whoever asks.

    Args:
        eth: takes what is sent; tells nonces and gas.
        chain_id: what transactions bind.
        private_keys: 32 bytes each.

    """

    def __init__(self, eth: "EthereumMethods", chain_id: int, private_keys: Iterable[bytes]) -> None:
        """Derive the addresses."""
        self._eth, self._chain_id = eth, chain_id
        accounts: list[LocalAccount] = [Account.from_key(key) for key in private_keys]
        self._accounts = {bytes.fromhex(account.address[2:]): account for account in accounts}

    def addresses(self) -> list[str]:
        """Return the accounts that this node signs for."""
        return list(map(data, self._accounts))

    def sign(self, address: "Address", content: bytes) -> str:
        """Sign a message as EIP-191 writes it (version 0x45): r, s and v, 65 bytes."""
        return self._signature(address, encode_defunct(content))

    def sign_typed_data(self, address: "Address", document: Mapping[str, object]) -> str:
        """Sign typed data (EIP-712): r, s and v, 65 bytes."""
        try:
            message = encode_typed_data(full_message=dict(document))
        except Exception as error:  # noqa: BLE001 - eth-account lets out whatever a wrong document made fail
            problem = f"typed data: {error}"
            raise InvalidParamsError(problem) from None
        return self._signature(address, message)

    def sign_transaction(self, request: CallRequest) -> Json:
        """Sign a transaction, filling in what the client left out; `raw` can be sent."""
        raw = self._signed(request)
        return {"raw": data(raw), "tx": shapes.waiting_transaction(describe(raw))}

    def send_transaction(self, request: CallRequest) -> str:
        """Sign a transaction and give it to the pool; return its hash."""
        return self._eth.send_raw(self._signed(request))

    def _account(self, address: "Address") -> "LocalAccount":
        account = self._accounts.get(address)
        if account is None:
            message = f"this node does not sign for {data(address)}; eth_accounts names those that it signs for"
            raise NotFoundError(message)
        return account

    def _signature(self, address: "Address", message: SignableMessage) -> str:
        return data(self._account(address).sign_message(message).signature)

    def _signed(self, request: CallRequest) -> bytes:
        if request.sender is None:
            message = "transaction: from is missing"
            raise InvalidParamsError(message)
        account = self._account(request.sender)
        if request.chain_id not in {None, self._chain_id}:
            message = f"transaction: this ledger has chain id {self._chain_id}, not {request.chain_id}"
            raise InvalidParamsError(message)
        nonce, gas = request.nonce, request.gas
        if nonce is None:
            nonce = int(self._eth.transaction_count(request.sender, Tag.PENDING), 16)
        if gas is None:
            gas = int(self._eth.estimate_gas(request, Tag.LATEST, {}, None), 16)
        fields: TransactionDictType = {
            "chainId": self._chain_id,
            "nonce": nonce,
            "gas": gas,
            "to": b"" if request.to is None else request.to,
            "value": request.value,
            "data": request.data,
        }
        if request.access_list or request.gas_price is None:
            fields["accessList"] = [
                {"address": HexStr(data(address)), "storageKeys": [HexStr(data(slot)) for slot in slots]}
                for address, slots in request.access_list
            ]
        if request.gas_price is not None:
            fields["gasPrice"] = request.gas_price
        else:
            fields["maxFeePerGas"] = request.max_fee_per_gas or 0
            fields["maxPriorityFeePerGas"] = request.max_priority_fee_per_gas or 0
        return bytes(account.sign_transaction(fields).raw_transaction)
