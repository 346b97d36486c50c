"""Block 0: commits to the document, holds the contracts, the members and their keys."""

import pytest

from chain.application import Application
from chain.crypto.addresses import Address
from chain.errors import GenesisError, StoreChainError
from chain.execution.reader import Call
from chain.storage import Store
from contracts.addresses import LEDGER, REGISTRY, TOKEN
from contracts.bindings import Token
from contracts.layout import slot
from tests.chain.ledger import (
    BASE_REWARD,
    CLIENTS,
    EDGES,
    GOVERNOR,
    SPONSOR,
    Replica,
    client,
    contract_addresses,
    edge,
    genesis,
)


def test_block_zero_names_the_document_and_its_time() -> None:
    replica = Replica()
    header = replica.reader.header(0)
    assert header.extra_data == replica.document.digest()
    assert header.timestamp == replica.document.time
    assert (header.number, header.parent_hash, header.engine_height) == (0, bytes(32), 0)
    assert replica.genesis_hash == header.hash == replica.app.genesis_hash


def test_equal_documents_give_equal_ledgers_and_others_do_not() -> None:
    assert Replica().genesis_hash == Replica().genesis_hash
    assert Replica(document=genesis(chain_id=7)).genesis_hash != Replica().genesis_hash
    assert Replica(document=genesis(classical=True)).genesis_hash != Replica().genesis_hash


def test_contracts_stand_at_their_addresses() -> None:
    replica = Replica()
    for address in contract_addresses():
        account = replica.reader.account(Address(address))
        assert account.nonce == 1
        assert 0 < len(replica.reader.code(Address(address))) <= 24_576


def test_members_are_admitted_with_the_keys_that_state_keeps() -> None:
    replica = Replica()
    assert replica.reader.storage(Address(REGISTRY), slot("Registry", "_member_count")) == EDGES + CLIENTS + 1
    for number in range(1, EDGES + 1):
        assert replica.reader.public_key(edge(number).address) == (edge(number).scheme, edge(number).public_key)
    for number in range(1, CLIENTS + 1):
        member = replica.reader.storage(Address(REGISTRY), slot("Registry", "_member_of", client(number).address))
        assert member == EDGES + number
        assert replica.reader.public_key(client(number).address) == (client(number).scheme, client(number).public_key)
    assert replica.reader.public_key(GOVERNOR.address) is None


def test_tokens_and_coins_are_given_out() -> None:
    replica = Replica(document=genesis(balances={"0x" + "11" * 20: str(10**30)}))
    assert replica.reader.balance(Address(b"\x11" * 20)) == 10**30
    call = Call(to=Address(TOKEN), data=Token._encode("balanceOf", SPONSOR.address))  # noqa: SLF001 - the call data alone
    assert int.from_bytes(replica.reader.call(call).output, "big") == 10_000 * BASE_REWARD


def test_edge_sets_are_defined() -> None:
    replica = Replica()
    assert replica.reader.storage(Address(REGISTRY), slot("Registry", "_edge_set_count")) == 1


def test_no_empty_account_is_left_behind() -> None:
    replica = Replica()
    for address in (bytes(20), GOVERNOR.address):
        nodes = replica.reader.proof(Address(address), ()).nodes
        assert nodes
        assert not replica.reader.state().account_exists(Address(address))


def test_ledger_has_found_its_verifier() -> None:
    replica = Replica()
    code = replica.reader.code(Address(LEDGER))
    assert (0x4D10).to_bytes(20, "big") in code  # Vyper appends immutables to the code


def test_what_a_contract_refuses_is_a_one_line_error() -> None:
    document = genesis(tokens={"0x" + "00" * 20: "1"})
    with pytest.raises(
        GenesisError, match="tokens: 0x0000000000000000000000000000000000000000: Token: receiver is zero"
    ):
        Replica(document=document)


def test_init_chain_may_come_twice_with_the_same_document_only() -> None:
    store = Store.memory()
    first = Application(store).init_chain(genesis())
    again = Application(store)
    assert again.init_chain(genesis()) == first
    with pytest.raises(StoreChainError, match="use another directory"):
        again.init_chain(genesis(chain_id=7))
