"""Collects what the parts of an audit find."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from merit.clock import Clock
from node.audit.report import Divergence, Part, Tally

MOST_PER_PART: Final = 8
"""Divergences of one part of one store that are listed; a damaged store can have thousands, the first ones count."""

Progress = Callable[[str], None]


class Findings:
    """Divergences, remarks and tallies, in the order in which they were found."""

    def __init__(self, clock: Clock, progress: Progress | None = None) -> None:
        """Time tallies by `clock`; tell `progress` what is being verified."""
        self.divergences: list[Divergence] = []
        self.remarks: list[str] = []
        self.tallies: dict[str, Tally] = {}
        self._clock = clock
        self._progress = progress
        self._most = MOST_PER_PART
        self._more: Counter[tuple[str, Part]] = Counter()

    def diverges(self, divergence: Divergence) -> None:
        """Note a divergence, once, and not more of one part and store than `MOST_PER_PART`."""
        if divergence in self.divergences:
            return
        place = (divergence.store, divergence.part)
        same = sum((known.store, known.part) == place for known in self.divergences)
        if same < self._most:
            self.divergences.append(replace(divergence, found=_short(divergence.found)))
        else:
            self._more[place] += 1

    def remark(self, text: str) -> None:
        """Note something that leaves the verdict alone, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def left_out(self) -> Iterator[str]:
        """Say how many divergences are not listed."""
        for (store, part), count in self._more.items():
            yield f"{store}: {part}: {count} more divergences are not listed"

    def apart(self) -> "Findings":
        """Return an empty collection that lists everything; who takes it over drops what is too much."""
        found = Findings(self._clock)
        found._most = sys.maxsize
        return found

    def say(self, text: str) -> None:
        """Tell how far a part of the audit has come."""
        if self._progress is not None:
            self._progress(text)

    @contextmanager
    def timed(self, name: str) -> Iterator[Tally]:
        """Give the tally of a part and add the time spent inside to it."""
        tally = self.tallies.setdefault(name, Tally(name))
        self.say(name)
        start = self._clock.monotonic()
        try:
            yield tally
        finally:
            tally.seconds += self._clock.monotonic() - start


_LINE_MOST: Final = 300


def _short(text: str) -> str:
    return text if len(text) <= _LINE_MOST else text[: _LINE_MOST - 4] + " ..."
