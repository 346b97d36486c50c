"""What is seen while an experiment on a ledger runs, what of it must hold, and what is kept of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from node.experiments.ledger import Assertions
from node.experiments.manifest import Assertion
from node.experiments.plots import plot


@dataclass(frozen=True, slots=True)
class Sample:
    """Where the nodes stood; None where one did not answer."""

    seconds: float
    heights: Mapping[str, int | None]
    version: int | None


def heights_in(samples: Sequence[Sample], begin: float, end: float) -> list[int]:
    """Return the highest height of each sample of a span in which any node answered."""
    return [
        max(height for height in sample.heights.values() if height is not None)
        for sample in samples
        if begin <= sample.seconds <= end and any(height is not None for height in sample.heights.values())
    ]


def grew(name: str, heights: Sequence[int], least: int, most: float = math.inf) -> Assertion:
    """Assert by how much the highest height rises; what nobody has seen twice does not hold."""
    if len(heights) < 2:  # noqa: PLR2004 - the fewest that show anything
        return Assertion(name=name, holds=False, detail=f"only {len(heights)} answers in this time")
    risen = max(heights) - heights[0]
    return Assertion(name=name, holds=least <= risen <= most, detail=f"{heights[0]} to {max(heights)}")


@dataclass(slots=True)
class Evidence:
    """What is written down while the experiment runs; seconds count from its begin."""

    samples: list[Sample] = field(default_factory=list)
    happened: list[tuple[float, str]] = field(default_factory=list)

    def over_time(self, wanted: Assertions) -> list[Assertion]:
        """Judge what has to hold of the heights in spans of seconds."""
        return [
            *(grew(f"moves {begin:g}-{end:g} s", self._heights(begin, end), 1) for begin, end in wanted.moves),
            *(grew(f"still {begin:g}-{end:g} s", self._heights(begin, end), 0, 0) for begin, end in wanted.still),
            *(
                grew(f"at most {most} heights {begin:g}-{end:g} s", self._heights(begin, end), 0, most)
                for begin, end, most in wanted.heights_at_most
            ),
        ]

    def figures(self) -> dict[str, Any]:
        """Return how long it took, and how many heights and rounds it made."""
        highest = self._heights(0.0, math.inf)
        versions = [sample.version for sample in self.samples if sample.version is not None]
        return {
            "seconds": self.samples[-1].seconds if self.samples else 0.0,
            "heights": highest[-1] if highest else 0,
        } | ({"rounds": versions[-1]} if versions else {})

    def write(self, out: Path, title: str) -> dict[str, str]:
        """Write `events.jsonl` and `plot.png` into `out`; return their paths by name."""
        log = out / "events.jsonl"
        lines: list[dict[str, Any]] = [{"seconds": seconds, "event": line} for seconds, line in self.happened] + [
            {"seconds": sample.seconds, "heights": sample.heights, "version": sample.version} for sample in self.samples
        ]
        lines.sort(key=lambda line: line["seconds"])
        log.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        picture = out / "plot.png"
        plot(
            picture,
            title=title,
            seconds=[sample.seconds for sample in self.samples],
            heights=[sample.heights for sample in self.samples],
            versions=[sample.version for sample in self.samples],
            happened=self.happened,
        )
        return {"events": str(log), "plot": str(picture)}

    def _heights(self, begin: float, end: float) -> list[int]:
        return heights_in(self.samples, begin, end)


def rounds_and_accuracy(wanted: Assertions, decided: int, best: float) -> list[Assertion]:
    """Judge what has to hold of the learning, where anything has to."""
    found = []
    if wanted.rounds:
        found.append(Assertion(name="rounds", holds=decided >= wanted.rounds, detail=f"{decided} of {wanted.rounds}"))
    if wanted.accuracy:
        detail = f"{best:.3f} of {wanted.accuracy:g}"
        found.append(Assertion(name="accuracy", holds=best >= wanted.accuracy, detail=detail))
    return found
