"""The picture of an experiment: heights and rounds over time, and what was done to whom."""

from collections.abc import Mapping, Sequence
from pathlib import Path

_LONGEST_LEGEND = 8


def plot(
    path: Path,
    *,
    title: str,
    seconds: Sequence[float],
    heights: Sequence[Mapping[str, int | None]],
    versions: Sequence[int | None],
    happened: Sequence[tuple[float, str]],
) -> None:
    """Write a PNG: one line of heights per node (a gap where it did not answer), model versions, marks for events."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(name for sample in heights for name in sample))
    for at, name in enumerate(names):
        line = [float("nan") if sample.get(name) is None else float(sample[name] or 0) for sample in heights]
        axes.plot(seconds, line, label=name if at < _LONGEST_LEGEND else None, linewidth=1.2)
    axes.set(title=title, xlabel="seconds", ylabel="height")
    for when, what in happened:
        axes.axvline(when, color="tab:green" if "healed" in what else "tab:red", alpha=0.25, linewidth=0.8)
    known = [(when, version) for when, version in zip(seconds, versions, strict=True) if version is not None]
    if known:
        right = axes.twinx()
        right.plot(*zip(*known, strict=True), color="black", linestyle=":", label="model version")
        right.set_ylabel("model version")
    axes.legend(loc="upper left", fontsize="small")
    figure.savefig(path, dpi=110)
