"""web3.py with ML-DSA accounts: transactions are signed here and sent as raw ones of type 0x50.

    account = MLDSAAccount(keystore.load(path, password))
    w3.middleware_onion.inject(MLDSAMiddleware(account), layer=0)
    contract.functions.tick().transact({"from": account.address})

It stands closest to the provider, so that the private key never leaves the process whatever the provider is.
"""

from typing import TYPE_CHECKING, Any, cast

from web3 import Web3
from web3.middleware.base import Web3Middleware
from web3.types import RPCEndpoint

from chain.crypto.addresses import key_account
from chain.errors import TransactionError
from chain.rpc.parameters import CallRequest, call, hash32, refuse_types
from chain.transaction import Fields, sign_transaction

if TYPE_CHECKING:
    from web3 import AsyncWeb3
    from web3.types import TxParams

    from chain.crypto.schemes import SigningKey


class MLDSAAccount:
    """A signing key bound to one ledger.

    Args:
        key: the private key.
        genesis_hash: hash of the ledger's block 0 (32 bytes), part of every signature. None: ask the node that is
            connected, which then could have it sign for another ledger of the same chain id; give it where that counts.

    """

    def __init__(self, key: "SigningKey", genesis_hash: bytes | None = None) -> None:
        """Derive the address."""
        self.key = key
        self.genesis_hash = genesis_hash
        self.address = Web3.to_checksum_address(key.address)

    def sign_transaction(self, fields: Fields, genesis_hash: bytes, *, reference: bool = False) -> bytes:
        """Return the raw transaction; `reference` names the key by its address instead of carrying it."""
        return sign_transaction(self.key, fields, self.genesis_hash or genesis_hash, reference=reference)

    def __repr__(self) -> str:
        """Show the address, never the seed."""
        return f"MLDSAAccount({self.address})"


class MLDSAMiddleware:
    """Signs `eth_sendTransaction` of the accounts it was given; everything else passes.

    It fills what the caller left out: nonce (pending transactions counted), gas, chain id, and fees of 0. The first
    transaction of a key carries it; when the ledger keeps the key, later ones refer to it and are 1 to 2 kB shorter.
    """

    def __init__(self, *accounts: MLDSAAccount) -> None:
        """Take the accounts to sign for."""
        self._accounts = {account.address.lower(): account for account in accounts}

    def __call__(self, w3: "Web3 | AsyncWeb3[Any]") -> "_Signing":
        """Bind to a connection, as `middleware_onion` asks for."""
        if not isinstance(w3, Web3):
            message = "MLDSAMiddleware works with Web3, not with AsyncWeb3"
            raise TransactionError(message)
        return _Signing(w3, self._accounts)


class _Signing(Web3Middleware):
    """The middleware of one connection."""

    def __init__(self, w3: Web3, accounts: dict[str, MLDSAAccount]) -> None:
        super().__init__(w3)
        self._connection = w3
        self._accounts = accounts
        self._kept: set[str] = set()  # keys that the ledger was seen to keep: it never forgets one
        self._genesis_hash: bytes | None = None

    def request_processor(self, method: RPCEndpoint, params: Any) -> Any:  # noqa: ANN401 - web3's signature
        """Replace a transaction of an account of ours by its signed form."""
        if method != "eth_sendTransaction":
            return method, params
        transaction = dict(params[0])
        account = self._accounts.get(str(transaction.get("from", "")).lower())
        if account is None:
            return method, params
        return RPCEndpoint("eth_sendRawTransaction"), [f"0x{self._sign(account, transaction).hex()}"]

    def _sign(self, account: MLDSAAccount, transaction: dict[str, Any]) -> bytes:
        eth = self._connection.eth
        request = call({key: _to_hex(value) for key, value in transaction.items()}, "transaction")
        refuse_types(request)
        chain_id = eth.chain_id
        if request.chain_id not in {None, chain_id}:
            message = f"the transaction is for chain id {request.chain_id}, the node is on {chain_id}"
            raise TransactionError(message)
        fields = Fields(
            chain_id=chain_id,
            nonce=eth.get_transaction_count(account.address, "pending") if request.nonce is None else request.nonce,
            gas=eth.estimate_gas(cast("TxParams", transaction)) if request.gas is None else request.gas,
            to=request.to or b"",
            value=request.value,
            data=request.data,
            max_fee_per_gas=_fee(request),
            max_priority_fee_per_gas=request.max_priority_fee_per_gas or 0,
            access_list=request.access_list,
        )
        return account.sign_transaction(fields, self._fetch_genesis_hash(account), reference=self._is_kept(account))

    def _is_kept(self, account: MLDSAAccount) -> bool:
        if account.address not in self._kept:
            holder = Web3.to_checksum_address(key_account(account.key.address))
            if self._connection.eth.get_code(holder):
                self._kept.add(account.address)
        return account.address in self._kept

    def _fetch_genesis_hash(self, account: MLDSAAccount) -> bytes:
        if account.genesis_hash is not None:
            return account.genesis_hash
        if self._genesis_hash is None:
            answer = self._connection.manager.request_blocking(RPCEndpoint("merit_genesisHash"), [])
            self._genesis_hash = hash32(answer, "merit_genesisHash")
        return self._genesis_hash


def _fee(request: CallRequest) -> int:
    return request.gas_price or request.max_fee_per_gas or 0


def _to_hex(value: object) -> object:
    """Bring the values that web3 leaves as Python numbers or bytes into the form of requests."""
    match value:
        case bool():
            return value
        case int():
            return hex(value)
        case bytes():
            return f"0x{value.hex()}"
        case _:
            return value
