"""Heights and blocks: when a block exists, what it names, and what the app hash commits to."""

from dataclasses import replace

import pytest

from chain.application import Code, Misbehavior, Timestamp
from chain.crypto.addresses import Address
from chain.errors import EngineError, StoreMissingError
from chain.execution.blocks import NO_REQUESTS, misbehavior_hash
from chain.execution.trie import ordered_root
from chain.storage import Store
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.chain.ledger import SPONSOR, START, STRANGER, Replica, codes, genesis

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)
FAULT = Misbehavior(kind=1, validator=b"\7" * 20, power=1, height=3, time_ns=5, total_power=4)


@pytest.fixture
def replica() -> Replica:
    return Replica()


def test_an_idle_ledger_stands_still(replica: Replica) -> None:
    for height in (1, 2, 3):
        finalized = replica.height()
        assert finalized.block is None
        assert finalized.app_hash == replica.genesis_hash
        assert replica.app.info().height == height
    assert replica.reader.latest() == 0


def test_a_transaction_makes_a_block_that_names_its_height(replica: Replica) -> None:
    replica.height()
    finalized = replica.height(replica.sign(SPONSOR, TOKEN, PAY))
    block = finalized.block
    assert block is not None
    assert (block.number, block.engine_height, block.header.extra_data) == (1, 2, (2).to_bytes(8, "big"))
    assert finalized.app_hash == block.hash == replica.app.info().app_hash == block.header.hash
    assert block.header.parent_hash == replica.genesis_hash


def test_a_block_commits_to_its_transactions_and_receipts(replica: Replica) -> None:
    raws = [replica.sign(SPONSOR, TOKEN, PAY) for _ in range(3)]
    block = replica.height(*raws).block
    assert block is not None
    assert block.transactions == tuple(raws)
    assert block.header.transactions_root == ordered_root(raws)
    assert block.header.receipts_root == ordered_root([receipt.encode() for receipt in block.receipts])
    assert block.header.gas_used == block.receipts[-1].cumulative_gas
    assert replica.reader.block() == block


def test_the_genesis_flag_makes_a_block_for_every_height() -> None:
    replica = Replica(document=genesis(block_every_height=True))
    for height in (1, 2):
        finalized = replica.height()
        assert finalized.block is not None
        assert finalized.block.engine_height == height
        assert finalized.app_hash == finalized.block.hash


def test_several_blocks_may_share_a_second_and_time_never_goes_back(replica: Replica) -> None:
    first = replica.height(replica.sign(SPONSOR, TOKEN, PAY), seconds=10).block
    second = replica.height(replica.sign(SPONSOR, TOKEN, PAY), seconds=0).block
    third = replica.height(replica.sign(SPONSOR, TOKEN, PAY), seconds=-5).block
    assert first is not None
    assert second is not None
    assert third is not None
    assert [block.header.timestamp for block in (first, second, third)] == [START + 10] * 3


def test_a_transaction_that_reverts_is_in_the_block_and_uses_its_nonce(replica: Replica) -> None:
    finalized = replica.height(replica.sign(STRANGER, TOKEN, PAY))
    (result,) = finalized.results
    assert (result.code, result.reason, result.logs) == (Code.REVERTED, "Token: balance is too low", ())
    assert finalized.block is not None
    assert not finalized.block.receipts[0].succeeded
    assert replica.reader.nonce(STRANGER.address) == 1
    assert replica.reader.public_key(STRANGER.address) == (STRANGER.scheme, STRANGER.public_key)


def test_what_cannot_run_is_left_out_and_reported_in_its_place(replica: Replica) -> None:
    good = replica.sign(SPONSOR, TOKEN, PAY)
    finalized = replica.height(b"", b"\x50\xc0", good, good)
    assert codes(finalized) == [Code.REFUSED_TYPE, Code.MALFORMED, Code.OK, Code.NONCE_USED]
    assert finalized.block is not None
    assert finalized.block.transactions == (good,)
    assert all(result.reason for result in finalized.results if result.code is not Code.OK)


def test_a_height_of_nothing_but_rubbish_makes_no_block(replica: Replica) -> None:
    finalized = replica.height(b"\xff" * 100)
    assert finalized.block is None
    assert finalized.app_hash == replica.genesis_hash


def test_reported_misbehavior_makes_a_block_that_commits_to_it_and_keeps_it(replica: Replica) -> None:
    finalized = replica.app.finalize_block(1, Timestamp(START), (), (FAULT,))
    replica.app.commit()
    assert finalized.block is not None
    assert finalized.block.header.requests_hash == misbehavior_hash([FAULT]) != NO_REQUESTS
    assert replica.reader.block().misbehavior == (FAULT,)
    other = Replica().app.finalize_block(1, Timestamp(START), (), (replace(FAULT, power=2),))
    assert other.app_hash != finalized.app_hash


def test_replicas_that_execute_the_same_heights_agree(replica: Replica) -> None:
    twin = Replica()
    for number in range(3):
        raws = [replica.sign(SPONSOR, TOKEN, PAY), b"junk", replica.sign(STRANGER, TOKEN, PAY, reference=number > 0)]
        assert replica.height(*raws) == twin.height(*raws)


def test_info_names_the_versions(replica: Replica) -> None:
    assert replica.app.info().versions == (1, 1, 1)


def test_an_engine_that_skips_or_repeats_a_height_is_stopped(replica: Replica) -> None:
    with pytest.raises(EngineError, match="height 2 was finalized, 1 is next"):
        replica.app.finalize_block(2, Timestamp(START), ())
    with pytest.raises(EngineError, match="commit without"):
        replica.app.commit()
    replica.height()
    with pytest.raises(EngineError, match="commit without"):
        replica.app.commit()


def test_nothing_works_before_init_chain() -> None:
    from chain.application import Application  # noqa: PLC0415 - the class itself, not a replica

    app = Application(Store.memory())
    assert (app.info().height, app.info().app_hash) == (0, b"")
    for call in (lambda: app.genesis, lambda: app.check_tx(b""), app.commit, app.reader):
        with pytest.raises(StoreMissingError, match="start a node"):
            call()


def test_tips_go_to_the_zero_address_and_no_tip_touches_it(replica: Replica) -> None:
    replica.height(replica.sign(SPONSOR, TOKEN, PAY))
    assert not replica.reader.state().account_exists(Address(bytes(20)))
    rich = Replica(document=genesis(balances={"0x" + SPONSOR.address.hex(): str(10**18)}))
    finalized = rich.height(rich.sign(SPONSOR, TOKEN, PAY, max_fee_per_gas=3, max_priority_fee_per_gas=2))
    paid = 2 * finalized.results[0].gas_used
    assert rich.reader.balance(Address(bytes(20))) == paid
    assert rich.reader.balance(SPONSOR.address) == 10**18 - paid
