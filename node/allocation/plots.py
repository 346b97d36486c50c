"""Pictures of an allocation and of the frontier between staleness and updates."""

from collections.abc import Sequence
from pathlib import Path

from learner.allocation.exact import Point
from learner.allocation.instance import Integers

_BARS = 200
"""Learners beyond which samples and updates are drawn as lines, sorted by updates."""


def plot_allocation(path: Path, samples: Integers, updates: Integers) -> None:
    """Write a PNG (or what the suffix says): samples and updates of every learner."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=(10, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    learners = range(1, len(samples) + 1)
    if len(samples) <= _BARS:
        upper.bar(learners, samples, color="tab:blue")
        lower.bar(learners, updates, color="tab:orange")
        lower.set_xlabel("learner")
    else:
        order = updates.argsort(kind="stable")
        upper.plot(learners, samples[order], color="tab:blue", linewidth=0.6)
        lower.plot(learners, updates[order], color="tab:orange")
        lower.set_xlabel("learners, by rising updates")
    upper.set(ylabel="samples", title=f"{len(samples)} learners, staleness {int(updates.max() - updates.min())}")
    lower.set_ylabel("updates")
    figure.savefig(path, dpi=110)


def plot_frontier(path: Path, points: Sequence[Point]) -> None:
    """Write a PNG (or what the suffix says): most updates and least average staleness over the staleness allowed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - as above

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    allowed = [point.staleness for point in points]
    axes.plot(allowed, [point.most_updates.updates or 0 for point in points], marker="o", label="most updates")
    axes.set(xlabel="staleness at most", ylabel="updates of all learners")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right = axes.twinx()
    for label, chosen, style in (
        ("average staleness of these", [point.most_updates for point in points], ":"),
        ("least average staleness", [point.least_average for point in points], "--"),
    ):
        right.plot(allowed, [one.average_staleness or 0.0 for one in chosen], style, color="tab:red", label=label)
    right.set_ylabel("average staleness")
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)
