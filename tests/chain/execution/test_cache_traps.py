"""What is remembered between the pool and the block must never make two replicas differ."""

from chain.application import Application, Code
from chain.execution.records import NOT_A_CLIENT, UNKNOWN_KEY
from chain.execution.signatures import VerdictCache
from contracts.addresses import KEYS, LEDGER, REGISTRY, TOKEN
from contracts.bindings import Ledger, Registry, Role, Token
from contracts.records import encode_batch
from tests.chain.ledger import EDGES, GOVERNOR, SPONSOR, STRANGER, Replica, client, edge, key

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


def reasons(replica: Replica, batch: bytes, *before: bytes) -> list[int]:
    """Execute `before` and then the batch in one block; return its entries' reasons, recorded ones as 0."""
    logs = replica.height(*before, batch).results[-1].logs
    return [0 if len(log.data) > 32 else int.from_bytes(log.data, "big") for log in logs]


def test_what_the_registry_said_of_a_client_is_forgotten_when_it_says_something_else() -> None:
    asked = Replica()
    asked.open_job()
    suspend, reinstate = (call(EDGES + 2) for call in (Registry.encode_suspend, Registry.encode_reinstate))
    assert reasons(asked, asked.batch(asked.record(1), asked.record(2))) == [0, 0]
    steps = [
        (asked.sign(GOVERNOR, REGISTRY, suspend), [0, NOT_A_CLIENT]),  # in the batch's own block
        (asked.sign(GOVERNOR, REGISTRY, suspend, nonce=0), [0, NOT_A_CLIENT]),  # a refused transaction changes nothing
        (asked.sign(GOVERNOR, REGISTRY, reinstate, nonce=1), [0, 0]),
    ]
    for counter, (change, expected) in enumerate(steps, 1):
        batch = asked.batch(*(asked.record(n, counter=counter, digest=bytes((counter, n)) * 16) for n in (1, 2)))
        assert asked.app.check_tx(batch).accepted
        fresh = asked.twin()
        assert reasons(asked, batch, change) == expected
        assert reasons(fresh, batch, change) == expected
        assert asked.app.info() == fresh.app.info()


def test_a_key_that_ends_is_in_force_to_the_end_of_the_block_and_no_longer() -> None:
    asked = Replica()
    asked.open_job()
    end = asked.sign(GOVERNOR, REGISTRY, Registry.encode_end_key(client(1).address))
    assert reasons(asked, asked.batch(asked.record(1)), end) == [0]
    assert reasons(asked, asked.batch(asked.record(1, counter=1, digest=bytes(32)))) == [UNKNOWN_KEY]


def test_events_that_are_remembered_are_those_that_are_stored() -> None:
    asked = Replica()
    asked.open_job()
    asked.height(asked.batch(asked.record(1), asked.record(2)), asked.batch(asked.record(3), sender=edge(2)))
    for _ in range(12):  # more than are remembered
        asked.height(asked.sign(SPONSOR, TOKEN, PAY))
        newest = asked.reader.latest()
        found = asked.reader.logs(0, newest)
        assert found == Application(asked.store).reader().logs(0, newest)
        assert {log.place.number for log in found} >= {newest}


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
    assert not cache.holds(b"d", lambda: None)  # a key that is not known
    assert cache.holds(b"d", lambda: True)
