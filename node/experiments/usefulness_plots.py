"""The pictures of a usefulness experiment: a figure by attack and rule, and accuracy over virtual time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from node.experiments.usefulness_axes import number_of
from node.experiments.usefulness_tables import Place, Row, Spread

Curve = Sequence[tuple[float, float]]
"""(virtual seconds, accuracy), in order of time."""

_PANELS_ACROSS = 4
_COLOURS = 10  # of matplotlib's cycle
_STYLES = ("-", "--", ":", "-.")


def plot_matrix(path: Path, *, title: str, rows: Sequence[Row], what: str, label: str, mark: float | None) -> None:
    """Write a PNG: a column for each attack, a row for each rule, a panel for each federation and partition.

    A cell says the mean over the seeds, the darker the higher; `mark` is the value to hold it against.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        panels.setdefault((row.place.federation, row.place.partition), []).append(row)
    attacks = list(dict.fromkeys(row.place.attack for row in rows))
    rules = list(dict.fromkeys(row.place.rule for row in rows))
    size = (0.62 * len(attacks) + 3.2, (0.3 * len(rules) + 1.2) * len(panels) + 1.0)
    figure = Figure(figsize=(max(6.0, size[0]), size[1]), layout="constrained")
    figure.suptitle(f"{title}\n{label}" + ("" if mark is None else f" ({mark:g} is their share of the clients)"))
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)
    highest = max((found.mean for row in rows if (found := row.values[what]) is not None), default=1.0) or 1.0
    for axes, ((federation, partition), own) in zip(grid[:, 0], panels.items(), strict=True):
        cells = np.full((len(rules), len(attacks)), np.nan)
        for row in own:
            found = row.values[what]
            if found is not None:
                cells[rules.index(row.place.rule), attacks.index(row.place.attack)] = found.mean
        axes.imshow(cells, cmap="Blues", vmin=0.0, vmax=highest, aspect="auto")
        for (y, x), value in np.ndenumerate(cells):
            if not np.isnan(value):
                colour = "white" if value > 0.6 * highest else "black"
                axes.text(x, y, f"{value:.3f}", ha="center", va="center", fontsize="x-small", color=colour)
        axes.set_title(f"{federation}, {partition}", fontsize="medium")
        axes.set_yticks(np.arange(len(rules)), rules, fontsize="small")
        axes.set_xticks(np.arange(len(attacks)), attacks, rotation=40, ha="right", fontsize="small")
    figure.savefig(path, dpi=90)


def plot_curves(path: Path, *, title: str, curves: Mapping[Place, Sequence[Curve]]) -> None:
    """Write a PNG: accuracy over virtual seconds, a panel for each federation, partition and attack.

    A rule has one line, the mean over its seeds at the times of the first; there are as many styles as rules.
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
            if own := curves.get(place, ()):
                style = _STYLES[at // _COLOURS % len(_STYLES)]
                axes.plot(*mean_curve(own), style, color=f"C{at % _COLOURS}", linewidth=0.9, label=rule)
        axes.set_title(f"{panel[0]}, {panel[1]}\n{panel[2]}", fontsize="small")
        axes.grid(alpha=0.3)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize="small", loc="outside right upper")
    figure.supxlabel("virtual seconds", fontsize="small")
    figure.supylabel("accuracy on the test images", fontsize="small")
    figure.savefig(path, dpi=80)


def mean_curve(curves: Sequence[Curve]) -> tuple[list[float], list[float]]:
    """Return the first curve's times, as far as all curves go, and the curves' mean there, straight between points."""
    until = min(curve[-1][0] for curve in curves)
    times = [at for at, _ in curves[0] if at <= until]
    drawn = [np.interp(times, [at for at, _ in curve], [value for _, value in curve]) for curve in curves]
    return times, np.mean(drawn, axis=0).tolist()


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
