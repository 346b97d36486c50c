"""pyproject.toml declares every package that the rooms import, so that no room leans on what another package brings."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.foundation.test_arrows import ROOMS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BROUGHT_BY = {
    name: {package.lower().replace("_", "-") for package in packages}
    for name, packages in metadata.packages_distributions().items()
}


def imported(file: Path) -> Iterator[str]:
    """The top-level names of other people's packages that a file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import():
                modules = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(module)):
                modules = [module]
            case _:
                continue
        for module in modules:
            name = module.partition(".")[0]
            if name not in sys.stdlib_module_names and name not in ROOMS:
                yield name


def declared(*, build: bool) -> set[str]:
    project = PROJECT["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    if build:
        lines += [line for line in PROJECT["dependency-groups"]["dev"] if isinstance(line, str)]
    return {re.split(r"[^A-Za-z0-9-]", line, maxsplit=1)[0] for line in lines}


@pytest.mark.parametrize("room", ROOMS)
def test_every_import_of_a_room_is_declared(room: str) -> None:
    undeclared = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in (ROOT / room).rglob("*.py")
        for name in imported(file)
        if not BROUGHT_BY.get(name, {name}) & declared(build=file.name == "build.py")
    }
    assert not undeclared
