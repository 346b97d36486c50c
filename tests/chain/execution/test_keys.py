"""Keys in state: where they lie, who may put them there, and that they never change."""

import pytest

from chain.crypto.addresses import Address, key_account
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme, SigningKey
from chain.execution.reader import Call
from contracts.addresses import KEYS, REGISTRY
from contracts.bindings import Registry, Role
from tests.chain.ledger import GOVERNOR, STRANGER, Replica, edge, key

NEW = [key("new", scheme) for scheme in Scheme]
KEYS_AT = Address(KEYS)


@pytest.fixture
def replica() -> Replica:
    return Replica()


def named(signing: SigningKey) -> bytes:
    return bytes([signing.scheme]) + signing.public_key


def test_a_key_lies_as_code_behind_a_stop_at_an_account_of_its_own(replica: Replica) -> None:
    account = key_account(edge(1).address)
    assert account == keccak256(b"merit/key" + edge(1).address)[12:]
    assert replica.reader.code(account) == b"\0" + named(edge(1))
    assert replica.reader.call(Call(to=account)).succeeded


@pytest.mark.parametrize("signing", NEW, ids=lambda signing: signing.scheme.name)
def test_the_precompile_keeps_a_key_and_answers_with_its_address(signing: SigningKey) -> None:
    replica = Replica()
    assert replica.reader.public_key(signing.address) is None
    replica.send(STRANGER, KEYS, named(signing))
    assert replica.reader.public_key(signing.address) == (signing.scheme, signing.public_key)
    answer = replica.reader.call(Call(to=KEYS_AT, data=named(signing)))
    assert answer.output == signing.address.rjust(32, b"\0")


def test_keeping_a_key_again_costs_a_look_only(replica: Replica) -> None:
    known = replica.reader.call(Call(to=KEYS_AT, data=named(edge(1)))).gas_used
    new = replica.reader.call(Call(to=KEYS_AT, data=named(NEW[1]))).gas_used
    assert known < 3_000
    assert new == known + 32_000 + 200 * 1952


@pytest.mark.parametrize("data", [b"", b"\x2c", b"\x2c" + bytes(1311), b"\x41" + bytes(1312), b"\x00" + bytes(20)])
def test_other_data_is_no_key(replica: Replica, data: bytes) -> None:
    assert not replica.reader.call(Call(to=KEYS_AT, data=data)).succeeded


def test_admission_keeps_the_members_key() -> None:
    replica = Replica()
    admit = Registry.encode_admit(Role.CLIENT, 44, NEW[0].public_key, NEW[0].address)
    replica.send(GOVERNOR, REGISTRY, admit)
    assert replica.reader.public_key(NEW[0].address) == (Scheme.ML_DSA_44, NEW[0].public_key)


def test_a_reverted_call_keeps_no_key() -> None:
    replica = Replica()
    admit = Registry.encode_admit(Role.CLIENT, 44, NEW[0].public_key, NEW[0].address)
    (result,) = replica.height(replica.sign(STRANGER, REGISTRY, admit)).results
    assert result.reason == "Registry: caller is not the governor"
    assert replica.reader.public_key(NEW[0].address) is None


def test_the_senders_own_key_stays_even_if_its_call_reverts() -> None:
    replica = Replica()
    replica.height(replica.sign(STRANGER, REGISTRY, b"\xff\xff\xff\xff"))
    assert replica.reader.public_key(STRANGER.address) == (STRANGER.scheme, STRANGER.public_key)


def test_a_transaction_without_enough_gas_for_its_key_is_refused() -> None:
    replica = Replica()
    raw = replica.sign(STRANGER, bytes(19) + b"\1", gas=400_000, reference=False)
    assert "needs to start" in replica.app.check_tx(raw).reason
    raw = replica.sign(edge(1), bytes(19) + b"\1", gas=100_000)
    assert replica.app.check_tx(raw).accepted
