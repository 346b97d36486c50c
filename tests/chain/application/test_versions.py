"""Versions that the Council agrees on: switching at a block, old blocks, and programs that lack one."""

from contextlib import closing
from pathlib import Path

import pytest
from boa.environment import Env
from boa.util.abi import Address as ContractAddress

from chain.application import Application, Info
from chain.crypto.addresses import Address
from chain.crypto.contexts import contract_context, record_context, tx_context
from chain.crypto.schemes import Scheme
from chain.errors import ContractUpgradeError, VersionError
from chain.execution import evm, upgrades
from chain.execution.reader import Call as Question
from chain.execution.verdicts import Code
from chain.execution.versions import CONTRACT_VERSIONS, EXECUTION_VERSIONS
from chain.genesis import Versions
from chain.storage import Store
from contracts.abi import functions
from contracts.addresses import COUNCIL, LEDGER, REGISTRY, SIGNATURES, TOKEN, VESTING
from contracts.artifacts import VERSIONS, initcode, load
from contracts.bindings import Council, Ledger, Registry, Token
from contracts.calls import Call
from contracts.digests import name32
from contracts.layout import slot
from contracts.upgrades import UpgradeKind
from tests.chain.application.test_governance import decide, governed, named, report, validator
from tests.chain.ledger import BASE_REWARD, CLIENTS, EDGES, SPONSOR, STRANGER, Replica, client, edge
from tests.chain.stock import stock_execution, stored
from tests.contracts.world import World

MESSAGE = b"I agree"


def schedule(kind: UpgradeKind, version: int, height: int) -> Call:
    return Call(COUNCIL, Council.encode_schedule_upgrade(kind, version, height))


def tick_to(replica: Replica, number: int) -> None:
    """Make blocks up to this number."""
    while replica.reader.latest() < number:
        replica.send(STRANGER, LEDGER, Ledger.encode_tick())


def signed(replica: Replica, context: bytes | None = None, scheme: Scheme = Scheme.ML_DSA_65) -> bytes:
    """Return what the precompile takes for a signature of the first client, or the last one (ML-DSA-65)."""
    key = client(CLIENTS if scheme is Scheme.ML_DSA_65 else 1)
    signature = key.sign(MESSAGE, contract_context(replica.genesis_hash) if context is None else context)
    return bytes((scheme,)) + key.public_key + signature + MESSAGE


def ask(replica: Replica, to: bytes, data: bytes, number: int | None = None) -> bytes | str:
    """Return what a call gives after a block, or why it fails."""
    result = replica.reader.call(Question(to=Address(to), data=data), number)
    return result.output if result.succeeded else result.reason


@pytest.fixture
def replica() -> Replica:
    return Replica(document=governed())


YES, NO = (1).to_bytes(32, "big"), bytes(32)


# Execution


def test_every_version_that_genesis_takes_can_be_run() -> None:
    assert tuple(evm.COMPUTATIONS) == EXECUTION_VERSIONS
    assert tuple(VERSIONS) == CONTRACT_VERSIONS
    assert set(upgrades.PREDEPLOYS) == {name for names in VERSIONS.values() for name in names}


def test_an_execution_version_holds_from_its_block_on_and_old_blocks_keep_theirs(replica: Replica) -> None:
    number = replica.reader.latest() + 3 + 10
    decide(replica, schedule(UpgradeKind.EXECUTION, 2, number))
    tick_to(replica, number - 1)
    assert ask(replica, SIGNATURES, signed(replica)) == b""
    before = replica.send(STRANGER, SIGNATURES, signed(replica))  # this is block `number`
    assert replica.reader.latest() == number
    assert ask(replica, SIGNATURES, signed(replica)) == YES
    assert ask(replica, SIGNATURES, signed(replica), number - 1) == b""
    assert [replica.reader.versions(at).execution for at in (0, number - 1, number)] == [1, 1, 2]
    assert replica.app.info().versions == (2, 1, 1)
    twin = replica.twin()
    assert twin.app.info() == replica.app.info()
    assert before.code is Code.OK


def test_a_transaction_of_the_first_block_runs_under_the_new_version(replica: Replica) -> None:
    number = replica.reader.latest() + 3 + 9
    decide(replica, schedule(UpgradeKind.EXECUTION, 2, number))
    tick_to(replica, number - 2)
    data = b"\x07"  # no scheme: fails under version 2; under version 1 nobody is there to refuse it
    assert replica.height(replica.sign(STRANGER, SIGNATURES, data)).results[0].code is Code.OK
    assert replica.height(replica.sign(STRANGER, SIGNATURES, data)).results[0].code is Code.REVERTED


def test_the_precompile_tells_signatures_that_hold_from_those_that_do_not() -> None:
    replica = Replica(document=governed(versions=Versions(execution=2)))
    good = signed(replica)
    assert ask(replica, SIGNATURES, good) == ask(replica, SIGNATURES, signed(replica, scheme=Scheme.ML_DSA_44)) == YES
    assert ask(replica, SIGNATURES, good + b"!") == NO
    assert ask(replica, SIGNATURES, good[:2_000] + bytes((good[2_000] ^ 1,)) + good[2_001:]) == NO
    for context in (
        tx_context(replica.genesis_hash),
        record_context(replica.genesis_hash),
        contract_context(bytes(32)),
    ):
        assert ask(replica, SIGNATURES, signed(replica, context)) == NO
    for data in (b"", b"\x07" + good[1:], good[: -len(MESSAGE) - 1]):
        result = replica.reader.call(Question(to=Address(SIGNATURES), data=data))
        assert not result.succeeded


def test_the_precompile_charges_the_signature_and_its_input() -> None:
    replica = Replica(document=governed(versions=Versions(execution=2)))
    costs = [
        replica.reader.call(Question(to=Address(SIGNATURES), data=signed(replica) + bytes(n))).gas_used for n in (0, 64)
    ]
    assert costs[1] - costs[0] == 2 * 12
    assert costs[0] == 4_500 + 12 * -(-len(signed(replica)) // 32)
    assert not replica.reader.call(Question(to=Address(SIGNATURES), data=signed(replica), gas=4_500)).succeeded


# Contracts


def balances(*owners: bytes) -> bytes:
    return functions("Token")["balancesOf"].encode(owners)


def test_a_contracts_version_takes_the_place_of_the_code_and_keeps_storage_and_immutables(replica: Replica) -> None:
    number = replica.reader.latest() + 3 + 8
    decide(replica, schedule(UpgradeKind.CONTRACTS, 2, number))
    tick_to(replica, number - 1)
    asked = balances(SPONSOR.address, STRANGER.address)
    assert isinstance(ask(replica, TOKEN, asked), str)
    storage_root = replica.reader.account(Address(TOKEN)).storage_root
    tick_to(replica, number)
    assert replica.reader.account(Address(TOKEN)).storage_root == storage_root
    replica.send(SPONSOR, TOKEN, Token.encode_transfer(STRANGER.address, 5))
    answer = ask(replica, TOKEN, asked)
    assert isinstance(answer, bytes)
    assert functions("Token")["balancesOf"].decode(answer) == ((10_000 * BASE_REWARD - 5, 5),)
    assert isinstance(ask(replica, TOKEN, asked, number - 1), str)
    code = replica.reader.code(Address(TOKEN))
    assert code == load("Token", 2).deployed_bytecode + REGISTRY.rjust(32, b"\0")
    decide(replica, Call(TOKEN, Token.encode_mint(STRANGER.address, 1)))  # it still knows its Registry
    assert replica.reader.versions() == (1, 2, 1)
    assert replica.twin().app.info() == replica.app.info()


def test_a_height_without_transactions_installs_nothing_and_the_next_block_does(replica: Replica) -> None:
    number = replica.reader.latest() + 3 + 8
    decide(replica, schedule(UpgradeKind.CONTRACTS, 2, number))
    tick_to(replica, number - 1)
    assert replica.height().block is None
    assert replica.height(b"junk").block is None
    assert replica.reader.code(Address(TOKEN)) != load("Token", 2).deployed_bytecode + REGISTRY.rjust(32, b"\0")
    tick_to(replica, number)
    assert replica.reader.code(Address(TOKEN)) == load("Token", 2).deployed_bytecode + REGISTRY.rjust(32, b"\0")


def test_a_ledger_can_start_with_later_versions() -> None:
    replica = Replica(document=governed(versions=Versions(execution=2, contracts=2, rules=3)))
    assert replica.reader.versions(0) == replica.app.info().versions == (2, 2, 3)
    assert ask(replica, SIGNATURES, signed(replica)) == YES
    assert isinstance(ask(replica, TOKEN, balances(STRANGER.address)), bytes)


def test_a_contract_that_a_version_founds_stands_there_as_its_constructor_would_have_left_it(replica: Replica) -> None:
    number = replica.reader.latest() + 3 + 8
    decide(replica, schedule(UpgradeKind.CONTRACTS, 4, number))
    tick_to(replica, number - 1)
    assert replica.reader.code(Address(VESTING)) == b""
    tick_to(replica, number)
    founded = replica.reader.code(Address(VESTING))
    created = evm_of(initcode("Vesting", REGISTRY, TOKEN, LEDGER, version=4))
    assert founded == created
    answer = ask(replica, VESTING, functions("Vesting")["ledger"].encode())
    assert isinstance(answer, bytes)
    assert answer[-20:] == LEDGER
    assert replica.twin().app.info() == replica.app.info()


def evm_of(code: bytes) -> bytes:
    """Return the code that initcode leaves in an EVM of its own."""
    world = World(Env())
    at = ContractAddress("0x" + world.deploy_code(code).hex())
    return bytes(world.env.get_code(at))


def test_a_contract_is_founded_on_empty_ground_only(replica: Replica) -> None:
    state = replica.reader.state(pending=True)
    state.set_code(Address(VESTING), b"\0")
    with pytest.raises(ContractUpgradeError, match="contracts version 4 does not find the Vesting that it replaces"):
        upgrades.install_contracts(state, 1, 4)


def test_code_that_is_not_what_a_version_replaces_stops_the_ledger(replica: Replica) -> None:
    state = replica.reader.state(pending=True)
    state.set_code(Address(TOKEN), b"\0")
    with pytest.raises(ContractUpgradeError, match="contracts version 2 does not find the Token that it replaces"):
        upgrades.install_contracts(state, 1, 2)


# A version that is not here


@pytest.mark.parametrize("kind", [UpgradeKind.EXECUTION, UpgradeKind.CONTRACTS])
def test_a_program_that_lacks_the_version_stops_before_the_block_in_one_line(
    replica: Replica, kind: UpgradeKind
) -> None:
    number = replica.reader.latest() + 3 + 8
    decide(replica, schedule(kind, 7, number))
    tick_to(replica, number - 1)
    before = replica.app.info()
    here = ", ".join(map(str, EXECUTION_VERSIONS if kind is UpgradeKind.EXECUTION else CONTRACT_VERSIONS))
    for transactions in ((), (replica.sign(STRANGER, LEDGER, Ledger.encode_tick()),)):
        with pytest.raises(VersionError) as caught:
            replica.finalize(*transactions)
        assert str(caught.value) == (
            f"from block {number} on the ledger uses {kind.name.lower()} version 7, this program has {here};"
            " install a newer merit-ledger"
        )
    assert replica.app.info() == before
    assert replica.reader.latest() == number - 1
    assert replica.reader.block(number - 1).number == number - 1


def test_a_newer_program_goes_on_where_an_older_one_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica(store=Store.open(tmp_path / "ledger"), document=governed())
    number = replica.reader.latest() + 3 + 8
    decide(replica, schedule(UpgradeKind.EXECUTION, 2, number))
    tick_to(replica, number - 1)
    raw = replica.sign(STRANGER, LEDGER, Ledger.encode_tick())
    with monkeypatch.context() as older:
        older.setattr(evm, "COMPUTATIONS", {1: evm.MeritComputation})
        with pytest.raises(VersionError, match="this program has 1;"):
            replica.finalize(raw)
    stopped = replica.app.info()
    replica.store.close()
    with closing(Store.open(tmp_path / "ledger")) as store:
        replica.store, replica.app = store, Application(store)
        replica.reader = replica.app.reader()
        assert replica.app.info() == stopped
        assert replica.height(raw).results[0].code is Code.OK
        assert replica.app.info().versions == (2, 1, 1)


def test_a_cancelled_version_never_holds(replica: Replica) -> None:
    number = replica.reader.latest() + 3 + 8
    decide(replica, schedule(UpgradeKind.EXECUTION, 7, number))
    decide(replica, Call(COUNCIL, Council.encode_cancel_upgrade(UpgradeKind.EXECUTION)))
    tick_to(replica, number + 1)
    assert replica.reader.versions() == (1, 1, 1)


def test_a_rules_version_is_announced_and_stops_nobody(replica: Replica) -> None:
    number = replica.reader.latest() + 3 + 8
    decide(replica, schedule(UpgradeKind.RULES, 9, number))
    tick_to(replica, number)
    assert replica.app.info().versions == (1, 1, 9)


# Everything together


def test_a_history_of_rotation_rules_upgrades_and_misbehavior_replays_from_genesis() -> None:
    """The same heights on a replica that starts from the document: every block, app hash, result and update."""
    replica = Replica(document=governed())
    replica.open_job()
    start = replica.reader.latest()
    rules = Ledger.encode_use_rules(1, 1, name32("uniform"), name32("literal"), name32("polynomial"))
    decide(
        replica,
        Call(COUNCIL, Council.encode_rotate_validator(named(2), validator(9))),
        Call(LEDGER, rules),
        schedule(UpgradeKind.EXECUTION, 2, start + 14),
        schedule(UpgradeKind.CONTRACTS, 2, start + 16),
        Call(REGISTRY, Registry.encode_add_key(1, 65, STRANGER.public_key)),
    )
    replica.height(replica.batch(replica.record(1), replica.record(2)))
    replica.void_round(1, 1)
    assert replica.ledger_word(slot("Ledger", "_terms", 1, "scoring")) == int.from_bytes(name32("uniform"))
    tick_to(replica, start + 15)
    replica.height(replica.sign(STRANGER, SIGNATURES, signed(replica)), misbehavior=(report(3),))
    replica.height(replica.batch(replica.record(3, base=1), sender=edge(2)))
    tick_to(replica, start + 20)
    assert replica.reader.versions() == (2, 2, 1)
    twin = replica.twin()
    assert twin.results == replica.results
    assert [twin.reader.block(n) for n in range(start + 21)] == [replica.reader.block(n) for n in range(start + 21)]
    assert twin.app.info() == replica.app.info() == Info(*replica_info(replica))
    assert [update for finalized in twin.results for update in finalized.validator_updates] == [
        (validator(2), 0), (validator(9), 1), (validator(3), 0),
    ]  # fmt: skip
    assert {seat.member for seat in twin.reader.validators()} == set(range(1, EDGES + 1)) - {3}
    with stock_execution():
        stock = replica.twin()
    assert stored(stock) == stored(replica)  # to py-evm all of it is the same, too


def replica_info(replica: Replica) -> tuple[int, bytes, tuple[int, int, int]]:
    """Return what `info` must say of a replica by its newest block."""
    return len(replica.history), replica.reader.block().hash, (2, 2, 1)
