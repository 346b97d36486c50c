"""The table of a usefulness experiment: a row for each place of the grid, means and deviations over the seeds."""

import math
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
WIDTH = 240
T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""97.5 % points of Student's t for 1, 2, ... degrees of freedom; from 30 on the last, which is a little too wide."""
DIGITS = 4
PLAIN = 4
"""Parts of a place that every table shows."""


class Place(NamedTuple):
    """Where a run stands in the grid; runs that differ in the seed alone share a place."""

    federation: str
    partition: str
    rule: str
    attack: str
    variant: str = ""


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

    @property
    def half_width(self) -> float:
        """Half of the 95 % confidence interval of the mean (Student's t); 0 for one value."""
        if self.seeds == 1:
            return 0.0
        quantile = T_QUANTILES[min(self.seeds, len(T_QUANTILES) + 1) - 2]
        return quantile * self.deviation / math.sqrt(self.seeds)


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
        figures = [figures_of(one) for one in by_seed.values()]
        values = {
            what: Spread.of([value for one in figures if (value := one.get(what)) is not None])
            for what in dict.fromkeys((*COLUMNS, *(what for one in figures for what in sorted(one))))
        }
        values["accuracy_lost"] = Spread.of(
            [alone[seed].accuracy - one.accuracy for seed, one in by_seed.items() if seed in alone]
        )
        rows.append(Row(place, values))
    return rows


def figures_of(summary: "Summary") -> dict[str, float | None]:
    """Name every figure of a run: those of `Summary`, wages as wage_ROLE, times as seconds_to_ACCURACY."""
    found: dict[str, float | None] = {}
    for field in summary.__struct_fields__:
        value = getattr(summary, field)
        if isinstance(value, dict):
            stem = "wage" if field == "wages" else field
            found |= {f"{stem}_{key}": one for key, one in value.items()}
        else:
            found[field] = value
    return found


def text_table(rows: Sequence[Row], columns: Mapping[str, str] = COLUMNS) -> str:
    """Draw the rows as text: means, with deviations where there are several seeds; `columns`: figure -> heading."""
    kept = [at for at, _ in enumerate(Place._fields) if at < PLAIN or any(row.place[at] for row in rows)]
    headings = [*(Place._fields[at] for at in kept), *columns.values()]
    return _drawn(headings, [[*(row.place[at] for at in kept), *map(_cell, _values(row, columns))] for row in rows])


def differences(
    summaries: "Mapping[Place, Mapping[int, Summary]]", pairs: Sequence[tuple[Place, Place]]
) -> list[tuple[Place, Place, dict[str, Spread | None]]]:
    """Take each second place less the first, seed by seed, over the seeds that both have a figure of."""
    found = []
    for base, other in pairs:
        seeds = [seed for seed in summaries.get(base, {}) if seed in summaries.get(other, {})]
        both = [(figures_of(summaries[base][seed]), figures_of(summaries[other][seed])) for seed in seeds]
        names = dict.fromkeys(name for one, _ in both for name in one)
        values = {
            name: Spread.of(
                [b - a for one, two in both if (a := one.get(name)) is not None and (b := two.get(name)) is not None]
            )
            for name in names
        }
        found.append((base, other, values))
    return found


def difference_table(
    found: Sequence[tuple[Place, Place, Mapping[str, Spread | None]]], columns: Mapping[str, str]
) -> str:
    """Draw the differences: means with half of their 95 % confidence intervals, and of how many seeds if not all."""
    most = max((one.seeds for *_, values in found for one in values.values() if one is not None), default=0)
    lines = [
        [_shown(other), _shown(base), *(_interval(values.get(what), most) for what in columns)]
        for base, other, values in found
    ]
    return _drawn([f"{most} seeds", "less", *columns.values()], lines)


def _drawn(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    table = Table(box=None, pad_edge=False)
    for name in headings:
        table.add_column(name, no_wrap=True)
    for line in lines:
        table.add_row(*line)
    text = StringIO()
    Console(file=text, width=WIDTH).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _values(row: Row, columns: Mapping[str, str]) -> list[Spread | None]:
    return [row.values.get(what) for what in columns]


def _shown(place: Place) -> str:
    return " ".join(part for part in place if part)


def _interval(one: Spread | None, most: int) -> str:
    if one is None:
        return "-"
    return f"{one.mean:+.3f} ±{one.half_width:.3f}" + (f" ({one.seeds})" if one.seeds < most else "")


def _cell(one: Spread | None) -> str:
    if one is None:
        return "-"
    return f"{one.mean:.3f}" + (f" ±{one.deviation:.3f}" if one.seeds > 1 else "")
