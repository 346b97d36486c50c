"""What pages read from the index; every list is a page of it, found by an index of the database."""

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

import msgspec

PAGE: Final = 25
SUMMED_ROUNDS: Final = 1_000
BEYOND: Final = 2**62  # more than any number of a block, round or record here

_ROUND: Final = """
SELECT r.*, a.accuracy, CASE WHEN credited THEN 1.0 * theta / credited END AS mean_theta,
  CASE WHEN selected AND k THEN 1.0 * delays / k END AS mean_delay
FROM rounds r LEFT JOIN accuracy a ON a.version = r.round AND r.job = 1
"""
_PLACE: Final = """
SELECT p.*, r.theta AS thetas, r.reward AS base_reward, r.paid, r.k, r.block, r.time, w.parts, w.beside
FROM places p JOIN rounds r USING (job, round)
LEFT JOIN reasons w ON w.job = p.job AND w.round = p.round AND w.place = p.place
  AND (w.thetas IS NULL OR w.thetas = r.thetas)
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole ledger in a few numbers."""

    blocks: int
    jobs: int
    rounds: int
    void: int
    records: int
    newest_job: int | None
    accuracy: float | None
    best_accuracy: float | None
    mean_delay: float | None


def totals(db: sqlite3.Connection) -> Totals:
    """Return what the overview begins with; staleness is the mean of the newest rounds."""
    jobs = db.execute(
        "SELECT count(*) AS jobs, coalesce(sum(records), 0) AS records, max(job) AS newest FROM jobs"
    ).fetchone()
    last = db.execute("SELECT accuracy FROM accuracy ORDER BY version DESC LIMIT 1").fetchone()
    delay = db.execute(
        "SELECT 1.0 * sum(delays) / sum(k) AS mean FROM (SELECT delays, k FROM rounds WHERE job = ? AND selected "
        "ORDER BY round DESC LIMIT ?)",
        (jobs["newest"], PAGE),
    ).fetchone()
    return Totals(
        blocks=db.execute("SELECT coalesce(max(number), 0) FROM blocks").fetchone()[0],
        jobs=jobs["jobs"],
        rounds=db.execute("SELECT count(*) FROM rounds").fetchone()[0],
        void=db.execute("SELECT count(*) FROM rounds WHERE agreed = 0").fetchone()[0],
        records=jobs["records"],
        newest_job=jobs["newest"],
        accuracy=None if last is None else last["accuracy"],
        best_accuracy=db.execute("SELECT max(accuracy) FROM accuracy").fetchone()[0],
        mean_delay=delay["mean"],
    )


def blocks(db: sqlite3.Connection, before: int = BEYOND, limit: int = PAGE) -> list[sqlite3.Row]:
    """Return the newest blocks below a number."""
    return db.execute("SELECT * FROM blocks WHERE number < ? ORDER BY number DESC LIMIT ?", (before, limit)).fetchall()


def block(db: sqlite3.Connection, number: int) -> sqlite3.Row | None:
    """Return a block."""
    return _one(db, "SELECT * FROM blocks WHERE number = ?", number)


def block_of_hash(db: sqlite3.Connection, name: bytes) -> int | None:
    """Return the number of the block with this hash."""
    found = _one(db, "SELECT number FROM blocks WHERE hash = ?", name)
    return None if found is None else int(found["number"])


def rounds_in_block(db: sqlite3.Connection, number: int) -> list[sqlite3.Row]:
    """Return the rounds that a block decided."""
    return db.execute("SELECT job, round, agreed FROM rounds WHERE block = ?", (number,)).fetchall()


def jobs(db: sqlite3.Connection, before: int = BEYOND) -> list[sqlite3.Row]:
    """Return the newest jobs below a number, each with its newest round."""
    return db.execute(
        "SELECT *, (SELECT max(round) FROM rounds r WHERE r.job = jobs.job) AS version "
        "FROM jobs WHERE job < ? ORDER BY job DESC LIMIT ?",
        (before, PAGE),
    ).fetchall()


def job(db: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    """Return a job with its terms decoded."""
    found = _one(
        db,
        "SELECT *, (SELECT max(round) FROM rounds r WHERE r.job = jobs.job) AS version FROM jobs WHERE job = ?",
        number,
    )
    return None if found is None else {**dict(found), "terms": msgspec.json.decode(found["terms"])}


def rounds(db: sqlite3.Connection, job: int, before: int = BEYOND, limit: int = PAGE) -> list[sqlite3.Row]:
    """Return the newest rounds of a job below a number."""
    return db.execute(
        f"{_ROUND} WHERE r.job = ? AND r.round < ? ORDER BY r.round DESC LIMIT ?", (job, before, limit)
    ).fetchall()


def round_(db: sqlite3.Connection, job: int, number: int) -> sqlite3.Row | None:
    """Return a decided round."""
    return _one(db, f"{_ROUND} WHERE r.job = ? AND r.round = ?", job, number)


def places(db: sqlite3.Connection, job: int, round_: int) -> list[dict[str, Any]]:
    """Return the places of a round in the order of selection, with the parts of theta where they are `explained`."""
    return _with_parts(db.execute(f"{_PLACE} WHERE p.job = ? AND p.round = ? ORDER BY p.place", (job, round_)))


def places_of_client(db: sqlite3.Connection, job: int, client: int, before: int = BEYOND) -> list[dict[str, Any]]:
    """Return what a client's newest consumed records earned in rounds below a number."""
    found = db.execute(
        f"{_PLACE} WHERE p.job = ? AND p.client = ? AND p.round < ? ORDER BY p.round DESC, p.place LIMIT ?",
        (job, client, before, PAGE),
    )
    return _with_parts(found)


def variants(db: sqlite3.Connection, job: int, round_: int) -> list[dict[str, Any]]:
    """Return what the edge servers attested of a round: each variant with its parts and servers, most support first."""
    found = db.execute(
        "SELECT digest, group_concat(edge, ' ') AS edges, count(*) AS support, sum(late) AS late FROM attestations "
        "WHERE job = ? AND round = ? GROUP BY digest ORDER BY support DESC",
        (job, round_),
    ).fetchall()
    parts = dict(db.execute("SELECT digest, parts FROM variants WHERE job = ? AND round = ?", (job, round_)).fetchall())
    return [
        {
            **dict(row),
            "edges": sorted(map(int, row["edges"].split())),
            "parts": msgspec.json.decode(parts.get(row["digest"], "{}")),
        }
        for row in found
    ]


def ranking(db: sqlite3.Connection, job: int, skip: int = 0, limit: int = PAGE) -> list[sqlite3.Row]:
    """Return a job's clients, the best paid first."""
    return db.execute(
        "SELECT *, CASE WHEN credited THEN 1.0 * theta / credited END AS mean_theta, "
        "CASE WHEN placed THEN 1.0 * delays / placed END AS mean_delay "
        "FROM clients WHERE job = ? ORDER BY total DESC, client LIMIT ? OFFSET ?",
        (job, limit, skip),
    ).fetchall()


def jobs_of_client(db: sqlite3.Connection, client: int) -> list[sqlite3.Row]:
    """Return the jobs in which a client was paid or took a place, with its sums."""
    return db.execute(
        "SELECT c.*, j.title, CASE WHEN credited THEN 1.0 * theta / credited END AS mean_theta, "
        "CASE WHEN placed THEN 1.0 * delays / placed END AS mean_delay "
        "FROM jobs j JOIN clients c ON c.job = j.job AND c.client = ? ORDER BY j.job DESC LIMIT ?",
        (client, PAGE),
    ).fetchall()


def records_of_client(db: sqlite3.Connection, client: int) -> list[sqlite3.Row]:
    """Return a client's newest records."""
    return db.execute(
        "SELECT * FROM records WHERE client = ? ORDER BY job DESC, sequence DESC LIMIT ?", (client, PAGE)
    ).fetchall()


def record(db: sqlite3.Connection, job: int, sequence: int) -> sqlite3.Row | None:
    """Return a record."""
    return _one(db, "SELECT * FROM records WHERE job = ? AND sequence = ?", job, sequence)


def records_of_digest(db: sqlite3.Connection, digest: bytes) -> list[sqlite3.Row]:
    """Return the records that name a blob."""
    return db.execute("SELECT * FROM records WHERE digest = ? LIMIT ?", (digest, PAGE)).fetchall()


def jobs_with_round(db: sqlite3.Connection, number: int) -> list[int]:
    """Return the newest jobs that have decided a round of this number."""
    found = db.execute(
        "SELECT job FROM jobs WHERE EXISTS (SELECT 1 FROM rounds r WHERE r.job = jobs.job AND r.round = ?) "
        "ORDER BY job DESC LIMIT ?",
        (number, PAGE),
    )
    return [row["job"] for row in found]


def jobs_with_record(db: sqlite3.Connection, sequence: int) -> list[int]:
    """Return the newest jobs that have a record of this number."""
    found = db.execute("SELECT job FROM jobs WHERE records > ? ORDER BY job DESC LIMIT ?", (sequence, PAGE))
    return [row["job"] for row in found]


def stages(db: sqlite3.Connection, job: int) -> sqlite3.Row:
    """Return the mean seconds that the newest rounds of a job spent collecting, agreeing and paying."""
    found: sqlite3.Row = db.execute(
        "SELECT count(*) AS rounds, avg(fixed - begun) AS collecting, avg(time - fixed) AS agreeing, "
        "avg(settled - time) AS paying "
        "FROM (SELECT * FROM rounds WHERE job = ? AND agreed ORDER BY round DESC LIMIT ?)",
        (job, SUMMED_ROUNDS),
    ).fetchone()
    return found


def _one(db: sqlite3.Connection, query: str, *values: object) -> sqlite3.Row | None:
    found: sqlite3.Row | None = db.execute(query, values).fetchone()
    return found


def _with_parts(found: sqlite3.Cursor) -> list[dict[str, Any]]:
    return [
        {**dict(row), "parts": msgspec.json.decode(row["parts"] or "{}"), "explained": row["parts"] is not None}
        for row in found
    ]
