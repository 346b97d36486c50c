"""What RPC and audit read: places, receipts, logs, proofs, calls and estimates, all of committed state."""

import itertools

import pytest
from trie.hexary import HexaryTrie

from chain import rlp
from chain.application import Code
from chain.crypto.addresses import Address
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import SigningKey
from chain.errors import LogLimitError, UnknownBlockError
from chain.execution import reader as reader_module
from chain.execution.reader import Call, Reader
from contracts.addresses import LEDGER, REGISTRY, TOKEN
from contracts.bindings import Ledger, Token
from contracts.layout import slot
from contracts.records import encode_batch
from tests.chain.ledger import (
    BASE_REWARD,
    DEPLOYER,
    EDGES,
    SPONSOR,
    STRANGER,
    TERMS,
    Replica,
    client,
    edge,
    genesis,
)

TO = Address(bytes(19) + b"\1")
PAY = Token.encode_transfer(TO, 5)
TRANSFER = keccak256(b"Transfer(address,address,uint256)")
TOKEN_AT, LEDGER_AT = Address(TOKEN), Address(LEDGER)


def word(address: bytes) -> bytes:
    return address.rjust(32, b"\0")


@pytest.fixture
def replica() -> Replica:
    """Three blocks: a payment; two payments, one of which reverts; an idle height; an approval."""
    replica = Replica()
    replica.height(replica.sign(SPONSOR, TOKEN, PAY))
    replica.height(
        replica.sign(SPONSOR, TOKEN, PAY), replica.sign(STRANGER, TOKEN, PAY), replica.sign(SPONSOR, TOKEN, PAY)
    )
    replica.height()
    replica.height(replica.sign(SPONSOR, TOKEN, Token.encode_approve(TO, 9)))
    return replica


def test_blocks_are_found_by_number_by_hash_and_by_engine_height(replica: Replica) -> None:
    reader = replica.reader
    assert reader.latest() == 3
    for number in range(4):
        header = reader.header(number)
        assert reader.number_of(header.hash) == header.number == number
    assert reader.number_of(bytes(32)) is None
    assert [reader.block_at_height(height).number for height in range(6)] == [0, 1, 2, 2, 3, 3]
    for number in (4, -1, 10**30):
        with pytest.raises(UnknownBlockError, match=f"no block {number}"):
            reader.header(number)


def test_headers_form_a_chain(replica: Replica) -> None:
    headers = [replica.reader.header(number) for number in range(4)]
    for parent, child in itertools.pairwise(headers):
        assert child.parent_hash == parent.hash


def test_a_reader_sees_commits_and_nothing_before(replica: Replica) -> None:
    raw = replica.sign(SPONSOR, TOKEN, PAY)
    finalized = replica.finalize(raw)
    name = finalized.results[0].hash
    assert replica.reader.transaction(name) is None
    assert replica.reader.latest() == 3
    replica.app.commit()
    found = replica.reader.transaction(name)
    assert found is not None
    assert (found.place.number, found.place.index, found.raw) == (4, 0, raw)
    assert finalized.block is not None
    assert found.place.block_hash == finalized.block.hash


def test_receipts_tell_own_gas_log_places_and_prices(replica: Replica) -> None:
    receipts = replica.reader.receipts(2)
    assert [receipt.receipt.succeeded for receipt in receipts] == [True, False, True]
    assert [receipt.first_log for receipt in receipts] == [0, 1, 1]
    assert sum(receipt.gas_used for receipt in receipts) == receipts[-1].receipt.cumulative_gas
    assert {receipt.price for receipt in receipts} == {0}
    for receipt in receipts:
        assert replica.reader.receipt(receipt.hash) == receipt
    assert replica.reader.receipt(bytes(32)) is None


def test_logs_filter_by_block_address_and_topics(replica: Replica) -> None:
    reader = replica.reader
    assert [log.place.number for log in reader.logs(0, 99)] == [1, 2, 2, 3]
    assert len(reader.logs(2, 2)) == 2
    assert reader.logs(0, 99, addresses=[REGISTRY]) == []
    transfers = reader.logs(0, 99, addresses=[REGISTRY, TOKEN], topics=[TRANSFER])
    assert len(transfers) == 3
    assert [log.log_index for log in transfers] == [0, 0, 1]
    assert len(reader.logs(0, 99, topics=[None, word(SPONSOR.address)])) == 4
    assert len(reader.logs(0, 99, topics=[[TRANSFER, bytes(32)], None, word(TO)])) == 3
    assert reader.logs(0, 99, topics=[None, None, word(STRANGER.address)]) == []
    assert reader.logs(0, 99, topics=[None] * 4) == []
    found = replica.reader.transaction(transfers[0].transaction_hash)
    assert found is not None
    assert found.place == transfers[0].place


def test_too_many_logs_are_refused_and_not_cut(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "LOGS_PER_QUERY", 3)
    with pytest.raises(LogLimitError, match="more than 3 events"):
        replica.reader.logs(0, 99)


def test_state_is_read_as_of_any_block(replica: Replica) -> None:
    balances = [
        int.from_bytes(replica.reader.call(Call(to=TOKEN_AT, data=balance_of(TO)), number).output, "big")
        for number in range(4)
    ]
    assert balances == [0, 5, 15, 15]
    assert [replica.reader.nonce(SPONSOR.address, number) for number in range(4)] == [0, 1, 3, 4]


def balance_of(owner: bytes) -> bytes:
    return keccak256(b"balanceOf(address)")[:4] + word(owner)


def check_proof(root: bytes, key: bytes, nodes: tuple[bytes, ...]) -> bytes:
    """Verify a proof the way any Ethereum tool does."""
    return HexaryTrie.get_from_proof(root, keccak256(key), [rlp.decode(node) for node in nodes])  # type: ignore[no-any-return, no-untyped-call]


def test_proofs_verify_against_the_headers_state_root(replica: Replica) -> None:
    reader = replica.reader
    place = slot("Token", "balanceOf", TO)
    for number in (1, 3):
        proof = reader.proof(TOKEN_AT, [place, 12345], number)
        leaf = check_proof(reader.header(number).state_root, TOKEN, proof.nodes)
        assert rlp.decode(leaf)[2] == proof.account.storage_root
        found, absent = proof.slots
        value = check_proof(proof.account.storage_root, place.to_bytes(32, "big"), found.nodes)
        assert rlp.to_integer(rlp.decode(value), 32) == found.value == reader.storage(TOKEN_AT, place, number)
        assert check_proof(proof.account.storage_root, (12345).to_bytes(32, "big"), absent.nodes) == b""
        assert absent.value == 0


def test_absence_of_an_account_is_proven_too(replica: Replica) -> None:
    proof = replica.reader.proof(Address(b"\x99" * 20), [1])
    assert check_proof(replica.reader.header().state_root, b"\x99" * 20, proof.nodes) == b""
    assert (proof.account.nonce, proof.account.balance, proof.slots[0].value) == (0, 0, 0)


def test_calls_change_nothing_and_tell_why_they_fail(replica: Replica) -> None:
    before = replica.reader.account(TOKEN_AT)
    paid = replica.reader.call(Call(to=TOKEN_AT, sender=SPONSOR.address, data=PAY))
    assert (paid.succeeded, int.from_bytes(paid.output, "big"), len(paid.logs)) == (True, 1, 1)
    assert replica.reader.account(TOKEN_AT) == before
    failed = replica.reader.call(Call(to=TOKEN_AT, sender=STRANGER.address, data=PAY))
    assert (failed.succeeded, failed.reason) == (False, "Token: balance is too low")
    assert failed.output[:4].hex() == "08c379a0"
    assert not replica.reader.call(Call(to=TO, sender=STRANGER.address, value=1)).succeeded
    burnt = replica.reader.call(Call(to=TOKEN_AT, sender=SPONSOR.address, data=PAY, gas=1_000))
    assert "OutOfGas" in burnt.reason


# Returns NUMBER, TIMESTAMP, BLOCKHASH(NUMBER - 1) and CHAINID
CONTEXT = bytes.fromhex("43600052426020526001430340604052466060526080" + "6000f3")


def test_calls_run_in_the_block_asked_for_or_in_the_next_one() -> None:
    replica = Replica()
    initcode = bytes([0x60, len(CONTEXT), 0x80, 0x60, 0x0B, 0x60, 0, 0x39, 0x60, 0, 0xF3]) + CONTEXT
    result = replica.height(replica.sign(DEPLOYER, b"", initcode), seconds=9).results[0]
    receipt = replica.reader.receipt(result.hash)
    assert receipt is not None
    assert receipt.created is not None
    replica.height(replica.sign(SPONSOR, TOKEN, PAY), seconds=9)
    head = replica.reader.header()

    def context(**arguments: object) -> tuple[int, int, bytes, int]:
        output = replica.reader.call(Call(to=receipt.created), **arguments).output  # type: ignore[arg-type]
        number, time, block_hash, chain = (output[at : at + 32] for at in (0, 32, 64, 96))
        return int.from_bytes(number, "big"), int.from_bytes(time, "big"), block_hash, int.from_bytes(chain, "big")

    chain_id = replica.document.chain_id
    assert context() == (2, head.timestamp, head.parent_hash, chain_id)
    assert context(number=1) == (1, head.timestamp - 9, replica.genesis_hash, chain_id)
    assert context(pending=True) == (3, head.timestamp, head.hash, chain_id)
    assert context(pending=True, timestamp=head.timestamp + 4)[1] == head.timestamp + 4


def estimated(replica: Replica, name: str) -> tuple[SigningKey, Address | None, bytes]:
    match name:
        case "payment":
            return SPONSOR, TOKEN_AT, PAY
        case "first transaction of a stranger":
            return STRANGER, TO, b""
        case "job":
            return SPONSOR, LEDGER_AT, Ledger.encode_create_job(TERMS, 10 * BASE_REWARD)
        case "tick":
            return edge(4), LEDGER_AT, Ledger.encode_tick()
        case "one record":
            return edge(1), LEDGER_AT, Ledger.encode_record_batch(1, encode_batch([replica.record(1)]))
        case "thirty records":
            records = [replica.record(1, counter=counter) for counter in range(30)]
            return edge(1), LEDGER_AT, Ledger.encode_record_batch(1, encode_batch(records))
        case "own record":
            return client(5), LEDGER_AT, Ledger.encode_record(replica.record(5).record)
        case _:
            return DEPLOYER, None, b"\x60\x00\x60\x00\xf3"


ESTIMATED = [
    "payment",
    "first transaction of a stranger",
    "job",
    "tick",
    "one record",
    "thirty records",
    "own record",
    "contract",
]


@pytest.mark.parametrize("name", ESTIMATED)
def test_a_transaction_with_the_estimated_gas_succeeds_and_with_little_less_does_not(name: str) -> None:
    replica = Replica()
    replica.open_job()
    replica.send(SPONSOR, TOKEN, Token.encode_approve(LEDGER, 10 * BASE_REWARD))
    sender, to, data = estimated(replica, name)
    gas, result = replica.reader.estimate_gas(Call(to=to, sender=sender.address, data=data))
    assert result.succeeded, result.reason
    (enough,) = replica.finalize(replica.sign(sender, to or b"", data, nonce=nonce(replica, sender), gas=gas)).results
    assert enough.code is Code.OK, enough.reason
    tight = gas * 97 // 100
    (little,) = replica.finalize(replica.sign(sender, to or b"", data, nonce=nonce(replica, sender), gas=tight)).results
    assert little.code in {Code.REVERTED, Code.GAS}


def nonce(replica: Replica, sender: object) -> int:
    return replica.reader.nonce(sender.address)  # type: ignore[attr-defined]


def test_an_estimate_of_what_fails_tells_the_reason(replica: Replica) -> None:
    gas, result = replica.reader.estimate_gas(Call(to=TOKEN_AT, sender=STRANGER.address, data=PAY))
    assert (gas, result.succeeded, result.reason) == (0, False, "Token: balance is too low")
    _, poor = replica.reader.estimate_gas(Call(to=TO, sender=STRANGER.address, value=1))
    assert "coins" in poor.reason
    _, bounded = replica.reader.estimate_gas(Call(to=TOKEN_AT, sender=SPONSOR.address, data=PAY, gas=30_000))
    assert not bounded.succeeded


def test_an_estimate_looks_at_the_next_block() -> None:
    """A height that lies in the past only from the next block on can be attested now."""
    replica = Replica()
    replica.open_job()
    replica.height(replica.batch(replica.record(1)))
    from contracts.digests import Attestation, Part, name32  # noqa: PLC0415 - for this test alone

    parts = (Part(name32("thetas"), keccak256(b"t")), Part(name32("model"), keccak256(b"m")))
    data = Ledger.encode_attest(Attestation(1, 1, replica.reader.latest(), 1, 1, parts))
    gas, result = replica.reader.estimate_gas(Call(to=LEDGER_AT, sender=edge(1).address, data=data))
    assert result.succeeded, result.reason
    assert gas > 100_000


def test_another_process_reads_with_a_reader_of_its_own(replica: Replica) -> None:
    other = Reader(replica.store, replica.reader.environment)
    assert other.block(2) == replica.reader.block(2)


def test_members_and_ids_of_this_file_hold() -> None:
    assert genesis().members[EDGES].role == 2


def test_receipts_of_a_block_are_decoded_once_while_it_is_among_the_last_asked_for(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_RECEIPTS_OF", 1)
    first = replica.reader.receipts(1)
    assert replica.reader.receipts(1) is first
    replica.reader.receipts(2)
    again = replica.reader.receipts(1)
    assert again is not first
    assert again == first
