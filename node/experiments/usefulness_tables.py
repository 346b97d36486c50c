"""The table of a usefulness experiment: a row for each place of the grid, means and deviations over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean, stdev
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from learner.simulation.summary import Summary


COLUMNS = MappingProxyType(
    {
        "accuracy": "accuracy",
        "accuracy_lost": "lost to attack",
        "attackers_share": "attackers' share",
        "auc_update": "AUC update",
        "auc_client": "AUC client",
        "starved": "starved",
        "triggered": "back door",
    }
)
"""Figure -> its heading: those of `Summary`, and how much less accurate it is than without the attackers."""
WIDTH = 200
DIGITS = 4


class Place(NamedTuple):
    """Where a run stands in the grid; runs that differ in the seed alone share a place."""

    federation: str
    partition: str
    rule: str
    attack: str


class Spread(NamedTuple):
    """Mean and sample standard deviation (0 for one value) over `seeds` runs."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Sum values up; None if there are none."""
        if not values:
            return None
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))


@dataclass(frozen=True, slots=True)
class Row:
    """A place and its figures over the seeds; None where there was nothing to measure in any of them."""

    place: Place
    values: Mapping[str, Spread | None]

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return {
            what: None
            if one is None
            else {"mean": round(one.mean, DIGITS), "deviation": round(one.deviation, DIGITS), "seeds": one.seeds}
            for what, one in self.values.items()
        }


def rows_of(summaries: "Mapping[Place, Mapping[int, Summary]]", *, absent: str) -> list[Row]:
    """Make the rows of the places that have a run, in their order; `absent` is the attack of the reference runs.

    `summaries[place]` maps seeds to runs. What an attack costs in accuracy is told seed by seed, against the run
    without the attackers under the same rule.
    """
    rows = []
    for place, by_seed in summaries.items():
        if not by_seed:
            continue
        alone = summaries.get(place._replace(attack=absent), {})
        values = {what: _spread(by_seed, what) for what in COLUMNS if what != "accuracy_lost"}
        values["accuracy_lost"] = Spread.of(
            [alone[seed].accuracy - one.accuracy for seed, one in by_seed.items() if seed in alone]
        )
        roles = sorted({role for one in by_seed.values() for role in one.wages})
        for role in roles:
            values[f"wage_{role}"] = Spread.of([one.wages[role] for one in by_seed.values() if role in one.wages])
        targets = sorted({target for one in by_seed.values() for target in one.seconds_to})
        for target in targets:
            reached = [found for one in by_seed.values() if (found := one.seconds_to.get(target)) is not None]
            values[f"seconds_to_{target}"] = Spread.of(reached)
        rows.append(Row(place, values))
    return rows


def text_table(rows: Sequence[Row]) -> str:
    """Draw the rows as text: means, with deviations where there are several seeds."""
    table = Table(box=None, pad_edge=False)
    for name in (*Place._fields, *COLUMNS.values()):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row.place, *(_cell(row.values[what]) for what in COLUMNS))
    text = StringIO()
    Console(file=text, width=WIDTH).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _spread(by_seed: "Mapping[int, Summary]", what: str) -> Spread | None:
    values = [getattr(one, what) for one in by_seed.values()]
    return Spread.of([value for value in values if value is not None])


def _cell(one: Spread | None) -> str:
    if one is None:
        return "-"
    return f"{one.mean:.3f}" + (f" ±{one.deviation:.3f}" if one.seeds > 1 else "")
