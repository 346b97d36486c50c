"""The ledger's own transaction: EIP-2718 type 0x50, EIP-1559 fields, authenticated by ML-DSA.

    0x50 || rlp([chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas, to, value, data, access_list,
                 scheme, public_key, signature])

Signed are the bytes `0x50 || rlp(the first eleven fields)` in FIPS 204's pure mode with the context
`chain.crypto.contexts.tx_context(genesis hash)`: they bind the chain id, the context binds use and network.
`public_key` is the whole key, or the 20-byte address of a key that the ledger's state keeps already; the sender is that
address either way. An empty `to` creates a contract. The hash of a transaction is keccak256 of its bytes.

Decoding is strict: what decodes re-encodes to the same bytes, so nobody can make a second transaction out of one by
writing it differently. (The signature is malleable only by its signer: ML-DSA is strongly unforgeable.)
"""

from dataclasses import dataclass
from typing import Final

from chain import rlp
from chain.crypto.addresses import ADDRESS_BYTES, Address, address_of
from chain.crypto.contexts import tx_context
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Scheme, SigningKey, verify
from chain.errors import RlpError, TransactionError

TYPE: Final = 0x50
_FIELDS: Final = 12
_WORD, _UINT64 = 32, 8  # greatest byte lengths of the numbers in a transaction
_SLOT_BYTES: Final = 32
NONCE_LIMIT: Final = 2**64 - 1  # EIP-2681: a nonce is below this

AccessList = tuple[tuple[Address, tuple[bytes, ...]], ...]
"""Addresses with the storage slots (32 bytes each) that the transaction announces (EIP-2930)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What a sender decides; fees in wei per gas, value in wei, `to` empty to create a contract."""

    chain_id: int
    nonce: int
    gas: int
    to: bytes = b""
    value: int = 0
    data: bytes = b""
    max_priority_fee_per_gas: int = 0
    max_fee_per_gas: int = 0
    access_list: AccessList = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction(Fields):
    """A decoded transaction of type 0x50; its signature is not checked yet."""

    scheme: Scheme
    public_key: bytes
    signature: bytes
    sender: Address
    raw: bytes
    hash: bytes

    @property
    def carries_key(self) -> bool:
        """Tell whether the whole public key is inside; otherwise the ledger's state has to know it."""
        return len(self.public_key) != ADDRESS_BYTES

    @property
    def signing_bytes(self) -> bytes:
        """What the signature covers, cut from the bytes received: decoding has shown them to be canonical."""
        return _signing_bytes(self.raw, self.signature)

    def signed_by(self, public_key: bytes, genesis_hash: bytes) -> bool:
        """Check the signature under `public_key`, which must be the sender's, on the ledger of this genesis hash."""
        return verify(self.scheme, public_key, self.signature, self.signing_bytes, tx_context(genesis_hash))


def _signing_bytes(raw: bytes, signature: bytes) -> bytes:
    body = _payload(raw[1:])
    return bytes((TYPE,)) + rlp.encode_list(body[: len(body) - len(rlp.encode_bytes(signature))])


def _payload(encoded_list: bytes) -> bytes:
    """Strip the length prefix off a list that is known to be canonical."""
    first = encoded_list[0]
    return encoded_list[1 if first <= rlp.LONG_LIST else 1 + first - rlp.LONG_LIST :]


def _items(fields: Fields, scheme: Scheme, public_key: bytes) -> list[rlp.Item]:
    numbers = (fields.chain_id, fields.nonce, fields.max_priority_fee_per_gas, fields.max_fee_per_gas, fields.gas)
    return [
        *map(rlp.integer, numbers),
        fields.to,
        rlp.integer(fields.value),
        fields.data,
        [[address, list(slots)] for address, slots in fields.access_list],
        rlp.integer(scheme),
        public_key,
    ]


def sign_transaction(
    key: SigningKey, fields: Fields, genesis_hash: bytes, *, reference: bool = False, deterministic: bool = False
) -> bytes:
    """Encode and sign; `reference` names the key by its address, for a key that the ledger keeps already.

    Raises `TransactionError` for fields that no ledger would take (a negative number, an address of another length).
    """
    public_key = key.address if reference else key.public_key
    try:
        items = _items(fields, key.scheme, public_key)
    except OverflowError:
        message = "a number in the transaction is negative"
        raise TransactionError(message) from None
    body = b"".join(map(rlp.encode, items))
    signing_bytes = bytes((TYPE,)) + rlp.encode_list(body)
    signature = key.sign(signing_bytes, tx_context(genesis_hash), deterministic=deterministic)
    raw = bytes((TYPE,)) + rlp.encode_list(body + rlp.encode_bytes(signature))
    decode(raw)  # what the sender gets wrong is told to the sender, not to the network
    return raw


def _string(item: rlp.Decoded, what: str) -> bytes:
    if not isinstance(item, bytes):
        message = f"{what} is a list"
        raise TransactionError(message)
    return item


def decode_access_list(item: rlp.Decoded) -> AccessList:
    """Read an access list (EIP-2930): addresses of 20 bytes, slots of 32; `TransactionError` for anything else."""
    entries: list[tuple[Address, tuple[bytes, ...]]] = []
    for entry in item if isinstance(item, list) else [item]:
        match entry:
            case [bytes(address), list(slots)] if len(address) == ADDRESS_BYTES and all(
                isinstance(slot, bytes) and len(slot) == _SLOT_BYTES for slot in slots
            ):
                entries.append((Address(address), tuple(slot for slot in slots if isinstance(slot, bytes))))
            case _:
                message = "the access list is not a list of (address, slots)"
                raise TransactionError(message)
    return tuple(entries)


def decode(raw: bytes) -> Transaction:
    """Decode the bytes of a type 0x50 transaction; `TransactionError` says what is wrong with them.

    The signature is not checked: that takes the key, which may be in the ledger's state, and the genesis hash.
    """
    if raw[:1] != bytes((TYPE,)):
        message = f"not a transaction of type 0x{TYPE:02x}"
        raise TransactionError(message)
    try:
        items = rlp.decode(raw[1:])
        if not isinstance(items, list) or len(items) != _FIELDS:
            message = f"a transaction of type 0x{TYPE:02x} has {_FIELDS} fields"
            raise TransactionError(message)
        chain_id, priority_fee, fee, value = (rlp.to_integer(items[at], _WORD) for at in (0, 2, 3, 6))
        nonce, gas = (rlp.to_integer(items[at], _UINT64) for at in (1, 4))
        scheme_number = rlp.to_integer(items[9], 1)
    except RlpError as error:
        message = f"not canonical RLP: {error}"
        raise TransactionError(message) from None
    to, data = _string(items[5], "to"), _string(items[7], "data")
    public_key, signature = _string(items[10], "public key"), _string(items[11], "signature")
    if len(to) not in {0, ADDRESS_BYTES}:
        message = f"the recipient has {len(to)} bytes, not 20 or none"
        raise TransactionError(message)
    if nonce >= NONCE_LIMIT:
        message = "the nonce is out of range (EIP-2681)"
        raise TransactionError(message)
    if priority_fee > fee:
        message = "the priority fee is greater than the fee (EIP-1559)"
        raise TransactionError(message)
    if scheme_number not in PUBLIC_KEY_BYTES:
        message = f"signature scheme {scheme_number} is unknown; {', '.join(map(str, map(int, Scheme)))} are known"
        raise TransactionError(message)
    scheme = Scheme(scheme_number)
    if len(public_key) not in {ADDRESS_BYTES, PUBLIC_KEY_BYTES[scheme]}:
        message = f"the public key has {len(public_key)} bytes, not {PUBLIC_KEY_BYTES[scheme]} or {ADDRESS_BYTES}"
        raise TransactionError(message)
    if len(signature) != SIGNATURE_BYTES[scheme]:
        message = f"the signature has {len(signature)} bytes, not {SIGNATURE_BYTES[scheme]}"
        raise TransactionError(message)
    return Transaction(
        chain_id=chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=priority_fee,
        max_fee_per_gas=fee,
        gas=gas,
        to=to,
        value=value,
        data=data,
        access_list=decode_access_list(items[8]),
        scheme=scheme,
        public_key=public_key,
        signature=signature,
        sender=Address(public_key) if len(public_key) == ADDRESS_BYTES else address_of(scheme, public_key),
        raw=raw,
        hash=keccak256(raw),
    )
