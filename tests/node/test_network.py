"""A network in a directory: made, found again, locked, damaged."""

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from chain.crypto.schemes import Scheme
from chain.errors import StoreChainError
from chain.light import validator_address
from chain.rpc.middleware import MLDSAAccount, MLDSAMiddleware
from contracts.addresses import COUNCIL
from contracts.bindings import Council
from node.audit import audit_directory
from node.errors import RunDirectoryError
from node.founding import Membership
from node.network import LocalNetwork
from tests.chain.rpc.harness import Background

MEMBERS = [Membership(1), Membership(1, Scheme.ML_DSA_65), Membership(2), Membership(3)]
SOMEBODY = bytes.fromhex("ab" * 20)


@contextmanager
def running(directory: Path, **wishes: Any) -> Iterator[Background]:
    network = Background(directory, **wishes)
    try:
        yield network
    finally:
        network.stop()


def start_and_stop(directory: Path, **wishes: Any) -> LocalNetwork:
    """Run a network for no height at all."""

    async def once() -> LocalNetwork:
        network = LocalNetwork(directory, sync=False, **wishes)
        try:
            await network.start()
        finally:
            await network.stop()
        return network

    return asyncio.run(once())


def send(network: Background, count: int = 1) -> None:
    account = MLDSAAccount(network.network.key("governor"))
    w3 = network.http()
    w3.middleware_onion.inject(MLDSAMiddleware(account), layer=0)
    for _ in range(count):
        name = w3.eth.send_transaction({"from": account.address, "to": account.address})
        w3.eth.wait_for_transaction_receipt(name, timeout=20, poll_latency=0.02)


def test_four_validators_agree_and_each_serves_its_own_copy(tmp_path: Path) -> None:
    with running(tmp_path, balances={SOMEBODY: 5}) as network:
        send(network, 2)
        blocks = [network.network.web3(index).eth.get_block("latest") for index in range(4)]
        assert blocks[0].number == 2
        assert blocks == [blocks[0]] * 4
        assert network.network.web3(3).eth.get_balance(Web3.to_checksum_address(SOMEBODY)) == 5
        commit = network.network.dispatcher(2).handle("merit_commit", ["latest"])
        assert isinstance(commit, dict)
        assert int(commit["height"], 16) == network.network.engine.height


def test_a_network_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with running(tmp_path, validators=1) as network:
        assert network.network.created
        send(network)
        before = network.network.web3().eth.get_block("latest")
        genesis_hash = network.network.genesis_hash
    with running(tmp_path) as network:
        assert not network.network.created
        assert network.network.web3().eth.get_block("latest") == before
        assert network.network.genesis_hash == genesis_hash
        send(network)
        assert network.network.web3().eth.block_number == before.number + 1


def test_a_network_goes_on_with_keys_and_validators_that_came_later(tmp_path: Path) -> None:
    """One validator changes its key and another joins; both are found again after a restart."""

    def govern(network: Background, *calls: bytes) -> None:
        account = MLDSAAccount(network.network.key("governor"))
        w3 = network.http()
        w3.middleware_onion.inject(MLDSAMiddleware(account), layer=0)
        for data in calls:
            name = w3.eth.send_transaction(
                {"from": account.address, "to": Web3.to_checksum_address(COUNCIL), "data": data}
            )
            assert w3.eth.wait_for_transaction_receipt(name, timeout=60, poll_latency=0.02)["status"] == 1

    def deciding(network: Background) -> set[bytes]:
        return set(network.network.engine.validators(network.network.engine.height).addresses)

    edges = [Membership(1), Membership(1)]
    with running(tmp_path, validators=1, members=edges) as network:
        send(network)
        made = network.run(network.network.add_validator_key(0))
        assert network.run(network.network.add_validator()) == 1
        first, joined = (network.network.key(f"validator-{number}").public_key for number in (1, 2))
        rotate = Council.encode_rotate_validator(validator_address(first), made.public_key)
        govern(network, rotate, Council.encode_add_validator(2, joined, 1))
        send(network, 3)
        wanted = {validator_address(made.public_key), validator_address(joined)}
        assert deciding(network) == wanted
        assert network.network.web3(1).eth.block_number == network.network.web3(0).eth.block_number
    with running(tmp_path) as network:
        assert network.network.validators == 2
        send(network, 2)
        assert deciding(network) == wanted
        commit = network.network.engine.commit(network.network.engine.height)
        assert {slot.validator_address for slot in commit.signatures} == wanted
    report = audit_directory(tmp_path)
    assert report.ok, report.lines


def test_members_are_admitted_with_keys_of_their_own_and_edge_servers_form_a_set(tmp_path: Path) -> None:
    network = start_and_stop(tmp_path, validators=1, members=MEMBERS, tokens={4: 10**21})
    document = (tmp_path / "genesis.json").read_text()
    for member, wish in enumerate(MEMBERS, 1):
        key = network.member_key(member)
        assert key.scheme == wish.scheme
        assert key.public_key.hex() in document
        assert network.member_key_path(member).exists()
    assert '"edge_sets":[[1,2]]' in document
    assert f'"tokens":{{"0x{network.member_key(4).address.hex()}":"1000000000000000000000"}}' in document


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    network = start_and_stop(tmp_path, validators=1, classical=True, accounts=2)
    assert len(network.accounts()) == 2
    for path in [*network.keys_path.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(network.keys_path.stat().st_mode) == 0o700


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    with running(tmp_path, validators=1), pytest.raises(RunDirectoryError, match=f"is in use by process {os.getpid()}"):
        start_and_stop(tmp_path)
    start_and_stop(tmp_path)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"chain_id": 7}, "chain_id = 19781, not 7"),
        ({"validators": 2}, "validators = 1, not 2"),
        ({"classical": True}, "classical = False, not True"),
        ({"name": "other"}, "name = merit-4d45, not other"),
        ({"block_every_height": True}, "block_every_height = False, not True"),
        ({"balances": {SOMEBODY: 1}}, "balances = other ones"),
        ({"members": MEMBERS}, "members = other ones"),
        ({"tokens": {1: 1}}, "tokens = other ones"),
        ({"accounts": 3}, "accounts = 0, not 3"),
    ],
)
def test_a_directory_of_another_network_is_refused(tmp_path: Path, wish: dict[str, Any], reason: str) -> None:
    start_and_stop(tmp_path, validators=1)
    with pytest.raises(RunDirectoryError, match=reason):
        start_and_stop(tmp_path, **wish)


def test_the_same_wishes_find_their_network_again(tmp_path: Path) -> None:
    wishes: dict[str, Any] = {
        "validators": 1,
        "chain_id": 77,
        "classical": True,
        "accounts": 1,
        "members": MEMBERS,
        "tokens": {1: 5},
        "balances": {SOMEBODY: 1},
        "block_every_height": False,
    }
    start_and_stop(tmp_path, **wishes)
    assert not start_and_stop(tmp_path, **wishes).created


def test_a_crash_before_the_keys_are_in_place_is_made_good(tmp_path: Path) -> None:
    (tmp_path / ".making/keys").mkdir(parents=True)
    (tmp_path / ".making/keys/password").write_text("half")
    assert start_and_stop(tmp_path, validators=1).created
    assert not (tmp_path / ".making").exists()


def test_a_crash_between_the_keys_and_the_document_is_finished(tmp_path: Path) -> None:
    start_and_stop(tmp_path, validators=1)
    document = (tmp_path / "genesis.json").read_bytes()
    for path in sorted((tmp_path / "validators").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "validators").rmdir()
    (tmp_path / ".making").mkdir()
    (tmp_path / "genesis.json").rename(tmp_path / ".making/genesis.json")
    assert start_and_stop(tmp_path).created
    assert (tmp_path / "genesis.json").read_bytes() == document


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("genesis.json", "genesis.json is gone but validators/ is there"),
        ("keys/password", "keys/password is gone"),
        ("keys/validator-1.pem", "no such key file"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, gone: str, reason: str) -> None:
    start_and_stop(tmp_path, validators=1)
    (tmp_path / gone).unlink()
    with pytest.raises(Exception, match=reason):
        start_and_stop(tmp_path)


def test_keys_without_a_document_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    with pytest.raises(RunDirectoryError, match=r"keys/ is there but no genesis\.json"):
        start_and_stop(tmp_path, validators=1)


def test_a_store_of_another_ledger_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        start_and_stop(tmp_path / name, validators=1)
    (tmp_path / "a/validators/1/ledger").rename(tmp_path / "a/validators/1/was")
    (tmp_path / "b/validators/1/ledger").rename(tmp_path / "a/validators/1/ledger")
    with pytest.raises(StoreChainError, match="holds the ledger"):
        start_and_stop(tmp_path / "a")


def test_a_network_that_does_not_run_says_so(tmp_path: Path) -> None:
    network = LocalNetwork(tmp_path)
    with pytest.raises(RunDirectoryError, match="does not run"):
        network.web3()
    asyncio.run(network.stop())
    for count in (0, 65):
        with pytest.raises(RunDirectoryError, match=f"{count} validators: a network on one machine has 1 to 64"):
            start_and_stop(tmp_path, validators=count)
