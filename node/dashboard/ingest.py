"""How the events of blocks, and what else is learned of rounds, get into the index."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import msgspec

from contracts import events
from contracts.digests import text_of
from contracts.terms import JobTerms
from node.rounds.log import RoundOutcome
from node.run.events import Accuracy

WEI: Final = 10**18

_ATTEST: Final = "INSERT OR REPLACE INTO attestations VALUES (?, ?, ?, ?, ?, ?)"
_ATTEST_LATE: Final = "INSERT OR IGNORE INTO attestations VALUES (?, ?, ?, ?, ?, ?)"
_PROPOSE: Final = """
INSERT INTO jobs (job, sponsor, block, status, terms, phi, budget) VALUES (?, ?, ?, 'proposed', ?, ?, ?)
"""
_TOTALS: Final = """
UPDATE clients SET credited = credited + 1, theta = theta + ?, reward = ?, total = ? WHERE job = ? AND client = ?
"""
_CREDIT: Final = """
INSERT INTO places (job, round, place, client, theta, reward, total) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET theta = excluded.theta, reward = excluded.reward, total = excluded.total
"""
_TAKE: Final = """
INSERT INTO places (job, round, place, client, sequence, base) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET sequence = excluded.sequence, base = excluded.base
"""
_PLACE: Final = """
INSERT INTO clients (job, client, placed, delays) VALUES (?, ?, 1, ?)
ON CONFLICT DO UPDATE SET placed = placed + 1, delays = delays + excluded.delays
"""
_DECIDE: Final = """
INSERT INTO rounds
  (job, round, block, agreed, height, phi, k, reward, digest, thetas, model, variants, begun, fixed, time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT time FROM blocks WHERE number = ?), ?)
"""


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """A block as lists show it; `height` is the engine's."""

    number: int
    hash: bytes
    height: int
    time: int
    transactions: int
    gas: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record earned its theta: its place in the round, and the scoring rule's parts, by name, in ppb.

    `beside`: the version whose references it was held beside. `thetas`: digest of the round's thetas that the parts
    belong to; None where an audit vouches for them.
    """

    job: int
    round: int
    place: int
    beside: int | None
    parts: Mapping[str, int]
    thetas: bytes | None


def add_block(db: sqlite3.Connection, block: BlockSummary, found: Sequence[events.Event]) -> None:
    """Add the next block with its events."""
    row = (block.number, block.hash, block.height, block.time, block.transactions, block.gas, len(found))
    db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    for event in found:
        _add_event(db, event, block)


def add_selection(db: sqlite3.Connection, job: int, outcome: RoundOutcome) -> None:
    """Add which records a decided round consumed; a round of which no selection is known has none."""
    chosen = outcome.selection
    delays = 0
    for place, entry in enumerate(() if chosen is None else chosen.records):
        delay = outcome.round - 1 - entry.base
        delays += delay
        db.execute(_TAKE, (job, outcome.round, place, entry.client, entry.sequence, entry.base))
        db.execute(_PLACE, (job, entry.client, delay))
        db.execute(
            "UPDATE records SET round = ?, place = ? WHERE job = ? AND sequence = ?",
            (outcome.round, place, job, entry.sequence),
        )
    skipped: dict[str, int] = {}
    for _, status in () if chosen is None else chosen.skipped:
        skipped[status.value] = skipped.get(status.value, 0) + 1
    db.execute(
        "UPDATE rounds SET selected = 1, delays = ?, skipped = ?, k = ? WHERE job = ? AND round = ?",
        (delays, _json(skipped), 0 if chosen is None else len(chosen.records), job, outcome.round),
    )


def add_reason(db: sqlite3.Connection, reason: Reason) -> None:
    """Add, or replace, why a place earned what it did."""
    row = (reason.job, reason.round, reason.place, reason.beside, _json(dict(reason.parts)), reason.thetas)
    db.execute("INSERT OR REPLACE INTO reasons VALUES (?, ?, ?, ?, ?, ?)", row)


def add_title(db: sqlite3.Connection, job: int, title: str) -> None:
    """Add the title that a job's file gives."""
    db.execute("UPDATE jobs SET title = ? WHERE job = ?", (title, job))


def add_accuracy(db: sqlite3.Connection, measured: Accuracy) -> None:
    """Add how well a version does on the test set; the first measurement counts."""
    row = (measured.version, measured.seconds, measured.accuracy, measured.loss)
    db.execute("INSERT OR IGNORE INTO accuracy VALUES (?, ?, ?, ?)", row)


def _add_event(db: sqlite3.Connection, event: events.Event, block: BlockSummary) -> None:
    row: tuple[object, ...]
    match event:
        case events.JobCreated():
            row = (event.job, event.sponsor, block.number, _terms(event.terms), event.terms.phi, str(event.budget))
            db.execute(_PROPOSE, row)
        case events.PayVests():
            db.execute("UPDATE jobs SET vests = ? WHERE job = ?", (str(event.rounds), event.job))
        case events.JobOpened():
            row = (event.phi, block.time, event.job)
            db.execute("UPDATE jobs SET status = 'open', phi = ?, boundary = ? WHERE job = ?", row)
        case events.ToppedUp():
            _add_wei(db, "budget", event.job, event.amount)
        case events.RulesChanged():
            _change_rules(db, event)
        case events.JobClosing():
            db.execute("UPDATE jobs SET status = 'closing' WHERE job = ?", (event.job,))
        case events.JobClosed():
            db.execute("UPDATE jobs SET status = 'closed' WHERE job = ?", (event.job,))
        case events.Recorded():
            named = (event.digest, str(event.length), block.number)  # a client's word: it may not fit 63 bits
            row = (event.job, event.sequence, event.client, event.base, event.counter, *named)
            db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)", row)
            db.execute("UPDATE jobs SET records = records + 1 WHERE job = ?", (event.job,))
        case events.Attested():
            _attest(db, event, late=False)
            parts = _json({text_of(part.name): part.digest.hex() for part in event.parts})
            row = (event.job, event.round, event.digest, parts)
            db.execute("INSERT OR IGNORE INTO variants VALUES (?, ?, ?, ?)", row)
        case events.AttestedLate():
            _attest(db, event, late=True)
        case events.RoundAgreed() | events.RoundVoid():
            _decide(db, event, block)
        case events.Credited():
            _credit(db, event)
        case events.RoundSettled():
            _settle(db, event.job, event.round, block.time, event.paid)
        case events.RoundUnpaid():
            _settle(db, event.job, event.round, block.time, 0)
        case events.Vested() | events.Forfeited():
            what = "released" if isinstance(event, events.Vested) else "forfeited"
            row = (f"{what} after round {event.judge}", event.job, event.client, event.round)
            db.execute("UPDATE places SET fate = ? WHERE job = ? AND client = ? AND round = ?", row)
        case _:
            pass  # of other things than jobs: read from the contracts when they are looked at


def _attest(db: sqlite3.Connection, event: events.Attested | events.AttestedLate, *, late: bool) -> None:
    """Note what an edge server attests; until the quorum it may change its mind, afterwards nothing counts."""
    row = (event.job, event.round, event.edge, event.block, event.digest, late)
    db.execute(_ATTEST_LATE if late else _ATTEST, row)


def _decide(db: sqlite3.Connection, event: events.RoundAgreed | events.RoundVoid, block: BlockSummary) -> None:
    known: tuple[object, ...]
    phi, boundary = db.execute("SELECT phi, boundary FROM jobs WHERE job = ?", (event.job,)).fetchone()
    match event:
        case events.RoundAgreed():
            known = (event.height, phi, event.k, str(event.reward), event.digest, event.thetas, event.model)
            counted = db.execute(
                "SELECT count(DISTINCT digest) FROM attestations WHERE job = ? AND round = ?", (event.job, event.round)
            )
            variants = counted.fetchone()[0]
        case events.RoundVoid():
            known, variants = (None, phi, None, "0", b"", b"", b""), event.variants
    agreed = isinstance(event, events.RoundAgreed)
    row = (event.job, event.round, block.number, agreed, *known, variants, boundary, known[0], block.time)
    db.execute(_DECIDE, row)
    db.execute("UPDATE jobs SET phi = ?, boundary = ? WHERE job = ?", (event.phi_next, block.time, event.job))


def _credit(db: sqlite3.Connection, event: events.Credited) -> None:
    """Credit a place: the ledger credits a round's records in the order of their selection."""
    named = (event.job, event.round)
    (place,) = db.execute("SELECT credited FROM rounds WHERE job = ? AND round = ?", named).fetchone()
    db.execute(
        "UPDATE rounds SET credited = credited + 1, theta = theta + ? WHERE job = ? AND round = ?",
        (event.theta, *named),
    )
    client = (event.job, event.client)
    db.execute("INSERT OR IGNORE INTO clients (job, client) VALUES (?, ?)", client)
    (before,) = db.execute("SELECT reward FROM clients WHERE job = ? AND client = ?", client).fetchone()
    total = int(before) + event.reward
    db.execute(_TOTALS, (event.theta, str(total), total / WEI, *client))
    db.execute(_CREDIT, (*named, place, event.client, event.theta, str(event.reward), total / WEI))


def _settle(db: sqlite3.Connection, job: int, round_: int, time: int, paid: int) -> None:
    db.execute("UPDATE rounds SET settled = ?, paid = ? WHERE job = ? AND round = ?", (time, str(paid), job, round_))
    _add_wei(db, "paid", job, paid)


def _add_wei(db: sqlite3.Connection, column: str, job: int, amount: int) -> None:
    """Add to a job's amount exactly: SQLite's own integers end at 2^63."""
    (before,) = db.execute(f"SELECT {column} FROM jobs WHERE job = ?", (job,)).fetchone()  # noqa: S608 - our own names
    db.execute(f"UPDATE jobs SET {column} = ? WHERE job = ?", (str(int(before) + amount), job))  # noqa: S608 - as above


def _change_rules(db: sqlite3.Connection, event: events.RulesChanged) -> None:
    (terms,) = db.execute("SELECT terms FROM jobs WHERE job = ?", (event.job,)).fetchone()
    changed = msgspec.json.decode(terms) | {
        "rules_version": event.version,
        "scoring": text_of(event.scoring),
        "aggregation": text_of(event.aggregation),
        "staleness": text_of(event.staleness),
    }
    db.execute("UPDATE jobs SET terms = ? WHERE job = ?", (_json(changed), event.job))


def _terms(terms: JobTerms) -> str:
    """Write a job's terms as JSON: names as text, digests in hexadecimal, the reward as a decimal string."""
    shown = asdict(terms) | {name: text_of(getattr(terms, name)) for name in ("scoring", "aggregation", "staleness")}
    digests = {name: getattr(terms, name).hex() for name in ("job_file", "model")}
    return _json(
        shown | digests | {"base_reward": str(terms.base_reward), "norm_bound_squared": str(terms.norm_bound_squared)}
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
