"""Bugs planted into the core and its shell on purpose, to prove that the simulation finds such.

A bug is a change of the source's text. While it is planted, the modules of consensus and simulation are imported anew
from changed text, beside the sound ones that everybody else holds.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

PACKAGES = ("chain.consensus", "chain.simulation")


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which occurs in the module exactly once, by `new`."""

    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    name: str
    edits: tuple[Edit, ...]


class _Changed(SourceFileLoader):
    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self.edits = edits

    def get_code(self, fullname: str) -> Any:
        source = self.get_source(fullname)
        assert source is not None
        for edit in self.edits:
            assert source.count(edit.old) == 1, f"{fullname} holds {source.count(edit.old)} times: {edit.old}"
            source = source.replace(edit.old, edit.new)
        return compile(source, self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = edits

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        edits = [edit for edit in self.edits if edit.module == fullname]
        spec = PathFinder.find_spec(fullname, path, target) if edits else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Changed(fullname, spec.origin, edits)
        return spec


@contextmanager
def planted(bug: Bug) -> Iterator[ModuleType]:
    """Give `chain.simulation.world` with the bug in it."""
    ours = {name: module for name, module in sys.modules.items() if name.startswith(PACKAGES)}
    finder = _Finder(bug.edits)
    for name in ours:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield import_module("chain.simulation.world")
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith(PACKAGES)]:
            del sys.modules[name]
        sys.modules.update(ours)


def seeds_needed(bug: Bug, most: int, validators: int = 4) -> tuple[int, str] | None:
    """Return how many seeds from 0 on find the bug, and by which rule; None if `most` do not."""
    with planted(bug) as world:
        for seed in range(most):
            outcome = world.simulate(world.Settings(seed=seed, validators=validators))
            if outcome.violation is not None:
                return seed + 1, outcome.violation.value
    return None
