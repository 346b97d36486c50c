"""What a usefulness experiment shows along its axes: lines over one of them, and differences from one of its values."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from node.errors import ConfigError
from node.experiments.usefulness_tables import Place, Row, Spread

Labels = Mapping[Place, Mapping[str, str]]
"""For each place its word on every axis: federation, partition, rule, attack, and those of [axes]."""
Panels = dict[tuple[str, str], dict[str, list[tuple[str, Spread]]]]
"""(figure, setting) -> the lines by name, each (word on the axis, figure)."""

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]+$")]


class Plot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A picture NAME.png: `figures` over axis `x`, a line for each word of axis `lines`, columns for what else varies.

    A point is left out where not every seed has the figure, as for an accuracy that some did not reach.
    """

    name: Name
    x: str
    lines: str
    figures: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every other word of axis `along` less the word `base`, seed by seed, all else equal."""

    along: str
    base: str


def check_views(plots: Sequence[Plot], comparisons: Sequence[Comparison], labels: Labels) -> None:
    """Raise `ConfigError` for an axis that the grid does not have, or a base that is not on its axis."""
    words: dict[str, set[str]] = {}
    for own in labels.values():
        for axis, word in own.items():
            words.setdefault(axis, set()).add(word)
    for axis in [*(one.x for one in plots), *(one.lines for one in plots), *(one.along for one in comparisons)]:
        if axis not in words:
            message = f"no axis {axis!r}: choose one of {', '.join(words)}"
            raise ConfigError(message)
    for one in comparisons:
        if one.base not in words[one.along]:
            message = (
                f"compare: no {one.base!r} on axis {one.along}: choose one of {', '.join(sorted(words[one.along]))}"
            )
            raise ConfigError(message)


def pairs(comparison: Comparison, labels: Labels) -> list[tuple[Place, Place]]:
    """Give (base, other) for every place that is not on the base, where the base was to be run beside it."""
    at = {tuple(own.items()): place for place, own in labels.items()}
    found = []
    for place, own in labels.items():
        beside = at.get(tuple({**own, comparison.along: comparison.base}.items()))
        if beside is not None and beside != place:
            found.append((beside, place))
    return found


def panels(plot: Plot, rows: Sequence[Row], labels: Labels) -> Panels:
    """Sort figures into panels and lines."""
    varying = [
        axis
        for axis in next(iter(labels.values()), {})
        if axis not in {plot.x, plot.lines} and len({own[axis] for own in labels.values()}) > 1
    ]
    seeds = max((one.seeds for row in rows for one in row.values.values() if one is not None), default=0)
    found: Panels = {}
    for row in rows:
        own = labels[row.place]
        setting = ", ".join(own[axis] for axis in varying)
        for figure in plot.figures:
            line = found.setdefault((figure, setting), {}).setdefault(own[plot.lines], [])
            value = row.values.get(figure)
            if value is not None and value.seeds == seeds:
                line.append((own[plot.x], value))
    return found
