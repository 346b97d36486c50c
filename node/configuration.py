"""Reads TOML strictly: an unknown key is refused with the nearest valid one, a wrong value with its place."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import TypeVar, get_args

import msgspec

from node.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

MAX_TOML_BYTES = 1 << 20
"""Bytes of a TOML file; a job file that declares the data of 50,000 clients has fewer."""

MAX_DOTS_PER_LINE = 32
"""tomllib's memory grows with the square of a dotted key's parts."""

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `\$(?P<where>[^`]*)`)?")


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file into plain values.

    Raises:
        ConfigError: no such file, or not TOML.

    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from None
    return _parse(data, str(path))


def convert(values: object, kind: type[T], source: str) -> T:
    """Turn plain values into a struct.

    Args:
        values: what `read_toml` gave, perhaps with overrides.
        kind: a msgspec struct with `forbid_unknown_fields`.
        source: file or flag, named in errors.

    Raises:
        ConfigError: an unknown key (with the nearest valid one), a missing one, or a wrong value.

    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        msg = f"{source}: {_explain(str(error), kind)}"
        raise ConfigError(msg) from None


def parse_toml(text: bytes, kind: type[T], source: str) -> T:
    """Parse TOML bytes, a stranger's too, into a struct; errors as in `convert`."""
    return convert(_parse(text, source), kind, source)


def _parse(data: bytes, source: str) -> dict[str, object]:
    if len(data) > MAX_TOML_BYTES:
        msg = f"{source}: {len(data)} bytes, more than {MAX_TOML_BYTES}"
        raise ConfigError(msg)
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.count(b".") > MAX_DOTS_PER_LINE:
            msg = f"{source}: more than {MAX_DOTS_PER_LINE} dots in line {number}"
            raise ConfigError(msg)
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        msg = f"{source}: nested too deeply"
        raise ConfigError(msg) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{source}: {error}"
        raise ConfigError(msg) from None


def _explain(message: str, kind: type[msgspec.Struct]) -> str:
    found = _UNKNOWN.match(message)
    if found is None:
        return message.replace("`", "").replace(" - at $.", ", at ")
    path = [step for step in (found["where"] or "").split(".") if step]
    keys = _keys_at(kind, path)
    nearest = difflib.get_close_matches(found["key"], keys, n=1, cutoff=0.0)
    dotted = ".".join([*path, found["key"]])
    hint = f"; the nearest valid one is {'.'.join([*path, nearest[0]])}" if nearest else ""
    return f"unknown key {dotted}{hint}"


def _keys_at(kind: type[msgspec.Struct], path: list[str]) -> list[str]:
    """Return the valid keys of the structs that may lie under `path`; none when there is none."""
    current: list[type[msgspec.Struct]] = [kind]
    for step in path:
        name = step.split("[")[0]
        current = [
            inner
            for struct in current
            for field in msgspec.structs.fields(struct)
            if field.encode_name == name
            for inner in _structs_in(field.type)
        ]
    return [field.encode_name for struct in current for field in msgspec.structs.fields(struct)]


def _structs_in(kind: object) -> list[type[msgspec.Struct]]:
    """Return the structs that a type names: itself, those of a union, those in a list or tuple."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [struct for inner in get_args(kind) for struct in _structs_in(inner)]
