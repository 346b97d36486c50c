"""How long an update takes, and when a client is connected; virtual time is in whole microseconds.

Every draw has a stream of its own, named by client and number, so that it does not depend on what others do.
"""

from bisect import bisect_right
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from learner.simulation.scenario import DeviceClass, DeviceClasses, LogNormal, Mobility, Speed
from merit.chance import seeded

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - for the type of what `seeded` gives

MICROSECONDS = 1_000_000


class Stopwatch:
    """The speeds of all clients of a run; `factors` slow single ones down, `owners` use the devices of others."""

    def __init__(
        self, speed: Speed, factors: dict[int, float], seed: int, owners: Mapping[int, int] = MappingProxyType({})
    ) -> None:
        """Draw nothing yet."""
        self._speed, self._factors, self._seed, self._owners = speed, factors, seed, owners

    def duration_us(self, client: int, number: int, samples: int, epochs: int, *, share: float = 1.0) -> int:
        """Microseconds that update `number` of a client takes, training and transfers; at least 1.

        `share`: how much of an ordinary update's work it is, for speeds that know updates and no samples.
        """
        speed = self._speed
        match speed:
            case LogNormal():
                own = self._stream(client).lognormvariate(0, speed.clients)
                seconds = speed.seconds * own * share
            case DeviceClasses():
                device = self.device(client, speed)
                seconds = samples * epochs * device.milliseconds_per_sample / 1_000 + device.transfer_seconds
        jitter = seeded(self._seed, "speed", client, number).lognormvariate(0, speed.updates)
        return max(1, round(seconds * jitter * self._factors.get(client, 1.0) * MICROSECONDS))

    def device(self, client: int, speed: DeviceClasses) -> DeviceClass:
        """Give the class of a client's device."""
        weights = [one.weight for one in speed.classes]
        return self._stream(client).choices(speed.classes, weights)[0]

    def _stream(self, client: int) -> "Random":
        return seeded(self._seed, "speed", self._owners.get(client, client))


class Connections:
    """When clients are connected; without mobility always."""

    def __init__(self, mobility: Mobility | None, seed: int) -> None:
        """Draw nothing yet."""
        self._mobility, self._seed = mobility, seed
        self._changes: dict[int, list[int]] = {}

    def from_us(self, client: int, at_us: int) -> int:
        """Return the first moment from `at_us` on at which the client is connected."""
        if self._mobility is None:
            return at_us
        changes = self._changes.setdefault(client, [])
        while not changes or changes[-1] <= at_us:
            self._draw(client, self._mobility, changes)
        after = bisect_right(changes, at_us)  # an even number of changes: connected
        return at_us if after % 2 == 0 else changes[after]

    def _draw(self, client: int, mobility: Mobility, changes: list[int]) -> None:
        """Draw one more time of being connected and one of being away."""
        chance = seeded(self._seed, "mobility", client, len(changes))
        for mean in (mobility.connected_seconds, mobility.away_seconds):
            lasts = max(1, round(chance.expovariate(1 / mean) * MICROSECONDS))
            changes.append((changes[-1] if changes else 0) + lasts)
