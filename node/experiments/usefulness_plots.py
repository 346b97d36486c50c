"""The pictures of a usefulness experiment: a figure by attack and rule, and accuracy over virtual time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from node.experiments.usefulness_tables import Place, Row

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
