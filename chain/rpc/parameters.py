"""Reads the parameters of requests into typed values; whatever is wrong becomes `InvalidParamsError` with its name.

Encodings are those of execution-apis (ethereum/execution-apis, `base-types`): a quantity is `0x` and hexadecimal
without leading zeros, data is `0x` and two digits per byte, letters of either case.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, TypeAlias, TypeVar

import msgspec

from chain.crypto.addresses import ADDRESS_BYTES, Address
from chain.limits import TRANSACTION_BYTES
from chain.rpc.errors import InvalidParamsError
from chain.rpc.limits import ADDRESSES_PER_FILTER, PROOF_KEYS, REWARD_PERCENTILES, TOPIC_CHOICES, TOPICS
from chain.transaction import AccessList

T = TypeVar("T")

HASH_BYTES: Final = 32
BLOBS: Final = 9  # of one transaction at most (EIP-7691)
_QUANTITY: Final = re.compile(r"0[xX](?:0|[1-9a-fA-F][0-9a-fA-F]{0,63})")
_ALL_PERCENT: Final = 100
_SHOWN: Final = 80  # longest part of a client's value that an error repeats


class Tag(StrEnum):
    """Names for blocks. A block of this ledger is final at once, so four of the five mean the newest one."""

    LATEST = "latest"
    PENDING = "pending"
    SAFE = "safe"
    FINALIZED = "finalized"
    EARLIEST = "earliest"


BlockSelector: TypeAlias = Tag | int | bytes
"""A tag, a block's number, or a block's hash (32 bytes)."""

Topics: TypeAlias = "tuple[frozenset[bytes] | None, ...]"
"""For each position the topics (32 bytes) that match; None matches any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """A transaction that is only tried out. Fees in wei per gas, `value` in wei; None where the client said nothing."""

    sender: Address | None = None
    to: Address | None = None
    gas: int | None = None
    gas_price: int | None = None
    max_fee_per_gas: int | None = None
    max_priority_fee_per_gas: int | None = None
    value: int = 0
    data: bytes = b""
    nonce: int | None = None
    access_list: AccessList = ()
    chain_id: int | None = None
    max_fee_per_blob_gas: int = 0
    blob_hashes: tuple[bytes, ...] | None = None
    authorizations: int | None = None
    """How many there are (EIP-7702). No transaction of this ledger has them, or blobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which logs a client wants: of one block, or of a range of blocks (both ends included)."""

    block_hash: bytes | None = None
    first: BlockSelector = Tag.LATEST
    last: BlockSelector = Tag.LATEST
    addresses: frozenset[bytes] = frozenset()
    topics: Topics = ()


def _refuse(name: str, problem: str) -> NoReturn:
    message = f"{name}: {problem}"
    raise InvalidParamsError(message)


def shown(value: object) -> str:
    """Print a client's value in one short line of ASCII."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def quantity(value: object, name: str, bits: int = 256) -> int:
    """Read a quantity of at most `bits` bits."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        _refuse(name, f"{shown(value)} is not a quantity (0x and hexadecimal without leading zeros)")
    number = int(value, 16)
    if number.bit_length() > bits:
        _refuse(name, f"{shown(value)} has more than {bits} bits")
    return number


def count(value: object, name: str) -> int:
    """Read a small number, as a quantity or (eth_feeHistory of older clients) as a JSON number."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    return quantity(value, name, 64)


def _decoded(value: object) -> bytes | None:
    """Decode data; a regular expression would take a hundred times as long over a batch of records."""
    if not isinstance(value, str) or value[:2] not in {"0x", "0X"}:
        return None
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        return None
    return raw if 2 * len(raw) == len(value) - 2 else None  # fromhex passes over spaces


def data(value: object, name: str, size: int | None = None) -> bytes:
    """Read data; `size` is the exact number of bytes where there is one."""
    raw = _decoded(value)
    if raw is None:
        _refuse(name, f"{shown(value)} is not data (0x and two hexadecimal digits per byte)")
    if size is not None and len(raw) != size:
        _refuse(name, f"{shown(value)} has {len(raw)} bytes, expected {size}")
    return raw


def address(value: object, name: str) -> Address:
    """Read an address; the letters' case is no checksum here."""
    return Address(data(value, name, ADDRESS_BYTES))


def hash32(value: object, name: str) -> bytes:
    """Read a hash."""
    return data(value, name, HASH_BYTES)


def word(value: object, name: str) -> bytes:
    """Read 32 bytes, as data or as a quantity, leading zeros or not."""
    if not isinstance(value, str) or not re.fullmatch(r"0[xX][0-9a-fA-F]{1,64}", value):
        _refuse(name, f"{shown(value)} is not a word (0x and at most 64 hexadecimal digits)")
    return int(value, 16).to_bytes(HASH_BYTES, "big")


def raw_transaction(value: object, name: str) -> bytes:
    """Read a raw transaction within the ledger's size limit."""
    if isinstance(value, str) and len(value) > 2 + 2 * TRANSACTION_BYTES:
        _refuse(name, f"is longer than {TRANSACTION_BYTES} bytes")
    return data(value, name)


def storage_key(value: object, name: str) -> int:
    """Read a storage slot: data of at most 32 bytes or a quantity, leading zeros or not, as geth takes them."""
    if not isinstance(value, str) or not re.fullmatch(r"0[xX][0-9a-fA-F]{1,64}", value):
        if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{65,70}", value):
            message = f'storage key too long (want at most 32 bytes): "{value}"'  # geth's words, also below
            raise InvalidParamsError(message)
        if isinstance(value, str) and re.fullmatch(r"[\x20-\x7e]{1,70}", value):
            message = f'invalid hex in storage key: "{value}"'
            raise InvalidParamsError(message)
        _refuse(name, f"{shown(value)} is not a storage key (0x and at most 64 hexadecimal digits)")
    return int(value, 16)


def storage_keys(value: object, name: str) -> tuple[tuple[str, int], ...]:
    """Read the list of storage keys of eth_getProof; each with the text in the answer: as geth, whole or short."""
    slots = ((str(item), storage_key(item, name)) for item in _list(value, name, PROOF_KEYS))
    return tuple((text.lower() if len(text) == 2 + 2 * HASH_BYTES else hex(slot), slot) for text, slot in slots)


def mapping(value: object, name: str) -> Mapping[object, object]:
    """Read an object."""
    if not isinstance(value, Mapping):
        _refuse(name, f"{shown(value)} is not an object")
    return value


def document(value: object, name: str) -> Mapping[str, object]:
    """Read an object that some clients send as JSON text (typed data of EIP-712)."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            _refuse(name, f"not JSON: {error}")
    return {str(key): item for key, item in mapping(value, name).items()}


def storage_requests(value: object, name: str) -> tuple[tuple[Address, tuple[int, ...]], ...]:
    """Read what eth_getStorageValues asks for: address -> slots."""
    given = mapping(value, name)
    if not given:
        message = "empty request"
        raise InvalidParamsError(message)
    if sum(len(slots) if isinstance(slots, list) else 1 for slots in given.values()) > PROOF_KEYS:
        _refuse(name, f"at most {PROOF_KEYS} slots are given at once")
    return tuple(
        (address(key, name), tuple(storage_key(slot, name) for slot in _list(slots, name, PROOF_KEYS)))
        for key, slots in given.items()
    )


def flag(value: object, name: str) -> bool:
    """Read a truth value."""
    if not isinstance(value, bool):
        _refuse(name, f"{shown(value)} is neither true nor false")
    return value


def block(value: object, name: str) -> BlockSelector:
    """Read a block's tag, number or hash, or the object of EIP-1898."""
    match value:
        case str() if value in set(Tag):
            return Tag(value)
        case str() if len(value) == 2 + 2 * HASH_BYTES:
            return hash32(value, name)
        case str():
            return quantity(value, name, 64)
        case Mapping() if set(value) in ({"blockHash"}, {"blockHash", "requireCanonical"}):
            flag(value.get("requireCanonical", False), f"{name}.requireCanonical")  # blocks never leave this chain
            return hash32(value["blockHash"], f"{name}.blockHash")
        case Mapping() if set(value) == {"blockNumber"}:
            return quantity(value["blockNumber"], f"{name}.blockNumber", 64)
        case _:
            _refuse(name, f"{shown(value)} is no block: give a number, a hash, or one of {', '.join(Tag)}")


def numbered_block(value: object, name: str) -> BlockSelector:
    """Read a block's number or tag."""
    return Tag(value) if isinstance(value, str) and value in set(Tag) else quantity(value, name, 64)


def call(value: object, name: str) -> CallRequest:
    """Read the transaction object of eth_call and eth_estimateGas; fields nobody knows are refused."""
    fields = mapping(value, name)
    unknown = set(fields) - set(_CALL_FIELDS)
    if unknown:
        _refuse(name, f"unknown field {shown(min(unknown, key=str))}")
    given = {key: item for key, item in fields.items() if item is not None}
    if "data" in given and "input" in given and given["data"] != given["input"]:
        _refuse(name, "data and input differ; give one of them")
    if "gasPrice" in given and ({"maxFeePerGas", "maxPriorityFeePerGas"} & set(given)):
        _refuse(name, "gasPrice and maxFeePerGas exclude each other")
    read = {_CALL_FIELDS[key][0]: _CALL_FIELDS[key][1](item, f"{name}.{key}") for key, item in given.items()}
    read.pop("type", None)
    request = CallRequest(**read)  # type: ignore[arg-type] # the table pairs each field with its reader
    if (request.max_priority_fee_per_gas or 0) > (request.max_fee_per_gas or 0):
        _refuse(name, "maxPriorityFeePerGas is greater than maxFeePerGas")
    return request


def refuse_types(request: CallRequest) -> None:
    """Refuse what only transactions have that the ledger never takes."""
    if request.blob_hashes is not None or request.authorizations is not None:
        message = "the ledger never takes transactions with blobs or authorizations (types 3 and 4)"
        raise InvalidParamsError(message)


def percentiles(value: object, name: str) -> tuple[float, ...]:
    """Read the rising percentiles (0 to 100) of eth_feeHistory."""
    numbers: list[float] = []
    for item in _list(value, name, REWARD_PERCENTILES):
        if not isinstance(item, int | float) or isinstance(item, bool) or not 0 <= item <= _ALL_PERCENT:
            _refuse(name, "a percentile is a number from 0 to 100")
        numbers.append(float(item))
    if numbers != sorted(numbers):
        _refuse(name, "percentiles must rise")
    return tuple(numbers)


def log_query(value: object, name: str) -> LogQuery:
    """Read the filter object of eth_getLogs and eth_newFilter."""
    fields = {key: item for key, item in mapping(value, name).items() if item is not None}
    unknown = set(fields) - {"fromBlock", "toBlock", "blockHash", "address", "topics"}
    if unknown:
        _refuse(name, f"unknown field {shown(min(unknown, key=str))}")
    if "blockHash" in fields and ("fromBlock" in fields or "toBlock" in fields):
        _refuse(name, "cannot specify both blockHash and fromBlock/toBlock, choose one or the other")
    return LogQuery(
        block_hash=hash32(fields["blockHash"], f"{name}.blockHash") if "blockHash" in fields else None,
        first=numbered_block(fields.get("fromBlock", Tag.LATEST.value), f"{name}.fromBlock"),
        last=numbered_block(fields.get("toBlock", Tag.LATEST.value), f"{name}.toBlock"),
        addresses=_addresses(fields.get("address", []), f"{name}.address"),
        topics=_topics(fields.get("topics", []), f"{name}.topics"),
    )


def _addresses(value: object, name: str) -> frozenset[bytes]:
    if isinstance(value, str):
        return frozenset({address(value, name)})
    return frozenset(address(item, name) for item in _list(value, name, ADDRESSES_PER_FILTER))


def _topics(value: object, name: str) -> Topics:
    positions: list[frozenset[bytes] | None] = []
    for at, item in enumerate(_list(value, name, TOPICS)):
        match item:
            case None | []:  # an empty list of choices restricts nothing, as in geth
                positions.append(None)
            case str():
                positions.append(frozenset({hash32(item, f"{name}[{at}]")}))
            case _:
                choices = _list(item, f"{name}[{at}]", TOPIC_CHOICES)
                if None in choices:  # null among the choices: any topic will do
                    positions.append(None)
                else:
                    positions.append(frozenset(hash32(choice, f"{name}[{at}]") for choice in choices))
    return tuple(positions)


def items(value: object, name: str) -> list[object]:
    """Read a list of whatever length."""
    if not isinstance(value, list | tuple):
        _refuse(name, f"{shown(value)} is not a list")
    return list(value)


def _list(value: object, name: str, longest: int) -> list[object]:
    found = items(value, name)
    if len(found) > longest:
        _refuse(name, f"{len(found)} items, at most {longest} are allowed")
    return found


def _access_list(value: object, name: str) -> AccessList:
    entries = []
    for item in _list(value, name, PROOF_KEYS):
        entry = mapping(item, name)
        keys = _list(entry.get("storageKeys", []), f"{name}.storageKeys", PROOF_KEYS)
        slots = tuple(hash32(key, f"{name}.storageKeys") for key in keys)
        entries.append((address(entry.get("address"), f"{name}.address"), slots))
    return tuple(entries)


def _blob_hashes(value: object, name: str) -> tuple[bytes, ...]:
    return tuple(hash32(item, name) for item in _list(value, name, BLOBS))


def _authorizations(value: object, name: str) -> int:
    return len([mapping(item, name) for item in _list(value, name, PROOF_KEYS)])


def _recipient(value: object, name: str) -> Address | None:
    return None if value == "0x" else address(value, name)


def _uint64(value: object, name: str) -> int:
    return quantity(value, name, 64)


_CALL_FIELDS: Final[Mapping[object, tuple[str, Callable[[object, str], object]]]] = {
    "from": ("sender", address),
    "to": ("to", _recipient),
    "gas": ("gas", _uint64),
    "gasPrice": ("gas_price", quantity),
    "maxFeePerGas": ("max_fee_per_gas", quantity),
    "maxPriorityFeePerGas": ("max_priority_fee_per_gas", quantity),
    "value": ("value", quantity),
    "data": ("data", data),
    "input": ("data", data),
    "nonce": ("nonce", _uint64),
    "accessList": ("access_list", _access_list),
    "chainId": ("chain_id", quantity),
    "type": ("type", count),  # web3.py sends it as a JSON number when it modifies a transaction
    "maxFeePerBlobGas": ("max_fee_per_blob_gas", quantity),
    "blobVersionedHashes": ("blob_hashes", _blob_hashes),
    "authorizationList": ("authorizations", _authorizations),
}
