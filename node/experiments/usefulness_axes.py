"""Axes of a usefulness experiment: parameters of the scenario that each take several values, all of them crossed.

    [axes]
    "rules.staleness" = ["constant", "polynomial"]
    "server.phi" = [5, 10, 20]

makes six variants of every federation, named constant-5, constant-10, ...
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import msgspec

from learner.simulation.scenario import Scenario
from node.errors import ConfigError

Axes: TypeAlias = dict[str, tuple[Any, ...]]
"""Path into the scenario, its parts joined by dots -> the values that it takes."""


class Variant(NamedTuple):
    """One combination: its name, the word for its value on each axis, and the scenario."""

    name: str
    words: Mapping[str, str]
    scenario: Scenario


def variants(scenario: Scenario, axes: Axes) -> Iterator[Variant]:
    """Yield every combination, the last axis changing fastest; without axes the scenario itself, unnamed.

    Raises `ConfigError` for a path or a value that no scenario has.
    """
    for values in product(*axes.values()):
        words = {path: word_of(value) for path, value in zip(axes, values, strict=True)}
        changed = msgspec.to_builtins(scenario)
        for path, value in zip(axes, values, strict=True):
            _put(changed, path, value)
        try:
            found = msgspec.convert(changed, Scenario)
        except msgspec.ValidationError as error:
            message = f"axes, {', '.join(f'{path} = {word}' for path, word in words.items())}: {error}"
            raise ConfigError(message) from error
        yield Variant("-".join(words.values()), words, found)


def word_of(value: object) -> str:
    """Name a value for tables and files: of a table the values in it, joined; a table or list in it after its key."""
    if isinstance(value, Mapping):
        return "-".join(_word_within(key, one) for key, one in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return re.sub("[^a-z0-9.]+", "-", text)


def _word_within(key: str, value: object) -> str:
    match value:
        case Mapping():
            return "-".join([key, *(f"{inner}-{word_of(one)}" for inner, one in value.items())])
        case list():
            return "-".join([key, *map(word_of, value)])
        case _:
            return word_of(value)


def number_of(words: Sequence[str]) -> list[float] | None:
    """Read words as numbers, to draw them to scale; None if one is no number."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _put(scenario: dict[str, Any], path: str, value: object) -> None:
    """Set what lies at a path; only its last part may be one that is not there."""
    *through, last = path.split(".")
    part: Any = scenario
    for name in through:
        part = part.get(name) if isinstance(part, dict) else None
    if not isinstance(part, dict):
        message = f"axes: a scenario has no {path!r}"
        raise ConfigError(message)
    part[last] = value
