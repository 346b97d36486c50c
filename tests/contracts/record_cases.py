"""Batches of records and what a ledger must say to each: one table for the Vyper loop and a native verifier.

A case is built for a `Scene` (one open job, its clients, the block time at which the batch arrives) and a `Sign`
function, so that the same table runs without signatures (the Vyper loop does not look at them) and with real ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hypothesis import strategies as st

from contracts.records import MAX_ENTRIES, SIGNATURE_BYTES, Record, SignedRecord

RECORDED: Final = 0
BAD_SIGNATURE: Final = 1
UNKNOWN_KEY: Final = 2
NOT_A_CLIENT: Final = 3
EXPIRED: Final = 4
FUTURE_BASE: Final = 5
STALE_BASE: Final = 6
NOT_RISING: Final = 7
WRONG_LENGTH: Final = 8
NO_BUDGET: Final = 9
MALFORMED: Final = 10


@dataclass(frozen=True, slots=True)
class Client:
    """A client member as a batch sees it: its id, and the address and scheme of a key in force."""

    member: int
    signer: bytes
    scheme: int


@dataclass(frozen=True, slots=True)
class Scene:
    """The open job that a batch meets.

    `clients` are at least three, admitted and without records; `suspended` is a client, `outsider` a member of another
    role, `ended` the first client with a key of it that is no longer in force. `version` is at least
    `max_staleness` + 1, `room` the number of records that the budget still takes (at least 3), `now` the block's time.
    """

    job: int
    version: int
    max_staleness: int
    length: int
    room: int
    now: int
    clients: tuple[Client, ...]
    suspended: Client
    outsider: Client
    ended: Client


Sign = Callable[[Record, Client], SignedRecord]


@dataclass(frozen=True, slots=True)
class Case:
    """A batch, the reason for each entry, and whether only a ledger that verifies signatures can tell."""

    name: str
    batch: bytes
    reasons: bytes
    needs_verifier: bool = False


def unsigned(record: Record, client: Client) -> SignedRecord:
    """Put zeros where the signature goes."""
    return SignedRecord(record, client.scheme, client.signer, bytes(SIGNATURE_BYTES[client.scheme]))


def record(scene: Scene, client: Client, counter: int = 0) -> Record:
    """Return a record that nothing speaks against."""
    digest = bytes([client.member % 256, counter % 256]) * 16
    return Record(scene.job, client.member, scene.version, counter, digest, scene.length, scene.now)


def cases(scene: Scene, sign: Sign = unsigned) -> list[Case]:
    """Return every case for a scene."""
    one, two, three = scene.clients[:3]
    good = [sign(record(scene, client), client) for client in (one, two, three)]

    def entry(client: Client, /, **changes: object) -> SignedRecord:
        return sign(replace(record(scene, client), **changes), client)  # type: ignore[arg-type]  # fields of Record

    def batch(name: str, *entries: tuple[SignedRecord, int], tail: bytes = b"", needs_verifier: bool = False) -> Case:
        reasons = bytes(reason for _, reason in entries) + (bytes([MALFORMED]) if tail else b"")
        return Case(name, b"".join(item.encode() for item, _ in entries) + tail, reasons, needs_verifier)

    forged = good[0].signature[:-1] + bytes([good[0].signature[-1] ^ 1])
    table = [
        batch("one good record", (good[0], RECORDED)),
        batch("three good records", *((item, RECORDED) for item in good)),
        batch("a good record at the last second", (entry(one, expiry=scene.now), RECORDED)),
        batch("the oldest base that is taken", (entry(one, base=scene.version - scene.max_staleness), RECORDED)),
        batch("the highest counter", (entry(one, counter=2**32 - 1), RECORDED)),
        batch("rising counters of one client", *((entry(one, counter=at), RECORDED) for at in range(3))),
        batch("a forged signature", (replace(good[0], signature=forged), BAD_SIGNATURE), needs_verifier=True),
        batch(
            "a signature over another record",
            (replace(good[0], record=replace(good[0].record, digest=bytes(32))), BAD_SIGNATURE),
            needs_verifier=True,
        ),
        batch(
            "a forged one leaves no replay mark",
            (replace(good[0], signature=forged), BAD_SIGNATURE),
            (good[0], RECORDED),
            needs_verifier=True,
        ),
        batch("an unknown signer", (replace(good[0], signer=bytes(19) + b"\7"), UNKNOWN_KEY)),
        batch("a key that has ended", (sign(record(scene, scene.ended), scene.ended), UNKNOWN_KEY)),
        batch("another client's key", (sign(record(scene, one), two), UNKNOWN_KEY)),
        batch("a client that does not exist", (entry(one, client=10**6), UNKNOWN_KEY)),
        batch(
            "client 0 with an unknown signer", (replace(entry(one, client=0), signer=bytes(19) + b"\7"), UNKNOWN_KEY)
        ),
        batch("a scheme that is not the key's", (_as_scheme(good[0], 65 if one.scheme == 44 else 44), UNKNOWN_KEY)),
        batch("a suspended client", (entry(scene.suspended), NOT_A_CLIENT)),
        batch("a member that is no client", (entry(scene.outsider), NOT_A_CLIENT)),
        batch("expired by a second", (entry(one, expiry=scene.now - 1), EXPIRED)),
        batch("a base of the future", (entry(one, base=scene.version + 1), FUTURE_BASE)),
        batch("the greatest base", (entry(one, base=2**64 - 1), FUTURE_BASE)),
        batch("a base too old by one", (entry(one, base=scene.version - scene.max_staleness - 1), STALE_BASE)),
        batch("a replay within the batch", (good[0], RECORDED), (good[0], NOT_RISING)),
        batch("a counter that falls", (entry(one, counter=5), RECORDED), (entry(one, counter=4), NOT_RISING)),
        batch(
            "an older base after a newer one",
            (good[0], RECORDED),
            (entry(one, base=scene.version - 1, counter=9), NOT_RISING),
        ),
        batch(
            "a newer base with a lower counter",
            (entry(one, base=scene.version - 1, counter=9), RECORDED),
            (good[0], RECORDED),
        ),
        batch("a byte too many", (entry(one, length=scene.length + 1), WRONG_LENGTH)),
        batch("no bytes", (entry(one, length=0), WRONG_LENGTH)),
        batch("a refused one leaves no replay mark", (entry(one, length=0), WRONG_LENGTH), (good[0], RECORDED)),
        batch(
            "good ones around bad ones",
            (good[0], RECORDED),
            (entry(two, expiry=0), EXPIRED),
            (good[1], RECORDED),
            (good[0], NOT_RISING),
            (good[2], RECORDED),
        ),
        # wrong in several ways: the first reason in the order of the checks counts
        batch("suspended, expired and too long", (entry(scene.suspended, expiry=0, length=0), NOT_A_CLIENT)),
        batch("expired, of the future and too long", (entry(one, expiry=0, base=2**64 - 1, length=0), EXPIRED)),
        batch(
            "too old and not rising",
            (good[0], RECORDED),
            (entry(one, base=scene.version - scene.max_staleness - 1), STALE_BASE),
        ),
        batch("a forged signature over an expired record", (replace(entry(one, expiry=0), signature=forged), EXPIRED)),
        # malformed: what is left of the batch is dropped
        batch("one byte", tail=b"\0"),
        batch("an entry's head without its last byte", tail=good[0].encode()[:96]),
        batch("a signature without its last byte", tail=good[0].encode()[:-1]),
        batch("an unknown scheme", tail=good[0].encode()[:76] + b"\1" + good[0].encode()[77:]),
        batch("another job", tail=entry(one, job=scene.job + 1).encode()),
        batch("a good record before a cut one", (good[0], RECORDED), tail=good[1].encode()[:-1]),
        batch(
            "good records after a malformed one are dropped",
            (good[0], RECORDED),
            tail=entry(two, job=scene.job + 1).encode() + good[1].encode(),
        ),
        batch(
            "more than the batch's limit",
            *((entry(one, expiry=0), EXPIRED) for _ in range(MAX_ENTRIES)),
            tail=good[0].encode(),
        ),
        batch("the batch's limit", *((entry(one, expiry=0), EXPIRED) for _ in range(MAX_ENTRIES))),
    ]
    if scene.room < MAX_ENTRIES:
        fits = [(entry(one, counter=at), RECORDED) for at in range(scene.room)]
        table.append(batch("more than the budget pays", *fits, (entry(one, counter=scene.room), NO_BUDGET)))
        table.append(
            batch(
                "a bad one takes nothing of the budget",
                (entry(two, length=0), WRONG_LENGTH),
                *fits,
                (good[1], NO_BUDGET),
            )
        )
    return table


def case_names() -> list[str]:
    """Return the names of all cases, for pytest to show: they do not depend on the scene."""
    someone = Client(1, bytes(20), 44)
    scene = Scene(1, 9, 2, 0, 3, 1, (someone,) * 3, suspended=someone, outsider=someone, ended=someone)
    return [case.name for case in cases(scene)]


def _as_scheme(signed: SignedRecord, scheme: int) -> SignedRecord:
    return replace(
        signed,
        scheme=scheme,
        signature=signed.signature[: SIGNATURE_BYTES[scheme]].ljust(SIGNATURE_BYTES[scheme], b"\0"),
    )


def random_batches(scene: Scene, sign: Sign = unsigned, *, damage: bool = True) -> st.SearchStrategy[bytes]:
    """Return hypothesis batches of up to 12 entries, most of them nearly right, some cut, some damaged by one bit.

    There is no expectation: two implementations of the same rule must answer alike, leave the same storage and emit
    the same events. Without `damage` every signature fits its signer, so that a ledger that verifies signatures and one
    that does not must agree, too.
    """
    everybody: Sequence[Client] = (*scene.clients, scene.suspended, scene.outsider, scene.ended)
    old = scene.version - scene.max_staleness
    entries = st.builds(
        lambda client, signer, base, counter, expiry, length: sign(
            Record(scene.job, client.member, base, counter, bytes([counter]) * 32, length, expiry), signer or client
        ).encode(),
        client=st.sampled_from(everybody),
        signer=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(everybody)),
        base=st.integers(max(0, old - 1), scene.version + 1),
        counter=st.integers(0, 5),
        expiry=st.sampled_from([scene.now - 1, scene.now, scene.now + 5]),
        length=st.sampled_from([scene.length] * 5 + [scene.length + 1]),
    )
    damaged = st.builds(
        lambda data, at, bit: _flip(data, at % len(data), bit), entries, st.integers(0, 10**4), st.integers(0, 7)
    )
    cut = st.builds(lambda data, at: data[: at % len(data)], entries, st.integers(0, 10**4))
    kinds = (entries, entries, entries, damaged) if damage else (entries,)
    parts = st.lists(st.one_of(*kinds), min_size=1, max_size=11)
    return st.builds(lambda whole, last: b"".join(whole) + last, parts, st.one_of(st.just(b""), st.just(b""), cut))


def _flip(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
