"""The charts as Plotly figures, plain `data` and `layout`; the page's script adds the colours of the page.

A long history is drawn in buckets of rounds, so that a chart has at most `POINTS` points a line however long it is.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.dashboard.queries import ranking
from node.run.history import PPB

POINTS: Final = 300
LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One line or stack of bars: `y` over `x`; None where there is no value."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its lines, what its axes mean, and what it says in words."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    kind: str = "line"
    percent: bool = False

    def figure(self) -> dict[str, Any]:
        """Return it as Plotly reads it."""
        return {
            "data": [self._trace(line) for line in self.lines],
            "layout": {
                "xaxis": {"title": {"text": self.x}, "rangemode": "tozero"},
                "yaxis": {"title": {"text": self.y}, "rangemode": "tozero"}
                | ({"tickformat": ".0%"} if self.percent else {}),
                "barmode": "stack",
                "showlegend": len(self.lines) > 1,
            },
        }

    def _trace(self, line: Line) -> dict[str, Any]:
        trace: dict[str, Any] = {"name": line.name, "x": list(line.x), "y": list(line.y)}
        if self.kind == "bar":
            return trace | {"type": "bar"}
        return trace | {"type": "scatter", "mode": "lines" if len(line.x) > 1 else "markers"}


def width(db: sqlite3.Connection, job: int) -> int:
    """Return how many rounds of a job make a bucket."""
    (newest,) = db.execute("SELECT coalesce(max(round), 0) FROM rounds WHERE job = ?", (job,)).fetchone()
    return max(1, -(-int(newest) // POINTS))


def accuracy(db: sqlite3.Connection, job: int) -> Chart:
    """Test accuracy over versions; only a run measures it, of its one job."""
    found = db.execute(
        "SELECT max(version) AS version, avg(accuracy) AS accuracy FROM accuracy WHERE ? = 1 "
        "GROUP BY version / ? ORDER BY 1",
        (job, width(db, job)),
    ).fetchall()
    line = Line("accuracy", [row["version"] for row in found], [row["accuracy"] for row in found])
    return Chart("Test accuracy", "version", "accuracy", [line], percent=True)


def theta(db: sqlite3.Connection, job: int) -> Chart:
    """Mean theta of the records that rounds paid."""
    found = _rounds(db, job, "1.0 * sum(theta) / nullif(sum(credited), 0)")
    line = Line("mean theta", [row["round"] for row in found], [_share(row["value"]) for row in found])
    return Chart("Theta", "round", "mean theta of a record", [line])


def staleness(db: sqlite3.Connection, job: int) -> Chart:
    """Mean delay, in versions, of the records that rounds took."""
    found = _rounds(
        db, job, "1.0 * sum(CASE WHEN selected THEN delays END) / nullif(sum(CASE WHEN selected THEN k END), 0)"
    )
    line = Line("mean delay", [row["round"] for row in found], [row["value"] for row in found])
    return Chart("Staleness", "round", "mean delay in versions", [line])


def rewards(db: sqlite3.Connection, job: int) -> Chart:
    """Tokens that each client was credited so far; the best paid clients."""
    lines = [_earned(db, job, row["client"]) for row in ranking(db, job, limit=LINES)]
    return Chart("Rewards over time", "round", "tokens credited", lines)


def time(db: sqlite3.Connection, job: int) -> Chart:
    """Seconds of block time that a round spends collecting records, agreeing, and paying."""
    stages = {"collecting": "fixed - begun", "agreeing": "time - fixed", "paying": "settled - time"}
    lines = []
    for name, span in stages.items():
        found = _rounds(db, job, f"avg({span})")
        lines.append(Line(name, [row["round"] for row in found], [row["value"] for row in found]))
    return Chart("Where a round's time goes", "round", "seconds of block time", lines, kind="bar")


def client_rewards(db: sqlite3.Connection, job: int, client: int) -> Chart:
    """Tokens that one client was credited so far."""
    return Chart("Rewards over time", "round", "tokens credited", [_earned(db, job, client)])


def client_theta(db: sqlite3.Connection, job: int, client: int) -> Chart:
    """Theta of one client's records."""
    found = db.execute(
        "SELECT max(round) AS round, avg(theta) AS value FROM places WHERE job = ? AND client = ? "
        "GROUP BY round / ? ORDER BY 1",
        (job, client, width(db, job)),
    ).fetchall()
    line = Line(f"client {client}", [row["round"] for row in found], [_share(row["value"]) for row in found])
    return Chart("Theta", "round", "theta of its records", [line])


CHARTS: Final = {"accuracy": accuracy, "theta": theta, "staleness": staleness, "rewards": rewards, "time": time}
"""Of a job, by name."""

CLIENT_CHARTS: Final = {"rewards": client_rewards, "theta": client_theta}
"""Of a client in a job, by name."""


def _rounds(db: sqlite3.Connection, job: int, value: str) -> list[sqlite3.Row]:
    """Return a value of each bucket of rounds; `value` is SQL of ours."""
    return db.execute(
        f"SELECT max(round) AS round, {value} AS value FROM rounds WHERE job = ? GROUP BY round / ? ORDER BY 1",  # noqa: S608 - see above
        (job, width(db, job)),
    ).fetchall()


def _earned(db: sqlite3.Connection, job: int, client: int) -> Line:
    found = db.execute(
        "SELECT max(round) AS round, max(total) AS total FROM places WHERE job = ? AND client = ? GROUP BY round / ? "
        "ORDER BY 1",
        (job, client, width(db, job)),
    ).fetchall()
    return Line(f"client {client}", [row["round"] for row in found], [row["total"] for row in found])


def _share(ppb: float | None) -> float | None:
    return None if ppb is None else ppb / PPB
