"""From bytes to a transaction that may run: decoding, signature, then the checks against a state.

Two steps, because they depend on different things. `Opener.open` needs the sender's key and nothing else that can
change, so its signature check is remembered. `judge` compares with nonce, balance and gas at the place
where the transaction is to run.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.crypto.addresses import Address
from chain.crypto.contexts import tx_context
from chain.crypto.schemes import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Scheme, verify
from chain.errors import TransactionError
from chain.execution.blocks import transaction_type
from chain.execution.classical import NAMES, decode_classical
from chain.execution.keys import KeyLookup, PublicKey, deposit_gas
from chain.execution.verdicts import Code, Refusal
from chain.limits import TRANSACTION_BYTES
from chain.transaction import TYPE, AccessList, Transaction, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.execution.evm import Environment

# Gas before the first opcode. The first three: Yellow Paper appendix G, EIP-2028; access list: EIP-2930.
TRANSACTION_GAS: Final = 21_000
ZERO_BYTE_GAS, BYTE_GAS = 4, 16
CREATION_GAS: Final = 32_000
ACCESS_ADDRESS_GAS, ACCESS_SLOT_GAS = 2_400, 1_900
FLOOR_TOKEN_GAS: Final = 10  # EIP-7623; a zero byte is one token, any other four
SIGNATURE_GAS: Final = {Scheme.ML_DSA_44: 3_000, Scheme.ML_DSA_65: 4_500}  # ecrecover's 3,000, by verification time
INITCODE_BYTES: Final = 49_152  # EIP-3860

_NEVER: Final = {3: "blob (EIP-4844)", 4: "set-code (EIP-7702)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A transaction whose signature holds, in the shape that py-evm's executor reads."""

    raw: bytes
    hash: bytes
    type_id: int
    sender: Address
    nonce: int
    gas: int
    to: Address
    value: int
    data: bytes
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    access_list: "Sequence[tuple[Address, Sequence[int]]]"
    intrinsic_gas: int
    floor_gas: int
    new_key: PublicKey | None  # the whole key that came with it

    @property
    def blob_versioned_hashes(self) -> tuple[()]:
        """None: there are no blobs here."""
        return ()


def calldata_gas(data: bytes) -> tuple[int, int]:
    """Return the intrinsic gas of the data and its floor (EIP-7623, 21,000 included)."""
    zeros = data.count(0)
    others = len(data) - zeros
    return ZERO_BYTE_GAS * zeros + BYTE_GAS * others, TRANSACTION_GAS + FLOOR_TOKEN_GAS * (zeros + 4 * others)


def intrinsic_gas(to: bytes, data: bytes, access_list: "Sequence[tuple[bytes, Sequence[object]]]") -> int:
    """Return the gas that any transaction pays before it runs, without its signature."""
    slots = sum(len(entry) for _, entry in access_list)
    access = ACCESS_ADDRESS_GAS * len(access_list) + ACCESS_SLOT_GAS * slots
    return TRANSACTION_GAS + calldata_gas(data)[0] + (0 if to else CREATION_GAS) + access


def authentication_gas(scheme: Scheme, key_and_signature_bytes: int, *, carries_key: bool) -> int:
    """Return what an ML-DSA signature costs: its check, its bytes, and keeping the key if it comes along."""
    return SIGNATURE_GAS[scheme] + BYTE_GAS * key_and_signature_bytes + (deposit_gas(scheme) if carries_key else 0)


def authentication_gas_of(sender: Address, key: PublicKey | None) -> int:
    """Return what the signature of a sender costs whose key the ledger keeps; for None the greatest key comes along."""
    scheme = Scheme.ML_DSA_65 if key is None else key[0]
    size = SIGNATURE_BYTES[scheme] + (PUBLIC_KEY_BYTES[scheme] if key is None else len(sender))
    return authentication_gas(scheme, size, carries_key=key is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A transaction of a block, decoded for display; what a type does not have is None.

    `sender` is derived from the signature (classical) or the key named; execution has checked both.
    """

    hash: bytes
    type: int
    chain_id: int
    nonce: int
    sender: Address
    to: bytes
    value: int
    data: bytes
    gas: int
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    access_list: AccessList | None
    scheme: Scheme | None = None
    public_key: bytes | None = None
    signature: bytes | None = None
    v: int | None = None
    r: int | None = None
    s: int | None = None


def describe(raw: bytes) -> Description:
    """Decode a transaction that a block holds; `TransactionError` for other bytes."""
    if transaction_type(raw) == TYPE:
        ours = decode(raw)
        return Description(
            hash=ours.hash,
            type=TYPE,
            chain_id=ours.chain_id,
            nonce=ours.nonce,
            sender=ours.sender,
            to=ours.to,
            value=ours.value,
            data=ours.data,
            gas=ours.gas,
            max_priority_fee_per_gas=ours.max_priority_fee_per_gas,
            max_fee_per_gas=ours.max_fee_per_gas,
            access_list=ours.access_list,
            scheme=ours.scheme,
            public_key=ours.public_key,
            signature=ours.signature,
        )
    theirs = decode_classical(raw)
    return Description(
        hash=theirs.hash,
        type=theirs.type,
        chain_id=theirs.chain_id or 0,
        nonce=theirs.nonce,
        sender=theirs.sender(),
        to=theirs.to,
        value=theirs.value,
        data=theirs.data,
        gas=theirs.gas,
        max_priority_fee_per_gas=theirs.max_priority_fee_per_gas,
        max_fee_per_gas=theirs.max_fee_per_gas,
        access_list=theirs.access_list if theirs.type else None,
        v=theirs.v,
        r=theirs.r,
        s=theirs.s,
    )


class Opener:
    """Decodes transactions and checks their signatures, each once per process."""

    _REMEMBERED: Final = 4_096

    def __init__(self, environment: "Environment") -> None:
        """Open transactions of one ledger."""
        self._environment = environment
        # Only signatures that hold, by the bytes themselves: a batch of 128 records is opened a dozen times on its way,
        # and Keccak over it takes ten times as long as Python's own hash.
        self._opened: OrderedDict[bytes, Candidate] = OrderedDict()

    def open(self, raw: bytes, keys: KeyLookup) -> Candidate | Refusal:
        """Return the transaction, or why no block can hold it; `keys` looks into the state (and pool) at hand."""
        if len(raw) > TRANSACTION_BYTES:
            return Refusal(Code.MALFORMED, f"{len(raw)} bytes; a transaction has at most {TRANSACTION_BYTES}")
        known = self._opened.get(raw)
        if known is not None:
            self._opened.move_to_end(raw)
            # The signature was checked under the only key that this address can have; but whether the ledger knows
            # that key is a question to the state at hand, not to the one of an earlier check.
            if known.type_id == TYPE and known.new_key is None and keys(known.sender) is None:
                return _unknown_key(known.sender)
            return known
        result = self._open(raw, keys)
        if isinstance(result, Candidate):
            self._opened[raw] = result
            if len(self._opened) > self._REMEMBERED:
                self._opened.popitem(last=False)
        return result

    def _open(self, raw: bytes, keys: KeyLookup) -> Candidate | Refusal:
        kind = transaction_type(raw)
        if kind == TYPE:
            try:
                transaction = decode(raw)
            except TransactionError as error:
                return Refusal(Code.MALFORMED, str(error))
            return self._open_ours(transaction, keys)
        if kind in _NEVER:
            return Refusal(Code.REFUSED_TYPE, f"type {kind}, {_NEVER[kind]}, is never taken by this ledger")
        if kind not in NAMES or raw[:1] <= b"\0":  # nothing, or a type byte 0: a legacy transaction has none
            return Refusal(Code.REFUSED_TYPE, f"unknown transaction type {kind}; sign type 0x{TYPE:02x} with ML-DSA")
        if not self._environment.classical:
            return Refusal(
                Code.REFUSED_TYPE,
                f"type {kind} ({NAMES[kind]}) is signed with secp256k1, and this ledger's genesis has"
                f" classical = false; sign type 0x{TYPE:02x} with ML-DSA",
            )
        return self._open_classical(raw)

    def _open_ours(self, transaction: Transaction, keys: KeyLookup) -> Candidate | Refusal:
        environment = self._environment
        if transaction.chain_id != environment.chain_id:
            return _wrong_chain(transaction.chain_id, environment.chain_id)
        if transaction.carries_key:
            key: PublicKey | None = (transaction.scheme, transaction.public_key)
        else:
            key = keys(transaction.sender)
        if key is None:
            return _unknown_key(transaction.sender)
        scheme, public_key = key
        if scheme != transaction.scheme:
            return Refusal(Code.BAD_SIGNATURE, f"the sender's key is of scheme {scheme:d}, not {transaction.scheme:d}")
        context = tx_context(environment.genesis_hash)
        if not verify(scheme, public_key, transaction.signature, transaction.signing_bytes, context):
            return Refusal(
                Code.BAD_SIGNATURE, "the signature does not hold for this sender, these bytes and this ledger"
            )
        authentication = authentication_gas(
            scheme, len(transaction.public_key) + len(transaction.signature), carries_key=transaction.carries_key
        )
        slots = _slots_as_numbers(transaction.access_list)
        return Candidate(
            raw=transaction.raw,
            hash=transaction.hash,
            type_id=TYPE,
            sender=transaction.sender,
            nonce=transaction.nonce,
            gas=transaction.gas,
            to=Address(transaction.to),
            value=transaction.value,
            data=transaction.data,
            max_priority_fee_per_gas=transaction.max_priority_fee_per_gas,
            max_fee_per_gas=transaction.max_fee_per_gas,
            access_list=slots,
            intrinsic_gas=intrinsic_gas(transaction.to, transaction.data, slots) + authentication,
            floor_gas=calldata_gas(transaction.data)[1],
            new_key=key if transaction.carries_key else None,
        )

    def _open_classical(self, raw: bytes) -> Candidate | Refusal:
        try:
            transaction = decode_classical(raw)
        except TransactionError as error:
            return Refusal(Code.MALFORMED, str(error))
        if transaction.chain_id is None:
            return Refusal(Code.WRONG_CHAIN, "the signature binds no chain id (EIP-155); it could be replayed")
        if transaction.chain_id != self._environment.chain_id:
            return _wrong_chain(transaction.chain_id, self._environment.chain_id)
        try:
            sender = transaction.sender()
        except TransactionError as error:
            return Refusal(Code.BAD_SIGNATURE, str(error))
        slots = _slots_as_numbers(transaction.access_list)
        return Candidate(
            raw=raw,
            hash=transaction.hash,
            type_id=transaction.type,
            sender=sender,
            nonce=transaction.nonce,
            gas=transaction.gas,
            to=Address(transaction.to),
            value=transaction.value,
            data=transaction.data,
            max_priority_fee_per_gas=transaction.max_priority_fee_per_gas,
            max_fee_per_gas=transaction.max_fee_per_gas,
            access_list=slots,
            intrinsic_gas=intrinsic_gas(transaction.to, transaction.data, slots),
            floor_gas=calldata_gas(transaction.data)[1],
            new_key=None,
        )


def _slots_as_numbers(access_list: AccessList) -> list[tuple[Address, list[int]]]:
    return [(address, [int.from_bytes(slot, "big") for slot in slots]) for address, slots in access_list]


def _unknown_key(sender: Address) -> Refusal:
    return Refusal(
        Code.UNKNOWN_KEY, f"the ledger keeps no key for 0x{sender.hex()}; send the whole public key the first time"
    )


def _wrong_chain(found: int, expected: int) -> Refusal:
    return Refusal(Code.WRONG_CHAIN, f"signed for chain id {found}, this ledger has {expected}")


def judge(
    candidate: Candidate, *, nonce: int, balance: int, gas_left: int, base_fee: int, environment: "Environment"
) -> Refusal | None:
    """Compare with the state at the place where it is to run; None when it can run there.

    `nonce` and `balance` (wei) are the sender's, `gas_left` what the block still has.
    """
    if candidate.nonce < nonce:
        return Refusal(Code.NONCE_USED, f"nonce {candidate.nonce} is used; the next one is {nonce}")
    if candidate.nonce > nonce:
        return Refusal(Code.NONCE_GAP, f"nonce {candidate.nonce} leaves a gap; the next one is {nonce}")
    least = max(candidate.intrinsic_gas, candidate.floor_gas)
    if candidate.gas < least:
        return Refusal(Code.GAS, f"gas {candidate.gas} is less than the {least} that the transaction needs to start")
    if candidate.gas > environment.gas_limit:
        return Refusal(Code.GAS, f"gas {candidate.gas} is more than a block's {environment.gas_limit}")
    if candidate.gas > gas_left:
        return Refusal(Code.GAS, f"gas {candidate.gas} is more than the {gas_left} left in this block")
    if candidate.max_fee_per_gas < base_fee:
        return Refusal(Code.FEE, f"a fee of {candidate.max_fee_per_gas} wei per gas, the base fee is {base_fee}")
    cost = greatest_cost(candidate)
    if balance < cost:
        return Refusal(Code.FUNDS, f"value and gas may cost {cost} wei, the sender has {balance}")
    if not candidate.to:
        if candidate.sender not in environment.deployers:
            return Refusal(
                Code.NOT_DEPLOYER,
                f"0x{candidate.sender.hex()} may not create contracts; the genesis document names who may",
            )
        if len(candidate.data) > INITCODE_BYTES:
            return Refusal(Code.MALFORMED, f"initcode has {len(candidate.data)} bytes, at most {INITCODE_BYTES}")
    return None


def greatest_cost(candidate: Candidate) -> int:
    """Return what the sender may have to pay at most, in wei."""
    return candidate.value + candidate.gas * candidate.max_fee_per_gas
