"""The pictures of a usefulness experiment: a figure by attack and rule, and accuracy over virtual time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from node.experiments.usefulness_axes import number_of
from node.experiments.usefulness_tables import Place, Row, Spread

Curve = Sequence[tuple[float, float]]
"""(virtual seconds, accuracy), in order of time."""

_PANELS_ACROSS = 4


def plot_bars(path: Path, *, title: str, rows: Sequence[Row], what: str, label: str, mark: float | None) -> None:
    """Write a PNG: a group of bars for each attack, a bar for each rule, a panel for each federation and partition.

    Whiskers are one standard deviation over the seeds; a dotted line stands at `mark`.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        panels.setdefault((row.place.federation, row.place.partition), []).append(row)
    attacks = list(dict.fromkeys(row.place.attack for row in rows))
    rules = list(dict.fromkeys(row.place.rule for row in rows))
    figure = Figure(figsize=(max(6.0, 0.25 * len(attacks) * len(rules) + 2), 3.2 * len(panels)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)
    width = 0.8 / len(rules)
    for axes, ((federation, partition), own) in zip(grid[:, 0], panels.items(), strict=True):
        for at, rule in enumerate(rules):
            found = {row.place.attack: row.values[what] for row in own if row.place.rule == rule}
            bars = [(x, one) for x, attack in enumerate(attacks) if (one := found.get(attack)) is not None]
            axes.bar(
                [x + (at + 0.5) * width - 0.4 for x, _ in bars],
                [one.mean for _, one in bars],
                width,
                yerr=[one.deviation for _, one in bars],
                label=rule,
                error_kw={"linewidth": 0.8},
            )
        if mark is not None:
            axes.axhline(mark, color="black", linestyle=":", linewidth=0.8)
        axes.set(title=f"{federation}, {partition}", ylabel=label)
        axes.set_xticks(np.arange(len(attacks)), attacks, rotation=40, ha="right", fontsize="small")
        axes.grid(axis="y", alpha=0.3)
    grid[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=90)


def plot_curves(path: Path, *, title: str, curves: Mapping[Place, Sequence[Curve]]) -> None:
    """Write a PNG: accuracy over virtual seconds, a panel for each federation, partition and attack.

    A rule has one colour and a thin line for each seed.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    panels = list(dict.fromkeys((place.federation, place.partition, place.attack) for place in curves))
    rules = list(dict.fromkeys(place.rule for place in curves))
    down = -(-len(panels) // _PANELS_ACROSS)
    figure = Figure(figsize=(3.4 * _PANELS_ACROSS, 2.5 * down + 0.5), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(down, _PANELS_ACROSS, squeeze=False, sharey=True).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        for at, rule in enumerate(rules):
            place = Place(panel[0], panel[1], rule, panel[2])
            for number, curve in enumerate(curves.get(place, ())):
                axes.plot(*zip(*curve, strict=True), color=f"C{at}", linewidth=0.9, label=None if number else rule)
        axes.set_title(f"{panel[0]}, {panel[1]}\n{panel[2]}", fontsize="small")
        axes.grid(alpha=0.3)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    grid[0].legend(fontsize="small", loc="lower right")
    figure.supxlabel("virtual seconds", fontsize="small")
    figure.supylabel("accuracy on the test images", fontsize="small")
    figure.savefig(path, dpi=80)


Line = Sequence[tuple[str, Spread]]
"""(value on the axis, figure), in the order of the axis."""


def plot_lines(
    path: Path, *, title: str, x: str, panels: Mapping[tuple[str, str], Mapping[str, Line]], words: Sequence[str]
) -> None:
    """Write a PNG: figures over the values `words` of axis `x`, a row for each figure, a column for each setting.

    `panels[figure, setting]` has the lines by name. Whiskers are 95 % confidence intervals of the means. Numbers are
    drawn on a logarithmic scale that shows 0, other words at equal distances.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figures = list(dict.fromkeys(figure for figure, _ in panels))
    settings = list(dict.fromkeys(setting for _, setting in panels))
    numbers = number_of(words)
    places = dict(zip(words, numbers or range(len(words)), strict=True))
    drawn = Figure(figsize=(4.6 * len(settings) + 0.6, 2.7 * len(figures) + 0.6), layout="constrained")
    drawn.suptitle(title)
    grid = drawn.subplots(len(figures), len(settings), squeeze=False, sharex=True, sharey="row")
    for (figure, setting), lines in panels.items():
        axes = grid[figures.index(figure)][settings.index(setting)]
        for name, line in lines.items():
            axes.errorbar(
                [places[word] for word, _ in line],
                [one.mean for _, one in line],
                yerr=[one.half_width for _, one in line],
                label=name,
                marker=".",
                linewidth=1.0,
                capsize=2,
            )
        if numbers is not None:
            axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(list(places.values()), list(places), fontsize="small")
        axes.grid(alpha=0.3)
        if figure == figures[0]:
            axes.set_title(setting, fontsize="small")
        if setting == settings[0]:
            axes.set_ylabel(figure)
        if figure == figures[-1]:
            axes.set_xlabel(x)
    grid[0][0].legend(fontsize="small")
    drawn.savefig(path, dpi=80)
