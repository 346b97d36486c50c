"""What each request of CometBFT does to the ledger and to the node's pool."""

from typing import Any

import pytest

from chain.application import Code
from chain.crypto.hashing import keccak256
from chain.engines.cometbft.bridge import UNWANTED, Bridge
from chain.engines.cometbft.home import genesis_file
from chain.engines.cometbft.wakeup import CALL_BYTES, PATIENCE, Calls, call_for, is_call
from chain.engines.errors import AbciError, PoolFullError
from chain.engines.pool import Pool
from chain.genesis import Genesis, Hex, ValidatorEntry
from chain.proto import abci_pb2 as pb
from chain.proto import comet_pb2
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.chain.ledger import SPONSOR, START, Replica, genesis, key

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)
VALIDATORS = [key(f"validator {number}") for number in range(4)]
PROPOSER = b"p" * 20


def document() -> Genesis:
    entries = (ValidatorEntry(name=f"v{n}", public_key=Hex(k.public_key)) for n, k in enumerate(VALIDATORS))
    return genesis(validators=tuple(entries))


class Node:
    """A bridge over a replica, and what a test sends it."""

    def __init__(self, *, pool: Pool | None = None) -> None:
        self.replica = Replica(document=document())
        self.decided: list[tuple[int, bytes]] = []
        self.pool = Pool() if pool is None else pool
        self.bridge = Bridge(
            self.replica.app, self.replica.document, self.pool, lambda *what: self.decided.append(what)
        )

    def ask(self, **what: Any) -> pb.Response:
        return self.bridge.answer(pb.Request(**what))

    def check(self, raw: bytes, *, again: bool = False) -> pb.ResponseCheckTx:
        kind = pb.CHECK_TX_TYPE_RECHECK if again else pb.CHECK_TX_TYPE_NEW
        return self.ask(check_tx=pb.RequestCheckTx(tx=raw, type=kind)).check_tx

    def propose(self, most: int = 1 << 20) -> list[bytes]:
        return list(self.ask(prepare_proposal=pb.RequestPrepareProposal(max_tx_bytes=most)).prepare_proposal.txs)

    def accepts(self, *txs: bytes) -> bool:
        answer = self.ask(process_proposal=pb.RequestProcessProposal(txs=txs)).process_proposal
        return answer.status == pb.ResponseProcessProposal.ACCEPT

    def finalize(self, *txs: bytes) -> pb.ResponseFinalizeBlock:
        request = pb.RequestFinalizeBlock(txs=txs, height=self.replica.app.info().height + 1, proposer_address=PROPOSER)
        request.time.seconds = START + 5
        return self.ask(finalize_block=request).finalize_block

    def height(self, *txs: bytes) -> pb.ResponseFinalizeBlock:
        done = self.finalize(*txs)
        self.ask(commit=pb.RequestCommit())
        return done

    def pay(self, **changes: Any) -> bytes:
        return self.replica.sign(SPONSOR, TOKEN, PAY, **changes)


def init(**changes: Any) -> pb.RequestInitChain:
    values: dict[str, Any] = {
        "chain_id": document().name,
        "app_state_bytes": document().encode(),
        "initial_height": 1,
        "validators": [
            pb.ValidatorUpdate(pub_key=comet_pb2.PublicKey(mldsa65=key.public_key), power=1) for key in VALIDATORS
        ],
    } | changes
    request = pb.RequestInitChain(**values)
    request.time.seconds = START
    return request


def test_init_chain_answers_with_the_genesis_hash_however_often_it_comes() -> None:
    node = Node()
    for _ in range(2):
        assert node.ask(init_chain=init()).init_chain.app_hash == node.replica.genesis_hash


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"chain_id": "another"}, "chain id"),
        ({"initial_height": 7}, "initial height"),
        ({"validators": []}, "validators"),
        ({"app_state_bytes": genesis(time=START + 1).encode()}, "document"),
    ],
)
def test_a_genesis_file_that_says_something_else_stops_the_node(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(AbciError, match=f"another {what} than the ledger's genesis document"):
        Node().ask(init_chain=init(**changes))


def test_the_genesis_file_that_is_written_is_the_one_that_is_accepted() -> None:
    import msgspec  # noqa: PLC0415 - only here

    file = msgspec.json.decode(genesis_file(document()))
    assert file["app_state"] == msgspec.json.decode(document().encode())
    assert [entry["name"] for entry in file["validators"]] != []
    assert Node().ask(init_chain=init(app_state_bytes=msgspec.json.encode(file["app_state"])))


def test_info_tells_the_last_durable_height_only() -> None:
    node = Node()
    node.finalize(node.pay())
    assert node.ask(info=pb.RequestInfo()).info.last_block_height == 0
    done = node.finalize(node.pay(nonce=0))
    node.ask(commit=pb.RequestCommit())
    info = node.ask(info=pb.RequestInfo()).info
    assert (info.last_block_height, info.last_block_app_hash) == (1, done.app_hash)


def test_a_transaction_goes_from_the_pool_through_a_proposal_into_a_height() -> None:
    node = Node()
    raw = node.pay()
    assert node.check(raw).code == Code.OK
    assert node.propose() == [raw]
    assert node.accepts(raw)
    assert [result.code for result in node.height(raw).tx_results] == [Code.OK]
    assert node.decided == [(1, PROPOSER)]
    assert len(node.pool) == 0


def test_a_refused_transaction_says_its_code_and_reason() -> None:
    node = Node()
    answer = node.check(node.pay(nonce=7))
    assert answer.code == Code.NONCE_GAP
    assert "nonce 7 leaves a gap" in answer.log
    assert answer.codespace == "merit"


@pytest.mark.parametrize("raw", [b"", b"\x50", b"garbage", b"\x03" + bytes(40), bytes(600_000)])
def test_bytes_that_are_no_transaction_get_a_code_and_no_exception(raw: bytes) -> None:
    node = Node()
    assert node.check(raw).code in {Code.MALFORMED, Code.REFUSED_TYPE}
    assert not node.accepts(raw)
    assert node.finalize(raw).tx_results[0].code in {Code.MALFORMED, Code.REFUSED_TYPE}


def test_a_full_pool_refuses_with_a_code() -> None:
    node = Node(pool=Pool(transactions=1))
    node.check(node.pay())
    assert node.check(node.pay()).code == Code.POOL_FULL
    with pytest.raises(PoolFullError):
        node.bridge.admit(node.pay(nonce=1))


def test_the_same_transaction_twice_is_accepted_and_kept_once() -> None:
    node = Node()
    raw = node.pay()
    assert [node.check(raw).code, node.check(raw).code] == [Code.OK, Code.OK]
    assert len(node.pool) == 1
    ((waiting, verdict),) = node.bridge.waiting()
    assert (waiting, verdict.nonce) == (raw, 0)


def test_a_proposal_holds_what_the_pool_holds_and_never_a_call() -> None:
    node = Node()
    raw = node.pay()
    node.check(raw)
    call = call_for(keccak256(raw))
    request = pb.RequestPrepareProposal(txs=[call], max_tx_bytes=1 << 20)
    assert list(node.ask(prepare_proposal=request).prepare_proposal.txs) == [raw]
    assert not node.accepts(call)


def test_a_proposal_is_cut_to_the_bytes_that_it_may_have() -> None:
    node = Node()
    raws = [node.pay() for _ in range(3)]
    for raw in raws:
        node.check(raw)
    assert node.propose(len(raws[0]) + len(raws[1]) + 10) == raws[:2]


def test_what_no_longer_fits_after_a_height_leaves_the_pool() -> None:
    node = Node()
    first, second = node.pay(), node.pay(nonce=0, gas=50_000_000)
    node.check(second)
    node.height(first)
    assert len(node.pool) == 0
    assert node.check(second, again=True).code == UNWANTED


def test_a_height_may_be_finalized_again_with_other_content() -> None:
    node = Node()
    raw = node.pay()
    with_it, without = node.finalize(raw).app_hash, node.finalize().app_hash
    assert with_it != without
    assert node.height(raw).app_hash == with_it


def test_a_call_stands_while_its_transaction_waits_and_falls_when_a_block_holds_it() -> None:
    node = Node()
    raw = node.pay()
    node.check(raw)
    call = call_for(keccak256(raw))
    for _ in range(PATIENCE + 2):
        assert node.check(call, again=True).code == Code.OK
        node.height()
    node.height(raw)
    assert node.check(call, again=True).code == UNWANTED
    assert node.check(call).code == UNWANTED


def test_a_call_for_a_transaction_that_was_refused_falls() -> None:
    node = Node()
    raw = node.pay(nonce=9)
    node.check(raw)
    assert node.check(call_for(keccak256(raw))).code == UNWANTED


def test_a_call_for_an_unknown_transaction_stands_for_some_heights_only() -> None:
    node = Node()
    call = call_for(b"?" * 32)
    stands = 0
    while node.check(call, again=True).code == Code.OK:
        stands += 1
        node.height()
    assert stands == PATIENCE


def test_no_transaction_looks_like_a_call() -> None:
    assert is_call(call_for(bytes(32)))
    assert len(call_for(bytes(32))) == CALL_BYTES
    assert not is_call(Node().pay())
    assert not is_call(call_for(bytes(32)) + b"\0")


def test_a_call_may_come_again_for_a_transaction_that_came_back() -> None:
    calls = Calls()
    name = b"n" * 32
    calls.answer(name)
    assert not calls.stands(call_for(name), 1, waiting=False)
    assert calls.stands(call_for(name), 1, waiting=True)
    assert calls.stands(call_for(name), 2, waiting=False)


def test_misbehavior_reaches_the_ledger_and_makes_a_block() -> None:
    node = Node()
    request = pb.RequestFinalizeBlock(
        height=1,
        misbehavior=[
            pb.Misbehavior(
                type=pb.MISBEHAVIOR_TYPE_DUPLICATE_VOTE,
                validator=pb.Validator(address=b"v" * 20, power=1),
                height=1,
                total_voting_power=4,
            )
        ],
    )
    request.time.seconds = START
    node.ask(finalize_block=request)
    node.ask(commit=pb.RequestCommit())
    block = node.replica.reader.block(1)
    assert [(item.kind, item.validator, item.total_power) for item in block.misbehavior] == [(1, b"v" * 20, 4)]


def test_the_query_connection_tells_where_the_ledger_stands() -> None:
    node = Node()
    node.height(node.pay())
    answer = node.ask(query=pb.RequestQuery(path="/status")).query
    assert answer.code == 0
    assert b'"height":1' in answer.value
    assert node.ask(query=pb.RequestQuery(path="/other")).query.code == 1


def test_a_request_that_is_not_used_is_refused_loudly() -> None:
    with pytest.raises(AbciError, match="something unknown, which this ledger does not use"):
        Node().bridge.answer(pb.Request())
