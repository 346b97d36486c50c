"""What an experiment's file says, and who runs which kind.

Every manifest is TOML with `kind`, `title`, `teaches`, `seed`, `out` and `[assert]`; the rest is the kind's own.
Unknown keys are refused with the nearest valid one before anything runs.
"""

import importlib
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from merit.clock import Clock
from node.configuration import convert, read_toml
from node.errors import ConfigError

RUNNERS: Final = {
    "ledger": "node.experiments.ledger",
    "allocation": "node.experiments.allocation",
    "usefulness": "node.experiments.usefulness",
    "consensus": "node.experiments.consensus",
}
"""Kind -> the module that runs it: its `Manifest`, a msgspec struct, and its coroutine `run`."""
RESUMABLE: Final = frozenset({"allocation", "usefulness"})
"""Kinds whose `run` goes on with what an earlier run of the same file left in the directory."""

SEARCHABLE: Final = frozenset({"consensus", "ledger"})
"""Kinds whose manifest says for how many `seeds` it is played."""


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """Something that had to hold, and whether it did."""

    name: str
    holds: bool
    detail: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment found; `figures` are its measurements by name."""

    kind: str
    title: str
    seed: int
    holds: bool
    seconds: float
    assertions: tuple[Assertion, ...]
    figures: dict[str, Any]
    files: dict[str, str]


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What every manifest begins with.

    `teaches`: what one learns from it, in one sentence. `out`: where everything is kept, by default a directory of the
    file's name under .merit/experiments.
    """

    kind: str
    title: Annotated[str, msgspec.Meta(min_length=1)]
    teaches: str = ""
    seed: int = 1
    out: str = ""


Runner = Callable[[Any, Path, Clock, Callable[[str], None]], Coroutine[Any, Any, Result]]


def mnist_directory(named: str) -> Path:
    """Return where MNIST is looked for: in the directory that is named, else in the shared folder."""
    return Path(named or Path(os.environ.get("MERIT_SHARED") or "../shared") / "mnist")


def heading(path: Path) -> Heading:
    """Read what kind of experiment a file holds, and what it is for; ConfigError in one line."""
    return convert(read_toml(path), Heading, str(path))


def load(
    path: Path, *, data_directory: str = "", seed: int | None = None, seeds: int | None = None
) -> tuple[Any, Runner]:
    """Read a manifest whole; return it with what runs it.

    `data_directory` is where MNIST lies, if anybody asks. `seed` stands for the file's, alone; `seeds` for how many
    from there on are played.

    Raises:
        ConfigError: no such kind, an unknown key, a wrong value, or `seeds` of a kind that plays one.

    """
    kind = heading(path).kind
    if kind not in RUNNERS:
        message = f"{path}: no experiment of kind {kind!r}: choose one of {', '.join(RUNNERS)}"
        raise ConfigError(message)
    module = importlib.import_module(RUNNERS[kind])
    values = read_toml(path)
    if seeds is not None and kind not in SEARCHABLE:
        message = f"{path}: experiments of kind {kind} are not searched: leave out --seeds"
        raise ConfigError(message)
    if seed is not None:
        values["seed"] = seed
    if kind in SEARCHABLE and (seed, seeds) != (None, None):
        values["seeds"] = 1 if seeds is None else seeds
    manifest = convert(values, module.Manifest, str(path))
    if data_directory:
        manifest = module.with_data(manifest, data_directory)
    module.check(manifest, str(path))
    runner: Runner = module.run
    return manifest, runner
