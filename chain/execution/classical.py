"""Ethereum's own transactions of types 0, 1 and 2, signed with secp256k1, for ledgers whose genesis allows them.

Decoded here and not by py-evm: its decoder takes an empty list for a number 0 and returns the received bytes when asked
to encode again, so anybody could make a second transaction, with another hash, out of a signed one.
Like type 0x50 these decode strictly: what decodes encodes to the same bytes.
"""

from dataclasses import dataclass
from typing import Final

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from chain import rlp
from chain.crypto.addresses import ADDRESS_BYTES, Address
from chain.crypto.hashing import keccak256
from chain.errors import RlpError, TransactionError
from chain.execution.blocks import transaction_type
from chain.transaction import NONCE_LIMIT, AccessList, decode_access_list

NAMES: Final = {0: "legacy", 1: "EIP-2930", 2: "EIP-1559"}
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1 (SEC 2)

_WORD, _UINT64 = 32, 8
_LEGACY_V: Final = 35  # EIP-155: v = 35 + 2 * chain id + parity
_UNBOUND_V: Final = (27, 28)  # before EIP-155
# names of the items in order, without access list and signature
_LEGACY: Final = ("nonce", "fee", "gas", "to", "value", "data")
_FIELDS: Final = {
    0: _LEGACY,
    1: ("chain_id", *_LEGACY),
    2: ("chain_id", "nonce", "priority_fee", "fee", "gas", "to", "value", "data"),
}
_LENGTHS: Final = {"nonce": _UINT64, "gas": _UINT64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classical:
    """A decoded transaction; `chain_id` None when a legacy signature binds none. `v` as encoded."""

    type: int
    chain_id: int | None
    nonce: int
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    gas: int
    to: bytes
    value: int
    data: bytes
    access_list: AccessList
    v: int
    r: int
    s: int
    signing_hash: bytes
    hash: bytes

    def sender(self) -> Address:
        """Recover the sender; `TransactionError` when the signature names none or is not in the lower half (EIP-2)."""
        if not (0 < self.s <= ORDER // 2 and 0 < self.r < ORDER):
            message = "the signature is out of range: r below the order, s in its lower half (EIP-2)"
            raise TransactionError(message)
        parity = (
            self.v if self.type else (self.v - _LEGACY_V) % 2 if self.chain_id is not None else self.v - _UNBOUND_V[0]
        )
        try:
            public_key = Signature(vrs=(parity, self.r, self.s)).recover_public_key_from_msg_hash(self.signing_hash)
        except (BadSignature, ValidationError, ValueError):
            message = "the signature names no sender"
            raise TransactionError(message) from None
        return Address(public_key.to_canonical_address())


def decode_classical(raw: bytes) -> Classical:
    """Decode a transaction of type 0, 1 or 2; `TransactionError` says what is wrong with it."""
    kind = transaction_type(raw)
    if kind not in _FIELDS:
        message = f"type {kind} is not one of {', '.join(map(str, _FIELDS))}"
        raise TransactionError(message)
    names = _FIELDS[kind]
    size = len(names) + (3 if kind == 0 else 4)
    try:
        items = rlp.decode(raw[1:] if kind else raw)
        if not isinstance(items, list) or len(items) != size:
            message = f"a transaction of type {kind} has {size} fields"
            raise TransactionError(message)
        fields = dict(zip(names, items, strict=False))
        numbers = {
            name: rlp.to_integer(item, _LENGTHS.get(name, _WORD))
            for name, item in fields.items()
            if name not in {"to", "data"}
        }
        v, r, s = (rlp.to_integer(item, _WORD) for item in items[-3:])
    except RlpError as error:
        message = f"not canonical RLP: {error}"
        raise TransactionError(message) from None
    to, data = fields["to"], fields["data"]
    if not isinstance(to, bytes) or len(to) not in {0, ADDRESS_BYTES} or not isinstance(data, bytes):
        message = "the recipient is no address, or the data no string"
        raise TransactionError(message)
    priority_fee = numbers.get("priority_fee", numbers["fee"])
    if numbers["nonce"] >= NONCE_LIMIT or priority_fee > numbers["fee"]:
        message = "the nonce is out of range (EIP-2681), or the priority fee greater than the fee (EIP-1559)"
        raise TransactionError(message)
    unsigned: list[rlp.Item] = [*items[:-3]]
    chain_id: int | None = numbers.get("chain_id")
    if kind == 0 and v >= _LEGACY_V:
        chain_id = (v - _LEGACY_V) // 2
        unsigned += [rlp.integer(chain_id), b"", b""]
    elif v not in (_UNBOUND_V if kind == 0 else (0, 1)):
        message = f"the signature's v is {v}"
        raise TransactionError(message)
    return Classical(
        type=kind,
        chain_id=chain_id,
        nonce=numbers["nonce"],
        max_priority_fee_per_gas=priority_fee,
        max_fee_per_gas=numbers["fee"],
        gas=numbers["gas"],
        to=to,
        value=numbers["value"],
        data=data,
        access_list=decode_access_list(items[-4]) if kind else (),
        v=v,
        r=r,
        s=s,
        signing_hash=keccak256((bytes((kind,)) if kind else b"") + rlp.encode(unsigned)),
        hash=keccak256(raw),
    )
