"""Plots of a run. The only module that imports matplotlib: import it inside the function that needs it.

Figures are made with the object-oriented API, so that nothing is kept in pyplot. Every function takes a palette:
`PRINT` for image files on white, `PAGE` for SVG inside a page, whose colours `svg` turns into CSS variables, so that
one drawing serves the light and the dark page. Colours are those of Okabe and Ito, made to be told apart by anybody.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from node.run.amounts import TOKEN_DECIMALS
from node.run.history import PPB, ClientSummary, History

_SIZE_INCHES = (5.2, 3.6)  # small, so that the text is still legible on a phone
_MARGIN_INCHES = 0.08
_DOTS_PER_INCH = 200
_TEXT_POINTS = 9.5
_MOST_MARKED_POINTS = 80
_MOST_BANDS = 400
_MOST_NAMED_CLIENTS = 30
_MINUTES_FROM_S = 600


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by their part in a plot, as #rrggbb."""

    ink: str
    muted: str
    grid: str
    paper: str
    main: str
    accent: str
    second: str


PRINT = Palette(
    ink="#1b2430",
    muted="#5b6675",
    grid="#dfe4ea",
    paper="#ffffff",
    main="#0072b2",
    accent="#d55e00",
    second="#009e73",
)
PAGE = Palette(  # stand-ins that `svg` replaces by var(--ink) and so on
    ink="#0a0b01",
    muted="#0a0b02",
    grid="#0a0b03",
    paper="#0a0b04",
    main="#0a0b05",
    accent="#0a0b06",
    second="#0a0b07",
)

Plot = Callable[[History, Palette], Figure]


def accuracy(history: History, palette: Palette) -> Figure:
    """Test accuracy over wall-clock time; the upper axis says which round the version came from."""
    figure, axes = _figure(palette)
    points = history.accuracies
    if not points:
        return _nothing(figure, axes, "no accuracy was measured", palette)
    scale, unit = _time_unit(history.seconds)
    times = [point.seconds / scale for point in points]
    shares = [100 * point.accuracy for point in points]
    marker = "o" if len(points) <= _MOST_MARKED_POINTS else ""
    axes.plot(times, shares, color=palette.main, marker=marker, markersize=3.2, linewidth=1.6)
    for index, seconds in enumerate(history.resumed_at):
        label = "resumed after a stop" if index == 0 else None
        axes.axvline(seconds / scale, color=palette.accent, linewidth=1, linestyle=(0, (4, 3)), label=label)
    axes.set_xlim(0, max(*times, history.seconds / scale, 1e-3))
    axes.set_ylim(0, 100)
    axes.set_xlabel(f"time since the start ({unit})")
    axes.set_ylabel("test accuracy (%)")
    _round_axis(history, axes, scale, palette)
    if history.resumed_at:
        _legend(axes, palette, "lower right")
    return figure


def rewards(history: History, palette: Palette) -> Figure:
    """Reward of each client as bars, best paid first, and how many of its records were consumed as dots."""
    figure, axes = _figure(palette)
    clients = history.clients()
    if not clients:
        return _nothing(figure, axes, "no client took part", palette)
    places = list(range(len(clients)))
    amounts = [client.reward_wei / 10**TOKEN_DECIMALS for client in clients]
    _bars_by_speed(axes, clients, places, amounts, palette)
    axes.set_ylabel("reward (tokens)")
    axes.set_ylim(0, max(*amounts, 0.0, 1e-9) * 1.3)  # the legend stands above the bars
    _name_clients(axes, clients, "best paid first")
    counts = axes.twinx()
    size = 6.0 if len(clients) <= _MOST_NAMED_CLIENTS else 3.0
    consumed = [client.records for client in clients]
    counts.plot(
        places, consumed, "D", color=palette.second, markersize=size, markeredgecolor=palette.paper, markeredgewidth=0.7
    )
    counts.set_ylabel("consumed records", color=palette.second)
    counts.set_ylim(0, max(*consumed, 0, 1) * 1.3)
    counts.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    counts.tick_params(axis="y", colors=palette.second, length=0)
    counts.spines[:].set_visible(False)
    axes.plot(
        [], [], "D", color=palette.second, markersize=4.5, markeredgecolor=palette.paper, label="consumed records"
    )
    _legend(axes, palette, "upper right")
    return figure


def work(history: History, palette: Palette) -> Figure:
    """Average (equation 13 of arXiv 1905.01656) and greatest difference of two clients' epochs, plan after plan."""
    figure, axes = _figure(palette)
    plans = history.plans
    if not plans:
        return _nothing(figure, axes, "no work was allocated", palette)
    versions = [plan.version for plan in plans]
    most = [plan.max_staleness for plan in plans]
    axes.step(versions, most, where="post", color=palette.accent, linewidth=1.2, label="greatest")
    average = [plan.average_staleness for plan in plans]
    axes.step(versions, average, where="post", color=palette.main, linewidth=1.6, label="average")
    axes.set_ylim(0, max(*most, 1) * 1.3)  # the legend stands above the lines
    axes.set_xlabel("version")
    axes.set_ylabel("difference of two clients' epochs")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, palette, "upper right")
    return figure


def staleness(history: History, palette: Palette) -> Figure:
    """Histogram of the delays of consumed records, and the average delay of each client."""
    figure = _canvas()
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1.6]})
    _dress(left, palette)
    _dress(right, palette)
    delays = Counter(record.delay for record in history.records)
    if not delays:
        right.remove()
        figure.delaxes(left)
        axes = figure.subplots()
        _dress(axes, palette)
        return _nothing(figure, axes, "no record was consumed", palette)
    shares = [100 * count / delays.total() for count in delays.values()]
    left.bar(list(delays), shares, width=0.8, color=palette.main)
    left.set_xlabel("delay (versions)")
    left.set_ylabel("consumed records (%)")
    left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    left.set_xlim(-0.7, max(*delays, 3) + 0.7)
    clients = sorted(history.clients(), key=lambda client: (_average_delay(client), client.client))
    averages = [_average_delay(client) for client in clients]
    _bars_by_speed(right, clients, list(range(len(clients))), averages, palette)
    right.set_ylabel("average delay (versions)")
    right.set_ylim(0, max(*averages, 1.0) * 1.18)
    _name_clients(right, clients, "freshest first")
    if any(client.slow for client in clients):
        _legend(right, palette, "upper left")
    return figure


def theta(history: History, palette: Palette) -> Figure:
    """Spread of theta in each round: mean as a line, least to greatest as a band; long runs are drawn in bins."""
    figure, axes = _figure(palette)
    rounds = [
        (done.round, [record.theta_ppb / PPB for record in done.records])
        for done in history.rounds
        if done.agreed and done.records
    ]
    if not rounds:
        return _nothing(figure, axes, "no round was agreed", palette)
    bin_size = -(-len(rounds) // _MOST_BANDS)
    bins = [rounds[first : first + bin_size] for first in range(0, len(rounds), bin_size)]
    numbers = [fmean(number for number, _ in members) for members in bins]
    least = [min(min(thetas) for _, thetas in members) for members in bins]
    mean = [fmean(fmean(thetas) for _, thetas in members) for members in bins]
    greatest = [max(max(thetas) for _, thetas in members) for members in bins]
    if len(bins) == 1:
        axes.errorbar(
            numbers,
            mean,
            yerr=[[mean[0] - least[0]], [greatest[0] - mean[0]]],
            fmt="o",
            color=palette.main,
            capsize=4,
            label="mean, least to greatest",
        )
    else:
        axes.fill_between(
            numbers, least, greatest, color=palette.main, alpha=0.2, linewidth=0, label="least to greatest"
        )
        axes.plot(numbers, mean, color=palette.main, linewidth=1.6, label="mean")
        axes.set_xlim(numbers[0], numbers[-1])
    void = [done.round for done in history.rounds if not done.agreed]
    if void:
        axes.plot(void, [0.02] * len(void), "x", color=palette.accent, markersize=5, label="void round", clip_on=False)
    axes.set_ylim(0, 1.18)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("round")
    axes.set_ylabel("theta (0 to 1)")
    _legend(axes, palette, "upper right")
    return figure


def svg(plot: Plot, history: History, name: str, description: str) -> str:
    """Draw a plot as an `<svg>` element whose colours are the CSS variables of the page it goes into.

    Identifiers begin with `name`, so that several drawings fit into one page; equal histories give equal text.
    """
    buffer = io.StringIO()
    with _style(name):
        plot(history, PAGE).savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", text)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening(description), text, count=1, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)  # the page's own typeface
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    for part, colour in asdict(PAGE).items():
        text = text.replace(colour, f"var(--{part})")
    return text.strip()


def png(plot: Plot, history: History, path: Path) -> None:
    """Draw a plot into an image file."""
    with _style(path.name):
        plot(history, PRINT).savefig(path, format="png", metadata={"Software": None})


def _style(salt: str) -> AbstractContextManager[None]:
    """Set what matplotlib takes from its settings only; on leaving they are what they were."""
    return mpl.rc_context(
        {
            "font.size": _TEXT_POINTS,
            "hatch.linewidth": 0.8,
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "text.parse_math": False,
        }
    )


def _opening(description: str) -> str:
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\\", r"\\")
    return rf'<svg xmlns="http://www.w3.org/2000/svg" viewBox="\g<1>" role="img" aria-label="{label}">'


def _canvas() -> Figure:
    layout = ConstrainedLayoutEngine(h_pad=_MARGIN_INCHES, w_pad=_MARGIN_INCHES)
    return Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout=layout)


def _figure(palette: Palette) -> tuple[Figure, Axes]:
    figure = _canvas()
    axes = figure.subplots()
    _dress(axes, palette)
    return figure, axes


def _dress(axes: Axes, palette: Palette) -> None:
    """Quiet axes: horizontal grid lines, no frame but the base line."""
    axes.figure.set_facecolor("none" if palette is PAGE else palette.paper)
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="y", color=palette.grid, linewidth=0.8)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(palette.muted)
    axes.tick_params(colors=palette.muted, labelcolor=palette.muted, length=0)
    axes.tick_params(axis="x", length=3)
    axes.xaxis.label.set_color(palette.ink)
    axes.yaxis.label.set_color(palette.ink)


def _nothing(figure: Figure, axes: Axes, why: str, palette: Palette) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", color=palette.muted, transform=axes.transAxes)
    return figure


def _legend(axes: Axes, palette: Palette, place: Literal["upper left", "upper right", "lower right"]) -> None:
    axes.legend(
        loc=place,
        ncols=3,
        facecolor=palette.paper,
        edgecolor="none",
        labelcolor=palette.ink,
        fontsize=_TEXT_POINTS - 0.5,
        handlelength=1.4,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def _time_unit(seconds: float) -> tuple[float, str]:
    return (1, "s") if seconds < _MINUTES_FROM_S else (60, "min")


def _round_axis(history: History, axes: Axes, scale: float, palette: Palette) -> None:
    """Name some rounds above the plot, at the times at which they were decided and far enough from each other."""
    upper = axes.secondary_xaxis("top")
    upper.set_facecolor("none")
    upper.spines["top"].set_visible(False)
    upper.tick_params(colors=palette.muted, labelcolor=palette.muted, length=3)
    upper.set_xlabel("round", color=palette.ink)
    width = axes.get_xlim()[1]
    step = max(1, -(-len(history.rounds) // 8))
    ticks: list[tuple[float, int]] = []
    for done in history.rounds[step - 1 :: step]:
        if not ticks or done.seconds / scale - ticks[-1][0] > width / 16:
            ticks.append((done.seconds / scale, done.round))
    upper.set_xticks([time for time, _ in ticks], labels=[str(number) for _, number in ticks])


def _bars_by_speed(
    axes: Axes, clients: Sequence[ClientSummary], places: Sequence[int], heights: Sequence[float], palette: Palette
) -> None:
    for slow, colour, label in ((False, palette.main, "client"), (True, palette.accent, "slow client")):
        chosen = [place for place, client in zip(places, clients, strict=True) if client.slow == slow]
        if chosen:
            hatch = "////" if slow else None  # not by colour alone
            bars = [heights[place] for place in chosen]
            axes.bar(
                chosen,
                bars,
                width=0.8,
                color="none" if slow else colour,
                edgecolor=colour if slow else "none",
                hatch=hatch,
                label=label,
            )


def _name_clients(axes: Axes, clients: Sequence[ClientSummary], order: str) -> None:
    axes.set_xlabel(f"client, {order}")
    axes.set_xlim(-0.7, len(clients) - 0.3)
    if len(clients) <= _MOST_NAMED_CLIENTS:
        names = [str(client.client) for client in clients]
        crowded = sum(map(len, names)) > len(names) * 2 or len(names) > _MOST_NAMED_CLIENTS // 2
        axes.set_xticks(range(len(clients)), labels=names, rotation=90 if crowded else 0, fontsize=_TEXT_POINTS - 1.5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place + 1:.0f}."))


def _average_delay(client: ClientSummary) -> float:
    return client.tau_avg if client.tau_avg is not None else client.mean_delay or 0.0
