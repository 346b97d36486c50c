"""Headers, logs, receipts and blocks: the shapes of Ethereum's Prague fork, as plain values without an EVM.

A header's hash, the tries behind its roots and the bloom are Ethereum's (Yellow Paper, section 4.4; EIP-2718 for typed
receipts), so tools that know Ethereum check ours. What Merit puts into fields that Ethereum leaves to a network:
`extra_data` is the engine's height (8 bytes; in block 0 the SHA-256 of the genesis document), `requests_hash` commits
to the misbehavior that the engine reported (EIP-7685's formula, request type `MISBEHAVIOR_REQUEST`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NewType

from chain import rlp
from chain.crypto.addresses import ADDRESS_BYTES, ZERO, Address
from chain.crypto.hashing import keccak256
from chain.errors import BlockError, RlpError

EngineHeight = NewType("EngineHeight", int)
if TYPE_CHECKING:
    from eth_typing import BlockNumber as BlockNumber  # noqa: PLC0414 - as in chain.crypto.addresses
else:
    BlockNumber = NewType("BlockNumber", int)

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = keccak256(b"\x80")  # the trie without entries
EMPTY_CODE_HASH: Final = keccak256(b"")  # an account without code
EMPTY_UNCLES: Final = keccak256(b"\xc0")
NO_REQUESTS: Final = hashlib.sha256().digest()  # EIP-7685: the hash of no requests
BLOOM_BYTES: Final = 256
MISBEHAVIOR_REQUEST: Final = 0x4D
_RLP_LIST: Final = 0xC0  # the first byte of a list is at least this
_TOPIC_PREFIX: Final = b"\xa0"  # RLP of a string of 32 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A block's header; 21 fields in the order of EIP-4844, EIP-4788 and EIP-7685. Times in seconds."""

    parent_hash: bytes
    uncles_hash: bytes = EMPTY_UNCLES
    coinbase: Address = ZERO
    state_root: bytes
    transactions_root: bytes = EMPTY_ROOT
    receipts_root: bytes = EMPTY_ROOT
    bloom: bytes = bytes(BLOOM_BYTES)
    difficulty: int = 0
    number: BlockNumber
    gas_limit: int
    gas_used: int = 0
    timestamp: int
    extra_data: bytes
    mix_hash: bytes = bytes(HASH_BYTES)
    nonce: bytes = bytes(8)
    base_fee_per_gas: int = 0
    withdrawals_root: bytes = EMPTY_ROOT
    blob_gas_used: int = 0
    excess_blob_gas: int = 0
    parent_beacon_block_root: bytes = bytes(HASH_BYTES)
    requests_hash: bytes = NO_REQUESTS

    def encode(self) -> bytes:
        """Return the canonical RLP of the header."""
        values = (getattr(self, name) for name in _HEADER_WIDTHS)
        return rlp.encode([rlp.integer(value) if isinstance(value, int) else value for value in values])

    @property
    def hash(self) -> bytes:
        """keccak256 of the encoding (32 bytes); computed on each use."""
        return keccak256(self.encode())

    @property
    def engine_height(self) -> EngineHeight:
        """The engine's height that made this block; 0 for block 0."""
        return EngineHeight(int.from_bytes(self.extra_data, "big") if self.number else 0)


# exact lengths of the byte fields; None for numbers; -1 for any length
_HEADER_WIDTHS: Final = {
    field.name: None
    if field.type is int or field.type is BlockNumber
    else {"coinbase": ADDRESS_BYTES, "bloom": BLOOM_BYTES, "nonce": 8, "extra_data": -1}.get(field.name, HASH_BYTES)
    for field in fields(Header)
}


@dataclass(frozen=True, slots=True)
class Log:
    """An event: who emitted it, up to four topics (32 bytes each) and its data."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes

    def encode(self) -> bytes:
        """Return the canonical RLP, as it stands in a receipt."""
        topics = rlp.encode_list(b"".join([_TOPIC_PREFIX + topic for topic in self.topics]))
        return rlp.encode_list(rlp.encode_bytes(self.address) + topics + rlp.encode_bytes(self.data))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transaction did; `cumulative_gas` counts from the block's start."""

    type: int
    succeeded: bool
    cumulative_gas: int
    bloom: bytes
    logs: tuple[Log, ...]

    def encode(self) -> bytes:
        """Return the consensus encoding: type byte (none for type 0) and RLP (EIP-2718, EIP-658)."""
        body = rlp.encode_list(
            b"".join(
                (
                    rlp.encode_bytes(b"\x01" if self.succeeded else b""),
                    rlp.encode_bytes(rlp.integer(self.cumulative_gas)),
                    rlp.encode_bytes(self.bloom),
                    rlp.encode_list(b"".join([log.encode() for log in self.logs])),
                )
            )
        )
        return bytes((self.type,)) + body if self.type else body


@dataclass(frozen=True, slots=True)
class Misbehavior:
    """A validator's provable fault as the engine reported it (ABCI 2.0, Misbehavior).

    `kind`: 1 duplicate vote, 2 light client attack. `validator`: the 20-byte validator address of the engine.
    `time_ns`: nanoseconds since the Unix epoch.
    """

    kind: int
    validator: bytes
    power: int
    height: int
    time_ns: int
    total_power: int

    def encode(self) -> bytes:
        """Return the canonical RLP."""
        numbers = (self.power, self.height, self.time_ns, self.total_power)
        return rlp.encode([rlp.integer(self.kind), self.validator, *map(rlp.integer, numbers)])


@dataclass(frozen=True, slots=True)
class Block:
    """A block and everything its header commits to; transactions are the bytes that the engine decided."""

    header: Header
    hash: bytes
    transactions: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]
    misbehavior: tuple[Misbehavior, ...] = ()

    def encode(self) -> bytes:
        """Return the RLP of Ethereum's block: header, transactions (typed ones as strings), uncles and withdrawals.

        There are none of the last two.
        """
        body = b"".join(raw if raw[0] >= _RLP_LIST else rlp.encode_bytes(raw) for raw in self.transactions)
        empty = rlp.encode_list(b"")
        withdrawals = b"" if self.header.withdrawals_root is None else empty
        return rlp.encode_list(self.header.encode() + rlp.encode_list(body) + empty + withdrawals)

    @property
    def number(self) -> BlockNumber:
        """The block's height for contracts, keys, records and rounds."""
        return self.header.number

    @property
    def engine_height(self) -> EngineHeight:
        """The engine's height that made this block."""
        return self.header.engine_height


def misbehavior_hash(misbehavior: Sequence[Misbehavior]) -> bytes:
    """Commit to reported misbehavior by EIP-7685's formula: sha256 over the sha256 of each request."""
    requests = (bytes((MISBEHAVIOR_REQUEST,)) + item.encode() for item in misbehavior)
    return hashlib.sha256(b"".join(hashlib.sha256(request).digest() for request in requests)).digest()


@lru_cache(maxsize=65_536)  # the same addresses and topics come back in every block
def _bloom_bits(value: bytes) -> int:
    digest = keccak256(value)
    return sum({1 << (int.from_bytes(digest[at : at + 2], "big") & 2047) for at in (0, 2, 4)})


def bloom_of(logs: Iterable[Log]) -> bytes:
    """Return the 2,048-bit filter over addresses and topics (Yellow Paper, section 4.4.1)."""
    bits = 0
    for log in logs:
        bits |= _bloom_bits(log.address)
        for topic in log.topics:
            bits |= _bloom_bits(topic)
    return bits.to_bytes(BLOOM_BYTES, "big")


def bloom_may_hold(bloom: bytes, value: bytes) -> bool:
    """Tell whether `value` (address or topic) may be in the filter; False is certain."""
    bits = _bloom_bits(value)
    return int.from_bytes(bloom, "big") & bits == bits


def transaction_type(raw: bytes) -> int:
    """Read the type byte; 0 for a legacy transaction, which starts with an RLP list (EIP-2718)."""
    return raw[0] if raw and raw[0] < 0xC0 else 0  # noqa: PLR2004 - RLP's first list prefix


def decode_header(data: bytes) -> Header:
    """Decode what `Header.encode` wrote; `BlockError` for anything else."""
    try:
        items = rlp.decode(data)
        if not isinstance(items, list) or len(items) != len(_HEADER_WIDTHS):
            message = f"a header has {len(_HEADER_WIDTHS)} fields"
            raise BlockError(message)
        values: dict[str, object] = {}
        for (name, width), item in zip(_HEADER_WIDTHS.items(), items, strict=True):
            values[name] = rlp.to_integer(item, HASH_BYTES) if width is None else _bytes(item, width, name)
    except RlpError as error:
        message = f"header: {error}"
        raise BlockError(message) from None
    return Header(**values)  # type: ignore[arg-type] # names and types are the dataclass's own


def _bytes(item: rlp.Decoded, width: int, what: str) -> bytes:
    if not isinstance(item, bytes) or (width >= 0 and len(item) != width):
        message = f"{what} is not a string of {width} bytes" if width >= 0 else f"{what} is not a string"
        raise BlockError(message)
    return item


def decode_receipt(data: bytes) -> Receipt:
    """Decode what `Receipt.encode` wrote; `BlockError` for anything else."""
    kind = transaction_type(data)
    try:
        match rlp.decode(data[1:] if kind else data):
            case [bytes(status), gas, bytes(bloom), list(logs)] if (
                status in {b"", b"\x01"} and len(bloom) == BLOOM_BYTES
            ):
                return Receipt(kind, status == b"\x01", rlp.to_integer(gas, 8), bloom, tuple(map(_log, logs)))
            case _:
                message = "not a receipt"
                raise BlockError(message)
    except RlpError as error:
        message = f"receipt: {error}"
        raise BlockError(message) from None


def _log(item: rlp.Decoded) -> Log:
    match item:
        case [bytes(address), list(topics), bytes(data)] if len(address) == ADDRESS_BYTES:
            return Log(Address(address), tuple(_bytes(topic, HASH_BYTES, "topic") for topic in topics), data)
        case _:
            message = "not a log"
            raise BlockError(message)


def decode_misbehavior(data: bytes) -> Misbehavior:
    """Decode what `Misbehavior.encode` wrote; `BlockError` for anything else."""
    try:
        match rlp.decode(data):
            case [kind, bytes(validator), power, height, time_ns, total]:
                numbers = (rlp.to_integer(item, 8) for item in (power, height, time_ns, total))
                return Misbehavior(rlp.to_integer(kind, 1), validator, *numbers)
            case _:
                message = "not misbehavior"
                raise BlockError(message)
    except RlpError as error:
        message = f"misbehavior: {error}"
        raise BlockError(message) from None
