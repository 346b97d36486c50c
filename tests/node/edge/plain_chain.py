"""An EVM chain in a few lines for tests that need many blocks: titanoboa's EVM behind a web3 provider.

A block for every transaction, no state roots, no proofs: twenty times faster than eth-tester, and what an edge server
asks of a chain is all there.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from boa.environment import Env
from boa.util.abi import Address
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from contracts.abi import revert_reason

GAS_LIMIT = 30_000_000
CHAIN_ID = 61


class PlainChain(BaseProvider):
    """The chain and its provider; `w3` is connected to it."""

    def __init__(self, now: int = 1_800_000_000) -> None:
        super().__init__()
        self._env = Env()
        self._blocks = [now]
        self._next = now
        self._logs: list[dict[str, Any]] = []
        self._receipts: dict[str, dict[str, Any]] = {}
        self._sent: dict[str, dict[str, Any]] = {}
        self._nonces: dict[str, int] = {}
        self.w3 = Web3(self)

    def fund(self, address: str) -> None:
        """Nobody pays for gas here."""

    def jump(self, timestamp: int) -> None:
        self._next = timestamp

    @contextmanager
    def fork(self) -> Generator[None]:
        """Put everything back afterwards."""
        with self._env.anchor():
            books = (self._blocks, self._logs, self._receipts, self._sent, self._nonces)
            kept = [book.copy() for book in books]
            yield
        self._blocks, self._logs, self._receipts, self._sent, self._nonces = kept  # type: ignore[assignment]
        self._next = self._blocks[-1]

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        result = getattr(self, f"_{method}")(*params)
        if isinstance(result, dict) and "error" in result:
            return {"jsonrpc": "2.0", "id": 1, "error": result["error"]}
        return {"jsonrpc": "2.0", "id": 1, "result": result}

    def _eth_chainId(self) -> str:  # noqa: N802 - methods are named as Ethereum names them
        return hex(CHAIN_ID)

    def _eth_blockNumber(self) -> str:  # noqa: N802
        return hex(len(self._blocks) - 1)

    def _eth_getBlockByNumber(self, number: str, _: bool) -> dict[str, Any]:  # noqa: N802, FBT001
        height = len(self._blocks) - 1 if number == "latest" else int(number, 16)
        return {"number": hex(height), "timestamp": hex(self._blocks[height]), "gasLimit": hex(GAS_LIMIT)}

    def _eth_getTransactionCount(self, address: str, _: str) -> str:  # noqa: N802
        return hex(self._nonces.get(address.lower(), 0))

    def _eth_getCode(self, address: str, _: str) -> str:  # noqa: N802
        return "0x" + bytes(self._env.get_code(Address(address))).hex()

    def _eth_getLogs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        asked = wanted["address"]
        addresses = {a.lower() for a in ([asked] if isinstance(asked, str) else asked)}
        return [
            log for log in self._logs if first <= int(log["blockNumber"], 16) <= last and log["address"] in addresses
        ]

    def _eth_getTransactionReceipt(self, transaction: str) -> dict[str, Any] | None:  # noqa: N802
        return self._receipts.get(transaction)

    def _eth_getTransactionByHash(self, transaction: str) -> dict[str, Any] | None:  # noqa: N802
        return self._sent.get(transaction)

    def _eth_call(self, call: dict[str, Any], _: str) -> Any:
        computation = self._execute(call.get("from", "0x" + "11" * 20), call["to"], bytes(HexBytes(call["data"])))
        if computation.is_error:
            reason = revert_reason(computation.output)
            data = "0x" + computation.output.hex()
            return {"error": {"code": 3, "message": f"execution reverted: {reason}", "data": data}}
        return "0x" + bytes(computation.output).hex()

    def _eth_sendRawTransaction(self, raw: str) -> Any:  # noqa: N802
        sender = Account.recover_transaction(raw)
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        expected = self._nonces.get(sender.lower(), 0)
        if fields["nonce"] != expected:
            return {"error": {"code": -32000, "message": f"nonce {fields['nonce']}, expected {expected}"}}
        if fields["gas"] > GAS_LIMIT:
            return {"error": {"code": -32000, "message": "exceeds block gas limit"}}
        self._nonces[sender.lower()] = expected + 1
        self._blocks.append(max(self._next, self._blocks[-1] + 1))
        height, name = hex(len(self._blocks) - 1), "0x" + keccak(bytes(HexBytes(raw))).hex()
        to, data = HexBytes(fields["to"]), bytes(HexBytes(fields["data"]))
        created = None
        if to:
            computation = self._execute(sender, "0x" + to.hex().removeprefix("0x"), data, keep=True)
        else:
            created = "0x" + keccak(name.encode())[12:].hex()
            computation = self._deploy(sender, created, data)
        logs = [] if computation.is_error else computation.get_raw_log_entries()
        for index, (_, address, topics, content) in enumerate(logs):
            self._logs.append(
                {
                    "address": "0x" + address.hex(),
                    "topics": ["0x" + topic.to_bytes(32, "big").hex() for topic in topics],
                    "data": "0x" + content.hex(),
                    "blockNumber": height,
                    "transactionHash": name,
                    "transactionIndex": "0x0",
                    "blockHash": "0x" + keccak(height.encode()).hex(),
                    "logIndex": hex(index),
                    "removed": False,
                }
            )
        self._receipts[name] = {
            "transactionHash": name,
            "blockNumber": height,
            "status": "0x0" if computation.is_error else "0x1",
            "contractAddress": created,
            "gasUsed": hex(computation.get_gas_used()),
        }
        self._sent[name] = {
            "hash": name,
            "from": sender,
            "to": None if created else Web3.to_checksum_address(to),
            "input": "0x" + data.hex(),
            "gas": hex(fields["gas"]),
            "blockNumber": height,
        }
        return name

    def _execute(self, sender: str, to: str, data: bytes, *, keep: bool = False) -> Any:
        self._set_clock()
        return self._env.execute_code(
            to_address=Address(Web3.to_checksum_address(to)),
            sender=Address(Web3.to_checksum_address(sender)),
            data=data,
            gas=GAS_LIMIT,
            simulate=not keep,
        )

    def _deploy(self, sender: str, address: str, code: bytes) -> Any:
        self._set_clock()
        who = Address(sender)
        return self._env.evm.deploy_code(
            sender=who,
            origin=who,
            target_address=Address(Web3.to_checksum_address(address)),
            gas=GAS_LIMIT,
            gas_price=0,
            value=0,
            bytecode=code,
        )

    def _set_clock(self) -> None:
        self._env.evm.patch.block_number = len(self._blocks) - 1
        self._env.evm.patch.timestamp = self._blocks[-1]
