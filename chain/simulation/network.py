"""A network that loses, repeats, delays and holds messages, link by link and in each direction by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random  # noqa: TID251 - the type only

    from chain.simulation.messages import Message
    from chain.simulation.scheduler import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How every link behaves: probabilities of loss and repetition, and the delay in milliseconds from `least` on."""

    loss: float = 0.0
    repetition: float = 0.0
    least_ms: int = 1
    spread_ms: int = 8
    straggling: float = 0.0
    """Probability that a message takes up to `straggler_ms`, so that later ones overtake it."""
    straggler_ms: int = 400


CALM = Weather()

Link = tuple[int, int]
"""From one node to another, by number."""


class Network:
    """Carries messages between numbered nodes; `deliver(from, to, message)` hands them over."""

    def __init__(
        self, scheduler: Scheduler, chance: Random, deliver: Callable[[int, int, Message], None], counts: Counter[str]
    ) -> None:
        """Begin calm; what goes wrong is counted in `counts`."""
        self.weather = CALM
        self.weather_of: dict[Link, Weather] = {}
        """Links that are unlike the others."""
        self.drops: Callable[[Link, Message], bool] = _nothing
        """Says which messages get lost whatever the weather."""
        self.handling_ms = 0
        """How long a node works on each message, one after another."""
        self._busy_until: Counter[int] = Counter()
        self._scheduler, self._chance, self._deliver, self._counts = scheduler, chance, deliver, counts
        self._cut: Counter[Link] = Counter()
        self._clogged: Counter[Link] = Counter()
        self._held: dict[Link, list[Message]] = {}

    def send(self, sender: int, receiver: int, message: Message) -> None:
        """Carry a message, or not."""
        link, roll = (sender, receiver), self._chance.random
        weather = self.weather_of.get(link, self.weather)
        if self._cut[link] > 0:
            self._counts["messages cut off by a partition"] += 1
            return
        if self.drops(link, message):
            self._counts["messages dropped by the script"] += 1
            return
        if weather.loss and roll() < weather.loss:
            self._counts["messages lost"] += 1
            return
        if self._clogged[link] > 0:
            self._counts["messages held by a clogged link"] += 1
            self._held.setdefault(link, []).append(message)
            return
        self._carry(link, message)
        if weather.repetition and roll() < weather.repetition:
            self._counts["messages repeated"] += 1
            self._carry(link, message)

    def calm(self) -> None:
        """Let no message be lost any more but by cut links."""
        self.weather, self.drops = CALM, _nothing
        self.weather_of.clear()

    def cut(self, links: Iterable[Link]) -> None:
        """Cut links, until they are mended as often."""
        self._cut.update(links)

    def mend(self, links: Iterable[Link]) -> None:
        """Undo one `cut`."""
        self._cut.subtract(links)

    def clog(self, links: Iterable[Link]) -> None:
        """Hold what is sent over these links, until they are unclogged as often."""
        self._clogged.update(links)

    def unclog(self, links: Iterable[Link]) -> None:
        """Undo one `clog`, and deliver what was held."""
        for link in links:
            self._clogged[link] -= 1
            if self._clogged[link] <= 0:
                for message in self._held.pop(link, ()):
                    self._carry(link, message)

    def _carry(self, link: Link, message: Message) -> None:
        weather, roll = self.weather_of.get(link, self.weather), self._chance.random
        delay = weather.least_ms + int(roll() * weather.spread_ms)
        if weather.straggling and roll() < weather.straggling:
            self._counts["messages overtaken"] += 1
            delay += int(roll() * weather.straggler_ms)
        arrive = self._queue if self.handling_ms else self._deliver
        self._scheduler.after(delay, partial(arrive, link[0], link[1], message))

    def _queue(self, sender: int, receiver: int, message: Message) -> None:
        """Let a message wait until the node has worked on those that came before it."""
        now = self._scheduler.now_ms
        self._busy_until[receiver] = max(now, self._busy_until[receiver]) + self.handling_ms
        self._scheduler.after(self._busy_until[receiver] - now, partial(self._deliver, sender, receiver, message))


def _nothing(link: Link, message: Message) -> bool:  # noqa: ARG001 - it drops no message
    return False
