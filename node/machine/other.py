"""Another node, asked over JSON-RPC for its side of a comparison. What it says is reported, not believed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
import msgspec

from chain import light
from chain.crypto.addresses import Address
from chain.execution.accounts import Account
from chain.light.errors import LightError
from node.errors import LedgerUnreachableError

TIMEOUT_S: Final = 30.0
_PROOF_SLOTS: Final = 500
"""Slots in one question; a node takes up to 1,024, and each comes with its proof."""
_T = TypeVar("_T")


class _Fault(msgspec.Struct):
    message: str


class _Envelope(msgspec.Struct):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Fault | None = None


class _Status(msgspec.Struct):
    name: str
    genesisHash: str  # noqa: N815 - the answer's own name, here and below
    height: str
    blockNumber: str  # noqa: N815 - the answer's own name


class _Slot(msgspec.Struct):
    value: str


class _Proof(msgspec.Struct):
    nonce: str
    balance: str
    storageHash: str  # noqa: N815 - the answer's own name
    codeHash: str  # noqa: N815 - the answer's own name
    storageProof: list[_Slot]  # noqa: N815 - the answer's own name


class TheirLog(msgspec.Struct, frozen=True):
    """An event as JSON-RPC writes it; equal logs are equal events."""

    address: str
    topics: tuple[str, ...]
    data: str


class TheirReceipt(msgspec.Struct, frozen=True):
    """What JSON-RPC says of a transaction's outcome."""

    transactionHash: str  # noqa: N815 - the answer's own name
    status: str
    gasUsed: str  # noqa: N815 - the answer's own name
    logs: tuple[TheirLog, ...]


class _Height(msgspec.Struct):
    header: str
    transactions: str


class _Heights(msgspec.Struct):
    heights: list[_Height]


@dataclass(frozen=True, slots=True)
class Where:
    """Where a node stands: its chain, the engine height, the newest block."""

    chain: str
    genesis_hash: bytes
    height: int
    block: int


class OtherNode:
    """A node at a URL; every method raises `LedgerUnreachableError`, in one line, when it does not answer in kind."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        """Ask at `url`."""
        self.url = url
        self._http = http

    def where(self) -> Where:
        """Return where it stands."""
        said = self._ask("merit_status", _Status)
        return Where(
            said.name,
            self._data("merit_status", said.genesisHash),
            self._number("merit_status", said.height),
            self._number("merit_status", said.blockNumber),
        )

    def header(self, number: int) -> dict[str, str]:
        """Return the fields of a block that it must have, as JSON-RPC writes them."""
        method = "eth_getBlockByNumber"
        found = self._ask(method, dict[str, Any], hex(number), False)  # noqa: FBT003 - a parameter of RPC
        if not all(isinstance(found.get(key), str) for key in ("hash", "extraData", "stateRoot")):
            raise self._strange(method, f"no block {number}")
        return {key: value for key, value in found.items() if isinstance(value, str)}

    def receipts(self, number: int) -> list[TheirReceipt]:
        """Return a block's receipts."""
        return self._ask("eth_getBlockReceipts", list[TheirReceipt], hex(number))

    def account(self, address: Address, slots: Sequence[int], number: int) -> tuple[Account, dict[int, int]]:
        """Return an account after a block, and these slots of it."""
        method, words = "eth_getProof", dict[int, int]()
        account = Account()
        for first in range(0, max(len(slots), 1), _PROOF_SLOTS):
            part = slots[first : first + _PROOF_SLOTS]
            keys = [f"0x{slot:064x}" for slot in part]
            found = self._ask(method, _Proof, f"0x{address.hex()}", keys, hex(number))
            if len(found.storageProof) != len(part):
                raise self._strange(method, "another number of slots")
            words |= {slot: self._number(method, one.value) for slot, one in zip(part, found.storageProof, strict=True)}
            account = Account(
                self._number(method, found.nonce),
                self._number(method, found.balance),
                self._data(method, found.storageHash),
                self._data(method, found.codeHash),
            )
        return account, words

    def decided(self, height: int) -> tuple[int, tuple[bytes, ...]] | None:
        """Return the time, in whole seconds, and the transactions that were decided for a height; None if it forgot."""
        method = "merit_heights"
        try:
            found = self._ask(method, _Heights, hex(height), hex(1)).heights
            if not found:
                return None
            header = light.decode_header(self._data(method, found[0].header))
            return header.time.seconds, light.decode_txs(self._data(method, found[0].transactions))
        except (LedgerUnreachableError, LightError):
            return None

    def _ask(self, method: str, kind: type[_T], *params: object) -> _T:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            reply = self._http.post(self.url, json=request)
            answer = msgspec.json.decode(reply.content, type=_Envelope)
            if answer.error is not None:
                raise self._strange(method, answer.error.message)
            if reply.is_error or isinstance(answer.result, msgspec.UnsetType):
                raise self._strange(method, f"HTTP status {reply.status_code}, and no result")
            return msgspec.json.decode(answer.result, type=kind)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"the node at {self.url} does not answer ({str(error) or type(error).__name__})"
            raise LedgerUnreachableError(message) from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._strange(method, str(error)) from None

    def _strange(self, method: str, what: str) -> LedgerUnreachableError:
        return LedgerUnreachableError(f"the node at {self.url} gives no answer to {method}: {what[:200]}")

    def _number(self, method: str, text: str) -> int:
        try:
            return int(text, 16)
        except ValueError:
            raise self._strange(method, f"{text[:80]!r} is no number") from None

    def _data(self, method: str, text: str) -> bytes:
        try:
            return bytes.fromhex(text.removeprefix("0x"))
        except ValueError:
            raise self._strange(method, f"{text[:80]!r} is not hexadecimal") from None


@contextmanager
def asking(urls: Sequence[str]) -> Iterator[list[OtherNode]]:
    """Connect to nodes, in this order."""
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as http:
        yield [OtherNode(url, http) for url in urls]
