"""The picture of a consensus experiment: how long each height took, and how many rounds it lost."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chain.simulation.trace import Block


def latencies(blocks: "Sequence[Block]") -> list[int]:
    """Return how long each height took, in virtual milliseconds, from the decision before it on."""
    ends = [block.at_ms for block in blocks]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def plot(path: Path, *, title: str, blocks: "Sequence[Block]") -> None:
    """Write a PNG: above the latency of each height, below the rounds that it lost."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - as above

    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    heights = [block.height for block in blocks]
    above.bar(heights, latencies(blocks), color="tab:blue")
    above.set(title=title, ylabel="latency, virtual ms")
    below.bar(heights, [block.round for block in blocks], color="tab:red")
    below.set(xlabel="height", ylabel="rounds lost")
    for axis in (below.xaxis, below.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=110)
