"""The pool and proposals: next nonces over what is pending, order, limits, and nothing that could not run."""

import pytest

from chain.application import Code
from chain.execution import pool
from chain.transaction import decode
from contracts.addresses import LEDGER, TOKEN
from contracts.bindings import Token
from tests.chain.ledger import CLIENTS, EDGES, GAS, SPONSOR, STRANGER, Replica, client, edge, genesis

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)
MODEST = 1_000_000  # gas, so that bytes are what is scarce


@pytest.fixture
def replica() -> Replica:
    return Replica()


def test_check_counts_what_is_pending(replica: Replica) -> None:
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)]
    assert replica.app.check_tx(raws[1]).code is Code.NONCE_GAP
    first = replica.app.check_tx(raws[0])
    assert (first.code, first.sender, first.nonce, first.gas) == (Code.OK, SPONSOR.address, 0, GAS)
    assert first.hash == decode(raws[0]).hash
    assert replica.app.check_tx(raws[1]).accepted
    assert replica.app.check_tx(raws[2]).accepted
    again = replica.app.check_tx(raws[2])
    assert (again.code, again.reason) == (Code.NONCE_USED, "nonce 2 is used; the next one is 3")


def test_recheck_after_a_commit_lets_the_rest_in_and_the_executed_out(replica: Replica) -> None:
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)]
    for raw in raws:
        assert replica.app.check_tx(raw).accepted
    replica.height(raws[0])
    results = [replica.app.check_tx(raw, recheck=True).code for raw in raws]
    assert results == [Code.NONCE_USED, Code.OK, Code.OK]


def test_a_gap_stays_refused_however_often_it_is_rechecked(replica: Replica) -> None:
    late = replica.sign(SPONSOR, TOKEN, PAY, nonce=5)
    for _ in range(3):
        assert replica.app.check_tx(late, recheck=True).code is Code.NONCE_GAP
        replica.height()


def test_a_key_that_a_pending_transaction_brings_can_be_referred_to(replica: Replica) -> None:
    first = replica.sign(STRANGER, TOKEN, PAY, nonce=0, reference=False)
    second = replica.sign(STRANGER, TOKEN, PAY, nonce=1, reference=True)
    assert replica.app.check_tx(second).code is Code.UNKNOWN_KEY
    assert replica.app.check_tx(first).accepted
    assert replica.app.check_tx(second).accepted
    proposal = replica.app.prepare_proposal([second, first], 10**6)
    assert proposal == [first, second]
    assert replica.app.process_proposal(proposal)
    assert not replica.app.process_proposal([second, first])
    assert [result.code for result in replica.height(first, second).results] == [Code.REVERTED, Code.REVERTED]


def test_one_sender_cannot_fill_the_pool(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PENDING_PER_SENDER", 2)
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)]
    assert [replica.app.check_tx(raw).code for raw in raws] == [Code.OK, Code.OK, Code.POOL_FULL]


def test_coins_that_pending_transactions_may_cost_are_counted() -> None:
    replica = Replica(document=genesis(balances={"0x" + SPONSOR.address.hex(): "100"}))
    raws = [replica.sign(SPONSOR, bytes(19) + b"\1", value=60) for _ in range(2)]
    assert [replica.app.check_tx(raw).code for raw in raws] == [Code.OK, Code.FUNDS]
    assert not replica.app.process_proposal(raws)


def test_senders_take_turns_in_a_proposal_each_in_the_order_of_its_nonces(replica: Replica) -> None:
    ours = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)]
    theirs = [replica.sign(edge(1), TOKEN, PAY) for _ in range(2)]
    mixed = [ours[2], theirs[1], ours[0], theirs[0], ours[1]]
    assert replica.app.prepare_proposal(mixed, 10**6) == [ours[0], theirs[0], ours[1], theirs[1], ours[2]]


def test_turns_go_by_bytes_so_a_sender_of_long_transactions_has_fewer(replica: Replica) -> None:
    long = [replica.sign(SPONSOR, TOKEN, b"\1" * 9_000, gas=MODEST) for _ in range(3)]
    short = [replica.sign(edge(1), TOKEN, PAY, gas=MODEST) for _ in range(4)]
    assert replica.app.prepare_proposal([*long, *short], 10**6) == [long[0], *short, *long[1:]]


def test_turns_go_by_gas_where_that_is_scarcer(replica: Replica) -> None:
    most = replica.document.gas_limit
    greedy = [replica.sign(SPONSOR, TOKEN, PAY, gas=most // 4) for _ in range(3)]
    modest = [replica.sign(edge(1), TOKEN, PAY) for _ in range(4)]
    assert replica.app.prepare_proposal([*greedy, *modest], 10**6) == [greedy[0], *modest, *greedy[1:]]


def test_one_flooding_sender_among_ten_delays_nobody(replica: Replica) -> None:
    flood = [replica.sign(SPONSOR, TOKEN, b"\1" * 20_000, gas=MODEST) for _ in range(40)]
    others = [*(edge(n) for n in range(1, EDGES + 1)), *(client(n) for n in range(1, CLIENTS + 1))]
    theirs = [replica.sign(sender, TOKEN, PAY, gas=MODEST) for sender in others]
    waiting = [*flood, *theirs]  # the flood is older than all of them
    most = 150_000
    first = replica.app.prepare_proposal(waiting, most)
    assert set(theirs) <= set(first)
    assert len(set(first) & set(flood)) == (most - sum(len(raw) + 5 for raw in theirs)) // (len(flood[0]) + 5)
    assert replica.app.process_proposal(first)
    replica.height(*first)
    later = [replica.sign(sender, TOKEN, PAY, gas=MODEST) for sender in others]
    left = [raw for raw in waiting if raw not in first]
    assert set(later) <= set(replica.app.prepare_proposal([*left, *later], most))


def test_proposals_leave_out_what_cannot_run(replica: Replica) -> None:
    ours = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)]
    chosen = replica.app.prepare_proposal([b"rubbish", ours[2], ours[0], ours[0]], 10**6)
    assert chosen == [ours[0]]
    for proposal in ([b"rubbish"], [ours[1]], [ours[0], ours[0]], [ours[0], b""]):
        assert not replica.app.process_proposal(proposal)
    assert replica.app.process_proposal([])
    assert replica.app.process_proposal(ours)


def test_proposals_stay_within_the_bytes_given(replica: Replica) -> None:
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(4)]
    size = len(raws[0]) + 5
    assert replica.app.prepare_proposal(raws, 2 * size) == raws[:2]
    assert replica.app.prepare_proposal(raws, 2 * size - 1) == raws[:1]
    assert replica.app.prepare_proposal(raws, 0) == []


def test_proposals_stay_within_a_blocks_gas(replica: Replica) -> None:
    third = replica.document.gas_limit // 3
    raws = [replica.sign(SPONSOR, TOKEN, PAY, gas=third) for _ in range(4)]
    assert replica.app.prepare_proposal(raws, 10**6) == raws[:3]
    assert not replica.app.process_proposal(raws)
    assert [result.code for result in replica.height(*raws).results].count(
        Code.OK
    ) == 4  # what is left over is given back


def test_asking_changes_neither_the_pool_nor_the_ledger(replica: Replica) -> None:
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(2)]
    replica.app.prepare_proposal(raws, 10**6)
    replica.app.process_proposal(raws)
    assert replica.app.check_tx(raws[0]).accepted
    assert replica.app.info().height == 0


def test_an_accepted_proposal_executes_whole(replica: Replica) -> None:
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)] + [replica.sign(edge(2), LEDGER, b"")]
    proposal = replica.app.prepare_proposal(raws, 10**6)
    assert replica.app.process_proposal(proposal)
    assert all(result.code <= Code.REVERTED for result in replica.height(*proposal).results)
