"""The pictures of an allocation experiment: staleness over learners, accuracy over cycles, bands over the seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = MappingProxyType(
    {
        "least": "exact, least staleness",
        "most-updates": "exact, most updates at staleness 1",
        "sai": "relaxed, suggest and improve",
        "ipopt": "relaxed, Ipopt",
        "synchronous": "HA-Sync",
        "equal": "HU (equal shares)",
    }
)
COLOURS = MappingProxyType(
    {
        "least": "tab:blue",
        "most-updates": "tab:green",
        "sai": "tab:purple",
        "ipopt": "tab:brown",
        "synchronous": "tab:orange",
        "equal": "tab:red",
    }
)
DASHES = MappingProxyType({"sai": "--", "ipopt": ":", "synchronous": "--"})
"""What often lies on another curve is dashed, so that both are seen."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One scheme: means and deviations over the seeds at each `at`, of the same length."""

    scheme: str
    at: tuple[int, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def of(cls, scheme: str, points: Iterable[tuple[int, tuple[float, float] | None]]) -> Self:
        """Make it from (at, (mean, deviation)); a place without a value, where nothing was found, is left out."""
        known = [(at, *value) for at, value in points if value is not None]
        return cls(
            scheme, tuple(at for at, _, _ in known), tuple(m for _, m, _ in known), tuple(d for _, _, d in known)
        )


def plot_staleness(
    path: Path, *, title: str, seconds: Sequence[float], curves: Mapping[tuple[str, float], Sequence[Curve]]
) -> None:
    """Write a PNG: the greatest staleness above, the average below, a column per cycle T in `seconds`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=(5.2 * len(seconds), 7), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(2, len(seconds), squeeze=False, sharex=True, sharey="row")
    rows = (("max_staleness", "greatest staleness (updates)"), ("average_staleness", "average staleness (updates)"))
    for row, (what, name) in enumerate(rows):
        for column, one in enumerate(seconds):
            axes = grid[row][column]
            for curve in curves[what, one]:
                _draw(axes, curve, marker="o")
            axes.set(title=f"T = {one:g} s" if row == 0 else "", xlabel="learners K" if row else "")
            axes.set_ylabel(name if column == 0 else "")
            axes.grid(alpha=0.3)
    grid[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def plot_accuracy(path: Path, *, title: str, curves: Mapping[int, Sequence[Curve]], marks: Sequence[float]) -> None:
    """Write a PNG: accuracy over global cycles, a panel per number of learners, a dotted line at each of `marks`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=(4.6 * len(curves), 4.6), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, (learners, drawn) in zip(panels, curves.items(), strict=True):
        for curve in drawn:
            _draw(axes, curve, marker=".")
        for mark in marks:
            axes.axhline(mark, color="black", linestyle=":", linewidth=0.8)
        axes.set(title=f"K = {learners}", xlabel="global cycle")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on the test images")
    panels[0].legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=110)


def _draw(axes: "Axes", curve: Curve, marker: str) -> None:
    """Draw means as a line and one standard deviation to both sides as a band."""
    colour = COLOURS[curve.scheme]
    style = DASHES.get(curve.scheme, "-")
    axes.plot(curve.at, curve.means, style, color=colour, marker=marker, markersize=4, label=LABELS[curve.scheme])
    low = [mean - deviation for mean, deviation in zip(curve.means, curve.deviations, strict=True)]
    high = [mean + deviation for mean, deviation in zip(curve.means, curve.deviations, strict=True)]
    axes.fill_between(curve.at, low, high, color=colour, alpha=0.2, linewidth=0)
