"""Quotas: who may put how much into a window of block time, the same in the pool, in proposals and in blocks."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.application import Code, Timestamp
from chain.crypto.addresses import Address
from chain.crypto.schemes import SigningKey
from chain.errors import GenesisError
from chain.execution.quotas import Amounts, Kind, Meter, encode_set_quotas
from chain.execution.reader import Call as Question
from chain.genesis import Quota, Quotas, Versions, decode_genesis
from contracts.addresses import COUNCIL, LEDGER, QUOTAS, REGISTRY, TOKEN
from contracts.bindings import Council, Ledger, Registry, Token
from contracts.calls import Call
from contracts.upgrades import UpgradeKind
from tests.chain.application.test_governance import decide, governed
from tests.chain.application.test_versions import schedule, tick_to
from tests.chain.ledger import (
    CLIENTS,
    DEPLOYER,
    EDGES,
    GAS,
    GOVERNOR,
    SPONSOR,
    START,
    STRANGER,
    Replica,
    client,
    client_id,
    codes,
    edge,
    genesis,
    key,
)

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)
WINDOW_S = 10
MODEST = 1_000_000
PLENTY = Quota(transactions=1_000, bytes=10**8, gas=10**12)

SMALL = Quotas(
    window_s=WINDOW_S,
    records_per_job=128,
    edge_server=Quota(transactions=4, bytes=10**7, gas=10**10),
    council=Quota(transactions=4, bytes=300_000, gas=10**9),
    member=Quota(transactions=3, bytes=60_000, gas=10**9),
    stranger=Quota(transactions=2, bytes=20_000, gas=10**8),
    strangers=Quota(transactions=3, bytes=40_000, gas=2 * 10**8),
)


def limited(quotas: Quotas = SMALL, **changes: Any) -> Replica:
    return Replica(document=genesis(quotas=quotas, **changes))


def changed(**changes: Any) -> Quotas:
    return msgspec.structs.replace(SMALL, **changes)


def pay(replica: Replica, sender: SigningKey, times: int = 1, **changes: Any) -> list[bytes]:
    return [replica.sign(sender, TOKEN, PAY, **({"gas": MODEST} | changes)) for _ in range(times)]


def admitted(replica: Replica, raws: Sequence[bytes]) -> list[Code]:
    return [replica.app.check_tx(raw).code for raw in raws]


def meter(replica: Replica) -> Meter:
    found = replica.reader.meter(replica.app.time)
    assert found is not None
    return found


def used(replica: Replica, sender: SigningKey) -> Amounts:
    """What the sender's own quota says by committed state."""
    found = meter(replica)
    return found.used(found.sender(sender.address).accounts[0])


def ran(replica: Replica, raws: Sequence[bytes], **changes: Any) -> list[bool]:
    """Execute a decided height of transactions that nobody has checked; tell which are in the block."""
    return [result.code <= Code.REVERTED for result in replica.height(*raws, **changes).results]


# Who counts as what


@pytest.mark.parametrize(
    ("sender", "allowed"), [(edge(1), 4), (client(1), 3), (SPONSOR, 3), (DEPLOYER, 3), (STRANGER, 2), (GOVERNOR, 9)]
)
def test_a_sender_gets_what_it_is_due_and_no_more(sender: SigningKey, allowed: int) -> None:
    replica = limited()
    raws = pay(replica, sender, 1, reference=False) + pay(replica, sender, 8, reference=True)
    expected = [Code.OK] * allowed + [Code.QUOTA] + [Code.NONCE_GAP] * (8 - allowed)
    assert admitted(replica, raws) == expected[:9]
    assert ran(replica, raws) == [place < allowed for place in range(9)]


def test_the_keys_of_a_member_share_its_quota() -> None:
    replica = limited()
    second = key("client 1, second key")
    replica.send(GOVERNOR, REGISTRY, Registry.encode_add_key(client_id(1), 65, second.public_key))
    first, other = pay(replica, client(1), 2), pay(replica, second, 2)
    assert admitted(replica, [*first, *other]) == [Code.OK] * 3 + [Code.QUOTA]
    assert ran(replica, [*first, *other]) == [True] * 3 + [False]
    assert (
        used(replica, client(1)) == used(replica, second) == Amounts(3, sum(map(len, [*first, other[0]])), 3 * MODEST)
    )


def test_a_suspended_member_and_an_ended_key_have_a_strangers_quota() -> None:
    replica = limited()
    second = key("client 2, second key")
    replica.send(GOVERNOR, REGISTRY, Registry.encode_suspend(client_id(1)))
    replica.send(GOVERNOR, REGISTRY, Registry.encode_add_key(client_id(2), 65, second.public_key))
    replica.send(GOVERNOR, REGISTRY, Registry.encode_end_key(second.address))
    assert meter(replica).sender(client(1).address).kind is Kind.SUSPENDED
    assert meter(replica).sender(second.address).kind is Kind.STRANGER
    assert admitted(replica, pay(replica, client(1), 3)) == [Code.OK, Code.OK, Code.QUOTA]
    assert admitted(replica, pay(replica, second, 2)) == [Code.OK, Code.QUOTA]  # three of all strangers together


def test_many_keys_do_not_make_more_of_a_stranger() -> None:
    replica = limited()
    raws = [raw for number in range(5) for raw in pay(replica, key(f"stranger {number}"), reference=False)]
    assert admitted(replica, raws) == [Code.OK] * 3 + [Code.QUOTA] * 2
    assert "all strangers together: 3 of 3 transactions" in replica.app.check_tx(raws[3]).reason
    assert admitted(replica, pay(replica, client(1))) == [Code.OK]


def test_standings_that_a_block_changes_count_from_the_next_block_on() -> None:
    replica = limited()
    suspend = replica.sign(GOVERNOR, REGISTRY, Registry.encode_suspend(client_id(1)))
    raws = [suspend, *pay(replica, client(1), 3)]
    assert replica.app.process_proposal(raws)
    assert ran(replica, raws) == [True] * 4  # as the proposal's judges said, who run nothing
    assert ran(replica, pay(replica, client(1))) == [False]


# What is counted


@pytest.mark.parametrize(
    ("limit", "what"),
    [
        (Quota(transactions=2, bytes=10**6, gas=10**9), "2 of 2 transactions"),
        (Quota(transactions=9, bytes=12_000, gas=10**9), "of 12000 bytes"),
        (Quota(transactions=9, bytes=10**6, gas=2_500_000), "2000000 of 2500000 gas"),
    ],
)
def test_transactions_bytes_and_gas_are_bounded_each(limit: Quota, what: str) -> None:
    replica = limited(changed(member=limit))
    raws = pay(replica, SPONSOR, 5)
    allowed = [replica.app.check_tx(raw) for raw in raws]
    over = next(result for result in allowed if not result.accepted)
    assert over.code is Code.QUOTA
    assert what in over.reason
    assert "quota of member 10" in over.reason
    assert f"the next window begins at block time {START + WINDOW_S}" in over.reason
    results = replica.height(*raws).results
    assert [result.code for result in results] == [result.code for result in allowed]
    assert results[allowed.index(over)].reason == over.reason


def test_what_no_window_has_room_for_is_told_so() -> None:
    replica = limited()
    (raw,) = pay(replica, STRANGER, gas=10**8 + 1)
    result = replica.app.check_tx(raw)
    assert (result.code, result.reason.split(": ")[1]) == (
        Code.QUOTA,
        "100000001 gas are more than the 100000000 of a whole window",
    )


def test_a_block_writes_one_word_for_each_sender_and_only_of_what_is_in_it() -> None:
    replica = limited()
    raws = pay(replica, SPONSOR, 2)
    replica.height(raws[0], raws[0], b"junk", raws[1])
    assert used(replica, SPONSOR) == Amounts(2, len(raws[0]) + len(raws[1]), 2 * MODEST)
    root = replica.reader.account(Address(QUOTAS)).storage_root
    replica.height(b"junk", *pay(replica, STRANGER, nonce=7))
    assert replica.reader.account(Address(QUOTAS)).storage_root == root


def test_transactions_that_revert_are_counted() -> None:
    replica = limited()
    raws = [replica.sign(SPONSOR, TOKEN, b"", gas=MODEST) for _ in range(4)]
    assert codes(replica.height(*raws)) == [Code.REVERTED] * 3 + [Code.QUOTA]


def test_an_account_that_is_touched_keeps_its_counts() -> None:
    replica = limited()
    replica.height(*pay(replica, SPONSOR))
    before = used(replica, SPONSOR)
    replica.height(replica.sign(client(1), QUOTAS, b"", gas=MODEST))  # EIP-161 removes empty accounts that are touched
    assert used(replica, SPONSOR) == before


# Windows


def test_a_window_begins_with_the_block_time_that_the_window_divides() -> None:
    replica = limited()
    assert START % WINDOW_S == 0
    assert ran(replica, pay(replica, SPONSOR, 3), seconds=1) == [True] * 3
    late = pay(replica, SPONSOR)
    assert ran(replica, late, seconds=8) == [False]  # START + 9, the window's last second
    assert ran(replica, late, seconds=1) == [True]
    assert used(replica, SPONSOR).transactions == 1


def test_the_pool_opens_with_the_time_of_a_height_that_has_no_block() -> None:
    replica = limited()
    replica.height(*pay(replica, SPONSOR, 3))
    (raw,) = pay(replica, SPONSOR)
    assert admitted(replica, [raw]) == [Code.QUOTA]
    assert replica.height(seconds=WINDOW_S).block is None
    assert admitted(replica, [raw]) == [Code.OK]


def test_a_proposal_is_judged_by_its_own_time() -> None:
    replica = limited()
    replica.height(*pay(replica, SPONSOR, 3))
    (raw,) = pay(replica, SPONSOR)
    soon, later = Timestamp(START + WINDOW_S - 1, 999_999_999), Timestamp(START + WINDOW_S)
    assert replica.app.prepare_proposal([raw], 10**6, soon) == []
    assert replica.app.prepare_proposal([raw], 10**6, later) == [raw]
    assert not replica.app.process_proposal([raw], soon)
    assert replica.app.process_proposal([raw], later)


def test_what_waits_in_the_pool_is_counted_and_stays_admitted_after_a_commit() -> None:
    replica = limited()
    raws = pay(replica, SPONSOR, 4)
    assert admitted(replica, raws) == [Code.OK] * 3 + [Code.QUOTA]
    replica.height(raws[0])
    assert [replica.app.check_tx(raw, recheck=True).code for raw in raws[1:]] == [Code.OK, Code.OK, Code.QUOTA]


# Jobs


def test_a_job_takes_so_many_records_in_a_window_and_the_batch_waits() -> None:
    replica = limited(changed(edge_server=PLENTY, member=PLENTY))
    replica.open_job(budget=1_000 * 10**18)
    replica.height(seconds=WINDOW_S)
    batches = [
        replica.batch(*(replica.record(1, counter=64 * number + n + 1) for n in range(64)), sender=edge(1))
        for number in range(3)
    ]
    assert admitted(replica, batches) == [Code.OK, Code.OK, Code.QUOTA]
    results = replica.height(*batches).results
    assert [result.code for result in results] == [Code.OK, Code.OK, Code.QUOTA]
    assert results[2].reason.startswith("quota of job 1: 128 of 128 records of this window of 10 s are used, this asks")
    assert meter(replica).records(1) == 128
    own = Ledger.encode_record(replica.record(2).record)
    assert codes(replica.height(replica.sign(client(2), LEDGER, own))) == [Code.QUOTA]
    assert codes(replica.height(batches[2], seconds=WINDOW_S)) == [Code.OK]
    assert meter(replica).records(1) == 64


@pytest.mark.parametrize("sender", [client(1), STRANGER, SPONSOR])
def test_who_cannot_record_does_not_use_up_a_jobs_records(sender: SigningKey) -> None:
    replica = limited(changed(edge_server=PLENTY, member=PLENTY, stranger=PLENTY, strangers=PLENTY))
    replica.open_job()
    batch = replica.batch(*(replica.record(1, counter=n) for n in range(64)), sender=sender)
    own = replica.sign(edge(1), LEDGER, Ledger.encode_record(replica.record(2).record))
    broken = replica.sign(edge(1), LEDGER, Ledger.encode_record_batch(1, b"")[:40])
    assert codes(replica.height(batch, own, broken)) == [Code.REVERTED] * 3
    assert meter(replica).records(1) == 0


# Governing


def test_an_edge_server_can_vote_when_its_quota_is_used_up() -> None:
    replica = Replica(document=governed(quotas=SMALL))
    assert ran(replica, pay(replica, edge(1), 4)) == [True] * 4
    expiry = replica.time + 1_000
    proposal = Council.encode_propose(expiry, "text", [Call(TOKEN, Token.encode_mint(SPONSOR.address, 1))])
    assert codes(replica.height(*pay(replica, edge(1)))) == [Code.QUOTA]
    replica.nonces.clear()
    votes = [replica.sign(edge(1), COUNCIL, proposal, gas=MODEST * 10) for _ in range(5)]
    assert admitted(replica, votes) == [Code.OK] * 4 + [Code.QUOTA]
    assert codes(replica.height(*votes)) == [Code.OK] * 4 + [Code.QUOTA]
    assert used(replica, edge(1)).transactions == 4


def test_the_governor_changes_quotas_from_the_next_block_on() -> None:
    replica = limited(versions=Versions(execution=3))
    more = changed(member=PLENTY, window_s=20)
    raws = [replica.sign(GOVERNOR, QUOTAS, encode_set_quotas(more)), *pay(replica, SPONSOR, 4)]
    assert codes(replica.height(*raws))[0] is Code.OK
    assert used(replica, SPONSOR) == Amounts()  # another length of windows, another window
    replica.nonces.clear()
    assert ran(replica, pay(replica, SPONSOR, 6)) == [True] * 6
    assert replica.twin().app.info() == replica.app.info()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode_set_quotas(SMALL)[:-1],
        encode_set_quotas(changed(window_s=0)),
        encode_set_quotas(changed(records_per_job=127)),
        encode_set_quotas(changed(council=Quota(transactions=3, bytes=10**6, gas=10**9))),
        encode_set_quotas(changed(member=Quota(transactions=2**32, bytes=1, gas=1))),
    ],
)
def test_limits_that_genesis_would_refuse_are_refused(data: bytes) -> None:
    replica = limited(versions=Versions(execution=3))
    assert codes(replica.height(replica.sign(GOVERNOR, QUOTAS, data))) == [Code.REVERTED]
    assert codes(replica.height(replica.sign(GOVERNOR, QUOTAS, encode_set_quotas(SMALL)))) == [Code.OK]


def test_nobody_else_changes_quotas_and_no_delegate_does() -> None:
    replica = limited(versions=Versions(execution=3))
    raw = replica.sign(edge(1), QUOTAS, encode_set_quotas(changed(member=PLENTY)), gas=MODEST)
    assert codes(replica.height(raw)) == [Code.REVERTED]
    asked = replica.reader.call(Question(to=Address(QUOTAS), sender=SPONSOR.address, data=encode_set_quotas(SMALL)))
    assert not asked.succeeded
    found = meter(replica)
    assert found.sender(SPONSOR.address).accounts[0].limit == Amounts(3, 60_000, 10**9)


def test_a_ledger_without_quotas_gets_them_by_vote() -> None:
    replica = Replica(document=governed())
    assert replica.reader.meter(replica.app.time) is None
    assert replica.reader.code(Address(QUOTAS)) == b""
    number = replica.reader.latest() + 3 + 10
    decide(replica, schedule(UpgradeKind.EXECUTION, 3, number))
    tick_to(replica, number)
    assert ran(replica, pay(replica, client(1), 4)) == [True] * 4
    decide(replica, Call(QUOTAS, encode_set_quotas(SMALL)))
    replica.height(seconds=WINDOW_S)
    assert admitted(replica, pay(replica, client(1), 4)) == [Code.OK] * 3 + [Code.QUOTA]
    assert replica.twin().app.info() == replica.app.info()


# Genesis


def test_a_document_without_quotas_keeps_its_digest_and_has_none() -> None:
    document = genesis()
    assert b"quotas" not in document.encode()
    assert decode_genesis(document.encode()) == document
    replica = Replica(document=document)
    assert ran(replica, pay(replica, STRANGER, 20)) == [True] * 20
    assert replica.reader.code(Address(QUOTAS)) == b""


def test_a_document_with_quotas_is_read_back_and_a_wrong_one_is_refused() -> None:
    document = genesis(quotas=Quotas())
    assert decode_genesis(document.encode()) == document
    with pytest.raises(GenesisError, match="quotas: council: less than"):
        genesis(quotas=changed(council=Quota(transactions=1, bytes=1, gas=1))).check()
    with pytest.raises(GenesisError, match="window_s"):
        decode_genesis(document.encode().replace(b'"window_s":10', b'"window_s":0'))


def test_four_edge_servers_at_two_thousand_records_a_second_stay_below_the_defaults() -> None:
    quotas = Quotas()
    for entry, batch in ((2_517, 64), (3_406, 64), (3_406, 128)):
        batches = 2_000 * quotas.window_s // batch + 1
        asked = Amounts(batches, batches * (batch * entry + 4_000), batches * (4_000_000 + batch * 400_000))
        limit = quotas.edge_server
        assert asked.transactions * 2 < limit.transactions
        assert asked.bytes < limit.bytes
        assert asked.gas < limit.gas
    assert 4 * 2_000 * quotas.window_s <= quotas.records_per_job


def test_strangers_fill_a_small_part_of_a_default_block() -> None:
    document = genesis(quotas=Quotas())
    quotas = Quotas()
    assert quotas.stranger.bytes * 32 <= 4 * 1024 * 1024
    assert quotas.strangers.bytes * 8 <= 4 * 1024 * 1024
    assert quotas.stranger.gas * 10 <= document.gas_limit
    assert quotas.strangers.gas * 3 <= document.gas_limit


# Laws

SENDERS = [edge(1), edge(2), client(1), client(2), SPONSOR, STRANGER, key("another stranger"), GOVERNOR]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(SENDERS),
        st.sampled_from([TOKEN, TOKEN, COUNCIL]),
        st.sampled_from([0, 0, 5_000, 15_000]),
        st.sampled_from([MODEST, 20 * MODEST, GAS]),
    ),
    max_size=14,
)
HEIGHTS = st.lists(st.tuples(ACTIONS, st.sampled_from([0, 1, 4, 9, 10, 11])), min_size=1, max_size=5)


@settings(max_examples=40)
@given(heights=HEIGHTS, most=st.sampled_from([50_000, 10**6]), proposed=st.booleans())
def test_pool_proposals_and_blocks_judge_alike_and_replay(heights: Any, most: int, *, proposed: bool) -> None:
    replica = limited()
    for actions, seconds in heights:
        raws = [replica.sign(sender, to, b"\1" * size, gas=gas, reference=False) for sender, to, size, gas in actions]
        time = Timestamp(replica.time + seconds)
        if proposed:
            chosen = replica.app.prepare_proposal(
                [raw for raw in raws if replica.app.check_tx(raw).accepted], most, time
            )
            assert replica.app.process_proposal(chosen, time)
            assert all(ran(replica, chosen, seconds=seconds))
        else:
            fits = replica.app.process_proposal(raws, time)
            results = replica.height(*raws, seconds=seconds).results
            over = any(result.code is Code.QUOTA for result in results)
            assert fits != any(result.code > Code.REVERTED for result in results)
            assert not (fits and over)
        for sender in SENDERS:
            found = meter(replica)
            for account in found.sender(sender.address).accounts:
                assert all(use <= limit for use, limit in zip(found.used(account), account.limit, strict=True))
    twin = replica.twin()
    assert twin.app.info() == replica.app.info()
    assert twin.results == replica.results


def test_everybody_here_is_somebody() -> None:
    """The senders of this file are what their tests take them for."""
    replica = limited()
    kinds = {sender.address: meter(replica).sender(sender.address).kind for sender in SENDERS}
    assert [kinds[sender.address] for sender in SENDERS] == [
        *[Kind.EDGE_SERVER] * 2,
        *[Kind.MEMBER] * 3,
        *[Kind.STRANGER] * 2,
        Kind.GOVERNOR,
    ]
    assert meter(replica).sender(SPONSOR.address).member == EDGES + CLIENTS + 1
