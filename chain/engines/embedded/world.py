"""What is between the validators of a simulation: links that delay and lose, timeouts, and clocks that differ.

Validators are known by their numbers: their places in the list that the engine was given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from chain.engines.embedded.node import DEFAULT_TIMEOUTS
from chain.simulation.network import CALM, Network
from chain.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping
    from random import Random  # noqa: TID251 - the type only

    from chain.consensus.timeouts import Timeouts
    from chain.simulation.messages import Message
    from chain.simulation.network import Link, Weather
    from merit.clock import Clock

_NS: Final = 10**9
_MS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How it always is; what breaks for a while is done to the engine."""

    seed: int = 0
    weather: Weather = CALM
    """How links are, in milliseconds; for some, `weather_of` says otherwise."""
    weather_of: Mapping[Link, Weather] = field(default_factory=dict)
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    ahead_s: Mapping[int, float] = field(default_factory=dict)
    """By how many seconds the clocks of some validators go ahead of time; below 0: behind it."""


class Timetable(Scheduler):
    """What happens when, in milliseconds of the clock."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing to do."""
        super().__init__()
        self._clock = clock

    @property
    def clock_ms(self) -> int:
        """The clock's monotonic milliseconds."""
        return round(self._clock.monotonic() * _MS)

    @property
    def due_ms(self) -> int | None:
        """When something happens next; None if nothing does."""
        return self._queue[0][0] if self._queue else None

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Have `action` called `delay_ms` from now."""
        self.now_ms = max(self.now_ms, self.clock_ms)
        super().after(delay_ms, action)

    def catch_up(self) -> None:
        """Let everything happen that is due."""
        self.run(self.clock_ms, lambda: False)


class Links:
    """Links for bytes, on which the network of `chain.simulation` delays, loses, cuts and holds."""

    def __init__(
        self,
        world: World,
        timetable: Timetable,
        chance: Random,
        deliver: Callable[[int, int, bytes], None],
        counts: Counter[str],
    ) -> None:
        """Carry messages between numbered validators; `deliver(from, to, raw)` hands them over."""
        self._network = Network(
            timetable, chance, lambda sender, receiver, raw: deliver(sender, receiver, cast("bytes", raw)), counts
        )
        self._network.weather, self._network.weather_of = world.weather, dict(world.weather_of)
        self.cut, self.mend = self._network.cut, self._network.mend
        self.clog, self.unclog = self._network.clog, self._network.unclog

    def send(self, sender: int, receiver: int, raw: bytes) -> None:
        """Carry a message, or not."""
        self._network.send(sender, receiver, cast("Message", raw))  # nothing there looks into it


class SkewedClock:
    """A clock (merit/clock.py) whose time of day is wrong by so many seconds; what it measures is right."""

    def __init__(self, clock: Clock, ahead_s: float) -> None:
        """Go ahead of `clock`, or behind it."""
        self._clock, self._ahead_s = clock, ahead_s
        self.monotonic, self.sleep, self.wait = clock.monotonic, clock.sleep, clock.wait

    def now(self) -> float:
        """Seconds since the Unix epoch (UTC), as this clock has it."""
        return self._clock.now() + self._ahead_s

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch (UTC), as this clock has it."""
        return self._clock.now_ns() + round(self._ahead_s * _NS)
