"""Type 0x50: one encoding per transaction, and no signature survives a changed byte."""

from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import rlp
from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme, SigningKey
from chain.errors import TransactionError
from chain.transaction import TYPE, Fields, Transaction, decode, sign_transaction

GENESIS = keccak256(b"genesis")
KEY = SigningKey.from_seed(Scheme.ML_DSA_44, b"\1" * 32)
PLAIN = Fields(chain_id=19781, nonce=0, gas=100_000, to=bytes(20))

ADDRESSES = st.binary(min_size=20, max_size=20)
FIELDS = st.builds(
    Fields,
    chain_id=st.integers(0, 2**256 - 1),
    nonce=st.integers(0, 2**64 - 2),
    gas=st.integers(0, 2**64 - 1),
    to=ADDRESSES | st.just(b""),
    value=st.integers(0, 2**256 - 1),
    data=st.binary(max_size=300),
    max_priority_fee_per_gas=st.integers(0, 1000),
    max_fee_per_gas=st.integers(1000, 2**256 - 1),
    access_list=st.lists(
        st.tuples(ADDRESSES.map(Address), st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)),
        max_size=3,
    ).map(tuple),
)


@cache
def signed(scheme: Scheme = Scheme.ML_DSA_44, *, reference: bool = False) -> bytes:
    return sign_transaction(SigningKey.from_seed(scheme, b"\1" * 32), PLAIN, GENESIS, reference=reference)


def with_items(**changes: Any) -> bytes:
    """The plain transaction's bytes with some of its twelve items replaced by position."""
    items = rlp.decode(signed()[1:])
    assert isinstance(items, list)
    for name, value in changes.items():
        items[int(name[1:])] = value
    return bytes([TYPE]) + rlp.encode(items)


@settings(max_examples=50)
@given(values=FIELDS, scheme=st.sampled_from(list(Scheme)), reference=st.booleans())
def test_what_is_signed_decodes_to_the_same_fields_and_the_signature_holds(
    values: Fields, scheme: Scheme, *, reference: bool
) -> None:
    key = SigningKey.from_seed(scheme, b"\2" * 32)
    transaction = decode(sign_transaction(key, values, GENESIS, reference=reference))
    for field in fields(Fields):
        assert getattr(transaction, field.name) == getattr(values, field.name)
    assert (transaction.sender, transaction.scheme) == (key.address, scheme)
    assert transaction.carries_key is not reference
    assert transaction.signed_by(key.public_key, GENESIS)
    assert transaction.hash == keccak256(transaction.raw)


def test_signing_bytes_are_type_and_first_eleven_fields() -> None:
    items = rlp.decode(signed()[1:])
    assert isinstance(items, list)
    assert decode(signed()).signing_bytes == bytes([TYPE]) + rlp.encode(items[:11])


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("reference", [False, True])
def test_every_flipped_byte_is_seen(scheme: Scheme, *, reference: bool) -> None:
    raw = signed(scheme, reference=reference)
    public_key = SigningKey.from_seed(scheme, b"\1" * 32).public_key
    step = 1 if reference else 7
    for position in range(0, len(raw), step):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << position % 8
        try:
            transaction = decode(bytes(damaged))
        except TransactionError:
            continue
        held = transaction.signed_by(public_key, GENESIS) and transaction.sender == decode(raw).sender
        assert not held, position


def test_the_signature_binds_the_ledger() -> None:
    transaction = decode(signed())
    assert not transaction.signed_by(KEY.public_key, keccak256(b"another genesis"))


@given(cut=st.integers(1, 4000), extra=st.binary(min_size=1, max_size=4))
def test_truncated_and_extended_bytes_do_not_decode(cut: int, extra: bytes) -> None:
    raw = signed()
    with pytest.raises(TransactionError):
        decode(raw[: max(0, len(raw) - cut)])
    with pytest.raises(TransactionError):
        decode(raw + extra)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"i1": b"\0"}, "leading zero"),
        ({"i1": b"\xff" * 8}, "nonce is out of range"),
        ({"i4": b"\1" * 9}, "at most 8"),
        ({"i2": b"\2", "i3": b"\1"}, "priority fee is greater"),
        ({"i5": bytes(19)}, "recipient has 19 bytes"),
        ({"i5": []}, "to is a list"),
        ({"i8": b"x"}, "access list"),
        ({"i8": [[bytes(20), [bytes(31)]]]}, "access list"),
        ({"i8": [[bytes(19), []]]}, "access list"),
        ({"i9": b"\x57"}, "scheme 87 is unknown; 44, 65"),
        ({"i9": b""}, "scheme 0 is unknown"),
        ({"i10": bytes(1311)}, "public key has 1311 bytes"),
        ({"i10": bytes(1952)}, "public key has 1952 bytes"),
        ({"i11": bytes(2419)}, "signature has 2419 bytes"),
        ({"i11": []}, "signature is a list"),
    ],
)
def test_each_malformed_field_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TransactionError, match=reason):
        decode(with_items(**changes))


def test_eleven_or_thirteen_items_are_refused() -> None:
    items = rlp.decode(signed()[1:])
    assert isinstance(items, list)
    for wrong in (items[:11], [*items, b""], items[0]):
        with pytest.raises(TransactionError, match="12 fields"):
            decode(bytes([TYPE]) + rlp.encode(wrong))


@pytest.mark.parametrize("raw", [b"", b"\x50", b"\x02\xc0", b"\xc0", b"\x50\xc0"])
def test_other_bytes_are_no_transaction(raw: bytes) -> None:
    with pytest.raises(TransactionError):
        decode(raw)


@pytest.mark.parametrize(
    "wrong",
    [{"nonce": -1}, {"to": bytes(19)}, {"nonce": 2**64}, {"value": 2**256}, {"max_priority_fee_per_gas": 1}],
)
def test_a_sender_is_told_what_is_wrong_before_the_network_sees_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(TransactionError):
        sign_transaction(KEY, replace(PLAIN, **wrong), GENESIS)


def test_deterministic_transactions_are_equal_and_hedged_ones_are_not() -> None:
    assert sign_transaction(KEY, PLAIN, GENESIS) != sign_transaction(KEY, PLAIN, GENESIS)
    first = sign_transaction(KEY, PLAIN, GENESIS, deterministic=True)
    assert first == sign_transaction(KEY, PLAIN, GENESIS, deterministic=True)
    assert isinstance(decode(first), Transaction)
