"""Reads instances of task allocation from JSON, TOML or CSV, told by the file's suffix.

JSON and TOML have the form of `learner.allocation.instance.Instance.from_json`. CSV has one row per learner under a
header with C2, C1, C0, d_l, d_u and, where energy is bounded, G2, G1, G0, Emax; beside them T, d and tau_min, whose
value stands in the first row and is the same or left out in the others.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from learner.allocation.instance import Instance
from node.configuration import read_toml
from node.errors import ConfigError

_TIME = ("C2", "C1", "C0")
_ENERGY = ("G2", "G1", "G0", "Emax")
_BOUNDS = ("d_l", "d_u")
_ONCE = ("T", "d", "tau_min")

_MAX_BRACKETS = 64
"""An instance has 12; json recurses, and py-evm, where it is loaded, lifts Python's limit of that."""


def read_instance(path: Path) -> Instance:
    """Read an instance.

    Raises:
        ConfigError: another suffix, or a file that is not what its suffix says.
        InvalidInstance: its numbers are no instance.

    """
    match path.suffix.lower():
        case ".json":
            return Instance.from_json(_json(path))
        case ".toml":
            return Instance.from_json(read_toml(path))
        case ".csv":
            return Instance.from_json(_csv(path))
        case _:
            message = f"{path}: an instance is a .json, .toml or .csv file"
            raise ConfigError(message)


def _json(path: Path) -> Mapping[str, object]:
    data = path.read_bytes()
    if data.count(b"[") + data.count(b"{") > _MAX_BRACKETS:
        message = f"{path}: more lists and objects than an instance has"
        raise ConfigError(message)
    try:
        values = json.loads(data)
    except ValueError as error:  # not JSON, not UTF-8, or an integer of thousands of digits
        message = f"{path}: {error}"
        raise ConfigError(message) from None
    if not isinstance(values, dict):
        message = f"{path}: an instance is an object with time, energy, d, d_l, d_u and tau_min"
        raise ConfigError(message)
    return values


def _csv(path: Path) -> Mapping[str, object]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names = list(reader.fieldnames or [])
            rows = list(reader)
    except (ValueError, csv.Error) as error:
        message = f"{path}: {error}"
        raise ConfigError(message) from None
    energy = [name for name in _ENERGY if name in names]
    wanted = {*_TIME, *_BOUNDS, *_ONCE, *(_ENERGY if energy else ())}
    wrong = [f"there is no column {name}" for name in sorted(wanted - set(names))]
    wrong += [f"unknown column {name}" for name in names if name not in wanted]
    wrong += [] if rows else ["there are no learners"]
    wrong += [
        f"row {number} has more fields than the header" for number, row in enumerate(rows, start=1) if None in row
    ]
    if wrong:
        message = f"{path}: {wrong[0]}"
        raise ConfigError(message)
    columns = {name: _column(path, name, rows) for name in names}
    once = {name: columns[name][0] for name in _ONCE}
    return {
        "time": {name: columns[name] for name in _TIME} | {"T": once.pop("T")},
        "energy": {name: columns[name] for name in _ENERGY} if energy else None,
        **{name: columns[name] for name in _BOUNDS},
        **once,
    }


def _column(path: Path, name: str, rows: list[dict[str, str]]) -> list[int]:
    values: list[int] = []
    for number, row in enumerate(rows, start=1):
        text = (row[name] or "").strip()
        if not text and name in _ONCE and values:
            values.append(values[0])
            continue
        try:
            values.append(int(text))
        except ValueError:
            message = f"{path}: {name} of learner {number} of {len(rows)} must be an integer, not {text[:40]!r}"
            raise ConfigError(message) from None
        if name in _ONCE and values[-1] != values[0]:
            message = f"{path}: {name} of learner {number} of {len(rows)} is {text}, in the first row {values[0]}"
            raise ConfigError(message)
    return values
