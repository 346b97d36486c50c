"""What a height's governance tells the engine: validators by vote and by misbehavior, from state, replayed alike."""

from dataclasses import replace
from typing import Any

import pytest

from chain.application import Finalized, Misbehavior, Seat, Timestamp
from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.errors import GenesisError
from chain.execution.verdicts import Code
from chain.genesis import Genesis, Hex, ValidatorEntry
from chain.light import validator_address
from contracts.addresses import COUNCIL, LEDGER, REGISTRY
from contracts.bindings import Council, Ledger, Registry
from contracts.calls import Call
from contracts.layout import slot
from tests.chain.ledger import EDGES, GOVERNOR, STRANGER, Replica, codes, edge, genesis, key


def validator(number: int) -> bytes:
    """Return the public key of an edge server's validator."""
    return key(f"validator {number}").public_key


def named(number: int) -> bytes:
    """Return how the engine names that validator."""
    return validator_address(validator(number))


def entries(count: int = EDGES, **changes: Any) -> tuple[ValidatorEntry, ...]:
    """Return validators of genesis, each of its edge server."""
    return tuple(
        ValidatorEntry(**({"name": f"v{n}", "public_key": Hex(validator(n)), "member": n} | changes))
        for n in range(1, count + 1)
    )


def governed(**changes: Any) -> Genesis:
    """Return a document in which edge servers govern by vote."""
    return genesis(**({"governor": Hex(COUNCIL), "validators": entries()} | changes))


def decide(replica: Replica, *calls: Call, edges: int = 3) -> Finalized:
    """Propose, vote and execute in three heights; return what the last one did."""
    number = replica.reader.storage(Address(COUNCIL), slot("Council", "_proposal_count")) + 1
    replica.send(edge(1), COUNCIL, Council.encode_propose(replica.time + 1_000, "why", calls))
    votes = [Council.encode_vote(number, approves=True)] * edges
    replica.height(*(replica.sign(edge(at), COUNCIL, data) for at, data in enumerate(votes, 1)))
    finalized = replica.height(replica.sign(STRANGER, COUNCIL, Council.encode_execute(number, calls)))
    assert codes(finalized) == [Code.OK], finalized.results[0].reason
    return finalized


def report(number: int, **changes: Any) -> Misbehavior:
    """Return what the engine reports of a validator."""
    values = {"kind": 1, "validator": named(number), "power": 1, "height": 3, "time_ns": 5, "total_power": 4} | changes
    return Misbehavior(**values)


def suspended(replica: Replica, member: int) -> bool:
    """Tell whether a member is suspended in the newest state."""
    return bool(replica.reader.storage(Address(REGISTRY), slot("Registry", "_members", member, "suspended")))


@pytest.fixture
def replica() -> Replica:
    return Replica(document=governed())


# From genesis


def test_genesis_validators_lie_in_state_with_their_members(replica: Replica) -> None:
    assert replica.reader.validators() == tuple(Seat(validator(n), 1, n) for n in range(1, EDGES + 1))
    assert replica.reader.versions() == (1, 1, 1) == replica.app.info().versions


def test_a_genesis_validator_may_have_no_member() -> None:
    replica = Replica(document=governed(validators=entries(2, member=None, power=7)))
    assert replica.reader.validators() == (Seat(validator(1), 7, 0), Seat(validator(2), 7, 0))


@pytest.mark.parametrize(
    ("validators", "reason"),
    [
        (entries(1, member=EDGES + 1), "a validator's member is an edge server"),
        (entries(2, member=1), "a member runs one validator"),
        (entries(1, power=10**12 + 1), r"validators: v1: Council: power is not 1 to 10\^12"),
    ],
)
def test_genesis_validators_that_no_council_would_take_are_refused(
    validators: tuple[ValidatorEntry, ...], reason: str
) -> None:
    with pytest.raises(GenesisError, match=reason):
        Replica(document=governed(validators=validators))


# By vote


def test_edge_servers_govern_where_genesis_says_so_and_no_account_does(replica: Replica) -> None:
    (refused,) = replica.height(replica.sign(GOVERNOR, REGISTRY, Registry.encode_suspend(1))).results
    assert refused.reason == "Registry: caller is not the governor"
    decide(replica, Call(REGISTRY, Registry.encode_suspend(4)))
    assert suspended(replica, 4)


def test_a_new_key_of_a_validator_reaches_the_engine_as_two_updates(replica: Replica) -> None:
    finalized = decide(replica, Call(COUNCIL, Council.encode_rotate_validator(named(2), validator(9))))
    assert finalized.validator_updates == ((validator(2), 0), (validator(9), 1))
    assert [(seat.public_key, seat.member) for seat in replica.reader.validators()] == [
        (validator(1), 1), (validator(3), 3), (validator(4), 4), (validator(9), 2),
    ]  # fmt: skip
    assert replica.reader.validators(0)[1].public_key == validator(2)


def test_updates_are_the_difference_of_a_whole_height(replica: Replica) -> None:
    finalized = decide(
        replica,
        Call(COUNCIL, Council.encode_rotate_validator(named(1), validator(8))),
        Call(COUNCIL, Council.encode_rotate_validator(validator_address(validator(8)), validator(9))),
        Call(COUNCIL, Council.encode_set_validator_power(named(2), 5)),
        Call(COUNCIL, Council.encode_set_validator_power(named(2), 1)),
        Call(COUNCIL, Council.encode_remove_validator(named(3))),
    )
    assert finalized.validator_updates == ((validator(1), 0), (validator(9), 1), (validator(3), 0))


def test_other_heights_update_nothing(replica: Replica) -> None:
    replica.send(edge(1), COUNCIL, Council.encode_propose(replica.time + 99, "", [Call(LEDGER, Ledger.encode_tick())]))
    finalized = replica.height(replica.sign(edge(1), COUNCIL, Council.encode_vote(1, approves=True)))
    assert codes(finalized) == [Code.OK]
    assert finalized.validator_updates == ()
    assert replica.height().validator_updates == ()


def test_a_change_that_reverts_updates_nothing(replica: Replica) -> None:
    calls = [Call(COUNCIL, Council.encode_remove_validator(named(at))) for at in (1, 2, 3, 4)]
    replica.send(edge(1), COUNCIL, Council.encode_propose(replica.time + 99, "", calls))
    replica.height(*(replica.sign(edge(at), COUNCIL, Council.encode_vote(1, approves=True)) for at in (1, 2, 3)))
    finalized = replica.height(replica.sign(edge(1), COUNCIL, Council.encode_execute(1, calls)))
    assert finalized.results[0].reason == "Council: no validator would be left"
    assert finalized.validator_updates == ()


def test_the_councils_event_counts_from_the_council_only() -> None:
    from chain.execution.blocks import Log  # noqa: PLC0415 - only this test makes logs by hand
    from chain.execution.governance import validators_named  # noqa: PLC0415
    from contracts.events import event_topic  # noqa: PLC0415

    topics = (event_topic("ValidatorChanged"), named(1).rjust(32, b"\0"))
    assert validators_named([Log(Address(COUNCIL), topics, b"")]) == (named(1),)
    assert validators_named([Log(Address(LEDGER), topics, b"")]) == ()


# By misbehavior


def punished(replica: Replica, *reports: Misbehavior, transactions: tuple[bytes, ...] = ()) -> Finalized:
    """Commit a height with reports."""
    return replica.height(*transactions, misbehavior=reports)


def test_a_validator_that_signed_twice_leaves_and_its_member_is_suspended(replica: Replica) -> None:
    finalized = punished(replica, report(2))
    assert finalized.validator_updates == ((validator(2), 0),)
    assert finalized.block is not None
    assert finalized.block.transactions == ()
    assert finalized.block.header.state_root != replica.reader.header(0).state_root
    assert suspended(replica, 2)
    assert [seat.member for seat in replica.reader.validators()] == [1, 3, 4]
    assert replica.reader.storage(Address(REGISTRY), slot("Registry", "_active_edge_servers")) == EDGES - 1


def test_transactions_of_the_same_block_see_the_suspension(replica: Replica) -> None:
    data = Council.encode_propose(replica.time + 99, "", [Call(LEDGER, Ledger.encode_tick())])
    raws = tuple(replica.sign(edge(number), COUNCIL, data) for number in (2, 3))
    finalized = punished(replica, report(2), transactions=raws)
    assert codes(finalized) == [Code.REVERTED, Code.OK]
    assert finalized.results[0].reason == "Council: caller is no edge server in good standing"


def test_two_reports_of_one_validator_are_one_fault(replica: Replica) -> None:
    assert punished(replica, report(2), report(2, height=4)).validator_updates == ((validator(2), 0),)
    assert punished(replica, report(2, height=5)).validator_updates == ()
    assert len(replica.reader.validators()) == EDGES - 1


def test_more_than_a_third_of_the_power_is_left_to_the_members(replica: Replica) -> None:
    finalized = punished(replica, report(1), report(2), report(3))
    assert finalized.validator_updates == ((validator(1), 0),)
    assert [suspended(replica, member) for member in (1, 2, 3)] == [True, False, False]
    assert punished(replica, report(4)).validator_updates == ()
    decide_calls = (Call(COUNCIL, Council.encode_remove_validator(named(4))),)
    replica.send(edge(2), COUNCIL, Council.encode_propose(replica.time + 99, "", decide_calls))
    raws = [replica.sign(edge(at), COUNCIL, Council.encode_vote(1, approves=True)) for at in (2, 3, 4)]
    replica.height(*raws)
    finalized = replica.height(replica.sign(edge(2), COUNCIL, Council.encode_execute(1, decide_calls)))
    assert finalized.validator_updates == ((validator(4), 0),)


def test_an_old_key_answers_for_the_validator_that_its_member_runs_now(replica: Replica) -> None:
    decide(replica, Call(COUNCIL, Council.encode_rotate_validator(named(2), validator(9))))
    assert punished(replica, report(2)).validator_updates == ((validator(9), 0),)
    assert suspended(replica, 2)


def test_a_member_whose_validator_left_before_is_suspended(replica: Replica) -> None:
    decide(replica, Call(COUNCIL, Council.encode_remove_validator(named(2))))
    assert punished(replica, report(2)).validator_updates == ()
    assert suspended(replica, 2)


def test_a_validator_without_member_leaves_alone() -> None:
    replica = Replica(document=governed(validators=entries(member=None)))
    assert punished(replica, report(2)).validator_updates == ((validator(2), 0),)
    assert not any(suspended(replica, member) for member in range(1, EDGES + 1))


def test_an_unknown_validator_changes_nothing_but_is_kept(replica: Replica) -> None:
    before = replica.reader.header(0).state_root
    finalized = punished(replica, report(99))
    assert finalized.block is not None
    assert finalized.block.header.state_root == before
    assert finalized.block.misbehavior == (report(99),)


def test_misbehavior_is_punished_where_an_account_governs_too() -> None:
    replica = Replica(document=governed(governor=Hex(GOVERNOR.address)))
    assert punished(replica, report(3)).validator_updates == ((validator(3), 0),)
    assert suspended(replica, 3)
    replica.send(GOVERNOR, REGISTRY, Registry.encode_reinstate(3))
    (result,) = replica.height(
        replica.sign(GOVERNOR, COUNCIL, Council.encode_add_validator(3, validator(3), 1))
    ).results
    assert result.code is Code.OK


def test_replicas_punish_alike_and_a_finalized_height_may_be_finalized_again(replica: Replica) -> None:
    twin = Replica(document=governed())
    for other in (replica, twin):
        other.app.finalize_block(1, Timestamp(other.time), (), (report(4),))
    assert punished(replica, report(2)) == punished(twin, report(2))
    assert replica.app.info() == twin.app.info()
    third = Replica(document=governed())
    assert punished(third, replace(report(2), time_ns=6)).app_hash != replica.app.info().app_hash


def test_a_replica_that_joins_from_state_alone_knows_the_validators(replica: Replica) -> None:
    decide(replica, Call(COUNCIL, Council.encode_rotate_validator(named(2), validator(9))))
    punished(replica, report(4))
    number = replica.reader.latest()
    root = replica.reader.header(number).state_root
    assert keccak256(replica.reader.proof(Address(COUNCIL), ()).nodes[0]) == root
    powers = {validator(n): 1 for n in (1, 3, 9)}
    assert {seat.public_key: seat.power for seat in replica.reader.validators(number)} == powers
