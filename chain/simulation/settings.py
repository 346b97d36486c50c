"""What one run simulates: who takes part, who lies, what breaks; all of it drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from chain.consensus.timeouts import Timeouts
from chain.consensus.types import Address, Height
from chain.consensus.validators import Schedule
from chain.simulation.byzantine import HABITS
from chain.simulation.errors import SettingsError
from chain.simulation.network import Weather
from merit.chance import seeded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random  # noqa: TID251 - the type only

TIMEOUTS: Final = Timeouts(
    propose_ms=60, prevote_ms=30, precommit_ms=30, propose_delta_ms=20, prevote_delta_ms=10, precommit_delta_ms=10
)
VALIDATORS_MOST: Final = 32
HEIGHTS_MOST: Final = 1000

_SLOTS: Final = ("partition", "one-way partition", "clog", "crash", "crash in a disk operation", "pause", "flip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a caller chooses."""

    seed: int
    validators: int = 4
    heights: int = 5
    """Heights that may be decided while everything breaks; one more has to be decided after healing."""
    liars: int | None = None
    """Validators that lie; by default as many as the seed says, up to f."""
    habit: str | None = None
    """What all liars do; by default what the seed says."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated; raises SettingsError."""
        if not 0 <= self.seed < 2**63:
            message = f"seed {self.seed} is not between 0 and 2^63 - 1"
            raise SettingsError(message)
        if not 1 <= self.validators <= VALIDATORS_MOST:
            message = f"{self.validators} validators are not between 1 and {VALIDATORS_MOST}"
            raise SettingsError(message)
        if not 1 <= self.heights <= HEIGHTS_MOST:
            message = f"{self.heights} heights are not between 1 and {HEIGHTS_MOST}"
            raise SettingsError(message)
        if self.liars is not None and not 0 <= self.liars <= self.validators:
            message = f"{self.liars} of {self.validators} validators cannot lie"
            raise SettingsError(message)
        if self.habit is not None and self.habit not in HABITS:
            message = f"no liar is named {self.habit}: take one of {', '.join(HABITS)}"
            raise SettingsError(message)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the seed says."""

    powers: Mapping[Address, int]
    """Of the first height."""
    changes: Mapping[Height, Mapping[Address, int]]
    """By the height that decides them; they count two heights later."""
    liars: Mapping[Address, str]
    left_out: frozenset[Address]
    """Honest validators that stay broken after healing."""
    brittle: frozenset[Address]
    """Honest validators whose disks may be damaged; they are left out of the quorum that has to decide."""
    weather: Weather
    faults: tuple[str, ...]
    fault_every_ms: int
    break_ms: int
    powers_at: Mapping[Height, Mapping[Address, int]] = field(hash=False)
    lies_at: Mapping[Address, range] = field(default_factory=dict, hash=False)
    """The heights at which a liar lies; without an entry all."""
    clocks: Mapping[Address, int] | None = None
    """How fast clocks run, in percent, 100 without an entry; None: as the seed says."""
    timeouts: Timeouts = TIMEOUTS
    heals: bool = True
    """Whether a quorum heals in the end and has to decide."""

    @property
    def addresses(self) -> list[Address]:
        """Everybody who is a validator at some height, in order."""
        return sorted({address for powers in self.powers_at.values() for address in powers})


def draw_plan(settings: Settings) -> Plan:
    """Draw a run from its seed."""
    chance = seeded(settings.seed, "consensus simulation", settings.validators, settings.heights)
    addresses = [Address(b"v%d" % number) for number in range(settings.validators)]
    powers, changes = _draw_powers(addresses, settings.heights, chance)
    powers_at = powers_by_height(powers, changes, settings.heights + 2)
    everybody = sorted({address for at in powers_at.values() for address in at})
    liars = _draw_liars(settings, everybody, powers_at, chance)
    honest = [address for address in everybody if address not in liars]
    chance.shuffle(honest)
    out: set[Address] = set()
    wanted = chance.randrange(3)
    for address in honest:
        if len(out) < wanted and _suffices(powers_at, {*liars, *out, address}):
            out.add(address)
    brittle = {address for address in sorted(out) if chance.random() < 0.5}  # noqa: PLR2004 - one half
    return Plan(
        powers=powers,
        changes=changes,
        liars=liars,
        left_out=frozenset(out - brittle),
        brittle=frozenset(brittle),
        weather=_draw_weather(chance),
        faults=tuple(slot for slot in _SLOTS if chance.random() < 0.5),  # noqa: PLR2004 - one half
        fault_every_ms=chance.choice([20, 50, 100]),
        break_ms=chance.randrange(200, 1000),
        powers_at=powers_at,
    )


def powers_by_height(
    powers: Mapping[Address, int], changes: Mapping[Height, Mapping[Address, int]], heights: int
) -> dict[Height, Mapping[Address, int]]:
    """Return everybody's power at each of so many heights; raises ValidatorPowersError."""
    schedule, found = Schedule.genesis(powers), dict[Height, "Mapping[Address, int]"]()
    for _ in range(heights):
        found[schedule.height] = schedule.current.powers
        schedule = schedule.decided(changes.get(schedule.height, {}))
    return found


def _draw_powers(
    addresses: list[Address], heights: int, chance: Random
) -> tuple[dict[Address, int], dict[Height, dict[Address, int]]]:
    """Draw equal powers or unequal ones, and in some runs changes of them and newcomers."""
    equal = chance.random() < 0.5  # noqa: PLR2004 - one half
    powers = {address: 1 if equal else chance.randint(2, 4) for address in addresses}
    changes: dict[Height, dict[Address, int]] = {}
    if len(addresses) > 3 and chance.random() < 0.4:  # noqa: PLR2004 - with three nobody may fail
        for height in range(1, heights):
            roll = chance.random()
            if roll < 0.3:  # noqa: PLR2004
                changes[Height(height)] = {chance.choice(addresses): chance.randint(1, 4)}
            elif roll < 0.4:  # noqa: PLR2004
                changes[Height(height)] = {Address(b"w%d" % height): 1}
    return powers, changes


def _draw_liars(
    settings: Settings, everybody: list[Address], powers_at: Mapping[Height, Mapping[Address, int]], chance: Random
) -> dict[Address, str]:
    """Draw liars with less than a third of the power at every height, or as many as was asked for."""
    order = list(everybody)
    chance.shuffle(order)
    wanted = settings.liars if settings.liars is not None else chance.randint(0, len(order))
    liars: dict[Address, str] = {}
    for address in order:
        if len(liars) < wanted and (settings.liars is not None or _suffices(powers_at, {*liars, address})):
            liars[address] = settings.habit or chance.choice(list(HABITS))
    return liars


def _suffices(powers_at: Mapping[Height, Mapping[Address, int]], without: set[Address]) -> bool:
    """Tell whether all others have more than two thirds of the power at every height."""
    return all(
        3 * sum(power for address, power in powers.items() if address not in without) > 2 * sum(powers.values())
        for powers in powers_at.values()
    )


def _draw_weather(chance: Random) -> Weather:
    return Weather(
        loss=chance.choice([0.0, 0.02, 0.1, 0.3]),
        repetition=chance.choice([0.0, 0.05, 0.2]),
        spread_ms=chance.choice([5, 20, 60]),
        straggling=chance.choice([0.0, 0.05, 0.2]),
    )
