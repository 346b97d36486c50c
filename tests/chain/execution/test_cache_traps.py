"""What is remembered between the pool and the block must never make two replicas differ."""

from chain.application import Code
from chain.execution.signatures import VerdictCache
from contracts.addresses import KEYS, LEDGER, REGISTRY, TOKEN
from contracts.bindings import Ledger, Registry, Role, Token
from contracts.records import encode_batch
from tests.chain.ledger import EDGES, GOVERNOR, SPONSOR, STRANGER, Replica, edge, key

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)


def test_a_key_unknown_to_the_pool_and_known_in_the_block_makes_no_difference() -> None:
    asked, fresh = Replica(), Replica()
    by_reference = asked.sign(STRANGER, TOKEN, PAY, nonce=0, reference=True)
    assert asked.app.check_tx(by_reference).code is Code.UNKNOWN_KEY
    register = asked.sign(SPONSOR, KEYS, bytes([STRANGER.scheme]) + STRANGER.public_key)
    first, second = (replica.height(register, by_reference) for replica in (asked, fresh))
    assert first == second
    assert [result.code for result in first.results] == [Code.OK, Code.REVERTED]


def test_a_key_known_to_the_pool_only_makes_no_difference() -> None:
    """The pool saw the key in a transaction that another proposer's block leaves out."""
    asked, fresh = Replica(), Replica()
    brings = asked.sign(STRANGER, TOKEN, PAY, nonce=0, reference=False)
    refers = asked.sign(STRANGER, TOKEN, PAY, nonce=0, reference=True)
    assert asked.app.check_tx(brings).accepted
    asked.app.prepare_proposal([refers, brings], 10**6)
    asked.app.check_tx(refers)
    first, second = (replica.height(refers) for replica in (asked, fresh))
    assert first == second
    assert [result.code for result in first.results] == [Code.UNKNOWN_KEY]


def test_records_of_a_client_admitted_in_the_same_block_make_no_difference() -> None:
    asked = Replica()
    asked.open_job()
    fresh = asked.twin()
    newcomer = key("newcomer")
    member = EDGES + 5 + 1 + 1
    record = asked.record(1, signer=newcomer, client=member)
    batch = asked.sign(edge(1), LEDGER, Ledger.encode_record_batch(1, encode_batch([record])))
    assert asked.app.check_tx(batch).accepted
    admit = asked.sign(
        GOVERNOR, REGISTRY, Registry.encode_admit(Role.CLIENT, 65, newcomer.public_key, newcomer.address)
    )
    first, second = (replica.height(admit, batch) for replica in (asked, fresh))
    assert first == second
    assert len(first.results[1].logs[0].data) > 32  # recorded, although the pool had not known the key


def test_checked_and_unchecked_batches_execute_alike() -> None:
    asked = Replica()
    asked.open_job()
    fresh = asked.twin()
    good = asked.record(1)
    forged = asked.record(2, signer=key("client 3"))
    batch = asked.batch(good, forged)
    assert asked.app.check_tx(batch).accepted
    assert asked.height(batch) == fresh.height(batch)


def test_the_cache_asks_once_and_forgets_the_oldest() -> None:
    cache = VerdictCache(entries=2)
    asked: list[bytes] = []

    def verdict(name: bytes) -> bool:
        def check() -> bool:
            asked.append(name)
            return name == b"a"

        return cache.holds(name, check)

    assert [verdict(name) for name in (b"a", b"b", b"a", b"b")] == [True, False, True, False]
    assert asked == [b"a", b"b"]
    verdict(b"c")
    verdict(b"a")
    assert asked == [b"a", b"b", b"c", b"a"]
